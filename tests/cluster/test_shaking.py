"""How we come into a node as a hidden one: names that are free, whom a cookie is shown to, and every way in
which a handshake ends otherwise."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Literal

import pytest
import trio
from trio.testing import MockClock

from epmdless.cluster.node_link import SHAKE_SECONDS, NodeLink
from epmdless.cluster.shaking import MAX_OWN_NAMES, Messages, own_names, shake
from epmdless.cluster.trouble import NodeError
from epmdless.wire.handshake import Ack, Challenge, Status, StatusKind
from epmdless.wire.terms import Atom
from tests.cluster.scripted_node import (
    COOKIE,
    HTTP,
    NO_SPAWN,
    TLS_ALERT,
    ScriptedNode,
    Step,
    is_hidden,
)

NODE = "app@b1.test"
OWN = [f"epmdless-{number}@h1.test" for number in range(1, 9)]


class Dialed:
    """Connects to a node, and remembers with what."""

    def __init__(self, dial: Callable[[], Awaitable[trio.socket.SocketType]]) -> None:
        self._dial = dial
        self.sockets: list[trio.socket.SocketType] = []

    async def __call__(self) -> trio.socket.SocketType:
        self.sockets.append(await self._dial())
        return self.sockets[-1]

    @property
    def open(self) -> int:
        return sum(sock.fileno() >= 0 for sock in self.sockets)


class World:
    """A node and who connects to it."""

    def __init__(self, node: ScriptedNode, nursery: trio.Nursery) -> None:
        self.node = node
        self.dialed = Dialed(node.dialer(nursery))
        self.asked_for: list[str] = []

    def cookie(self, name: str) -> bytes:
        self.asked_for.append(name)
        return COOKIE

    async def open(self, expected: str = "app", *, is_old: bool = False) -> NodeLink:
        return await NodeLink.open(self.dialed, "h1.test", self.cookie, expected, is_old=is_old)

    async def refused(self, expected: str = "app") -> NodeError:
        """The error; nothing is left open after it."""
        with pytest.raises(NodeError) as caught:
            await self.open(expected)
        assert self.dialed.open == 0
        return caught.value


@asynccontextmanager
async def world_of(name: str = NODE) -> AsyncIterator[World]:
    async with trio.open_nursery() as nursery:
        world = World(ScriptedNode(name), nursery)
        try:
            yield world
        finally:
            for sock in world.dialed.sockets:
                sock.close()
            nursery.cancel_scope.cancel()


def test_own_names_are_few_and_of_our_host() -> None:
    assert own_names("h1.test") == OWN
    assert len(OWN) == MAX_OWN_NAMES


@pytest.mark.parametrize("expected", ["app", NODE])
async def test_a_node_takes_us_as_a_hidden_one(expected: str) -> None:
    async with world_of() as world:
        link = await world.open(expected)
        (visit,) = world.node.links
        assert (visit.name, is_hidden(visit), link.name) == (OWN[0], True, NODE)
        assert world.asked_for == [NODE]
        link.close()
        assert world.dialed.open == 0


@pytest.mark.parametrize("is_oldest", [False, True])
async def test_a_node_that_may_be_old_is_greeted_as_one(is_oldest: bool) -> None:
    async with world_of() as world:
        world.node.says_old_name = is_oldest
        link = await world.open(is_old=True)
        assert world.node.links[0].flags < 1 << 32
        assert await link_works(link)


async def link_works(link: NodeLink) -> bool:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.serve)
        said = await link.call("erlang", "nodes", [Atom("connected")], 5)
        nursery.cancel_scope.cancel()
    return said == []


async def test_another_of_us_is_there_already() -> None:
    async with world_of() as world:
        links = [await world.open() for _ in range(MAX_OWN_NAMES)]
        assert [visit.name for visit in world.node.links] == OWN
        with pytest.raises(NodeError, match=r"^taken: "):
            await world.open()
        assert world.dialed.open == MAX_OWN_NAMES, "all of the last attempt's are closed"
        links[2].close()
        await trio.testing.wait_all_tasks_blocked()
        await world.open()
        assert world.node.links[-1].name == OWN[2]


async def test_a_node_that_dials_our_name_itself_takes_the_next() -> None:
    async with world_of() as world:
        world.node.status = Status(StatusKind.NOK)
        assert (await world.refused()).reason == "taken"
        assert [visit.name for visit in world.node.visits] == OWN


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("other@b1.test", "app"),
        ("app2@b1.test", "app"),
        ("app@b2.test", "app@b1.test"),
        ("app@b1.test.more", "app@b1.test"),
    ],
)
async def test_nothing_that_a_cookie_made_is_shown_to_a_node_of_another_name(
    name: str, expected: str
) -> None:
    async with world_of(name) as world:
        error = await world.refused(expected)
        assert (error.reason, error.detail) == ("other_name", f"{name} answers")
        assert world.asked_for == []
        assert [visit.proofs for visit in world.node.visits] == [0]


async def test_no_cookie_no_proof() -> None:
    def none_for_it(_: str) -> bytes:
        raise NodeError("left_out")

    async with world_of() as world:
        with pytest.raises(NodeError, match="left_out"):
            await NodeLink.open(world.dialed, "h1.test", none_for_it, "app", is_old=False)
        assert world.dialed.open == 0
        assert world.node.visits[0].proofs == 0


async def test_another_cookie() -> None:
    async with world_of() as world:
        world.node.cookie = b"another one"
        error = await world.refused()
        assert (error.reason, len(world.node.visits)) == ("cookie", 1)
        assert COOKIE.decode() not in str(error)


@pytest.mark.parametrize("proof", [bytes(16), b"\xff" * 16])
async def test_a_node_that_takes_any_cookie_has_to_know_it_itself(proof: bytes) -> None:
    async with world_of() as world:
        world.node.instead_of[Ack] = Ack(proof)
        assert (await world.refused()).reason == "cookie"


CHALLENGE = Challenge(0, 0, 0, NODE)
STATUS = Status(StatusKind.OK)

WRONG = [
    (Status, Status(StatusKind.NOT_ALLOWED), "not_allowed"),
    (Status, Status(StatusKind.NAMED, "x@h1.test", 5), "protocol"),
    (Status, CHALLENGE, "protocol"),
    (Status, b"\0\5swhat", "protocol"),
    (Status, b"\0\0", "protocol"),
    (Status, b"\xff\xffN", "protocol"),
    (Status, TLS_ALERT, "tls"),
    (Status, HTTP, "protocol"),
    (Challenge, STATUS, "protocol"),
    (Challenge, Ack(bytes(16)), "protocol"),
    (Challenge, b"\0\1N", "protocol"),
    (Challenge, b"\0\x16N" + bytes(18) + b"\0\1@", "protocol"),
    (Ack, STATUS, "protocol"),
    (Ack, CHALLENGE, "protocol"),
    (Ack, b"\0\1a", "protocol"),
    (Ack, TLS_ALERT, "tls"),
]


@pytest.mark.parametrize(("step", "says", "reason"), WRONG)
async def test_what_no_node_says(step: type[Status | Challenge | Ack], says: object, reason: str) -> None:
    async with world_of() as world:
        assert isinstance(says, bytes | Status | Challenge | Ack)
        world.node.instead_of[step] = says
        assert (await world.refused()).reason == reason


@pytest.mark.parametrize(
    ("greeting", "reason"), [(TLS_ALERT, "tls"), (HTTP, "protocol"), (b"\0\1", "timeout")]
)
async def test_somebody_who_speaks_first(autojump_clock: MockClock, greeting: bytes, reason: str) -> None:
    async with world_of() as world:
        world.node.greeting = greeting
        assert (await world.refused()).reason == reason


@pytest.mark.parametrize("step", Step)
async def test_a_node_that_hangs_is_given_up_in_time(autojump_clock: MockClock, step: Step) -> None:
    async with world_of() as world:
        world.node.stops_at = step
        started = trio.current_time()
        error = await world.refused()
        assert (error.reason, trio.current_time() - started) == ("timeout", SHAKE_SECONDS)


async def test_eight_names_have_no_more_time_than_one(autojump_clock: MockClock) -> None:
    async with world_of() as world:
        dial = world.dialed

        async def slowly() -> trio.socket.SocketType:
            await trio.sleep(2)
            return await dial()

        world.node.taken.update(OWN)
        with pytest.raises(NodeError, match="timeout"):
            await NodeLink.open(slowly, "h1.test", world.cookie, "app", is_old=False)
        assert trio.current_time() == SHAKE_SECONDS
        assert dial.open == 0


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("step", Step)
async def test_a_node_that_ends_the_connection(step: Step, how: Literal["close", "reset"]) -> None:
    """After our proof, that is how a node says that our cookie is not its own."""
    async with world_of() as world:
        world.node.stops_at, world.node.stops_by = step, how
        assert (await world.refused()).reason == ("cookie" if step is Step.REPLY else "closed")


async def test_a_cancelled_handshake_leaves_nothing_open() -> None:
    async with world_of() as world, trio.open_nursery() as nursery:
        world.node.stops_at = Step.STATUS
        nursery.start_soon(world.open)
        await trio.testing.wait_all_tasks_blocked()
        assert world.dialed.open == 1
        nursery.cancel_scope.cancel()
    assert world.dialed.open == 0


class Dripping:
    """A connection whose other side arrives byte by byte, and ends after its last."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.sent = b""

    async def recv(self, _: int, /) -> bytes:
        await trio.lowlevel.checkpoint()
        piece, self._data = self._data[:1], self._data[1:]
        return piece

    async def send(self, data: bytes, /) -> int:
        await trio.lowlevel.checkpoint()
        self.sent += data[:1]
        return 1


