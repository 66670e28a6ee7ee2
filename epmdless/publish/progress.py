"""How publishing goes: since when, what failed, and when the next attempt is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from epmdless.log import Log
from epmdless.resolve.dns_update import UpdateError
from epmdless.resolve.update_reasons import REASONS

SHORTEST_PAUSE = 1.0
"""Seconds after the first attempt that failed; doubled each time."""

LONGEST_PAUSE = 60.0
"""Seconds between two attempts: a server that was down for a day must not be left alone for an hour. Less
with a short lease, which must not run out because one attempt failed."""

REFRESHES = 3
"""Of a lease, within its time."""

JITTER = 0.1
"""By how much of itself the time to the next refresh is shortened at random: hosts that started together come
to write at different times."""


class Progress:
    """Times are the monotonic clock's, in seconds.

    :param log: gives the log; it may change.
    :param chance: a number in [0, 1).
    """

    def __init__(self, log: Callable[[], Log], zone: str, lease: float, chance: Callable[[], float]) -> None:
        self._log = log
        self._zone = zone
        self._lease = lease
        self._chance = chance
        self._failures = 0
        self._failing_since = 0.0
        self._retry_at = float("-inf")
        self.error: UpdateError | None = None
        self.refresh_at = float("-inf")
        self.last_success: float | None = None

    def hurry(self, lease: float) -> None:
        """All is to be written anew, at once; whether it fails stays as it is known.

        :param lease: seconds, from now on.
        """
        self._lease = lease
        self._failures = 0
        self._retry_at = self.refresh_at = float("-inf")

    def is_due(self, now: float, *, is_changed: bool) -> bool:
        """Whether it is time for an attempt; while it fails, changes wait for the next one.

        :param is_changed: there is something new to write.
        """
        if self.error is not None:
            return now >= self._retry_at
        return is_changed or now >= self.refresh_at

    def refreshed(self, now: float) -> None:
        """All was written, and all that is there was read."""
        self.refresh_at = now + self._lease / REFRESHES * (1 - JITTER * self._chance())

    def succeeded(self, now: float, nodes: int) -> None:
        """An attempt went well."""
        if self.error is not None:
            after = round(now - self._failing_since, 1)
            self._log().info("publishing works again", zone=self._zone, nodes=nodes, after=after)
        elif self.last_success is None:
            self._log().info("published", zone=self._zone, nodes=nodes)
        self.error, self._failures, self.last_success = None, 0, now

    def failed(self, error: UpdateError, now: float) -> None:
        """An attempt failed; that is told once."""
        if self.error is None:
            self._failing_since = now
            self._log().warning(
                "publishing fails", zone=self._zone, reason=error.reason, detail=_one_line(error)
            )
        longest = min(LONGEST_PAUSE, self._lease / REFRESHES)
        pause = min(SHORTEST_PAUSE * 2 ** min(self._failures, 10), longest)
        self.error = error
        self._failures += 1
        self._retry_at = now + pause * (1 - self._chance() / 2)

    def view(self, now: float) -> dict[str, Any]:
        """How it goes, in terms of JSON."""
        error = self.error
        is_known = self.last_success is not None
        due = self._retry_at if error else self.refresh_at
        return {
            "state": "failing" if error else "published" if is_known else "starting",
            "reason": error.reason if error else None,
            "detail": _one_line(error) if error else None,
            "failing_for": now - self._failing_since if error else None,
            "age": None if self.last_success is None else now - self.last_success,
            "next": max(0.0, due - now) if error or is_known else None,
        }


def _one_line(error: UpdateError) -> str:
    return str(error) or REASONS.get(error.reason, error.reason)
