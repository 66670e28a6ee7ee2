"""Calls over our connection to a node: both ways to call, many at once, and nodes that misbehave or die."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from epmdless.cluster import node_link
from epmdless.cluster.node_link import SEND_SECONDS, SHARE, SILENCE_SECONDS, TICK_SECONDS, NodeLink
from epmdless.cluster.trouble import NodeError
from epmdless.wire.distribution import MAX_FRAME, TICK, Event, Ignored, Operation
from epmdless.wire.terms import Atom, Pid, Reference, Term
from tests.cluster.scripted_node import COOKIE, FLAGS, NO_SPAWN, Call, ScriptedNode, framed

NODE = "app@b1.test"
CONNECTED = [Atom("connected")]
FLAGS_OF = {"spawn": FLAGS, "rex": NO_SPAWN}


class World:
    """A node, our connection to it, and how that ended.

    :ivar error: how; None: it has not.
    """

    def __init__(self, node: ScriptedNode, link: NodeLink) -> None:
        self.node = node
        self.link = link
        self.error: NodeError | None = None

    async def serve(self) -> None:
        with pytest.raises(NodeError) as caught:
            await self.link.serve()
        self.error = caught.value
        self.link.close()

    async def nodes(self, seconds: float = 5) -> Term:
        return await self.link.call("erlang", "nodes", CONNECTED, seconds)

    async def failed(self, seconds: float = 5) -> NodeError:
        """How a call fails."""
        with pytest.raises(NodeError) as caught:
            await self.nodes(seconds)
        return caught.value

    async def ended(self) -> str:
        """The reason that the connection ended for."""
        await wait_all_tasks_blocked()
        assert self.error is not None
        return str(self.error)


@asynccontextmanager
async def linked(flags: int = FLAGS, *, serves: bool = True, small: bool = False) -> AsyncIterator[World]:
    """
    :param serves: the connection is served.
    :param small: the kernel holds little of what we send.
    """
    async with trio.open_nursery() as nursery:
        node = ScriptedNode(NODE)
        node.flags = flags
        dial = node.dialer(nursery)

        async def dial_narrow() -> trio.socket.SocketType:
            sock = await dial()
            if small:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            return sock

        link = await NodeLink.open(dial_narrow, "h1.test", lambda _: COOKIE, "app", is_old=False)
        world = World(node, link)
        if serves:
            nursery.start_soon(world.serve)
        try:
            yield world
        finally:
            link.close()
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("way", FLAGS_OF)
async def test_a_call_brings_back_its_value(way: str) -> None:
    async with linked(FLAGS_OF[way]) as world:
        world.node.nodes = {"b@b1.test", "c@b1.test"}
        assert await world.nodes() == [Atom("b@b1.test"), Atom("c@b1.test")]
        assert await world.link.call("net_kernel", "connect_node", [Atom("d@b1.test")], 5) == Atom("true")
        assert world.node.connects == {"d@b1.test": 1}


@pytest.mark.parametrize("way", FLAGS_OF)
async def test_many_calls_at_once_each_get_their_own_answer(way: str, autojump_clock: MockClock) -> None:
    """The later ones first."""
    async with linked(FLAGS_OF[way]) as world:

        async def backwards(call: Call) -> Term:
            (number,) = call.arguments
            assert isinstance(number, int)
            await trio.sleep(100 - number)
            return number * 2

        world.node.answers = backwards
        values: list[Term] = []

        async def ask(number: int) -> None:
            values.append(await world.link.call("m", "f", [number], 200))
            assert values[-1] == number * 2

        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(ask, number)
        assert values == [number * 2 for number in reversed(range(100))]


async def test_no_two_calls_in_forty_thousand_look_alike() -> None:
    """Numbers of processes have 15 bits, and so a call's identity is more than that."""
    seen: set[tuple[object, ...]] = set()
    async with linked(NO_SPAWN) as world:

        async def none(_: Call) -> Term:
            return Atom("ok")

        world.node.answers = none
        for number in (
            *range(1, 40),
            *range((1 << 15) - 20, (1 << 15) + 20),
            *range((1 << 18) - 2, (1 << 18) + 9),
        ):
            world.link._calls = number
            assert await world.link.call("m", "f", [], 5) == Atom("ok")
            calls = number + 1
            seen.add((calls & 0x7FFF, calls >> 15))
        assert len(seen) == 39 + 40 + 11


