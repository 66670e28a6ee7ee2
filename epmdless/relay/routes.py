"""Routes in force: what the configuration says about far hosts, with all that it names at hand."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from epmdless.addresses import Endpoint
from epmdless.config import RouteSection
from epmdless.policy import plain_address
from epmdless.resolve.chain import Chain
from epmdless.resolve.far import FarEpmd
from epmdless.rules import Glob


@dataclass(frozen=True, slots=True)
class Cookies:
    """The cookies that a route bridges; never shown."""

    near: bytes = field(repr=False)
    far: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """A route.

    :ivar chain: finds the ports of far nodes; None for a `net` route, where each target has its own.
    :ivar far: the far host's EPMD server, if it is asked.
    """

    section: RouteSection
    cookies: Cookies | None
    names: Glob
    chain: Chain | None = None
    far: FarEpmd | None = None

    @property
    def label(self) -> str:
        """The route's name, for people."""
        return self.section.host or str(self.section.net)

    @property
    def key(self) -> tuple[str | None, str | None, str]:
        """What makes it the same route after a reload."""
        return (self.section.listen, self.section.host, self.section.names)

    @property
    def dial_host(self) -> str:
        """Where the far host really is."""
        assert self.section.host is not None, "a route without a host has no fixed target"
        return self.section.dial or self.section.host

    @property
    def rewrites(self) -> bool:
        """Whether the handshake is changed on its way; TLS hides it."""
        return self.section.hidden or self.cookies is not None

    def is_for_host(self, host: str | None) -> bool:
        """Whether a node name's host part is this route's; a `net` route takes any."""
        return self.section.host is None or (host or "").casefold() == self.section.host.casefold()


class RouteTable:
    """All routes, found by stand-in address or by original destination."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self.routes = tuple(routes)
        self._by_address: dict[str, list[Route]] = {}
        self._nets: list[Route] = []
        for route in routes:
            if route.section.listen is not None:
                self._by_address.setdefault(route.section.listen, []).append(route)
            else:
                self._nets.append(route)

    def __iter__(self) -> Iterator[Route]:
        return iter(self.routes)

    @property
    def addresses(self) -> tuple[str, ...]:
        """The stand-in addresses."""
        return tuple(self._by_address)

    def at(self, address: str) -> Sequence[Route]:
        """The routes that share a stand-in address."""
        return self._by_address.get(address, ())

    def for_name(self, address: str, alive: str) -> Route | None:
        """The route of a far node by its alive name."""
        return next((route for route in self.at(address) if route.names.matches(alive)), None)

    def for_host(self, address: str, host: str) -> Route | None:
        """The route of a far host by its name, which TLS distribution tells."""
        return next((route for route in self.at(address) if route.is_for_host(host)), None)

    def passes_tls(self, route: Route) -> bool:
        """Whether TLS may pass on a route: not where it, or another route to the same host that shares its
        address, changes handshakes; through the other's port a node could dodge that."""
        listen = route.section.listen
        same_host = [
            other
            for other in (() if listen is None else self.at(listen))
            if other.dial_host.casefold() == route.dial_host.casefold()
        ]
        return route.section.tls and not any(each.rewrites for each in (route, *same_host))

    def for_destination(self, address: str) -> Route | None:
        """The route of an original destination: of several networks none holds another's address."""
        ip: ipaddress.IPv4Address | ipaddress.IPv6Address = plain_address(address)
        return next(
            (route for route in self._nets if route.section.net is not None and ip in route.section.net), None
        )

    def by_key(self, key: tuple[str | None, str | None, str]) -> Route | None:
        """The stand-in route that is the same as one of an earlier configuration."""
        return next((route for route in self.at(key[0] or "") if route.key == key), None)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a link goes.

    :ivar host: what is dialled: a name or an address.
    """

    route: Route
    host: str
    port: int

    def __str__(self) -> str:
        return str(Endpoint(self.host, self.port))
