"""A TCP connection of trio's with what was read too early put back: the plain twin of TLS's."""

from __future__ import annotations

import socket
from collections.abc import Awaitable
from socket import SocketType
from typing import Protocol

import trio

from epmdless.net.tls.connection import TlsLayer


class Sender(Protocol):
    """A connection as far as it sends."""

    def send(self, data: bytes, /) -> Awaitable[int]:
        """Send some of the bytes; how many. Raises OSError."""


async def send_all(connection: Sender, data: bytes) -> None:
    """Send all of it. Raises OSError."""
    while data:
        data = data[await connection.send(data) :]


def trio_socket(accepted: SocketType) -> trio.socket.SocketType:
    """An accepted socket in trio's hands; it is detached from the one that is given."""
    plain = socket.socket(accepted.family, socket.SOCK_STREAM, 0, fileno=accepted.detach())
    return trio.socket.from_stdlib_socket(plain)


class PlainConnection:
    """A connection without TLS. It owns the socket until :meth:`detach`.

    :ivar sock: for its addresses and options.
    """

    def __init__(self, sock: trio.socket.SocketType) -> None:
        self.sock = sock
        self._rest = b""

    def put_back(self, data: bytes) -> None:
        """Have the next read begin with this."""
        self._rest = data + self._rest

    async def recv(self, size: int, /) -> bytes:
        """Some bytes; none at the peer's end. Raises OSError."""
        if self._rest:
            data, self._rest = self._rest[:size], self._rest[size:]
            return data
        return await self.sock.recv(size)

    async def send(self, data: bytes, /) -> int:
        """Send some of it; how much that is. Raises OSError."""
        return await self.sock.send(data)

    async def say_goodbye(self) -> None:
        """Nothing: closing says it."""

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()

    def detach(self) -> tuple[trio.socket.SocketType, TlsLayer | None, bytes]:
        """Give the socket away, with what was put back."""
        return self.sock, None, self._rest
