"""Where a redirected connection was going: what netfilter remembers of it."""

from __future__ import annotations

import contextlib
import socket
import struct
from socket import SocketType

from epmdless.addresses import Endpoint
from epmdless.policy import plain_address

SO_ORIGINAL_DST = 80
"""linux/netfilter_ipv4.h; IP6T_SO_ORIGINAL_DST has the same number."""

IP_TRANSPARENT = 19
"""linux/in.h: a listener that takes connections to addresses that are not ours (TPROXY)."""

IPV6_TRANSPARENT = 75

_SOCKADDR_IN = struct.Struct("!2xH4s8x")
_SOCKADDR_IN6 = struct.Struct("!2xHI16sI")


def make_transparent(listener: socket.socket) -> bool:
    """Let a listener take what TPROXY sends to it; it takes what REDIRECT sends in any case.

    :returns: False without the right to do so (CAP_NET_ADMIN).
    """
    try:
        if listener.family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
        else:
            listener.setsockopt(socket.IPPROTO_IP, IP_TRANSPARENT, 1)
    except OSError:
        return False
    return True


def original_destination(sock: SocketType) -> Endpoint | None:
    """The address and port that the client dialled; None if the connection is gone.

    REDIRECT changes the destination, and conntrack remembers it. TPROXY does not change it, so there it
    is the socket's own address.
    """
    with contextlib.suppress(OSError):
        if sock.family == socket.AF_INET:
            port, packed = _SOCKADDR_IN.unpack(sock.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16))
            return Endpoint(socket.inet_ntop(socket.AF_INET, packed), port)
        port, _, packed, _ = _SOCKADDR_IN6.unpack(sock.getsockopt(socket.IPPROTO_IPV6, SO_ORIGINAL_DST, 28))
        return Endpoint(str(plain_address(socket.inet_ntop(socket.AF_INET6, packed))), port)
    with contextlib.suppress(OSError):
        host, port = sock.getsockname()[:2]
        return Endpoint(str(plain_address(host)), port)
    return None
