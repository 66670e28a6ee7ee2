"""The EPMD server of another host, asked over connections in memory."""

from collections.abc import Callable
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from epmdless import metrics
from epmdless.errors import EpmdlessError, ResolveError
from epmdless.metrics import Metrics
from epmdless.resolve.far import MAX_ANSWER, MAX_QUESTIONS_A_SERVER, PATIENCE, FarEpmd, FarError
from epmdless.resolve.outcomes import Found, Missing, Query, Verdict
from tests.support.epmd_client import framed
from tests.support.far_epmd import EXTRA, MISS, port_reply

QUERY = Query("b", "b1.test")
HIT = port_reply("b", 9001)
LIST = (4369).to_bytes(4, "big") + b"name b at port 9001\nname c at port 9002\n"


class Server:
    """Far EPMD server: what it says to each question, and what it was asked.

    :ivar says: the answer's bytes; an exception: what connecting raises; None: it says nothing, ever.
    :ivar piece: bytes that each of its writes has.
    """

    def __init__(self, says: bytes | Exception | None, piece: int = 1 << 20) -> None:
        self.says = says
        self.piece = piece
        self.asked: list[bytes] = []
        self.open = self.most_open = 0
        self.counts = Metrics()
        self.far: FarEpmd

    async def answer(self, stream: trio.StapledStream) -> None:  # type: ignore[type-arg]
        async with stream:
            self.asked.append(bytes(await stream.receive_some(65536)))
            if self.says is None:
                await trio.sleep_forever()
            assert isinstance(self.says, bytes)
            for at in range(0, len(self.says), self.piece):
                await stream.send_all(self.says[at : at + self.piece])

    def counted(self, result: str) -> float:
        return self.counts.value(metrics.FAR_QUESTIONS, result)


async def asking(server: Server, ask: Callable[[FarEpmd], object], limit: int = 64) -> None:
    """Run something with a resolver that asks this server."""
    async with trio.open_nursery() as nursery:

        async def connect() -> trio.SocketStream:
            if isinstance(server.says, Exception):
                raise server.says
            ours, theirs = trio.testing.memory_stream_pair()
            nursery.start_soon(server.answer, theirs)
            server.open += 1
            server.most_open = max(server.most_open, server.open)
            return ours  # type: ignore[return-value]

        await ask(FarEpmd(connect, server.counts, trio.CapacityLimiter(limit)))  # type: ignore[misc]
        nursery.cancel_scope.cancel()


async def test_a_lookup_takes_waiting() -> None:
    async def ask(far: FarEpmd) -> None:
        assert far.answer_now(QUERY) is Verdict.WAIT

    await asking(Server(HIT), ask)


@pytest.mark.parametrize("piece", [1, 3, 1 << 20])
async def test_a_node_is_found_with_all_that_the_server_says_of_it(piece: int) -> None:
    server = Server(HIT, piece)

    async def ask(far: FarEpmd) -> None:
        outcome = await far.answer(QUERY)
        assert isinstance(outcome, Found)
        assert (outcome.node.port, outcome.node.name, outcome.node.extra) == (9001, "b", EXTRA)
        assert (outcome.answer, outcome.resolver) == (HIT, "epmd")

    await asking(server, ask)
    assert server.asked == [framed(b"zb")]
    assert server.counted("found") == 1


async def test_a_node_is_missing() -> None:
    server = Server(MISS)

    async def ask(far: FarEpmd) -> None:
        assert await far.answer(QUERY) == Missing("epmd")

    await asking(server, ask)
    assert server.counted("missing") == 1


async def test_the_list_of_names() -> None:
    server = Server(LIST, piece=5)

    async def ask(far: FarEpmd) -> None:
        reply = await far.names()
        assert reply.nodes == (("b", 9001), ("c", 9002))

    await asking(server, ask)
    assert server.asked == [framed(b"n")]
    assert server.counted("names") == 1


