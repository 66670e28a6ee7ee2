"""Whom a local node shall be connected to: groups and their links over what the sources say."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from epmdless.cluster.groups import Group, Want, node_matches
from epmdless.cluster.guide import Wants
from epmdless.cluster.prepared import Prepared
from epmdless.cluster.roster import Naming, Roster
from epmdless.rules import Glob


class Wanted:
    """The peers of local nodes by one configuration; worked out once for all nodes of a group, as long as
    the sources say nothing else.

    :param clock: of the roster's times.
    """

    def __init__(self, roster: Roster, prepared: Prepared, clock: Callable[[], float]) -> None:
        self._roster = roster
        self._prepared = prepared
        self._clock = clock
        self._made_for: object = None
        self._members: dict[str, tuple[dict[str, Naming], list[Want]]] = {}
        self._linked: dict[tuple[str, tuple[Glob, ...]], list[Want]] = {}

    @property
    def version(self) -> object:
        """Changes when somebody may be wanted who was not, or the other way round."""
        expired = self._roster.expired(self._clock(), self._prepared.section.max_age)
        return self._roster.version, expired

    def of(self, node: str) -> tuple[Wants, int]:
        """What a local node is joined with, and how many peers that leaves out, for there is a limit.

        :param node: its whole name.
        """
        group = self._prepared.group_of(node)
        if group is None:
            return Wants(None, ()), 0
        wants = [want for want in self._of(group)[1] if want.name != node]
        for other, globs in self._prepared.groups.linked_to(node, group):
            wants += self._of_link(other, globs)
        most = self._prepared.section.max_peers
        return Wants(group, tuple(islice(wants, most))), max(len(wants) - most, 0)

    def namings(self, group: Group) -> dict[str, Naming]:
        """Who is named for a group, by whom."""
        return self._of(group)[0]

    def _of(self, group: Group) -> tuple[dict[str, Naming], list[Want]]:
        """The same, and the members of the group among them."""
        self._forget_what_is_old()
        kept = self._members.get(group.name)
        if kept is None:
            named = self._roster.named(group.sources, self._clock(), self._prepared.section.max_age)
            place = {source: number for number, source in enumerate(group.sources)}
            members = self._prepared.groups.members(group, named)
            # In an order that no answer changes: those beyond `max_peers` must be the same each time.
            members.sort(key=lambda name: (place[named[name].sources[0]], name))
            wants = [Want(name, hidden=False, is_current=named[name].is_current) for name in members]
            kept = self._members[group.name] = named, wants
        return kept

    def _of_link(self, other: Group, globs: tuple[Glob, ...]) -> list[Want]:
        """The members of another group that a link chooses."""
        self._forget_what_is_old()
        kept = self._linked.get((other.name, globs))
        if kept is None:
            chosen = (want for want in self._of(other)[1] if node_matches(globs, want.name))
            kept = self._linked[other.name, globs] = [want._replace(hidden=True) for want in chosen]
        return kept

    def _forget_what_is_old(self) -> None:
        version = self.version
        if version != self._made_for:
            self._made_for = version
            self._members.clear()
            self._linked.clear()
