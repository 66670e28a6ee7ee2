"""``[publish]``: this host's registrations in a DNS zone, by dynamic update (RFC 2136)."""

from __future__ import annotations

import re

import msgspec

from epmdless.config.checks import (
    check_distinct,
    check_domain,
    check_globs,
    check_path,
    check_timeout,
    is_wildcard,
    same_domain,
)
from epmdless.config.errors import SectionError
from epmdless.config.values import Address, Duration, Section, host_address

MAX_SERVERS = 8
"""Of one zone: a primary, and others that pass updates on to it."""

MAX_ADDRESSES = 16
"""Of one host, in both families."""

MAX_SERVICES = 64
"""Each node is published once for each that it matches."""

ALL_NODES = "epmdless"
"""The service to which every published node belongs."""

MIN_LEASE = Duration(15)
"""Every host writes to the zone three times in that."""

MAX_TTL = Duration(86400)
"""A day: after that nobody means a node any more."""

_SERVICE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,60}[a-z0-9])?")
"""A label of a domain name with its underscore in front: 63 bytes (RFC 1035 §2.3.4, RFC 2782)."""


def is_service(text: str) -> bool:
    """Whether a service can be called so."""
    return _SERVICE.fullmatch(text) is not None


class ServiceSection(Section, frozen=True):
    """``[publish.service.NAME]``: a logical name, and the nodes that are found by it."""

    nodes: tuple[str, ...]
    """Globs over alive names."""

    def __post_init__(self) -> None:
        if not self.nodes:
            raise SectionError("nodes", "an empty list matches nothing: take the whole service out for that")
        check_globs("nodes", self.nodes)
        for number, glob in enumerate(self.nodes):
            if "@" in glob:
                raise SectionError(f"nodes[{number}]", "a pattern of alive names has no `@`")


class PublishSection(Section, frozen=True):
    """``[publish]``: absent = nothing is published."""

    zone: str
    """The zone that is updated."""
    servers: tuple[Address, ...]
    """The zone's primary, and others that pass updates on; asked in this order."""
    key_file: str | None = None
    """A file with the TSIG key, as ``tsig-keygen`` prints it; absent: updates are not signed."""
    target: str | None = None
    """The SRV records' target; absent: the host part of this host's node names, an address as a name made of
    it in the zone."""
    addresses: tuple[Address, ...] = ()
    """Of the target, where it is in the zone; empty: the address from which the default route leads."""
    nodes: tuple[str, ...] = ("*",)
    """Which registered nodes: globs over alive names."""
    ttl: Duration = Duration(10)
    """Of every record, whole seconds."""
    lease: Duration = Duration(90)
    """How long records count after they were last refreshed; refreshed three times in that."""
    timeout: Duration = Duration(2)
    """For one update at one server."""
    service: dict[str, ServiceSection] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        check_domain("zone", self.zone)
        self._check_servers()
        if self.key_file is not None:
            check_path("key_file", self.key_file, of_secret=True)
        self._check_target()
        if not self.nodes:
            raise SectionError("nodes", "an empty list publishes nothing: take the whole table out for that")
        check_globs("nodes", self.nodes)
        self._check_times()
        self._check_services()

    def _check_servers(self) -> None:
        if not 1 <= len(self.servers) <= MAX_SERVERS:
            raise SectionError("servers", f"1 to {MAX_SERVERS} addresses of DNS servers that take updates")
        check_distinct("servers", [str(server) for server in self.servers])

    def _check_target(self) -> None:
        if self.target is not None:
            check_domain("target", self.target)
        if len(self.addresses) > MAX_ADDRESSES:
            raise SectionError("addresses", f"{len(self.addresses)} are more than {MAX_ADDRESSES}")
        for number, address in enumerate(self.addresses):
            if host_address(str(address)) is None:
                raise SectionError(f"addresses[{number}]", f"{address} is not an IP address without a port")
            if is_wildcard(str(address)):
                raise SectionError(f"addresses[{number}]", f"{address} is no address that leads to a host")
        check_distinct("addresses", [str(address) for address in self.addresses], same_domain)

    def _check_times(self) -> None:
        if not self.ttl.is_integer() or not 1 <= self.ttl <= MAX_TTL:
            raise SectionError("ttl", f"whole seconds, 1s to {MAX_TTL}")
        if not MIN_LEASE <= self.lease <= MAX_TTL:
            raise SectionError("lease", f"must be {MIN_LEASE} to {MAX_TTL}")
        check_timeout("timeout", self.timeout)
        if self.timeout >= self.lease / 3:
            raise SectionError("timeout", f"must be less than a third of lease, {self.lease}")

    def _check_services(self) -> None:
        if len(self.service) > MAX_SERVICES:
            raise SectionError("service", f"{len(self.service)} are more than {MAX_SERVICES}")
        for name in self.service:
            if not is_service(name):
                allowed = "1 to 62 of a-z, 0-9 and `-`, which neither begins nor ends it"
                raise SectionError("service", f"{name!r} is no name for a service: {allowed}")
            if name == ALL_NODES:
                raise SectionError("service", f"{name!r} is the service of all nodes, and there anyway")
