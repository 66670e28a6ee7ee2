"""Steps that are taken, each within its time, and how they went."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from epmdless.doctor.report import LIMITS, Finding, Step, StepName

T = TypeVar("T")

Watch = Callable[[StepName], None]
"""Told of each step as it begins."""

GRACE = 1.0
"""Seconds beyond its limit until a step is given up: it keeps to the limit by itself, and says what is up."""


class Steps:
    """Steps that were taken.

    :param watch: told of each as it begins.
    """

    def __init__(self, watch: Watch) -> None:
        self.taken: dict[StepName, Step] = {}
        self._watch = watch

    async def take(self, name: StepName, step: Awaitable[tuple[T, Finding]]) -> T | None:
        """Take a step, and note how it went; None where its time was up."""
        self._watch(name)
        began, value = trio.current_time(), None
        finding = Finding("failed", f"no end of it within {LIMITS[name]:g} s", ("try again",))
        with trio.move_on_after(LIMITS[name] + GRACE):
            value, finding = await step
        self.note(name, finding, trio.current_time() - began)
        return value

    def note(self, name: StepName, finding: Finding, seconds: float | None) -> None:
        """Note how a step went."""
        self.taken[name] = Step(name, finding, seconds)

    @property
    def failed(self) -> Step | None:
        """The first that failed."""
        return next((step for step in self.taken.values() if step.finding.verdict == "failed"), None)
