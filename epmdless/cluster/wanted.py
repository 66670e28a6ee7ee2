"""Whom a local node shall be connected to: groups and their links over what the sources say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

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
        self._of_groups: dict[str, _OfGroup] = {}
        self._of_links: dict[tuple[str, tuple[Glob, ...]], tuple[list[Want], int]] = {}

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
        mine = self._of_group(group)
        wants = [want for want in mine.wants if want.name != node]
        count = len(mine.members) - (node in mine.named)
        for other, globs in self._prepared.groups.linked_to(node, group):
            linked, number = self._of_link(other, globs)
            wants += linked
            count += number
        peers = tuple(wants[: self._prepared.section.max_peers])
        return Wants(group, peers), count - len(peers)

    def namings(self, group: Group) -> dict[str, Naming]:
        """Who is named for a group, by whom."""
        return self._of_group(group).named

    def _of_group(self, group: Group) -> _OfGroup:
        self._forget_what_is_old()
        kept = self._of_groups.get(group.name)
        if kept is None:
            named = self._roster.named(group.sources, self._clock(), self._prepared.section.max_age)
            place = {source: number for number, source in enumerate(group.sources)}
            # In an order that no answer changes: those beyond `max_peers` must be the same each time.
            members = sorted(self._prepared.groups.members(group, named))
            members.sort(key=lambda name: place[named[name].sources[0]])
            most = self._prepared.section.max_peers + 1  # each node leaves itself out
            kept = self._of_groups[group.name] = _OfGroup(named, members, _wants(members[:most], named))
        return kept

    def _of_link(self, other: Group, globs: tuple[Glob, ...]) -> tuple[list[Want], int]:
        """Those of the members of another group that a link chooses, and how many that are."""
        self._forget_what_is_old()
        kept = self._of_links.get((other.name, globs))
        if kept is None:
            theirs = self._of_group(other)
            chosen = [name for name in theirs.members if node_matches(globs, name)]
            wants = _wants(chosen[: self._prepared.section.max_peers], theirs.named, hidden=True)
            kept = self._of_links[other.name, globs] = wants, len(chosen)
        return kept

    def _forget_what_is_old(self) -> None:
        version = self.version
        if version != self._made_for:
            self._made_for = version
            self._of_groups.clear()
            self._of_links.clear()


class _OfGroup(NamedTuple):
    """What is known of a group.

    :ivar named: by its sources, of whatever group.
    :ivar members: those that belong to it.
    :ivar wants: of as many of them as a node can be joined with.
    """

    named: dict[str, Naming]
    members: list[str]
    wants: list[Want]


def _wants(names: list[str], named: Mapping[str, Naming], *, hidden: bool = False) -> list[Want]:
    return [Want(name, hidden, named[name].is_current) for name in names]
