"""``[cluster]``: which nodes are joined with which, and where their names come from."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from epmdless.config.sources import SourceSection
from epmdless.config.values import Duration, Section


class ReadySection(Section, frozen=True):
    """``[cluster.ready]``: what ``/readyz`` waits for."""

    peers: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 0
    """Peers that each local node must be connected to."""


class GroupSection(Section, frozen=True):
    """``[cluster.group.NAME]``: nodes that are joined with each other, and with nobody else."""

    nodes: tuple[str, ...]
    """Globs over alive names, or over whole names where one holds an ``@``."""
    sources: tuple[str, ...] | None = None
    """The sources that name its nodes, in order of precedence; absent: all, in the file's order."""
    cookie_file: str | None = None
    """Absent: the one of [cluster]."""


class GroupLinkSection(Section, frozen=True):
    """``[[cluster.link]]``: chosen nodes of two groups, connected as hidden nodes."""

    groups: tuple[str, str]
    nodes: tuple[str, ...]
    """Globs: nodes of either group that are linked to those of the other."""


class ClusterSection(Section, frozen=True):
    """``[cluster]``: joining; on as soon as there is a source."""

    cookie_file: str | None = None
    """Path of a file with the cookie of the local nodes."""
    nodes: tuple[str, ...] = ("*",)
    """Local nodes that are joined, of those that are registered here: globs as in a group."""
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
    source: dict[str, SourceSection] = msgspec.field(default_factory=dict)
    group: dict[str, GroupSection] = msgspec.field(default_factory=dict)
    """Absent: one group, ``default``, of all nodes."""
    link: tuple[GroupLinkSection, ...] = ()
