"""Gateways that fail in every way: set aside for growing times, and found again; no link meets an error."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from epmdless import metrics
from epmdless.config import HostPort
from epmdless.hop.gateway import FIRST_BACK_OFF, LONGEST_BACK_OFF
from epmdless.hop.trouble import HopError, Trouble
from tests.hop.scripted import (
    Act,
    World,
    answers,
    drips,
    hangs_up,
    hangs_up_at_once,
    hop_to_scripted,
    is_silent,
    opens,
    scripted,
    speaks_another_language,
    speaks_first,
    until,
)
from tests.hop.test_pool import end
from tests.support.certificates import Authority
from tests.support.hops import HOP, Certified
from tests.support.relays import Hosts

HOST = "b1.test"
LITTLE = 0.02
"""Seconds by which the clock moves at once."""

SECONDS = 5.0
"""Within which a link must have its tunnel, or know that there is none: a BEAM waits 7 s."""

FULL = answers(503, "connection_limit_reached", "full")

BAD: dict[str, Act] = {
    "hangs up": hangs_up,
    "hangs up at once": hangs_up_at_once,
    "says nothing": is_silent,
    "speaks another language": speaks_another_language,
    "speaks first": speaks_first,
    "drips": drips,
    "is full": FULL,
}


async def opened(world: World, clock: MockClock, count: int = 1) -> list[str]:
    """Open tunnels and end them; which gateways they went through."""
    through: list[str] = []

    async def one() -> None:
        tunnel = await world.hop.tunnel(HOST, 9001)
        through.append(tunnel.gateway)
        end(tunnel)

    started = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(one)
        while len(through) < count:
            await wait_all_tasks_blocked()
            if len(through) < count:
                clock.jump(LITTLE)
                assert trio.current_time() - started < SECONDS
    return through


async def refused(world: World, clock: MockClock) -> HopError:
    """Ask for a tunnel in vain."""
    errors: list[HopError] = []

    async def one() -> None:
        try:
            await world.hop.tunnel(HOST, 9001)
        except HopError as error:
            errors.append(error)

    started = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one)
        while not errors:
            await wait_all_tasks_blocked()
            if not errors:
                clock.jump(LITTLE)
                assert trio.current_time() - started < SECONDS
    return errors[0]


@pytest.mark.parametrize("ready", [0, 2])
@pytest.mark.parametrize("secure", [True, False])
@pytest.mark.parametrize("how", BAD)
async def test_a_bad_one_is_set_aside_and_found_again(
    mock_clock: MockClock, certified: Certified, how: str, secure: bool, ready: int
) -> None:
    bad, good = (scripted(certified if secure else None) for _ in range(2))
    bad.does = BAD[how]
    async with hop_to_scripted(bad, good, certified=certified if secure else None, ready=ready) as world:
        near, _ = world.near
        assert await opened(world, mock_clock) == [str(good.where)]
        assert near.problem, "it is set aside"
        assert world.counts.value(metrics.GATEWAY_UP, HOP, str(bad.where)) == 0
        asked = len(bad.asked)
        assert await opened(world, mock_clock, 20) == [str(good.where)] * 20
        assert len(bad.asked) == asked, "nobody asks it"
        bad.does = opens
        await until(lambda: not near.problem, "its return")
        assert world.counts.value(metrics.GATEWAY_UP, HOP, str(bad.where)) == 1
        assert await opened(world, mock_clock) == [str(bad.where)]
        told = [line["event"] for line in world.lines if line["gateway"] == str(bad.where)]
        assert told[0] == "gateway set aside"
        assert told == ["gateway set aside", "gateway back"] or how == "is full"


@pytest.mark.parametrize(
    "how", ["refuses", "never greets", "is no TLS", "wrong CA", "wrong name", "not for us"]
)
async def test_one_that_cannot_be_connected_to(mock_clock: MockClock, certified: Certified, how: str) -> None:
    folder = certified.authority.folder
    stranger = Authority(folder, "stranger")
    bad, good = scripted(certified), scripted(certified)
    usual = bad.context
    match how:
        case "never greets":
            bad.greets = is_silent
        case "is no TLS":
            bad.greets = speaks_first
        case "wrong CA":
            bad.context = scripted(certified, stranger.issue("gw.az-b.test")).context
        case "wrong name":
            bad.context = scripted(certified, certified.authority.issue("other.test")).context
        case "not for us":
            bad.context = scripted(Certified(stranger, certified.client, certified.gateway)).context
    async with hop_to_scripted(bad, good, certified=certified, ready=2) as world:
        if how == "refuses":
            bad.stop()
        await wait_all_tasks_blocked()
        mock_clock.jump(world.hop.standing.section.connect_timeout)
        await until(lambda: world.near[0].problem, "a problem")
        assert await opened(world, mock_clock, 5) == [str(good.where)] * 5
        for _ in range(30):
            mock_clock.jump(LONGEST_BACK_OFF)
            await wait_all_tasks_blocked(0.001)
        assert [line["event"] for line in world.lines] == ["gateway set aside"]
        assert str(bad.where) in str(world.lines[0]["error"])
        bad.greets, bad.context = None, usual
        if how == "refuses":
            async with trio.open_nursery() as nursery:
                await nursery.start(bad.serve)
                await _comes_back(world, mock_clock)
                nursery.cancel_scope.cancel()
        else:
            await _comes_back(world, mock_clock)


async def _comes_back(world: World, clock: MockClock) -> None:
    clock.jump(LONGEST_BACK_OFF)
    await until(lambda: not world.near[0].problem, "its return")
    assert await opened(world, clock) == [str(world.near[0].where)]
    assert [line["event"] for line in world.lines] == ["gateway set aside", "gateway back"]


async def test_the_pauses_grow_with_jitter_and_within_bounds(mock_clock: MockClock) -> None:
    gateway = scripted(None)
    async with hop_to_scripted(gateway) as world:
        (near,) = world.near
        gateway.stop()
        pauses: list[float] = []
        for _ in range(12):
            await refused(world, mock_clock)
            pauses.append(near.away_until - trio.current_time())
            mock_clock.jump(pauses[-1] + 0.001)
            before = near.away_until
            await until(lambda before=before: near.away_until != before, "the next probe")  # type: ignore[misc]
            pauses.append(near.away_until - trio.current_time())
            mock_clock.jump(pauses[-1] + 0.001)
        expected = [min(FIRST_BACK_OFF * 2**n, LONGEST_BACK_OFF) for n in range(len(pauses))]
        for pause, most in zip(pauses, expected, strict=True):
            assert pause <= most
        assert max(pauses) <= LONGEST_BACK_OFF
        assert min(pauses[-10:]) >= LONGEST_BACK_OFF / 2 - 0.1
        assert len({round(pause, 3) for pause in pauses[-10:]}) > 5, "not all at the same moment"


async def test_of_many_that_fail_together_one_counts(mock_clock: MockClock) -> None:
    gateway = scripted(None)
    async with hop_to_scripted(gateway) as world:
        gateway.stop()
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(refused, world, mock_clock)
        assert world.near[0].away_until - trio.current_time() <= FIRST_BACK_OFF


async def test_all_down_is_said_with_all_reasons(mock_clock: MockClock) -> None:
    first, second = scripted(None), scripted(None)
    async with hop_to_scripted(first, second, ready=2) as world:
        first.stop()
        second.stop()
        error = await refused(world, mock_clock)
        assert error.trouble is Trouble.DOWN
        assert str(first.where) in str(error) or "port" in str(error)
        assert str(error).count("refused") == 2
        assert world.counts.value(metrics.TUNNELS, HOP, "down") == 1


@pytest.mark.parametrize("count", [1, 2, 8])
async def test_all_silent_is_known_in_time(mock_clock: MockClock, certified: Certified, count: int) -> None:
    """Their ready connections died without a sign, and new ones are never greeted."""
    gateways = [scripted(certified) for _ in range(count)]
    for gateway in gateways:
        gateway.does = is_silent
    async with hop_to_scripted(*gateways, certified=certified, ready=2) as world:
        await until(lambda: all(gateway.ready == 2 for gateway in world.near), "a pool")
        for gateway in gateways:
            gateway.greets = is_silent
        error = await refused(world, mock_clock)
        assert error.trouble is Trouble.DOWN
        for gateway in gateways:
            assert str(gateway.where) in str(error)


async def test_a_full_one_alone_is_busy(mock_clock: MockClock, certified: Certified) -> None:
    gateway = scripted(certified)
    gateway.does = FULL
    async with hop_to_scripted(gateway, certified=certified) as world:
        error = await refused(world, mock_clock)
        assert error.trouble is Trouble.BUSY
        assert "full" in str(error)


async def test_503_of_a_proxy_that_does_not_say_why_sets_nothing_aside(mock_clock: MockClock) -> None:
    """squid says so of a target that refuses: another target may be well."""
    gateway = scripted(None)
    gateway.does = answers(503, None)
    async with hop_to_scripted(gateway) as world:
        assert (await refused(world, mock_clock)).trouble is Trouble.BUSY
        assert not world.near[0].problem
        assert world.lines == []


async def test_names_are_resolved_anew_for_each_connection(mock_clock: MockClock) -> None:
    addresses: dict[str, list[str]] = {}
    trio.socket.set_custom_hostname_resolver(Hosts(addresses))
    first, second = scripted(None), scripted(None)
    second.address = "127.0.2.2"
    await first.listen()
    second.port = first.port
    first.stop()

    class Named(type(first)):  # type: ignore[misc]
        @property
        def where(self) -> HostPort:
            return HostPort("gw.test", self.port)

    named = Named(None)
    named.port = first.port
    async with trio.open_nursery() as nursery:
        await nursery.start(second.serve)
        addresses["gw.test"] = [named.address]
        async with hop_to_scripted(named) as world:
            end(await world.hop.tunnel(HOST, 9001))
            assert (len(named.asked), len(second.asked)) == (1, 0)
            addresses["gw.test"] = [second.address]
            end(await world.hop.tunnel(HOST, 9001))
            assert (len(named.asked), len(second.asked)) == (1, 1)
            del addresses["gw.test"]
            assert "gw.test" in str(await refused(world, mock_clock))
        nursery.cancel_scope.cancel()
