"""The frame walker against a naive count: any stream, cut anywhere, walked, skipped and looked at ahead."""

import random
from collections.abc import Iterable, Iterator
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from epmdless.wire.frames import HEAD_SIZE, FrameWalker
from epmdless.wire.handshake import Side
from tests.wire.frame_model import (
    FIRST_FRAGMENT,
    FURTHER_FRAGMENT,
    PASS_THROUGH,
    TICK,
    WITH_ATOM_CACHE,
    Counts,
    cut_head,
    frame,
    naive,
    streams,
)
from tests.wire.handshakes import LINKS, Link

LENGTHS = st.sampled_from([0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 64, 300])
STREAMS = streams(LENGTHS)
SIZES = st.lists(st.sampled_from([1, 1, 2, 3, 4, 5, 6, 7, 64, 200]), min_size=1)

GARBAGE: Final = b"\0\0\0\0\0\0\0\0"
"""Stands behind the bytes that count: two ticks, if somebody took them in."""

by_title = pytest.mark.parametrize("link", LINKS, ids=[link.title for link in LINKS])
by_side = pytest.mark.parametrize("side", Side)


def chunked(stream: bytes, sizes: Iterable[int]) -> Iterator[bytes]:
    """Cut a stream into chunks of these sizes, over and over."""
    position, sizes = 0, list(sizes)
    while position < len(stream):
        for size in sizes:
            if position < len(stream):
                yield stream[position : position + size]
            position += size


def walk(walker: FrameWalker, chunk: bytes, now: float = 0.0) -> None:
    """Have a chunk counted that lies in a larger buffer, as the pump's do."""
    walker.walk(memoryview(chunk + GARBAGE), len(chunk), now)


def walked(stream: bytes, sizes: Iterable[int]) -> FrameWalker:
    walker = FrameWalker()
    for chunk in chunked(stream, sizes):
        walk(walker, chunk)
    return walker


# Walking.


@given(STREAMS, SIZES)
def test_any_chunks_give_the_naive_count(stream: bytes, sizes: list[int]) -> None:
    assert Counts.of(walked(stream, sizes)) == naive(stream)


@given(STREAMS)
def test_each_byte_alone_gives_the_naive_count_at_each_byte(stream: bytes) -> None:
    walker = FrameWalker()
    for end in range(1, len(stream) + 1):
        walk(walker, stream[end - 1 : end])
        assert Counts.of(walker) == naive(stream[:end])


@given(st.binary(max_size=200), SIZES)
@example(b"\xff\xff\xff\xff", [1])
@example(b"\0\0\0\1", [4])
@example(b"\0\0\0\1\x83\0\0\0\0", [5, 4])
def test_arbitrary_bytes_give_the_naive_count(stream: bytes, sizes: list[int]) -> None:
    assert Counts.of(walked(stream, sizes)) == naive(stream)


@given(STREAMS)
def test_bytes_and_views_are_walked_alike(stream: bytes) -> None:
    walker = FrameWalker()
    walker.walk(stream, len(stream), 0.0)
    assert Counts.of(walker) == naive(stream)


def test_an_empty_chunk_changes_nothing() -> None:
    for stream in (b"", TICK, TICK[:3], frame(9)[:5], frame(9)[:7]):
        walker = walked(stream, [1])
        left, at_head = walker.left, walker.at_head
        walk(walker, b"")
        assert (Counts.of(walker), walker.left, walker.at_head) == (naive(stream), left, at_head)


@pytest.mark.parametrize(
    ("start", "fragments"),
    [(PASS_THROUGH, 0), (WITH_ATOM_CACHE, 0), (FIRST_FRAGMENT, 1), (FURTHER_FRAGMENT, 1)],
)
def test_fragments_are_told_by_their_first_two_bytes(start: bytes, fragments: int) -> None:
    assert Counts.of(walked(frame(40, start), [100])) == Counts(1, 0, fragments, 40)


def test_a_frame_of_one_byte_is_no_fragment_whatever_follows() -> None:
    stream = frame(1, b"\x83") + b"\x45\0\0\0"
    assert Counts.of(walked(stream[:5], [5])) == Counts(1, 0, 0, 1)


def test_the_largest_frame_a_length_word_can_tell_is_waited_for() -> None:
    """4 GiB less one, of which nobody holds anything."""
    walker, length = FrameWalker(), 0xFFFFFFFF
    walk(walker, b"\xff\xff\xff\xff" + PASS_THROUGH + b"\0")
    assert (Counts.of(walker), walker.left) == (Counts(1, 0, 0, length), length - 2)
    walker.skip(length - 2)
    walk(walker, TICK)
    assert Counts.of(walker) == Counts(1, 1, 0, length)


@given(STREAMS, SIZES)
def test_the_last_tick_is_the_time_of_the_chunk_that_completed_one(stream: bytes, sizes: list[int]) -> None:
    walker, seen, expected = FrameWalker(), b"", None
    for now, chunk in enumerate(chunked(stream, sizes)):
        before, seen = naive(seen).ticks, seen + chunk
        if naive(seen).ticks > before:
            expected = float(now)
        walk(walker, chunk, float(now))
        assert walker.last_tick == expected


def test_no_tick_has_no_time() -> None:
    assert walked(frame(9), [3]).last_tick is None


# What is left.


@given(STREAMS, SIZES)
def test_left_leads_to_the_next_head(stream: bytes, sizes: list[int]) -> None:
    """What is left is exactly what can pass unseen: bytes there, whatever they are, change no count."""
    walker = walked(stream, sizes)
    assert walker.left >= 0
    assert not (walker.at_head and walker.left)
    assert walker.between is not (walker.at_head or walker.left > 0)
    before = Counts.of(walker)
    walk(walker, b"\xff" * walker.left)
    assert Counts.of(walker) == before
    if not walker.at_head:
        walk(walker, TICK)
        assert walker.ticks == before.ticks + 1


