"""The peers of a link that a pump carries: plain ones, and such as speak TLS."""

import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from ssl import OP_NO_RENEGOTIATION, SSLContext, SSLWantReadError
from tempfile import TemporaryDirectory
from typing import Final, Literal

from epmdless.net.tls.connection import TlsLayer
from tests.net.tls_ends import GATEWAY, RELAY, client_context, only_tls12, server_context
from tests.support.certificates import Authority

Side = Literal["near", "far"]

TLS_SIDES: tuple[Side, ...] = ()
"""The sides of new links that speak TLS; a way that bytes go by may change that."""

RECORD_SIZE = 16 * 1024
"""Bytes of plain text in a record of a peer's; a pump in miniature has small ones."""

AT_ONCE: Final = 64 * 1024
"""Bytes of plain text that a peer turns into records at once; more only when these are sent."""

SHAKES: Final = 4
"""More times to speak than an end needs for any handshake."""


class Peer:
    """One end of a link: a node, as far as the pump can tell."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sent = bytearray()
        self.received = bytearray()
        self.at_end = self.was_reset = False

    def send(self, data: bytes | bytearray | memoryview) -> int:
        """Send what the system takes; how many bytes that were."""
        try:
            count = self.sock.send(data)
        except BlockingIOError:
            return 0
        self.sent += data[:count]
        return count

    def read(self, most: int = 1 << 20) -> int:
        """Read what is there; how many bytes that were. The end, and a reset, are remembered."""
        if self.at_end or self.was_reset:
            return 0
        try:
            data = self.sock.recv(most)
        except BlockingIOError:
            return 0
        except ConnectionResetError:
            self.was_reset = True
            return 0
        self.at_end = not data
        self.received += data
        return len(data)

    def read_all(self) -> bool:
        """Read until nothing is there; whether that is the end, or a reset."""
        while self.read():
            pass
        return self.at_end or self.was_reset

    def flush(self) -> None:
        """Send what was said and not sent yet: nothing."""

    def half_close(self) -> None:
        """Send no more."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Leave without a word: the other side gets a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class TlsPeer(Peer):
    """A peer that speaks TLS. What it sends and reads is counted as plain text.

    to_send: records that it has made before.
    was_cut: the connection ended without the end of TLS.
    """

    def __init__(self, sock: socket.socket, layer: TlsLayer, to_send: bytes = b"") -> None:
        super().__init__(sock)
        self.layer = layer
        self.was_cut = False
        self.records = bytearray(to_send)
        self._opened = bytearray()
        self._closing = False
        self.flush()

    def send(self, data: bytes | bytearray | memoryview) -> int:
        self.flush()
        if self.records:
            return 0
        data = data[:AT_ONCE]
        for start in range(0, len(data), RECORD_SIZE):
            self.layer.tls.write(data[start : start + RECORD_SIZE])
            self.records += self.layer.outgoing.read()
        self.sent += data
        self.flush()
        return len(data)

    def flush(self) -> None:
        """Send records that the system did not take before."""
        while self.records:
            try:
                del self.records[: self.sock.send(self.records)]
            except BlockingIOError:
                return
            except OSError as error:
                self.was_reset = self.was_reset or isinstance(error, ConnectionResetError)
                self.records.clear()
                return
        if self._closing:
            self._closing = False
            self.sock.shutdown(socket.SHUT_WR)

    def read(self, most: int = 1 << 20) -> int:
        if self.was_reset or self.was_cut:
            return 0
        while not self._opened and self._read_records():
            pass
        data = self._opened[:most]
        del self._opened[:most]
        self.received += data
        self.at_end = self.layer.closed and not self._opened
        return len(data)

    def _read_records(self) -> bool:
        """Read something from the socket, and open what is whole; whether there was anything."""
        self._open()
        if self._opened or self.layer.closed:
            return False
        try:
            data = self.sock.recv(1 << 16)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            self.was_reset = True
            return False
        self.was_cut = not data
        self.layer.incoming.write(data)
        self._open()
        return bool(data)

    def _open(self) -> None:
        while data := self.layer.read(1 << 14):
            self._opened += data

    def read_all(self) -> bool:
        return super().read_all() or self.was_cut

    def half_close(self) -> None:
        """Say the end of TLS, and then that of TCP."""
        self.say_goodbye()
        self._closing = True
        self.flush()

    def say_goodbye(self) -> None:
        """Say the end of TLS alone."""
        self._open()  # what is whole must have been read
        self.records += self.layer.goodbye()
        self.flush()

    def cut(self) -> None:
        """End the connection without the end of TLS."""
        self.flush()
        self.sock.shutdown(socket.SHUT_WR)


@dataclass(frozen=True, slots=True)
class Contexts:
    """The contexts of both ends, as a hop and a gateway load them."""

    client: SSLContext
    server: SSLContext


@cache
def contexts(*, tls12: bool = False, tickets: int = 2) -> Contexts:
    """Contexts with certificates of one authority.

    tls12: TLS 1.2, and both ends would renegotiate if it were not for our own.
    tickets: how many session tickets the server sends behind the handshake of TLS 1.3.
    """
    with TemporaryDirectory() as folder:
        authority = Authority(Path(folder))
        version: Literal["1.2", "1.3"] = "1.2" if tls12 else "1.3"
        client = client_context(authority.issue(RELAY), authority, version)
        server = server_context(authority.issue(GATEWAY), authority, version)
    server.num_tickets = tickets
    if tls12:
        only_tls12(client).options &= ~OP_NO_RENEGOTIATION
    return Contexts(client, server)


def shaken_layers(tls: Contexts | None = None) -> tuple[TlsLayer, TlsLayer, bytes]:
    """A client and a server after their handshake, and what the server said last and the client has not
    heard yet: its tickets."""
    tls = tls or contexts()
    client = TlsLayer(tls.client, server_side=False, server_hostname=GATEWAY)
    server = TlsLayer(tls.server, server_side=True)
    said = b""
    for _ in range(SHAKES):
        for layer, other in ((client, server), (server, client)):
            layer.incoming.write(said)
            with suppress(SSLWantReadError):
                layer.tls.do_handshake()
            said = layer.outgoing.read()
            if layer.tls.version() and other.tls.version():
                return client, server, said
    raise AssertionError("no end of the handshake")


def tls_end(sock: socket.socket, side: Side, tls: Contexts | None = None) -> tuple[TlsLayer, TlsPeer]:
    """TLS of a side for the pump, and the peer there: a relay that dialled, or a gateway.

    The tickets of a gateway come to the pump.
    """
    client, server, tickets = shaken_layers(tls)
    if side == "far":
        return client, TlsPeer(sock, server, tickets)
    client.incoming.write(tickets)
    return server, TlsPeer(sock, client)
