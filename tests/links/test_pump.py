"""The pump: what goes in comes out, by every way that bytes can go."""

import hashlib
import random
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from epmdless.links import pipes, pump
from epmdless.links.ends import End
from tests.links.peers import Peer
from tests.links.pump_ways import (
    BULK,
    FRAMES,
    SMALL,
    SMALL_BUFFER,
    SMALL_PIPE,
    SMALL_RECORD,
    TLS_WAYS,
    WAYS,
    Way,
    by_way,
    going,
    most_held,
)
from tests.links.pumps import SMALL_SOCKETS, Carried, Rig, counted, driven, no_descriptors
from tests.wire.frame_model import FIRST_FRAGMENT, FURTHER_FRAGMENT, STARTS, TICK, frame, naive

LARGE: Final = frame(3_000_000)
MIDDLING: Final = b"".join(frame(65_000, FURTHER_FRAGMENT, seed) for seed in range(40))
SMALL_FRAMES: Final = b"".join(frame(60, seed=seed) for seed in range(20_000))
MIXED: Final = TICK + MIDDLING + TICK + SMALL_FRAMES + frame(500_000, FIRST_FRAGMENT) + TICK + LARGE[:-9]
"""Frames of all sizes, and one that is cut at the end."""


def digest(data: bytes | bytearray) -> str:
    return hashlib.blake2b(data).hexdigest()


def check_delivered(carried: Carried) -> None:
    """All that each side sent has arrived at the other, and was counted."""
    for peer in (carried.near, carried.far):
        assert digest(carried.other(peer).received) == digest(peer.sent)
        flow = carried.flow_from(peer)
        assert flow.count == len(peer.sent)
        assert counted(flow) == (None if flow.walker is None else naive(bytes(peer.sent)))


# Each way.


@by_way
@pytest.mark.parametrize(
    "stream", [LARGE, MIDDLING, SMALL_FRAMES, MIXED], ids=["large", "middling", "small", "mixed"]
)
def test_bytes_in_are_bytes_out_in_both_directions_at_once(way: Way, stream: bytes) -> None:
    with going(way), driven() as rig:
        carried = rig.open(frames=way.frames)
        rig.deliver(carried, stream, stream[::-1])
        check_delivered(carried)


@by_way
def test_each_way_is_the_way_that_it_says(way: Way) -> None:
    with going(way) as passed, driven() as rig:
        carried = rig.open(frames=way.frames)
        rig.deliver(carried, from_near=LARGE + MIDDLING)
        check_delivered(carried)
        assert (passed.splices > 0) is way.splices
        assert (passed.looks > 0) is (way is WAYS[0])


def test_a_bulk_that_calms_down_is_copied_again() -> None:
    with going(WAYS[1]) as passed, driven() as rig:
        carried = rig.open(frames=False)
        rig.deliver(carried, LARGE)
        rig.rest()
        assert carried.flows[0].pipe is None
        rig.deliver(carried, b"the little that ends the bulk")
        before = passed.splices
        rig.deliver(carried, b"calm")
        assert (passed.splices, rig.pump.pipes.used) == (before, 0)


def test_small_frames_are_not_looked_at_one_by_one() -> None:
    with going(WAYS[0]) as passed, driven() as rig:
        carried = rig.open(frames=True)
        rig.deliver(carried, SMALL_FRAMES * 3)
        assert passed.splices == 0
        check_delivered(carried)


def test_without_descriptors_a_bulk_is_copied_and_pipes_come_back_with_them() -> None:
    """The real limit, not a pretence of it."""
    with going(WAYS[1]) as passed, driven() as rig:
        carried = rig.open(frames=False)
        with no_descriptors():
            rig.deliver(carried, LARGE)
        assert passed.splices == 0
        rig.deliver(carried, LARGE)
        assert passed.splices > 0
        check_delivered(carried)


# What was read before.


