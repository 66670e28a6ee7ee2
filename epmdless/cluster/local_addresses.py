"""Where a node of this machine can be dialled: EPMD knows its port, and not on which address it listens."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from pathlib import Path

TABLES = (Path("/proc/self/net/tcp"), Path("/proc/self/net/tcp6"))
"""Of the sockets of our network namespace, which a node that registers at loopback shares (proc_net(5)). A
service that systemd shows processes alone (``ProcSubset=pid``) has no ``/proc/net``."""

LISTEN = "0A"
"""TCP_LISTEN, from linux/include/net/tcp_states.h."""

LOOPBACK = ("127.0.0.1", "::1")


def addresses_for(port: int, tables: Iterable[Path] = TABLES) -> list[str]:
    """The addresses at which somebody of this machine listens on a port, loopback in place of all interfaces.

    :returns: both loopback addresses where the tables cannot be read or name nobody.
    """
    found: list[str] = []
    for table in tables:
        try:
            with table.open() as lines:
                found += _listeners(lines, port)
        except OSError:
            continue
    return list(dict.fromkeys(map(_dialled, found))) or list(LOOPBACK)


def _listeners(lines: Iterable[str], port: int) -> Iterator[str]:
    """The addresses in a table. The kernel lists what listens first; no more than that is read: the rest
    may be a hundred thousand lines."""
    wanted = f"{port:04X}"
    for line in lines:
        fields = line.split(maxsplit=4)
        if len(fields) < 4 or not fields[0].endswith(":"):
            continue  # the heading
        if fields[3] != LISTEN:
            return
        address, _, its_port = fields[1].partition(":")
        if its_port == wanted:
            yield _address(address)


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
