"""What the supervisor can do in the world: start programs, send signals, say a line."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import time
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from epmdless.supervisor import children, environment, probe
from epmdless.supervisor.orders import Orders
from epmdless.supervisor.readiness import Readiness
from epmdless.supervisor.signals import Inherited
from epmdless.supervisor.terminal import Terminal

LONGEST_PLAN = 1024 * 1024
"""Bytes. An environment as a whole is not longer than some MiB, and the plan is a few lines of it."""

INIT = 1
"""The process id of whoever has to reap everybody."""


class Plan(NamedTuple):
    """What ``epmdless env`` found out.

    :ivar host: the host part of this host's node names.
    :ivar variables: what the command gets besides our environment.
    """

    host: str
    variables: Mapping[str, str]


class PlanError(Exception):
    """What should be a plan is none."""


class Hands(Protocol):
    """What :class:`~epmdless.supervisor.states.Supervisor` asks for. What starts a program returns its
    process id, and raises OSError where no process can be made."""

    is_init: bool
    ignored: frozenset[int]

    def now(self) -> float: ...
    def start_plan(self) -> int: ...
    def read_plan(self) -> Plan: ...
    def start_question(self) -> int: ...
    def start_server(self, host: str) -> int: ...
    def start_command(self, variables: Mapping[str, str]) -> int: ...
    def kill(self, pid: int, number: int) -> None: ...
    def end_all_others(self) -> None: ...
    def say(self, text: str) -> None: ...


class RealHands:
    """The world as it is."""

    def __init__(self, orders: Orders, inherited: Inherited) -> None:
        self.is_init = os.getpid() == INIT
        self.ignored = inherited.ignored
        self.terminal = Terminal()
        self.readiness: Readiness | None = None
        self._orders = orders
        self._inherited = inherited
        self._environ = environment.given()
        self._plan = -1

    def now(self) -> float:
        """Seconds of the monotonic clock."""
        return time.monotonic()

    def start_plan(self) -> int:
        """Have the plan written into memory of ours."""
        self._plan = os.memfd_create("plan")
        said = {"RELEASE_COMMAND": self._orders.helper, "RELEASE_ROOT": self._orders.release}
        environ = environment.for_ours(self._environ, **{name: text for name, text in said.items() if text})
        return children.start_ours(self._orders.plan, environ, stdout=self._plan)

    def read_plan(self) -> Plan:
        """Read what the plan's program has written, once it has ended.

        :raises PlanError: it is no plan.
        """
        data = os.pread(self._plan, LONGEST_PLAN, 0)
        os.close(self._plan)
        try:
            plan = json.loads(data)
            return Plan(str(plan["host"]), {str(name): str(text) for name, text in plan["variables"].items()})
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise PlanError("epmdless env has printed no plan") from None

    def start_question(self) -> int:
        """Ask in a child whether an EPMD server answers; status 0 says that one does."""
        return children.start_function(lambda: probe.is_served(self._orders.epmd_port), probe.LIMIT_SECONDS)

    def start_server(self, host: str) -> int:
        """Start the EPMD server; `readiness` will tell when it serves."""
        self.forget_readiness()
        self.readiness = Readiness()
        more = {"EPMDLESS_HOST": host, "NOTIFY_SOCKET": self.readiness.address}
        return children.start_ours(self._orders.server, environment.for_ours(self._environ, **more))

    def forget_readiness(self) -> None:
        """No more is to be heard of the server."""
        if self.readiness is not None:
            self.readiness.close()
            self.readiness = None

    def start_command(self, variables: Mapping[str, str]) -> int:
        """Start the command, in the terminal's foreground if that is where we are."""
        environ = self._environ | environment.encoded(variables)
        return children.start_command(self._orders.command, environ, self._inherited, self.terminal)

    def kill(self, pid: int, number: int) -> None:
        """Send a signal to a child that has not been reaped; one that runs as another user may be out of
        reach."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)

    def end_all_others(self) -> None:
        """Ask everybody else to end, which only PID 1 may."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(-1, signal.SIGTERM)

    def say(self, text: str) -> None:
        """Write a line to stderr, if that takes it at once: nobody may stop PID 1 by not reading."""
        line = f"epmdless: {text}\n".encode(errors="backslashreplace")
        stderr = select.poll()
        stderr.register(2, select.POLLOUT)
        with contextlib.suppress(OSError):
            if any(event & select.POLLOUT for _, event in stderr.poll(0)):
                os.write(2, line)
