"""The relay's door: what comes in, the limits it meets, and its set-up, until the pump has it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from socket import SocketType
from typing import Any

import trio

from epmdless import metrics
from epmdless.addresses import Endpoint
from epmdless.errors import LinkError
from epmdless.hop.hops import Hops
from epmdless.hop.trouble import HopError, Trouble
from epmdless.links.carrier import Carrier
from epmdless.links.ends import End
from epmdless.links.following import Connection
from epmdless.links.link import Link
from epmdless.log import Log
from epmdless.metrics import Metrics
from epmdless.net.accepting import Acceptor, Listener
from epmdless.net.dialing import DialError, dial
from epmdless.net.faults import note_fault
from epmdless.net.listeners import usable_descriptors
from epmdless.net.plain import PlainConnection, trio_socket
from epmdless.net.rounds import Rounds
from epmdless.net.tls.connection import TlsConnection
from epmdless.policy import plain_address
from epmdless.relay.face import RedirectedFace
from epmdless.relay.ports import Opening, Ports
from epmdless.relay.prepared import Prepared
from epmdless.relay.redirect import original_destination
from epmdless.relay.routes import Target
from epmdless.relay.setup import Means, Ready, SetUp

_ENDS = {
    Trouble.REFUSED: End.REFUSED_BY_GATEWAY,
    Trouble.UNKNOWN: End.TARGET_UNKNOWN,
    Trouble.DIAL_REFUSED: End.DIAL_REFUSED,
    Trouble.TIMED_OUT: End.DIAL_TIMED_OUT,
    Trouble.BUSY: End.GATEWAY_BUSY,
    Trouble.DOWN: End.GATEWAY_DOWN,
}

ServeEpmd = Callable[[SocketType, str, int, RedirectedFace], None]
"""Takes over a connection to a redirected EPMD port: socket, peer, port, what answers."""


class Door:
    """Accepts connections, refuses those that are too many, and sets the others up.

    :param in_force: the configuration in force.
    :param is_ours: whether dialling an address and port would lead back here.
    :param descriptor_limit: the process's limit on file descriptors.
    :param others: descriptors that others in the process hold now.
    :param serve_epmd: takes over connections that were redirected from a far host's EPMD port.
    """

    def __init__(
        self,
        rounds: Rounds,
        counts: Metrics,
        log: Log,
        carrier: Carrier,
        hops: Hops,
        in_force: Callable[[], Prepared],
        is_ours: Callable[[str, int], bool],
        *,
        descriptor_limit: int,
        others: Callable[[], int],
        serve_epmd: ServeEpmd,
    ) -> None:
        self._rounds = rounds
        self._counts = counts
        self.log = log
        self._in_force = in_force
        self._is_ours = is_ours
        self._capacity = usable_descriptors(descriptor_limit)
        self._others = others
        self._serve_epmd = serve_epmd
        self._carrier = carrier
        self._links = carrier.links
        self._hops = hops
        self._setups: dict[Link, None] = {}
        carrier.freed.append(self.resume)
        room: dict[str, Any] = {"is_full": self._is_full, "make_room": self._give_up_one}
        self._acceptor = Acceptor(rounds, counts, log, take=self._accepted, **room)
        self.redirected = Acceptor(rounds, counts, log, take=self._accepted_redirected, **room)
        self.ports = Ports(counts, log, self._acceptor.add, self._acceptor.remove)
        self._setup_seconds = counts.histogram(metrics.SETUP_SECONDS)
        self._dial_seconds = counts.histogram(metrics.DIAL_SECONDS)
        counts.gauge(metrics.RELAY_PORTS, lambda: len(self.ports))

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Set links up until cancelled."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    def resume(self) -> None:
        """Look at the listeners again, if a shortage made that stop."""
        self._acceptor.resume()
        self.redirected.resume()

    def shut(self) -> None:
        """Accept no more; links that are being set up end at once: nothing was carried yet."""
        self._acceptor.listen_on([])
        self.redirected.listen_on([])
        for link in self._setups:
            link.give_up(End.DRAINED)

    # Accepting.

    def _accepted(self, sock: SocketType, address: tuple[str, int], listener: Listener) -> None:
        opening = self.ports.at(Endpoint(listener.host, listener.port))
        if opening is None:
            sock.close()
            return
        route = opening.route
        target = Target(route, route.dial_host, opening.far_port)
        self._begin(sock, address, target, opening)

    def _accepted_redirected(self, sock: SocketType, address: tuple[str, int], listener: Listener) -> None:
        """A connection that netfilter redirected: its original destination is the target."""
        where = original_destination(sock)
        if where is None:
            sock.close()
            return
        route = self._in_force().routes.for_destination(where.host)
        if route is None or self._is_ours(where.host, where.port):
            self._refuse(sock, address, str(where), End.TARGET_UNKNOWN, f"no route for {where}")
        elif where.port == self._in_force().section.epmd_port:
            chain, far = self._in_force().builder.chain_to(route.section, where.host)
            face = RedirectedFace(where.host, route, chain, far, self.log)
            self._serve_epmd(sock, address[0], where.port, face)
        else:
            self._begin(sock, address, Target(route, where.host, where.port), None)

    def _begin(
        self, sock: SocketType, address: tuple[str, int], target: Target, opening: Opening | None
    ) -> None:
        """Have a task set a link up, if there is room."""
        link = self._open_link(address, target.route.label)
        problem = self._lack_of_room(link)
        if problem is not None:
            self._end_early(link, sock, End.REFUSED_BY_LIMIT, problem)
            return
        if len(self._setups) >= self._in_force().section.max_handshakes:
            self._shed()
        if opening is not None:
            opening.links += 1
            link.over.append(partial(self._leave, opening))
        self._setups[link] = None
        self._carrier.begin(link)
        self._nursery.start_soon(self._set_up, link, sock, target)

    def _open_link(self, address: tuple[str, int], label: str) -> Link:
        host = str(plain_address(address[0]))
        return self._links.open(label, host, str(Endpoint(host, address[1])), self._rounds.clock())

    def _lack_of_room(self, link: Link) -> str | None:
        """Which limit a new link, which is in the table already, would pass."""
        if len(self._links) > self._in_force().section.max_links:
            return "max_links"
        if self._links.of_address(link.near_host) > self._in_force().section.max_links_per_address:
            return "max_links_per_address"
        if self._carrier.descriptors + 2 + len(self.ports) + self._others() > self._capacity:
            return "descriptors"
        return None

    def _refuse(self, sock: SocketType, address: tuple[str, int], route: str, code: End, detail: str) -> None:
        self._end_early(self._open_link(address, route), sock, code, detail)

    def _end_early(self, link: Link, sock: SocketType, code: End, detail: str) -> None:
        sock.close()
        link.ends_as(code)
        link.detail = detail
        self._carrier.settle(link)

    def _is_full(self) -> bool:
        return False  # a link that is too many is refused with a code, and not left to wait

    def _give_up_one(self) -> bool:
        """Make room when descriptors ran out.

        :returns: False: there is room only once the link's task has ended; then :meth:`resume` is called.
        """
        self._shed()
        return False

    def _shed(self) -> None:
        """End the oldest link that is being set up."""
        oldest = next((link for link in self._setups if link.end is None and not link.acknowledged), None)
        if oldest is not None:
            oldest.give_up(End.SHED)

    # Setting up.

    async def _set_up(self, link: Link, sock: SocketType, target: Target) -> None:
        scope, handed_over = link.setup, False
        assert scope is not None, "it was begun"
        near = trio_socket(sock)
        try:
            scope.deadline = trio.current_time() + self._in_force().section.setup_timeout
            self._in_force().options.apply(near)
            connection = PlainConnection(near)
            setup = SetUp(link, connection, target, self._means(link))
            with scope:
                ready = await setup.run()
                handed_over = True
                self._established(link, ready)
                return
            link.ends_as(setup.phase)
        except LinkError as error:
            link.ends_as(End(error.code))
            link.detail = error.detail
        except Exception as error:  # noqa: BLE001 - one link's fault must not end the others
            note_fault(self._counts, self.log, error)
            link.ends_as(End.INTERNAL)
        finally:
            del self._setups[link]
            self._carrier.set_up(link)
            if not handed_over:
                near.close()
                link.ends_as(End.DRAINED)  # cancelled from outside
                self._carrier.settle(link)

    def _established(self, link: Link, ready: Ready) -> None:
        """Hand a link over to the pump."""
        self._setup_seconds.observe(self._rounds.clock() - link.opened)
        frames = self._in_force().section.frames and not link.tls
        self._carrier.carry(link, ready.near, ready.far, ready.from_near, ready.from_far, frames=frames)

    def _means(self, link: Link) -> Means:
        prepared = self._in_force()
        passes_tls = prepared.routes.passes_tls
        return Means(prepared.rules, self._dial_target, self._target_of_host, passes_tls, self._has_room_for)

    def _has_room_for(self, link: Link) -> bool:
        """Count a link on the address that a load balancer told of it."""
        return self._links.move(link) <= self._in_force().section.max_links_per_address

    def _target_of_host(self, target: Target, host: str) -> Target | None:
        """The target for a host that TLS names: of the routes that share the address, the one for it."""
        listen = target.route.section.listen
        if listen is None or target.route.is_for_host(host):
            return target
        route = self._in_force().routes.for_host(listen, host)
        return None if route is None else Target(route, route.dial_host, target.port)

    async def _dial_target(self, link: Link, target: Target) -> Connection:
        """Connect to a target, directly or through its route's hop.

        :raises LinkError: it is not to be had.
        """
        started = self._rounds.clock()
        via = target.route.section.via
        connection = await (self._dial(target) if via is None else self._dial_through(via, link, target))
        self._dial_seconds.observe(self._rounds.clock() - started)
        self._in_force().options.apply(connection.sock)
        return connection

    async def _dial(self, target: Target) -> PlainConnection:
        try:
            return PlainConnection(await dial(target.host, target.port, self._is_ours))
        except DialError as error:
            code = End.TARGET_UNKNOWN if error.unknown else End.DIAL_REFUSED
            raise LinkError(End.REFUSED_BY_LIMIT if error.shortage else code, str(error)) from None

    async def _dial_through(self, via: str, link: Link, target: Target) -> PlainConnection | TlsConnection:
        link.hop, link.tunnel = via, f"{self._hops.id}-{link.id}"
        try:
            hop = self._hops[via]
            tunnel = await hop.tunnel(target.host, target.port, link.tunnel)
        except HopError as error:
            if error.trouble is Trouble.DIAL_REFUSED and target.route.far is not None:
                target.route.far.forget()
            raise LinkError(_ENDS[error.trouble], str(error)) from None
        link.gateway = tunnel.gateway
        link.paces = hop.paces(self._rounds.clock())
        link.over.append(tunnel.release)
        return tunnel.connection

    def _leave(self, opening: Opening) -> None:
        opening.links -= 1
        opening.idle_since = self._rounds.clock()
