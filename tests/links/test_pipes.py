"""The pool of pipes: never too many, never one with data, and none when descriptors run short."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epmdless.links.pipes import IDLE_PIPES, MAX_PIPES, PIPE_SIZE, SMALLEST_PIPE, Pipe, PipePool
from tests.links.pump_ways import TOO_LARGE
from tests.links.pumps import descriptors, no_descriptors

USUAL_SIZE: Final = 64 * 1024
"""Bytes that Linux gives a pipe unasked."""

MOST_UNPRIVILEGED: Final = Path("/proc/sys/fs/pipe-max-size")


@pytest.fixture
def pool() -> Iterator[PipePool]:
    """A pool all of whose pipes must have come back at the end."""
    before = descriptors()
    pool = PipePool()
    yield pool
    pool.close()
    assert (pool.used, pool.descriptors) == (0, 0)
    assert descriptors() == before


def taken(pool: PipePool) -> Pipe:
    pipe = pool.take()
    assert pipe is not None
    return pipe


def test_a_pipe_is_empty_large_and_never_blocks(pool: PipePool) -> None:
    pipe = taken(pool)
    assert pipe.size == PIPE_SIZE <= int(MOST_UNPRIVILEGED.read_text())
    assert os.write(pipe.write_end, bytes(2 * PIPE_SIZE)) == PIPE_SIZE
    with pytest.raises(BlockingIOError):
        os.write(pipe.write_end, b"more")
    assert len(os.read(pipe.read_end, 2 * PIPE_SIZE)) == PIPE_SIZE
    with pytest.raises(BlockingIOError):
        os.read(pipe.read_end, 1)
    pool.give_back(pipe)


def test_a_pipe_is_not_inherited(pool: PipePool) -> None:
    pipe = taken(pool)
    assert not os.get_inheritable(pipe.read_end)
    assert not os.get_inheritable(pipe.write_end)
    pool.give_back(pipe)


def test_a_pipe_that_came_back_is_used_again(pool: PipePool) -> None:
    pipe = taken(pool)
    pool.give_back(pipe)
    assert taken(pool) == pipe
    pool.give_back(pipe)


def test_a_pipe_that_was_discarded_is_closed(pool: PipePool) -> None:
    pipe = taken(pool)
    os.write(pipe.write_end, b"another link's")
    pool.discard(pipe)
    assert pool.descriptors == 0
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.read(pipe.read_end, 1)


def test_there_are_no_more_than_may_be(pool: PipePool) -> None:
    pipes = [taken(pool) for _ in range(MAX_PIPES)]
    assert pool.take() is None
    pool.give_back(pipes.pop())
    pipes.append(taken(pool))
    assert pool.take() is None
    assert pool.used == MAX_PIPES
    for pipe in pipes:
        pool.give_back(pipe)
    assert pool.descriptors == 2 * IDLE_PIPES


def test_without_descriptors_there_is_no_pipe_and_nothing_is_counted(pool: PipePool) -> None:
    with no_descriptors():
        assert pool.take() is None
    assert (pool.used, pool.descriptors) == (0, 0)
    pool.give_back(taken(pool))


def test_a_pipe_that_may_not_be_large_is_none(pool: PipePool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through pipes of the usual size less passes than by copying."""
    monkeypatch.setattr("epmdless.links.pipes.PIPE_SIZE", TOO_LARGE)
    assert USUAL_SIZE < SMALLEST_PIPE
    assert pool.take() is None
    assert (pool.used, pool.descriptors) == (0, 0)


@given(st.lists(st.sampled_from(["take", "take", "give_back", "discard", "close"]), max_size=60))
@settings(deadline=None)
def test_any_use_is_counted_right(actions: list[str]) -> None:
    before = len(descriptors())
    pool = PipePool()
    out: list[Pipe] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("epmdless.links.pipes.MAX_PIPES", 12)
        for action in actions:
            match action:
                case "take":
                    pipe = pool.take()
                    assert (pipe is None) is (len(out) == 12)
                    assert pipe not in out
                    out += [] if pipe is None else [pipe]
                case "give_back" if out:
                    pool.give_back(out.pop())
                case "discard" if out:
                    pool.discard(out.pop(0))
                case "close":
                    pool.close()
            assert pool.used == len(out)
            assert pool.descriptors == len(descriptors()) - before
            assert pool.descriptors <= 2 * (len(out) + IDLE_PIPES)
    for pipe in out:
        pool.discard(pipe)
    pool.close()
    assert len(descriptors()) == before
