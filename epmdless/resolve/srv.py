"""Answers from DNS SRV records, through a bounded cache.

One name is asked for once at a time, however many wait for it. A fresh answer is at hand without
waiting; one that has expired is served on while the servers fail (RFC 8767); a failure itself is never
remembered as "no such node".
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple, Protocol

import trio

from epmdless import metrics
from epmdless.errors import ResolveError
from epmdless.metrics import Metrics
from epmdless.names import is_transient
from epmdless.resolve.dns_client import SrvAnswer
from epmdless.resolve.outcomes import Found, Missing, Outcome, Query, Verdict
from epmdless.resolve.srv_records import QuestionTemplate, candidates, pick

MAX_QUESTIONS = 64
"""Questions under way at once, each a UDP socket: strangers can make up names to ask for."""

MAX_QUEUED = 1000
"""Questions under way and those that wait for their turn; one more fails at once."""

QUEUE_SECONDS = 3.0
"""Seconds that a question waits for its turn: a BEAM gives up on the whole connection after 7."""

OUTCOMES_AN_ENTRY = 64
"""Encoded answers kept with a cached DNS answer: one question without the node's name serves many."""

STALE_RECHECK = 5.0
"""Seconds for which an expired answer is served without asking again after the servers failed:
otherwise each lookup would wait for their time-out first."""


class Limits(NamedTuple):
    """Seconds and entries; see ``[resolve.srv]`` in the configuration."""

    max_ttl: float = 3600
    negative_ttl: float = 60
    max_stale: float = 86400
    cache_entries: int = 4096


class Source(Protocol):
    """Where questions go; :class:`epmdless.resolve.srv_source.DnsSource` in production."""

    async def ask(self, question: str) -> SrvAnswer:
        """Ask for SRV records; :raises ResolveError: no server gave an answer."""


class _Entry:
    """A cached answer: fresh until `expires`, usable while the servers fail until `stale_until`.

    `outcomes` keeps what it means for each query, where no chance is in it.
    """

    __slots__ = ("answer", "expires", "outcomes", "stale_until")

    def __init__(self, answer: SrvAnswer, expires: float, stale_until: float) -> None:
        self.answer = answer
        self.expires = expires
        self.stale_until = stale_until
        self.outcomes: dict[Query, Outcome] = {}


class _Flight:
    """A question under way; `result` is None if whoever asked it was cancelled."""

    __slots__ = ("done", "result")

    def __init__(self) -> None:
        self.done = trio.Event()
        self.result: _Entry | ResolveError | None = None


