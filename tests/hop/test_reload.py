"""Hops as configurations and certificates come and go: what stays, what is made anew, what ends."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from epmdless import metrics
from epmdless.config import HopSection
from epmdless.hop.hop import Hop
from epmdless.hop.hops import Hops, prepare
from epmdless.hop.trouble import HopError, Trouble
from epmdless.metrics import Metrics
from epmdless.net.tls.connection import TlsConnection
from epmdless.net.tls.keeper import LOOK, CertificateKeeper
from tests.hop.scripted import Connection, ScriptedGateway, nobody, scripted, section_to, until
from tests.hop.test_pool import echoes, end
from tests.net.tls_ends import server_context
from tests.support.certificates import Authority, Issued
from tests.support.hops import CLIENT, GATEWAY, HOP, Certified
from tests.support.relays import Lines

HOST = "b1.test"
GAUGES = (metrics.GATEWAY_UP, metrics.HOP_READY, metrics.HOP_TUNNELS)


class World:
    """All hops of a process, with the keeper of their certificates."""

    def __init__(self) -> None:
        self.counts, self.lines = Metrics(), Lines()
        self.keeper = CertificateKeeper(self.counts, self.lines)
        self.hops = Hops(self.counts, self.lines, trio.current_time, nobody, self.keeper)

    def take_on(self, **sections: HopSection) -> None:
        named = {name.replace("_", "-"): section for name, section in sections.items()}
        self.hops.take_on(prepare(named, "test.toml"), self.lines)

    def of(self, gateway: ScriptedGateway, hop: str = HOP) -> list[float]:
        """The gauges of a gateway: up, ready, tunnels."""
        return [self.counts.value(gauge, hop, str(gateway.where)) for gauge in GAUGES]

    async def filled(self, count: int) -> None:
        await until(lambda: self.hops.descriptors == count, f"{count} ready connections")

    @property
    def hop(self) -> Hop:
        return self.hops[HOP]


@asynccontextmanager
async def world_of(*gateways: ScriptedGateway) -> AsyncIterator[World]:
    world = World()
    async with trio.open_nursery() as nursery:
        for gateway in gateways:
            await nursery.start(gateway.serve)
        await nursery.start(world.hops.serve)
        nursery.start_soon(world.keeper.serve)
        yield world
        nursery.cancel_scope.cancel()
    assert world.hops.descriptors == 0


async def test_a_hop_that_stays_keeps_its_gateways_and_tunnels(
    mock_clock: MockClock, certified: Certified
) -> None:
    gateway = scripted(certified)
    async with world_of(gateway) as world:
        section = section_to(gateway, certified=certified, ready=2)
        world.take_on(az_b=section)
        await world.filled(2)
        tunnel = await world.hop.tunnel(HOST, 9001)
        near = world.hop.gateways
        world.take_on(az_b=section)
        assert world.hop.gateways == near
        assert world.of(gateway)[2] == 1
        await until(lambda: gateway.accepted == 2 + 2, "connections by the new certificates")
        await world.filled(2)
        assert await echoes(tunnel)
        end(tunnel)
        assert world.of(gateway) == [1, 2, 0]


async def test_one_that_was_set_aside_stays_so(mock_clock: MockClock, certified: Certified) -> None:
    gateway = scripted(certified)
    async with world_of(gateway) as world:
        section = section_to(gateway, certified=certified)
        gateway.stop()
        world.take_on(az_b=section)
        with pytest.raises(HopError):
            await world.hop.tunnel(HOST, 9001)
        world.take_on(az_b=section)
        assert world.of(gateway)[0] == 0


async def test_a_hop_that_is_gone(mock_clock: MockClock, certified: Certified) -> None:
    gateway, other = scripted(certified), scripted(certified)
    async with world_of(gateway, other) as world:
        first, second = (section_to(each, certified=certified, ready=3) for each in (gateway, other))
        world.take_on(az_b=first, az_c=second)
        await world.filled(6)
        tunnel = await world.hop.tunnel(HOST, 9001)
        world.take_on(az_c=second)
        with pytest.raises(HopError) as caught:
            _ = world.hop
        assert caught.value.trouble is Trouble.DOWN
        await until(lambda: len(gateway.open) == 1, "the end of what was ready")
        assert [hop.name for hop in world.hops] == ["az-c"]
        for gauge in GAUGES:
            assert [labels[0] for labels, _ in world.counts.samples(gauge)] == ["az-c"]
        roles = [labels for labels, _ in world.counts.samples(metrics.CERTIFICATE_END)]
        assert roles == [("hop.az-c",)]
        assert await echoes(tunnel)
        end(tunnel)
        await world.filled(3)


async def test_a_hop_that_is_new_or_changed(mock_clock: MockClock, certified: Certified) -> None:
    gateway, other = scripted(certified), scripted(certified)
    async with world_of(gateway, other) as world:
        world.take_on(az_b=section_to(gateway, certified=certified, ready=1))
        await world.filled(1)
        tunnel = await world.hop.tunnel(HOST, 9001)
        world.take_on(az_b=section_to(other, certified=certified, ready=2))
        await world.filled(2)
        assert len(other.open) == 2
        assert await echoes(tunnel)
        end(tunnel)
        assert list(world.counts.samples(metrics.HOP_TUNNELS)) == [((HOP, str(other.where)), 0)]


async def test_one_who_asks_while_its_hop_goes(mock_clock: MockClock, certified: Certified) -> None:
    """It gets its tunnel, or hears that there is none; whenever that is, nothing is left behind."""
    gateway = scripted(certified)
    async with world_of(gateway) as world:
        section = section_to(gateway, certified=certified, ready=2)
        for turns in range(30):
            world.take_on(az_b=section)
            await world.filled(2)
            hop = world.hop
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_ask, hop)
                for _ in range(turns):
                    await trio.lowlevel.checkpoint()
                world.take_on()
        await until(lambda: not gateway.open, "the end of all")
        assert not any(line["event"] == "internal error" for line in world.lines)


async def _ask(hop: Hop) -> None:
    end(await hop.tunnel(HOST, 9001))


def put(issued: Issued, authority: Authority, files: dict[str, Path]) -> None:
    """Have the configuration's files be these."""
    for source, name in ((issued.cert, "cert"), (issued.key, "key"), (authority.ca, "ca")):
        fresh = files[name].with_suffix(".new")
        shutil.copy(source, fresh)
        fresh.chmod(0o600)
        fresh.rename(files[name])


