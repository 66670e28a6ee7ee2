"""How far ``epmdless demo cluster`` is: who was joined by whom, who did which pages, and whether rightly."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from epmdless.cli import cluster_reasons
from epmdless.cli.cluster_views import ClusterSample, NodeView
from epmdless.cli.links_table import UNKNOWN, si
from epmdless.names import printable

PAGE = re.compile(r"page (\S+) (\d{1,9}) (\d{1,9}) ([0-9a-f]{64})\n")
"""What the first node says of each page: by whom, which, bytes, SHA-256."""

PREFIX = 12
"""Digits of a digest that are shown: as many as tell 64 pages apart at a glance."""


@dataclass(slots=True)
class Progress:
    """Of one node.

    :ivar sources: who named it.
    :ivar joined_at: seconds from the start to its being connected to all others that were named then.
    :ivar view: how it was at the last look.
    """

    sources: tuple[str, ...] = ()
    joined_at: float | None = None
    view: NodeView | None = None
    pages: int = 0
    bytes: int = 0
    digest: str = ""
    wrong: int = 0


class Cluster:
    """Of all nodes.

    :param digests: those that are right, by the pages' numbers.
    """

    def __init__(self, nodes: Iterable[str], digests: Sequence[bytes]) -> None:
        self._nodes = {node: Progress() for node in nodes}
        self._digests = digests

    @property
    def is_whole(self) -> bool:
        """Whether each was connected to all others at the last look, and has done a page."""
        return not any(self.apart())

    def take_sample(self, sample: ClusterSample, seconds: float) -> None:
        """Take in how the cluster is.

        :param seconds: since the start.
        """
        for group in sample.groups:
            for view in group.nodes:
                progress = self._nodes.get(view.name)
                if progress is not None:
                    progress.view = view
                    if progress.joined_at is None and 0 < view.wanted == view.connected:
                        progress.joined_at = seconds
            for _, peer in group.pairs():
                if peer.name in self._nodes:
                    self._nodes[peer.name].sources = peer.sources

    def take_line(self, line: str) -> None:
        """Take in what the first node says; what is not about a page is passed over."""
        found = PAGE.fullmatch(line)
        progress = None if found is None else self._nodes.get(found[1])
        if found is None or progress is None:
            return
        number, digest = int(found[2]), found[4]
        progress.pages += 1
        progress.bytes += int(found[3])
        progress.digest = digest[:PREFIX]
        if number >= len(self._digests) or self._digests[number] != bytes.fromhex(digest):
            progress.wrong += 1

    def wrong(self) -> Iterator[str]:
        """Who has hashed pages wrongly, in words."""
        for node, progress in self._nodes.items():
            if progress.wrong:
                yield f"{node} has hashed {progress.wrong} of {progress.pages} pages wrongly"

    def apart(self) -> Iterator[str]:
        """Who is not connected to all others, or has done nothing, in words."""
        for node, progress in self._nodes.items():
            missing = self._missing(node)
            if missing:
                yield f"{node} is not connected to {', '.join(missing)}{self._why(progress.view, missing)}"
            elif not progress.pages:
                yield f"{node} has hashed no page"

    def table(self) -> Table:
        """A line a node."""
        made = Table(box=None, pad_edge=False, header_style="dim")
        for title, style, is_number in COLUMNS:
            made.add_column(title, style=style, justify="right" if is_number else "left", no_wrap=True)
        for node, progress in self._nodes.items():
            made.add_row(*(Text(printable(cell)) for cell in (node, *self._cells(progress))))
        return made

    def _cells(self, progress: Progress) -> Sequence[str]:
        view, at = progress.view, progress.joined_at
        return (
            ", ".join(progress.sources) or UNKNOWN,
            UNKNOWN if at is None else f"{at:.1f}s",
            UNKNOWN if view is None else f"{view.connected}/{len(self._nodes) - 1}",
            str(progress.pages),
            si(progress.bytes),
            progress.digest or UNKNOWN,
            str(progress.wrong),
        )

    def _missing(self, node: str) -> list[str]:
        """The others that a node is not connected to, as far as is known."""
        view = self._nodes[node].view
        peers = () if view is None else view.peers
        connected = {peer.name for peer in peers if peer.state == "connected"}
        return [other for other in self._nodes if other != node and other not in connected]

    def _why(self, view: NodeView | None, missing: Sequence[str]) -> str:
        """Why it is not connected to the first of them."""
        if view is None:
            return ": the server does not know it"
        said = {peer.name: cluster_reasons.of_peer(peer) for peer in view.peers}
        why = cluster_reasons.of_node(view) or said.get(missing[0])
        return f": {why}" if why else ""


COLUMNS = (
    *(("NODE", "bold", False), ("JOINED BY", "green", False), ("AT", "", True), ("PEERS", "cyan", True)),
    *(("PAGES", "cyan", True), ("BYTES", "cyan", True), ("LAST SHA-256", "", False), ("WRONG", "", True)),
)
"""Title, style, and whether it is a number. AT: since the start."""
