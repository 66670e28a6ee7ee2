"""What the commands print for people: tables on a terminal, plain aligned lines elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from epmdless.names import printable
from epmdless.wire.epmd_replies import NamesReply

if TYPE_CHECKING:
    from epmdless.cli.resolving import Walk

T = TypeVar("T")

UNLIMITED_WIDTH = 10_000
"""Columns of output that goes to a file or a pipe: nothing may be cut there."""


def names(reply: NamesReply) -> None:
    """Print a list of registered nodes, by name."""
    rows = [(name, str(port)) for name, port in sorted(reply.nodes)]
    _table((("NAME", "bold"), ("PORT", "cyan")), rows)


def walk(found: Walk, *, explain: bool) -> None:
    """Print where a node listens; with `explain`, what each resolver said first."""
    if explain:
        _table((("RESOLVER", "bold"), ("OUTCOME", "")), list(found.steps))
    line = Text(printable(found.node), style="bold")
    if found.port is None:
        line.append(": no such node", style="red")
    else:
        line.append(": port ", style="not bold").append(str(found.port), style="cyan")
        line.append(f" (by {printable(found.resolver)})", style="not bold")
    console().print(line, soft_wrap=True)


def follow(
    pictures: Iterable[T],
    console: Console,
    lines: Callable[[T], RenderableType],
    screen: Callable[[T], RenderableType],
) -> None:
    """Show pictures as they come: in place on a terminal, one after the other elsewhere.

    :param lines: makes what is printed of a picture.
    :param screen: makes what fits a terminal.
    """
    if not console.is_terminal:
        for number, picture in enumerate(pictures):
            if number:
                console.print()
            console.print(lines(picture))
            console.file.flush()
        return
    from rich.live import Live  # for those who watch alone

    with Live(console=console, auto_refresh=False) as live:
        for picture in pictures:
            live.update(screen(picture), refresh=True)


def toml(tables: Mapping[str, Any], prefix: str = "") -> str:
    """Write nested tables of strings, numbers, booleans, lists and lists of tables as TOML."""
    lines = []
    for key, value in tables.items():
        if not isinstance(value, Mapping) and not _is_list_of_tables(value):
            lines.append(f"{_key(key)} = {_value(value)}\n")
    for key, value in tables.items():
        path = f"{prefix}{_key(key)}"
        if isinstance(value, Mapping):
            lines.append(f"\n[{path}]\n" + toml(value, f"{path}."))
        elif _is_list_of_tables(value):
            lines += [f"\n[[{path}]]\n" + toml(item, f"{path}.") for item in value]
    return "".join(lines)


def _is_list_of_tables(value: object) -> bool:
    """Whether this is written with a header for each item; an empty list is a plain ``[]``."""
    return (
        isinstance(value, list | tuple) and bool(value) and all(isinstance(item, Mapping) for item in value)
    )


def _key(key: str) -> str:
    bare = key.isascii() and key.replace("-", "").replace("_", "").isalnum()
    return key if bare else _string(key)


def _string(text: str) -> str:
    """A TOML basic string: JSON's, but that TOML has no bare DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, Sequence):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    return str(value)


def console() -> Console:
    """Where the commands print: a terminal, or something on which nothing is cut."""
    made = Console(highlight=False)
    return made if made.is_terminal else Console(highlight=False, width=UNLIMITED_WIDTH)


def _table(columns: Sequence[tuple[str, str]], rows: Sequence[tuple[str, ...]]) -> None:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title, style in columns:
        table.add_column(title, style=style, no_wrap=True)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console().print(table)
