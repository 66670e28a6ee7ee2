"""Results of a benchmark: rows, an aligned table of them, and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

PLAIN_WIDTH = 200
"""Columns of the table where stdout is no terminal."""


@dataclass(frozen=True, slots=True)
class Row:
    """One question's answer."""

    question: str
    target: str
    ours: str
    against: str
    """What ours was measured against, with its figure; empty where the target is absolute."""
    ratio: float | None
    met: bool | None
    """None: there is no target, or nothing could be measured."""
    note: str = ""
    error: str | None = None
    """What failed while measuring: the figures then count for nothing."""
    details: dict[str, object] = field(default_factory=dict)
    """Every figure behind the row, for the JSON file."""


def failed(question: str, target: str, reason: str) -> Row:
    """A row for what could not be measured at all."""
    return Row(question, target, ours="", against="", ratio=None, met=None, error=reason)


def print_table(title: str, rows: Sequence[Row]) -> None:
    """Print the rows on stdout, aligned."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PLAIN_WIDTH)
    table = Table(title=title, title_justify="left")
    for heading in ("question", "target", "ours", "against"):
        table.add_column(heading)
    table.add_column("ratio", justify="right")
    table.add_column("met")
    table.add_column("note")
    for row in rows:
        table.add_row(
            row.question,
            row.target,
            row.ours,
            row.against,
            "" if row.ratio is None else f"{row.ratio:.2f} ×",
            _verdict(row),
            "\n".join(text for text in (row.error and f"ERROR: {row.error}", row.note) if text),
        )
    console.print(table)


def _verdict(row: Row) -> str:
    if row.error is not None:
        return "ERROR"
    return {True: "yes", False: "NO", None: ""}[row.met]


def write_json(path: Path, document: dict[str, object]) -> None:
    """Write `document` to `path`, indented."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
