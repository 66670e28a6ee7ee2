"""``[gateway]``: the far end of hops, who may use it, and for what."""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec

from epmdless.addresses import EPMD_PORT
from epmdless.config.checks import check_glob, check_path
from epmdless.config.errors import SectionError
from epmdless.config.values import Address, Duration, GrantPorts, HostPattern, Port, Section
from epmdless.grants import Grant, Grants
from epmdless.rules import Glob

MAX_ALLOWS = 10_000
"""Entries; a file that holds more was made by a mistake."""

TlsVersion = Literal["1.3", "1.2"]

_NETWORK = re.compile(r"[0-9a-fA-F.:]+/[0-9]+")
_ADDRESSES = re.compile(r"[0-9a-fA-F.:*?]+")

Limit = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class GatewayTlsSection(Section, frozen=True):
    """``[gateway.tls]``: paths of files in PEM, read again when they change."""

    cert: str
    """The gateway's certificate, and those between it and its CA's."""
    key: str
    ca: str
    """Certificates to one of which a client's must chain."""
    min_version: TlsVersion = "1.3"

    def __post_init__(self) -> None:
        for key, path in (("cert", self.cert), ("key", self.key), ("ca", self.ca)):
            check_path(key, path, of_secret=key == "key")


class AllowSection(Section, frozen=True):
    """``[[gateway.allow]]``: allows a client some targets; what none allows is refused."""

    client: str
    """A glob over the names in the client's certificate (DNS names, URIs, IP addresses); without TLS, over
    its IP address."""
    hosts: tuple[HostPattern, ...]
    """Globs over host names, and networks. With both, a name must fit a glob and lead into a network."""
    ports: tuple[GrantPorts, ...]
    nodes: tuple[str, ...] = ("*",)
    """Globs over the far node: one with an ``@`` over its whole name, else over its alive name."""

    def __post_init__(self) -> None:
        check_glob("client", self.client)
        for key, items in (("hosts", self.hosts), ("ports", self.ports), ("nodes", self.nodes)):
            if not items:
                raise SectionError(key, "an empty list allows nothing: take the whole entry out for that")
        for number, glob in enumerate(self.nodes):
            check_glob(f"nodes[{number}]", glob)

    def build(self, number: int) -> Grant:
        """The grant that this section describes.

        :param number: the section's place in the file, from 0.
        """
        names = [pattern.text.removesuffix(".") for pattern in self.hosts if pattern.network is None]
        return Grant(
            number,
            Glob(self.client, ignore_case=True),
            tuple(Glob(name, ignore_case=True) for name in names),
            tuple(pattern.network for pattern in self.hosts if pattern.network is not None),
            tuple(range(ports.low, ports.high + 1) for ports in self.ports),
            tuple(map(Glob, self.nodes)),
        )


class GatewaySection(Section, frozen=True):
    """``[gateway]``: takes CONNECT requests from relays, and dials what they are allowed."""

    listen: Address
    epmd_port: Port = EPMD_PORT
    """Tunnels to this port are EPMD questions: only lookups and lists pass."""
    max_connections: Limit = 4096
    """All of them: handshakes, ready ones, tunnels."""
    max_handshakes: Limit = 256
    """Connections that have not proved who they are; one more and the oldest is shed."""
    max_tunnels_per_client: Limit = 1000
    max_requests_per_second: Limit = 200
    """By client address; as many may come at once."""
    request_timeout: Duration = Duration(5)
    """For the TLS handshake, and for a request's head once it began."""
    dial_timeout: Duration = Duration(5)
    ready_timeout: Duration = Duration(300)
    """How long an authenticated connection may wait before its first request."""
    drain: Duration = Duration(30)
    """At a stop, how long tunnels may go on; 0s: not at all."""
    tls: GatewayTlsSection | bool = True
    """Its own table, or false: clients are known by their IP address alone."""
    allow: tuple[AllowSection, ...] = ()

    def __post_init__(self) -> None:
        if self.listen.endpoint(0) != self.listen.endpoint(1):
            raise SectionError("listen", f'{self.listen} needs a port, as in "0.0.0.0:4370"')
        if self.tls is True:
            raise SectionError("tls", "needs a [gateway.tls] table with cert, key and ca, or tls = false")
        if not self.allow:
            raise SectionError("allow", "nobody could use it: it needs at least one [[gateway.allow]]")
        if len(self.allow) > MAX_ALLOWS:
            raise SectionError("allow", f"{len(self.allow)} are more than {MAX_ALLOWS}")
        if self.max_handshakes > self.max_connections:
            problem = f"{self.max_handshakes} are more than the {self.max_connections} of max_connections"
            raise SectionError("max_handshakes", problem)
        self._check_clients()
        self._check_times()

    @property
    def tls_table(self) -> GatewayTlsSection | None:
        """The table of TLS; None: without TLS."""
        return None if isinstance(self.tls, bool) else self.tls

    def build_grants(self) -> Grants:
        """What the entries allow."""
        return Grants([section.build(number) for number, section in enumerate(self.allow)])

    def _check_clients(self) -> None:
        """A pattern that no client can match was meant otherwise."""
        for number, entry in enumerate(self.allow):
            if _NETWORK.fullmatch(entry.client):
                problem = f'{entry.client!r} is a network; a pattern is needed, as in "10.9.1.*"'
                raise SectionError(f"allow[{number}].client", problem)
            if self.tls is False and not _ADDRESSES.fullmatch(entry.client):
                problem = f"{entry.client!r} fits no IP address, by which clients are known without TLS"
                raise SectionError(f"allow[{number}].client", problem)

    def _check_times(self) -> None:
        for key, duration in (
            ("request_timeout", self.request_timeout),
            ("dial_timeout", self.dial_timeout),
            ("ready_timeout", self.ready_timeout),
        ):
            if duration <= 0:
                raise SectionError(key, "must be more than 0s")
