"""Nodes that speak TLS distribution: whom we speak to, with which certificates, and how it fails."""

from __future__ import annotations

import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from epmdless.cluster.encryption import Encryption, load_node_context
from epmdless.cluster.local_node import LocalNode
from epmdless.cluster.prepared import prepare
from epmdless.cluster.scout import TLS_SECONDS as LOOK_TLS_SECONDS
from epmdless.cluster.server import TLS_SECONDS, Cluster
from epmdless.cluster.sources.build import Surroundings
from epmdless.cluster.trouble import NodeError
from epmdless.config import decode
from epmdless.errors import ConfigError
from epmdless.metrics import CERTIFICATE_END, Metrics
from epmdless.net.tls.contexts import Certificates, TlsFiles, load_server_context
from epmdless.net.tls.keeper import LOOK, CertificateKeeper
from epmdless.wire.epmd import Node
from epmdless.wire.terms import Atom
from tests.cluster.scripted_epmd import ScriptedEpmd
from tests.cluster.scripted_node import COOKIE, HTTP, ScriptedNode, Step
from tests.support.certificates import Authority, Issued
from tests.support.hops import tables
from tests.support.relays import Lines

OWN = "h1.test"
HOST = "127.0.5.6"
NAME = f"app@{HOST}"
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


class World:
    """A cluster that was never started, and a node that speaks TLS and whose host has an EPMD server."""

    def __init__(self, nursery: trio.Nursery, epmd: ScriptedEpmd, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority(folder)
        self.own = self.authority.issue("epmdless.test")
        self.epmd = epmd
        self.node = ScriptedNode(NAME)
        self.counts, self.lines = Metrics(), Lines()
        self.keeper = CertificateKeeper(self.counts, self.lines)
        self.cluster = Cluster(
            self.counts, self.lines, lambda: (), own_host=OWN, epmd_port=epmd.port, keeper=self.keeper
        )
        (folder / "cookie").write_bytes(COOKIE)
        (folder / "cookie").chmod(0o600)
        self.nursery = nursery
        self.local = LocalNode("app")

    def certify(
        self,
        *names: str,
        by: Authority | None = None,
        version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
        asks: bool = True,
        **how: Any,
    ) -> None:
        """Give the node a certificate.

        :param version: of TLS, which alone it speaks.
        :param asks: it takes nobody without a certificate.
        """
        issued = (by or self.authority).issue(*names, **how)
        files = TlsFiles(str(issued.cert), str(issued.key), str(self.authority.ca), "1.2")
        self.node.tls = load_server_context(files, "node")
        self.node.tls.minimum_version = self.node.tls.maximum_version = version
        if not asks:
            self.node.tls.verify_mode = ssl.CERT_NONE

    def take_on(self, tls: dict[str, object] | None = None, own: Issued | None = None) -> None:
        """Have a configuration.

        :param tls: keys of ``[cluster.tls]`` in place of what works.
        :param own: our certificate.
        """
        own = own or self.own
        keys = {"ca": self.authority.ca, "cert": own.cert, "key": own.key, **(tls or {})}
        given = {key: str(value) for key, value in keys.items() if value is not None}
        self._take_on(tables("cluster.tls", given))

    def take_on_plainly(self) -> None:
        """Have a configuration without TLS."""
        self._take_on("")

    def _take_on(self, text: str) -> None:
        own = {"cookie_file": str(self.folder / "cookie"), "named": [NAME], "users": ["*"]}
        source = {"kind": "static", "nodes": ["never@asked"]}
        text = tables("cluster", own) + tables("cluster.source.list", source) + text
        around = Surroundings(self.counts, self.lines, {}, OWN, lambda: ())
        self.cluster.take_on(prepare(decode(text, "e.toml").cluster, around, "e.toml", {}))

    async def call(self, local: LocalNode | None = None) -> str:
        """Connect to the node and call it; under which name of ours."""
        link = await self.cluster.open(local or self.local, lambda _: None)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.serve)
            assert await link.call("erlang", "nodes", [Atom("connected")], 5) == []
            nursery.cancel_scope.cancel()
        link.close()
        return self.node.visits[-1].name

    async def problem(self, local: LocalNode | None = None) -> NodeError:
        """Why the node cannot be connected to."""
        with pytest.raises(NodeError) as caught:
            await self.cluster.open(local or self.local, lambda _: None)
        return caught.value

    @property
    def heard(self) -> list[str]:
        """The names under which we came to the node, as far as it heard them."""
        return [visit.name for visit in self.node.visits if visit.name]


@asynccontextmanager
async def world_at(folder: Path) -> AsyncIterator[World]:
    async with trio.open_nursery() as nursery:
        epmd = ScriptedEpmd()
        await nursery.start(epmd.listen, HOST)
        world = World(nursery, epmd, folder)
        port = await nursery.start(world.node.listen, HOST)
        epmd.nodes["app"] = Node(port, "app")
        world.local = LocalNode("app", port)
        yield world
        nursery.cancel_scope.cancel()


