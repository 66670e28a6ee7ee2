"""How the cluster gets to a local node: over TCP, on whatever address it listens."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from epmdless.cluster.groups import Groups
from epmdless.cluster.local_node import LocalNode
from epmdless.cluster.node_link import NodeLink
from epmdless.cluster.prepared import Prepared
from epmdless.cluster.server import Cluster
from epmdless.cluster.trouble import NodeError
from epmdless.cluster.users import Users
from epmdless.config import decode
from epmdless.metrics import Metrics
from epmdless.rules import Glob
from epmdless.wire.epmd import Node
from epmdless.wire.terms import Atom
from tests.cluster.scripted_epmd import ScriptedEpmd
from tests.cluster.scripted_node import COOKIE, ScriptedNode
from tests.support.ports import closed_port
from tests.support.relays import Lines

HOST = "127.0.5.4"


class World:
    """A cluster that was never started, a node, and an EPMD server of another host."""

    def __init__(self, nursery: trio.Nursery, epmd: ScriptedEpmd, folder: Path) -> None:
        self.nursery = nursery
        self.epmd = epmd
        self.node = ScriptedNode(f"app@{HOST}")
        self.ours: set[str] = set()
        self.met: list[str] = []
        self.cluster = Cluster(
            Metrics(),
            Lines(),
            lambda: (),
            own_host="h1.test",
            epmd_port=epmd.port,
            is_ours=lambda address, _: address in self.ours,
        )
        (folder / "cookie").write_bytes(COOKIE)
        (folder / "cookie").chmod(0o600)
        text = f"""
            [cluster]
            cookie_file = "{folder}/cookie"
            named = ["app@{HOST}"]
            [cluster.source.file]
            kind = "static"
            nodes = ["never@asked"]
            """
        section = decode(text, "test.toml").cluster
        self.cluster.take_on(Prepared(section, Groups.of(section), (Glob("*"),), Users(("*",), ""), {}))

    async def listen(self, address: str, port: int = 0) -> int:
        """Have the node listen; its port."""
        listened: int = await self.nursery.start(self.node.listen, address, port)
        return listened

    async def is_reached(self, local: LocalNode) -> bool:
        """Whether that leads to the node."""
        link: NodeLink = await self.cluster.open(local, self.met.append)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.serve)
            assert await link.call("erlang", "nodes", [Atom("connected")], 5) == []
            nursery.cancel_scope.cancel()
        link.close()
        return link.name == self.node.name

    async def problem(self, local: LocalNode) -> NodeError:
        """Why it does not."""
        with pytest.raises(NodeError) as caught:
            await self.cluster.open(local, self.met.append)
        return caught.value


@asynccontextmanager
async def world_at(folder: Path) -> AsyncIterator[World]:
    async with trio.open_nursery() as nursery:
        epmd = ScriptedEpmd()
        await nursery.start(epmd.listen, HOST)
        yield World(nursery, epmd, folder)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "0.0.0.0", "::", "127.0.5.7"])
async def test_a_registered_node_is_reached_where_it_listens(tmp_path: Path, address: str) -> None:
    async with world_at(tmp_path) as world:
        assert await world.is_reached(LocalNode("app", await world.listen(address)))
        assert world.met == [world.node.name]


@pytest.mark.parametrize("highest", [5, 6])
async def test_an_old_node_is_greeted_as_one(tmp_path: Path, highest: int) -> None:
    async with world_at(tmp_path) as world:
        assert await world.is_reached(LocalNode("app", await world.listen("127.0.0.1"), highest))
        is_old_greeting = world.node.visits[0].flags < 1 << 32
        assert is_old_greeting == (highest == 5)


async def test_a_port_on_which_nobody_listens(tmp_path: Path) -> None:
    with closed_port() as port:
        async with world_at(tmp_path) as world:
            assert (await world.problem(LocalNode("app", port))).reason == "unreachable"
            assert world.met == []


async def test_our_own_listener_is_not_the_node(tmp_path: Path) -> None:
    """A relay's stand-in for a node of another host, which may have the same alive name."""
    async with world_at(tmp_path) as world:
        port = await world.listen("127.0.5.7")
        with socket.socket() as stand_in:
            stand_in.bind(("127.0.5.6", port))
            stand_in.listen()
            world.ours = {"127.0.5.6"}
            assert await world.is_reached(LocalNode("app", port))
            world.ours = {"127.0.5.6", "127.0.5.7"}
            error = await world.problem(LocalNode("app", port))
            assert error.reason == "unreachable"
            assert "epmdless itself" in error.detail


async def test_a_node_behind_a_stand_in_of_ours_is_not_here(tmp_path: Path) -> None:
    """A relay answers for it with its own port, which a node of this machine may have as well: it passed for
    that one, and was never joined."""
    async with world_at(tmp_path) as world:
        world.epmd.nodes["app"] = Node(9001, "app")
        assert await world.cluster.look(f"app@{HOST}", again=False) == 9001
        world.ours.add(HOST)
        assert await world.cluster.look(f"app@{HOST}", again=False) is None


async def test_a_node_that_the_configuration_names_is_asked_for(tmp_path: Path) -> None:
    async with world_at(tmp_path) as world:
        named = LocalNode(f"app@{HOST}")
        assert (await world.problem(named)).reason == "not_registered"
        world.epmd.nodes["app"] = Node(await world.listen(HOST), "app")
        assert await world.is_reached(named)
        assert world.epmd.asked == ["app", "app"]


async def test_a_named_node_whose_port_is_shut(tmp_path: Path) -> None:
    with closed_port() as port:
        async with world_at(tmp_path) as world:
            world.epmd.nodes["app"] = Node(port, "app")
            assert (await world.problem(LocalNode(f"app@{HOST}"))).reason == "port_unreachable"


async def test_another_cookie_and_a_reset(tmp_path: Path) -> None:
    async with world_at(tmp_path) as world:
        port = await world.listen("127.0.0.1")
        world.node.cookie = b"another"
        assert (await world.problem(LocalNode("app", port))).reason == "cookie"
        assert world.met == [world.node.name]


async def test_a_node_of_another_name(tmp_path: Path) -> None:
    async with world_at(tmp_path) as world:
        port = await world.listen("127.0.0.1")
        assert (await world.problem(LocalNode("other", port))).reason == "other_name"
        assert world.met == []
        assert world.node.visits[0].proofs == 0
