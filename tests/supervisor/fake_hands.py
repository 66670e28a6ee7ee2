"""Hands that write down what they are told, and a clock that stands still until it is moved."""

import errno
import signal
from collections.abc import Mapping

from epmdless.supervisor.hands import Plan, PlanError

HOST = "b1.internal"
VARIABLES = {"RELEASE_NODE": "shop-9001@b1.internal"}


class FakeHands:
    """Process ids count up from 100; `deeds` is what was done, in words."""

    def __init__(self, *, is_init: bool = False, ignored: frozenset[int] = frozenset()) -> None:
        self.is_init = is_init
        self.ignored = ignored
        self.clock = 1000.0
        self.deeds: list[str] = []
        self.said: list[str] = []
        self.plan: Plan | None = Plan(HOST, VARIABLES)
        self.no_process_for = ""
        self._pid = 99

    def done(self) -> list[str]:
        """What was done since this was asked last."""
        deeds, self.deeds = self.deeds, []
        return deeds

    def _started(self, what: str, detail: str = "") -> int:
        if self.no_process_for == what:
            raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
        self._pid += 1
        self.deeds.append(" ".join(filter(None, (what, str(self._pid), detail))))
        return self._pid

    def now(self) -> float:
        return self.clock

    def start_plan(self) -> int:
        return self._started("plan")

    def read_plan(self) -> Plan:
        if self.plan is None:
            raise PlanError("no plan")
        return self.plan

    def start_question(self) -> int:
        return self._started("question")

    def start_server(self, host: str) -> int:
        return self._started("server", host)

    def start_command(self, variables: Mapping[str, str]) -> int:
        assert variables == VARIABLES
        return self._started("command")

    def kill(self, pid: int, number: int) -> None:
        self.deeds.append(f"{signal.Signals(number).name} {pid}")

    def end_all_others(self) -> None:
        self.deeds.append("SIGTERM to all")

    def say(self, text: str) -> None:
        self.said.append(text)
