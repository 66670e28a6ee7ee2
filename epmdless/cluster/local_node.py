"""Local nodes: those that are registered here, and those that the configuration names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from epmdless.cluster.groups import node_matches
from epmdless.names import is_transient
from epmdless.registry import Registration
from epmdless.rules import Glob
from epmdless.wire.epmd import NodeType


class LocalNode(NamedTuple):
    """A node that is to be joined.

    :ivar name: its alive name where it is registered here; its whole name where the configuration names it.
    :ivar port: where it listens on this machine; 0: it has to be asked for.
    :ivar highest: the highest version that it told EPMD.
    :ivar creation: tells it from a node of this name before it.
    """

    name: str
    port: int = 0
    highest: int = 6
    creation: int = 0


def local_nodes(
    registrations: Iterable[Registration], wanted: Sequence[Glob], named: Sequence[str]
) -> Iterator[LocalNode]:
    """The nodes that are to be joined.

    A hidden node stays out, as it asked for, and a transient one too. One of Erlang's own tells its EPMD
    nothing of that, and has to be asked.

    :param wanted: which of those that are registered: globs over alive names. A glob over whole names has to
        wait (:func:`belongs`): EPMD knows the alive name alone.
    :param named: whole names of others.
    """
    alive_globs = [Glob(glob.text.partition("@")[0]) for glob in wanted]
    for registration in registrations:
        node = registration.node
        if node.node_type != NodeType.NORMAL or is_transient(node.name):
            continue
        if any(glob.matches(node.name) for glob in alive_globs):
            yield LocalNode(node.name, node.port, node.highest, registration.creation)
    for name in named:
        yield LocalNode(name)


def belongs(node: str, wanted: Sequence[Glob]) -> bool:
    """Whether a node, whose whole name is known now, is one of those that are wanted."""
    return node_matches(wanted, node)
