"""What a relayed connection's sockets are told."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass
from socket import IPPROTO_TCP, SO_KEEPALIVE, SOL_SOCKET, SocketType

import trio

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


def detached(sock: trio.socket.SocketType) -> SocketType:
    """The plain socket behind trio's, for the pump: non-blocking, and out of trio's hands."""
    family = sock.family
    plain = SocketType(family, socket.SOCK_STREAM, 0, sock.detach())
    plain.setblocking(False)
    return plain
