"""What a joiner has around it: the connection to its node, and the cluster that knows who is wanted."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from epmdless.cluster.groups import Group, Want
from epmdless.cluster.local_node import LocalNode
from epmdless.cluster.trouble import NodeError
from epmdless.wire.terms import Term


class Link(Protocol):
    """Our connection to a node, see :class:`epmdless.cluster.node_link.NodeLink`."""

    @property
    def name(self) -> str:
        """The node's whole name."""

    @property
    def flags(self) -> int:
        """What it said that it can do."""

    async def serve(self) -> None:
        """Read until the connection ends, and raise NodeError then."""

    async def call(self, module: str, function: str, arguments: list[Term], seconds: float) -> Term:
        """Call a function in the node. Raises NodeError."""

    def close(self) -> None:
        """Close the connection."""


class Wants(NamedTuple):
    """What a node is joined with, in force now.

    :ivar group: None: it belongs to none, and is left alone.
    """

    group: Group | None
    peers: tuple[Want, ...]


class Guide(Protocol):
    """What joiners ask of the cluster around them."""

    @property
    def version(self) -> object:
        """Changes when wants may have changed."""

    def wants(self, node: str) -> Wants:
        """What a node is joined with."""

    def gone_since(self, name: str) -> float | None:
        """Since when no source names a node that is to be disconnected for that; None: it is not."""

    async def open(self, local: LocalNode, met: Callable[[str], None]) -> Link:
        """Connect to a local node.

        :param met: told the node's whole name as soon as it is known, whatever comes after.
        :raises NodeError: no connection comes about.
        """

    async def look(self, name: str, *, again: bool) -> int | None:
        """See whether a peer is there.

        :param again: it was not, or could not be connected to, the last time: others come first.
        :returns: its port if it is on this machine, as far as can be seen; None: it is elsewhere.
        :raises NodeError: it is not, as far as can be seen.
        """

    async def reason_against(self, name: str) -> NodeError:
        """Say why a node could not connect to a peer."""
