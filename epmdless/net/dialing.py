"""Dialling a host by name or address, as fast as the first of its addresses answers (RFC 8305)."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Sequence
from itertools import chain, zip_longest
from typing import Any

import trio

from epmdless.addresses import is_address
from epmdless.net.lookups import addresses_of

ATTEMPT_DELAY = 0.25
"""Seconds before the next address is tried beside one that has not answered: RFC 8305 §5."""

MAX_ADDRESSES = 16
"""Addresses of one name that are tried: all of them must fit the time that a BEAM waits."""

Address = tuple[int, Any]
"""Family, and the socket address in that family's form."""


_SHORTAGE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL)
"""It is we who have no room for one more connection: descriptors, memory, local ports."""


class DialError(Exception):
    """Nothing was reached.

    :ivar unknown: there was nothing to dial: the name has no address, or ours alone.
    :ivar shortage: we had no room for one more connection.
    :ivar refused: something is there, at every address, and nobody listens.
    :ivar errno: the operating system's number, where one address was dialled.
    """

    def __init__(
        self,
        problem: str,
        *,
        unknown: bool = False,
        shortage: bool = False,
        refused: bool = False,
        errno: int | None = None,
    ) -> None:
        self.unknown = unknown
        self.shortage = shortage
        self.refused = refused
        self.errno = errno
        super().__init__(problem)


async def dial(host: str, port: int, is_ours: Callable[[str, int], bool]) -> trio.socket.SocketType:
    """Connect to a host.

    :param host: a name or an IP address.
    :param is_ours: whether an address is one that we listen on ourselves: dialling that makes a loop.
    :returns: the socket, for the caller to close.
    :raises DialError: no address, or none that answers.
    """
    addresses = [a for a in await look_up(host, port) if not is_ours(a[1][0], port)]
    if not addresses:
        raise DialError(f"{host} is this relay itself", unknown=True)
    return await dial_first(addresses)


async def dial_first(addresses: Sequence[Address]) -> trio.socket.SocketType:
    """Connect to the first of a host's addresses that answers.

    :param addresses: at least one.
    :returns: the socket, for the caller to close.
    :raises DialError: none answers.
    """
    if len(addresses) == 1:
        return await _connect(addresses[0])
    return await _race(_interleaved(addresses)[:MAX_ADDRESSES])


async def look_up(host: str, port: int) -> list[Address]:
    """The addresses of a host, an address's own among them.

    :raises DialError: it has none, or we have no room to look.
    """
    if is_address(host):
        return [(socket.AF_INET6 if ":" in host else socket.AF_INET, (host, port))]
    try:
        return await addresses_of(host, port)
    except (OSError, UnicodeError) as error:
        problem = f"{host}: {getattr(error, 'strerror', None) or error}"
        is_shortage = getattr(error, "errno", None) in _SHORTAGE
        raise DialError(problem, unknown=not is_shortage, shortage=is_shortage) from None


def _interleaved(addresses: Sequence[Address]) -> list[Address]:
    """The families in turn, the first one's first: RFC 8305 §4."""
    first = addresses[0][0]
    ours = [a for a in addresses if a[0] == first]
    others = [a for a in addresses if a[0] != first]
    return [a for a in chain.from_iterable(zip_longest(ours, others)) if a is not None]


async def _connect(address: Address) -> trio.socket.SocketType:
    family, target = address
    try:
        sock = trio.socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise DialError(os.strerror(error.errno or 0), shortage=error.errno in _SHORTAGE) from None
    try:
        await sock.connect(target)
    except OSError as error:
        sock.close()
        reason = os.strerror(error.errno) if error.errno else str(error)
        problem = f"{target[0]} port {target[1]}: {reason}"
        is_refused, is_shortage = error.errno == errno.ECONNREFUSED, error.errno in _SHORTAGE
        raise DialError(problem, shortage=is_shortage, refused=is_refused, errno=error.errno) from None
    except BaseException:
        sock.close()
        raise
    if _is_looped(sock):
        sock.close()
        problem = f"{target[0]} port {target[1]}: {os.strerror(errno.ECONNREFUSED)}"
        raise DialError(problem, refused=True, errno=errno.ECONNREFUSED)
    return sock


def _is_looped(sock: trio.socket.SocketType) -> bool:
    """Whether a socket is connected to itself: a simultaneous open on loopback, with nobody listening."""
    try:
        return bool(sock.getsockname() == sock.getpeername())
    except OSError:  # accepted and reset already: the first read says so
        return False


async def _race(addresses: Sequence[Address]) -> trio.socket.SocketType:
    """Try addresses one after the other, each with a head start; the first that answers is taken."""
    won: list[trio.socket.SocketType] = []
    problems: list[DialError] = []

    async def attempt(address: Address, failed: trio.Event) -> None:
        try:
            sock = await _connect(address)
        except DialError as error:
            problems.append(error)
            failed.set()
            return
        if won:
            sock.close()
            return
        won.append(sock)
        nursery.cancel_scope.cancel()

    try:
        async with trio.open_nursery() as nursery:
            for address in addresses:
                failed = trio.Event()
                nursery.start_soon(attempt, address, failed)
                with trio.move_on_after(ATTEMPT_DELAY):
                    await failed.wait()
    except BaseException:
        for sock in won:
            sock.close()
        raise
    if not won:
        refused = all(problem.refused for problem in problems)
        raise DialError("; ".join(map(str, problems)), refused=refused)
    return won[0]
