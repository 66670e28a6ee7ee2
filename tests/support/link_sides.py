"""The two ends of a relayed link as a test scripts them, message by message, on blocking sockets.

with FarHost() as far_host, Near(STAND_IN, far_host.port) as near:
    near.say(NAME)
    far = far_host.accept()
    assert far.hear() == NAME
"""

import contextlib
import socket
import struct
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Literal, Self

from epmdless.wire.handshake import (
    HANDSHAKE_23,
    PUBLISHED,
    Ack,
    Challenge,
    Message,
    Name,
    Reply,
    Side,
    Status,
    StatusKind,
    decode,
    digest,
    encode,
)

DEADLINE: Final = 30.0
"""Seconds after which a side gives up what it waits for."""

STAND_IN: Final = "127.0.1.2"
FAR_ADDRESS: Final = "127.0.1.3"
HOST: Final = "b1.test"
"""The host part of the far nodes' names."""

FLAGS: Final = 0xD07DF7FBD
"""As OTP 25 and later send them, PUBLISHED among them."""

COOKIE: Final = b"not-to-be-seen"

NAME: Final = Name(FLAGS, 0x6B0102A6, "a@a1.test")
OK: Final = Status(StatusKind.OK)
CHALLENGE: Final = Challenge(FLAGS, 0xFEDCBA98, 0x6B0102A5, f"b@{HOST}")
REPLY: Final = Reply(0x01234567, digest(COOKIE, CHALLENGE.challenge))
ACK: Final = Ack(digest(COOKIE, REPLY.challenge))

HANDSHAKE: Final[Sequence[tuple[Side, Message]]] = (
    (Side.NEAR, NAME),
    (Side.FAR, OK),
    (Side.FAR, CHALLENGE),
    (Side.NEAR, REPLY),
    (Side.FAR, ACK),
)
"""The usual one."""

assert FLAGS & PUBLISHED
assert FLAGS & HANDSHAKE_23

End = Literal["closed", "reset"]

_RESET_AT_CLOSE = struct.pack("ii", 1, 0)


def framed(message: Message | bytes) -> bytes:
    """A message, or a payload, with its length word."""
    payload = message if isinstance(message, bytes) else encode(message)
    return struct.pack(">H", len(payload)) + payload


class Peer:
    """One end of a link; closed by the context's end, if not before."""

    side: Side
    """Which end."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(DEADLINE)
        self.address = "{}:{}".format(*sock.getsockname()[:2])

    def say(self, *messages: Message) -> None:
        """Send messages, in one write."""
        self.sock.sendall(b"".join(map(framed, messages)))

    def hear(self) -> Message:
        """Read the next message of the other end."""
        return decode(self.side.other, self.read(int.from_bytes(self.read(2), "big")))

    def read(self, count: int) -> bytes:
        """Read exactly so many bytes."""
        data = b""
        while len(data) < count:
            piece = self.sock.recv(count - len(data))
            if not piece:
                raise AssertionError(f"ended after {data!r}, {count} bytes were wanted")
            data += piece
        return data

    def end(self) -> tuple[bytes, End]:
        """Read up to the end: what came, and how it ended. Raises TimeoutError if it does not."""
        data = b""
        while True:
            try:
                piece = self.sock.recv(65536)
            except (ConnectionResetError, BrokenPipeError):
                return data, "reset"
            if not piece:
                return data, "closed"
            data += piece

    def sees_the_end(self) -> bool:
        """Whether nothing more comes, and the connection ends."""
        return self.end()[0] == b""

    def say_no_more(self) -> None:
        """Close the own direction."""
        with contextlib.suppress(OSError):  # the relay may have reset it
            self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close, with a FIN unless something is unread."""
        self.sock.close()

    def reset(self) -> None:
        """Close with a RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
        self.sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


_used: set[object] = set()


def _bound_anew(host: str) -> socket.socket:
    """A socket with a port that no near node had before it: the relay's log tells them apart by it."""
    while True:
        sock = socket.socket()
        sock.bind((host, 0))
        if sock.getsockname() not in _used:
            _used.add(sock.getsockname())
            return sock
        sock.close()


class Near(Peer):
    """The near node: dials the relay; `address` is how the relay's log names it."""

    side = Side.NEAR

    def __init__(self, host: str, port: int, source: str = "127.0.0.1") -> None:
        sock = _bound_anew(source)
        sock.settimeout(DEADLINE)
        try:
            sock.connect((host, port))
        except BaseException:
            sock.close()
            raise
        super().__init__(sock)


class Far(Peer):
    """The far node's end of one link."""

    side = Side.FAR


class FarHost:
    """Where far nodes listen: `port`, chosen by the kernel."""

    def __init__(self, address: str = FAR_ADDRESS, port: int = 0, backlog: int = 1024) -> None:
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((address, port))
        self._listener.listen(backlog)
        self._listener.settimeout(DEADLINE)
        self.port: int = self._listener.getsockname()[1]
        self._accepted: list[Far] = []

    def fileno(self) -> int:
        """The listener's, for select."""
        return self._listener.fileno()

    def accept(self) -> Far:
        """Take the next connection; closed with this host, if not before."""
        far = Far(self._listener.accept()[0])
        self._accepted.append(far)
        return far

    def drain(self) -> int:
        """Close what waits to be accepted; how many there were."""
        count = 0
        self._listener.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self._listener.accept()[0].close()
                count += 1
        self._listener.settimeout(DEADLINE)
        return count

    def close(self) -> None:
        """Close the listener and what was accepted."""
        self._listener.close()
        for far in self._accepted:
            far.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def play(
    near: Near,
    far_host: FarHost,
    script: Sequence[tuple[Side, Message]] = HANDSHAKE,
    far: Far | None = None,
) -> Far | None:
    """Say a script's messages, and see that each arrives as it was said.

    The relay holds a good status back until the challenge; so does this.

    :param far: the far end, where the near one has spoken already.
    :returns: the far end; None: nothing was said.
    """
    held: list[Message] = []
    for side, message in script:
        if side is Side.NEAR:
            near.say(message)
            far = far or far_host.accept()
            assert far.hear() == message
            continue
        assert far is not None, "the near side speaks first"
        far.say(message)
        held.append(message)
        if not goes_on(message):
            assert [near.hear() for _ in held] == held
            held.clear()
    return far


def goes_on(message: Message) -> bool:
    """Whether it is a status that lets the near node go on."""
    good = (StatusKind.OK, StatusKind.OK_SIMULTANEOUS, StatusKind.NAMED)
    return isinstance(message, Status) and message.kind in good


def linked(near: Near, far_host: FarHost, script: Sequence[tuple[Side, Message]] = HANDSHAKE) -> Far:
    """Set a link up."""
    far = play(near, far_host, script)
    assert far is not None
    return far


def frame(content: bytes) -> bytes:
    """A frame of an established link; without content, a tick."""
    return struct.pack(">I", len(content)) + content


def passes(sender: Peer, receiver: Peer, data: bytes = frame(b"p" * 100)) -> bool:
    """Whether bytes get from one end to the other."""
    sender.sock.sendall(data)
    return receiver.read(len(data)) == data