@by_way
@pytest.mark.parametrize("size", [1, 3, 4, 100, 70_000])
def test_what_was_read_already_is_delivered_first(way: Way, size: int) -> None:
    rest, more = MIXED[:size], MIXED[size:]
    with going(way), driven() as rig:
        carried = rig.open(frames=way.frames, from_near=rest, from_far=rest[::-1])
        rig.deliver(carried, more)
        check_delivered(carried)
        assert carried.far.received[:size] == rest
        assert bytes(carried.near.received) == rest[::-1]


def test_what_was_read_already_waits_for_a_sink_that_takes_nothing() -> None:
    rest = MIXED[:300_000]
    with driven() as rig:
        carried = rig.open(frames=True, from_near=rest, buffers=SMALL_SOCKETS)
        assert carried.flows[0].blocked
        carried.near.send(b"then this")
        rig.rest()
        assert not carried.far.received
        rig.deliver(carried)
        assert bytes(carried.far.received) == rest + b"then this"
        check_delivered(carried)


def test_what_waits_in_the_sockets_when_the_pump_takes_over_is_carried() -> None:
    with driven() as rig:
        carried = rig.open(frames=True, from_near=b"\0\0")
        for peer in (carried.near, carried.far):
            peer.send(b"\0\0")
            peer.half_close()
        rig.until(lambda: carried.near.read_all() and carried.far.read_all(), "both ends")
        check_delivered(carried)
        assert carried.over


# What hides from whoever looks at a read by itself.


@pytest.mark.parametrize("length", [1, 2, 60, 4091, 4092, 5000])
def test_a_piece_of_a_frame_that_looks_like_a_frame_is_none(length: int) -> None:
    with driven() as rig:
        carried = rig.open(frames=True)
        piece = frame(length)
        rig.deliver(carried, frame(3 * len(piece), FIRST_FRAGMENT)[: 4 + len(piece)])
        rig.deliver(carried, piece)
        rig.deliver(carried, piece)
        rig.deliver(carried, piece)
        check_delivered(carried)


@pytest.mark.parametrize("held", range(1, 6))
def test_a_head_that_two_full_reads_share_is_seen(held: int) -> None:
    """The second read might have been a splice."""
    with going(WAYS[0], small=True) as passed, driven() as rig:
        carried = rig.open(frames=True)
        first = frame(SMALL_BUFFER - 4 - held)
        rig.deliver(carried, first + frame(3000, FIRST_FRAGMENT) + FRAMES)
        check_delivered(carried)
        assert passed.splices > 0


@by_way
@pytest.mark.parametrize("length", [0, 60, 10_000])
def test_room_at_a_side_that_sends_in_the_same_moment_is_seen(way: Way, length: int) -> None:
    """Both are told in one event, which is about two flows."""
    with going(way), driven() as rig:
        carried = rig.open(frames=way.frames)
        rig.block(carried, carried.far, BULK * 9)
        received = 0
        while carried.flows[1].held:
            carried.near.read_all()
            carried.near.send(frame(length))
            rig.rest()
            assert len(carried.near.received) > received, "held up for ever"
            received = len(carried.near.received)
        carried.near.read_all()
        rig.deliver(carried)
        check_delivered(carried)


# Anything that two peers can do.

LENGTHS: Final = (0, 0, 1, 2, 5, 60, 200, 700, 3000, 9000, 40_000)

PEERS = st.sampled_from(["near", "far"])
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), PEERS, st.sampled_from(LENGTHS)),
        st.tuples(st.just("cut"), PEERS, st.integers(1, 5000)),
        st.tuples(st.just("read"), PEERS, st.sampled_from([1, 1, 10, 5000, 100_000])),
        st.tuples(st.just("half_close"), PEERS, st.just(0)),
        st.tuples(st.just("rounds"), PEERS, st.integers(1, 4)),
    ),
    max_size=40,
)


