"""The resolver `srv`: what it asks and how often, what answers, and what it keeps."""

import random
from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from epmdless import metrics
from epmdless.errors import ResolveError
from epmdless.resolve.dns_client import SrvAnswer
from epmdless.resolve.outcomes import Found, Query, Verdict
from epmdless.resolve.srv import MAX_QUESTIONS, MAX_QUEUED, OUTCOMES_AN_ENTRY, Limits
from epmdless.resolve.srv_records import SrvRecord
from tests.resolve.fakes import BY_HOST, BY_NAME, DOWN, QUERY, QUESTION, Bench, answer


async def test_what_dns_knows_is_found_and_then_at_hand() -> None:
    bench = Bench()
    assert bench.waits()
    assert await bench.port() == bench.port_now() == await bench.port() == 9001
    assert bench.asked == [QUESTION]


async def test_an_answer_says_that_no_registration_backs_it() -> None:
    outcome = await Bench().resolver.answer(QUERY)
    assert outcome == Found.unregistered("app", 9001, "srv")


# What is asked, and what answers.


@pytest.mark.parametrize("alive", ["a.b", "a b", "имя", "", "a" * 63])
async def test_a_name_that_makes_no_question_is_not_mine(alive: str) -> None:
    bench = Bench()
    assert bench.resolver.answer_now(Query(alive, "b1")) is Verdict.NOT_MINE
    assert await bench.resolver.answer(Query(alive, "b1")) is Verdict.NOT_MINE
    assert bench.asked == []


@pytest.mark.parametrize("alive", ["remsh-1", "rem-4f2a-app", "rpc-0-app", "maint1", "rabbitmqcli-1"])
async def test_a_transient_name_is_asked_for_only_by_its_own_name(alive: str) -> None:
    by_host, by_name = Bench(BY_HOST), Bench(BY_NAME)
    assert await by_host.resolver.answer(Query(alive, "b1.internal")) is Verdict.NOT_MINE
    assert by_host.asked == []
    assert await by_name.port(Query(alive, "b1.internal")) == 9001


@pytest.mark.parametrize("useless", [answer(0), answer(9001, target="")])
@pytest.mark.parametrize("template", [BY_NAME, BY_HOST])
async def test_port_0_and_target_root_are_no_such_node(template: str, useless: SrvAnswer) -> None:
    bench = Bench(template)
    bench.says = useless
    assert await bench.port() is bench.port_now() is None


async def test_one_answer_for_several_hosts_serves_each_host_its_own() -> None:
    bench = Bench("_epmd._tcp.nodes.internal")
    bench.says = SrvAnswer((SrvRecord(0, 9, 9001, "b1.internal"), SrvRecord(0, 9, 9002, "b2.internal")), 60)
    hosts = ("b1.internal", "B2.internal", "b3.internal")
    assert [await bench.port(Query("app", host)) for host in hosts] == [9001, 9002, None]
    assert len(bench.asked) == 1


async def test_with_the_name_in_the_question_weights_are_drawn_at_each_lookup() -> None:
    bench = Bench()
    records = [SrvRecord(0, 1, 9000 + number, f"t{number}.internal") for number in range(2)]
    bench.says = SrvAnswer((*records, SrvRecord(1, 100, 9100, "spare.internal")), 60)
    random.seed(1)
    found = {await bench.port() for _ in range(20)}
    assert found == {9000, 9001}
    assert len(bench.asked) == 1


# Many at once.


async def ask_at_once(bench: Bench, number: int, found: Callable[[int | None], None]) -> None:
    async def one() -> None:
        found(await bench.port())

    async with trio.open_nursery() as nursery:
        for _ in range(number):
            nursery.start_soon(one)


@pytest.mark.parametrize("ttl", [60, 0])
async def test_a_thousand_lookups_of_one_name_at_once_are_one_question(ttl: float) -> None:
    bench, found = Bench(), list[int | None]()
    bench.says = answer(ttl=ttl)
    await ask_at_once(bench, 1000, found.append)
    assert found == [9001] * 1000
    assert bench.asked == [QUESTION]
    assert (bench.cache("miss"), bench.cache("shared")) == (1, 999)


async def test_a_failure_is_everybodys_who_waited_for_it() -> None:
    bench, failed = Bench(), list[str]()
    bench.says = DOWN

    async def one() -> None:
        with pytest.raises(ResolveError, match="timed out") as caught:
            await bench.port()
        failed.append(str(caught.value))

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(one)
    assert (len(failed), bench.asked) == (50, [QUESTION])


async def test_a_leader_that_is_cancelled_hands_over(autojump_clock: MockClock) -> None:
    bench, found = Bench(), list[int | None]()
    bench.gate = trio.Event()
    async with trio.open_nursery() as nursery:
        leader = await nursery.start(under_cancel_scope, bench)
        nursery.start_soon(ask_at_once, bench, 10, found.append)
        await wait_all_tasks_blocked()
        leader.cancel()
        await wait_all_tasks_blocked()
        assert bench.asked == [QUESTION] * 2
        bench.gate.set()
    assert found == [9001] * 10
    assert not bench.waits()


