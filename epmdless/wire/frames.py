"""Frames of an established link, counted as they pass (PROTOCOL.md §3; OTP: erl_ext_dist, "Protocol
between Connected Nodes").

A frame is ``length:32`` and that many bytes; length 0 is a *tick*. The walker is given the bytes of one
direction in chunks that cut frames anywhere. It looks at length words and at the first two bytes of each
frame, and holds no more than those.
"""

from __future__ import annotations

import struct
import sys

FIRST_FRAGMENT = 0x8345
"""The first two bytes of a message's first fragment: external term format 131, tag 69."""

FURTHER_FRAGMENT = 0x8346
"""The same of each fragment after the first: 131, 70."""

FRAGMENTS = (FIRST_FRAGMENT, FURTHER_FRAGMENT)

_HEAD = struct.Struct("!IH")
_LENGTH = struct.Struct("!I")
HEAD_SIZE = _HEAD.size
"""Bytes of a frame that are looked at."""

LENGTH_SIZE = _LENGTH.size
"""Bytes of a length word."""


SHORT = 1024
"""Reads shorter than this, most of an ordinary link's, may be accounted for by a look into ALONE."""

ALONE = tuple(
    -1 if count <= LENGTH_SIZE else int.from_bytes((count - LENGTH_SIZE).to_bytes(4, "big"), sys.byteorder)
    for count in range(SHORT)
)
"""By the length of a read in bytes: its first four bytes, as an integer of this machine, if it is exactly
one frame. Messages of an idle link come one by one; to unpack each length took a tenth of their way."""

FRAGMENT_TAGS = tuple(
    int.from_bytes(tag.to_bytes(2, "big"), sys.byteorder) for tag in (FIRST_FRAGMENT, FURTHER_FRAGMENT)
)
"""The first two bytes of fragments, as integers of this machine."""


class FrameWalker:
    """Counts what passes in one direction.

    :ivar frames: frames that are not ticks, counted when they begin.
    :ivar ticks: frames of length 0.
    :ivar fragments: frames that are a part of a larger message.
    :ivar largest: the longest frame's length in bytes, its length word not counted.
    :ivar last_tick: the time at which the last tick passed, as :meth:`walk` was told; None before.
    :ivar left: bytes that are still to come before the next frame that was not counted yet.
    :ivar between: whether the next byte begins a frame.
    """

    __slots__ = ("_head", "between", "fragments", "frames", "largest", "last_tick", "left", "ticks")

    def __init__(self) -> None:
        self.frames = self.ticks = self.fragments = self.largest = self.left = 0
        self.last_tick: float | None = None
        self._head = b""
        self.between = True

    def walk(self, data: bytes | memoryview, end: int, now: float) -> None:
        """Count the frames in the next bytes of the direction.

        :param data: the bytes; only ``data[:end]`` is looked at.
        :param now: the time in seconds, for ticks.
        """
        position = self.left
        if position >= end:
            self.left = position - end
            self.between = position == end and not self._head
            return
        while self._head and position < end:
            position = self._complete_head(data, position, end, now)
        frames, last = 0, end - HEAD_SIZE
        while position <= last:
            length, kind = _HEAD.unpack_from(data, position)
            position += LENGTH_SIZE + length
            if length:
                frames += 1
                if length > self.largest:
                    self.largest = length
                if kind in FRAGMENTS:
                    self.fragments += 1
            else:
                self.ticks += 1
                self.last_tick = now
        self.frames += frames
        if position < end:
            position += self._begin(bytes(data[position:end]), now)
        self.left = max(position - end, 0)
        self.between = position == end and not self._head

    @property
    def at_head(self) -> bool:
        """Whether a frame's head has passed in part: then the rest of it must be walked."""
        return bool(self._head)

    def skip(self, count: int) -> None:
        """Note that bytes of frames that were counted passed unseen.

        :param count: at most :attr:`left`.
        """
        self.left -= count
        self.between = not (self.left or self._head)

    def look(self, head: bytes | memoryview, size: int, now: float) -> bool:
        """Count the frame that begins :attr:`left` bytes from here, whose head was looked at ahead of time.

        :param head: HEAD_SIZE bytes at the most, of which the first `size` count.
        :returns: whether that was enough to count it.
        """
        if size < LENGTH_SIZE:
            return False
        (length,) = _LENGTH.unpack_from(head)
        if length == 0:
            self.ticks += 1
            self.last_tick = now
        elif length >= 2 and size < HEAD_SIZE:
            return False
        else:
            self.frames += 1
            self.largest = max(self.largest, length)
            if length >= 2 and _HEAD.unpack_from(head)[1] in FRAGMENTS:
                self.fragments += 1
        self.left += LENGTH_SIZE + length
        self.between = False
        return True

    def _complete_head(self, data: bytes | memoryview, position: int, end: int, now: float) -> int:
        """Add to a cut head; returns the position in `data` from which to go on."""
        before = len(self._head)
        head = self._head + bytes(data[position : min(end, position + HEAD_SIZE - before)])
        return position + self._begin(head, now) - before

    def _begin(self, head: bytes, now: float) -> int:
        """Begin the frames in the last bytes of a chunk, which are fewer than a head and its body.

        :param head: bytes from the start of a frame, at most the size of a head.
        :returns: the length, from the start of `head`, of the frames that have begun; what stands behind
            them is kept.
        """
        position = 0
        self._head = b""
        while len(head) - position >= LENGTH_SIZE:
            (length,) = _LENGTH.unpack_from(head, position)
            known = len(head) - position - LENGTH_SIZE
            if length >= 2 and known < 2:
                break
            position += LENGTH_SIZE + length
            if length == 0:
                self.ticks += 1
                self.last_tick = now
                continue
            self.frames += 1
            self.largest = max(self.largest, length)
            if head[position - length : position - length + 2] in (b"\x83\x45", b"\x83\x46"):
                self.fragments += 1
        if position < len(head):
            self._head = head[position:]
            return len(head)
        return position
