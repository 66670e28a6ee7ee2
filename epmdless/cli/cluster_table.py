"""The cluster as tables for people: its sources, and for each group its local nodes and their peers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.segment import Segment, Segments
from rich.table import Table
from rich.text import Text

from epmdless.cli import cluster_reasons, show
from epmdless.cli.cluster_views import ClusterSample, GroupView, NodeView, PeerView, SourceView
from epmdless.cli.links_table import UNKNOWN, duration
from epmdless.names import printable

MAX_ROWS = 50
"""Peers that a group shows one by one: more than a screen, and few enough to read."""

LINES_AROUND = 2
"""Of a screen, besides the tables: a line for what does not fit, the cursor's."""

LINES_ABOVE_PEERS = 2
"""An empty one, and the columns' titles."""

STATE_STYLES = {
    **dict.fromkeys(("known", "linked", "connected"), "green"),
    **dict.fromkeys(("unknown", "failing"), "red"),
    **dict.fromkeys(("starting", "waiting", "connecting"), "yellow"),
    "gone": "dim",
}

URGENCY = ("failing", "connecting", "waiting", "gone")
"""States of peers, those first that need a look. States that we do not know come after them, and
connected ones are last."""

CONNECTED = "connected"


Pair = tuple[NodeView, PeerView]
Rows = Sequence[Sequence[str | Text]]

LEAST_TEXT = 24
"""Characters a line of a text that is folded: with less, a sentence takes a whole screen."""


class Column(NamedTuple):
    """A column: its title, and how it looks."""

    title: str
    style: str = ""
    numeric: bool = False
    folds: bool = False


SOURCES = (
    *(Column("SOURCE", "bold"), Column("KIND"), Column("STATE"), Column("NAMES", numeric=True)),
    *(Column("AGE", numeric=True), Column("WHY", folds=True)),
)
NODES = (
    *(Column("NODE", "bold"), Column("STATE"), Column("OTP", numeric=True), Column("SINCE", numeric=True)),
    *(Column("PEERS", "cyan", numeric=True), Column("WHY", folds=True)),
)
PEERS = (
    *(Column("NODE", "dim"), Column("PEER", "bold"), Column("STATE"), Column("SOURCES")),
    *(Column("NAMED", numeric=True), Column("TRIES", numeric=True), Column("NEXT", numeric=True)),
    Column("WHY", folds=True),
)
"""NAMED: for how long a source has named it; TRIES: attempts to connect it; NEXT: the time to the next."""

LEFT_OUT_FIRST = ("KIND", "TRIES", "SINCE", "OTP", "NEXT", "SOURCES", "NAMED")
"""Columns that go, one after the other, until a narrow terminal can show the others whole."""


def tables(sample: ClusterSample, console: Console, max_rows: int = MAX_ROWS) -> list[RenderableType]:
    """Everything, from top to bottom.

    :param max_rows: peers that each group shows one by one.
    """
    parts: list[RenderableType] = []
    if sample.wanted_ready:
        parts += [_readiness(sample), ""]
    parts.append(_sources(sample.sources, console))
    for group in sorted(sample.groups, key=lambda group: (group.name is None, group.name)):
        parts += ["", *_group(group, console, max_rows)]
    return parts


def screen(sample: ClusterSample, console: Console, heading: RenderableType | None = None) -> RenderableType:
    """The same under a heading, cut to the terminal's height; its last line says what was cut.

    Groups show as few peers as fit, which are those that need a look.
    """
    top = [] if heading is None else [heading]
    bare = len(_lines([*top, *tables(sample, console, 0)], console))
    groups = sum(any(node.peers for node in group.nodes) for group in sample.groups)
    fitting = (console.height - LINES_AROUND - bare) // max(1, groups) - LINES_ABOVE_PEERS
    lines = _lines([*top, *tables(sample, console, min(MAX_ROWS, max(1, fitting)))], console)
    shown = max(1, console.height - LINES_AROUND)
    kept = [segment for line in lines[:shown] for segment in (*line, Segment.line())]
    if len(lines) <= shown:
        return Segments(kept[:-1])
    more = Text(f"lines that need a taller window: {len(lines) - shown}", style="dim")
    return Group(Segments(kept), more)


def _lines(parts: Sequence[RenderableType], console: Console) -> list[list[Segment]]:
    return console.render_lines(Group(*parts), pad=False)


def _readiness(sample: ClusterSample) -> Text:
    line = Text("ready" if sample.ready else "not ready", style="bold green" if sample.ready else "bold red")
    peers = "1 peer" if sample.wanted_ready == 1 else f"{sample.wanted_ready} peers"
    return line.append(f": each local node must be connected to {peers}", style="not bold default")


