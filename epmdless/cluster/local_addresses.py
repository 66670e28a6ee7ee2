"""Where a node of this machine can be dialled, and whose it is: EPMD knows its port alone."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import trio

TABLES = (Path("/proc/self/net/tcp"), Path("/proc/self/net/tcp6"))
"""Of the sockets of our network namespace, which a node that registers at loopback shares (proc_net(5)). A
service that systemd shows processes alone (``ProcSubset=pid``) has no ``/proc/net``."""

LISTEN = "0A"
"""TCP_LISTEN, from linux/include/net/tcp_states.h."""

LOOPBACK = ("127.0.0.1", "::1")

SHARE = 0.02
"""Of the time, for reading the tables. That takes 5 to 20 ms, in which nothing else is done: the kernel goes
through its table of all connections too."""

LONGEST_PAUSE = 1.0
"""Seconds from one reading to the next: for so long a node may have to wait for its connection."""


class Listener(NamedTuple):
    """A socket that listens.

    :ivar address: at which it can be dialled: loopback in place of all interfaces.
    :ivar user: number of the user who made it; None: not known. One whom our user namespace does not have is
        shown as the kernel's ``overflowuid``, 65534.
    """

    address: str
    user: int | None


NOBODY_SEEN = tuple(Listener(address, None) for address in LOOPBACK)


class Listeners:
    """Who listens on this machine: the tables are read when somebody asks, and seldom."""

    def __init__(self, tables: Iterable[Path] = TABLES) -> None:
        self._tables = tuple(tables)
        self._found: Mapping[int, list[Listener]] = {}
        self._began = float("-inf")
        self._due = float("-inf")

    async def on(self, port: int) -> list[Listener]:
        """Who listens on a port.

        What was read before the question counts while it is fresh and names somebody.

        :returns: both loopback addresses where the tables cannot be read or name nobody.
        """
        asked = trio.current_time()
        while True:
            if trio.current_time() >= self._due:
                self._read()
            if port in self._found or self._began >= asked:
                return self._found.get(port) or list(NOBODY_SEEN)
            await trio.sleep_until(self._due)

    def user_now(self, address: str, port: int) -> int | None:
        """Who listens there at this very moment, whatever was read before; None: not known."""
        self._read()
        return next((each.user for each in self._found.get(port, ()) if each.address == address), None)

    def _read(self) -> None:
        self._began = trio.current_time()
        self._found = listeners(self._tables)
        ended = trio.current_time()
        self._due = ended + min((ended - self._began) / SHARE, LONGEST_PAUSE)


def listeners(tables: Iterable[Path]) -> dict[int, list[Listener]]:
    """Who listens, by port.

    A table that cannot be read names nobody.
    """
    found: dict[int, dict[str, Listener]] = {}
    for table in tables:
        try:
            with table.open() as lines:
                _take_listeners(lines, found)
        except OSError:
            continue
    return {port: list(by_address.values()) for port, by_address in found.items()}


def _take_listeners(lines: Iterable[str], found: dict[int, dict[str, Listener]]) -> None:
    """Take in who listens by a table. The kernel lists what listens first; no more than that is read: the
    rest may be a hundred thousand lines."""
    for line in lines:
        fields = line.split(maxsplit=8)
        if len(fields) < 8 or not fields[0].endswith(":"):
            continue  # the heading
        if fields[3] != LISTEN:
            return
        text, _, port = fields[1].partition(":")
        address = _dialled(_address(text))
        found.setdefault(int(port, 16), {}).setdefault(address, Listener(address, int(fields[7])))


def _address(text: str) -> str:
    """An address as the tables have it: words of 32 bits, each in the machine's own order."""
    raw = bytes.fromhex(text)
    words = (raw[at : at + 4][::-1] for at in range(0, len(raw), 4))
    return str(_plain(ipaddress.ip_address(b"".join(words))))


def _plain(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _dialled(address: str) -> str:
    return {"0.0.0.0": LOOPBACK[0], "::": LOOPBACK[1]}.get(address, address)
