"""Pipes for splice(2), kept for the next flow that moves a bulk."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import NamedTuple

PIPE_SIZE = 1024 * 1024
"""Bytes a pipe is asked to hold: the most that an ordinary process may have (fs.pipe-max-size)."""

MAX_PIPES = 64
"""Pipes at once: the most memory that stalled receivers can hold this way is MAX_PIPES × PIPE_SIZE. It is
also what one user may have at full size (fs.pipe-user-pages-soft). Further flows copy."""

SMALLEST_PIPE = 512 * 1024
"""Bytes below which copying is faster: through pipes of 64 KiB half as much passes as through 1 MiB."""

IDLE_PIPES = 8
"""Empty pipes that are kept open."""


class Pipe(NamedTuple):
    """A pipe's two descriptors, and the bytes that it takes."""

    read_end: int
    write_end: int
    size: int


class PipePool:
    """Hands out pipes.

    A pipe that still holds data never comes back here: the next flow would send another's bytes.
    """

    def __init__(self) -> None:
        self._idle: list[Pipe] = []
        self.used = 0

    @property
    def descriptors(self) -> int:
        """Descriptors that pipes hold now."""
        return 2 * (self.used + len(self._idle))

    def take(self) -> Pipe | None:
        """An empty pipe; None if there are too many already, or no descriptors left."""
        if self._idle:
            self.used += 1
            return self._idle.pop()
        if self.used >= MAX_PIPES:
            return None
        try:
            read_end, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        with contextlib.suppress(OSError):  # the user's share is used up: 64 KiB then, too small to pay
            fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        pipe = Pipe(read_end, write_end, fcntl.fcntl(write_end, fcntl.F_GETPIPE_SZ))
        if pipe.size < SMALLEST_PIPE:
            _close(pipe)
            return None
        self.used += 1
        return pipe

    def give_back(self, pipe: Pipe) -> None:
        """Return a pipe that is empty."""
        self.used -= 1
        if len(self._idle) < IDLE_PIPES:
            self._idle.append(pipe)
        else:
            _close(pipe)

    def discard(self, pipe: Pipe) -> None:
        """Close a pipe that may still hold data."""
        self.used -= 1
        _close(pipe)

    def close(self) -> None:
        """Close the idle ones."""
        while self._idle:
            _close(self._idle.pop())


def _close(pipe: Pipe) -> None:
    os.close(pipe.read_end)
    os.close(pipe.write_end)
