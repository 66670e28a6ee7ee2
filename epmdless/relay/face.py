"""The EPMD of far hosts, as near nodes see it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import trio

from epmdless.errors import ResolveError
from epmdless.log import Log
from epmdless.relay.ports import Ports
from epmdless.relay.routes import Route, RouteTable
from epmdless.resolve.chain import Chain
from epmdless.resolve.far import FarEpmd
from epmdless.resolve.outcomes import Found, Query
from epmdless.wire.epmd_replies import MISS, encode_names_reply, encode_port_reply

NO_ANSWER = b""
"""Instead of a list when the far host's cannot be had: the connection closes. An empty list would say
that nobody is there."""


class StandInFace:
    """Answers on a stand-in address: with ports of the same address that lead to the far nodes."""

    def __init__(
        self,
        address: str,
        routes: Callable[[], RouteTable],
        ports: Ports,
        log: Log,
        clock: Callable[[], float],
    ) -> None:
        self._address = address
        self._routes = routes
        self._ports = ports
        self._log = log
        self._clock = clock

    async def look_up(self, name: str) -> bytes:
        """The far node's own answer, but for its port."""
        route = self._routes().for_name(self._address, name)
        if route is None or route.chain is None:
            return MISS
        assert route.section.host is not None
        outcome = await route.chain.answer(Query(name, route.section.host))
        if not isinstance(outcome, Found):
            return MISS
        port = self._ports.for_node(route, outcome.node.port, self._clock())
        return MISS if port is None else encode_port_reply(replace(outcome.node, port=port))

    async def names(self, port: int) -> bytes:
        """The lists of all far hosts that this address stands in for."""
        lists: list[list[tuple[str, int]]] = []

        async def ask(route: Route, far: FarEpmd) -> None:
            try:
                nodes = (await far.names()).nodes
            except ResolveError as error:
                self._log.warning("source failed", resolver=far.name, route=route.label, error=str(error))
                return
            lists.append(
                [
                    (alive, self._ports.local_port(route, p))
                    for alive, p in nodes
                    if route.names.matches(alive)
                ]
            )

        asked = 0
        async with trio.open_nursery() as nursery:
            for route in self._routes().at(self._address):
                if route.far is not None:
                    asked += 1
                    nursery.start_soon(ask, route, route.far)
        if asked and not lists:
            return NO_ANSWER
        return encode_names_reply(port, [node for nodes in lists for node in nodes])


class RedirectedFace:
    """Answers for a host whose EPMD port was dialled and redirected here: with its own ports, which are
    redirected in turn."""

    def __init__(self, address: str, route: Route, chain: Chain, far: FarEpmd | None, log: Log) -> None:
        self._address = address
        self._route = route
        self._chain = chain
        self._far = far
        self._log = log

    async def look_up(self, name: str) -> bytes:
        """The answer of the route's chain."""
        if not self._route.names.matches(name):
            return MISS
        outcome = await self._chain.answer(Query(name, self._address))
        return outcome.answer if isinstance(outcome, Found) else MISS

    async def names(self, port: int) -> bytes:
        """The host's own list."""
        if self._far is None:
            return encode_names_reply(port, [])
        try:
            nodes = (await self._far.names()).nodes
        except ResolveError as error:
            self._log.warning("source failed", resolver=self._far.name, host=self._address, error=str(error))
            return NO_ANSWER
        return encode_names_reply(port, [node for node in nodes if self._route.names.matches(node[0])])
