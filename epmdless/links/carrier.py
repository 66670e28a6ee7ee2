"""All links of the process, whoever set them up: counted, carried, watched and ended in one place.

The relay and the gateway each have a door of their own; what is through it is here.
"""

from __future__ import annotations

import heapq
import os
import select
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

import trio

from epmdless import metrics
from epmdless.links.accounts import Accounts
from epmdless.links.ends import End
from epmdless.links.following import Connection
from epmdless.links.link import Flow, Link, LinkTable
from epmdless.links.pump import Pump, reset
from epmdless.links.sockets import Carried, detached
from epmdless.links.views import unacknowledged, view
from epmdless.log import Log
from epmdless.metrics import Metrics
from epmdless.net.faults import note_fault
from epmdless.net.rounds import Rounds

HOUSEKEEPING = 5.0
"""Seconds between looks for links that are closed on one side only."""

HALF_CLOSED_SECONDS = 60.0
"""How long a link that one side has closed may go on without a byte being taken, as the kernel has it for
an orphan (tcp_fin_timeout). BEAM nodes never half-close; without this, the end of a link to a host that
vanished would wait for TCP to give up, some 15 minutes."""

LAST_WORDS = 2.0
"""Seconds of the drain time, at most a half, that are kept for delivering what was taken in."""

DELIVERY_LOOK = 0.02
"""Seconds between looks at whether it was."""


