"""How fast links may go: token buckets, paid after the fact.

A flow takes a piece first and pays for it then. If that leaves a bucket in debt, the flow waits: for as long
as the debt takes to be made good, or less in the measure in which it took less than a piece. It then moves
its next piece whatever the others have done meanwhile: so each flow gets its turn, and all get the same.

The deeper the debt, the smaller the pieces: however many flows share a bucket, they come round within
LONGEST_WAIT, and a tick, or whatever else tells a node that the other lives, comes through in time. This
goes before the rate where flows are so many that the rate gives each less than SMALLEST_PIECE, or with TLS a
record, in that time.
"""

from __future__ import annotations

from collections.abc import Sequence

LONGEST_WAIT = 1.0
"""Seconds that one flow waits at the most before it may move another piece. A quarter of OTP's tick time
(net_ticktime 60 s, of which a quarter passes between ticks) would be 15 s; who sets a short one, 4 s say,
is served too."""

PIECE_SECONDS = 0.25
"""A piece is what the rate gives in this time, while there is no debt."""

SMALLEST_PIECE = 4096
"""Bytes of the smallest piece."""

BURST_SECONDS = 0.25
"""What was not used is kept for so long."""

DEEPEST_DEBT = 2 * LONGEST_WAIT
"""Seconds of the rate that are asked back at the most: more would hold up those who did not take it."""


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

    def piece(self, now: float) -> int:
        """Bytes of a piece now."""
        share = 1 + min(self.level(now) / self.rate, 0.0) / LONGEST_WAIT
        return max(SMALLEST_PIECE, int(self.rate * PIECE_SECONDS * share))

    def pay(self, count: int, now: float) -> float:
        """Take bytes out; seconds until who took them may take more."""
        piece = self.piece(now)
        self._level = max(self._level - count, -self.rate * DEEPEST_DEBT)
        return min(max(-self._level, 0.0) / self.rate * count / piece, LONGEST_WAIT)


class Pace:
    """The buckets that one flow pays into: its own, and one that it shares."""

    __slots__ = ("_buckets", "_next")

    def __init__(self, buckets: Sequence[Bucket]) -> None:
        self._buckets = tuple(buckets)
        self._next = float("-inf")

    def wait(self, now: float) -> float:
        """Seconds until the next piece may move; 0: now."""
        return max(self._next - now, 0.0)

    def piece(self, now: float) -> int:
        """Bytes of the next piece at the most."""
        return min(bucket.piece(now) for bucket in self._buckets)

    def pay(self, count: int, now: float) -> None:
        """Pay for a piece."""
        self._next = now + max(bucket.pay(count, now) for bucket in self._buckets)
