"""Far EPMD servers behind a hop: one question for many askers, answers kept for a time, in bounds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from epmdless.errors import ResolveError
from epmdless.hop import far, hops
from epmdless.hop.far import KeptEpmd
from epmdless.hop.hop import Hop
from epmdless.hop.hops import Hops
from epmdless.hop.trouble import HopError, Trouble
from epmdless.metrics import Metrics
from epmdless.net.tls.keeper import CertificateKeeper
from epmdless.resolve.outcomes import Found, Missing, Query, Verdict
from epmdless.wire.connect import RequestReader
from tests.hop.scripted import (
    Connection,
    ScriptedGateway,
    answers,
    hop_to_scripted,
    nobody,
    scripted,
)
from tests.support.far_epmd import FarEpmd, port_reply
from tests.support.hops import ALLOW, Certified, hop_to
from tests.support.link_sides import NAME, FarHost
from tests.support.relays import Lines, dialling

HOST = "b1.test"
QUERY = Query("b", HOST)
MISS = b"w\x01"
TTL = 10.0


class World:
    """A far EPMD server behind a scripted gateway.

    :ivar now: what the clock of kept answers shows.
    :ivar says: to each lookup; None: it waits until `let_go`.
    :ivar asked: questions so far.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.says: bytes | None = port_reply("b", 9001)
        self.asked: list[bytes] = []
        self.let_go = trio.Event()
        self.hop: Hop
        self.gateway: ScriptedGateway
        self.limit = trio.CapacityLimiter(64)
        self.is_gone = False

    def epmd(self, host: str = HOST) -> KeptEpmd:
        return KeptEpmd(self.in_force, host, 4369, Metrics(), self.limit, lambda: self.now)

    def in_force(self) -> Hop:
        if self.is_gone:
            raise HopError(Trouble.DOWN, "there is no hop any more")
        return self.hop

    async def serve(self, gateway: ScriptedGateway, connection: Connection) -> None:
        reader = RequestReader()
        await gateway.next_request(reader, connection)
        await connection.send(reader.respond(200))
        self.asked.append((reader.rest or await connection.recv(65536))[2:])
        if self.says is None:
            await self.let_go.wait()
        await connection.send(self.says or port_reply("b", 9001))


@asynccontextmanager
async def world_with(**keys: Any) -> AsyncIterator[World]:
    world = World()
    world.gateway = scripted(None)
    world.gateway.does = world.serve
    async with hop_to_scripted(world.gateway, **{"lookup_ttl": TTL, **keys}) as there:
        world.hop = there.hop
        yield world


async def all_of(count: int, ask: Callable[[], Awaitable[Any]]) -> list[Any]:
    """What so many askers are told who ask at once; errors among it."""
    told: list[Any] = []

    async def one() -> None:
        try:
            told.append(await ask())
        except ResolveError as error:
            told.append(error)

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(one)
    return told


async def test_an_answer_is_kept_for_its_time(mock_clock: MockClock) -> None:
    async with world_with() as world:
        epmd = world.epmd()
        assert epmd.answer_now(QUERY) is Verdict.WAIT
        found = await epmd.answer(QUERY)
        assert isinstance(found, Found)
        assert epmd.answer_now(QUERY) == found
        world.now = TTL - 0.001
        assert await epmd.answer(QUERY) == found == epmd.answer_now(QUERY)
        assert len(world.asked) == 1
        world.now = TTL
        assert epmd.answer_now(QUERY) is Verdict.WAIT
        await epmd.answer(QUERY)
        assert len(world.asked) == 2


async def test_a_miss_is_kept_as_well(mock_clock: MockClock) -> None:
    async with world_with() as world:
        world.says = MISS
        epmd = world.epmd()
        assert await epmd.answer(QUERY) == Missing("epmd") == epmd.answer_now(QUERY)
        assert len(world.asked) == 1


