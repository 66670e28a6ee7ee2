"""A world of nodes in memory for joiners: who is up, who is connected to whom, and who was told what."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import NamedTuple

import trio

from epmdless.cluster.attempts import PeerState
from epmdless.cluster.groups import Group, Want
from epmdless.cluster.guide import Wants
from epmdless.cluster.joiner import Joiner
from epmdless.cluster.local_node import LocalNode
from epmdless.cluster.trouble import NodeError
from epmdless.metrics import Metrics
from epmdless.net.cookies import CookiePlace
from epmdless.rules import Glob
from epmdless.wire.terms import Atom, Term
from tests.cluster.scripted_node import FLAGS
from tests.support.relays import Lines

GROUP = Group("default", (Glob("*"),), ("dns",), CookiePlace("/etc/cookie"))

LATENCY = 0.001
"""Seconds for a call, and for a look."""

SETUP = 0.01
"""For one node to connect to another."""


class Attempt(NamedTuple):
    """A node was told to connect to another."""

    at: float
    node: str
    peer: str
    hidden: bool


class Nodes:
    """All nodes.

    :ivar up: those that can be connected to.
    :ivar pairs: who is connected.
    :ivar refusing: nodes that refuse every connection.
    :ivar hidden: nodes that were started as hidden ones.
    :ivar hanging: nodes to which no connection comes about, and which nobody can tell from others.
    :ivar attempts: what nodes were told; those of them that had no connection yet are in `needed`.
    """

    def __init__(self, *up: str) -> None:
        self.up = set(up)
        self.pairs: set[frozenset[str]] = set()
        self.refusing: set[str] = set()
        self.hidden: set[str] = set()
        self.hanging: set[str] = set()
        self.attempts: list[Attempt] = []
        self.disconnects: list[Attempt] = []
        self.looks = 0
        self.downs: dict[str, trio.Event] = {}

    def connect(self, node: str, peer: str) -> None:
        """As another than us may do it."""
        self.pairs.add(frozenset((node, peer)))

    def part(self, node: str, peer: str) -> None:
        """Their connection breaks."""
        self.pairs.discard(frozenset((node, peer)))

    def connected(self, node: str) -> list[str]:
        """Whom a node is connected to."""
        return sorted(name for pair in self.pairs if node in pair for name in pair if name != node)

    def goes_down(self, node: str) -> None:
        """A node dies."""
        self.up.discard(node)
        self.pairs = {pair for pair in self.pairs if node not in pair}
        self.downs.setdefault(node, trio.Event()).set()
        del self.downs[node]

    async def told(self, node: str, peer: str, *, hidden: bool) -> Atom:
        """A node is told to connect to a peer."""
        self.attempts.append(Attempt(trio.current_time(), node, peer, hidden))
        if frozenset((node, peer)) in self.pairs:
            return Atom("true")
        await trio.sleep(SETUP)
        if peer in self.hanging:
            await trio.sleep(7)
        if peer not in self.up or peer in self.refusing | self.hanging:
            return Atom("false")
        self.connect(node, peer)
        return Atom("true")

    def told_of(self, peer: str) -> list[float]:
        """When nodes were told to connect to a peer."""
        return [attempt.at for attempt in self.attempts if attempt.peer == peer]


class FakeLink:
    """Our connection to one of them."""

    flags = FLAGS

    def __init__(self, nodes: Nodes, name: str) -> None:
        self.name = name
        self.is_closed = False
        self.instead: Term | None = None
        self._nodes = nodes
        self._down = nodes.downs.setdefault(name, trio.Event())

    async def serve(self) -> None:
        await self._down.wait()
        raise NodeError("closed")

    async def call(self, module: str, function: str, arguments: list[Term], seconds: float) -> Term:
        assert not self.is_closed
        await trio.sleep(LATENCY)
        nodes = self._nodes
        match module, function, arguments:
            case "erlang", "nodes", [Atom("connected")]:
                nodes.looks += 1
                return self.instead or [Atom(name) for name in nodes.connected(self.name)]
            case "init", "get_argument", [Atom("hidden")]:
                return (Atom("ok"), [[]]) if self.name in nodes.hidden else Atom("error")
            case "net_kernel", ("connect_node" | "hidden_connect_node"), [Atom() as peer]:
                with trio.move_on_after(seconds):
                    return await nodes.told(self.name, str(peer), hidden=function.startswith("hidden"))
                raise NodeError("timeout")
            case "erlang", "disconnect_node", [Atom() as peer]:
                nodes.disconnects.append(Attempt(trio.current_time(), self.name, str(peer), hidden=False))
                nodes.part(self.name, str(peer))
                return Atom("true")
        raise AssertionError(f"nobody should call {module}:{function}")

    def close(self) -> None:
        self.is_closed = True


class FakeGuide:
    """A cluster that wants what a test says.

    :ivar names: who is wanted, everywhere.
    :ivar opens: when each connection to a local node was begun.
    :ivar problem: why none can be made; None: it can.
    :ivar unseen: why a look at a peer finds nothing, after how many seconds.
    """

    def __init__(self, nodes: Nodes, names: Iterable[str]) -> None:
        self.nodes = nodes
        self.names = dict.fromkeys(names, True)
        self.hidden: set[str] = set()
        self.is_left_out = False
        self.changes = 0
        self.gone: dict[str, float] = {}
        self.opens: list[float] = []
        self.links: list[FakeLink] = []
        self.problem: NodeError | None = None
        self.unseen: dict[str, tuple[NodeError, float]] = {}
        self.here: dict[str, int] = {}
        self.reason = NodeError("refused")

    @property
    def version(self) -> object:
        return self.changes

    def wants(self, node: str) -> Wants:
        if self.is_left_out:
            return Wants(None, ())
        wanted = (Want(name, name in self.hidden, current) for name, current in self.names.items())
        return Wants(GROUP, tuple(want for want in wanted if want.name != node))

    def gone_since(self, name: str) -> float | None:
        return self.gone.get(name)

    async def open(self, local: LocalNode, met: Callable[[str], None]) -> FakeLink:
        self.opens.append(trio.current_time())
        await trio.sleep(LATENCY)
        if self.problem is not None:
            raise self.problem
        name = local.name if "@" in local.name else f"{local.name}@b1"
        if name not in self.nodes.up:
            raise NodeError("unreachable")
        met(name)
        self.links.append(FakeLink(self.nodes, name))
        return self.links[-1]

    async def look(self, name: str, *, again: bool) -> int | None:
        await trio.sleep(LATENCY)
        if name in self.unseen:
            error, seconds = self.unseen[name]
            await trio.sleep(seconds)
            raise error
        if name not in self.nodes.up:
            raise NodeError("not_registered")
        return self.here.get(name)

    async def reason_against(self, name: str) -> NodeError:
        await trio.sleep(LATENCY)
        return self.reason


class Joined:
    """A joiner at work, with all that it has around it."""

    def __init__(self, joiner: Joiner, guide: FakeGuide, counts: Metrics, lines: Lines) -> None:
        self.joiner = joiner
        self.guide = guide
        self.nodes = guide.nodes
        self.counts = counts
        self.lines = lines

    def want(self, *names: str) -> None:
        """Change who is wanted."""
        self.guide.names = dict.fromkeys(names, True)
        self.guide.changes += 1
        self.joiner.stir()

    @property
    def states(self) -> dict[str, str]:
        return {peer.name: peer.state for peer in self.joiner.peers}

    def peer(self, name: str) -> PeerState:
        return next(peer for peer in self.joiner.peers if peer.name == name)

    def events(self, event: str) -> list[object]:
        return [line for line in self.lines if line["event"] == event]


NODE = "a@b1"


def half() -> float:
    """Chance, when it has no part in a test."""
    return 0.5


@asynccontextmanager
async def joining(
    *names: str, up: Iterable[str] | None = None, rng: Callable[[], float] = half, is_hidden: bool = False
) -> AsyncIterator[Joined]:
    """A node `a@b1` that is to be joined with others.

    :param up: those that are up; None: all.
    :param is_hidden: it was started as a hidden one.
    """
    guide = FakeGuide(Nodes(NODE, *(names if up is None else up)), names)
    guide.nodes.hidden.update([NODE] if is_hidden else ())
    counts, lines = Metrics(), Lines()
    joiner = Joiner(LocalNode("a", 9001), guide, counts, lambda: lines, trio.current_time, rng)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(joiner.run)
        yield Joined(joiner, guide, counts, lines)
        nursery.cancel_scope.cancel()
    assert all(link.is_closed for link in guide.links)
