"""What the supervisor does when: all decisions, and nothing that waits.

::

    planning ──► starting ──► running ──► stopping ──► over
        └────────────┴─────────────────────────┘   a signal that ends us, or a failure
"""

from __future__ import annotations

import signal
from typing import Literal

from epmdless.supervisor.hands import Hands, Plan, PlanError
from epmdless.supervisor.orders import Orders
from epmdless.supervisor.server import EXIT_CONFIG, EXIT_FAILURE, Server
from epmdless.supervisor.signals import ENDING

PLAN_SECONDS = 30.0
"""For ``epmdless env``: it gives itself 3 s for what it asks, and a small container some for its start."""

ORPHAN_SECONDS = 3.0
"""What is left in a container has so long after SIGTERM: an orchestrator waits for 10 s or 30 s in all."""

MOST_EARLY = 128
"""Signals kept for a command that has not started; more of them would be a flood."""

BY_SIGNAL = 128
"""A shell's exit status for a signal is this and its number."""


class Supervisor:
    """Runs the orders. The caller tells what happens, and does nothing else.

    :ivar command: the command's process id; None: it does not run.
    :ivar status: the exit status once it is known; None before.
    """

    def __init__(self, hands: Hands, orders: Orders) -> None:
        self.command: int | None = None
        self.status: int | None = None
        self.server = Server(hands)
        self._phase: Literal["planning", "starting", "running", "stopping"] = "planning"
        self._hands = hands
        self._orders = orders
        self._plan_pid: int | None = None
        self._plan = Plan("", {})
        self._early: list[int] = []
        self._plan_due: float | None = None
        self._kill_due: float | None = None
        self._orphans_due: float | None = None

    @property
    def due(self) -> float | None:
        """When :meth:`passed` wants to be called, in the clock of the hands; None: never."""
        times = (self._plan_due, self._kill_due, self._orphans_due, self.server.due)
        return min((time for time in times if time is not None), default=None)

    def is_over(self, *, is_childless: bool) -> bool:
        """Whether nothing is left to wait for.

        :param is_childless: no child is left, our own or adopted.
        """
        if self._phase != "stopping" or self._plan_pid is not None or not self.server.is_gone:
            return False
        return is_childless or self._orphans_due is None

    def begin(self) -> None:
        """Start with the plan: both the command and the server need it."""
        try:
            self._plan_pid = self._hands.start_plan()
        except OSError as error:
            self._fail(f"cannot start: {error.strerror or error}", EXIT_FAILURE)
        else:
            self._plan_due = self._hands.now() + PLAN_SECONDS

    def signalled(self, number: int) -> None:
        """Somebody sent a signal to us that is meant for the command."""
        if self._phase == "running":
            self._pass_on(number)
        elif self._phase == "stopping":
            if number in ENDING:
                self.server.hurry()
        elif number in ENDING and number not in self._hands.ignored:
            self._end(BY_SIGNAL + number)
        elif len(self._early) < MOST_EARLY:
            self._early.append(number)

    def child_ended(self, pid: int, status: int) -> None:
        """A child has been reaped: one of ours, or an adopted one.

        :param status: its exit status, or minus the signal that ended it.
        """
        if pid == self._plan_pid:
            self._plan_pid = None
            self._plan_due = None
            if self._phase == "planning":
                self._planned(status)
        elif pid == self.command:
            self.command = None
            self._kill_due = None
            self._end(status if status >= 0 else BY_SIGNAL - status)
        else:
            self.server.ended(pid, status)
            self._look_at_server()

    def server_ready(self) -> None:
        """The server has said that it serves."""
        self.server.told_ready()
        self._look_at_server()

    def passed(self) -> None:
        """The time `due` has come, for one thing or more."""
        now = self._hands.now()
        if self._plan_due is not None and self._plan_due <= now:
            self._plan_due = None
            self._fail(f"epmdless env has not ended within {PLAN_SECONDS:g} s", EXIT_CONFIG)
        if self._kill_due is not None and self._kill_due <= now and self.command is not None:
            self._kill_due = None
            self._hands.kill(self.command, signal.SIGKILL)
        if self._orphans_due is not None and self._orphans_due <= now:
            self._orphans_due = None
        if self.server.due is not None and self.server.due <= now:
            self.server.passed()
            self._look_at_server()

    def _planned(self, status: int) -> None:
        if status > 0:
            self._end(EXIT_CONFIG)  # it has said why
            return
        if status < 0:
            self._fail(f"epmdless env was ended by signal {-status}", EXIT_CONFIG)
            return
        try:
            self._plan = self._hands.read_plan()
        except PlanError as error:
            self._fail(str(error), EXIT_CONFIG)
            return
        self._phase = "starting"
        self.server.begin(self._plan.host)
        self._look_at_server()

    def _look_at_server(self) -> None:
        if self._phase != "starting":
            return
        if self.server.failed is not None:
            self._end(self.server.failed)
        elif self.server.is_settled:
            self._run()

    def _run(self) -> None:
        try:
            self.command = self._hands.start_command(self._plan.variables)
        except OSError as error:
            self._fail(f"the command cannot be started: {error.strerror or error}", EXIT_FAILURE)
            return
        if self.server.pid is None and not self._orders.helper:
            self._hands.say(
                f"an EPMD server answers on port {self._orders.epmd_port} already: none is started"
            )
        self._phase = "running"
        for number in self._early:
            self._pass_on(number)
        self._early.clear()

    def _pass_on(self, number: int) -> None:
        assert self.command is not None, "it runs, and has not been reaped"
        self._hands.kill(self.command, number)
        if number in ENDING:
            self.server.may_end = True
        if number == signal.SIGTERM and self._orders.kill_after is not None and self._kill_due is None:
            self._kill_due = self._hands.now() + self._orders.kill_after

    def _fail(self, what: str, status: int) -> None:
        self._hands.say(what)
        self._end(status)

    def _end(self, status: int) -> None:
        """The exit status is known: end all that is left."""
        self.status = status
        self._phase = "stopping"
        self._plan_due = None
        if self._plan_pid is not None:
            self._hands.kill(self._plan_pid, signal.SIGKILL)
        if self._hands.is_init:
            self._hands.end_all_others()
            self._orphans_due = self._hands.now() + ORPHAN_SECONDS
        self.server.stop(is_told=self._hands.is_init)
