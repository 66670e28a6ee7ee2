"""Turns of the loop: every event is handled, and trio's other tasks get their turn under any flood."""

import os
import select
import socket
from collections.abc import Callable, Iterator
from typing import Final

import pytest
import trio
import trio.testing

from epmdless.net.rounds import AGAIN_A_ROUND, EVENTS_A_ROUND, LONGEST_TURN, SHORTEST_TURN, Events, Rounds

STEP: Final = 0.00001
"""Seconds that pass at each look at the clock: so turns have a length that can be counted."""


@pytest.fixture
def rounds() -> Iterator[Rounds]:
    rounds = Rounds()
    yield rounds
    rounds.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


class Ticking:
    """A clock on which each look takes STEP."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += STEP
        return self.now


def watch(
    rounds: Rounds, sock: socket.socket, handler: Callable[[int, int], None], *, edge: bool = True
) -> None:
    rounds.handlers[sock.fileno()] = handler
    rounds.epoll.register(sock.fileno(), select.EPOLLIN | (select.EPOLLET if edge else 0))


async def started(rounds: Rounds, nursery: trio.Nursery) -> None:
    nursery.start_soon(rounds.run)
    await trio.testing.wait_all_tasks_blocked()


# Events.


async def test_an_event_reaches_its_handler(
    rounds: Rounds, pair: tuple[socket.socket, socket.socket], autojump_clock: trio.testing.MockClock
) -> None:
    ours, theirs = pair
    seen: list[tuple[int, int]] = []
    watch(rounds, ours, lambda fd, events: seen.append((fd, events)))
    async with trio.open_nursery() as nursery:
        await started(rounds, nursery)
        theirs.send(b"x")
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert seen == [(ours.fileno(), select.EPOLLIN)]
        nursery.cancel_scope.cancel()


def test_a_descriptor_without_a_handler_is_the_business_of_otherwise(
    rounds: Rounds, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    rounds.epoll.register(ours.fileno(), select.EPOLLIN | select.EPOLLET)
    theirs.send(b"x")
    assert rounds._round() == 1  # nobody's, and no harm
    seen: list[int] = []
    rounds.otherwise = lambda fd, events: seen.append(fd)
    theirs.send(b"x")
    rounds._round()
    assert seen == [ours.fileno()]


def test_the_first_is_given_all_events_and_leaves_those_of_others(rounds: Rounds) -> None:
    pairs = [socket.socketpair() for _ in range(4)]
    numbers = [ours.fileno() for ours, _ in pairs]
    given: list[int] = []
    seen: list[int] = []

    def first(events: Events) -> Events:
        given.extend(fd for fd, _ in events)
        return [event for event in events if event[0] in numbers[2:]]

    rounds.first = first
    for ours, theirs in pairs:
        watch(rounds, ours, lambda fd, events: seen.append(fd))
        theirs.send(b"x")
    assert rounds._round() == 4
    assert (given, seen) == (numbers, numbers[2:])
    for each in pairs:
        for sock in each:
            sock.close()


def test_a_handler_that_an_earlier_one_took_away_is_not_called(rounds: Rounds) -> None:
    """Two connections end in one round, and each handler forgets both."""
    pairs = [socket.socketpair() for _ in range(2)]
    calls: list[int] = []

    def forget(fd: int, events: int) -> None:
        calls.append(fd)
        for ours, _ in pairs:
            rounds.handlers.pop(ours.fileno(), None)
            ours.close()

    for ours, theirs in pairs:
        watch(rounds, ours, forget)
        theirs.close()
    assert rounds._round() == 2
    assert len(calls) == 1


def test_what_a_handler_raises_is_told_and_stops_nobody(rounds: Rounds) -> None:
    pairs = [socket.socketpair() for _ in range(3)]
    told: list[tuple[int, str]] = []
    served: list[int] = []
    rounds.failed = lambda fd, error: told.append((fd, str(error)))

    def handle(fd: int, events: int) -> None:
        served.append(fd)
        if fd == pairs[1][0].fileno():
            raise ValueError("ours")

    def put_off() -> None:
        raise ValueError("later")

    for ours, theirs in pairs:
        watch(rounds, ours, handle)
        theirs.send(b"x")
    rounds.again.append(put_off)
    rounds._round()
    assert served == [ours.fileno() for ours, _ in pairs]
    assert told == [(pairs[1][0].fileno(), "ours"), (-1, "later")]
    for each in pairs:
        for sock in each:
            sock.close()


def test_nobody_who_listens_for_failures_lets_them_out(rounds: Rounds) -> None:
    def put_off() -> None:
        raise ValueError("later")

    rounds.again.append(put_off)
    with pytest.raises(ValueError, match="later"):
        rounds._round()


def test_the_time_of_a_round_is_that_of_its_look_at_the_epoll() -> None:
    clock = Ticking()
    rounds = Rounds(clock)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        watch(rounds, ours, lambda fd, events: None)
        theirs.send(b"x")
        before = clock.now
        rounds._round()
        assert before < rounds.now <= clock.now
    rounds.close()


# Work that was put off.


def test_work_that_was_put_off_is_done_once_and_in_order(rounds: Rounds) -> None:
    done: list[str] = []
    rounds.again.extend([lambda: done.append("first"), lambda: done.append("second")])
    assert rounds._round() == 2
    assert rounds._round() == 0
    assert done == ["first", "second"]


def test_work_that_is_put_off_again_waits_for_the_next_round(rounds: Rounds) -> None:
    done: list[int] = []

    def work() -> None:
        done.append(len(done))
        rounds.again.append(work)

    rounds.again.append(work)
    for count in range(1, 4):
        assert rounds._round() == 1
        assert len(done) == count


async def test_nobody_sleeps_while_work_is_put_off(
    rounds: Rounds, pair: tuple[socket.socket, socket.socket], autojump_clock: trio.testing.MockClock
) -> None:
    """One event begins it; after that no descriptor has anything to tell. Were the loop to wait for one,
    everything would be asleep, and the clock would jump to the deadline."""
    ours, theirs = pair
    done = trio.Event()
    left = 1000

    def work() -> None:
        nonlocal left
        left -= 1
        rounds.again.append(work) if left else done.set()

    watch(rounds, ours, lambda fd, events: rounds.again.append(work))
    async with trio.open_nursery() as nursery:
        await started(rounds, nursery)
        theirs.send(b"x")
        with trio.fail_after(3600):
            await done.wait()
        nursery.cancel_scope.cancel()
    assert left == 0


async def test_work_that_was_put_off_before_the_start_is_done(
    rounds: Rounds, autojump_clock: trio.testing.MockClock
) -> None:
    done = trio.Event()
    rounds.again.append(done.set)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rounds.run)
        with trio.fail_after(3600):
            await done.wait()
        nursery.cancel_scope.cancel()


# The turns of others.


@pytest.mark.parametrize("flood", ["events", "work"])
async def test_other_tasks_get_their_turn_under_a_flood(
    rounds: Rounds, pair: tuple[socket.socket, socket.socket], flood: str
) -> None:
    ours, theirs = pair
    served = 0

    def work() -> None:
        nonlocal served
        served += 1
        rounds.again.append(work)

    def handle(fd: int, events: int) -> None:
        nonlocal served
        served += 1

    watch(rounds, ours, handle, edge=False)  # never read: it has something to tell for ever
    if flood == "events":
        theirs.send(b"x")
    else:
        rounds.again.append(work)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rounds.run)
        for _ in range(20):
            before = served
            while served == before:
                await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()  # which must reach it, too
    assert served >= 20


@pytest.mark.parametrize(("hurried", "turn"), [(False, LONGEST_TURN), (True, SHORTEST_TURN)])
async def test_a_turn_under_a_flood_ends_and_sooner_when_a_task_is_in_a_hurry(
    hurried: bool, turn: float
) -> None:
    """Each piece of work here looks at the clock once, and each round at least once."""
    clock = Ticking()
    rounds = Rounds(clock)
    if hurried:
        rounds.hurry()
    served = 0

    def work() -> None:
        nonlocal served
        served += 1
        clock()
        rounds.again.append(work)

    rounds.again.append(work)
    longest = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rounds.run)
        for _ in range(20):
            before = served
            await trio.lowlevel.checkpoint()
            longest = max(longest, served - before)
        nursery.cancel_scope.cancel()
    assert turn / STEP / 4 < longest <= 2 * turn / STEP  # two turns may pass between two of this task
    rounds.close()


def test_a_round_handles_so_many_events_and_no_more(rounds: Rounds) -> None:
    pipes = [os.pipe() for _ in range(EVENTS_A_ROUND + 10)]
    seen: list[int] = []
    for read_end, write_end in pipes:
        rounds.handlers[read_end] = lambda fd, events: seen.append(fd)
        rounds.epoll.register(read_end, select.EPOLLIN | select.EPOLLET)
        os.write(write_end, b"x")
    assert [rounds._round(), rounds._round(), rounds._round()] == [EVENTS_A_ROUND, 10, 0]
    assert sorted(seen) == [read_end for read_end, _ in pipes]
    for ends in pipes:
        for end in ends:
            os.close(end)


async def test_events_that_come_one_by_one_are_all_handled(
    rounds: Rounds, pair: tuple[socket.socket, socket.socket]
) -> None:
    """A conversation: each answer brings the next question, in and out of trio's own waiting."""
    ours, theirs = pair
    theirs.setblocking(False)
    answered = 0

    def answer(fd: int, events: int) -> None:
        nonlocal answered
        answered += len(ours.recv(100))
        ours.send(b"answer")

    watch(rounds, ours, answer)
    async with trio.open_nursery() as nursery:
        await started(rounds, nursery)
        for asked in range(200):
            theirs.send(b"?")
            await trio.lowlevel.wait_readable(theirs)
            assert theirs.recv(100) == b"answer"
            assert answered == asked + 1
        nursery.cancel_scope.cancel()


def test_work_of_a_thousand_links_is_done_in_turn_over_several_rounds(rounds: Rounds) -> None:
    """A portion each of all that was put off would keep other tasks waiting: there may be many links."""
    done: list[int] = []
    rounds.again.extend(lambda number=number: done.append(number) for number in range(1000))  # type: ignore[misc]
    rounds._round()
    assert done == list(range(AGAIN_A_ROUND))
    while rounds.again:
        rounds._round()
    assert done == list(range(1000))