class SrvResolver:
    """The resolver ``srv``.

    Missing where DNS knows no such node; not mine where the names make no question.
    """

    name = "srv"

    def __init__(
        self,
        template: str,
        source: Source,
        limits: Limits,
        counts: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._template = QuestionTemplate(template)
        self._source = source
        self._limits = limits
        self._counts = counts
        self._clock = clock
        self._found: OrderedDict[str, _Entry] = OrderedDict()
        self._missing: OrderedDict[str, _Entry] = OrderedDict()
        self._turns = trio.CapacityLimiter(MAX_QUESTIONS)
        self._flights: dict[str, _Flight] = {}
        self._seconds = counts.histogram(metrics.DNS_SECONDS)

    @property
    def cache_entries(self) -> int:
        """Answers kept now, "no such name" included."""
        return len(self._found) + len(self._missing)

    def inherit(self, before: SrvResolver) -> None:
        """Take over the answers of a resolver that asked the same question, stale ones included: a
        reload while the DNS servers are down must not lose what is known."""
        self._found, self._missing = before._found, before._missing

    def answer_now(self, query: Query) -> Outcome:
        """The outcome if the cache holds a fresh answer."""
        question = self._question(query)
        if question is None:
            return Verdict.NOT_MINE
        entry = self._kept(question)
        if entry is None or entry.expires <= self._clock():
            return Verdict.WAIT
        self._counts.count(metrics.DNS_CACHE, "hit")
        return self._outcome(entry, query)

    async def answer(self, query: Query) -> Outcome:
        """The outcome, asked for if need be.

        :raises ResolveError: the servers failed, and no answer is kept that may still be served.
        """
        outcome = self.answer_now(query)
        if outcome is not Verdict.WAIT:
            return outcome
        question = self._question(query)
        assert question is not None
        try:
            return self._outcome(await self._ask_once(question), query)
        except ResolveError:
            entry = self._kept(question)
            if entry is None or entry.stale_until <= self._clock():
                raise
            entry.expires = min(self._clock() + STALE_RECHECK, entry.stale_until)
            self._counts.count(metrics.DNS_CACHE, "stale")
            return self._outcome(entry, query)

    def _kept(self, question: str) -> _Entry | None:
        """The answer in the cache, fresh or not; it counts as used."""
        for cache in (self._found, self._missing):
            if question in cache:
                cache.move_to_end(question)
                return cache[question]
        return None

    def _question(self, query: Query) -> str | None:
        # A question without {name} is a convention: any name at that host would get the same port.
        if not self._template.names_the_node and is_transient(query.alive):
            return None
        return self._template.expand(query.alive, query.host)

    def _outcome(self, entry: _Entry, query: Query) -> Outcome:
        outcome = entry.outcomes.get(query)
        if outcome is not None:
            return outcome
        records = candidates(entry.answer.records, query.host, any_target=self._template.names_the_node)
        if not records:
            outcome = Missing(self.name)
        else:
            outcome = Found.unregistered(query.alive, pick(records).port, self.name)
        if len(records) <= 1 and len(entry.outcomes) < OUTCOMES_AN_ENTRY:
            entry.outcomes[query] = outcome
        return outcome

    async def _ask_once(self, question: str) -> _Entry:
        """Ask, or wait for whoever is asking; if that one is cancelled, somebody else asks."""
        while True:
            flight = self._flights.get(question)
            if flight is None:
                self._counts.count(metrics.DNS_CACHE, "miss")
                return await self._lead(question)
            self._counts.count(metrics.DNS_CACHE, "shared")
            await flight.done.wait()
            if isinstance(flight.result, ResolveError):
                raise ResolveError(str(flight.result))
            if flight.result is not None:
                return flight.result

    async def _lead(self, question: str) -> _Entry:
        if len(self._flights) >= MAX_QUEUED:
            self._counts.count(metrics.DNS_CACHE, "full")
            raise ResolveError(f"more than {MAX_QUEUED} DNS questions wait for an answer")
        flight = self._flights[question] = _Flight()
        try:
            flight.result = entry = await self._ask_in_turn(question)
        except ResolveError as error:
            flight.result = error
            raise
        finally:
            del self._flights[question]
            flight.done.set()
        return entry

    async def _ask_in_turn(self, question: str) -> _Entry:
        with trio.move_on_after(QUEUE_SECONDS) as waiting:
            await self._turns.acquire()
        if waiting.cancelled_caught:
            self._counts.count(metrics.DNS_CACHE, "full")
            raise ResolveError(f"{MAX_QUESTIONS} DNS questions are under way, and none ends")
        try:
            return await self._ask(question)
        finally:
            self._turns.release()

    async def _ask(self, question: str) -> _Entry:
        started = self._clock()
        try:
            answer = await self._source.ask(question)
        except ResolveError:
            self._counts.count(metrics.DNS_QUESTIONS, "failed")
            raise
        except Exception as error:
            self._counts.count(metrics.DNS_QUESTIONS, "failed")
            raise ResolveError(f"SRV {question}: {type(error).__name__}") from error
        finally:
            self._seconds.observe(self._clock() - started)
        self._counts.count(metrics.DNS_QUESTIONS, "answered" if answer.records else "empty")
        return self._store(question, answer)

    def _store(self, question: str, answer: SrvAnswer) -> _Entry:
        longest = self._limits.max_ttl if answer.records else self._limits.negative_ttl
        expires = self._clock() + min(answer.ttl, longest)
        # "No such name" is not worth serving past its time: a node that has come since would stay hidden.
        stale = self._limits.max_stale if answer.records else 0
        self._found.pop(question, None)
        self._missing.pop(question, None)
        # Apart, each with its bound: names that strangers make up must not push out those that exist.
        cache = self._found if answer.records else self._missing
        while len(cache) >= self._limits.cache_entries:
            cache.popitem(last=False)
        entry = cache[question] = _Entry(answer, expires, expires + stale)
        return entry
