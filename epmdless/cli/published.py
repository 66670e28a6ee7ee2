"""The command ``epmdless published``: what a running process has in DNS, and why not what it has not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from epmdless.cli.options import CONFIG_OPTION, JSON_OPTION, SOCKET_OPTION

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType
    from rich.text import Text

    from epmdless.cli.publish_views import PublishSample


@click.command()
@JSON_OPTION
@SOCKET_OPTION
@CONFIG_OPTION
def published(as_json: bool, socket_path: str | None, config_file: str | None) -> None:
    """Show which nodes of this host are published in DNS, and whether that works.

    The exit status is 0, also while it fails; 1 if nobody answers or nothing is published there; 2 if the
    command line or the configuration is wrong.
    """
    from epmdless.cli import links, show

    answer = links.client_for(socket_path, config_file).published()
    if as_json:
        click.echo(json.dumps(answer.document, ensure_ascii=False))
        return
    console = show.console()
    for part in parts(answer.sample):
        console.print(part, soft_wrap=True)


STATE_STYLES = {"published": "green", "failing": "red", "starting": "yellow", "withdrawing": "yellow"}


def parts(sample: PublishSample) -> Iterator[RenderableType]:
    """Everything, from top to bottom."""
    from rich.text import Text

    from epmdless.names import printable

    yield _state(sample)
    addresses = f" ({', '.join(sample.addresses)})" if sample.addresses else ""
    records = "1 record" if sample.records == 1 else f"{sample.records} records"
    yield Text(printable(f"target {sample.target}{addresses}, {records}"))
    if sample.twin is not None:
        said = f"another host publishes under this target too: {sample.twin}"
        yield Text(printable(said), style="red")
    yield Text()
    yield _nodes(sample)
    if sample.left_out:
        yield Text()
        yield _left_out(sample)
        if (more := sample.left_out_count - len(sample.left_out)) > 0:
            yield Text(f"... and {more} more", style="dim")


def _state(sample: PublishSample) -> Text:
    from rich.text import Text

    from epmdless.cli.links_table import duration
    from epmdless.names import printable
    from epmdless.resolve.update_reasons import REASONS

    line = Text(printable(sample.zone), style="bold").append(": ", style="not bold")
    line.append(printable(sample.state), style=f"not bold {STATE_STYLES.get(sample.state, 'default')}")
    said = []
    if sample.failing_for is not None:
        said.append(f"for {duration(max(0.0, sample.failing_for))}")
    if sample.reason is not None:
        said.append(REASONS.get(sample.reason, sample.reason))
    if sample.detail is not None:
        said.append(sample.detail)
    if sample.age is not None:
        said.append(f"last written {duration(max(0.0, sample.age))} ago")
    if sample.next is not None:
        said.append(f"next in {duration(max(0.0, sample.next))}")
    return line.append(printable("".join(f", {each}" for each in said)), style="not bold default")


def _nodes(sample: PublishSample) -> RenderableType:
    from rich.text import Text

    if not sample.nodes:
        return Text("no node is registered that is to be published", style="dim")
    return _table(
        ("NODE", "PORT", "STATE", "SERVICES"),
        [
            (
                node.name,
                str(node.port),
                "published" if node.published else "pending",
                ", ".join(node.services),
            )
            for node in sorted(sample.nodes, key=lambda node: node.name)
        ],
    )


def _left_out(sample: PublishSample) -> RenderableType:
    from epmdless.publish.records import LEFT_OUT

    rows = [(each.name, LEFT_OUT.get(each.reason, each.reason)) for each in sample.left_out]
    return _table(("LEFT OUT", "WHY"), rows)


CELL_STYLES = {"published": "green", "pending": "yellow"}


def _table(titles: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    from epmdless.names import printable

    table = Table(box=None, pad_edge=False, header_style="dim")
    for number, title in enumerate(titles):
        is_number = title == "PORT"
        style = "bold" if number == 0 else "cyan" if is_number else ""
        table.add_column(title, style=style, justify="right" if is_number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(printable(cell), style=CELL_STYLES.get(cell, "")) for cell in row))
    return table
