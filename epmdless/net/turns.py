"""Turns at what takes time: one at a time, and those who ask in turn, however often each asks."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


class Turns:
    """Gives turns, one at a time.

    Each is given in a round of trio's own, so that whatever else is in the loop goes on in between.
    """

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, deque[trio.Event]] = OrderedDict()
        self._is_taken = False

    @asynccontextmanager
    async def turn(self, who: str) -> AsyncIterator[None]:
        """Wait for a turn, and have it for as long as the context lasts.

        :param who: what shares a place in the queue.
        """
        if self._is_taken:
            await self._wait(who)
        self._is_taken = True
        try:
            yield
        finally:
            self._give()

    async def _wait(self, who: str) -> None:
        given = trio.Event()
        self._waiting.setdefault(who, deque()).append(given)
        try:
            await given.wait()
        except BaseException:
            if given.is_set():
                self._give()  # it came too late
            else:
                self._leave(who, given)
            raise

    def _leave(self, who: str, given: trio.Event) -> None:
        queue = self._waiting[who]
        queue.remove(given)
        if not queue:
            del self._waiting[who]

    def _give(self) -> None:
        """Give the turn to the next: of those who wait, who did so longest has his; then he is the last."""
        if not self._waiting:
            self._is_taken = False
            return
        who, queue = self._waiting.popitem(last=False)
        queue.popleft().set()
        if queue:
            self._waiting[who] = queue
