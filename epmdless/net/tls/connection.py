"""TLS over one TCP connection: `SSLObject` over memory BIOs, so that who reads the socket is free to choose.

While a connection is set up a trio task reads it (:class:`TlsConnection`); then the pump does, with the
:class:`TlsLayer` alone. `SSLSocket` would cost two reads a record, and an exception at each drained one.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress

import trio

RAW_SIZE = 16 * 1024 + 512
"""Bytes of one read while a connection is set up: a record of TLS (RFC 8446 §5.2) with its head."""

RECORD_SIZE = 16 * 1024
"""Bytes of plain text in the largest record (RFC 8446 §5.1)."""


Turn = Callable[[], AbstractAsyncContextManager[None]]


class TunnelCutError(ConnectionError):
    """The connection ended without TLS's own end, close_notify: something may be missing (RFC 8446 §6.1)."""


class TlsLayer:
    """What turns plain text into records and back, for one connection.

    :ivar incoming: records that were read from the socket; :attr:`outgoing`: those to be sent.
    :ivar closed: the peer has said its end.
    :ivar barren: bytes of records lately in which there was next to no plain text.
    """

    __slots__ = ("barren", "closed", "incoming", "outgoing", "read_into", "tls")

    def __init__(
        self,
        context: ssl.SSLContext,
        *,
        server_side: bool,
        server_hostname: str | None = None,
        session: ssl.SSLSession | None = None,
    ) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self.incoming,
            self.outgoing,
            server_side=server_side,
            server_hostname=server_hostname,
            session=session,
        )
        self.read_into: Callable[[int, memoryview], int] = self.tls.read  # type: ignore[assignment]
        """Like :meth:`ssl.SSLObject.read`, which returns a count where a buffer is given."""
        self.closed = False
        self.barren = 0

    def read(self, size: int) -> bytes | None:
        """Some plain text of what came in; ``b""`` at the peer's end, None if no record is whole.

        :raises OSError: not what TLS allows.
        """
        if self.closed:
            return b""
        try:
            data = self.tls.read(size)
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLZeroReturnError:
            data = b""
        self.closed = not data
        return data

    def goodbye(self) -> bytes:
        """Say the end of our side; what is to be sent for it.

        Every whole record that came in must have been read: what is left would be taken for a fault.
        """
        with suppress(ssl.SSLError):  # the peer has not said its own end yet, or what it says matters no more
            self.tls.unwrap()
        return self.outgoing.read()


class TlsConnection:
    """TLS on a socket of trio's. It owns the socket until :meth:`detach`.

    One task may receive while another sends.

    :ivar sock: for its addresses and options.
    """

    def __init__(
        self,
        sock: trio.socket.SocketType,
        context: ssl.SSLContext,
        *,
        server_hostname: str | None = None,
        session: ssl.SSLSession | None = None,
    ) -> None:
        """Begin as the client if a host is named, else as the server."""
        self.sock = sock
        self.layer = TlsLayer(
            context,
            server_side=server_hostname is None,
            server_hostname=server_hostname,
            session=session,
        )
        self._sending = trio.Lock()
        self._rest = b""
        self._is_up = False

    @property
    def tls(self) -> ssl.SSLObject:
        """The TLS state: certificates, version, session."""
        return self.layer.tls

    async def handshake(self, turn: Turn | None = None) -> None:
        """Shake hands.

        :param turn: waited for and held for each step, which takes a millisecond: of many who shake hands at
            once, one takes a step in each turn of the loop. None: nobody else shakes hands.
        :raises OSError: TLS, or the connection, failed; an SSLError says what TLS did not like.
        """
        while True:
            try:
                if turn is None:
                    self.tls.do_handshake()
                else:
                    async with turn():
                        self.tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._read_more()
            except ssl.SSLError:
                await self._flush()  # the alert: the peer is to know as well
                raise
            else:
                await self._flush()
                self._is_up = True
                return

    def put_back(self, data: bytes) -> None:
        """Have the next read begin with this."""
        self._rest = data + self._rest

    async def recv(self, size: int, /) -> bytes:
        """Some plain text; none at the peer's end.

        :raises TunnelCutError: the connection ended, and the peer has not said so.
        :raises OSError: it broke, or brought what TLS does not allow.
        """
        if self._rest:
            data, self._rest = self._rest[:size], self._rest[size:]
            return data
        while True:
            got = self.layer.read(size)
            if got is not None:
                return got  # without a checkpoint: a cancellation must not lose it
            if not self._sending.locked():  # else the sender sends it: to wait for him could be for ever
                await self._flush()
            await self._read_more()

    async def send(self, data: bytes, /) -> int:
        """Send all of it; how much that is.

        :raises OSError: the connection broke.
        """
        self.tls.write(data)
        await self._flush()
        return len(data)

    async def say_goodbye(self) -> None:
        """Tell the peer that nothing more comes. Raises OSError."""
        await self._send_all(self.layer.goodbye())

    def close(self) -> None:
        """Close the socket, with a goodbye where the connection is up and takes it at once."""
        if self._is_up:
            with suppress(OSError):
                os.write(self.sock.fileno(), self.layer.goodbye())
        self.sock.close()

    def detach(self) -> tuple[trio.socket.SocketType, TlsLayer | None, bytes]:
        """Give the socket away, with what was read and not asked for yet: no event will announce that.

        :raises OSError: what was read is not what TLS allows.
        """
        rest = self._rest
        while data := self.layer.read(RECORD_SIZE):
            rest += data
        return self.sock, self.layer, rest

    async def _read_more(self) -> None:
        data = await self.sock.recv(RAW_SIZE)
        if data:
            self.layer.incoming.write(data)
        elif self.layer.tls.version() is None:
            raise ConnectionResetError("closed in the middle of the TLS handshake")
        else:
            raise TunnelCutError("the connection ended without the end of TLS")

    async def _flush(self) -> None:
        if self.layer.outgoing.pending:
            await self._send_all(b"")

    async def _send_all(self, data: bytes) -> None:
        """Send, in the order in which TLS made it; two tasks may come here."""
        async with self._sending:
            data += self.layer.outgoing.read()
            while data:
                data = data[await self.sock.send(data) :] or self.layer.outgoing.read()
