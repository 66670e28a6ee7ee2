"""A BEAM node as far as another node sees it, in the test's own trio: it follows the handshake as the
acceptor, and then answers calls. Each step can be made to go wrong.

node = ScriptedNode("app@b1")
link = await NodeLink.open(node.dialer(nursery), "h1", lambda _: node.cookie, "app", is_old=False)
"""

from __future__ import annotations

import contextlib
import enum
import socket
import ssl
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final, Literal, NamedTuple

import trio

from epmdless.cluster.shaking import Connection
from epmdless.net.plain import send_all
from epmdless.net.tls.connection import TlsConnection
from epmdless.wire.distribution import Operation
from epmdless.wire.handshake import (
    PUBLISHED,
    Ack,
    Challenge,
    Complement,
    Framing,
    Message,
    Name,
    OldChallenge,
    OldName,
    Reply,
    Side,
    Status,
    StatusKind,
    StatusReply,
    decode,
    digest,
    encode,
    frame,
)
from epmdless.wire.terms import Atom, Pid, Reference, Term, decode_prefix
from epmdless.wire.terms import encode as encode_term

COOKIE: Final = b"not-to-be-seen"
FLAGS: Final = 0xD07DF7FBD
"""As OTP 25 and later send them."""

NO_SPAWN: Final = FLAGS & ~0x1_0000_0000
"""Of a node that does not know spawn requests."""

TLS_ALERT: Final = bytes.fromhex("15030300020228")
HTTP: Final = b"HTTP/1.1 400 Bad Request\r\n\r\n"

_RESET_AT_CLOSE = struct.pack("ii", 1, 0)


class Step(enum.Enum):
    """Where a handshake is; the node has heard all up to there and says no more."""

    ACCEPTED = enum.auto()
    NAME = enum.auto()
    STATUS = enum.auto()
    REPLY = enum.auto()


class Call(NamedTuple):
    """A function call that the node got."""

    module: str
    function: str
    arguments: list[Term]


class EndedError(Exception):
    """The other side ended the connection."""


class Visit:
    """One connection to the node.

    :ivar name: under which the other side came.
    :ivar proofs: digests that it showed.
    :ivar ticks: that it sent.
    """

    def __init__(self, sock: trio.socket.SocketType) -> None:
        self.sock = sock
        self.connection: Connection = sock
        self.framing = Framing.TCP
        self.name = ""
        self.flags = 0
        self.proofs = 0
        self.ticks = 0
        self.is_up = False
        self.holds_its_name = False
        self._rest = b""
        self._sending = trio.Lock()

    async def secure(self, context: ssl.SSLContext) -> None:
        """Have TLS come first."""
        connection = TlsConnection(self.sock, context)
        await connection.handshake()
        self.connection, self.framing = connection, Framing.TLS

    async def exactly(self, size: int) -> bytes:
        while len(self._rest) < size:
            received = await self.connection.recv(65_536)
            if not received:
                raise EndedError
            self._rest += received
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken

    async def hear(self) -> Message:
        return decode(Side.NEAR, await self.exactly(int.from_bytes(await self.exactly(self.framing), "big")))

    async def send(self, data: bytes) -> None:
        async with self._sending:
            await send_all(self.connection, data)

    async def say(self, *messages: Message) -> None:
        await self.send(b"".join(frame(encode(message), self.framing) for message in messages))

    async def frame(self, control: Term, message: Term | None = None) -> None:
        await self.send(framed(control, message))

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
        self.sock.close()


def framed(control: Term, message: Term | None = None) -> bytes:
    """A frame after the handshake."""
    payload = b"\x70" + encode_term(control) + (b"" if message is None else encode_term(message))
    return struct.pack(">I", len(payload)) + payload


