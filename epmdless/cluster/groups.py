"""Which nodes belong together: groups, the links between them, and who connects to whom."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from epmdless.config import ClusterSection
from epmdless.net.cookies import CookiePlace
from epmdless.rules import Glob

DEFAULT_GROUP = "default"
"""The name of the group of all nodes, where the configuration has none."""

REMEMBERED_GROUPS = 65_536
"""Names whose group is kept: three times the longest list of one source. All are dropped when full."""


def node_matches(globs: Sequence[Glob], node: str) -> bool:
    """Whether one of the globs matches: one with an ``@`` the whole name, else the alive name."""
    alive = node.partition("@")[0]
    return any(glob.matches(node if "@" in glob.text else alive) for glob in globs)


def common_cookie(section: ClusterSection) -> CookiePlace:
    """Where the cookie of groups is that have none of their own."""
    return CookiePlace(section.cookie_file or "", section.cookie_variable or "")


@dataclass(frozen=True, slots=True)
class Group:
    """Nodes that are joined with each other.

    :ivar sources: who names them, in order of precedence.
    :ivar cookie: where that of its local nodes is.
    """

    name: str
    nodes: tuple[Glob, ...]
    sources: tuple[str, ...]
    cookie: CookiePlace


@dataclass(frozen=True, slots=True)
class GroupLink:
    """Nodes of two groups that are connected, hidden."""

    groups: tuple[str, str]
    nodes: tuple[Glob, ...]


class Want(NamedTuple):
    """A node that a local node shall be connected to.

    :ivar is_current: whether a connection is made where there is none; not so while all who name the node
        have not known for too long.
    """

    name: str
    hidden: bool
    is_current: bool = True


class Groups:
    """The groups of a configuration; a node belongs to the first whose globs match it, or to none."""

    def __init__(self, groups: Sequence[Group], links: Sequence[GroupLink]) -> None:
        self.all = tuple(groups)
        self._links = tuple(links)
        self._by_name = {group.name: group for group in groups}
        self._known: dict[str, Group | None] = {}

    @classmethod
    def of(cls, section: ClusterSection) -> Groups:
        """The groups that a configuration describes, which was checked."""
        every = tuple(section.source)
        common = common_cookie(section)
        if not section.group:
            return cls([Group(DEFAULT_GROUP, (Glob("*"),), every, common)], ())
        groups = [
            Group(
                name,
                tuple(map(Glob, group.nodes)),
                every if group.sources is None else group.sources,
                CookiePlace(group.cookie_file) if group.cookie_file else common,
            )
            for name, group in section.group.items()
        ]
        return cls(groups, [GroupLink(link.groups, tuple(map(Glob, link.nodes))) for link in section.link])

    def group_of(self, node: str) -> Group | None:
        """The group that a node belongs to.

        :param node: its whole name.
        """
        try:
            return self._known[node]
        except KeyError:
            pass
        if len(self._known) >= REMEMBERED_GROUPS:
            self._known.clear()
        found = next((group for group in self.all if node_matches(group.nodes, node)), None)
        self._known[node] = found
        return found

    def linked_to(self, node: str, group: Group) -> list[tuple[Group, tuple[Glob, ...]]]:
        """The other groups with whose nodes this one is connected, and which of them."""
        found = []
        for link in self._links:
            if group.name in link.groups and node_matches(link.nodes, node):
                (other,) = (name for name in link.groups if name != group.name)
                found.append((self._by_name[other], link.nodes))
        return found

    def members(self, group: Group, names: Iterable[str]) -> list[str]:
        """Those of the names that belong to the group, in their order."""
        return [name for name in names if self.group_of(name) is group]


def connects_first(node: str, peer: str) -> bool:
    """Whether of this pair it is `node` that connects, as long as both can.

    Whoever asks this of the same pair, on whichever host, hears the same; over many pairs each node gets
    about half of its own.
    """
    low, high = sorted((node, peer))
    (chance,) = hashlib.blake2b(f"{low}\0{high}".encode(), digest_size=1).digest()
    return (chance % 2 == 0) == (node == low)
