"""Making processes: ours, which end with us, and the command, which gets all as we were given it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from epmdless.net import stdio
from epmdless.supervisor import signals
from epmdless.supervisor.signals import Inherited
from epmdless.supervisor.terminal import Terminal

NOT_FOUND = 127
NOT_EXECUTABLE = 126
"""Exit statuses that shells give for a command that cannot be started (POSIX XCU 2.8.2)."""


def start_ours(words: Sequence[str], environ: Mapping[bytes, bytes], stdout: int = 1) -> int:
    """Start a program of ours: in a session of its own, so that a terminal's signals do not reach it, with
    nothing to read, with none of the descriptors that are the command's, and with SIGTERM at our end.

    :param words: the program, by its path, and its arguments.
    :param stdout: a descriptor for its output.
    :returns: its process id.
    :raises OSError: no process can be made.
    """
    supervisor = os.getpid()

    def become() -> int:
        _end_with(supervisor)
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        if stdout != 1:
            os.dup2(stdout, 1)
        stdio.close_others()
        signals.give_defaults()
        return _execute(words, environ)

    return _fork(become)


def start_function(function: Callable[[], bool], limit: int) -> int:
    """Call a function in a child of its own, which ends with status 0 if it returned True.

    :param limit: seconds, after which a signal ends it.
    :returns: its process id.
    :raises OSError: no process can be made.
    """
    supervisor = os.getpid()

    def become() -> int:
        _end_with(supervisor)
        signals.give_defaults()
        signal.alarm(limit)
        return 0 if function() else 1

    return _fork(become)


def start_command(
    words: Sequence[str], environ: Mapping[bytes, bytes], inherited: Inherited, terminal: Terminal
) -> int:
    """Start the command in a process group of its own, as a shell starts a job.

    :param words: the command, found by the PATH of `environ`, and its arguments.
    :returns: its process id. If it cannot be executed, that process says so and ends as in a shell.
    :raises OSError: no process can be made.
    """

    def become() -> int:
        os.setpgid(0, 0)
        terminal.hand_over(os.getpid())  # before signals are unblocked, or SIGTTOU would stop us
        signals.give_back(inherited)
        return _execute(words, environ)

    return _fork(become)


def _fork(become: Callable[[], int]) -> int:
    """Fork; the child ends with what `become` returns, if it returns."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = become()
        except BaseException as error:  # noqa: BLE001 - a child never returns into its parent's code
            _complain(str(error))
        finally:
            os._exit(status)
    return pid


def _end_with(supervisor: int) -> None:
    """Have this process end when the supervisor does, and at once if that has happened meanwhile."""
    from epmdless.supervisor import prctl

    with contextlib.suppress(OSError):  # a sandbox forbids it: then it has to be stopped as usual
        prctl.end_with_parent(signal.SIGTERM)
    if os.getppid() != supervisor:
        _leave()


def _leave() -> NoReturn:
    os._exit(1)


def _execute(words: Sequence[str], environ: Mapping[bytes, bytes]) -> int:
    """Become another program; returns the exit status only where that fails."""
    try:
        os.execvpe(words[0], list(words), environ)  # noqa: S606 - a shell is what we stand for
    except FileNotFoundError as error:
        _complain(f"{words[0]}: {error.strerror}")
        return NOT_FOUND
    except (OSError, ValueError) as error:
        _complain(f"{words[0]}: {getattr(error, 'strerror', None) or error}")
        return NOT_EXECUTABLE


def _complain(text: str) -> None:
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    sys.stderr.write(f"epmdless: {text}\n")
    sys.stderr.flush()
