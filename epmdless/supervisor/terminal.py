"""The controlling terminal: the command stands in its foreground wherever we did.

The command has a process group of its own, so that ``kill 0`` in a script of its does not reach us. The
group must then be the terminal's foreground one, or Ctrl-C would not reach it and reading would stop it.
Started by an interactive shell we are a job: when Ctrl-Z stops the command we stop too, for the shell to
see, and what the shell then does to us (``fg``, ``bg``) is done to the command.
"""

from __future__ import annotations

import contextlib
import os
import signal

TERMINAL_STOPS = frozenset(map(int, (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)))
"""What a terminal stops a job with. SIGSTOP is somebody's decision about this one process."""


class Terminal:
    """The controlling terminal; without one, all of this does nothing.

    All signals are blocked in this process: with SIGTTOU blocked, a process in the background may set
    the foreground group.
    """

    def __init__(self) -> None:
        self._group = os.getpgrp()
        self._descriptor: int | None = None
        with contextlib.suppress(OSError):
            self._descriptor = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)

    def hand_over(self, group: int) -> None:
        """Put a process group into the foreground, if ours is there."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                if os.tcgetpgrp(self._descriptor) == self._group:
                    os.tcsetpgrp(self._descriptor, group)

    def take_back(self) -> None:
        """Put our own group into the foreground again, if the foreground's group is no more.

        A shell does this by itself; a script that goes on after us does not.
        """
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                if not _exists(os.tcgetpgrp(self._descriptor)):
                    os.tcsetpgrp(self._descriptor, self._group)

    def stopped(self, command: int, number: int) -> None:
        """The command was stopped by a signal: see that somebody will continue it."""
        if self._descriptor is None or number not in TERMINAL_STOPS:
            return
        if self._is_ours():
            self.continued(command)
        elif not _stop_as_job() and number == signal.SIGTSTP:
            # PID 1, or the head of a session: the kernel does not stop what nobody could continue.
            _continue(command)

    def continued(self, command: int) -> None:
        """We were continued: so is the command, and where our group is in the foreground, there."""
        self.hand_over(command)
        _continue(command)

    def _is_ours(self) -> bool:
        with contextlib.suppress(OSError):
            return self._descriptor is not None and os.tcgetpgrp(self._descriptor) == self._group
        return False


def _stop_as_job() -> bool:
    """Stop our process group as the terminal would; whether it was stopped, and has been continued.

    Then a SIGCONT waits for whoever waits for signals.
    """
    os.kill(0, signal.SIGTSTP)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTSTP})
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTSTP})
    return signal.SIGCONT in signal.sigpending()


def _continue(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGCONT)


def _exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
