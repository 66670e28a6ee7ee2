"""Answers from the EPMD server of another host."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Protocol

import trio

from epmdless import metrics
from epmdless.errors import EpmdlessError, LocalProtocolError, RemoteProtocolError, ResolveError
from epmdless.metrics import Metrics
from epmdless.resolve.outcomes import Found, Missing, Outcome, Query, Verdict
from epmdless.wire.epmd import NamesRequest, PortPlease2Request, Request, encode_request
from epmdless.wire.epmd_replies import (
    NamesReply,
    decode_names_reply,
    decode_port_reply,
    encode_port_reply,
)

PATIENCE = 5.0
"""Seconds for a question and its answer: less than the 7 s of a BEAM's whole set-up."""

READ_SIZE = 65536

MAX_QUESTIONS = 64
"""Questions at once to all far servers; more wait for their turn, within their patience."""

MAX_QUESTIONS_A_SERVER = 16
"""Questions at once to one of them: one that is dead must not hold up what the others are asked."""

MAX_ANSWER = 2 * 1024 * 1024
"""Bytes of the longest answer that is taken: a list of 20,000 names of 80 bytes."""


class Stream(Protocol):
    """What a question takes of a connection; the end of its context closes it."""

    async def send_all(self, data: bytes) -> None:
        """Send all of it. Raises OSError or BrokenResourceError."""

    def __aiter__(self) -> AsyncIterator[bytes | bytearray]:
        """What comes, up to the other side's end."""

    async def __aenter__(self) -> object:
        """Nothing."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> object:
        """Close it."""


class FarError(ResolveError):
    """A far server does not answer, or not as it must.

    :ivar reason: in one word: ``timeout``, ``refused`` (by its host), ``unreachable`` or ``malformed``.
    """

    def __init__(self, reason: str, problem: str) -> None:
        self.reason = reason
        super().__init__(f"the far EPMD server: {problem}")


Connect = Callable[[], Awaitable[Stream]]


class FarEpmd:
    """The EPMD server of one far host.

    :param connect: opens a connection to it; raises OSError or an EpmdlessError.
    :param patience: seconds for a question and its answer.
    :param longest: bytes of the longest answer that is taken.
    """

    name = "epmd"

    def __init__(
        self,
        connect: Connect,
        counts: Metrics,
        limit: trio.CapacityLimiter,
        *,
        patience: float = PATIENCE,
        longest: int = MAX_ANSWER,
    ) -> None:
        self._patience = patience
        self._longest = longest
        self._connect = connect
        self._counts = counts
        self._limit = limit
        self._own_limit = trio.CapacityLimiter(MAX_QUESTIONS_A_SERVER)

    def answer_now(self, query: Query) -> Outcome:
        """It always takes I/O."""
        return Verdict.WAIT

    async def answer(self, query: Query) -> Outcome:
        """Ask where the node listens.

        :raises FarError: the server does not answer, or not as it must.
        """
        said = await self._ask(PortPlease2Request(query.alive))
        try:
            reply = decode_port_reply(said, closed=True)
            assert reply is not None, "a closed connection leaves nothing to wait for"
            answer = b"" if reply.node is None else encode_port_reply(reply.node)
        except (RemoteProtocolError, LocalProtocolError) as error:  # what cannot be said again is no answer
            raise self._failed("malformed", str(error)) from None
        if reply.node is None:
            self._counts.count(metrics.FAR_QUESTIONS, "missing")
            return Missing(self.name)
        self._counts.count(metrics.FAR_QUESTIONS, "found")
        return Found(reply.node, answer, self.name)

    async def names(self) -> NamesReply:
        """Ask who is registered there.

        :raises FarError: the server does not answer, or not as it must.
        """
        try:
            reply = decode_names_reply(await self._ask(NamesRequest()))
        except RemoteProtocolError as error:
            raise self._failed("malformed", str(error)) from None
        self._counts.count(metrics.FAR_QUESTIONS, "names")
        return reply

    def forget(self) -> None:
        """Give no answer twice: one led to a port where nobody listens. This server keeps none."""

    async def _ask(self, request: Request) -> bytes:
        """Ask, and take everything up to the server's close."""
        with trio.move_on_after(self._patience):
            try:
                async with self._own_limit, self._limit:
                    stream = await self._connect()
                    async with stream:
                        await stream.send_all(encode_request(request))
                        return await self._read_all(stream)
            except (OSError, EpmdlessError, trio.BrokenResourceError) as error:
                raise self._failed(_reason(error), str(error) or "the connection broke") from None
        raise self._failed("timeout", "no answer in time")

    async def _read_all(self, stream: Stream) -> bytes:
        received = bytearray()
        async for piece in stream:
            received += piece
            if len(received) > self._longest:
                raise RemoteProtocolError("long", f"its answer has more than {self._longest} bytes")
        return bytes(received)

    def _failed(self, reason: str, problem: str) -> FarError:
        self._counts.count(metrics.FAR_QUESTIONS, "failed")
        return FarError(reason, problem)


def _reason(error: Exception) -> str:
    if isinstance(error, RemoteProtocolError):
        return "malformed"
    return "refused" if isinstance(error, ConnectionRefusedError) else "unreachable"
