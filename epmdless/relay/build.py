"""Routes made from a configuration, and what only this machine can say against them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import trio

from epmdless.config import RelaySection, RouteSection
from epmdless.errors import ConfigError
from epmdless.log import Log
from epmdless.metrics import Metrics
from epmdless.net.cookies import read_cookie
from epmdless.net.listeners import has_address
from epmdless.relay.routes import Cookies, Route, RouteTable
from epmdless.resolve.chain import Chain
from epmdless.resolve.far import FarEpmd
from epmdless.resolve.outcomes import Resolver
from epmdless.rules import Glob

Dial = Callable[[str, int], Awaitable[trio.SocketStream]]
"""Connects to a host and port; raises DialError."""

Through = Callable[[str, str, int], FarEpmd]
"""The EPMD server behind a hop: the hop's name, host and port."""


class RouteBuilder:
    """Builds routes and the chains that they need.

    :param sources: the resolvers that all routes share, by name.
    :param dial: connects to far EPMD servers.
    :param through: makes those that are asked through a hop.
    """

    def __init__(
        self,
        section: RelaySection,
        source: str,
        sources: Mapping[str, Resolver],
        dial: Dial,
        through: Through,
        limit: trio.CapacityLimiter,
        counts: Metrics,
        log: Log,
    ) -> None:
        self._section = section
        self._source = source
        self._sources = sources
        self._dial = dial
        self._through = through
        self._limit = limit
        self._counts = counts
        self._log = log

    def build(self) -> RouteTable:
        """Build all routes.

        :raises ConfigError: this machine does not have a stand-in address, or a cookie file is not as it
            must be.
        """
        return RouteTable([self._route(n, route) for n, route in enumerate(self._section.route)])

    def chain_to(self, section: RouteSection, host: str) -> tuple[Chain, FarEpmd | None]:
        """The chain of a route for one far host, and that host's EPMD server if it stands in it.

        :param host: where it really is.
        """
        far = None
        if "epmd" in section.resolve:
            port = self._section.epmd_port
            if section.via is None:
                far = FarEpmd(lambda: self._dial(host, port), self._counts, self._limit)
            else:
                far = self._through(section.via, host, port)
        resolvers = [far if name == "epmd" else self._sources[name] for name in section.resolve]
        return Chain([r for r in resolvers if r is not None], (), self._log), far

    def _route(self, number: int, section: RouteSection) -> Route:
        key = f"relay.route[{number}]"
        cookies = None
        if section.cookie_near is not None and section.cookie_far is not None:
            cookies = Cookies(
                self._cookie(section.cookie_near, f"{key}.cookie_near"),
                self._cookie(section.cookie_far, f"{key}.cookie_far"),
            )
        names = Glob(section.names)
        if section.listen is None:
            return Route(section, cookies, names)
        if not has_address(section.listen):
            problem = f"{section.listen} is not an address of this machine; add it to an interface first"
            raise ConfigError(self._source, f"{key}.listen", problem)
        chain, far = self.chain_to(section, section.dial or section.host or "")
        return Route(section, cookies, names, chain, far)

    def _cookie(self, path: str, key: str) -> bytes:
        try:
            return read_cookie(path, key)
        except ConfigError as error:
            raise ConfigError(self._source, key, f"{error.source}: {error.problem}") from None
