"""The fifth step: whether a port speaks plain distribution or TLS, found out without a word to the node.

What is sent is the beginning of TLS, a ClientHello, made longer than it need be. A node without TLS takes
its first two bytes, 22 and 3, for the length of a message: 5635 bytes. It has them all, sees that they are
none of a node's, and closes at once, with nothing in its log; one that had to wait for the rest would hold us
up for seven seconds. A name, on the other hand, would be an error in the log of a node that speaks TLS.

Such a node shows its certificate. Where we have no certificates to go on with, we leave when it has: before
the node has seen anything of ours that it would have to refuse. Where we have, and its certificate does not
hold, we leave without a word as well. Measured with OTP 25 and 27: neither is in the node's log.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Any, Literal

import trio

from epmdless.doctor.certificate import Shown, first_certificate, shown_by
from epmdless.net.tls.connection import RAW_SIZE, TlsConnection
from epmdless.net.tls.problems import Problem, explain

HELLO_SECONDS = 2.0
"""For TLS, or for a node without it to close; whoever says nothing so long is asked as a plain node."""

PLAIN_MESSAGE = 0x1603
"""The length that a plain node reads in the first two bytes of TLS's handshake (RFC 8446 §5.1)."""

WEB = ("h2", "http/1.1")
"""Protocols that a web server chooses and a node does not know (RFC 7301): so they are told apart."""

_FILLER = "epmdless\r\n\r\n" + "x" * 243
"""A protocol that nobody speaks, in the 255 bytes that one can have. A web server without TLS takes the end
of the line for its own, and answers at once."""

PROTOCOLS = [*WEB, *[_FILLER] * (PLAIN_MESSAGE // 256 + 1)]
"""What we claim to speak inside: so much that a ClientHello is longer than PLAIN_MESSAGE."""

_RECORDS = range(0x14, 0x18)
"""The first byte of what a TLS server can say: an alert is 0x15, the handshake 0x16."""

_CERTIFICATE, _SERVER_DONE = 11, 14
"""Messages of the handshake: the second ends what the server of TLS 1.2 says at first (RFC 5246 §7.4)."""

_FIRST_SEEN = 256
"""Bytes of an answer that are kept, to say who it is."""


@dataclass(slots=True)
class Spoken:
    """What a port speaks.

    :ivar kind: ``plain``: it closed, as a node without TLS does; ``foreign``: it says what is no TLS;
        ``silent``: nothing in time.
    :ivar first: what it said first.
    :ivar connection: up, where TLS was to be gone on with, and holds; the caller closes it.
    :ivar problem: why TLS did not come about.
    :ivar web: the web server's protocol that it chose.
    """

    kind: Literal["plain", "tls", "foreign", "silent"] = "silent"
    first: bytes = b""
    connection: TlsConnection | None = None
    version: str | None = None
    certificate: Shown | None = None
    problem: Problem | None = None
    web: str | None = None


@dataclass(slots=True)
class _Flight:
    """What the server's messages told so far; TLS shows them to a callback.

    No public function does. CPython has one since 3.8, for its own tests; where it is missing, there is no
    certificate to show.
    """

    certificate: bytes | None = None
    is_whole: bool = field(default=False)

    def watch(self, context: Any) -> None:
        if hasattr(context, "_msg_callback"):
            context._msg_callback = self._look

    def _look(
        self, _tls: object, direction: str, version: int, _kind: int, message: int, data: bytes
    ) -> None:
        if direction != "read":
            return
        if message == _CERTIFICATE:
            self.certificate = first_certificate(data, is_tls13=version >= ssl.TLSVersion.TLSv1_3)
        self.is_whole = self.is_whole or message == _SERVER_DONE


async def find_out(
    sock: trio.socket.SocketType, host: str, context: ssl.SSLContext | None, *, peer: str
) -> Spoken:
    """See what a port speaks. The socket is closed where no connection is returned.

    :param host: whom the certificate must be for.
    :param context: ours, with certificates, and for this connection alone; None: we have none, and leave once
        we have seen the node's.
    :param peer: how people know the other end.
    """
    spoken, flight = Spoken(), _Flight()
    used = context or _context_without_certificates()
    used.set_alpn_protocols(PROTOCOLS)
    flight.watch(used)
    try:
        try:
            connection = TlsConnection(sock, used, server_hostname=host)
        except ValueError:  # no name that TLS could ask for, such as one that begins with a dot
            connection = TlsConnection(sock, used, server_hostname="localhost.invalid")
        with trio.move_on_after(HELLO_SECONDS):
            await _shake(connection, spoken, flight, goes_on=context is not None)
    except OSError as error:
        _failed(spoken, error, peer)
    finally:
        if spoken.connection is None:
            sock.close()
    if flight.certificate is not None:
        spoken.certificate = shown_by(flight.certificate)
    return spoken


async def _shake(connection: TlsConnection, spoken: Spoken, flight: _Flight, *, goes_on: bool) -> None:
    """Shake hands up to where we go on or leave; our alert about a certificate that does not hold stays
    unsent. Raises OSError."""
    tls, layer, sock = connection.tls, connection.layer, connection.sock
    while True:
        is_done = False
        try:
            tls.do_handshake()
            is_done = True
        except ssl.SSLWantReadError:
            pass
        spoken.version = tls.version()
        spoken.web = tls.selected_alpn_protocol() if spoken.version else None
        if not goes_on and (is_done or flight.is_whole):
            return
        while unsent := layer.outgoing.read():
            while unsent:
                unsent = unsent[await sock.send(unsent) :]
        if is_done:
            await connection.handshake()  # it notes that it is up, and so says goodbye at its close
            spoken.connection = connection
            return
        data = await sock.recv(RAW_SIZE)
        if not data:
            raise ConnectionResetError("closed in the middle of the TLS handshake")
        if not spoken.first:
            spoken.first = data[:_FIRST_SEEN]
            spoken.kind = "tls" if data[0] in _RECORDS else "foreign"
        if spoken.kind == "foreign":
            return
        layer.incoming.write(data)


def _failed(spoken: Spoken, error: OSError, peer: str) -> None:
    """Note how it ended. A node without TLS closes with bytes of ours unread, and so by a reset."""
    if not spoken.first:
        spoken.kind = "plain"
    elif spoken.kind == "tls":
        spoken.problem = explain(error, peer=peer, side="client")


def _context_without_certificates() -> ssl.SSLContext:
    """For a look alone: nothing that is said there is trusted, and nothing is told."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
