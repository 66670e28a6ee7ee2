"""Pacing: rates are kept in the long run, everybody gets his share, and nobody waits long."""

import heapq
import itertools
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epmdless.links.pace import BURST_SECONDS, DEEPEST_DEBT, LONGEST_WAIT, SMALLEST_PIECE, Bucket, Pace
from epmdless.links.pump import BUFFER_SIZE

MIB: Final = 1024 * 1024
SECONDS: Final = 60.0
LATE: Final = 0.002
"""Seconds by which a flow that waited goes on too late, as timers do."""

ROUNDING: Final = 1e-6

START: Final = BURST_SECONDS + DEEPEST_DEBT + LONGEST_WAIT
"""Seconds of the rate that may pass at once while all begin."""


class Flows:
    """Flows with endless bulks that share a bucket, on a clock that jumps.

    moved: bytes by flow; waits: the longest pause between two pieces of each.
    """

    def __init__(self, paces: list[Pace], most: int = BUFFER_SIZE, start: float = 0.0) -> None:
        self.paces, self.most, self.start = paces, most, start
        self.moved = [0] * len(paces)
        self.waits = [0.0] * len(paces)

    def run(self, seconds: float) -> None:
        order = itertools.count()
        due = [(self.start, next(order), self.start, number) for number in range(len(self.paces))]
        while due[0][0] < seconds:
            now, _, last, number = heapq.heappop(due)
            pace = self.paces[number]
            if not pace.wait(now):
                self.waits[number] = max(self.waits[number], now - last)
                last = now
                count = min(pace.piece(now), self.most)
                pace.pay(count, now)
                self.moved[number] += count
            heapq.heappush(
                due, (now + pace.wait(now) + (LATE if pace.wait(now) else 0), next(order), last, number)
            )


def sharing(flows: int, rate: int, link_rate: int | None = None) -> list[Pace]:
    """Paces of flows that share one bucket, each with one of its own if there is a link rate."""
    shared = Bucket(rate, 0.0)
    return [Pace([shared, *([Bucket(link_rate, 0.0)] if link_rate else [])]) for _ in range(flows)]


@pytest.mark.parametrize("flows", [1, 2, 10, 100])
@pytest.mark.parametrize("rate", [MIB, 10 * MIB, 100 * MIB])
@pytest.mark.parametrize("most", [1000, 5000, BUFFER_SIZE])
def test_the_rate_is_kept_and_used(flows: int, rate: int, most: int) -> None:
    """Whatever the flows' reads are like. At first, when there is no debt, some seconds' worth passes."""
    all_flows = Flows(sharing(flows, rate), most)
    seconds = 5.0 if most < BUFFER_SIZE else SECONDS
    all_flows.run(seconds)
    passed = sum(all_flows.moved)
    assert passed <= rate * (seconds + START)
    possible = flows * most / LATE * seconds  # with small reads, timers may be what limits it
    assert passed >= 0.9 * min(rate * seconds, possible)


@pytest.mark.parametrize("rate", [MIB, 100 * MIB])
def test_a_hundred_flows_get_the_same(rate: int) -> None:
    flows = Flows(sharing(100, rate))
    flows.run(SECONDS)
    assert min(flows.moved) > max(flows.moved) / 2


@pytest.mark.parametrize("link_rate", [4096, 64 * 1024, MIB])
def test_each_link_keeps_to_its_own_rate(link_rate: int) -> None:
    flows = Flows(sharing(5, 100 * MIB, link_rate))
    flows.run(SECONDS)
    for moved in flows.moved:
        assert moved == pytest.approx(link_rate * SECONDS, rel=0.05)


@pytest.mark.parametrize("rate", [4096, 100_000, MIB, 100 * MIB])
@pytest.mark.parametrize("flows", [1, 3, 100])
def test_nobody_waits_long_however_many_share(flows: int, rate: int) -> None:
    """Where the rate gives each less than a piece in that time, it is the rate that gives way."""
    all_flows = Flows(sharing(flows, rate))
    all_flows.run(20)
    assert max(all_flows.waits) <= LONGEST_WAIT + LATE + ROUNDING
    assert sum(all_flows.moved) <= max(rate * (20 + START), flows * SMALLEST_PIECE * 22)


def test_a_tick_beside_bulks_passes_at_once() -> None:
    """A link that says little has paid for what it said long ago."""
    *bulks, quiet = sharing(4, 100_000)
    flows = Flows(bulks)
    flows.run(20)
    assert quiet.wait(20.0) == 0
    quiet.pay(4, 20.0)
    assert quiet.wait(20.0) < 0.01


def test_a_debt_is_forgotten_with_those_who_made_it() -> None:
    """Whoever is left goes on at the full rate soon."""
    paces = sharing(100, 100_000)
    Flows(paces).run(20)
    left = Flows(paces[:1], start=20.0)
    left.run(20.0 + 10 * DEEPEST_DEBT)
    assert left.moved[0] > 0.8 * 100_000 * 10 * DEEPEST_DEBT


def test_what_was_not_used_is_kept_for_a_short_time() -> None:
    bucket = Bucket(1000, 0.0)
    assert bucket.level(0.0) == 0
    assert bucket.level(0.1) == pytest.approx(100)
    assert bucket.level(1e6) == 1000 * BURST_SECONDS


@given(
    rate=st.integers(4096, 10**10),
    steps=st.lists(st.tuples(st.floats(0, 100), st.integers(0, 10**6)), max_size=50),
)
def test_whatever_is_paid_waits_and_pieces_stay_in_bounds(rate: int, steps: list[tuple[float, int]]) -> None:
    pace, now = Pace([Bucket(rate, 0.0)]), 0.0
    for passes, count in steps:
        now += passes
        assert SMALLEST_PIECE <= pace.piece(now) <= max(SMALLEST_PIECE, rate)
        pace.pay(count, now)
        assert 0 <= pace.wait(now) <= LONGEST_WAIT + ROUNDING
