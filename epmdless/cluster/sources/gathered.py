"""What a question that is asked again and again was answered with, now and a while ago."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

T = TypeVar("T")


class Gathered(Generic[T]):
    """The items of the last answers to one question, by what they are told apart by.

    Time passes only by answers: while nobody answers, nothing that was known grows old. So the first answer
    after ten minutes without one, of eight records where there are forty, takes nobody away.

    :param seconds: for which an item is remembered that answers do not name any more; 0: not at all.
    :param longest: seconds that may pass from one answer to the next; more do not count.
    :ivar items: all that are remembered; not to be changed.
    """

    def __init__(self, seconds: float, longest: float) -> None:
        self._seconds = seconds
        self._longest = longest
        self._time = 0.0
        self._answered: float | None = None
        self._last: Mapping[str, T] = {}
        self._seen: dict[str, float] = {}
        self.items: dict[str, T] = {}

    @property
    def is_answered(self) -> bool:
        """Whether there ever was an answer, be it "nobody"."""
        return self._answered is not None

    def take(self, found: Mapping[str, T], now: float) -> None:
        """Take in an answer; of an item that was there before, the newer one counts."""
        if self._answered is not None:
            self._time += min(now - self._answered, self._longest)
        self._answered = now
        self._last = found
        self._seen.update(dict.fromkeys(found, self._time))
        self.items |= found
        self._forget(self._time - self._seconds)

    def forget(self) -> None:
        """Drop all but what the last answer named."""
        self._forget(self._time)

    def _forget(self, until: float) -> None:
        """Drop what no answer named after this time."""
        for key in [key for key, seen in self._seen.items() if seen <= until and key not in self._last]:
            del self._seen[key], self.items[key]