async def test_certificates_are_rotated_by_their_files(
    mock_clock: MockClock, certified: Certified, tmp_path: Path
) -> None:
    """Another CA signs both ends: what is ready was made with the old one, and tunnels go on."""
    files = {name: tmp_path / name for name in ("cert", "key", "ca")}
    put(certified.client, certified.authority, files)
    usual = section_to(scripted(certified), certified=certified)
    gateway = scripted(certified)
    async with world_of(gateway) as world:
        keys: dict[str, Any] = {name: str(path) for name, path in files.items()}
        tls = type(usual.tls)(**keys, server_name=GATEWAY)  # type: ignore[call-arg]
        world.take_on(az_b=section_to(gateway, certified=certified, ready=2, tls=tls))
        await world.filled(2)
        tunnel = await world.hop.tunnel(HOST, 9001)
        await world.filled(2)
        (tmp_path / "next").mkdir()
        authority = Authority(tmp_path / "next")
        gateway.context = server_context(authority.issue(GATEWAY), authority)
        put(authority.issue(CLIENT, days=3), authority, files)
        before = gateway.handshakes
        mock_clock.jump(LOOK)
        await until(lambda: gateway.handshakes == before + 2, "connections by the new certificates")
        await world.filled(2)
        assert gateway.resumed == 0 or before > 0
        assert "certificates reloaded" in [line["event"] for line in world.lines]
        assert "certificate ends soon" in [line["event"] for line in world.lines]
        second = await world.hop.tunnel(HOST, 9001)
        assert await echoes(second)
        assert await echoes(tunnel)
        end(tunnel)
        end(second)


async def test_a_connection_that_is_being_made_by_old_certificates_is_not_kept(
    mock_clock: MockClock, certified: Certified
) -> None:
    gateway, go_on = scripted(certified), trio.Event()

    async def later(gateway: ScriptedGateway, connection: Connection) -> None:
        assert gateway.context is not None
        await go_on.wait()
        tls = TlsConnection(connection.sock, gateway.context)
        await tls.handshake()
        await gateway.does(gateway, tls)

    gateway.greets = later
    async with world_of(gateway) as world:
        section = section_to(gateway, certified=certified, ready=1)
        world.take_on(az_b=section)
        await until(lambda: gateway.accepted == 1, "a connection")
        world.take_on(az_b=section)
        go_on.set()
        await world.filled(1)
        assert gateway.accepted == 2


async def test_a_bad_rotation_leaves_what_works(
    mock_clock: MockClock, certified: Certified, tmp_path: Path
) -> None:
    files = {name: tmp_path / name for name in ("cert", "key", "ca")}
    put(certified.client, certified.authority, files)
    gateway = scripted(certified)
    async with world_of(gateway) as world:
        usual = section_to(gateway, certified=certified)
        tls = type(usual.tls)(  # type: ignore[call-arg]
            ca=str(files["ca"]), cert=str(files["cert"]), key=str(files["key"]), server_name=GATEWAY
        )
        world.take_on(az_b=section_to(gateway, certified=certified, ready=1, tls=tls))
        await world.filled(1)
        files["cert"].write_text("no certificate")
        mock_clock.jump(LOOK)
        await until(lambda: world.lines, "a line")
        assert [line["event"] for line in world.lines] == ["certificates not reloaded"]
        tunnel = await world.hop.tunnel(HOST, 9001)
        assert await echoes(tunnel)
        end(tunnel)
