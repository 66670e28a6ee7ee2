"""The relay: listeners, links that are being set up, links that the pump carries, and their end."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence

import trio

from epmdless.addresses import Endpoint, ListenPlan
from epmdless.config import RelaySection
from epmdless.errors import ListenError
from epmdless.hop.hops import Hops
from epmdless.links.carrier import Carrier
from epmdless.log import Log
from epmdless.metrics import Metrics
from epmdless.net.dialing import DialError, dial
from epmdless.net.listener_set import ListenerSet
from epmdless.net.listeners import endpoint_of, has_address
from epmdless.net.rounds import Rounds
from epmdless.policy import plain_address
from epmdless.relay.build import RouteBuilder
from epmdless.relay.door import Door, ServeEpmd
from epmdless.relay.face import StandInFace
from epmdless.relay.prepared import Prepared
from epmdless.relay.redirect import make_transparent
from epmdless.resolve.far import MAX_QUESTIONS, FarEpmd
from epmdless.resolve.outcomes import Resolver

HOUSEKEEPING = 5.0
"""Seconds between looks for idle ports."""


class Relay:
    """Sets up links for the routes in force.

    :param carrier: carries them.
    :param hops: the ways through gateways, by name.
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
        *,
        descriptor_limit: int,
        others: Callable[[], int],
        serve_epmd: ServeEpmd,
    ) -> None:
        self._rounds = rounds
        self._counts = counts
        self._log = log
        self._carrier = carrier
        self._hops = hops
        self._questions = trio.CapacityLimiter(MAX_QUESTIONS)
        self.in_force = self.prepare(RelaySection(), "", {}, log)
        self._transparent = ListenerSet([], log)
        self._door = Door(
            rounds,
            counts,
            log,
            carrier,
            hops,
            lambda: self.in_force,
            self.is_ours,
            descriptor_limit=descriptor_limit,
            others=others,
            serve_epmd=serve_epmd,
        )
        self._ports = self._door.ports

    # Configuration.

    def prepare(
        self, section: RelaySection, source: str, sources: Mapping[str, Resolver], log: Log
    ) -> Prepared:
        """Build what a configuration asks for, changing nothing yet.

        :param sources: the resolvers that routes share, by name.
        :raises ConfigError: something only this machine can know is wrong.
        """
        builder = RouteBuilder(
            section,
            source,
            sources,
            self._dial_epmd,
            self._epmd_through,
            self._questions,
            self._counts,
            log,
        )
        return Prepared(section, builder, builder.build(), section.build_rules(), log)

    def take_on(self, prepared: Prepared) -> None:
        """Make a configuration the one in force. Links are not touched: they go on by the rules that they
        were set up with.

        :raises ListenError: an address cannot be had; then all is as it was.
        """
        section, now = prepared.section, self._rounds.clock()
        plan = ListenPlan(() if section.transparent is None else (section.transparent.listen.endpoint(0),))
        self._ports.take_on(prepared.routes, section.port_range, section.max_ports, now)
        try:
            self._transparent.change(plan, self._listen_transparently)
        except ListenError:
            before = self.in_force
            self._ports.take_on(before.routes, before.section.port_range, before.section.max_ports, now)
            raise
        self.in_force = prepared
        self._log = self._door.log = prepared.log

    def _listen_transparently(self, listeners: Sequence[socket.socket]) -> None:
        for listener in listeners:
            if not make_transparent(listener):
                self._log.info("TPROXY needs CAP_NET_ADMIN; REDIRECT works without")
        self._door.redirected.listen_on(listeners)

    @property
    def faces(self) -> dict[Endpoint, StandInFace]:
        """What answers EPMD lookups on the stand-in addresses."""
        return {
            Endpoint(address, self.in_force.section.epmd_port): StandInFace(
                address, lambda: self.in_force.routes, self._ports, self._log, self._rounds.clock
            )
            for address in self.in_force.routes.addresses
        }

    @property
    def descriptors(self) -> int:
        """Descriptors that the relay holds now, but for those of links."""
        return len(self._ports)

    # Running.

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Set links up until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._housekeep)
                await nursery.start(self._door.serve)
                task_status.started()
        finally:
            self.close()

    def close(self) -> None:
        """Accept no more, and close the ports, too: a near node must not wait in the queue of one that nobody
        accepts on. Links that are being set up end: nothing was carried yet."""
        self._door.shut()
        self._ports.close()
        self._transparent.close()

    async def _housekeep(self) -> None:
        while True:
            await trio.sleep(HOUSEKEEPING)
            self._door.resume()
            self._ports.close_idle(self._rounds.clock(), self.in_force.section.idle_port)

    # Dialling.

    async def _dial_epmd(self, host: str, port: int) -> trio.SocketStream:
        try:
            return trio.SocketStream(await dial(host, port, self.is_ours))
        except DialError as error:
            raise OSError(str(error)) from None

    def _epmd_through(self, via: str, host: str, port: int) -> FarEpmd:
        return self._hops.far_epmd(via, host, port, self._counts, self._questions)

    def is_ours(self, host: str, port: int) -> bool:
        """Whether dialling there would lead back here."""
        ip = plain_address(host)
        if ip.is_unspecified:
            return True
        address = str(ip)
        if address in self.in_force.routes.addresses:
            return True
        return any(
            port == endpoint_of(listener).port and has_address(address)
            for listener in self._transparent.listeners
        )
