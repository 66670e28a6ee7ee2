"""Standard descriptors and Ctrl-C as a program must be able to count on them, and all other descriptors.
Standard library only."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Container
from typing import TextIO

MOST_WITHOUT_PROC = 4096
"""Descriptors that are closed unseen, on a system without /proc."""


def hold_standard_descriptors() -> None:
    """Open what was closed of 0, 1 and 2.

    Otherwise the next socket gets such a number, and what is written to stderr goes to a client.
    """
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor <= 2:
        descriptor = os.open(os.devnull, os.O_RDWR)
    os.close(descriptor)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def leave_interrupts_to_the_system() -> bool:
    """Have SIGINT end the process in silence, in place of an exception wherever it happens to be.

    :returns: whether it was an exception before; who started us may have SIGINT ignored, which stays so.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return False
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return True


def close_others(kept: Container[int] = ()) -> None:
    """Close all but the standard descriptors and those to be kept.

    One by one: containers often allow a billion of them, and not every build of the interpreter can close
    a range at once.
    """
    try:
        names = os.listdir("/proc/self/fd")  # noqa: PTH208 - pathlib is a megabyte
    except OSError:
        names = list(map(str, range(MOST_WITHOUT_PROC)))
    for descriptor in map(int, names):
        if descriptor > 2 and descriptor not in kept:
            with contextlib.suppress(OSError):  # the one that listed them
                os.close(descriptor)


def complain(text: str) -> None:
    """Write to stderr, if that takes it."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(text)
        sys.stderr.flush()


def flush(status: int) -> int:
    """Write out what is buffered; the exit status, 1 if stdout did not take the answer.

    A closed pipe or a full disk is no fault of ours: no traceback, now or at the interpreter's end.
    """
    _flushed(sys.stderr, 2)
    return status if _flushed(sys.stdout, 1) else status or 1


def _flushed(stream: TextIO, descriptor: int) -> bool:
    """Whether a stream took all; one that did not is led to nowhere, for the interpreter's own flush."""
    try:
        stream.flush()
    except (OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, descriptor)
        os.close(null)
        return False
    return True
