"""Turns of the loop: one trio task waits for an inner epoll and handles its events in rounds.

trio arms its own epoll anew at each wait, which takes longer than to serve a lookup: so while events
come back to back, the next one is looked for before the turn is given away.
"""

from __future__ import annotations

import select
from collections.abc import Callable

import trio

EVENTS_A_ROUND = 256
"""Events handled before other trio tasks may get their turn: some 5 ms of work."""

BACK_TO_BACK = 0.0001
"""Seconds between events that count as back to back: what a client on this host needs from one answer
to its next question."""

BUSY_WITHIN = 3 * BACK_TO_BACK
"""Seconds between turns within which traffic counts as dense: then the next event is looked for, not
waited for. With less traffic than that, no time is spent on looking."""

LONGEST_TURN = 0.002
"""Seconds after which trio's other tasks get their turn, however many events keep coming."""


class Rounds:
    """Handles the events of an epoll.

    :param handle: called with the descriptor of each event. Events of one round may be about a
        descriptor that an earlier one closed, and that a new connection got since: the handler looks
        at the socket itself, and takes EAGAIN for an answer.
    :param failed: called with the descriptor and what `handle` raised: a fault of ours.
    :param clock: seconds.
    """

    def __init__(
        self,
        epoll: select.epoll,
        handle: Callable[[int], None],
        failed: Callable[[int, Exception], None],
        clock: Callable[[], float],
    ) -> None:
        self._epoll = epoll
        self._handle = handle
        self._failed = failed
        self._clock = clock

    async def run(self, delay: Callable[[], float]) -> None:
        """Handle events until cancelled.

        :param delay: seconds to wait before each turn, 0 but where a test of a slow server wants it.
        """
        idle_since, busy = self._clock(), False
        while True:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            if delay():
                await trio.sleep(delay())
            started = self._clock()
            self._round()
            if busy or started - idle_since < BUSY_WITHIN:
                busy = self._rounds_until(started + LONGEST_TURN)
            idle_since = self._clock()

    def _rounds_until(self, end: float) -> bool:
        """Go on with rounds as long as events come within BACK_TO_BACK, but not past `end`.

        :returns: whether it was the end that ended it.
        """
        now = self._clock()
        stop = now + BACK_TO_BACK
        while now < stop and now < end:
            served = self._round()
            now = self._clock()
            if served:
                stop = now + BACK_TO_BACK
        return now >= end

    def _round(self) -> int:
        """Handle the events that are there; returns how many."""
        events = self._epoll.poll(0, EVENTS_A_ROUND)
        for fd, _ in events:
            try:
                self._handle(fd)
            except Exception as error:  # noqa: BLE001 - one connection's fault must not end the server
                self._failed(fd, error)
        return len(events)