async def jumped(
    world: World, clock: MockClock, seconds: float, ask: Callable[[], Awaitable[NodeError]]
) -> NodeError:
    """What comes out where nothing happens for so long."""
    errors: list[NodeError] = []

    async def wait() -> None:
        errors.append(await ask())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        while not world.node.visits:
            await wait_all_tasks_blocked(0.001)
        await wait_all_tasks_blocked(0.05)
        clock.jump(seconds)
    return errors[0]


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_node_is_called_by_tls(tmp_path: Path, version: ssl.TLSVersion) -> None:
    async with world_at(tmp_path) as world:
        world.certify(OWN, version=version)
        world.take_on()
        assert await world.call() == f"epmdless-1@{OWN}"
        assert world.node.visits[0].proofs == 1


@pytest.mark.parametrize("keys", [{}, {"cert": None, "key": None}])
async def test_a_node_that_asks_for_no_certificate(tmp_path: Path, keys: dict[str, object]) -> None:
    async with world_at(tmp_path) as world:
        world.certify(OWN, asks=False)
        world.take_on(keys)
        assert await world.call() == f"epmdless-1@{OWN}"


async def test_the_next_name_is_tried_on_a_connection_of_its_own(tmp_path: Path) -> None:
    async with world_at(tmp_path) as world:
        world.certify(OWN)
        world.take_on()
        world.node.taken.add(f"epmdless-1@{OWN}")
        assert await world.call() == f"epmdless-2@{OWN}"


async def test_an_old_node(tmp_path: Path) -> None:
    async with world_at(tmp_path) as world:
        world.certify(OWN, version=ssl.TLSVersion.TLSv1_2)
        world.take_on()
        assert await world.call(world.local._replace(highest=5)) == f"epmdless-1@{OWN}"
        assert world.node.visits[0].flags < 1 << 32


async def test_whom_certificates_are_for(tmp_path: Path) -> None:
    """Of a registered node: for our own host, or `server_name`; of a named one: for its own."""
    named = LocalNode(NAME)
    async with world_at(tmp_path) as world:
        world.certify("b1.test")
        world.take_on({"server_name": "b1.test"})
        assert await world.call()
        assert (await world.problem(named)).reason == "certificate"
        world.certify(HOST)
        assert (await world.problem()).reason == "certificate"
        assert await world.call(named)
        world.take_on({"server_name": HOST})
        assert await world.call()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("names", "how", "text"),
    [
        (["h2.test"], {}, "is not for the host asked for"),
        ([], {}, "is not for the host asked for"),
        ([OWN], {"expired": True}, "has expired"),
        ([OWN], {"not_yet": True}, "is not valid yet"),
    ],
)
async def test_a_node_whose_certificate_does_not_hold_is_told_nothing(
    tmp_path: Path, version: ssl.TLSVersion, names: list[str], how: dict[str, Any], text: str
) -> None:
    async with world_at(tmp_path) as world:
        world.certify(*names, version=version, **how)
        world.take_on()
        error = await world.problem()
        assert error.reason == "certificate"
        assert text in error.detail
        assert world.heard == []


async def test_a_node_with_a_certificate_of_another_authority(tmp_path: Path) -> None:
    async with world_at(tmp_path) as world:
        world.certify(OWN, by=Authority(tmp_path, "other"))
        world.take_on()
        error = await world.problem()
        assert (error.reason, world.heard) == ("certificate", [])
        assert "from a CA that is not in our ca file" in error.detail


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_node_that_does_not_take_our_certificate(tmp_path: Path, version: ssl.TLSVersion) -> None:
    """With TLS 1.3 it says so when we believe to be through already."""
    async with world_at(tmp_path) as world:
        world.certify(OWN, version=version)
        world.take_on(own=Authority(tmp_path, "other").issue("epmdless.test"))
        assert (await world.problem()).reason == "certificate"
        world.take_on({"cert": None, "key": None})
        assert (await world.problem()).reason in ("certificate", "tls")
        assert world.heard == []


async def test_a_node_that_speaks_no_version_of_ours(tmp_path: Path) -> None:
    async with world_at(tmp_path) as world:
        world.certify(OWN, version=ssl.TLSVersion.TLSv1_2)
        world.take_on({"min_version": "1.3"})
        assert (await world.problem()).reason == "tls"


async def test_a_node_that_speaks_no_tls(tmp_path: Path, mock_clock: MockClock) -> None:
    """It waits for the end of what it takes for a long message, as real ones do."""
    async with world_at(tmp_path) as world:
        world.take_on()
        error = await jumped(world, mock_clock, TLS_SECONDS, world.problem)
        assert (error.reason, world.heard) == ("tls", [])
        assert "does it speak TLS?" in error.detail