# Sources


def _sources(sources: Iterable[SourceView], console: Console) -> RenderableType:
    rows = [
        (
            *(source.name, source.kind, _state(source.state), str(source.names), _time(source.age)),
            cluster_reasons.of_source(source) or UNKNOWN,
        )
        for source in sources
    ]
    return _table(SOURCES, rows, console) if rows else Text("no sources", style="dim")


# Groups


def _group(group: GroupView, console: Console, max_rows: int) -> list[RenderableType]:
    name = "in no group" if group.name is None else f"group {printable(group.name)}"
    heading = Text(name, style="bold")
    if not group.nodes:
        return [heading.append(": no local node", style="not bold dim")]
    pairs = sorted(group.pairs(), key=_by_name)
    if len(pairs) > max_rows:
        pairs.sort(key=_by_urgency)
    shown, rest = pairs[:max_rows], pairs[max_rows:]
    parts: list[RenderableType] = [heading, _nodes(group.nodes, console)]
    if shown:
        parts += ["", _peers(shown, console)]
    if rest:
        parts.append(Text(f"... and {_counted(rest)}", style="dim"))
    return parts


def _nodes(nodes: Sequence[NodeView], console: Console) -> Table:
    """OTP is left out where no node's release is known."""
    rows = [
        (
            *(node.name, _state(node.state), node.otp or UNKNOWN, _time(node.since)),
            *(f"{node.connected}/{node.wanted}", cluster_reasons.of_node(node) or UNKNOWN),
        )
        for node in sorted(nodes, key=lambda node: node.name)
    ]
    if any(node.otp for node in nodes):
        return _table(NODES, rows, console)
    return _table(*_without("OTP", NODES, rows), console)


def _peers(pairs: Iterable[Pair], console: Console) -> Table:
    """A line a pair; on a terminal the local node is named in its first line only, elsewhere in each, so
    that each can be searched for."""
    rows = []
    before = None
    for node, peer in pairs:
        is_named = node.name != before or not console.is_terminal
        before = node.name
        rows.append((node.name if is_named else "", *_cells(peer)))
    return _table(PEERS, rows, console)


def _cells(peer: PeerView) -> tuple[str | Text, ...]:
    state = _state(peer.state).append(" hidden" if peer.hidden else "", style="dim")
    return (
        *(peer.name, state, ", ".join(peer.sources) or UNKNOWN, _time(peer.seen)),
        *(str(peer.attempts), _time(peer.next_attempt), cluster_reasons.of_peer(peer) or UNKNOWN),
    )


def _by_name(pair: Pair) -> tuple[str, str]:
    node, peer = pair
    return node.name, peer.name


def _by_urgency(pair: Pair) -> int:
    state = pair[1].state
    if state in URGENCY:
        return URGENCY.index(state)
    return len(URGENCY) + (state == CONNECTED)


def _counted(pairs: Iterable[Pair]) -> str:
    """How many of each state, in the pairs' order: ``3 failing, 123 connected``."""
    counts = Counter(peer.state for _, peer in pairs)
    return printable(", ".join(f"{count} {state}" for state, count in counts.items()))


# Cells


def _table(columns: Sequence[Column], rows: Rows, console: Console) -> Table:
    """A table; columns that would make a line too long are left out."""
    made = _made(columns, rows)
    unlimited = console.options.update(width=show.UNLIMITED_WIDTH)
    for title in LEFT_OUT_FIRST:
        if Measurement.get(console, unlimited, made).minimum <= console.width:
            break
        columns, rows = _without(title, columns, rows)
        made = _made(columns, rows)
    return made


def _without(title: str, columns: Sequence[Column], rows: Rows) -> tuple[Sequence[Column], Rows]:
    kept = [at for at, column in enumerate(columns) if column.title != title]
    return [columns[at] for at in kept], [[row[at] for at in kept] for row in rows]


def _made(columns: Iterable[Column], rows: Rows) -> Table:
    made = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        made.add_column(
            column.title,
            style=column.style,
            justify="right" if column.numeric else "left",
            no_wrap=not column.folds,
            overflow="fold" if column.folds else "ellipsis",
            min_width=LEAST_TEXT if column.folds else None,
        )
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(printable(cell)) for cell in row))
    return made


def _state(state: str) -> Text:
    return Text(printable(state), style=STATE_STYLES.get(state, ""))


def _time(seconds: float | None) -> str:
    return UNKNOWN if seconds is None else duration(max(0.0, seconds))
