"""What can be seen of a link from outside: its two nodes, what passes, and how its connections do."""

from __future__ import annotations

import contextlib
import fcntl
import socket
import struct
import termios
from socket import SocketType
from typing import Any

from epmdless.links.link import Flow, Link, Party

_TCP_INFO_SIZE = 104
_RTT_AT = 68
_RETRANSMITS_AT = 100
_U32 = struct.Struct("=I")

_RELEASES = ((1 << 38, "28+"), (1 << 26, "25+"), (1 << 35, "24+"), (1 << 24, "23+"))
"""Flags that a release of OTP was the first to set: altact signals, mandatory-25 digest, alias, the new
handshake. No flag tells 26 and 27 from 25."""


def otp_of(flags: int | None) -> str | None:
    """Which release a node's flags speak of, as far as they do."""
    if flags is None:
        return None
    return next((release for bit, release in _RELEASES if flags & bit), "older than 23")


def unacknowledged(sock: SocketType) -> int:
    """Bytes that were sent on a socket and that its peer has not acknowledged (SIOCOUTQ)."""
    try:
        (count,) = _U32.unpack(fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))
    except OSError:
        return 0
    return int(count)


def view(link: Link, now: float) -> dict[str, Any]:
    """A link as plain types, for the control socket."""
    out, back = link.flows or (None, None)
    state = "established" if link.established is not None else "handshake"
    if link.end is not None:
        state = "draining"
    return {
        "id": link.id,
        "state": state,
        "route": link.route,
        "age": now - link.opened,
        "setup_ms": None if link.established is None else (link.established - link.opened) * 1000,
        "tls": link.tls,
        "hop": link.hop,
        "gateway": link.gateway,
        "client": link.client,
        "tunnel": link.tunnel,
        "near": _party(link.near, back),
        "far": _party(link.far, out),
        "near_to_far": _passed(out, now),
        "far_to_near": _passed(back, now),
    }


def _party(party: Party, towards: Flow | None) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "node": party.node,
        "creation": party.creation,
        "flags": party.flags,
        "otp": otp_of(party.flags),
        "address": party.address,
        "rtt_us": None,
        "retransmits": None,
        "unsent": 0,
    }
    if towards is None:
        return plain
    plain["unsent"] = towards.held + unacknowledged(towards.sink)
    with contextlib.suppress(OSError):
        info = towards.sink.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE)
        plain["rtt_us"] = _U32.unpack_from(info, _RTT_AT)[0]
        plain["retransmits"] = _U32.unpack_from(info, _RETRANSMITS_AT)[0]
    return plain


def _passed(flow: Flow | None, now: float) -> dict[str, Any]:
    walker = flow.walker if flow is not None else None
    last_tick = walker.last_tick if walker is not None else None
    return {
        "bytes": flow.count if flow is not None else 0,
        "frames": flow.frames if flow is not None else None,
        "ticks": walker.ticks if walker is not None else None,
        "fragments": walker.fragments if walker is not None else None,
        "largest": flow.largest if flow is not None else None,
        "last_tick_age": None if last_tick is None else now - last_tick,
    }