async def test_each_node_and_host_has_its_own(mock_clock: MockClock) -> None:
    async with world_with() as world:
        epmd, other = world.epmd(), world.epmd("b2.test")
        await epmd.answer(QUERY)
        assert epmd.answer_now(Query("c", HOST)) is Verdict.WAIT
        assert other.answer_now(QUERY) is Verdict.WAIT
        await epmd.answer(Query("c", HOST))
        await other.answer(QUERY)
        assert world.asked == [b"zb", b"zc", b"zb"]
        assert world.gateway.asked == [f"{HOST}:4369"] * 2 + ["b2.test:4369"]


@pytest.mark.parametrize("ttl", [0.0, TTL])
async def test_many_askers_are_one_question(mock_clock: MockClock, ttl: float) -> None:
    async with world_with(lookup_ttl=ttl) as world:
        epmd = world.epmd()
        told = await all_of(100, lambda: epmd.answer(QUERY))
        assert len(world.asked) == 1
        assert len(told) == 100
        assert set(map(type, told)) == {Found}


async def test_without_a_time_nothing_is_kept(mock_clock: MockClock) -> None:
    async with world_with(lookup_ttl=0.0) as world:
        epmd = world.epmd()
        await epmd.answer(QUERY)
        assert epmd.answer_now(QUERY) is Verdict.WAIT
        await epmd.answer(QUERY)
        assert len(world.asked) == 2


async def test_a_failure_is_shared_and_not_kept(mock_clock: MockClock) -> None:
    async with world_with() as world:
        world.gateway.does = answers(403, "http_request_denied", "not for you")
        epmd = world.epmd()
        told = await all_of(50, lambda: epmd.answer(QUERY))
        assert len(world.gateway.asked) == 1
        assert all(isinstance(each, ResolveError) for each in told)
        assert all("not for you" in str(error) for error in told)
        assert epmd.answer_now(QUERY) is Verdict.WAIT
        world.gateway.does = world.serve
        assert isinstance(await epmd.answer(QUERY), Found)


async def test_where_the_asker_leaves_the_next_one_asks(mock_clock: MockClock) -> None:
    async with world_with() as world:
        world.says, epmd, told = None, world.epmd(), []

        async def one() -> None:
            told.append(await epmd.answer(QUERY))

        async with trio.open_nursery() as nursery:
            async with trio.open_nursery() as leaving:
                leaving.start_soon(one)
                await wait_all_tasks_blocked()
                for _ in range(10):
                    nursery.start_soon(one)
                await wait_all_tasks_blocked(0.001)
                assert len(world.asked) == 1
                leaving.cancel_scope.cancel()
            await wait_all_tasks_blocked(0.001)
            assert (len(world.asked), told) == (2, [])
            world.let_go.set()
        assert (len(world.asked), len(told)) == (2, 10)


async def test_one_who_waits_may_leave(mock_clock: MockClock) -> None:
    async with world_with() as world:
        world.says, epmd = None, world.epmd()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(epmd.answer, QUERY)
            await wait_all_tasks_blocked()
            async with trio.open_nursery() as leaving:
                leaving.start_soon(epmd.answer, QUERY)
                await wait_all_tasks_blocked(0.001)
                leaving.cancel_scope.cancel()
            world.let_go.set()
        assert len(world.asked) == 1
        assert isinstance(epmd.answer_now(QUERY), Found)


async def test_names_too(mock_clock: MockClock) -> None:
    async with world_with() as world:
        world.says = (4369).to_bytes(4, "big") + b"name b at port 9001\n"
        epmd = world.epmd()
        told = await all_of(20, epmd.names)
        assert world.asked == [b"n"]
        assert [reply.nodes for reply in told] == [told[0].nodes] * 20
        world.now = TTL
        await epmd.names()
        assert world.asked == [b"n", b"n"]


