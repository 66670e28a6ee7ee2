"""A file with a list, written by somebody else at any moment, and so looked at with care.

Who replaces such a file by ``mv`` does it in one step. An editor, a copy and a shell's ``>`` empty it first
and then fill it: between two of their writes it is empty, or ends in the middle of the list. So what the
last two looks saw counts: what was added counts at once, and what was taken out has left when the second
look in a row does not see it. An empty file, where nothing was seen yet, is believed by the second look.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

import trio

from epmdless.cluster.peers import LookError
from epmdless.net import files

READ_SECONDS = 5.0
"""For one look. A file on a network file system whose server is gone cannot be read, and not given up
either: the thread that tries stays behind, one for each file."""

SETTLE_SECONDS = 1.0
"""A file that was read sooner than that after it changed is read again: two changes within a tick of its
file system's clock (4 to 10 ms) leave the same time, and may leave the same size."""

T = TypeVar("T")


class _Reading(NamedTuple):
    """A file that was read.

    :ivar of: what the file was known by just before.
    :ivar changed: when it was first known by that.
    :ivar at: when it was read.
    """

    of: files.Print | None
    changed: float
    at: float
    content: bytes


class WatchedList(Generic[T]):
    """The list in a file, which is read again when it changes.

    :param parse: makes the list, by what its items are told apart by; raises LookError.
    :param most: bytes that the file may have.
    :param what: it is, for errors.
    :param clock: seconds, monotonic.
    """

    def __init__(
        self,
        path: str,
        parse: Callable[[bytes], dict[str, T]],
        most: int,
        what: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._parse = parse
        self._most = most
        self._what = what
        self._clock = clock
        self._turn = trio.CapacityLimiter(1)
        self._reading: _Reading | None = None
        self._seen: dict[str, T] | None = None

    async def look(self) -> dict[str, T]:
        """The list that counts now; not to be changed.

        :raises LookError: ``denied``, ``failed`` or ``timeout``: the file cannot be read; what `parse`
            raises; the first look found it empty.
        """
        reading = await self._read()
        before = self._seen
        if reading is self._reading and before is not None:
            return before
        self._reading = None  # what cannot be parsed is read again
        self._seen = seen = self._parse(reading.content)
        self._reading = reading._replace(content=b"")
        if before is None and not seen:
            raise LookError("malformed", f"{self._path}: empty; if it stays so, that is believed")
        return seen if before is None else before | seen

    async def _read(self) -> _Reading:
        """What the file holds; the last reading itself, where that was the same."""
        with trio.move_on_after(READ_SECONDS):
            try:
                return await trio.to_thread.run_sync(
                    self._read_if_changed, self._reading, abandon_on_cancel=True, limiter=self._turn
                )
            except OSError as error:
                reason = "denied" if isinstance(error, PermissionError) else "failed"
                raise LookError(reason, f"{self._path}: {error.strerror or error}") from None
            except ValueError as error:
                raise LookError("failed", f"{self._path}: {error}") from None
        raise LookError("timeout", f"{self._path}: not read within {READ_SECONDS:g} s")

    def _read_if_changed(self, last: _Reading | None) -> _Reading:
        """In a thread of its own: it changes nothing here, since it may be left behind."""
        now, found = self._clock(), files.fingerprint(self._path)  # before it is read: later changes show
        is_same = last is not None and last.of == found and found is not None
        if last is not None and is_same and last.at - last.changed >= SETTLE_SECONDS:
            return last
        content = files.read(self._path, most=self._most, what=self._what)
        return _Reading(found, last.changed if last is not None and is_same else now, now, content)