@pytest.mark.parametrize(
    "says",
    [
        OSError("Connection refused"),
        ResolveError("no address"),
        trio.BrokenResourceError(),
        b"",
        HIT[:1],
        HIT[:-1],
        b"w",
        b"v" + HIT[1:],
        port_reply("", 9001),
        port_reply("a\0b", 9001),
        bytes(MAX_ANSWER + 1),
    ],
    ids=lambda says: repr(says)[:20],
)
async def test_a_server_that_fails_is_no_outcome(says: bytes | Exception) -> None:
    server = Server(says)

    async def ask(far: FarEpmd) -> None:
        with pytest.raises(ResolveError, match=r"the far EPMD server: ."):
            await far.answer(QUERY)

    await asking(server, ask)
    assert server.counted("failed") == 1


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        (ConnectionRefusedError("Connection refused"), "refused"),
        (OSError("No route to host"), "unreachable"),
        (trio.BrokenResourceError(), "unreachable"),
        (ResolveError("no gateway"), "unreachable"),
        (LIST[:-1], "malformed"),
        (bytes(MAX_ANSWER + 1), "malformed"),
        (None, "timeout"),
    ],
    ids=lambda says: repr(says)[:20],
)
async def test_why_it_failed_is_said_in_a_word(
    says: bytes | Exception | None, reason: str, autojump_clock: trio.testing.MockClock
) -> None:
    async def ask(far: FarEpmd) -> None:
        with pytest.raises(FarError) as caught:
            await far.names()
        assert caught.value.reason == reason

    await asking(Server(says), ask)


async def test_patience_and_length_can_be_less(autojump_clock: trio.testing.MockClock) -> None:
    for says, reason in ((None, "timeout"), (LIST, "malformed")):
        async with trio.open_nursery() as nursery:
            server = Server(says)
            ours, theirs = trio.testing.memory_stream_pair()
            nursery.start_soon(server.answer, theirs)

            async def connect(stream: trio.StapledStream = ours) -> Any:  # type: ignore[type-arg]
                return stream

            limit = trio.CapacityLimiter(1)
            far = FarEpmd(connect, server.counts, limit, patience=0.5, longest=len(LIST) - 1)
            started = trio.current_time()
            with pytest.raises(FarError) as caught:
                await far.names()
            assert caught.value.reason == reason
            assert trio.current_time() - started == pytest.approx(0 if says else 0.5)
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("says", [b"", b"\0\0\1", LIST + b"name \n", LIST[:4] + b"\xff"])
async def test_a_bad_list_is_none(says: bytes) -> None:
    server = Server(says)

    async def ask(far: FarEpmd) -> None:
        with pytest.raises(ResolveError):
            await far.names()

    await asking(server, ask)
    assert server.counted("failed") == 1


async def test_a_silent_server_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    server = Server(None)

    async def ask(far: FarEpmd) -> None:
        started = trio.current_time()
        with pytest.raises(ResolveError, match="no answer in time"):
            await far.answer(QUERY)
        assert trio.current_time() - started == pytest.approx(PATIENCE)

    await asking(server, ask)
    assert server.counted("failed") == 1


async def test_questions_wait_for_their_turn_and_within_their_patience(
    autojump_clock: trio.testing.MockClock,
) -> None:
    server = Server(None)

    async def ask(far: FarEpmd) -> None:
        async def one() -> None:
            with pytest.raises(ResolveError, match="no answer in time"):
                await far.answer(QUERY)

        started = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(one)
        assert trio.current_time() - started == pytest.approx(PATIENCE)

    await asking(server, ask, limit=2)
    assert server.most_open == 2


async def test_a_server_that_is_dead_leaves_questions_to_others(
    autojump_clock: trio.testing.MockClock,
) -> None:
    server = Server(None)

    async def ask(far: FarEpmd) -> None:
        async def one() -> None:
            with pytest.raises(ResolveError, match="no answer in time"):
                await far.answer(QUERY)

        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(one)

    await asking(server, ask)
    assert server.most_open == MAX_QUESTIONS_A_SERVER


async def test_a_name_that_no_request_can_carry_is_a_failure() -> None:
    async def ask(far: FarEpmd) -> None:
        with pytest.raises(EpmdlessError):
            await far.answer(Query("x" * 5000, "b1.test"))

    await asking(Server(HIT), ask)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60) | st.binary(max_size=40).map(lambda tail: HIT[:12] + tail))
def test_whatever_a_server_says_is_an_outcome_or_a_failure(says: bytes) -> None:
    async def ask(far: FarEpmd) -> None:
        for question in (far.answer, lambda _: far.names()):
            try:
                await question(QUERY)
            except ResolveError:
                continue

    server = Server(says)
    trio.run(asking, server, ask)
    assert len(server.asked) == 2