@pytest.mark.parametrize("way", FLAGS_OF)
async def test_a_call_without_an_answer_takes_no_longer_than_its_time(
    way: str, autojump_clock: MockClock
) -> None:
    async with linked(FLAGS_OF[way]) as world:

        async def late(call: Call) -> Term:
            await trio.sleep(8 if len(world.node.calls) == 1 else 0)
            return await world.node.does(call)

        world.node.answers = late
        error = await world.failed(seconds=5)
        assert (error.reason, trio.current_time()) == ("timeout", 5)
        assert "erlang:nodes" in error.detail
        await trio.sleep(5)
        assert await world.nodes() == [], "the late answer is of no other call"
        assert world.error is None


def answer_spawn(world: World, outcome: str) -> None:
    """Have the next call end so."""
    request = Reference(Atom("epmdless-1@h1.test"), (world.link._calls + 1, 0, 0), world.link._creation)
    us = Pid(Atom("epmdless-1@h1.test"), world.link._calls + 1, 0, world.link._creation)
    process = Pid(Atom(NODE), 1, 0, 77)
    reply = framed((Operation.SPAWN_REPLY.value, request, us, 0, process))
    down = (Operation.PAYLOAD_MONITOR_P_EXIT.value, process, us, request)
    endings = {
        "raised": reply + framed(down, (request, Atom("error"), Atom("badarg"), [])),
        "thrown": reply + framed(down, (request, Atom("throw"), Atom("ball"))),
        "killed": reply + framed(down, Atom("killed")),
        "refused": framed((Operation.SPAWN_REPLY.value, request, us, 0, Atom("system_limit"))),
        "junk": reply + undecodable(down),
    }
    world.node.raw_answer = endings[outcome]


def undecodable(control: Term) -> bytes:
    """A frame whose message is none."""
    whole = framed(control)[4:] + b"\x83\xff"
    return struct.pack(">I", len(whole)) + whole


@pytest.mark.parametrize(
    ("outcome", "says"),
    [
        ("raised", "failed: erlang:nodes: error: badarg"),
        ("thrown", "failed: erlang:nodes: throw: ball"),
        ("killed", "failed: erlang:nodes: down: killed"),
        ("refused", "failed: erlang:nodes: spawn: system_limit"),
        ("junk", "failed: erlang:nodes: down: #undecodable"),
    ],
)
async def test_a_call_that_fails_leaves_the_connection_as_it_is(outcome: str, says: str) -> None:
    async with linked() as world:
        answer_spawn(world, outcome)
        assert str(await world.failed()) == says
        world.node.raw_answer = None
        assert await world.nodes() == []


async def test_an_answer_to_nobody_is_not_heard() -> None:
    async with linked() as world:
        world.node.raw_answer = framed(
            (Operation.SEND.value, Atom(""), Pid(Atom("x@y"), 1, 0, 1)), Atom("hello")
        ) + framed((1, Pid(Atom("x@y"), 1, 0, 1), Pid(Atom("x@y"), 1, 0, 1)))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.nodes)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        world.node.raw_answer = None
        assert await world.nodes() == []


async def test_a_node_that_talks_without_end_does_not_keep_us_busy(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = 0.0

    def take(_payload: bytes, _is_awaited: object) -> Event:
        nonlocal busy
        busy += 5e-6
        autojump_clock.jump(5e-6)
        return Ignored(1)

    monkeypatch.setattr(node_link, "decode_payload", take)
    async with linked() as world:
        frames = framed((1, Pid(Atom("x@y"), 1, 0, 1), Pid(Atom("x@y"), 1, 0, 1))) * 10_000
        with trio.move_on_after(60):
            while True:
                await world.node.links[0].send(frames)
    assert 0.5 < busy / 60 / SHARE < 1.1


WHOLE_FRAMES = [
    (struct.pack(">I", MAX_FRAME + 1), "protocol: oversized"),
    (b"\xff\xff\xff\xff", "protocol: oversized"),
    (b"\0\0\0\1\x83", "protocol: frame"),
    (b"\0\0\0\1\x70", "protocol: term"),
    (b"\0\0\0\3\x70\x83\x6a", "protocol: control"),
    (b"\0\0\0\5\x70\x83\xff\xff\xff", "protocol: term"),
    (struct.pack(">I", 200) + b"\x70\x83" + b"h\1" * 99, "protocol: limit"),
]


@pytest.mark.parametrize(("frame", "says"), WHOLE_FRAMES)
async def test_what_no_node_says_ends_the_connection(frame: bytes, says: str) -> None:
    async with linked() as world:
        world.node.raw_answer = frame
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.failed, 1000)
            assert (await world.ended()).startswith(says)
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("how", ["closes", "resets", "dies in a call", "half a frame"])
async def test_a_node_that_ends_the_connection(how: str) -> None:
    async with linked() as world:
        visit = world.node.links[0]
        async with trio.open_nursery() as nursery:
            if how == "dies in a call":
                world.node.dies_at = "nodes"
                nursery.start_soon(world.nodes)
            elif how == "half a frame":
                await visit.send(b"\0\0\1\0half")
                world.node.hang_up()
            elif how == "closes":
                world.node.hang_up()
            else:
                visit.reset()
            assert (await world.ended()).startswith("closed: ")
            nursery.cancel_scope.cancel()
        error = await world.failed(seconds=1)
        assert error.reason == "closed"