@pytest.mark.parametrize("says", [HTTP, b"\0\1n", b"\x15\x03"])
async def test_what_answers_without_tls(tmp_path: Path, says: bytes, mock_clock: MockClock) -> None:
    async with world_at(tmp_path) as world:
        world.node.greeting = says
        world.take_on()
        error = await jumped(world, mock_clock, TLS_SECONDS, world.problem)
        assert error.reason == "tls"


async def test_a_node_that_ends_the_connection_at_once(tmp_path: Path) -> None:
    async with world_at(tmp_path) as world:
        world.node.stops_at, world.node.stops_by = Step.ACCEPTED, "close"
        world.take_on()
        assert (await world.problem()).reason == "tls"


@pytest.mark.parametrize(("step", "reason"), [(Step.NAME, "closed"), (Step.REPLY, "cookie")])
async def test_a_node_that_ends_the_connection_later(tmp_path: Path, step: Step, reason: str) -> None:
    async with world_at(tmp_path) as world:
        world.certify(OWN)
        world.node.stops_at, world.node.stops_by = step, "close"
        world.take_on()
        assert (await world.problem()).reason == reason


async def test_a_host_that_no_certificate_can_be_for(tmp_path: Path) -> None:
    files = TlsFiles(None, None, str(Authority(tmp_path).ca))
    encryption = Encryption(Certificates(files, "cluster.tls", load_node_context))
    ours, theirs = trio.socket.socketpair()
    with theirs:
        with pytest.raises(NodeError) as caught:
            await encryption.begin(ours, ".x", 1)
        assert caught.value.reason == "certificate"
        assert ours.fileno() == -1


class TestPeers:
    """Why a node could not connect to a peer, where nodes speak TLS."""

    async def test_nothing_is_wrong_that_can_be_seen(self, tmp_path: Path) -> None:
        async with world_at(tmp_path) as world:
            world.certify(HOST)
            world.take_on({"server_name": "of.registered.ones"})
            assert (await world.cluster.reason_against(NAME)).reason == "refused"
            assert world.heard == [f"epmdless-8@{OWN}"]
            assert world.node.visits[0].proofs == 0

    async def test_its_certificate_is_for_another_host(self, tmp_path: Path) -> None:
        async with world_at(tmp_path) as world:
            world.certify(OWN)
            world.take_on()
            assert (await world.cluster.reason_against(NAME)).reason == "certificate"

    async def test_it_does_not_take_our_certificate(self, tmp_path: Path) -> None:
        async with world_at(tmp_path) as world:
            world.certify(HOST)
            world.take_on(own=Authority(tmp_path, "other").issue("epmdless.test"))
            assert (await world.cluster.reason_against(NAME)).reason == "certificate"

    async def test_it_speaks_no_tls(self, tmp_path: Path, mock_clock: MockClock) -> None:
        async with world_at(tmp_path) as world:
            world.take_on()

            async def ask() -> NodeError:
                return await world.cluster.reason_against(NAME)

            assert (await jumped(world, mock_clock, LOOK_TLS_SECONDS, ask)).reason == "tls"


class TestFiles:
    """What is loaded, and when."""

    async def test_certificates_are_read_again_when_they_change(
        self, tmp_path: Path, mock_clock: MockClock
    ) -> None:
        async with world_at(tmp_path) as world:
            world.certify(OWN)
            right = world.authority.ca.read_bytes()
            ca = tmp_path / "trusted"
            ca.write_bytes(Authority(tmp_path, "other").ca.read_bytes())
            world.take_on({"ca": ca})
            assert (await world.problem()).reason == "certificate"
            world.nursery.start_soon(world.keeper.serve)
            await wait_all_tasks_blocked()
            ca.write_bytes(right + right)
            mock_clock.jump(LOOK)
            await wait_all_tasks_blocked()
            assert await world.call()

    async def test_their_end_is_shown_while_they_are_used(self, tmp_path: Path) -> None:
        async with world_at(tmp_path) as world:
            world.take_on()
            ends = world.counts.value(CERTIFICATE_END, "cluster")
            assert 29 < (ends - time.time()) / 86_400 < 31
            world.take_on_plainly()
            assert list(world.counts.samples(CERTIFICATE_END)) == []

    @pytest.mark.parametrize("key", ["ca", "cert", "key"])
    async def test_a_bad_file_is_named(self, tmp_path: Path, key: str) -> None:
        async with world_at(tmp_path) as world:
            bad = tmp_path / "bad"
            bad.touch(mode=0o600)
            with pytest.raises(ConfigError) as caught:
                world.take_on({key: bad})
            assert (caught.value.source, caught.value.key) == ("e.toml", f"cluster.tls.{key}")
            assert str(bad) in caught.value.problem
            assert not world.cluster.is_on
