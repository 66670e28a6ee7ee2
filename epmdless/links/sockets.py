"""What a relayed connection's sockets are told."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass
from socket import IPPROTO_TCP, SO_KEEPALIVE, SOL_SOCKET, SocketType
from typing import NamedTuple

import trio

from epmdless.links.following import Connection
from epmdless.net.tls.connection import TlsLayer

PROBE_INTERVAL = 10
"""Seconds between keepalive probes that are not answered."""

PROBES = 3
"""Probes without an answer after which a host is taken for lost."""


@dataclass(frozen=True, slots=True)
class SocketOptions:
    """Seconds: silence before the first keepalive probe; and how long what was sent may stay
    unacknowledged, 0 = as the kernel has it."""

    keepalive: float
    user_timeout: float

    def apply(self, sock: SocketType | trio.socket.SocketType) -> None:
        """Set them, and send without Nagle's delay. A socket whose peer is gone already may refuse, and the
        next read or write says so."""
        with contextlib.suppress(OSError):
            self._apply(sock)

    def _apply(self, sock: SocketType | trio.socket.SocketType) -> None:
        sock.setsockopt(IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(SOL_SOCKET, SO_KEEPALIVE, 1)
        sock.setsockopt(IPPROTO_TCP, socket.TCP_KEEPIDLE, max(1, round(self.keepalive)))
        sock.setsockopt(IPPROTO_TCP, socket.TCP_KEEPINTVL, PROBE_INTERVAL)
        sock.setsockopt(IPPROTO_TCP, socket.TCP_KEEPCNT, PROBES)
        if self.user_timeout:
            sock.setsockopt(IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(self.user_timeout * 1000))


class Carried(NamedTuple):
    """One side of a link as the pump takes it.

    :ivar rest: what was read already and belongs to the other side.
    """

    sock: SocketType
    tls: TlsLayer | None
    rest: bytes


def detached(connection: Connection) -> Carried:
    """Take a connection out of trio's hands, for the pump: its plain socket, non-blocking, and its TLS.

    :raises OSError: what was read already is not what TLS allows.
    """
    sock, layer, rest = connection.detach()
    family = sock.family
    plain = SocketType(family, socket.SOCK_STREAM, 0, sock.detach())
    plain.setblocking(False)
    return Carried(plain, layer, rest)