async def test_both_sides_tick_and_neither_gives_up(autojump_clock: MockClock) -> None:
    async with linked() as world:
        visit = world.node.links[0]
        for _ in range(20):
            await trio.sleep(SILENCE_SECONDS - 10)
            await visit.send(TICK)
        assert world.error is None
        assert visit.ticks == trio.current_time() // TICK_SECONDS
        assert TICK_SECONDS <= 60 / 4


async def test_a_silent_node_is_given_up(autojump_clock: MockClock) -> None:
    async with linked() as world:
        await trio.sleep(SILENCE_SECONDS - 1)
        assert world.error is None
        await trio.sleep(2)
        assert await world.ended() == "timeout: it said nothing for too long"


async def test_a_hung_node_is_given_up_though_it_reads(autojump_clock: MockClock) -> None:
    async with linked() as world:
        world.node.is_hung = True
        assert (await world.failed()).reason == "timeout"
        await trio.sleep(SILENCE_SECONDS)
        assert (await world.ended()).startswith("timeout: ")


BIG: list[Term] = [b"x" * 1_000_000]


async def test_a_node_that_takes_nothing_in_is_given_up(autojump_clock: MockClock) -> None:
    async with linked(small=True) as world:
        await stuff(world)
        with pytest.raises(NodeError, match="timeout: it takes nothing in"):
            await world.link.call("m", "f", BIG, 60)
        assert trio.current_time() == SEND_SECONDS
        assert (await world.ended()).startswith("closed: ")


async def stuff(world: World) -> None:
    """Have the node read no more."""
    world.node.is_hung = True
    await world.failed(seconds=0)


async def test_calls_that_wait_for_their_turn_fail_with_the_first(autojump_clock: MockClock) -> None:
    async with linked(small=True) as world:
        await stuff(world)
        reasons: list[str] = []

        async def call() -> None:
            with pytest.raises(NodeError) as caught:
                await world.link.call("m", "f", BIG, 60)
            reasons.append(caught.value.reason)

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(call)
                await trio.sleep(1)
        assert trio.current_time() <= SEND_SECONDS + 5
        assert sorted(reasons) == ["closed"] * 4 + ["timeout"]


async def test_a_connection_that_is_closed_meanwhile_fails_what_is_being_sent() -> None:
    async with linked(small=True) as world:
        await stuff(world)

        async def call() -> None:
            with pytest.raises(NodeError, match=r"^closed"):
                await world.link.call("m", "f", BIG, 60)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            await wait_all_tasks_blocked()
            world.link.close()
        assert (await world.ended()).startswith("closed")


async def test_an_end_at_the_moment_of_a_cancellation_is_a_cancellation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The two come in one group, of which nobody further out knows anything."""
    end = trio.Event()

    async def receive() -> bytes:
        await end.wait()
        return b""

    async with linked(serves=False) as world, trio.open_nursery() as nursery:
        monkeypatch.setattr(world.link, "_receive", receive)
        nursery.start_soon(world.link.serve)
        await wait_all_tasks_blocked()
        end.set()
        nursery.cancel_scope.cancel()
    assert nursery.cancel_scope.cancelled_caught


async def test_a_failed_call_leaves_nothing_behind(autojump_clock: MockClock) -> None:
    async with linked() as world:
        world.node.is_hung = True
        for _ in range(100):
            await world.failed(seconds=0.1)
        assert world.link._waiting == {}
