"""Sources at work: whatever one does, it is run again, within bounds, and a change is told once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from epmdless import metrics
from epmdless.cluster.listening import Listener
from epmdless.cluster.peers import MAX_NAMES, Known, LookError, Peer, Say, Unknown
from epmdless.cluster.sources.polling import LONGEST_PAUSE
from epmdless.metrics import Metrics
from tests.support.relays import Lines

SOMEBODY = Known((Peer("a@b1"),))
SECRET = "hunter2"


class Scripted:
    """A source that does what a test says; `starts` is when it was run."""

    def __init__(self, does: Callable[[Say], Awaitable[None]]) -> None:
        self._does = does
        self.starts: list[float] = []

    async def run(self, say: Say) -> None:
        self.starts.append(trio.current_time())
        await self._does(say)

    @property
    def pauses(self) -> list[float]:
        return [later - earlier for earlier, later in zip(self.starts, self.starts[1:], strict=False)]


class Heard:
    """A listener at work on a source."""

    def __init__(self, does: Callable[[Say], Awaitable[None]]) -> None:
        self.said: list[Known | Unknown] = []
        self.counts, self.lines = Metrics(), Lines()
        self.source = Scripted(does)
        self.listener = Listener(
            "dns", self.source, self.said.append, self.counts, lambda: self.lines, rng=lambda: 0.0
        )

    async def for_(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            await self.listener.run()

    def count(self, result: str) -> float:
        return self.counts.value(metrics.CLUSTER_SOURCE_ANSWERS, "dns", result)

    @property
    def events(self) -> list[str]:
        return [line["event"] for line in self.lines]


async def test_what_it_says_is_told_in_its_order(autojump_clock: MockClock) -> None:
    async def does(say: Say) -> None:
        say(SOMEBODY)
        say(Unknown("timeout", "no answer"))
        say(Known(()))
        await trio.sleep_forever()

    heard = Heard(does)
    await heard.for_(100)
    assert heard.said == [SOMEBODY, Unknown("timeout", "no answer"), Known(())]
    assert (heard.count("known"), heard.count("timeout")) == (2, 1)
    assert heard.source.starts == [0]


async def test_a_doubt_is_told_once_and_so_is_its_end(autojump_clock: MockClock) -> None:
    async def does(say: Say) -> None:
        for doubt in (None, Unknown("timeout", "b1"), Unknown("timeout", "b2"), None, None):
            say(Known(SOMEBODY.peers, doubt))
        await trio.sleep_forever()

    heard = Heard(does)
    await heard.for_(1)
    assert (heard.count("known"), heard.count("partly")) == (3, 2)
    assert heard.events == ["a source of names does not know all", "a source of names knows again"]


async def nothing(_: Say) -> None:
    await trio.lowlevel.checkpoint()


async def refuses(_: Say) -> None:
    raise LookError("denied", "403")


async def crashes(_: Say) -> None:
    raise ZeroDivisionError(SECRET)


async def refuses_deep_inside(_: Say) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        async with trio.open_nursery() as inner:
            inner.start_soon(refuses, _)


async def crashes_deep_inside(_: Say) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(crashes, _)


async def crashes_and_refuses(_: Say) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(crashes, _)
        nursery.start_soon(refuses, _)


@pytest.mark.parametrize(
    ("does", "said"),
    [
        (nothing, Unknown("failed", "it ended")),
        (refuses, Unknown("denied", "403")),
        (refuses_deep_inside, Unknown("denied", "403")),
        (crashes, Unknown("internal", "a fault of epmdless")),
        (crashes_deep_inside, Unknown("internal", "a fault of epmdless")),
        (crashes_and_refuses, Unknown("internal", "a fault of epmdless")),
    ],
)
async def test_a_source_that_ends_does_not_know_and_is_run_again_ever_more_rarely(
    autojump_clock: MockClock, does: Callable[[Say], Awaitable[None]], said: Unknown
) -> None:
    heard = Heard(does)
    await heard.for_(3600)
    assert set(heard.said) == {said}
    assert heard.source.pauses[:5] == [1, 2, 4, 8, 16]
    assert set(heard.source.pauses[5:]) == {LONGEST_PAUSE}
    assert heard.events.count("a source of names does not know") == 1
    assert heard.count(said.reason) == len(heard.source.starts)
    assert heard.counts.value(metrics.INTERNAL_ERRORS) == heard.events.count("internal error")
    assert (heard.events.count("internal error") > 0) == (said.reason == "internal")
    assert SECRET not in str(heard.lines)


async def test_one_that_knows_and_falls_over_is_no_storm(autojump_clock: MockClock) -> None:
    async def does(say: Say) -> None:
        say(SOMEBODY)
        raise LookError("unreachable", "the watch broke")

    heard = Heard(does)
    await heard.for_(3600)
    assert 3600 / LONGEST_PAUSE <= len(heard.source.starts) <= 3600 / LONGEST_PAUSE + 6
    assert len(heard.lines) <= 2 * len(heard.source.starts)


async def test_one_that_lasted_is_run_again_soon(autojump_clock: MockClock) -> None:
    async def does(say: Say) -> None:
        await trio.sleep(LONGEST_PAUSE)
        raise LookError("unreachable", "the watch broke")

    heard = Heard(does)
    await heard.for_(3600)
    assert set(heard.source.pauses) == {LONGEST_PAUSE + 1}


@pytest.mark.parametrize(("count", "is_taken"), [(MAX_NAMES, True), (MAX_NAMES + 1, False), (100_000, False)])
async def test_too_many_names_are_a_mistake(autojump_clock: MockClock, count: int, is_taken: bool) -> None:
    many = Known((Peer("a@b1"),) * count)

    async def does(say: Say) -> None:
        say(SOMEBODY)
        say(many)
        await trio.sleep_forever()

    heard = Heard(does)
    await heard.for_(1)
    assert heard.said == [SOMEBODY, many if is_taken else Unknown("too_many", f"more than {MAX_NAMES} names")]


async def test_a_change_is_told_once(autojump_clock: MockClock) -> None:
    async def does(say: Say) -> None:
        for said in (
            *(SOMEBODY, SOMEBODY),
            *(Unknown("timeout", "1 s"), Unknown("timeout", "2 s"), Unknown("refused", "no")),
            *(SOMEBODY, SOMEBODY),
        ):
            say(said)
        await trio.sleep_forever()

    heard = Heard(does)
    await heard.for_(1)
    assert [(line["level"], line["event"], line.get("reason")) for line in heard.lines] == [
        ("warning", "a source of names does not know", "timeout"),
        ("warning", "a source of names does not know", "refused"),
        ("info", "a source of names knows again", None),
    ]


async def test_an_end_at_the_moment_of_a_cancellation_is_a_cancellation() -> None:
    end = trio.Event()

    async def does(_: Say) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            await end.wait()
            raise LookError("failed", "at the end")

    heard = Heard(does)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(heard.listener.run)
        await wait_all_tasks_blocked()
        end.set()
        nursery.cancel_scope.cancel()
    assert nursery.cancel_scope.cancelled_caught
