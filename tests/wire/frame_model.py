"""What the tests of frames share: a naive count, and streams to be counted."""

import random
from typing import Final, NamedTuple, Self

from hypothesis import strategies as st

from epmdless.wire.frames import FrameWalker

TICK: Final = bytes(4)
PASS_THROUGH: Final = b"\x70"
FIRST_FRAGMENT: Final = b"\x83\x45"
FURTHER_FRAGMENT: Final = b"\x83\x46"
WITH_ATOM_CACHE: Final = b"\x83\x44"

STARTS: Final = (PASS_THROUGH, FIRST_FRAGMENT, FURTHER_FRAGMENT, WITH_ATOM_CACHE, b"\x83", b"\0\0\0\0")
"""How a frame's body may begin; the last looks like a tick, were it taken for a length word."""


class Counts(NamedTuple):
    """What is counted in one direction."""

    frames: int
    ticks: int
    fragments: int
    largest: int

    @classmethod
    def of(cls, walker: FrameWalker) -> Self:
        """What a walker has counted."""
        return cls(walker.frames, walker.ticks, walker.fragments, walker.largest)


def naive(stream: bytes) -> Counts:
    """Count all frames that have begun in a stream that is there as a whole."""
    return _counted(stream)[0]


def cut_head(stream: bytes) -> bytes:
    """The end of a stream that belongs to a frame that has not begun."""
    return stream[_counted(stream)[1] :]


def _counted(stream: bytes) -> tuple[Counts, int]:
    """The counts, and the position of the first frame that has not begun.

    A frame has begun once it can be told whether it is a fragment: with its length word and, if that is 2
    or more, with two bytes of its body.
    """
    frames = ticks = fragments = largest = position = 0
    while len(stream) - position >= 4:
        length = int.from_bytes(stream[position : position + 4], "big")
        start = stream[position + 4 : position + 4 + min(length, 2)]
        if length >= 2 and len(start) < 2:
            break
        position += 4 + length
        ticks += length == 0
        frames += length > 0
        fragments += start in (FIRST_FRAGMENT, FURTHER_FRAGMENT)
        largest = max(largest, length)
    return Counts(frames, ticks, fragments, largest), position


def frame(length: int, start: bytes = PASS_THROUGH, seed: int = 0) -> bytes:
    """A frame of a body of `length` bytes that begins with `start`."""
    body = start + random.Random(seed).randbytes(max(length - len(start), 0))
    return length.to_bytes(4, "big") + body[:length]


def streams(lengths: st.SearchStrategy[int], *, most: int = 12) -> st.SearchStrategy[bytes]:
    """Streams of up to `most` frames, of which the last may be cut."""
    frames = st.builds(frame, lengths, st.sampled_from(STARTS), st.integers(0, 9))
    return st.builds(
        lambda parts, cut: b"".join(parts)[: -cut or None], st.lists(frames, max_size=most), st.integers(0, 7)
    )
