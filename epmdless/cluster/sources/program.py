"""A program that is run for what it prints, within bounds of time and size.

It gets a session, and so a process group, of its own: when its time is over, all that it started ends with
it. The group is signalled only while the program itself, running or ended, has not been reaped: until then
nobody else can get its number.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
import subprocess
from collections.abc import Callable, Sequence
from enum import Enum, auto
from functools import partial
from typing import NamedTuple

import trio

from epmdless.cluster.peers import LookError
from epmdless.names import printable

READ_SIZE = 64 * 1024

KEPT_COMPLAINT = 4096
"""Bytes of the end of its standard error that are kept."""

COMPLAINT_LINES = 3
"""Of those, lines that an error repeats: the last one of psql's may be no more than a ``^``."""

COMPLAINT_CHARACTERS = 300

_CREDENTIALS = re.compile(r"://[^\s\"']*@")
"""Of a URL: psql, for one, repeats the one that it was given where it cannot use it."""

GRACE_SECONDS = 0.5
"""From SIGTERM to SIGKILL, once the program's own time is over."""

REAP_SECONDS = 2.0
"""From SIGKILL to its end; one that waits for a disk may take longer, and is left behind until then."""


class _End(Enum):
    """How a program's end was seen: it waits to be reaped, or it was not, since our parent has left us with
    SIGCHLD ignored: the kernel reaps children then, and nobody hears how they ended."""

    UNREAPED = auto()
    LOST = auto()


_Take = Callable[[bytes | bytearray], None]


class Ended(NamedTuple):
    """A program that ran to its end.

    :ivar status: its exit status; negative: the signal that ended it.
    :ivar output: all that it wrote to its standard output.
    :ivar complaint: the last lines of its standard error, as one that a terminal can bear, and without the
        user and password of a URL.
    """

    status: int
    output: bytes
    complaint: str


class Program:
    """A program that is run again and again, one run at a time.

    Its environment and its working folder are ours, its standard input is empty.

    :param argv: the program, found as ``execvp`` does, and its arguments.
    :param seconds: for one run.
    :param most: bytes of its output; a run that prints more is ended at once.
    """

    def __init__(self, argv: Sequence[str], *, seconds: float, most: int) -> None:
        self._argv = list(argv)
        self._seconds = seconds
        self._most = most
        self._left: trio.Process | None = None

    async def run(self) -> Ended:
        """Run it. When this returns, raises or is cancelled, the program and all its group have ended.

        :raises LookError: ``failed``: it cannot be started; ``timeout``; ``too_many``: it prints too much.
        """
        if self._left is not None and self._left.poll() is None:
            raise LookError("timeout", f"{self._argv[0]}: its last run cannot be ended")
        with trio.move_on_after(self._seconds) as limit:
            process = await self._start()
            hearing = _Hearing(process, self._most)
            try:
                await hearing.listen()
            finally:
                with trio.CancelScope(shield=True):
                    await _end(process, hearing.end)
                status = process.poll()
                self._left = process if status is None else None
            if hearing.end is _End.LOST:
                raise LookError("failed", f"{self._argv[0]}: SIGCHLD is ignored, so its exit status is lost")
            if hearing.is_too_long:
                raise LookError("too_many", f"{self._argv[0]}: prints more than {self._most} bytes")
        if limit.cancelled_caught or status is None:
            raise LookError("timeout", f"{self._argv[0]}: not done within {self._seconds:g} s")
        return Ended(status, bytes(hearing.output), hearing.last_lines())

    async def _start(self) -> trio.Process:
        try:
            return await trio.lowlevel.open_process(
                self._argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            problem = getattr(error, "strerror", None) or str(error)
            raise LookError("failed", f"{self._argv[0]}: {problem}") from None


class _Hearing:
    """What a program prints, while it does.

    :ivar end: None: it has not ended yet.
    :ivar is_too_long: it has printed more than it may.
    """

    def __init__(self, process: trio.Process, most: int) -> None:
        self._pid = process.pid
        self._most = most
        assert isinstance(process.stdout, trio.lowlevel.FdStream)
        assert isinstance(process.stderr, trio.lowlevel.FdStream)
        self._takers = {process.stdout: self._take_output, process.stderr: self._take_complaint}
        self._scope = trio.CancelScope()
        self.output = bytearray()
        self._complaint = bytearray()
        self._complained = 0
        self.end: _End | None = None
        self.is_too_long = False

    async def listen(self) -> None:
        """Take in what it prints until it ends, or prints too much.

        Its end counts, not that of its output: what it left running in the background may hold that open.
        """
        with self._scope:
            async with trio.open_nursery() as nursery:
                for stream, take in self._takers.items():
                    nursery.start_soon(self._read, stream, take)
                self.end = await _wait_for_end(self._pid)
                nursery.cancel_scope.cancel()
        if self.end is not None:
            for stream, take in self._takers.items():
                self._drain(stream, take)

    async def _read(self, stream: trio.lowlevel.FdStream, take: _Take) -> None:
        while piece := await stream.receive_some(READ_SIZE):
            take(piece)

    def _drain(self, stream: trio.lowlevel.FdStream, take: _Take) -> None:
        """What it had written when it ended, and was not read yet: no more than the pipe holds. Others that
        have the pipe open may go on writing for ever."""
        descriptor = stream.fileno()
        left = fcntl.fcntl(descriptor, fcntl.F_GETPIPE_SZ)
        with contextlib.suppress(BlockingIOError):
            while left > 0 and (piece := os.read(descriptor, min(left, READ_SIZE))):
                take(piece)
                left -= len(piece)

    def _take_output(self, piece: bytes | bytearray) -> None:
        self.output += piece
        self._limit(len(self.output))

    def _take_complaint(self, piece: bytes | bytearray) -> None:
        self._complaint += piece
        del self._complaint[:-KEPT_COMPLAINT]
        self._complained += len(piece)
        self._limit(self._complained)

    def _limit(self, length: int) -> None:
        if length > self._most:
            self.is_too_long = True
            self._scope.cancel()

    def last_lines(self) -> str:
        """The last lines of its standard error."""
        lines = [line.strip() for line in self._complaint.decode(errors="replace").splitlines()]
        text = "; ".join([line for line in lines if line][-COMPLAINT_LINES:])
        return printable(_CREDENTIALS.sub("://…@", text))[:COMPLAINT_CHARACTERS]


async def _wait_for_end(pid: int) -> _End:
    """Wait until a child has ended, and leave it unreaped.

    In a thread, which stays behind on cancellation until the child ends: ``pidfd_open``, which needs none,
    is not to be had everywhere (Linux before 5.3, gVisor).
    """
    wait = partial(os.waitid, os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    try:
        await trio.to_thread.run_sync(wait, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1))
    except ChildProcessError:
        return _End.LOST
    return _End.UNREAPED


async def _end(process: trio.Process, end: _End | None) -> None:
    """End a program's whole group, reap it, and close our ends of its pipes.

    :param end: None: it has not ended yet.
    """
    if end is None:
        _signal_group(process.pid, signal.SIGTERM)
        with trio.move_on_after(GRACE_SECONDS):
            end = await _wait_for_end(process.pid)
    if end is not _End.LOST:
        _signal_group(process.pid, signal.SIGKILL)
    with trio.move_on_after(REAP_SECONDS):
        await process.wait()
    for stream in (process.stdout, process.stderr):
        assert stream is not None
        await stream.aclose()


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(OSError):  # another user's, as after sudo: it is left behind
        os.killpg(group, number)
