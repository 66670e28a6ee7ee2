"""Where a node of this machine can be dialled: EPMD knows its port, and not on which address it listens."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from pathlib import Path

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


class Listeners:
    """Who listens on this machine: the tables are read when somebody asks, and seldom."""

    def __init__(self, tables: Iterable[Path] = TABLES) -> None:
        self._tables = tuple(tables)
        self._found: Mapping[int, list[str]] = {}
        self._began = float("-inf")
        self._due = float("-inf")

    async def addresses_for(self, port: int) -> list[str]:
        """The addresses at which somebody listens on a port, loopback in place of all interfaces.

        What was read before the question counts while it is fresh and names somebody.

        :returns: both loopback addresses where the tables cannot be read or name nobody.
        """
        asked = trio.current_time()
        while True:
            if trio.current_time() >= self._due:
                self._read()
            if port in self._found or self._began >= asked:
                return self._found.get(port) or list(LOOPBACK)
            await trio.sleep(self._due - trio.current_time())

    def _read(self) -> None:
        self._began = trio.current_time()
        self._found = listeners(self._tables)
        ended = trio.current_time()
        self._due = ended + min((ended - self._began) / SHARE, LONGEST_PAUSE)


def listeners(tables: Iterable[Path]) -> dict[int, list[str]]:
    """The addresses that can be dialled for each port at which somebody listens.

    A table that cannot be read names nobody.
    """
    found: dict[int, dict[str, None]] = {}
    for table in tables:
        try:
            with table.open() as lines:
                _take_listeners(lines, found)
        except OSError:
            continue
    return {port: list(addresses) for port, addresses in found.items()}


def _take_listeners(lines: Iterable[str], found: dict[int, dict[str, None]]) -> None:
    """Take in the addresses in a table. The kernel lists what listens first; no more than that is read: the
    rest may be a hundred thousand lines."""
    for line in lines:
        fields = line.split(maxsplit=4)
        if len(fields) < 4 or not fields[0].endswith(":"):
            continue  # the heading
        if fields[3] != LISTEN:
            return
        address, _, port = fields[1].partition(":")
        found.setdefault(int(port, 16), {})[_dialled(_address(address))] = None


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
