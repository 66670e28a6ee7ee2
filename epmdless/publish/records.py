"""Which nodes are published, and by which records. Pure.

=============================  ==========  =====================================================
``_shop-9001._tcp.ZONE``       SRV         where the node listens, for the resolver ``srv``
``_epmdless._tcp.ZONE``        SRV, TXT    the same for all nodes; TXT: see ``lease``
``_SERVICE._tcp.ZONE``         SRV, TXT    the same for the nodes of a service
the target's name              A, AAAA     where it is in the zone
=============================  ==========  =====================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from epmdless.config import ALL_NODES
from epmdless.names import is_transient
from epmdless.publish.lease import Lease, read_lease_untrusted
from epmdless.resolve.dns_records import MAX_STRING_BYTES, Record, address, domain, is_under, name, srv, txt
from epmdless.rules import Glob

MAX_NODES = 500
"""Of one host. All nodes of a zone stand in one set of TXT records, and an answer of DNS has 64 KiB: some 800
of them. Whoever can register could fill it otherwise."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How the nodes of this host are published.

    :ivar zone: its name, in lower case, without its last dot.
    :ivar host: the host part of the nodes' names.
    :ivar target: of SRV records, as `zone`.
    :ivar addresses: of the target; empty: its records are somebody else's.
    :ivar nodes: those of whose alive names one matches are published.
    :ivar services: by name, in the configuration's order.
    """

    zone: str
    host: str
    target: str
    addresses: tuple[str, ...] = ()
    nodes: tuple[Glob, ...] = (Glob("*"),)
    services: tuple[tuple[str, tuple[Glob, ...]], ...] = ()

    def judge(self, alive: str, port: int) -> Lease | str | None:
        """What becomes of a registration.

        :returns: what is published, its time still to be set; or the reason why it is left out; None: nobody
            wants it to be published.
        """
        if not any(glob.matches(alive) for glob in self.nodes):
            return None
        if is_transient(alive):
            return "transient"
        if not port:
            return "no_port"
        services = tuple(
            service for service, globs in self.services if any(glob.matches(alive) for glob in globs)
        )
        lease = Lease(f"{alive}@{self.host}", port, 0, self.target, self.addresses, services)
        if not _fits(lease, self.zone):
            return "name_too_long"
        return lease if read_lease_untrusted(lease.strings()) == lease else "no_node_name"


LEFT_OUT = {
    "transient": "a node of such a name comes and goes by itself",
    "no_port": "it listens on no port",
    "name_too_long": "its name is too long for DNS",
    "no_node_name": "its name, with the host part, is none that a node can have",
    "same_name": "DNS does not tell its name from another one's: they differ in case alone",
    "too_many": f"{MAX_NODES} others of this host are published",
    "zone_full": "the zone holds as many nodes as one answer of DNS can name",
}
"""Reasons why a node is left out, each with a sentence."""


class Choice(NamedTuple):
    """Which nodes are published.

    :ivar leases: by the nodes' whole names, their time still to be set.
    :ivar left_out: reasons, by whole names.
    """

    leases: dict[str, Lease]
    left_out: dict[str, str]


def choose(judged: Iterable[tuple[str, Lease | str | None]], host: str) -> Choice:
    """Choose among registrations that were judged, each by itself.

    :param judged: alive names, those first that registered first, and what became of them.
    """
    chosen = Choice({}, {})
    labels: set[bytes] = set()
    for alive, verdict in judged:
        if verdict is None:
            continue
        node = f"{alive}@{host}"
        if isinstance(verdict, str):
            chosen.left_out[node] = verdict
        elif (label := alive.encode().lower()) in labels:
            chosen.left_out[node] = "same_name"
        elif len(chosen.leases) >= MAX_NODES:
            chosen.left_out[node] = "too_many"
        else:
            labels.add(label)
            chosen.leases[node] = verdict
    return chosen


def records_of(lease: Lease, zone: str) -> Iterator[Record]:
    """The records of a node.

    :raises ValueError: a name among them is too long for DNS; never for a lease that was judged.
    """
    target = domain(lease.target)
    yield srv(_owner(lease.alive, zone), lease.port, target)
    strings = lease.strings()
    for service in (ALL_NODES, *lease.services):
        owner = _owner(service, zone)
        yield srv(owner, lease.port, target)
        yield txt(owner, strings)
    if is_under(lease.target, zone):
        for text in lease.addresses:
            yield address(target, text)


def service_owner(service: str, zone: str) -> bytes:
    """The name under which the nodes of a service are, on the wire."""
    return _owner(service, zone)


def _owner(label: str, zone: str) -> bytes:
    return name((f"_{label}".encode(), b"_tcp"), domain(zone))


def _fits(lease: Lease, zone: str) -> bool:
    try:
        return all(len(string) <= MAX_STRING_BYTES for string in lease.strings()) and bool(
            list(records_of(lease, zone))
        )
    except ValueError:
        return False
