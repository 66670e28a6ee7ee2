"""The relay: listeners, links that are being set up, links that the pump carries, and their end."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import trio

from epmdless.addresses import Endpoint, ListenPlan
from epmdless.config import RelaySection
from epmdless.errors import ListenError
from epmdless.log import Log
from epmdless.metrics import Metrics
from epmdless.net.dialing import DialError, dial
from epmdless.net.listener_set import ListenerSet
from epmdless.net.listeners import endpoint_of, has_address
from epmdless.net.rounds import Rounds
from epmdless.policy import plain_address
from epmdless.relay.build import RouteBuilder
from epmdless.relay.door import Door, ServeEpmd
from epmdless.relay.ends import End
from epmdless.relay.face import StandInFace
from epmdless.relay.links import Link
from epmdless.relay.prepared import Prepared
from epmdless.relay.redirect import make_transparent
from epmdless.relay.views import unacknowledged, view
from epmdless.resolve.far import MAX_QUESTIONS
from epmdless.resolve.outcomes import Resolver

HOUSEKEEPING = 5.0
"""Seconds between looks for idle ports and links that are closed on one side only."""

HALF_CLOSED_SECONDS = 60.0
"""How long a link that one side has closed may go on without a byte being taken, as the kernel has it for
an orphan (tcp_fin_timeout). BEAM nodes never half-close; without this, the end of a link to a host that
vanished would wait for TCP to give up, some 15 minutes."""

LAST_WORDS = 2.0
"""Seconds of the drain time, at most a half, that are kept for delivering what was taken in."""

DELIVERY_LOOK = 0.02
"""Seconds between looks at whether it was."""


class Relay:
    """Carries links for the routes in force.

    :param descriptor_limit: the process's limit on file descriptors.
    :param others: descriptors that others in the process hold now.
    :param serve_epmd: takes over connections that were redirected from a far host's EPMD port.
    """

    def __init__(
        self,
        rounds: Rounds,
        counts: Metrics,
        log: Log,
        *,
        descriptor_limit: int,
        others: Callable[[], int],
        serve_epmd: ServeEpmd,
    ) -> None:
        self._rounds = rounds
        self._counts = counts
        self._log = log
        self._questions = trio.CapacityLimiter(MAX_QUESTIONS)
        self.in_force = self.prepare(RelaySection(), "", {}, log)
        self._transparent = ListenerSet([], log)
        self._half_closed: dict[Link, tuple[int, float]] = {}
        self._door = Door(
            rounds,
            counts,
            log,
            lambda: self.in_force,
            self._is_ours,
            descriptor_limit=descriptor_limit,
            others=others,
            serve_epmd=serve_epmd,
        )
        self._links, self._pump, self._ports = self._door.links, self._door.pump, self._door.ports

    # Configuration.

    def prepare(
        self, section: RelaySection, source: str, sources: Mapping[str, Resolver], log: Log
    ) -> Prepared:
        """Build what a configuration asks for, changing nothing yet.

        :param sources: the resolvers that routes share, by name.
        :raises ConfigError: something only this machine can know is wrong.
        """
        builder = RouteBuilder(section, source, sources, self._dial_epmd, self._questions, self._counts, log)
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
        self._log = self._door.log = self._door.accounts.log = prepared.log

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
        """Descriptors that the relay holds now."""
        return self._door.descriptors

    def __len__(self) -> int:
        return len(self._links)

    # Running.

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Carry links until cancelled; then all that are left end as drained."""
        try:
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._housekeep)
                await self._nursery.start(self._door.serve)
                task_status.started()
        finally:
            self.close()

    def close(self) -> None:
        """End all links now, and close all listeners."""
        self._stop_listening()
        self._cut_all()
        self._pump.close()

    def _stop_listening(self) -> None:
        """Close the ports, too: a near node must not wait in the queue of one that nobody accepts on."""
        self._door.shut()
        self._ports.close()
        self._transparent.close()

    async def drain(self, seconds: float) -> None:
        """Accept no more, let links go on for a time, deliver what was taken in, end them.

        Links that are being set up end at once: nothing was carried yet.
        """
        last_words = min(LAST_WORDS, seconds / 2)
        self._stop_listening()
        deadline = trio.current_time() + seconds
        self._door.empty = trio.Event()
        if self._links:
            with trio.move_on_at(deadline - last_words):
                await self._door.empty.wait()
        for link in self._links:
            if link.flows is not None:
                self._pump.finish(link, End.DRAINED)
        with trio.move_on_at(deadline):
            while self._links:
                self._cut_delivered()
                await trio.sleep(DELIVERY_LOOK)
        self._cut_all()

    def _cut_all(self) -> None:
        for link in self._links:
            if link.flows is not None:
                self._pump.cut(link, End.DRAINED)

    def _cut_delivered(self) -> None:
        """End links whose last bytes have arrived."""
        for link in self._links:
            if link.finishing and link.flows is not None and _is_delivered(link):
                self._pump.cut(link, End.DRAINED)

    async def _housekeep(self) -> None:
        while True:
            await trio.sleep(HOUSEKEEPING)
            self._door.resume()
            now = self._rounds.clock()
            self._ports.close_idle(now, self.in_force.section.idle_port)
            self._end_half_closed(now)

    def _end_half_closed(self, now: float) -> None:
        """End links that one side has closed, and on which nothing has moved for long."""
        before, self._half_closed = self._half_closed, {}
        for link in self._links:
            if link.flows is None or not any(flow.ended for flow in link.flows):
                continue
            moved = sum(flow.count - flow.held - unacknowledged(flow.sink) for flow in link.flows)
            last, since = before.get(link, (moved, now))
            self._half_closed[link] = (moved, since if moved == last else now)
            if moved == last and now - since > HALF_CLOSED_SECONDS:
                self._pump.cut(link, link.end or End.INTERNAL, reset=True)

    # Looking inside.

    def views(self) -> list[dict[str, Any]]:
        """Each link as plain types."""
        now = self._rounds.clock()
        return [view(link, now) for link in self._links]

    def end(self, link_id: int) -> bool:
        """End a link on an operator's word: what was taken in is delivered; whether there is such a link."""
        link = self._links.get(link_id)
        if link is None:
            return False
        if link.flows is None:
            self._door.give_up(link, End.ENDED)
        else:
            self._pump.finish(link, End.ENDED)
            self._nursery.start_soon(self._cut_after_last_words, link)
        return True

    async def _cut_after_last_words(self, link: Link) -> None:
        with trio.move_on_after(LAST_WORDS):
            while link.flows is not None and not _is_delivered(link):  # noqa: ASYNC110 - the kernel tells nobody
                await trio.sleep(DELIVERY_LOOK)
        self._pump.cut(link, End.ENDED)

    # Dialling.

    async def _dial_epmd(self, host: str, port: int) -> trio.SocketStream:
        try:
            return trio.SocketStream(await dial(host, port, self._is_ours))
        except DialError as error:
            raise OSError(str(error)) from None

    def _is_ours(self, host: str, port: int) -> bool:
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


def _is_delivered(link: Link) -> bool:
    """Whether both sides have acknowledged all that they will get."""
    return all(flow.shut and not unacknowledged(flow.sink) for flow in link.flows or ())
