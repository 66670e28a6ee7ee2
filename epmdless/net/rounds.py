"""Turns of the loop: one trio task waits for one inner epoll and handles its events in rounds.

All descriptors of the hot paths are in this epoll: lookups, registrations and the links of the relay.
trio arms its own epoll anew at each wait, which takes longer than to serve a lookup or to carry a
message: so while events come back to back, the next one is looked for before the turn is given away.

Between two looks the core is offered to others (sched_yield(2)). Where nobody wants it, that costs
nothing, and the core does not fall asleep, from which it would wake up late. Where somebody does, it is
often who sends the next event: and what he sends meanwhile is handled in one round.
"""

from __future__ import annotations

import os
import select
import time
from collections import deque
from collections.abc import Callable

import trio

EVENTS_A_ROUND = 256
"""Events handled before other trio tasks may get their turn: some 5 ms of work."""

AGAIN_A_ROUND = 32
"""Portions of work that was cut short before events and other trio tasks may get their turn: some 10 ms. A
portion is a MiB of a link's bulk, and there may be as many as there are links."""

BACK_TO_BACK = 0.0001
"""Seconds between events that count as back to back: what a client on this host needs from one answer
to its next question."""

BUSY_WITHIN = 3 * BACK_TO_BACK
"""Seconds between turns within which traffic counts as dense: then the next event is looked for, not
waited for. With less traffic than that, no time is spent on looking."""

LONGEST_TURN = 0.01
"""Seconds after which trio's other tasks get their turn, however many events keep coming: signals, timers,
the control socket and metrics can wait that long, and the turn itself costs 0.1 ms."""

SHORTEST_TURN = 0.0003
"""The same while tasks are in a hurry: the set-up of a link takes six turns, and a BEAM waits for it."""

HURRY_SECONDS = 0.05
"""How long a task that begins is in a hurry: after that it waits for somebody else, not for its turn."""

Events = list[tuple[int, int]]
"""Descriptors, and what epoll says of each."""

Handler = Callable[[int, int], None]


class Rounds:
    """Handles the events of an epoll.

    Events of one round may be about a descriptor that an earlier one closed, and that a new connection
    got since: a handler looks at the socket itself, and takes EAGAIN for an answer.

    :ivar epoll: to register descriptors with; closed by :meth:`close`.
    :ivar first: is given all events of a round, and returns those that are not its own: what comes most
        often is spared a call for each.
    :ivar handlers: who deals with a descriptor's events, given descriptor and events; what is not in it
        is the business of `otherwise`.
    :ivar failed: called with the descriptor and what a handler raised: a fault of ours.
    :ivar again: work that was cut short to let others have their turn; each is called once.
    :ivar now: seconds on the clock at the last look at the epoll.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.epoll = select.epoll()
        self.first: Callable[[Events], Events] = _all
        self.handlers: dict[int, Handler] = {}
        self.otherwise: Handler = _nobody
        self.failed: Callable[[int, Exception], None] = _raise
        self.again: deque[Callable[[], None]] = deque()
        self._hurried_until = 0.0
        self.clock = clock
        self.now = clock()

    async def run(self, delay: Callable[[], float] = lambda: 0.0) -> None:
        """Handle events until cancelled.

        :param delay: seconds to wait before each turn, 0 but where a test of a slow server wants it.
        """
        clock, idle_since, busy = self.clock, self.clock(), False
        while True:
            if self.again:
                await trio.lowlevel.checkpoint()
            else:
                await trio.lowlevel.wait_readable(self.epoll.fileno())
            if delay():
                await trio.sleep(delay())
            started = clock()
            self._round()
            if busy or self.again or started - idle_since < BUSY_WITHIN:
                busy = self._rounds_since(started)
            idle_since = clock()

    def hurry(self) -> None:
        """Give trio's tasks their turns sooner for a while: one begins that a node waits for."""
        self._hurried_until = self.clock() + HURRY_SECONDS

    def close(self) -> None:
        """Close the epoll; nobody may wait for it any more."""
        self.epoll.close()

    def _rounds_since(self, started: float) -> bool:
        """Go on with rounds as long as events come within BACK_TO_BACK, but not longer than a turn.

        :returns: whether it was the turn's length that ended it.
        """
        clock = self.clock
        now = clock()
        stop = now + BACK_TO_BACK
        while now - started < (SHORTEST_TURN if now < self._hurried_until else LONGEST_TURN):
            served = self._round()
            now = clock()
            if served:
                stop = now + BACK_TO_BACK
            elif now >= stop:
                return False
            else:
                os.sched_yield()
        return True

    def _round(self) -> int:
        """Handle the events that are there, and a portion each of some work that was cut short, in turn;
        returns how many there were."""
        events = self.epoll.poll(0, EVENTS_A_ROUND)
        served = len(events)
        if events:
            self.now = self.clock()
            events = self.first(events)
        handlers, otherwise = self.handlers, self.otherwise
        for fd, what in events:
            try:
                handlers.get(fd, otherwise)(fd, what)
            except Exception as error:  # noqa: BLE001 - one connection's fault must not end the server
                self.failed(fd, error)
        for _ in range(min(len(self.again), AGAIN_A_ROUND)):
            served += 1
            try:
                self.again.popleft()()
            except Exception as error:  # noqa: BLE001
                self.failed(-1, error)
        return served


def _all(events: Events) -> Events:
    return events


def _nobody(fd: int, events: int) -> None:
    """Events of a descriptor that was closed in this round."""


def _raise(fd: int, error: Exception) -> None:
    raise error