class Carrier:
    """Carries links until they end.

    :ivar links: all of them, those that are being set up included.
    :ivar setups: those that are being set up, the oldest first.
    :ivar freed: called after each end: there is room again.
    """

    def __init__(self, rounds: Rounds, counts: Metrics, log: Log) -> None:
        self._rounds = rounds
        self._log = log
        self.links = LinkTable()
        self.accounts = Accounts(self.links, counts, log)
        self.pump = Pump(rounds, self.settle, partial(note_fault, counts, log))
        self.pump.pause = self._pause
        self.setups: dict[Link, None] = {}
        self.freed: list[Callable[[], None]] = []
        self._empty = trio.Event()
        self._half_closed: dict[Link, tuple[int, float]] = {}
        self._pauses: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._earlier = trio.Event()
        counts.gauge(metrics.LINKS, lambda: len(self.links) - len(self.setups))
        counts.gauge(metrics.HANDSHAKES, lambda: len(self.setups))
        counts.gauge(metrics.RELAY_PIPES, lambda: self.pump.pipes.used)

    def __len__(self) -> int:
        return len(self.links)

    @property
    def descriptors(self) -> int:
        """Descriptors of links and pipes now, and what set-ups need."""
        return self.pump.descriptors + 2 * len(self.setups)

    def log_to(self, log: Log) -> None:
        """Log there from now on."""
        self._log = self.accounts.log = log

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look after links until cancelled; then all that are left end as drained."""
        try:
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._housekeep)
                self._nursery.start_soon(self._resume_paused)
                task_status.started()
        finally:
            self.close()

    def close(self) -> None:
        """End all links now."""
        self._cut_all()
        self.pump.close()

    # A link's life.

    def begin(self, link: Link) -> trio.CancelScope:
        """Note that a link is being set up; what its task runs in."""
        self.setups[link] = None
        link.setup = trio.CancelScope()
        self._rounds.hurry()
        return link.setup

    def set_up(self, link: Link) -> None:
        """Note that this is over, however it went."""
        self.setups.pop(link, None)
        link.setup = None

    def carry(
        self,
        link: Link,
        near: Connection,
        far: Connection,
        from_near: bytes,
        from_far: bytes,
        *,
        frames: bool,
    ) -> None:
        """Carry an established link from now on; it may be over at once.

        :param near, far: this object's to close.
        :param from_near, from_far: what was read already and belongs to the other side.
        """
        link.established = self._rounds.clock()
        self.accounts.note_established(link)
        here, there = self._taken(link, near), self._taken(link, far)
        if here is None or there is None:
            for side in (here, there):
                if side is not None:
                    reset(side.sock)
            self.settle(link)
            return
        self.pump.carry(
            link,
            here.sock,
            there.sock,
            from_near=from_near + here.rest,
            from_far=from_far + there.rest,
            frames=frames,
            near_tls=here.tls,
            far_tls=there.tls,
        )

    def _taken(self, link: Link, connection: Connection) -> Carried | None:
        """A side as the pump takes it; None: what came behind its handshake is no TLS, and it is closed."""
        try:
            return detached(connection)
        except OSError as error:
            connection.close()
            link.ends_as(End.TUNNEL_CUT)
            link.detail = link.detail or str(error)
            return None

    def settle(self, link: Link) -> None:
        """The last that happens to a link."""
        self.links.close(link)
        for tell in link.over:
            tell()
        self.accounts.settle(link, self._rounds.clock())
        for tell in self.freed:
            tell()
        if not self.links:
            self._empty.set()

    # Pauses.

    def _pause(self, seconds: float, go_on: Callable[[], None]) -> None:
        heapq.heappush(self._pauses, (self._rounds.clock() + seconds, next(self._numbers), go_on))
        self._earlier.set()

    async def _resume_paused(self) -> None:
        """Wake flows that went too fast, each in its time; they go on in the loop's rounds, as others do."""
        bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._rounds.handlers[bell] = _heard
        self._rounds.epoll.register(bell, select.EPOLLIN | select.EPOLLET)
        try:
            await self._keep_pauses(bell)
        finally:
            del self._rounds.handlers[bell]
            os.close(bell)

    async def _keep_pauses(self, bell: int) -> None:
        while True:
            now = self._rounds.clock()
            while self._pauses and self._pauses[0][0] <= now:
                self._rounds.again.append(heapq.heappop(self._pauses)[2])
                os.eventfd_write(bell, 1)  # an edge each: nobody needs to read it
            self._earlier = trio.Event()
            seconds = self._pauses[0][0] - self._rounds.clock() if self._pauses else float("inf")
            with trio.move_on_after(max(0.0, seconds)):
                await self._earlier.wait()

    # Ends.

    async def drain(self, seconds: float) -> None:
        """Let links go on for a time, deliver what was taken in, end them. Nobody may set up new ones."""
        last_words = min(LAST_WORDS, seconds / 2)
        deadline = trio.current_time() + seconds
        self._empty = trio.Event()
        if self.links:
            with trio.move_on_at(deadline - last_words):
                await self._empty.wait()
        for link in self.links:
            if link.flows is not None:
                self.pump.finish(link, End.DRAINED)
        with trio.move_on_at(deadline):
            while self.links:
                self._cut_delivered()
                await trio.sleep(DELIVERY_LOOK)
        self._cut_all()

    def end(self, link_id: int) -> bool:
        """End a link on an operator's word: what was taken in is delivered; whether there is such a link."""
        link = self.links.get(link_id)
        if link is None:
            return False
        if link.flows is None:
            link.give_up(End.ENDED)
        else:
            self.pump.finish(link, End.ENDED)
            self._nursery.start_soon(self._cut_after_last_words, link)
        return True

    async def _cut_after_last_words(self, link: Link) -> None:
        with trio.move_on_after(LAST_WORDS):
            while link.flows is not None and not _is_delivered(link):  # noqa: ASYNC110 - the kernel tells nobody
                await trio.sleep(DELIVERY_LOOK)
        self.pump.cut(link, End.ENDED)

    def _cut_all(self) -> None:
        for link in self.links:
            if link.flows is not None:
                self.pump.cut(link, End.DRAINED)

    def _cut_delivered(self) -> None:
        """End links whose last bytes have arrived."""
        for link in self.links:
            if link.finishing and link.flows is not None and _is_delivered(link):
                self.pump.cut(link, End.DRAINED)

    async def _housekeep(self) -> None:
        while True:
            await trio.sleep(HOUSEKEEPING)
            self._end_half_closed(self._rounds.clock())

    def _end_half_closed(self, now: float) -> None:
        """End links that one side has closed, and on which nothing has moved for long."""
        before, self._half_closed = self._half_closed, {}
        for link in self.links:
            if link.flows is None or not _is_half_closed(link, *link.flows):
                continue
            moved = sum(flow.count - flow.held - unacknowledged(flow.sink) for flow in link.flows)
            last, since = before.get(link, (moved, now))
            self._half_closed[link] = (moved, since if moved == last else now)
            if moved == last and now - since > HALF_CLOSED_SECONDS:
                self.pump.cut(link, link.end or End.INTERNAL, reset=True)

    # Looking inside.

    def views(self) -> list[dict[str, Any]]:
        """Each link as plain types."""
        now = self._rounds.clock()
        return [view(link, now) for link in self.links]


def _is_delivered(link: Link) -> bool:
    """Whether both sides have acknowledged all that they will get."""
    return all(flow.shut and not unacknowledged(flow.sink) for flow in link.flows or ())


def _is_half_closed(link: Link, out: Flow, back: Flow) -> bool:
    """Whether a side has closed; also one of whose end no read tells yet, since the other takes nothing."""
    for flow, code in ((out, End.NEAR_CLOSED), (back, End.FAR_CLOSED)):
        if flow.blocked and flow.hung_up:
            link.ends_as(code)
    return any(flow.ended or (flow.blocked and flow.hung_up) for flow in (out, back))


def _heard(fd: int, events: int) -> None:
    """The bell has rung, and the loop is awake: that is all that it is for."""
