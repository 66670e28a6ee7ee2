"""A TCP connection of trio's with what was read too early put back: the plain twin of TLS's."""

from __future__ import annotations

import trio

from epmdless.net.tls.connection import TlsLayer


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
