"""The handshake as it is followed, between connections in memory."""

import trio

from epmdless.links.following import Following
from epmdless.links.link import Link, Party
from epmdless.wire.handshake import Side
from epmdless.wire.handshake_watch import State
from tests.support.link_sides import HANDSHAKE, framed

TURNS = 10
"""Turns of other tasks while a message is sent: TLS waits for its turn to send, and a socket may be full."""


class Memory:
    """A connection that reads what a test gives it, and sends slowly."""

    def __init__(self) -> None:
        self.give, self._given = trio.open_memory_channel[bytes](16)
        self.sent = b""
        self.told = trio.Event()

    async def recv(self, _size: int, /) -> bytes:
        return await self._given.receive()

    async def send(self, data: bytes, /) -> int:
        self.told.set()
        for _ in range(TURNS):
            await trio.lowlevel.checkpoint()
        self.sent += data
        return len(data)

    def close(self) -> None:
        pass

    def detach(self) -> tuple[trio.socket.SocketType, None, bytes]:
        raise NotImplementedError


async def test_the_last_message_is_passed_on_whatever_the_other_side_does_meanwhile() -> None:
    """The far node's ack may be there while its cause, the near node's reply, is still being sent."""
    messages = [framed(message) for _, message in HANDSHAKE]
    near, far = Memory(), Memory()
    following = Following(Link(1, "r", "h", Party("a"), Party("b"), 0.0), near, far)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow, following, messages[0])
            await far.told.wait()
            far.told = trio.Event()
            far.give.send_nowait(messages[1] + messages[2])
            await near.told.wait()
            near.give.send_nowait(messages[3])
            await far.told.wait()
            far.give.send_nowait(messages[4])
    assert following.watcher.state is State.ESTABLISHED
    assert near.sent == b"".join(framed(message) for side, message in HANDSHAKE if side is Side.FAR)
    assert far.sent == b"".join(framed(message) for side, message in HANDSHAKE if side is Side.NEAR)


async def follow(following: Following, first: bytes) -> None:
    await following.follow(await following.hear_name(first))


async def test_a_near_side_that_ends_when_it_is_linked_may_still_be_told_something() -> None:
    """It says no more, and hears what the far node has to say: the pump sees its end again."""
    messages = [framed(message) for _, message in HANDSHAKE]
    near, far = Memory(), Memory()
    link = Link(1, "r", "h", Party("a"), Party("b"), 0.0)
    following = Following(link, near, far)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow, following, messages[0])
            await far.told.wait()
            far.told = trio.Event()
            far.give.send_nowait(messages[1] + messages[2])
            await near.told.wait()
            near.give.send_nowait(messages[3])
            await far.told.wait()
            near.told = trio.Event()
            far.give.send_nowait(messages[4])
            await near.told.wait()
            near.give.send_nowait(b"")
    assert (following.watcher.state, link.end) == (State.ESTABLISHED, None)
    assert near.sent.endswith(messages[4])