async def test_what_is_kept_is_bounded(mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(far, "MAX_KEPT", 8)
    async with world_with() as world:
        world.says = MISS
        epmd = world.epmd()
        for number in range(30):
            await epmd.answer(Query(f"n{number}", HOST))
            assert len(epmd._kept) <= 8
        assert epmd.answer_now(Query("n29", HOST)) == Missing("epmd")


@pytest.mark.parametrize("ttl", [0.0, TTL])
async def test_an_answer_is_gone_after_its_time(mock_clock: MockClock, ttl: float) -> None:
    async with world_with(lookup_ttl=ttl) as world:
        world.says = MISS
        epmd = world.epmd()
        await epmd.answer(Query("n0", HOST))
        await epmd.answer(Query("n1", HOST))
        world.now = TTL / 2
        await epmd.answer(Query("n2", HOST))
        world.now = TTL
        await epmd.answer(Query("n0", HOST))
        assert list(epmd._kept) == (["n2", "n0"] if ttl else [])


async def test_a_hop_that_is_gone(mock_clock: MockClock) -> None:
    async with world_with() as world:
        world.says, epmd = None, world.epmd()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(epmd.answer, QUERY)
            await wait_all_tasks_blocked(0.001)
            world.is_gone = True
            world.let_go.set()
        assert epmd.answer_now(QUERY) is Verdict.WAIT
        with pytest.raises(ResolveError, match="there is no hop any more"):
            await epmd.answer(QUERY)


def test_askers_of_one_host_share_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each redirected connection to an EPMD port asks for its host's server anew."""
    monkeypatch.setattr(hops, "MAX_FAR_HOSTS", 4)
    counts = Metrics()
    all_hops = Hops(counts, Lines(), lambda: 0.0, nobody, CertificateKeeper(counts, Lines()))
    limit = trio.CapacityLimiter(1)

    def of(host: str) -> KeptEpmd:
        return all_hops.far_epmd("az-b", host, 4369, counts, limit)

    first = of("10.0.0.1")
    assert of("10.0.0.1") is first
    for last in (2, 3, 4, 1, 5):
        of(f"10.0.0.{last}")
    assert of("10.0.0.1") is first
    for last in range(6, 12):
        of(f"10.0.0.{last}")
    assert of("10.0.0.1") is not first


@pytest.fixture
def far_epmd(far_host: FarHost) -> Iterator[FarEpmd]:
    with FarEpmd({"b": far_host.port}) as far_epmd:
        yield far_epmd


@pytest.mark.parametrize("secure", [True, False])
def test_through_a_real_gateway(
    far_host: FarHost, far_epmd: FarEpmd, certified: Certified, secure: bool
) -> None:
    allow = {**ALLOW, **({} if secure else {"client": "127.*"})}
    relay = {"epmd_port": far_epmd.port}
    keys = {"gateway": {"epmd_port": far_epmd.port}, "relay": relay, "hop": {"lookup_ttl": "1h"}}
    with hop_to(far_host, certified if secure else None, allow, **keys) as ends:  # type: ignore[arg-type]
        (route,) = ends.near.relay.in_force.routes
        epmd = route.far
        assert isinstance(epmd, KeptEpmd)

        async def ask() -> None:
            found = await epmd.answer(QUERY)
            assert isinstance(found, Found)
            assert found.node.port == far_host.port
            assert epmd.answer_now(QUERY) == found
            assert [node[0] for node in (await epmd.names()).nodes] == ["b"]

        trio.from_thread.run(ask, trio_token=ends.near.call(trio.lowlevel.current_trio_token))
        assert far_epmd.asked == [b"zb", b"n"]


def test_an_answer_that_led_nowhere_is_kept_no_longer(
    far_host: FarHost, far_epmd: FarEpmd, certified: Certified
) -> None:
    """A node that was started anew listens elsewhere."""
    relay = {"epmd_port": far_epmd.port}
    keys = {"gateway": {"epmd_port": far_epmd.port}, "relay": relay, "hop": {"lookup_ttl": "1h"}}
    with hop_to(far_host, certified, **keys) as ends:  # type: ignore[arg-type]
        (route,) = ends.near.relay.in_force.routes
        epmd = route.far
        assert isinstance(epmd, KeptEpmd)

        async def ask() -> None:
            await epmd.answer(QUERY)

        token = ends.near.call(trio.lowlevel.current_trio_token)
        trio.from_thread.run(ask, trio_token=token)
        assert epmd.answer_now(QUERY) is not Verdict.WAIT
        far_host.close()
        with dialling(far_host) as near:
            near.say(NAME)
            assert near.sees_the_end()
            assert ends.near.code_of(near) == "dial_refused"
        assert epmd.answer_now(QUERY) is Verdict.WAIT