class Play:
    """Two peers that do as they are told, and what must hold at every moment."""

    def __init__(self, rig: Rig, carried: Carried, way: Way, seed: int) -> None:
        self.most = most_held(way, SMALL_BUFFER, SMALL_RECORD)
        self.rig = rig
        self.carried = carried
        self.chance = random.Random(seed)
        self.to_send = {peer: bytearray() for peer in (carried.near, carried.far)}
        self.closed: list[Peer] = []

    def act(self, action: str, who: str, number: int) -> None:
        peer = self.carried.near if who == "near" else self.carried.far
        match action:
            case "send":
                self.send(peer, frame(number, self.chance.choice(STARTS), self.chance.randrange(9)))
            case "cut":  # so many bytes of a large frame, and the rest of it some other time
                self.send(peer, frame(2 * number)[:number])
            case "read":
                peer.read(number)
            case "half_close" if peer not in self.closed:
                self.half_close(peer)
            case "rounds":
                for _ in range(number):
                    self.rig.round()
        self.check()

    def send(self, peer: Peer, data: bytes) -> None:
        if peer not in self.closed:
            self.to_send[peer] += data
            del self.to_send[peer][: peer.send(self.to_send[peer])]

    def half_close(self, peer: Peer) -> None:
        peer.half_close()
        self.closed.append(peer)
        self.to_send[peer].clear()

    def check(self) -> None:
        """No flow holds more than it may, and no pipe in the pool holds anything."""
        for flow in self.carried.flows:
            assert flow.piped == 0 or flow.pipe is not None
            assert len(flow.unsent) <= self.most
            assert flow.held <= max(SMALL_PIPE, self.most)
            assert not (flow.unsent and flow.piped)
            assert flow.blocked is bool(flow.held) or self.carried.over
        assert len(self.rig.rounds.again) <= 2
        self.rig.check_idle_pipes()
        assert self.rig.pump.pipes.used == sum(flow.pipe is not None for flow in self.carried.flows)

    def end(self) -> None:
        """All must arrive, with no end to stir anything up; then both sides close."""
        self.rig.until(self._delivered, "the rest")
        for peer in (self.carried.near, self.carried.far):
            if peer not in self.closed:
                self.half_close(peer)
        self.rig.until(self._all_read, "both ends")

    def _all_read(self) -> bool:
        reads = [peer.read_all() for peer in self.to_send]  # both must read, for either to be written to
        return all(reads)

    def _delivered(self) -> bool:
        for peer, rest in self.to_send.items():
            del rest[: peer.send(rest) if rest else 0]
            peer.read()
            self.check()
        near, far = self.to_send
        return (
            not any(self.to_send.values())
            and len(near.received) == len(far.sent)
            and len(far.received) == len(near.sent)
        )


@pytest.mark.parametrize("way", [*WAYS[:3], WAYS[4], *TLS_WAYS], ids=str)
@given(actions=ACTIONS, buffers=st.sampled_from([None, 2304, SMALL_SOCKETS]), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_two_peers_do_all_arrives_in_order(
    way: Way, actions: list[tuple[str, str, int]], buffers: int | None, seed: int
) -> None:
    with going(way, small=True), driven() as rig:
        play = Play(rig, rig.open(frames=way.frames, buffers=buffers), way, seed)
        for action in actions:
            play.act(*action)
        play.end()
        assert not any(peer.was_reset for peer in play.to_send)
        check_delivered(play.carried)
        assert play.carried.over
        assert play.carried.end in (End.NEAR_CLOSED, End.FAR_CLOSED)


@pytest.mark.parametrize(
    "way", [way for way in (*WAYS, *TLS_WAYS) if way.title != "pipes too small to pay"], ids=str
)
def test_the_property_covers_each_way(way: Way) -> None:
    """The pump in miniature goes the ways that the large one goes."""
    with going(way, small=True) as passed, driven() as rig:
        play = Play(rig, rig.open(frames=way.frames, buffers=SMALL_SOCKETS), way, 0)
        for _ in range(20):
            play.act("send", "near", 40_000)
            play.act("rounds", "near", 1)
        assert play.carried.flows[0].blocked
        play.end()
        check_delivered(play.carried)
        assert (passed.splices > 0) is way.splices


def test_the_constants_in_miniature_are_those_of_the_pump() -> None:
    assert all(isinstance(getattr(pump, name), int) for name in SMALL)
    assert pipes.PIPE_SIZE > SMALL_PIPE
