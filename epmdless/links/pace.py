"""How fast links may go: token buckets, paid after the fact.

A flow takes a piece first and pays for it then: while its bucket is in debt, it waits. A piece is at most
what the rate gives in a quarter of a second, and no wait is longer than LONGEST_WAIT, however many flows
share the bucket: so a tick, or whatever else tells a node that the other lives, comes through in time.
"""

from __future__ import annotations

from collections.abc import Sequence

LONGEST_WAIT = 1.0
"""Seconds that one flow waits at the most before it may move another piece. A quarter of OTP's tick time
(net_ticktime 60 s, of which a quarter passes between ticks) would be 15 s; who sets a short one, 4 s say,
is served too."""

PIECE_SECONDS = 0.25
"""A piece is what the rate gives in this time."""

SMALLEST_PIECE = 4096
"""Bytes of the smallest piece."""

BURST_SECONDS = 0.25
"""What was not used is kept for so long."""


class Bucket:
    """Bytes that may pass now, of a rate; less than none is debt.

    :param rate: bytes a second.
    """

    __slots__ = ("_at", "_level", "rate")

    def __init__(self, rate: int, now: float) -> None:
        self.rate = rate
        self._level = 0.0
        self._at = now

    def level(self, now: float) -> float:
        """Bytes that may pass now."""
        self._level = min(self._level + (now - self._at) * self.rate, self.rate * BURST_SECONDS)
        self._at = now
        return self._level

    def pay(self, count: int) -> None:
        """Take bytes out."""
        self._level -= count


class Pace:
    """The buckets that one flow pays into: its own, and one that it shares."""

    __slots__ = ("_buckets", "piece")

    def __init__(self, buckets: Sequence[Bucket]) -> None:
        self._buckets = tuple(buckets)
        slowest = min(bucket.rate for bucket in buckets)
        self.piece = max(SMALLEST_PIECE, int(slowest * PIECE_SECONDS))
        """Bytes of one piece at the most."""

    def wait(self, now: float) -> float:
        """Seconds until the next piece may move; 0: now."""
        debt = max(-bucket.level(now) / bucket.rate for bucket in self._buckets)
        return min(max(debt, 0.0), LONGEST_WAIT)

    def pay(self, count: int) -> None:
        """Pay for a piece."""
        for bucket in self._buckets:
            bucket.pay(count)
