"""The ports of stand-in addresses: which far node each leads to, and since when nobody needs it."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator

from epmdless import metrics
from epmdless.addresses import Endpoint
from epmdless.config import PortRange
from epmdless.errors import ListenError
from epmdless.log import Log
from epmdless.metrics import Metrics
from epmdless.net.listeners import endpoint_of, open_listeners
from epmdless.relay.routes import Route, RouteTable


class Opening:
    """A port that is open on a stand-in address.

    :ivar far_port: the port that is dialled on the far host.
    :ivar listed: it stands in the configuration, and is open for good.
    :ivar links: links and set-ups that came through it and live.
    :ivar idle_since: seconds on the caller's clock since the last of them ended, or it was looked up.
    """

    __slots__ = ("far_port", "idle_since", "links", "listed", "listener", "route", "where")

    def __init__(
        self, route: Route, far_port: int, listener: socket.socket, *, listed: bool, now: float
    ) -> None:
        self.route = route
        self.far_port = far_port
        self.listener = listener
        self.where = endpoint_of(listener)
        self.listed = listed
        self.links = 0
        self.idle_since = now


class Ports:
    """All openings. Their listeners are this object's to close.

    :param accept_on, stop_accepting: told each listener after it was opened, and before it is closed.
    """

    def __init__(
        self,
        counts: Metrics,
        log: Log,
        accept_on: Callable[[socket.socket], None],
        stop_accepting: Callable[[socket.socket], None],
    ) -> None:
        self._counts = counts
        self._log = log
        self._accept_on = accept_on
        self._stop_accepting = stop_accepting
        self._by_endpoint: dict[Endpoint, Opening] = {}
        self._by_far_port: dict[tuple[Route, int], Opening] = {}
        self._range: PortRange | None = None
        self._most = 0
        self._closed = False

    def __len__(self) -> int:
        return len(self._by_endpoint)

    def __iter__(self) -> Iterator[Opening]:
        return iter(list(self._by_endpoint.values()))

    def at(self, where: Endpoint) -> Opening | None:
        """The opening at an address and port."""
        return self._by_endpoint.get(where)

    def take_on(self, routes: RouteTable, port_range: PortRange, most: int, now: float) -> None:
        """Make the openings those of these routes: listed ports are opened, ports of routes that are gone
        are closed, all else stays.

        :param port_range: where further ports are taken from.
        :param most: how many may be open in all.
        :raises ListenError: a listed port cannot be had; then all is as it was.
        """
        wanted = {
            Endpoint(route.section.listen, port): route
            for route in routes
            for ports in route.section.ports
            for port in ports
            if route.section.listen is not None
        }
        missing = [where for where in wanted if where not in self._by_endpoint]
        opened = open_listeners(missing, [], may_be_none=True)
        self._range, self._most = port_range, most
        for opening in self:
            route = wanted.get(opening.where) or routes.by_key(opening.route.key)
            if route is None:
                self._close(opening)
            else:
                opening.listed = opening.where in wanted
                opening.far_port = opening.where.port if opening.listed else opening.far_port
                opening.route = route
        self._by_far_port = {(opening.route, opening.far_port): opening for opening in self}
        for listener in opened:
            where = endpoint_of(listener)
            self._add(Opening(wanted[where], where.port, listener, listed=True, now=now))

    def for_node(self, route: Route, far_port: int, now: float) -> int | None:
        """The port on the route's address that leads to a far node, opened if it is not open yet.

        :param far_port: where the node listens on the far host: the same number is taken if it is free.
        :returns: the port; None if none can be had.
        """
        if self._closed:
            return None
        opening = self._find(route, far_port) or self._open(route, far_port, now)
        if opening is None:
            return None
        opening.idle_since = now
        return opening.where.port

    def local_port(self, route: Route, far_port: int) -> int:
        """The port on our side if it is open, else the far one's number."""
        opening = self._find(route, far_port)
        return far_port if opening is None else opening.where.port

    def close_idle(self, now: float, idle: float) -> None:
        """Close the ports that were opened on demand and had no link for so many seconds."""
        for opening in self:
            if not opening.listed and not opening.links and now - opening.idle_since > idle:
                self._log.debug("port closed", address=str(opening.where), route=opening.route.label)
                self._close(opening)

    def close(self) -> None:
        """Close all, and open none any more."""
        self._closed = True
        for opening in self:
            self._close(opening)

    def _find(self, route: Route, far_port: int) -> Opening | None:
        assert route.section.listen is not None
        same = self._by_endpoint.get(Endpoint(route.section.listen, far_port))
        if same is not None and same.route is route and same.far_port == far_port:
            return same
        return self._by_far_port.get((route, far_port))

    def _open(self, route: Route, far_port: int, now: float) -> Opening | None:
        assert route.section.listen is not None
        assert self._range is not None
        if len(self) >= self._most and not self._make_room():
            self._none_left(route, far_port, "too many ports are open")
            return None
        problem = ""
        for port in (far_port, *self._range):
            where = Endpoint(route.section.listen, port)
            if where in self._by_endpoint:
                continue
            try:
                (listener,) = open_listeners([where], [])
            except ListenError as error:
                problem = str(error)
                if error.errno in (errno.EADDRINUSE, errno.EACCES):
                    continue
                break
            self._counts.count(metrics.ON_DEMAND, "same" if port == far_port else "other")
            self._log.info("port opened", address=str(where), route=route.label, far_port=far_port)
            return self._add(Opening(route, far_port, listener, listed=False, now=now))
        self._none_left(route, far_port, problem or "the port range is used up")
        return None

    def _none_left(self, route: Route, far_port: int, problem: str) -> None:
        self._counts.count(metrics.ON_DEMAND, "failed")
        self._log.error("no port for a far node", route=route.label, far_port=far_port, problem=problem)

    def _make_room(self) -> bool:
        """Close the port that was opened on demand and has been without links for longest."""
        idle = [opening for opening in self if not opening.listed and not opening.links]
        if not idle:
            return False
        self._close(min(idle, key=lambda opening: opening.idle_since))
        return True

    def _add(self, opening: Opening) -> Opening:
        self._by_endpoint[opening.where] = opening
        self._by_far_port[opening.route, opening.far_port] = opening
        self._accept_on(opening.listener)
        return opening

    def _close(self, opening: Opening) -> None:
        del self._by_endpoint[opening.where]
        if self._by_far_port.get((opening.route, opening.far_port)) is opening:
            del self._by_far_port[opening.route, opening.far_port]
        self._stop_accepting(opening.listener)
        opening.listener.close()
