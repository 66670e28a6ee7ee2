"""The address that this host has towards others, as the kernel's own tables have it."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
from pathlib import Path

import trio

from epmdless.platforms.facts import PlatformError, checked_address, is_of_this_host_alone

SOURCE = "default route"

ONLY_ADDRESS = "only address"

ELSEWHERE = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
"""Addresses for documentation (RFC 5737, RFC 3849): nothing is ever sent to them."""

DISCARD_PORT = 9

IPV6_ADDR_PREFERENCES = 72
IPV6_PREFER_SRC_PUBLIC = 2
"""From linux/in6.h (RFC 5014): no temporary address, which a host has for some hours only."""

TRIE = Path("/proc/thread-self/net/fib_trie")
"""The IPv4 routes; those of one address of our own are called ``host LOCAL`` (proc_net(5))."""

INET6 = Path("/proc/thread-self/net/if_inet6")
"""The IPv6 addresses: 32 hexadecimal digits, then number, prefix, scope, flags and interface."""

TEMPORARY = 0x01
"""A flag there, from linux/if_addr.h."""

MAX_TABLE_BYTES = 1 << 20
"""Of each table: no container's has a hundredth of it, and a router's does not matter here."""

_LOCAL = re.compile(r"\|-- ([0-9.]+)\n\s+/32 host LOCAL")

_ENTRY_6 = re.compile(r"^([0-9a-f]{32}) \S+ \S+ \S+ ([0-9a-f]+) ", re.MULTILINE)


async def default_address() -> tuple[str, str]:
    """The address that this host has where the default route leads, of IPv4 if there is any; else the only
    one that it has at all.

    :returns: the address, and which of both it is, for people.
    :raises PlatformError: there is no default route, and more than one address or none.
    """
    await trio.lowlevel.checkpoint()
    own = address_of_route()
    if own is not None:
        return checked_address(own, f"the {SOURCE}"), SOURCE
    return only_address(), ONLY_ADDRESS


def address_of_route() -> str | None:
    """The address that this host has where the default route leads, as the kernel has it: it may be of use to
    nobody else. None: there is no such route. It takes some microseconds."""
    found = (_towards(family, elsewhere) for family, elsewhere in ELSEWHERE)
    return next((own for own in found if own is not None), None)


def _towards(family: socket.AddressFamily, elsewhere: str) -> str | None:
    """The address that a packet would be sent from; None: it would not be sent."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            if family == socket.AF_INET6:
                with contextlib.suppress(OSError):  # a kernel that knows no temporary addresses
                    probe.setsockopt(socket.IPPROTO_IPV6, IPV6_ADDR_PREFERENCES, IPV6_PREFER_SRC_PUBLIC)
            probe.connect((elsewhere, DISCARD_PORT))  # the kernel looks for a route, and sends nothing
            return str(probe.getsockname()[0])
    except OSError:
        return None


def only_address(trie: Path = TRIE, inet6: Path = INET6) -> str:
    """The only address that others could reach, as in a container on a network without a way out.

    :raises PlatformError: there are several of IPv4, or none of IPv4 and not just one of IPv6.
    """
    for texts in (set(_LOCAL.findall(_read(trie))), _lasting(_read(inet6))):
        addresses = [ipaddress.ip_address(text) for text in texts]
        reachable = [address for address in addresses if not is_of_this_host_alone(address)]
        if len(reachable) == 1:
            return str(reachable[0])
        if reachable:
            raise PlatformError("no default route, and several addresses: give --address")
    raise PlatformError("no default route, and no address: give --address")


def _read(table: Path) -> str:
    try:
        with table.open("rb") as file:
            return file.read(MAX_TABLE_BYTES).decode("ascii", "replace")
    except OSError:
        return ""  # a kernel without IPv6, or no /proc


def _lasting(table: str) -> set[str]:
    """The IPv6 addresses of a table that are not temporary."""
    return {
        ":".join(re.findall("....", digits))
        for digits, flags in _ENTRY_6.findall(table)
        if not int(flags, 16) & TEMPORARY
    }
