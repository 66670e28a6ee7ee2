"""The one place where the supervisor waits: for signals, of which a child's end is one."""

from __future__ import annotations

import contextlib
import os
import signal

from epmdless.supervisor import signals
from epmdless.supervisor.hands import RealHands
from epmdless.supervisor.orders import Orders
from epmdless.supervisor.states import Supervisor

LOOK_SECONDS = 0.5
"""Between two looks at the server's socket while it starts, on kernels that raise no SIGIO for it."""


def run(orders: Orders) -> int:
    """Run the orders to their end.

    :returns: the exit status.
    """
    inherited = signals.take_over(orders.blocked)
    hands = RealHands(orders, inherited)
    if not hands.is_init:
        _adopt_orphans()
    supervisor = Supervisor(hands, orders)
    supervisor.begin()
    while not supervisor.is_over(is_childless=_reap(supervisor, hands)):
        _wait(supervisor, hands)
    hands.terminal.take_back()
    assert supervisor.status is not None, "known once it stops"
    return supervisor.status


def _adopt_orphans() -> None:
    from epmdless.supervisor import prctl

    with contextlib.suppress(OSError):  # then somebody else reaps them
        prctl.adopt_orphans()


def _wait(supervisor: Supervisor, hands: RealHands) -> None:
    """Wait for one signal or for a time that is due, and act on it."""
    info = signal.sigtimedwait(signals.ALL, _patience(supervisor, hands))
    if info is not None and not signals.from_ourselves(info, os.getpid()):
        _signalled(supervisor, hands, info)
    pid = supervisor.server.pid
    if pid is not None and hands.readiness is not None and hands.readiness.is_told(pid):
        hands.forget_readiness()
        supervisor.server_ready()
    if supervisor.due is not None and supervisor.due <= hands.now():
        supervisor.passed()


def _patience(supervisor: Supervisor, hands: RealHands) -> float:
    """Seconds to wait at most."""
    longest = 3600.0 if supervisor.server.is_settled else LOOK_SECONDS
    if supervisor.due is None:
        return longest
    return min(longest, max(0.0, supervisor.due - hands.now()))


def _signalled(supervisor: Supervisor, hands: RealHands, info: signal.struct_siginfo) -> None:
    if info.si_signo == signal.SIGCHLD:
        return  # all children are looked at anyway
    if info.si_signo == signal.SIGIO and signals.from_kernel(info):
        return  # the server's word, which is read next
    if info.si_signo == signal.SIGCONT and supervisor.command is not None:
        hands.terminal.continued(supervisor.command)
    else:
        supervisor.signalled(info.si_signo)


def _reap(supervisor: Supervisor, hands: RealHands) -> bool:
    """Reap every child that has ended; whether none is left.

    What was stopped is dealt with first: it may stop us too.
    """
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
        except ChildProcessError:
            return True
        if pid == 0:
            return False
        if not os.WIFSTOPPED(status):
            supervisor.child_ended(pid, os.waitstatus_to_exitcode(status))
        elif pid == supervisor.command:
            hands.terminal.stopped(pid, os.WSTOPSIG(status))