def whole(message: bytes) -> bytes:
    return struct.pack(">H", len(message)) + message


async def test_messages_may_come_in_any_pieces() -> None:
    messages = Messages(Dripping(whole(b"sok") + whole(b"snok") + b"rest"))
    assert await messages.receive() == Status(StatusKind.OK)
    assert await messages.receive() == Status(StatusKind.NOK)
    with pytest.raises(NodeError, match="closed"):
        await Messages(Dripping(b"\0")).receive()


async def test_an_ended_handshake_is_told_from_a_refused_cookie() -> None:
    challenge = b"N" + struct.pack(">QIIH", NO_SPAWN, 1, 1, len(NODE)) + NODE.encode()
    with pytest.raises(NodeError, match=r"^closed"):
        await shake(Dripping(whole(b"sok")), OWN[0], lambda _: COOKIE, "app")
    with pytest.raises(NodeError, match=r"^cookie"):
        await shake(Dripping(whole(b"sok") + whole(challenge)), OWN[0], lambda _: COOKIE, "app")


async def test_what_comes_right_behind_the_handshake_is_kept(autojump_clock: MockClock) -> None:
    async with world_of() as world:
        world.node.right_after_ack = b"\0\0\0\0" * 3 + b"\xff\xff\xff\xff"
        link = await world.open()
        with pytest.raises(NodeError, match="protocol: oversized"):
            await link.serve()
