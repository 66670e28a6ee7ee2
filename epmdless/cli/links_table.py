"""Links as a table for people: two lines a link, its near side and its far side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from epmdless.cli import show
from epmdless.cli.control import Direction, LinkView, Sample, Side
from epmdless.names import printable

UNKNOWN = "-"

LINES_A_LINK = 2
LINES_AROUND = 3
"""Of a screen, besides the links: the columns' titles, a line for what does not fit, the cursor's."""


class Rate(NamedTuple):
    """How fast one direction is; None = not known, or not counted."""

    bytes_per_second: float | None
    frames_per_second: float | None


class LinkRates(NamedTuple):
    """How fast a link is in both directions."""

    near_to_far: Rate
    far_to_near: Rate


class Half(NamedTuple):
    """What a line is about: a side of a link, and what that side sends."""

    link: LinkView
    name: str
    side: Side
    sends: Direction
    rate: Rate


class Column(NamedTuple):
    """A column: its title, with the unit; what stands in it; how it looks."""

    title: str
    cell: Callable[[Half], str]
    style: str = ""
    of_link: bool = False
    numeric: bool = True


COLUMNS = (
    Column("LINK", lambda half: str(half.link.id), "bold", of_link=True),
    Column("STATE", lambda half: half.link.state, of_link=True, numeric=False),
    Column("ROUTE", lambda half: half.link.route, of_link=True, numeric=False),
    Column("VIA", lambda half: _via(half.link) or UNKNOWN, of_link=True, numeric=False),
    Column("AGE", lambda half: duration(half.link.age), of_link=True),
    Column("SIDE", lambda half: half.name, "dim", numeric=False),
    Column("NODE", lambda half: half.side.node or UNKNOWN, "bold", numeric=False),
    Column("ADDRESS", lambda half: half.side.address or UNKNOWN, numeric=False),
    Column("SENDS B/s", lambda half: si(half.rate.bytes_per_second), "cyan"),
    Column("FRAMES/s", lambda half: si(half.rate.frames_per_second), "cyan"),
    Column("TICK s", lambda half: _seconds(half.sends.last_tick_age)),
    Column("RTT ms", lambda half: _milliseconds(half.side.rtt_us)),
    Column("RETRANS", lambda half: si(half.side.retransmits)),
    Column("UNSENT B", lambda half: si(half.side.unsent)),
)
"""In their order. The rate and the last tick are of what the side sends; the rest is of its connection.
VIA is left out where no link goes through a hop or a gateway."""

LEFT_OUT_FIRST = ("ADDRESS", "STATE", "RETRANS", "ROUTE", "VIA", "SIDE", "AGE")
"""Columns that go, one after the other, until a narrow terminal can show the others whole."""


def table(sample: Sample, rates: Mapping[int, LinkRates], console: Console) -> Table:
    """The links in the order of their numbers.

    On a terminal, columns that would make a line too long are left out, and a link's own columns are
    filled in its first line only; elsewhere each line has everything, so that each can be searched for.
    """
    halves = [half for link in sample.links for half in _halves(link, rates)]
    columns = [column for column in COLUMNS if column.title != "VIA" or any(map(_via, sample.links))]
    if not console.is_terminal:
        return _made(columns, halves, whole=True)
    made = _made(columns, halves, whole=False)
    for title in LEFT_OUT_FIRST:
        if _natural_width(made, console) <= console.width:
            break
        columns = [column for column in columns if column.title != title]
        made = _made(columns, halves, whole=False)
    return made


def screen(
    sample: Sample, rates: Mapping[int, LinkRates], console: Console, heading: RenderableType | None
) -> Group:
    """The table under a heading, cut to the terminal's height; its last line says what was cut."""
    parts = [] if heading is None else [heading]
    used = sum(len(console.render_lines(part)) for part in parts) + LINES_AROUND
    fitting = max(1, (console.height - used) // LINES_A_LINK)
    parts.append(table(Sample(sample.now, sample.links[:fitting]), rates, console))
    hidden = len(sample.links) - fitting
    if hidden > 0:
        parts.append(Text(f"and {hidden} more: they need a taller window", style="dim"))
    elif not sample.links:
        parts.append(Text("no links", style="dim"))
    return Group(*parts)


def _halves(link: LinkView, rates: Mapping[int, LinkRates]) -> tuple[Half, Half]:
    rate = rates[link.id]
    return (
        Half(link, "near", link.near, link.near_to_far, rate.near_to_far),
        Half(link, "far", link.far, link.far_to_near, rate.far_to_near),
    )


def _via(link: LinkView) -> str:
    """The hop that a link takes, or whom it comes from through our gateway."""
    return link.hop or (f"from {link.client}" if link.client else "")


def _made(columns: Sequence[Column], halves: Sequence[Half], *, whole: bool) -> Table:
    """The table of these columns; `whole`: nothing is left blank, and nothing is ever cut."""
    made = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        cut_last = column.numeric or whole
        made.add_column(
            column.title,
            style=column.style,
            justify="right" if column.numeric else "left",
            no_wrap=cut_last,
            overflow="ellipsis",
        )
    for half in halves:
        blank = half.name == "far" and not whole
        cells = ("" if blank and column.of_link else printable(column.cell(half)) for column in columns)
        made.add_row(*(Text(cell) for cell in cells))
    return made


def _natural_width(made: Table, console: Console) -> int:
    """The width at which nothing would be cut."""
    unlimited = console.options.update(width=show.UNLIMITED_WIDTH)
    return Measurement.get(console, unlimited, made).maximum


# Units


def si(value: float | None) -> str:
    """A number of at most three digits and a decimal prefix: 1.23k, 45.6M."""
    if value is None:
        return UNKNOWN
    if abs(value) < 10:
        return f"{value:.1f}".removesuffix(".0")
    for prefix in PREFIXES[:-1]:
        if abs(value) < 999.5:
            return f"{value:.0f}" if not prefix else f"{value:#.3g}".removesuffix(".") + prefix
        value /= 1000
    return f"{value:.0f}{PREFIXES[-1]}"


PREFIXES = ("", "k", "M", "G", "T", "P", "E")


def duration(seconds: float) -> str:
    """Two units at most: 42s, 12m05s, 3h20m, 5d04h."""
    whole = int(seconds)
    if whole < MINUTE:
        return f"{whole}s"
    if whole < HOUR:
        return f"{whole // MINUTE}m{whole % MINUTE:02}s"
    if whole < DAY:
        return f"{whole // HOUR}h{whole % HOUR // MINUTE:02}m"
    return f"{whole // DAY}d{whole % DAY // HOUR:02}h"


MINUTE, HOUR, DAY = 60, 3600, 86400


def _seconds(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.0f}"


def _milliseconds(microseconds: int | None) -> str:
    return UNKNOWN if microseconds is None else f"{microseconds / 1000:.2f}"
