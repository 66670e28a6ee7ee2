"""A blocking EPMD client on raw bytes, written apart from the package, which it checks."""

import socket
import struct
from dataclasses import dataclass
from types import TracebackType
from typing import Self

DEADLINE = 5.0
"""Seconds that a reply may take."""

ALIVE2, PORT_PLEASE2, NAMES, DUMP, KILL, STOP = b"x", b"z", b"n", b"d", b"k", b"s"
ALIVE2_X_REPLY, ALIVE2_REPLY, PORT2_REPLY = ord("v"), ord("y"), ord("w")


def framed(payload: bytes) -> bytes:
    """Put the length in front of a request."""
    return struct.pack(">H", len(payload)) + payload


def alive2(
    alive: str | bytes, node_port: int, high: int = 6, low: int = 5, kind: int = 77, extra: bytes = b""
) -> bytes:
    """Make an ALIVE2 request, framed."""
    name = alive.encode() if isinstance(alive, str) else alive
    head = struct.pack(">cHBBHHH", ALIVE2, node_port, kind, 0, high, low, len(name))
    return framed(head + name + struct.pack(">H", len(extra)) + extra)


def connect(port: int, host: str = "127.0.0.1") -> socket.socket:
    """Open a connection whose reads and writes end within DEADLINE."""
    return socket.create_connection((host, port), DEADLINE)


def read_to_end(sock: socket.socket) -> bytes:
    """Read until the other side closes; a reset counts as a close, and what came before it is returned."""
    parts = []
    while True:
        try:
            part = sock.recv(65536)
        except ConnectionResetError:
            break
        if not part:
            break
        parts.append(part)
    return b"".join(parts)


def ask(port: int, payload: bytes, host: str = "127.0.0.1") -> bytes:
    """Send one framed request and return all that comes back until the server closes."""
    with connect(port, host) as sock:
        sock.sendall(framed(payload))
        return read_to_end(sock)


def names_text(port: int, host: str = "127.0.0.1") -> tuple[int, str]:
    """Ask NAMES: the port that the server says is its own, and the text after it."""
    reply = ask(port, NAMES, host)
    if len(reply) < 4:
        raise AssertionError(f"a NAMES reply without a port: {reply!r}")
    return struct.unpack(">I", reply[:4])[0], reply[4:].decode()


def names(port: int, host: str = "127.0.0.1") -> dict[str, int]:
    """Ask NAMES: alive name → port, in the order of the reply."""
    found = {}
    for line in names_text(port, host)[1].splitlines():
        word, name, at, word_port, number = line.split(" ")
        if (word, at, word_port) != ("name", "at", "port"):
            raise AssertionError(f"not a NAMES line: {line!r}")
        found[name] = int(number)
    return found


@dataclass(frozen=True, slots=True)
class Node:
    """What a PORT_PLEASE2 reply says of a node."""

    port: int
    kind: int
    protocol: int
    high: int
    low: int
    alive: str
    extra: bytes


def lookup(port: int, alive: str, host: str = "127.0.0.1") -> Node | None:
    """Ask PORT_PLEASE2; None is "no such node"."""
    reply = ask(port, PORT_PLEASE2 + alive.encode(), host)
    if len(reply) < 2 or reply[0] != PORT2_REPLY:
        raise AssertionError(f"not a PORT2 reply: {reply!r}")
    if reply[1] != 0:
        if len(reply) != 2:
            raise AssertionError(f"bytes after a PORT2 refusal: {reply!r}")
        return None
    node_port, kind, protocol, high, low, length = struct.unpack(">HBBHHH", reply[2:12])
    name, tail = reply[12 : 12 + length], reply[12 + length :]
    (extra_length,) = struct.unpack(">H", tail[:2])
    if len(name) != length or len(tail) != 2 + extra_length:
        raise AssertionError(f"a PORT2 reply whose lengths do not fit: {reply!r}")
    return Node(node_port, kind, protocol, high, low, name.decode(), tail[2:])


class RefusedError(AssertionError):
    """An ALIVE2 request was answered with an error."""


class Registration:
    """A connection that has registered a name, until it is closed."""

    def __init__(
        self, port: int, alive: str | bytes, node_port: int, high: int = 6, host: str = "127.0.0.1"
    ) -> None:
        """Register; raises RefusedError when the server says no."""
        self.socket = connect(port, host)
        try:
            self.socket.sendall(alive2(alive, node_port, high))
            self.creation = _creation(self._reply(4 if high < 6 else 6), high)
        except BaseException:
            self.socket.close()
            raise

    def _reply(self, length: int) -> bytes:
        reply = b""
        while len(reply) < length:
            part = self.socket.recv(length - len(reply))
            if not part:
                raise RefusedError(f"closed after {reply!r}")
            reply += part
        return reply

    def close(self) -> None:
        """End the registration."""
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _creation(reply: bytes, high: int) -> int:
    tag, result = reply[0], reply[1]
    if tag != (ALIVE2_REPLY if high < 6 else ALIVE2_X_REPLY):
        raise AssertionError(f"not the ALIVE2 reply to high {high}: {reply!r}")
    if result != 0:
        raise RefusedError(f"refused: {reply!r}")
    return int.from_bytes(reply[2:], "big")
