"""``[cluster]``: which nodes are joined with which, and where their names come from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec

from epmdless.config.checks import check_distinct, check_globs, check_node_names, check_path, check_table_name
from epmdless.config.client_tls import ClientTlsSection
from epmdless.config.errors import SectionError, quoted
from epmdless.config.gateway import TlsVersion
from epmdless.config.sources import SourceSection
from epmdless.config.values import Duration, Section

MAX_SOURCES = 32
"""Each runs by itself, on every host, and may hold a list of 20,000 names."""

MAX_GROUPS = 64
"""Each name that is new is tried with the patterns of all of them; every group has its own metrics."""

MAX_GROUP_LINKS = MAX_GROUPS * (MAX_GROUPS - 1) // 2
"""As many as there can be pairs of groups."""

MAX_USERS = 100
"""Of which a machine's nodes are: one, or one an application."""

MAX_NAMED = 1000
"""Nodes that do not register here; we keep a connection to each."""


_USER = re.compile(r"[0-9]{1,10}|[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?")
"""A number, or a name as useradd(8) allows it."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")


class ReadySection(Section, frozen=True):
    """``[cluster.ready]``: what ``/readyz`` waits for."""

    peers: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 0
    """Peers that each local node must be connected to."""


class ClusterTlsSection(ClientTlsSection, frozen=True):
    """``[cluster.tls]``: the nodes speak TLS distribution.

    A node that registers here has a certificate for `server_name`; absent: ``resolve.host``. Any other has
    one for the host part of its name.
    """

    min_version: TlsVersion = "1.2"
    """As OTP's nodes may be set up."""


class GroupSection(Section, frozen=True):
    """``[cluster.group.NAME]``: nodes that are joined with each other, and with nobody else.

    A node belongs to the first group that has a pattern for it, in the file's order.
    """

    nodes: tuple[str, ...]
    """Globs over alive names, or over whole names where one holds an ``@``."""
    sources: tuple[str, ...] | None = None
    """The sources that name its nodes, in order of precedence; absent: all, in the file's order."""
    cookie_file: str | None = None
    """Absent: the one of [cluster]."""

    def __post_init__(self) -> None:
        if not self.nodes:
            raise SectionError("nodes", "an empty list matches nothing: take the whole group out for that")
        check_globs("nodes", self.nodes)
        if self.sources is not None:
            if not self.sources:
                raise SectionError("sources", "an empty list names nobody: leave the key out for all sources")
            check_distinct("sources", self.sources)
        if self.cookie_file is not None:
            check_path("cookie_file", self.cookie_file, of_secret=True)


class GroupLinkSection(Section, frozen=True):
    """``[[cluster.link]]``: chosen nodes of two groups, connected as hidden nodes."""

    groups: tuple[str, str]
    nodes: tuple[str, ...]
    """Globs: nodes of either group that are linked to those of the other."""

    def __post_init__(self) -> None:
        if self.groups[0] == self.groups[1]:
            raise SectionError(
                "groups", f"{self.groups[0]!r} twice: the nodes of one group are joined anyway"
            )
        if not self.nodes:
            raise SectionError("nodes", "an empty list links nothing: take the whole link out for that")
        check_globs("nodes", self.nodes)


