"""Sources that have to be asked again and again: when they are, and what becomes of a failure."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence

import trio

from epmdless.cluster.peers import Known, LookError, Peer, Say

LONGEST_PAUSE = 30.0
"""Seconds between two attempts while a source fails, or its interval where that is longer. A pause that
went on growing would keep a cluster apart long after the source is back."""

JITTER = 0.1
"""By how much of itself an interval is shortened at random: many hosts that started together come to ask
at different times. Never lengthened: a node that appears is seen after one interval at the latest."""

Look = Callable[[], Awaitable[Sequence[Peer] | Known]]
"""Asks once. Raises LookError where there is no answer."""


async def poll(look: Look, interval: float, say: Say, rng: Callable[[], float] = random.random) -> None:
    """Ask at once, and then again and again, until cancelled.

    :param interval: seconds between two attempts while they succeed.
    :param rng: a number in [0, 1).
    """
    failures = 0
    while True:
        try:
            found = await look()
        except LookError as error:
            failures += 1
            say(error.unknown)
        else:
            failures = 0
            say(found if isinstance(found, Known) else Known(tuple(found)))
        await trio.sleep(pause(interval, failures, rng()))


def pause(interval: float, failures: int, chance: float) -> float:
    """Seconds until the next attempt.

    :param failures: attempts that failed since the last one that did not.
    :param chance: a number in [0, 1).
    """
    if not failures:
        return interval * (1 - JITTER * chance)
    longest = max(interval, LONGEST_PAUSE)
    grown: float = interval * 2 ** min(failures - 1, 10)
    return min(grown, longest) * (1 - chance / 2)
