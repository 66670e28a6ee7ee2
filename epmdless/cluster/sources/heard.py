"""Who was heard of late, in a place where anybody may speak: bounded, and without a clock of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator

from epmdless.cluster.peers import MAX_NAMES

MAX_HEARD = MAX_NAMES
"""Names that are remembered at once. Those that come when there are as many are not taken: no stranger can
push out who is there."""

MAX_MARKS = 32_768
"""Packets that are remembered, so as to know them again: those of 1,000 nodes in 80 seconds, in 3 MB."""


class Heard:
    """Names, and when each was last heard.

    :param expire: seconds of silence after which a name is forgotten.
    :ivar version: changes whenever a name comes or goes.
    """

    def __init__(self, expire: float) -> None:
        self.version = 0
        self._expire = expire
        self._last: dict[str, float] = {}
        """The longest silent first."""
        self._deaf = -math.inf

    def __iter__(self) -> Iterator[str]:
        return iter(self._last)

    def __contains__(self, name: str) -> bool:
        return name in self._last

    def __len__(self) -> int:
        return len(self._last)

    def hear(self, name: str, now: float) -> bool:
        """Take in a name.

        :returns: False: it is new, and there is no room.
        """
        if self._last.pop(name, None) is None:
            if len(self._last) >= MAX_HEARD:
                return False
            self.version += 1
        self._last[name] = now
        return True

    def was_deaf(self, now: float) -> None:
        """Silence up to now was perhaps our own fault, and tells nothing of anybody."""
        self._deaf = now

    def forget_silent(self, now: float) -> None:
        """Forget who was silent for too long."""
        while self.next_end() <= now:
            del self._last[next(iter(self._last))]
            self.version += 1

    def next_end(self) -> float:
        """When the next name will have been silent for too long; infinity: there is none."""
        for last in self._last.values():
            return max(last, self._deaf) + self._expire
        return math.inf


class Marks:
    """What tells one packet from all others, of those that came last."""

    def __init__(self) -> None:
        self._seen: dict[bytes, None] = {}

    def is_new(self, mark: bytes) -> bool:
        """Whether it is seen for the first time; from then on it is not."""
        if mark in self._seen:
            return False
        if len(self._seen) >= MAX_MARKS:
            del self._seen[next(iter(self._seen))]
        self._seen[mark] = None
        return True
