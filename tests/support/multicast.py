"""A stranger on a multicast group, who sends what he likes and hears what others send."""

from __future__ import annotations

import socket
import struct
from types import TracebackType
from typing import NamedTuple, Self

GROUP = "233.252.1.32"
LOOPBACK = "127.0.0.1"

IP_RECVTTL = 12
"""From linux/in.h; Python does not name it."""


class Heard(NamedTuple):
    """A packet, the address and port that it came from, and the TTL that it came with."""

    packet: bytes
    source: tuple[str, int]
    ttl: int


class Stranger:
    """A socket of a group, on one interface of this machine.

    :param interface: an address of the interface.
    """

    def __init__(self, port: int, group: str = GROUP, interface: str = LOOPBACK) -> None:
        self._to = (group, port)
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        own = socket.inet_aton(interface)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, own)
        self._sock.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
        self._sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group) + own)
        self._sock.bind(("0.0.0.0", port))

    def send(self, packet: bytes) -> None:
        """Send a packet to the group."""
        self._sock.sendto(packet, self._to)

    def send_to(self, host: str, packet: bytes) -> None:
        """Send a packet to one host, at the group's port."""
        self._sock.sendto(packet, (host, self._to[1]))

    def heard(self) -> list[Heard]:
        """All packets that came since the last time, ours included."""
        found: list[Heard] = []
        while True:
            try:
                packet, told, _, source = self._sock.recvmsg(65536, socket.CMSG_SPACE(4))
            except BlockingIOError:
                return found
            ttl = next(struct.unpack("i", data)[0] for _, kind, data in told if kind == socket.IP_TTL)
            found.append(Heard(packet, source, ttl))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sock.close()
