"""A cluster under test: sources that say what a test says, scripted nodes in memory, the rest real."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import trio

from epmdless.cli.cluster_views import ClusterSample, NodeView, PeerView
from epmdless.cluster import prepared as preparing
from epmdless.cluster.local_node import LocalNode
from epmdless.cluster.node_link import NodeLink
from epmdless.cluster.peers import Known, Peer, Say, Unknown
from epmdless.cluster.server import Cluster
from epmdless.cluster.sources.build import Surroundings
from epmdless.cluster.trouble import NodeError
from epmdless.config import SourceSection, decode
from epmdless.metrics import Metrics
from epmdless.registry import Registry
from epmdless.wire.epmd import Node
from tests.cluster.scripted_node import COOKIE, ScriptedNode
from tests.support.relays import Lines

HOST = "b1.test"
SOURCE = '[cluster.source.{}]\nkind = "static"\nnodes = ["never@asked"]\n'


class FakeSource:
    """Says what a test says; `runs` and `ends` count how often it was run and cancelled."""

    def __init__(self, section: SourceSection) -> None:
        self.section = section
        self.runs = 0
        self.ends = 0
        self._say: Say | None = None
        self._last: Known | Unknown | None = None

    async def run(self, say: Say) -> None:
        self._say = say
        self.runs += 1
        if self._last is not None:
            say(self._last)
        try:
            await trio.sleep_forever()
        finally:
            self.ends += 1

    def knows(self, *names: str) -> None:
        """Say that these are there, and no others."""
        self._tell(Known(tuple(map(Peer, names))))

    def fails(self, reason: str = "timeout") -> None:
        """Say that it does not know."""
        self._tell(Unknown(reason, "no answer"))

    def _tell(self, said: Known | Unknown) -> None:
        self._last = said
        if self._say is not None:
            self._say(said)


class ClusterHere(Cluster):
    """A cluster whose local nodes are in memory, and whose peers are there unless a test says otherwise."""

    def __init__(self, nursery: trio.Nursery, counts: Metrics, lines: Lines, registry: Registry) -> None:
        super().__init__(
            counts,
            lines,
            lambda: registry,
            own_host=HOST,
            epmd_port=1,
            clock=trio.current_time,
        )
        self.nodes: dict[str, ScriptedNode] = {}
        self.absent: set[str] = set()
        self.opens = 0
        self.is_faulty = False
        self._nursery = nursery

    async def open(self, local: LocalNode, met: Callable[[str], None]) -> NodeLink:
        self.opens += 1
        if self.is_faulty:
            raise ZeroDivisionError
        node = self.nodes.get(local.name.partition("@")[0])
        if node is None:
            raise NodeError("unreachable")
        dial = node.dialer(self._nursery)

        def cookie(name: str) -> bytes:
            met(name)
            return self._cookie_for(name)

        return await NodeLink.open(dial, HOST, cookie, local.name, is_old=False)

    async def look(self, name: str, *, again: bool) -> None:
        await trio.lowlevel.checkpoint()
        if name in self.absent:
            raise NodeError("not_registered")

    async def reason_against(self, name: str) -> NodeError:
        await trio.lowlevel.checkpoint()
        return NodeError("refused")


class World:
    """A cluster at work, with all that it has around it."""

    def __init__(self, folder: Path, nursery: trio.Nursery) -> None:
        self.folder = folder
        self.counts, self.lines, self.registry = Metrics(), Lines(), Registry()
        self.sources: dict[str, FakeSource] = {}
        self.made: list[FakeSource] = []
        self.cluster = ClusterHere(nursery, self.counts, self.lines, self.registry)
        self._descriptors: dict[str, int] = {}
        self._next_descriptor = count(1000)
        self.cookie("cookie", COOKIE)

    def cookie(self, name: str, content: bytes) -> Path:
        """A cookie file."""
        path = self.folder / name
        path.write_bytes(content)
        path.chmod(0o600)
        return path

    def take_on(self, text: str = "", *sources: str, keys: str = "") -> None:
        """Make this the running configuration.

        :param text: tables after those of the sources.
        :param sources: names of sources; none: no cluster.
        :param keys: of ``[cluster]``.
        """
        head = f'[cluster]\ncookie_file = "{self.folder}/cookie"\n{keys}\n' if sources else ""
        whole = head + "".join(map(SOURCE.format, sources)) + text
        section = decode(whole, "test.toml").cluster
        around = Surroundings(self.counts, self.lines, {}, HOST, self.cluster.local_names)
        self.cluster.take_on(preparing.prepare(section, around, "test.toml", self.cluster.running))
        self.sources = {
            name: source
            for name, (_, source) in self.cluster.running.items()
            if isinstance(source, FakeSource)
        }

    def make(self, _name: str, section: SourceSection, _around: Surroundings, _file: str) -> FakeSource:
        """In place of building a real source."""
        self.made.append(FakeSource(section))
        return self.made[-1]

    def start(self, alive: str, host: str = HOST, cookie: bytes = COOKIE) -> ScriptedNode:
        """A node that starts and registers."""
        node = self.cluster.nodes[alive] = ScriptedNode(f"{alive}@{host}", cookie)
        self.register(alive)
        return node

    def register(self, alive: str) -> None:
        self._descriptors[alive] = next(self._next_descriptor)
        assert self.registry.register(Node(9001, alive), self._descriptors[alive], 100)

    def unregister(self, alive: str) -> None:
        assert self.registry.unregister(self._descriptors.pop(alive))

    def is_ready(self) -> bool:
        """Whether the whole is ready, at this moment."""
        return self.cluster.is_ready

    def view(self) -> ClusterSample:
        """What the command line sees."""
        document = self.cluster.view()
        assert document is not None
        sample = msgspec.json.decode(msgspec.json.encode(document), type=ClusterSample)
        _same_keys(document, msgspec.to_builtins(sample))
        return sample

    def node(self, name: str) -> NodeView:
        """What is to be seen of a local node."""
        (found,) = (node for group in self.view().groups for node in group.nodes if node.name == name)
        return found

    def peers(self, name: str) -> dict[str, PeerView]:
        """What is to be seen of a local node's peers."""
        return {peer.name: peer for peer in self.node(name).peers}

    def events(self, event: str) -> list[Any]:
        return [line for line in self.lines if line["event"] == event]


def _same_keys(document: Any, seen: Any, but: frozenset[str] = frozenset({"alive"})) -> None:
    """Whatever the command line knows is told by that name, and the other way round."""
    if isinstance(document, dict):
        assert document.keys() - but == seen.keys()
        for key in seen:
            _same_keys(document[key], seen[key])
    elif isinstance(document, list):
        for mine, its in zip(document, seen, strict=True):
            _same_keys(mine, its)


@asynccontextmanager
async def world_at(folder: Path) -> AsyncIterator[World]:
    """A cluster without a configuration, that runs until the end."""
    async with trio.open_nursery() as nursery:
        world = World(folder, nursery)
        await nursery.start(world.cluster.serve)
        yield world
        nursery.cancel_scope.cancel()
    assert not [line for line in world.lines if line["event"] == "internal error"] or world.cluster.is_faulty
    assert all(source.runs == source.ends for source in world.made)
