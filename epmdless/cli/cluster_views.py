"""The cluster as the process behind a control socket shows it, in types.

All times are seconds, counted back from the moment of the sample; None = never, or not known. States and
reasons are words that a later version may have more of.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec


class SourceView(msgspec.Struct, frozen=True):
    """A source of names.

    `age` is that of its last list, which had so many `names`. Where it does not know who is there,
    `failing_for` says since when. `expired`: its last list is too old to be used.
    """

    name: str
    kind: str
    state: str
    names: int = 0
    age: float | None = None
    reason: str | None = None
    detail: str | None = None
    failing_for: float | None = None
    expired: bool = False


class PeerView(msgspec.Struct, frozen=True):
    """A node that a local node shall be connected to, or was.

    `sources` name it, the first of them since `seen`. `next_attempt` is so far ahead.
    """

    name: str
    state: str
    hidden: bool = False
    sources: tuple[str, ...] = ()
    seen: float | None = None
    reason: str | None = None
    detail: str | None = None
    attempts: int = 0
    next_attempt: float | None = None


class NodeView(msgspec.Struct, frozen=True):
    """A local node: whether we can talk to it (`since`), and how many of its wanted peers are connected."""

    name: str
    state: str
    reason: str | None = None
    detail: str | None = None
    otp: str | None = None
    since: float | None = None
    connected: int = 0
    wanted: int = 0
    peers: tuple[PeerView, ...] = ()


class GroupView(msgspec.Struct, frozen=True):
    """Local nodes that are joined with the same peers; `name` None: those that belong to no group, or of
    which it is not known yet."""

    name: str | None
    nodes: tuple[NodeView, ...] = ()

    def pairs(self) -> Iterator[tuple[NodeView, PeerView]]:
        """Each local node with each of its peers."""
        for node in self.nodes:
            for peer in node.peers:
                yield node, peer


class ClusterSample(msgspec.Struct, frozen=True):
    """The cluster at one moment of the process's monotonic clock.

    `ready`: each local node is connected to `wanted_ready` peers, or more.
    """

    now: float
    ready: bool
    wanted_ready: int = 0
    sources: tuple[SourceView, ...] = ()
    groups: tuple[GroupView, ...] = ()


class ClusterAnswer(NamedTuple):
    """The same twice: the document as it came, and in types."""

    document: dict[str, Any]
    sample: ClusterSample
