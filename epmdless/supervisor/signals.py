"""Signals: all are blocked and waited for, and a child gets them as we were given them."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from typing import NamedTuple

ALL = frozenset(int(number) for number in signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}
"""What can be blocked. The signals of a fault are among them, for whoever sends one with kill(2): a fault
itself ends a process all the same."""

ENDING = frozenset(map(int, (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)))
"""What asks a program to end that does not know better."""

PYTHON_IGNORES = frozenset(map(int, (signal.SIGPIPE, signal.SIGXFSZ)))
"""What the interpreter ignores from its start on. How it was before, it does not tell: the default."""


class Inherited(NamedTuple):
    """How signals were when this process was started.

    :ivar blocked: the signal mask.
    :ivar ignored: the signals that were ignored, as ``nohup`` does it.
    """

    blocked: frozenset[int]
    ignored: frozenset[int]


_before: list[frozenset[int]] = []


def hold() -> None:
    """Block all signals. They wait, across execve too, until somebody looks."""
    _before.append(frozenset(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, ALL))))


def before_hold() -> frozenset[int]:
    """The signals that were blocked before the first :func:`hold`, or are now."""
    return _before[0] if _before else frozenset(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, ())))


def take_over(blocked: Iterable[int]) -> Inherited:
    """Make the dispositions such that signals can be waited for and children be reaped.

    :param blocked: the mask before :func:`hold`.
    """
    hold()
    ignored = {number for number in ALL - PYTHON_IGNORES if signal.getsignal(number) is signal.SIG_IGN}
    for number in (signal.SIGCHLD, signal.SIGINT):  # an ignored SIGCHLD would have the kernel reap
        signal.signal(number, signal.SIG_DFL)
    return Inherited(frozenset(blocked), frozenset(ignored))


def give_back(inherited: Inherited) -> None:
    """In a child, before execve: signals as this process was given them."""
    for number in PYTHON_IGNORES:
        signal.signal(number, signal.SIG_DFL)
    for number in inherited.ignored:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, inherited.blocked)


def give_defaults() -> None:
    """In a child that is ours, before execve: nothing blocked, nothing ignored."""
    for number in ALL:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def from_kernel(info: signal.struct_siginfo) -> bool:
    """Whether no process sent this signal: a terminal did, or a descriptor that has something to read."""
    return info.si_code > 0


def from_ourselves(info: signal.struct_siginfo, pid: int) -> bool:
    """Whether our own writing raised it: SIGPIPE at a stderr that nobody reads."""
    return info.si_code <= 0 and info.si_pid == pid
