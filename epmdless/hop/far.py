"""The EPMD servers of far hosts, asked through a hop: one question for many askers, and answers that are
kept for a moment."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

import trio

from epmdless.errors import ResolveError
from epmdless.hop.hop import Hop
from epmdless.hop.race import Tunnel
from epmdless.hop.trouble import HopError
from epmdless.metrics import Metrics
from epmdless.net.plain import send_all
from epmdless.resolve.far import FarEpmd
from epmdless.resolve.outcomes import Outcome, Query, Verdict
from epmdless.wire.epmd_replies import NamesReply

READ_SIZE = 64 * 1024

MAX_KEPT = 4096
"""Answers kept of one far host; then all are dropped: it has at most some hundreds of nodes."""

T = TypeVar("T")


class TunnelStream:
    """A tunnel with the few methods of a stream that a question to EPMD takes."""

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel

    async def send_all(self, data: bytes) -> None:
        """Send all of it. Raises OSError."""
        await send_all(self._tunnel.connection, data)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while data := await self._tunnel.connection.recv(READ_SIZE):
            yield data

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tunnel.connection.close()
        self._tunnel.release()


class _Question:
    """A question that is being asked.

    :ivar over: set when it is answered, or given up.
    :ivar answers: the answer, for all who wait for it; empty: there is none.
    :ivar problem: why there is none; None as well where the asker left.
    """

    __slots__ = ("answers", "over", "problem")

    def __init__(self) -> None:
        self.over = trio.Event()
        self.answers: list[Any] = []
        self.problem: str | None = None


class KeptEpmd(FarEpmd):
    """A far EPMD server behind a hop, whose answers are kept for a time.

    :param hop: the hop in force that leads to it; raises HopError.
    :param host, port: where it is, as the gateway is to be asked.
    """

    def __init__(
        self,
        hop: Callable[[], Hop],
        host: str,
        port: int,
        counts: Metrics,
        limit: trio.CapacityLimiter,
        clock: Callable[[], float],
    ) -> None:
        async def connect() -> TunnelStream:
            return TunnelStream(await hop().tunnel(host, port))

        super().__init__(connect, counts, limit)
        self._hop = hop
        self._clock = clock
        self._kept: dict[str | None, tuple[float, Any]] = {}
        self._asking: dict[str | None, _Question] = {}

    def answer_now(self, query: Query) -> Outcome:
        """An answer that is kept, at once."""
        kept = self._kept.get(query.alive)
        if kept is None or kept[0] <= self._clock():
            return Verdict.WAIT
        outcome: Outcome = kept[1]
        return outcome

    async def answer(self, query: Query) -> Outcome:
        """Ask where the node listens. Raises ResolveError."""
        return await self._shared(query.alive, partial(super().answer, query))

    async def names(self) -> NamesReply:
        """Ask who is registered there. Raises ResolveError."""
        return await self._shared(None, super().names)

    def forget(self) -> None:
        """Ask anew: an answer that is kept led to a port where nobody listens."""
        self._kept.clear()

    async def _shared(self, key: str | None, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask, unless the answer is kept, or somebody asks already: then wait for that one's."""
        while (question := self._asking.get(key)) is not None:
            await question.over.wait()
            if question.problem is not None:
                raise ResolveError(question.problem)
            if question.answers:
                shared: T = question.answers[0]
                return shared
        kept = self._kept.get(key)
        if kept is not None and kept[0] > self._clock():
            answer: T = kept[1]
            return answer
        return await self._ask_for_all(key, ask)

    async def _ask_for_all(self, key: str | None, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask; if the asker leaves, the next who waits asks anew."""
        question = self._asking[key] = _Question()
        try:
            answer = await ask()
        except ResolveError as error:
            question.problem = str(error)
            raise
        else:
            question.answers.append(answer)
            self._keep(key, answer)
            return answer
        finally:
            del self._asking[key]
            question.over.set()

    def _keep(self, key: str | None, answer: object) -> None:
        try:
            seconds = self._hop().standing.section.lookup_ttl
        except HopError:  # a reload removed it meanwhile
            return
        now = self._clock()
        self._kept.pop(key, None)  # what is kept anew comes last
        self._forget_old(now)
        if len(self._kept) >= MAX_KEPT:
            self._kept.clear()
        if seconds:
            self._kept[key] = (now + seconds, answer)

    def _forget_old(self, now: float) -> None:
        """Drop what is kept no longer: names that strangers make up are asked for once, and there may be as
        many hosts as a network has."""
        while self._kept:
            oldest = next(iter(self._kept))
            if self._kept[oldest][0] > now:
                return
            del self._kept[oldest]
