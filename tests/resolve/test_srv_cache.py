"""The resolver `srv` as time goes by: TTLs, negative TTLs, stale answers while the source fails."""

import pytest
import trio

from epmdless.errors import ResolveError
from epmdless.resolve.dns_client import SrvAnswer
from epmdless.resolve.srv import STALE_RECHECK, Limits
from tests.resolve.fakes import DOWN, QUESTION, Bench, answer

# Time.


async def test_an_answer_lives_for_its_ttl() -> None:
    bench = Bench()
    bench.says = answer(9001, ttl=60)
    await bench.port()
    bench.says = answer(9002)
    bench.now += 59.9
    assert bench.port_now() == 9001
    bench.now += 0.1
    assert bench.waits()
    assert await bench.port() == bench.port_now() == 9002


async def test_a_ttl_is_cut_to_the_longest_allowed() -> None:
    bench = Bench(limits=Limits(max_ttl=10))
    bench.says = answer(ttl=86400)
    await bench.port()
    bench.now += 9.9
    assert bench.port_now() == 9001
    bench.now += 0.1
    assert bench.waits()


async def test_ttl_0_is_asked_for_each_time() -> None:
    bench = Bench()
    bench.says = answer(ttl=0)
    for _ in range(3):
        assert bench.waits()
        assert await bench.port() == 9001
    assert len(bench.asked) == 3


@pytest.mark.parametrize(("ttl", "lives"), [(30, 30), (3600, 60), (0, 0)])
async def test_no_such_name_lives_for_its_negative_ttl_cut_to_the_longest(ttl: float, lives: float) -> None:
    bench = Bench(limits=Limits(negative_ttl=60))
    bench.says = SrvAnswer((), ttl)
    assert await bench.port() is None
    if lives:
        bench.now += lives - 0.1
        assert bench.port_now() is None
        bench.now += 0.1
    assert bench.waits()


async def test_a_node_that_has_come_is_found_after_the_negative_ttl() -> None:
    bench = Bench()
    bench.says = SrvAnswer((), 5)
    assert await bench.port() is None
    bench.says = answer()
    bench.now += 5
    assert await bench.port() == 9001


# Failures.


async def test_a_failure_is_an_error_and_is_not_remembered() -> None:
    bench = Bench()
    bench.says = DOWN
    for _ in range(2):
        with pytest.raises(ResolveError, match="timed out"):
            await bench.port()
        assert bench.waits()
    assert len(bench.asked) == 2
    bench.says = answer()
    assert await bench.port() == 9001


async def test_an_expired_answer_is_served_while_the_servers_fail() -> None:
    bench = Bench()
    await bench.port()
    bench.says = DOWN
    bench.now += 60
    assert await bench.port() == 9001
    assert bench.cache("stale") == 1


async def test_a_stale_answer_is_at_hand_until_the_servers_are_tried_again() -> None:
    bench = Bench()
    await bench.port()
    bench.says = DOWN
    bench.now += 60
    await bench.port()
    bench.now += STALE_RECHECK - 0.1
    assert bench.port_now() == 9001
    bench.now += 0.1
    assert bench.waits()
    bench.says = answer(9002)
    assert await bench.port() == 9002
    assert len(bench.asked) == 3


async def test_a_stale_answer_has_a_greatest_age() -> None:
    bench = Bench(limits=Limits(max_stale=100))
    await bench.port()
    bench.says = DOWN
    bench.now += 60 + 99
    assert await bench.port() == 9001
    bench.now += STALE_RECHECK
    with pytest.raises(ResolveError):
        await bench.port()


async def test_the_greatest_age_holds_between_two_tries_of_the_servers_too() -> None:
    bench = Bench(limits=Limits(max_stale=2))
    await bench.port()
    bench.says = DOWN
    bench.now += 61
    assert await bench.port() == 9001
    bench.now += 1
    assert bench.waits(), "an answer older than its ttl and max_stale together is still served"


async def test_without_stale_answers_a_failure_is_an_error() -> None:
    bench = Bench(limits=Limits(max_stale=0))
    await bench.port()
    bench.says = DOWN
    bench.now += 60
    with pytest.raises(ResolveError):
        await bench.port()


async def test_no_such_name_is_never_served_stale() -> None:
    bench = Bench()
    bench.says = SrvAnswer((), 5)
    await bench.port()
    bench.says = DOWN
    bench.now += 5
    with pytest.raises(ResolveError):
        await bench.port()


async def test_an_answer_without_the_name_replaces_the_one_with_it() -> None:
    bench = Bench()
    await bench.port()
    bench.now += 60
    bench.says = SrvAnswer((), 0)
    assert await bench.port() is None
    bench.says = DOWN
    with pytest.raises(ResolveError):
        await bench.port()


async def test_everybody_who_waited_for_a_failure_gets_the_stale_answer() -> None:
    bench, found = Bench(), list[int | None]()
    await bench.port()
    bench.says = DOWN
    bench.now += 60

    async def one() -> None:
        found.append(await bench.port())

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(one)
    assert found == [9001] * 50
    assert bench.asked == [QUESTION] * 2
