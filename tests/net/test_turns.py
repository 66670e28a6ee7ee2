"""Turns, one at a time, those who ask in turn."""

import trio
import trio.testing

from epmdless.net.turns import Turns


async def take(turns: Turns, who: str, taken: list[str], rounds: int = 0) -> None:
    async with turns.turn(who):
        taken.append(who)
        for _ in range(rounds):
            await trio.lowlevel.checkpoint()


async def test_who_asks_often_does_not_hold_up_who_asks_once() -> None:
    turns, taken = Turns(), list[str]()
    async with trio.open_nursery() as nursery, turns.turn("first"):
        for who in ["crowd"] * 5 + ["one", "two"]:
            nursery.start_soon(take, turns, who, taken)
            await trio.testing.wait_all_tasks_blocked()
        assert taken == []
    assert taken == ["crowd", "one", "two", "crowd", "crowd", "crowd", "crowd"]


async def test_one_at_a_time() -> None:
    turns, inside, most = Turns(), 0, 0

    async def step(who: str) -> None:
        nonlocal inside, most
        async with turns.turn(who):
            inside += 1
            most = max(most, inside)
            await trio.lowlevel.checkpoint()
            inside -= 1

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(step, f"{number % 3}")
    assert (inside, most) == (0, 1)


async def test_who_leaves_the_queue_is_passed_over() -> None:
    turns, taken = Turns(), list[str]()
    async with trio.open_nursery() as nursery, turns.turn("first"):
        nursery.start_soon(take, turns, "next", taken)
        await trio.testing.wait_all_tasks_blocked()
        async with trio.open_nursery() as leaving:
            leaving.start_soon(take, turns, "gone", taken)
            await trio.testing.wait_all_tasks_blocked()
            leaving.cancel_scope.cancel()
    assert taken == ["next"]
    await take(turns, "again", taken)
    assert taken == ["next", "again"]


async def test_a_turn_that_is_given_to_one_who_leaves_in_that_moment_goes_on() -> None:
    turns, taken = Turns(), list[str]()
    async with trio.open_nursery() as nursery, trio.open_nursery() as leaving, turns.turn("first"):
        leaving.start_soon(take, turns, "gone", taken)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(take, turns, "next", taken)
        await trio.testing.wait_all_tasks_blocked()
        leaving.cancel_scope.cancel()  # it is told once the turn is given
    assert taken[-1] == "next"
    await take(turns, "again", taken)
    assert taken[-1] == "again"