class ClusterSection(Section, frozen=True):
    """``[cluster]``: joining; on as soon as there is a source."""

    cookie_file: str | None = None
    """Path of a file with the cookie of the local nodes."""
    cookie_variable: str | None = None
    """Or the variable of the environment that holds it, as ``RELEASE_COOKIE`` does in a container."""
    nodes: tuple[str, ...] = ("*",)
    """Local nodes that are joined, of those that are registered here: globs as in a group."""
    users: tuple[str, ...] = ()
    """Users, by name or number, whose processes may be local nodes, beside our own and root's; ``*``:
    everybody's. Whoever we take for a node can use our proof of the cookie, once, at another node."""
    named: tuple[str, ...] = ()
    """Nodes that are joined though they are not registered here: ``ALIVE@HOST``."""
    disconnect: Literal["never", "gone"] = "never"
    """``gone``: peers that every source has stopped naming for `hold` are disconnected."""
    hold: Duration = Duration(60)
    max_peers: Annotated[int, msgspec.Meta(ge=1, le=20_000)] = 1000
    """Peers that one local node is joined with at most."""
    max_age: Duration = Duration(86400)
    """For how long the last list of a source that has no answer is used for new connections."""
    ready: ReadySection = ReadySection()
    tls: ClusterTlsSection | None = None
    """Absent: the nodes speak no TLS."""
    source: dict[str, SourceSection] = msgspec.field(default_factory=dict)
    group: dict[str, GroupSection] = msgspec.field(default_factory=dict)
    """Absent: one group, ``default``, of all nodes."""
    link: tuple[GroupLinkSection, ...] = ()

    def __post_init__(self) -> None:
        self._check_counts()
        for name in self.source:
            check_table_name("source", name, "a source")
        for name in self.group:
            check_table_name("group", name, "a group")
        self._check_local_nodes()
        if not self.source:
            self._check_idle()
            return
        self._check_cookies()
        self._check_groups()
        self._check_links()
        if self.ready.peers > self.max_peers:
            problem = f"{self.ready.peers} are more than the {self.max_peers} of cluster.max_peers"
            raise SectionError("ready.peers", problem)

    def _check_counts(self) -> None:
        for key, count, most in (
            ("source", len(self.source), MAX_SOURCES),
            ("group", len(self.group), MAX_GROUPS),
            ("link", len(self.link), MAX_GROUP_LINKS),
            ("users", len(self.users), MAX_USERS),
            ("named", len(self.named), MAX_NAMED),
        ):
            if count > most:
                raise SectionError(key, f"{count} are more than {most}")

    def _check_local_nodes(self) -> None:
        check_globs("nodes", self.nodes)
        check_node_names("named", self.named)
        check_distinct("users", self.users)
        for number, user in enumerate(self.users):
            if user != "*" and not _USER.fullmatch(user):
                problem = f"{user!r} is neither a user's name or number, as text, nor `*`"
                raise SectionError(f"users[{number}]", problem)
        if not self.nodes and not self.named:
            raise SectionError("nodes", "an empty list joins nobody, as `named` is empty too")
        if self.cookie_file is not None:
            check_path("cookie_file", self.cookie_file, of_secret=True)
        if self.cookie_variable is not None:
            self._check_variable(self.cookie_variable)

    def _check_variable(self, name: str) -> None:
        if not _VARIABLE.fullmatch(name):
            problem = "not the name of a variable of the environment, as RELEASE_COOKIE"
            raise SectionError("cookie_variable", problem)
        if self.cookie_file is not None:
            raise SectionError("cookie_variable", "there is a cookie_file already: take one of them")

    def _check_idle(self) -> None:
        """Without a source nobody is joined, whatever else is said here."""
        for key, is_given in (
            ("cookie_file", self.cookie_file is not None),
            ("cookie_variable", self.cookie_variable is not None),
            ("named", bool(self.named)),
            ("users", bool(self.users)),
            ("disconnect", self.disconnect != "never"),
            ("ready.peers", self.ready.peers > 0),
            ("tls", self.tls is not None),
            ("group", bool(self.group)),
            ("link", bool(self.link)),
        ):
            if is_given:
                raise SectionError(key, "does nothing without a source: [cluster.source.NAME] with a `kind`")

    def _check_cookies(self) -> None:
        if self.cookie_file is not None or self.cookie_variable is not None:
            return
        without = [name for name, group in self.group.items() if group.cookie_file is None]
        if without or not self.group:
            whose = f"that of cluster.group.{quoted(without[0])}" if without else "that of the local nodes"
            problem = f"missing: to join nodes, epmdless needs their cookie, here {whose}"
            raise SectionError("cookie_file", problem)

    def _check_groups(self) -> None:
        """Each group has sources that there are, and each source has a group."""
        for name, group in self.group.items():
            for number, source in enumerate(group.sources or ()):
                if source not in self.source:
                    problem = f"{source!r} is no source; allowed: {', '.join(self.source)}"
                    raise SectionError(f"group.{quoted(name)}.sources[{number}]", problem)
        used = set(self._used_sources())
        for name in self.source:
            if name not in used:
                problem = "is never used: every group has `sources`, and none of them names it"
                raise SectionError(f"source.{quoted(name)}", problem)

    def _used_sources(self) -> Iterator[str]:
        if not self.group:
            yield from self.source
        for group in self.group.values():
            yield from self.source if group.sources is None else group.sources

    def _check_links(self) -> None:
        for number, link in enumerate(self.link):
            for place, name in enumerate(link.groups):
                if name not in self.group:
                    groups = ", ".join(self.group) or "none, for want of [cluster.group.NAME] tables"
                    problem = f"{name!r} is no group; allowed: {groups}"
                    raise SectionError(f"link[{number}].groups[{place}]", problem)
