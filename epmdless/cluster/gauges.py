"""What there is to measure of a cluster now, read when somebody asks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

from epmdless import metrics
from epmdless.cluster.joiner import Joiner
from epmdless.cluster.prepared import Prepared
from epmdless.cluster.roster import Roster
from epmdless.cluster.trouble import REASONS
from epmdless.metrics import Metric, Metrics

TALLY_SECONDS = 0.1
"""For which the peers are not gone through again: all reasons are asked for at once, and there may be a
thousand peers at each of many nodes."""


class Gauges:
    """The gauges of the configuration in force, and no others."""

    def __init__(
        self,
        counts: Metrics,
        roster: Roster,
        joiners: Callable[[], Sequence[Joiner]],
        clock: Callable[[], float],
    ) -> None:
        self._counts = counts
        self._roster = roster
        self._joiners = joiners
        self._clock = clock
        self._tally: tuple[float, Counter[str]] = (float("-inf"), Counter())
        self._shown: set[tuple[Metric, tuple[str, ...]]] = set()

    def show(self, prepared: Prepared | None) -> None:
        """Show those of a configuration; None: none at all."""
        before, self._shown = self._shown, set()
        if prepared is not None:
            self._show_all(prepared)
        for metric, labels in before - self._shown:
            self._counts.forget(metric, labels)

    def _show_all(self, prepared: Prepared) -> None:
        self._show(metrics.CLUSTER_NODES, ("linked",), partial(self._nodes, linked=True))
        self._show(metrics.CLUSTER_NODES, ("waiting",), partial(self._nodes, linked=False))
        for name in prepared.sources:
            self._show(metrics.CLUSTER_SOURCE_AGE, (name,), partial(self._age, name))
            self._show(metrics.CLUSTER_SOURCE_NAMES, (name,), partial(self._names, name))
        for group in prepared.groups.all:
            self._show(metrics.CLUSTER_PEERS, (group.name, "wanted"), partial(self._wanted, group.name))
            self._show(metrics.CLUSTER_PEERS, (group.name, "connected"), partial(self._connected, group.name))
        for reason in REASONS:
            self._show(metrics.CLUSTER_FAILING, (reason,), partial(self._failing, reason))

    def _show(self, metric: Metric, labels: tuple[str, ...], read: Callable[[], float]) -> None:
        self._counts.gauge(metric, read, labels)
        self._shown.add((metric, labels))

    def _nodes(self, *, linked: bool) -> int:
        return sum(joiner.is_linked == linked for joiner in self._joiners())

    def _age(self, source: str) -> float:
        """Since it last knew; infinite where it never did."""
        heard = self._roster.listings[source].heard
        return float("inf") if heard is None else self._clock() - heard

    def _names(self, source: str) -> int:
        return len(self._roster.listings[source].names)

    def _of(self, group: str) -> list[Joiner]:
        return [joiner for joiner in self._joiners() if joiner.group and joiner.group.name == group]

    def _wanted(self, group: str) -> int:
        return sum(len(joiner.peers) for joiner in self._of(group))

    def _connected(self, group: str) -> int:
        return sum(joiner.connected for joiner in self._of(group))

    def _failing(self, reason: str) -> int:
        made, tally = self._tally
        if self._clock() - made > TALLY_SECONDS:
            tally = Counter(
                peer.error.reason
                for joiner in self._joiners()
                for peer in joiner.peers
                if peer.error is not None and not peer.connected
            )
            self._tally = self._clock(), tally
        return tally[reason]
