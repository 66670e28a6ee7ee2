"""Opening listening sockets, all or none."""

from __future__ import annotations

import contextlib
import errno
import resource
import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING

from epmdless.addresses import Endpoint
from epmdless.errors import ListenError

if TYPE_CHECKING:  # the log is more than the standard library, which is all that epmdless-epmd waits for
    from epmdless.log import Log

BACKLOG = 4096
"""Connections that the kernel holds for us; it cuts this to net.core.somaxconn (4096 since 5.4)."""

MAX_DESCRIPTORS = 1_048_576
"""The most that are used: containers often allow a thousand times that, and each silent connection of a
stranger holds half a KiB."""

RESERVED_DESCRIPTORS = 128
"""Descriptors that connections, links and registrations leave alone: listeners, DNS sockets, metrics, logs.
At most a quarter of all."""

_ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


def open_listeners(
    required: Iterable[Endpoint],
    optional: Iterable[Endpoint],
    log: Log | None = None,
    *,
    may_be_none: bool = False,
) -> list[socket.socket]:
    """Listen on TCP endpoints.

    Port 0 is chosen by the kernel, once: further endpoints with port 0 get the same number.

    :param optional: endpoints that this host may not have (no IPv6, say); it has the others or fails.
    :param may_be_none: it is no error if this host has none of them.
    :returns: the sockets, for the caller to close.
    :raises ListenError: one cannot be opened; then all are closed.
    """
    with contextlib.ExitStack() as opened:
        listeners: list[socket.socket] = []
        for endpoint, must in [*((e, True) for e in required), *((e, False) for e in optional)]:
            if endpoint.port == 0 and listeners:
                endpoint = endpoint._replace(port=listeners[0].getsockname()[1])
            try:
                listeners.append(opened.enter_context(_listen(endpoint)))
            except OSError as error:
                reason = error.strerror or str(error)
                if must or error.errno not in _ABSENT:
                    raise ListenError(f"cannot listen on {endpoint}: {reason}", error.errno) from None
                if log is not None:
                    log.info("address left out", address=str(endpoint), reason=reason)
        if not listeners and not may_be_none:
            raise ListenError("this host has none of the addresses to listen on")
        opened.pop_all()
        return listeners


def _listen(endpoint: Endpoint) -> socket.socket:
    family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        address = socket.getaddrinfo(
            endpoint.host, endpoint.port, family, socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
        )[0][4]
        listener.bind(address)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def endpoint_of(listener: socket.socket) -> Endpoint:
    """The address and port that a socket listens on."""
    host, port = listener.getsockname()[:2]
    return Endpoint(host, port)


def opened_as(listener: socket.socket) -> Endpoint:
    """What a socket was opened with: as :func:`endpoint_of`, and a link-local address with its interface,
    without which it is no address to listen on."""
    own = endpoint_of(listener)
    scope = listener.getsockname()[3] if listener.family == socket.AF_INET6 else 0
    if not scope:
        return own
    try:
        return own._replace(host=f"{own.host}%{socket.if_indextoname(scope)}")
    except OSError:  # the interface is gone
        return own._replace(host=f"{own.host}%{scope}")


def endpoints_of(listener: socket.socket) -> list[Endpoint]:
    """All that a socket listens on: one for all IPv6 addresses that was handed over may take in IPv4, too."""
    own = endpoint_of(listener)
    if own.host != "::" or listener.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
        return [own]
    return [own, own._replace(host="0.0.0.0")]


def has_address(address: str) -> bool:
    """Whether this host has an IP address, or may act as if it had."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


def raise_descriptor_limit() -> int:
    """Raise the soft limit on file descriptors to the hard one, or to MAX_DESCRIPTORS.

    :returns: the limit in force.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return MAX_DESCRIPTORS if soft == resource.RLIM_INFINITY else min(soft, MAX_DESCRIPTORS)


def usable_descriptors(limit: int) -> int:
    """How many of the process's descriptors connections, links and registrations may use."""
    return limit - min(RESERVED_DESCRIPTORS, limit // 4)
