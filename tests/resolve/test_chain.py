"""The chain: who is asked after whom, when the search ends, and what the walk shows."""

from typing import Any

import pytest
import structlog

from epmdless.errors import ResolveError
from epmdless.resolve.chain import NOBODY, Chain, Step
from epmdless.resolve.outcomes import Failed, Found, Missing, Outcome, Query, Verdict

QUERY = Query("app", "b1.internal")
NOT_MINE = Verdict.NOT_MINE


class Fake:
    """A resolver that says what it was told to, and remembers what it was asked.

    said: the outcome, or the message of a failure. waits: whether that takes I/O.
    """

    def __init__(self, name: str, said: Outcome | str, *, waits: bool = False) -> None:
        self.name = name
        self.said = said
        self.waits = waits
        self.asked: list[Query] = []

    def answer_now(self, query: Query) -> Outcome:
        self.asked.append(query)
        return Verdict.WAIT if self.waits or isinstance(self.said, str) else self.said

    async def answer(self, query: Query) -> Outcome:
        self.asked.append(query)
        if isinstance(self.said, str):
            raise ResolveError(self.said)
        return self.said


def found(resolver: str, port: int = 9001) -> Found:
    return Found.unregistered("app", port, resolver)


def chain(*resolvers: Fake, fallthrough: tuple[str, ...] = (), lines: list[Any] | None = None) -> Chain:
    """A chain that writes its log lines to a list."""
    capture = structlog.testing.LogCapture()
    capture.entries = [] if lines is None else lines
    return Chain(resolvers, fallthrough, structlog.wrap_logger(None, processors=[capture]))


def test_a_chain_names_its_resolvers_in_order() -> None:
    assert chain(Fake("b", NOT_MINE), Fake("a", NOT_MINE)).names == ("b", "a")


async def test_the_first_that_finds_ends_the_search() -> None:
    first, second = Fake("first", found("first")), Fake("second", found("second"))
    both = chain(first, second)
    assert both.answer_now(QUERY) == await both.answer(QUERY) == found("first")
    assert (first.asked, second.asked) == ([QUERY, QUERY], [])


async def test_not_mine_goes_on() -> None:
    both = chain(Fake("first", NOT_MINE), Fake("second", found("second")))
    assert both.answer_now(QUERY) == await both.answer(QUERY) == found("second")


async def test_missing_ends_the_search() -> None:
    second = Fake("second", found("second"))
    both = chain(Fake("first", Missing("first")), second)
    assert both.answer_now(QUERY) == await both.answer(QUERY) == Missing("first")
    assert second.asked == []


async def test_missing_goes_on_where_it_may_fall_through() -> None:
    both = chain(Fake("first", Missing("first")), Fake("second", found("second")), fallthrough=("first",))
    assert both.answer_now(QUERY) == await both.answer(QUERY) == found("second")


async def test_nobody_answers_when_every_resolver_passes() -> None:
    passing = chain(Fake("a", NOT_MINE), Fake("b", Missing("b")), fallthrough=("b",))
    assert passing.answer_now(QUERY) == await passing.answer(QUERY) == Missing(NOBODY)


async def test_an_empty_chain_knows_nobody() -> None:
    assert chain().answer_now(QUERY) == await chain().answer(QUERY) == Missing(NOBODY)
    assert await chain().explain(QUERY) == [Step(NOBODY, Missing(NOBODY))]


async def test_an_answer_that_takes_io_is_waited_for() -> None:
    slow = chain(Fake("a", NOT_MINE), Fake("slow", found("slow"), waits=True))
    assert slow.answer_now(QUERY) is None
    assert await slow.answer(QUERY) == found("slow")


def test_nobody_is_waited_for_behind_an_answer() -> None:
    slow = Fake("slow", found("slow"), waits=True)
    assert chain(Fake("a", found("a")), slow).answer_now(QUERY) == found("a")
    assert slow.asked == []


def test_nobody_behind_one_that_waits_answers_first() -> None:
    behind = Fake("behind", found("behind"))
    assert chain(Fake("slow", NOT_MINE, waits=True), behind).answer_now(QUERY) is None
    assert behind.asked == []


async def test_a_failure_ends_the_search() -> None:
    behind = Fake("behind", found("behind"))
    assert await chain(Fake("srv", "timed out"), behind).answer(QUERY) == Failed("srv", "timed out")
    assert behind.asked == []


async def test_a_failure_goes_on_where_it_may_fall_through() -> None:
    both = chain(Fake("srv", "timed out"), Fake("behind", found("behind")), fallthrough=("srv",))
    assert await both.answer(QUERY) == found("behind")


async def test_the_last_failure_that_falls_through_leaves_nobody() -> None:
    assert await chain(Fake("srv", "timed out"), fallthrough=("srv",)).answer(QUERY) == Missing(NOBODY)


@pytest.mark.parametrize("fallthrough", [(), ("srv",)])
async def test_a_failure_is_logged_once_with_its_reason(fallthrough: tuple[str, ...]) -> None:
    lines: list[Any] = []
    await chain(Fake("srv", "timed out"), fallthrough=fallthrough, lines=lines).answer(QUERY)
    fields = {"resolver": "srv", "name": "app", "host": "b1.internal", "error": "timed out"}
    assert lines == [{"log_level": "warning", "event": "source failed", **fields}]


async def test_what_is_found_or_missing_is_not_logged() -> None:
    lines: list[Any] = []
    both = chain(Fake("a", NOT_MINE), Fake("b", Missing("b")), fallthrough=("b",), lines=lines)
    await both.answer(QUERY)
    assert lines == []


async def test_the_walk_shows_each_resolver_up_to_the_decisive_one() -> None:
    whole = chain(
        Fake("registered", NOT_MINE),
        Fake("static", Missing("static")),
        Fake("srv", "SERVFAIL"),
        Fake("scheme", found("scheme")),
        Fake("never", found("never")),
        fallthrough=("static", "srv"),
    )
    assert await whole.explain(QUERY) == [
        Step("registered", NOT_MINE),
        Step("static", Missing("static")),
        Step("srv", Failed("srv", "SERVFAIL")),
        Step("scheme", found("scheme")),
    ]


async def test_the_walk_of_a_search_without_an_answer_ends_with_nobody() -> None:
    steps = await chain(Fake("a", NOT_MINE), Fake("b", NOT_MINE)).explain(QUERY)
    assert steps == [Step("a", NOT_MINE), Step("b", NOT_MINE), Step(NOBODY, Missing(NOBODY))]


@pytest.mark.parametrize("said", [found("a"), Missing("a"), NOT_MINE])
@pytest.mark.parametrize("fallthrough", [(), ("a",)])
async def test_the_answer_at_hand_and_the_awaited_one_agree(
    said: Outcome, fallthrough: tuple[str, ...]
) -> None:
    both = chain(Fake("a", said), Fake("b", found("b")), fallthrough=fallthrough)
    assert both.answer_now(QUERY) == await both.answer(QUERY) == (await both.explain(QUERY))[-1].outcome
