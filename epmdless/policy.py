"""Who may ask what, by address. Pure: addresses come as text, as the kernel reports them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

REMEMBERED_VERDICTS = 4096
"""Verdicts kept by address, since reading an address costs more than a lookup; then all are dropped."""

MAPPED_PREFIX = 96
"""Bits in front of an IPv4 address that is mapped into IPv6 (RFC 4291 §2.5.5.2)."""


class Network:
    """A block of IPv4 or IPv6 addresses, written ``10.0.0.0/8``."""

    __slots__ = ("_block",)

    def __init__(self, block: ipaddress.IPv4Network | ipaddress.IPv6Network) -> None:
        self._block = block

    @classmethod
    def parse(cls, text: object) -> Network:
        """Read a block in CIDR notation, or one address.

        :raises ValueError: neither; host bits that are set count as a mistake.
        """
        try:
            return cls(_plain_network(ipaddress.ip_network(str(text))))
        except ValueError as error:
            raise ValueError(f'{error}; write a network as in "10.0.0.0/8"') from None

    def __contains__(self, ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        return ip in self._block

    def __str__(self) -> str:
        return str(self._block)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Network) and self._block == other._block

    def __hash__(self) -> int:
        return hash(self._block)


def _plain_network(
    block: ipaddress.IPv4Network | ipaddress.IPv6Network,
) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """IPv4 addresses mapped into IPv6 are compared as IPv4, so a block of them must be one of IPv4."""
    mapped = getattr(block.network_address, "ipv4_mapped", None)
    if mapped is None or block.prefixlen < MAPPED_PREFIX:
        return block
    return ipaddress.ip_network((mapped, block.prefixlen - MAPPED_PREFIX))


class AccessList:
    """The networks from which a command is allowed; an empty list allows nobody."""

    def __init__(self, networks: Iterable[Network]) -> None:
        self._networks = tuple(networks)
        self._verdicts: dict[str, bool] = {}

    def allows(self, address: str) -> bool:
        """Whether a peer may ask.

        :param address: an IPv4 or IPv6 address; an IPv4 address mapped into IPv6 counts as IPv4.
        """
        verdict = self._verdicts.get(address)
        if verdict is None:
            if len(self._verdicts) >= REMEMBERED_VERDICTS:
                self._verdicts.clear()
            ip = plain_address(address)
            verdict = any(ip in network for network in self._networks)
            self._verdicts[address] = verdict
        return verdict


def plain_address(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Read an address; one that is IPv4 mapped into IPv6 comes back as IPv4, a scope is dropped."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    return getattr(ip, "ipv4_mapped", None) or ip


def is_local_peer(peer: str, own: str) -> bool:
    """Whether a peer is on this host, and so may register, dump, kill and stop.

    :param peer: the peer's address.
    :param own: the address of the connection's own end: a host that dials itself by an outer address
        has the same one on both ends.
    """
    return peer == own or plain_address(peer).is_loopback
