"""Waiting for something to become true, never longer than a deadline."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PAUSE = 0.01
"""Seconds between two looks."""

PATIENCE = 4
"""How many times longer than named is waited: a busy machine stalls, and a deadline is no measurement."""


class DeadlineError(AssertionError):
    """What was waited for did not happen in time."""


def eventually(look: Callable[[], T | None], *, within: float, what: str | Callable[[], str]) -> T:
    """Call `look` until it returns something true, and return that.

    `within` is in seconds, as it takes on a machine that is not busy; PATIENCE times that is waited.
    `what` names the thing waited for, or makes its name when it is needed.
    Raises DeadlineError when the time is up; whatever `look` raises goes through at once.
    """
    patience = PATIENCE * within
    end = time.monotonic() + patience
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() >= end:
            name = what if isinstance(what, str) else what()
            raise DeadlineError(f"waited {patience:g} s in vain for {name}; last seen: {seen!r}")
        time.sleep(PAUSE)