async def under_cancel_scope(
    bench: Bench, *, task_status: trio.TaskStatus[trio.CancelScope] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.CancelScope() as scope:
        task_status.started(scope)
        await bench.port()


async def test_a_lookup_that_is_cancelled_while_it_waits_disturbs_nobody(autojump_clock: MockClock) -> None:
    bench, found = Bench(), list[int | None]()
    bench.gate = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask_at_once, bench, 1, found.append)
        await wait_all_tasks_blocked()
        follower = await nursery.start(under_cancel_scope, bench)
        await wait_all_tasks_blocked()
        follower.cancel()
        await wait_all_tasks_blocked()
        bench.gate.set()
    assert (found, bench.asked) == ([9001], [QUESTION])


async def test_only_so_many_questions_are_under_way_at_once(autojump_clock: MockClock) -> None:
    bench = Bench()
    bench.gate = trio.Event()
    async with trio.open_nursery() as nursery:
        for number in range(MAX_QUESTIONS):
            nursery.start_soon(bench.port, Query(f"n{number}", "b1"))
        await wait_all_tasks_blocked()
        with pytest.raises(ResolveError, match=f"{MAX_QUESTIONS} DNS questions are under way"):
            await bench.port(Query("one-more", "b1"))
        nursery.start_soon(bench.port, Query("n0", "b1"))
        await wait_all_tasks_blocked()
        bench.gate.set()
    assert (len(bench.asked), bench.cache("full")) == (MAX_QUESTIONS, 1)
    assert await bench.port(Query("one-more", "b1")) == 9001


async def test_a_question_waits_for_its_turn(autojump_clock: MockClock) -> None:
    bench = Bench()
    bench.gate = trio.Event()
    async with trio.open_nursery() as nursery:
        for number in range(MAX_QUESTIONS + 10):
            nursery.start_soon(bench.port, Query(f"n{number}", "b1"))
        await wait_all_tasks_blocked()
        assert len(bench.asked) == MAX_QUESTIONS
        bench.gate.set()
    assert len(bench.asked) == MAX_QUESTIONS + 10


async def test_the_queue_of_questions_has_a_bound(autojump_clock: MockClock) -> None:
    bench = Bench()
    bench.gate = trio.Event()
    async with trio.open_nursery() as nursery:
        for number in range(MAX_QUEUED):
            nursery.start_soon(bench.port, Query(f"n{number}", "b1"))
        await wait_all_tasks_blocked()
        with pytest.raises(ResolveError, match=f"more than {MAX_QUEUED} DNS questions"):
            await bench.port(Query("one-more", "b1"))
        nursery.cancel_scope.cancel()


async def test_names_that_do_not_exist_push_out_none_that_do() -> None:
    bench = Bench(limits=Limits(cache_entries=10))
    await bench.port(Query("here", "b1"))
    bench.says = SrvAnswer((), 30)
    for number in range(100):
        await bench.port(Query(f"nobody{number}", "b1"))
    assert bench.port_now(Query("here", "b1")) == 9001
    assert bench.resolver.cache_entries == 11


async def test_a_fault_in_the_dns_library_is_a_failure_for_all_who_wait() -> None:
    bench = Bench()
    bench.says = AttributeError("GenericRdata")
    with pytest.raises(ResolveError, match="AttributeError"):
        await bench.port()


async def test_a_resolver_inherits_what_its_predecessor_knows() -> None:
    before, after = Bench(), Bench()
    await before.port()
    after.resolver.inherit(before.resolver)
    assert after.port_now(Query("app", "b1")) == 9001


async def test_a_stale_answer_is_served_while_no_question_has_a_place(autojump_clock: MockClock) -> None:
    bench = Bench()
    await bench.port()
    bench.now += 60
    bench.gate = trio.Event()
    async with trio.open_nursery() as nursery:
        for number in range(MAX_QUESTIONS):
            nursery.start_soon(bench.port, Query(f"n{number}", "b1"))
        await wait_all_tasks_blocked()
        assert await bench.port() == 9001
        bench.gate.set()


# The cache's bound.


async def test_the_cache_forgets_what_was_used_longest_ago() -> None:
    bench = Bench(limits=Limits(cache_entries=3))
    a, b, c, d = (Query(name, "b1") for name in "abcd")
    for query in (a, b, c):
        await bench.port(query)
    assert bench.port_now(a) == 9001
    await bench.port(d)
    assert [bench.waits(query) for query in (a, b, c, d)] == [False, True, False, False]
    assert bench.resolver.cache_entries == 3


async def test_ever_new_names_cost_no_more_than_the_bound() -> None:
    bench = Bench(limits=Limits(cache_entries=10))
    for number in range(100):
        await bench.port(Query(f"n{number}", "b1"))
    assert bench.resolver.cache_entries == 10


async def test_one_answer_serves_many_names_and_keeps_few_of_them() -> None:
    bench = Bench(BY_HOST)
    names = [f"n{number}" for number in range(2 * OUTCOMES_AN_ENTRY)]
    found = [await bench.resolver.answer(Query(name, "b1.internal")) for name in names]
    assert [each.node.name for each in found if isinstance(each, Found)] == names
    assert bench.asked == ["_epmd._tcp.b1.internal"]


# Counters.


async def test_questions_are_counted_by_how_they_ended_and_timed() -> None:
    bench = Bench()
    bench.says = answer(ttl=0)
    await bench.port()
    bench.says = SrvAnswer((), 0)
    await bench.port()
    bench.says = DOWN
    with pytest.raises(ResolveError):
        await bench.port()
    for result in ("answered", "empty", "failed"):
        assert bench.counts.value(metrics.DNS_QUESTIONS, result) == 1
    assert sum(bench.counts.histogram(metrics.DNS_SECONDS).buckets) == 3
