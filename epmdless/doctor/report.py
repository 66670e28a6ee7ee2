"""What a walk found out: a step after the other, and where the way ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from epmdless.names import printable

StepName = Literal["name", "dns", "epmd", "tcp", "tls", "handshake", "identity", "cookie", "round_trip"]

STEPS: tuple[StepName, ...] = get_args(StepName)
"""In the order of the way."""

Verdict = Literal["ok", "warning", "failed", "skipped"]

FIRST_STATUS = 10
"""Below are those of every command: 1 it could not be done, 2 the configuration is wrong."""

EXIT_STATUS: Mapping[StepName, int] = {name: FIRST_STATUS + number for number, name in enumerate(STEPS)}
"""With which the command ends where the way ends at this step; 0: it does not."""

LIMITS: Mapping[StepName, float] = {
    "name": 1.0,  # it asks nobody
    "dns": 5.0,  # the system's resolver gives up one server after that
    "epmd": 10.0,  # 3 s for the connection, 5 s for the answer, 2 s for the list of names
    "tcp": 5.0,  # room for the SYN to be sent three times
    "tls": 3.0,
    "handshake": 7.0,  # a node's own `net_setuptime`
    "identity": 1.0,  # the node said it in the handshake
    "cookie": 7.0,
    "round_trip": 5.0,
}
"""Seconds for each step, whatever the other side does."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of a step.

    :ivar said: one line for people.
    :ivar advice: what to do, a line each.
    :ivar details: for programs; plain values.
    """

    verdict: Verdict
    said: str
    advice: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


NOT_REACHED = Finding("skipped", "not reached")


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the walk.

    :ivar seconds: that it took; None: it was not taken.
    """

    name: StepName
    finding: Finding
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """A whole walk; every step is there, in order."""

    node: str
    steps: Sequence[Step]

    @property
    def ended_at(self) -> Step | None:
        """Where a connection ends; None: it gets there."""
        return next((step for step in self.steps if step.finding.verdict == "failed"), None)

    @property
    def status(self) -> int:
        """Of the command."""
        return 0 if self.ended_at is None else EXIT_STATUS[self.ended_at.name]

    @property
    def advice(self) -> list[str]:
        """What to do, about the step where the way ends first."""
        first = self.ended_at
        steps = sorted(self.steps, key=lambda step: step is not first)
        return list(dict.fromkeys(line for step in steps for line in step.finding.advice))

    def to_json(self) -> dict[str, Any]:
        """The same for programs. Nothing in it can command a terminal."""
        plain = {
            "node": self.node,
            "status": self.status,
            "ended_at": self.ended_at and self.ended_at.name,
            "steps": [_step_to_json(step) for step in self.steps],
            "advice": self.advice,
        }
        cleaned: dict[str, Any] = _cleaned(plain)
        return cleaned


def _step_to_json(step: Step) -> dict[str, Any]:
    taken = None if step.seconds is None else round(step.seconds * 1000, 3)
    return {
        "step": step.name,
        "verdict": step.finding.verdict,
        "said": step.finding.said,
        "milliseconds": taken,
        **step.finding.details,
    }


def _cleaned(value: Any) -> Any:
    """The value with the control characters of every text in it as escapes."""
    match value:
        case str():
            return printable(value)
        case Mapping():
            return {key: _cleaned(item) for key, item in value.items()}
        case list() | tuple():
            return [_cleaned(item) for item in value]
    return value
