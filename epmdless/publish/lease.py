"""What a TXT record says of a node: who it is, where it listens, and until when that counts.

The strings of the record, in this order; the last three are there where they say something::

    node=shop-9001@b1.nodes.internal   its whole name
    port=9001
    until=1732200000                   in seconds since 1970
    target=b1.nodes.internal           of its SRV records, where that is not the host part of its name
    address=10.0.1.23                  of the target's A or AAAA record, where one is published; one or more
    service=shop                       to which it belongs, besides that of all nodes; none or more

Pure; what is read was written by others.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from epmdless.config import is_service
from epmdless.errors import EpmdlessError
from epmdless.names import is_node_name
from epmdless.resolve.srv_records import is_domain

SKEW = 5.0
"""Seconds by which the clock of whoever judges may be ahead: hosts whose clocks are kept at all differ by
less. A lease is refreshed when two thirds of it are left, so that a clock may be off by more without harm."""

MAX_STRINGS = 128
"""Of one record: three, and services and addresses as many as a configuration allows."""

_NUMBER = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True, slots=True)
class Lease:
    """A node that counts as being there.

    :ivar node: its whole name.
    :ivar until: seconds since 1970, whole.
    :ivar target: a domain name in lower case, without its last dot.
    :ivar services: without that of all nodes.
    """

    node: str
    port: int
    until: int
    target: str
    addresses: tuple[str, ...] = ()
    services: tuple[str, ...] = ()

    @property
    def alive(self) -> str:
        """The alive name of the node."""
        return self.node.partition("@")[0]

    @property
    def host(self) -> str:
        """The host part of the node's name."""
        return self.node.partition("@")[2]

    def is_over(self, now: float, skew: float = SKEW) -> bool:
        """Whether it counts no longer.

        :param now: seconds since 1970.
        """
        return now > self.until + skew

    def strings(self) -> list[bytes]:
        """What the TXT record holds."""
        target = [] if self.target == self.host.lower() else [f"target={self.target}"]
        fields = [f"node={self.node}", f"port={self.port}", f"until={self.until}", *target]
        fields += [f"address={address}" for address in self.addresses]
        fields += [f"service={service}" for service in self.services]
        return [field.encode() for field in fields]


def read_lease_untrusted(strings: Sequence[bytes]) -> Lease | None:
    """Read what a TXT record says.

    :returns: None: it is none of ours, or not as it must be. Strings of other kinds are passed over.
    """
    if len(strings) > MAX_STRINGS:
        return None
    fields: dict[str, list[str]] = {}
    try:
        for string in strings:
            key, _, value = string.decode().partition("=")
            fields.setdefault(key, []).append(value)
        (node,), (port,), (until,) = fields["node"], fields["port"], fields["until"]
        (target,) = fields.get("target", [node.partition("@")[2].lower()])
        addresses = [_address(text) for text in fields.get("address", ())]
        services = fields.get("service", [])
        if not (is_node_name(node) and is_domain(target) and all(map(is_service, services))):
            return None
        return Lease(node, _port(port), _whole(until), target, tuple(addresses), tuple(services))
    except (KeyError, ValueError, EpmdlessError):
        return None


def _whole(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise ValueError("not a number")
    return int(text)


def _port(text: str) -> int:
    port = _whole(text)
    if not 1 <= port <= 65535:
        raise ValueError("not a port")
    return port


def _address(text: str) -> str:
    """Its one spelling; what makes a different one would not be found again."""
    address = ipaddress.ip_address(text)
    if str(address) != text or "%" in text:
        raise ValueError("not an address as we write it")
    return text


def live_leases_untrusted(texts: Iterable[Sequence[bytes]], now: float) -> list[Lease]:
    """The nodes that count as being there, by name; of several leases of one node the latest.

    :param texts: the strings of each TXT record.
    :param now: seconds since 1970.
    """
    latest: dict[str, Lease] = {}
    for strings in texts:
        lease = read_lease_untrusted(strings)
        if lease is None or lease.is_over(now):
            continue
        if lease.node not in latest or latest[lease.node].until < lease.until:
            latest[lease.node] = lease
    return [latest[node] for node in sorted(latest)]