class ScriptedNode:
    """A node; what it does can be changed at any time.

    :ivar tls: its end of TLS; None: it speaks none.
    :ivar nodes: whom it is connected to.
    :ivar reachable: whether it can connect to a node; True, False, or None: it never says.
    :ivar visits: every connection that there was.
    :ivar calls: every call that it got.
    """

    def __init__(self, name: str, cookie: bytes = COOKIE) -> None:
        self.name = name
        self.cookie = cookie
        self.flags = FLAGS
        self.tls: ssl.SSLContext | None = None
        self.says_old_name = False
        self.status: Status = Status(StatusKind.OK)
        self.taken: set[str] = set()
        self.stops_at: Step | None = None
        self.stops_by: Literal["hang", "close", "reset"] = "hang"
        self.greeting: bytes | None = None
        self.instead_of: dict[type[Message], Message | bytes] = {}
        self.right_after_ack = b""
        self.nodes: set[str] = set()
        self.reachable: Callable[[str], bool | None] = lambda _: True
        self.connects: Counter[str] = Counter()
        self.disconnects: list[str] = []
        self.is_hung = False
        self.dies_at: str | None = None
        self.answers: Callable[[Call], Awaitable[Term]] | None = None
        self.raw_answer: bytes | None = None
        self.visits: list[Visit] = []
        self.calls: list[Call] = []

    @property
    def links(self) -> list[Visit]:
        """The connections that are up."""
        return [visit for visit in self.visits if visit.is_up]

    def dialer(self, nursery: trio.Nursery) -> Callable[[], Awaitable[trio.socket.SocketType]]:
        """What connects to it, through memory."""

        async def dial() -> trio.socket.SocketType:
            await trio.lowlevel.checkpoint()
            ours, theirs = trio.socket.socketpair()
            nursery.start_soon(self.serve, theirs)
            return ours

        return dial

    async def listen(
        self,
        address: str = "127.0.0.1",
        port: int = 0,
        *,
        task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve on a port until cancelled; tells the port."""
        with trio.socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            await listener.bind((address, port))
            listener.listen(128)
            async with trio.open_nursery() as nursery:
                task_status.started(listener.getsockname()[1])
                while True:
                    accepted, _ = await listener.accept()
                    nursery.start_soon(self.serve, accepted)

    def hang_up(self) -> None:
        """End what is up."""
        for visit in self.links:
            visit.sock.shutdown(socket.SHUT_RDWR)

    async def serve(self, sock: trio.socket.SocketType) -> None:
        """Serve one connection to its end."""
        visit = Visit(sock)
        self.visits.append(visit)
        with sock:
            try:
                if self.tls is not None:
                    await visit.secure(self.tls)
                if await self._shake(visit):
                    await self._obey(visit)
            except (EndedError, OSError, trio.ClosedResourceError):
                pass
            finally:
                visit.is_up = False
                if visit.holds_its_name:
                    self.taken.discard(visit.name)

    # The handshake.

    async def _shake(self, visit: Visit) -> bool:
        """Follow it; whether the connection is up."""
        await self._stop_at(Step.ACCEPTED, visit)
        if self.greeting is not None:
            await visit.send(self.greeting)
            await trio.sleep_forever()
        name = await visit.hear()
        assert isinstance(name, Name | OldName)
        visit.name, visit.flags = name.name, name.flags
        await self._stop_at(Step.NAME, visit)
        if name.name in self.taken:
            await visit.say(Status(StatusKind.ALIVE))
            assert await visit.hear() == StatusReply(goes_on=False)
            return False
        goes_on = self.status.kind in (StatusKind.OK, StatusKind.OK_SIMULTANEOUS)
        if goes_on:
            self.taken.add(name.name)
            visit.holds_its_name = True
        await self._say(visit, self.status)
        if not goes_on:
            return False
        await self._stop_at(Step.STATUS, visit)
        challenge = 0xFEDCBA98
        await self._say(visit, self._challenge(challenge))
        if isinstance(name, OldName) and not self.says_old_name:
            assert isinstance(await visit.hear(), Complement)
        reply = await visit.hear()
        assert isinstance(reply, Reply)
        visit.proofs += 1
        await self._stop_at(Step.REPLY, visit)
        if reply.digest != digest(self.cookie, challenge):
            return False
        visit.is_up = True
        await self._say(visit, Ack(digest(self.cookie, reply.challenge)), self.right_after_ack)
        return True

    def _challenge(self, challenge: int) -> Message:
        if self.says_old_name:
            return OldChallenge(5, self.flags & 0xFFFFFFFF & ~0x1000000, challenge, self.name)
        return Challenge(self.flags, challenge, 77, self.name)

    async def _say(self, visit: Visit, message: Message, rest: bytes = b"") -> None:
        instead = self.instead_of.get(type(message), message)
        if not isinstance(instead, bytes):
            instead = frame(encode(instead), visit.framing)
        await visit.send(instead + rest)

    async def _stop_at(self, step: Step, visit: Visit) -> None:
        if step is not self.stops_at:
            return
        if self.stops_by == "hang":
            await trio.sleep_forever()
        if self.stops_by == "reset":
            visit.reset()
        raise EndedError

    # Frames.

    async def _obey(self, visit: Visit) -> None:
        async with trio.open_nursery() as nursery:
            with contextlib.suppress(EndedError, OSError, trio.ClosedResourceError):
                await self._hear_calls(visit, nursery)
            nursery.cancel_scope.cancel()

    async def _hear_calls(self, visit: Visit, nursery: trio.Nursery) -> None:
        while True:
            payload = await visit.exactly(int.from_bytes(await visit.exactly(4), "big"))
            if self.is_hung:
                await trio.sleep_forever()
            if not payload:
                visit.ticks += 1
            elif not await self._take(visit, payload, nursery):
                return

    async def _take(self, visit: Visit, payload: bytes, nursery: trio.Nursery) -> bool:
        """Take in a call; whether the node lives on."""
        control, end = decode_prefix(payload, 1)
        message, _ = decode_prefix(payload, end)
        call, answer = _read_call(visit, control, message)
        self.calls.append(call)
        if call.function == self.dies_at:
            return False
        if self.raw_answer is not None:
            await visit.send(self.raw_answer)
        else:
            nursery.start_soon(self._answer, call, answer)
        return True

    async def _answer(self, call: Call, answer: Callable[[Term], Awaitable[None]]) -> None:
        with contextlib.suppress(OSError, trio.ClosedResourceError):
            await answer(await (self.answers or self.does)(call))

    async def does(self, call: Call) -> Term:
        """What a node does that is well."""
        await trio.lowlevel.checkpoint()
        match call:
            case ("erlang", "nodes", [Atom("connected")]):
                return [Atom(name) for name in sorted(self.nodes)]
            case ("init", "get_argument", [Atom("hidden")]):
                return Atom("error")
            case ("net_kernel", "connect_node" | "hidden_connect_node", [Atom() as peer]):
                return await self.connect(str(peer))
            case ("erlang", "disconnect_node", [Atom() as peer]):
                self.disconnects.append(str(peer))
                is_there = str(peer) in self.nodes
                self.nodes.discard(str(peer))
                return _boolean(is_there)
        raise AssertionError(f"nobody should call {call}")

    async def connect(self, peer: str) -> Term:
        """Connect to a peer, where it can be reached."""
        self.connects[peer] += 1
        can = self.reachable(peer)
        if can is None:
            await trio.sleep_forever()
        if can:
            self.nodes.add(peer)
        return _boolean(bool(can))


def _boolean(value: bool) -> Atom:
    return Atom("true" if value else "false")


def _read_call(visit: Visit, control: Term, message: Term) -> tuple[Call, Callable[[Term], Awaitable[None]]]:
    """A call in either form, and how it is answered."""
    match control, message:
        case (
            (Operation.SPAWN_REQUEST, Reference() as request, Pid() as sender, leader, what, options),
            [Reference() as sent, Atom() as module, Atom() as function, list() as arguments],
        ):
            assert (leader, sent) == (sender, request)
            assert what == (Atom("erpc"), Atom("execute_call"), 4)
            assert options == [Atom("monitor")]
            process = Pid(Atom("app@b1"), 100, 0, 77)

            async def by_exit(value: Term) -> None:
                await visit.frame((Operation.SPAWN_REPLY.value, request, sender, 0, process))
                down = (Operation.PAYLOAD_MONITOR_P_EXIT.value, process, sender, request)
                await visit.frame(down, (request, Atom("return"), value))

            return Call(str(module), str(function), list(arguments)), by_exit
        case (
            (Operation.REG_SEND, Pid() as sender, _, Atom("rex")),
            (back, (Atom("call"), Atom() as module, Atom() as function, list() as arguments, Atom("user"))),
        ):
            assert back == sender

            async def by_message(value: Term) -> None:
                await visit.frame((Operation.SEND.value, Atom(""), sender), (Atom("rex"), value))

            return Call(str(module), str(function), list(arguments)), by_message
    raise AssertionError(f"no call: {control!r} {message!r}")


def is_hidden(visit: Visit) -> bool:
    """Whether the other side came as a hidden node."""
    return not visit.flags & PUBLISHED
