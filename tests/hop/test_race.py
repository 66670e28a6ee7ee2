"""Which gateway a tunnel takes: by order or load, the next one for a silent one, no other at a final word."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from epmdless import metrics
from epmdless.hop.race import HEDGE_DELAY
from epmdless.hop.trouble import HopError, Trouble
from tests.hop.scripted import (
    World,
    answers,
    hop_to_scripted,
    is_silent,
    opens,
    opens_later,
    scripted,
    until,
)
from tests.hop.test_health import HOST, opened, refused
from tests.hop.test_pool import end, filled
from tests.support.hops import HOP, Certified


@pytest.mark.parametrize("ready", [0, 2])
async def test_in_order_the_first_takes_all(mock_clock: MockClock, ready: int) -> None:
    first, second = scripted(None), scripted(None)
    async with hop_to_scripted(first, second, ready=ready) as world:
        assert await opened(world, mock_clock, 50) == [str(first.where)] * 50
        assert second.asked == []


async def test_least_loaded_shares(mock_clock: MockClock) -> None:
    gateways = [scripted(None) for _ in range(3)]
    async with hop_to_scripted(*gateways, balance="least_loaded") as world:
        tunnels = [await world.hop.tunnel(HOST, 9001) for _ in range(12)]
        assert [gateway.tunnels for gateway in world.near] == [4, 4, 4]
        for tunnel in [each for each in tunnels if each.gateway == str(gateways[1].where)]:
            end(tunnel)
            tunnels.remove(tunnel)
        more = [await world.hop.tunnel(HOST, 9001) for _ in range(4)]
        assert {tunnel.gateway for tunnel in more} == {str(gateways[1].where)}
        for tunnel in tunnels + more:
            end(tunnel)
            end(tunnel)  # counted out once


async def test_least_loaded_counts_those_that_are_being_opened(mock_clock: MockClock) -> None:
    gateways = [scripted(None) for _ in range(4)]
    async with hop_to_scripted(*gateways, balance="least_loaded") as world:
        through = await opened(world, mock_clock, 40)
        assert {through.count(str(gateway.where)) for gateway in gateways} == {10}


async def test_ready_ones_that_died_unseen_cost_a_head_start(
    mock_clock: MockClock, certified: Certified
) -> None:
    """As behind a firewall that forgot them: the gateway itself is well."""
    gateway = scripted(certified)
    gateway.does = is_silent
    async with hop_to_scripted(gateway, certified=certified, ready=4) as world:
        await filled(world, 4)
        gateway.does = opens
        started = trio.current_time()
        assert await opened(world, mock_clock) == [str(gateway.where)]
        assert trio.current_time() - started <= HEDGE_DELAY + 0.1
        before = gateway.accepted
        await filled(world, 4)
        await until(lambda: gateway.accepted == before + 4, "a pool of new ones")
        started = trio.current_time()
        assert await opened(world, mock_clock, 4) == [str(gateway.where)] * 4
        assert trio.current_time() == started, "the others are not used"
        assert world.lines == []


async def test_one_that_went_silent_is_left_for_the_next(mock_clock: MockClock, certified: Certified) -> None:
    dead, good = scripted(certified), scripted(certified)
    dead.does = is_silent
    async with hop_to_scripted(dead, good, certified=certified, ready=2) as world:
        await filled(world, 2)
        dead.greets = is_silent
        started = trio.current_time()
        assert await opened(world, mock_clock) == [str(good.where)]
        assert trio.current_time() - started <= HEDGE_DELAY + 0.1
        started = trio.current_time()
        assert set(await opened(world, mock_clock, 10)) == {str(good.where)}
        assert trio.current_time() == started, "it is asked no more"


async def test_a_slow_target_is_no_fault_of_its_gateway(mock_clock: MockClock, certified: Certified) -> None:
    first, second = scripted(certified), scripted(certified)
    first.does = second.does = opens_later
    async with hop_to_scripted(first, second, certified=certified, ready=2) as world:
        assert await opened(world, mock_clock) == [str(first.where)]
        assert [gateway.problem for gateway in world.near] == ["", ""]


FINAL = [
    (403, "http_request_denied", Trouble.REFUSED),
    (403, "destination_ip_prohibited", Trouble.REFUSED),
    (403, None, Trouble.REFUSED),
    (404, "destination_not_found", Trouble.UNKNOWN),
    (404, None, Trouble.UNKNOWN),
    (407, None, Trouble.REFUSED),
    (502, "dns_error", Trouble.UNKNOWN),
    (502, "connection_refused", Trouble.DIAL_REFUSED),
    (502, None, Trouble.DIAL_REFUSED),
    (504, "connection_timeout", Trouble.TIMED_OUT),
    (504, None, Trouble.TIMED_OUT),
]


@pytest.mark.parametrize("ready", [0, 2])
@pytest.mark.parametrize(("status", "error", "trouble"), FINAL)
async def test_a_final_word_is_not_asked_for_twice(
    mock_clock: MockClock, status: int, error: str | None, trouble: Trouble, ready: int
) -> None:
    first, second = scripted(None), scripted(None)
    first.does = answers(status, error, "the gateway's own words")
    async with hop_to_scripted(first, second, ready=ready) as world:
        problem = await refused(world, mock_clock)
        assert problem.trouble is trouble
        assert f"{first.where} answered {status}" in str(problem)
        assert ("the gateway's own words" in str(problem)) == (error is not None)
        assert (len(first.asked), second.asked) == (1, [])
        assert world.lines == []
        assert world.counts.value(metrics.TUNNELS, HOP, trouble.value) == 1


async def test_a_final_word_of_the_second_counts_where_the_first_is_down(mock_clock: MockClock) -> None:
    first, second = scripted(None), scripted(None)
    second.does = answers(404, "dns_error", "no such host")
    async with hop_to_scripted(first, second) as world:
        first.stop()
        problem = await refused(world, mock_clock)
        assert problem.trouble is Trouble.UNKNOWN
        assert "no such host" in str(problem)


async def test_a_target_that_cannot_be_asked_for(mock_clock: MockClock) -> None:
    gateway = scripted(None)
    async with hop_to_scripted(gateway) as world:
        with pytest.raises(HopError) as caught:
            await world.hop.tunnel("no host at all", 9001)
        assert caught.value.trouble is Trouble.UNKNOWN
        assert world.lines == []


async def test_many_at_once_through_a_small_pool(mock_clock: MockClock, certified: Certified) -> None:
    first, second = scripted(certified), scripted(certified)
    async with hop_to_scripted(first, second, certified=certified, ready=4) as world:
        await filled(world, 4)
        assert await opened(world, mock_clock, 200) == [str(first.where)] * 200
        await until(lambda: not first.asked or len(first.open) <= 4, "the end of the others")
        assert world.counts.value(metrics.TUNNELS, HOP, "opened") == 200


@pytest.mark.parametrize("ready", [0, 2])
async def test_an_asker_who_leaves_while_many_are_asked(
    mock_clock: MockClock, certified: Certified, ready: int
) -> None:
    """The count of tunnels is looked at when the hop ends, and connections that are left by the collector."""
    first, second = scripted(certified), scripted(certified)
    first.does = second.does = is_silent
    async with hop_to_scripted(first, second, certified=certified, ready=ready) as world:
        await filled(world, ready)
        for seconds in (0.0, 0.1, HEDGE_DELAY, 2.0, 3.0):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_ask_in_vain, world)
                await _pass(mock_clock, seconds)
                assert sum(gateway.tunnels for gateway in world.near) >= 1
                nursery.cancel_scope.cancel()
            assert [gateway.tunnels for gateway in world.near] == [0, 0]


async def _ask_in_vain(world: World) -> None:
    await world.hop.tunnel(HOST, 9001)
    raise AssertionError("nobody opens one")


async def _pass(clock: MockClock, seconds: float) -> None:
    for _ in range(int(seconds * 10)):
        await wait_all_tasks_blocked()
        clock.jump(0.1)
    await wait_all_tasks_blocked()