@given(STREAMS, SIZES)
def test_a_walker_is_at_a_head_exactly_while_it_holds_a_part_of_one(stream: bytes, sizes: list[int]) -> None:
    walker = FrameWalker()
    seen = b""
    for chunk in chunked(stream, sizes):
        walk(walker, chunk)
        seen += chunk
        assert walker.at_head is bool(cut_head(seen))


# Passing unseen: what splice moves.


class Looker:
    """Moves a stream as the pump does: chunks are walked, or heads are looked at and the rest skipped."""

    def __init__(self, stream: bytes) -> None:
        self.walker = FrameWalker()
        self.stream = stream
        self.position = 0

    @property
    def over(self) -> bool:
        return self.position == len(self.stream)

    def walk(self, size: int) -> None:
        """Read a chunk and count in it."""
        chunk = self.stream[self.position : self.position + size]
        walk(self.walker, chunk)
        self.position += len(chunk)

    def splice(self, heads: int, there: int, size: int) -> None:
        """Look at `heads` heads at the most, then move up to `size` bytes unseen.

        there: how many bytes wait in the socket at that moment.
        """
        waiting = self.stream[self.position : self.position + there]
        if not self.walker.at_head:
            for _ in range(heads):
                head = waiting[self.walker.left : self.walker.left + HEAD_SIZE]
                if not self.walker.look(head + GARBAGE[: HEAD_SIZE - len(head)], len(head), 0.0):
                    break
        moved = min(self.walker.left, size, len(waiting))
        self.walker.skip(moved)
        self.position += moved


MOVES = st.lists(
    st.tuples(st.just("walk"), st.integers(1, 80))
    | st.tuples(st.just("splice"), st.integers(0, 5), st.integers(0, 200), st.integers(1, 200)),
    max_size=20,
)


@given(STREAMS, MOVES)
def test_walking_skipping_and_looking_ahead_mix_freely(
    stream: bytes, moves: list[tuple[str, int] | tuple[str, int, int, int]]
) -> None:
    looker = Looker(stream)
    for _, *numbers in moves:
        looker.walk(*numbers) if len(numbers) == 1 else looker.splice(*numbers)
        walker = looker.walker
        assert walker.between is not (walker.at_head or walker.left > 0)
        passed, waiting = naive(stream[: looker.position]), naive(stream)
        assert passed <= Counts.of(walker) <= waiting
    looker.walk(len(stream))
    assert looker.over
    assert Counts.of(looker.walker) == naive(stream)


@given(STREAMS)
def test_a_stream_that_passes_unseen_but_for_its_heads_is_counted_the_same(stream: bytes) -> None:
    looker = Looker(stream)
    looker.splice(1000, len(stream), len(stream))
    assert Counts.of(looker.walker) == naive(stream)


@pytest.mark.parametrize("size", range(HEAD_SIZE))
@pytest.mark.parametrize("length", [1, 2, 9])
def test_a_head_that_is_not_there_as_a_whole_is_not_counted(size: int, length: int) -> None:
    walker, head = FrameWalker(), frame(length, FIRST_FRAGMENT)
    counted = walker.look(head[:size].ljust(HEAD_SIZE, b"\0"), size, 0.0)
    assert counted is (size >= 4 + (length >= 2) * 2)
    assert Counts.of(walker) == naive(head[:size])
    assert walker.left == (4 + length if counted else 0)
    assert walker.between is not counted


def test_a_tick_that_is_looked_at_has_a_time() -> None:
    walker = FrameWalker()
    assert walker.look(TICK + b"\x83\x45", HEAD_SIZE, 7.0)
    assert (Counts.of(walker), walker.last_tick, walker.left) == (Counts(0, 1, 0, 0), 7.0, 4)


# Captured links.


@by_side
@by_title
def test_what_follows_a_captured_handshake_is_whole_frames(link: Link, side: Side) -> None:
    stream = link.frames(side)
    whole = walked(stream, [len(stream)])
    assert Counts.of(whole) == naive(stream)
    assert whole.frames > 0
    assert not whole.at_head
    assert whole.left == 0


@by_side
@by_title
@pytest.mark.parametrize("size", [1, 2, 3, 5, 6, 7, 1448, 65483])
def test_a_captured_link_counts_the_same_in_any_chunks(link: Link, side: Side, size: int) -> None:
    stream = link.frames(side)
    assert Counts.of(walked(stream, [size])) == naive(stream)


@by_side
@by_title
def test_a_captured_link_counts_the_same_when_most_of_it_passes_unseen(link: Link, side: Side) -> None:
    chance = random.Random(link.title)
    looker = Looker(link.frames(side))
    while not looker.over:
        if chance.random() < 0.3:
            looker.walk(chance.randint(1, 3000))
        else:
            looker.splice(chance.randint(0, 64), chance.randint(1, 300_000), chance.randint(1, 100_000))
        if looker.walker.left == 0 or looker.walker.at_head:
            looker.walk(HEAD_SIZE)
    assert Counts.of(looker.walker) == naive(looker.stream)


def test_the_captured_links_hold_all_kinds_of_frames() -> None:
    counts = [naive(link.frames(side)) for link in LINKS for side in Side]
    assert len(LINKS) == 9
    assert sum(each.fragments for each in counts) > 0
    assert sum(each.ticks for each in counts) > 0
    assert max(each.largest for each in counts) > 60_000
