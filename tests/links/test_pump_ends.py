"""How links end: each side learns it as it would from the other itself, and nothing is left behind."""

import errno
import socket
from typing import Final

import pytest

from epmdless.links.ends import End
from tests.links.peers import Peer, Side
from tests.links.pump_ways import BULK, WAYS, Way, by_way, going
from tests.links.pumps import SMALL_SOCKETS, connection, driven
from tests.wire.frame_model import TICK

by_side = pytest.mark.parametrize("side", ["near", "far"])

CLOSED: Final = {"near": End.NEAR_CLOSED, "far": End.FAR_CLOSED}
RESET: Final = {"near": End.NEAR_RESET, "far": End.FAR_RESET}
LOST: Final = {"near": End.NEAR_LOST, "far": End.FAR_LOST}


# FIN.


@by_side
@by_way
def test_a_side_that_closes_its_direction_is_answered_until_the_other_closes_too(
    way: Way, side: Side
) -> None:
    with going(way), driven() as rig:
        carried = rig.open(frames=way.frames)
        closing, other = carried.sides(side)
        closing.send(b"last words")
        closing.half_close()
        rig.until(other.read_all, "the end")
        assert bytes(other.received) == b"last words"
        assert not carried.over
        rig.deliver(carried, **{"from_far" if side == "near" else "from_near": BULK})
        other.half_close()
        rig.until(closing.read_all, "the other end")
        assert closing.received == other.sent
        rig.check_ended(carried, CLOSED[side])


@by_side
@by_way
def test_what_waits_for_a_slow_reader_is_delivered_before_the_end(way: Way, side: Side) -> None:
    with going(way), driven() as rig:
        carried = rig.open(frames=way.frames)
        closing, other = carried.sides(side)
        rig.block(carried, closing, BULK * 9)
        closing.half_close()
        rig.rest()
        assert not carried.flow_from(closing).ended
        rig.until(other.read_all, "the end")
        assert other.received == closing.sent
        assert not carried.over


def test_the_first_to_close_is_the_cause_of_the_end() -> None:
    with driven() as rig:
        carried = rig.open(frames=True)
        carried.far.half_close()
        rig.rest()
        carried.near.half_close()
        rig.check_ended(carried, End.FAR_CLOSED)


def test_an_end_in_the_same_round_as_the_last_bytes_is_passed_on() -> None:
    with driven() as rig:
        carried = rig.open(frames=True)
        rig.rest()
        carried.near.send(TICK)
        carried.near.sock.close()
        rig.until(carried.far.read_all, "the end")
        assert bytes(carried.far.received) == TICK


# RST.


@by_side
@by_way
def test_a_reset_is_passed_on_as_a_reset(way: Way, side: Side) -> None:
    with going(way), driven() as rig:
        carried = rig.open(frames=way.frames)
        rig.deliver(carried, BULK, BULK)
        leaving, other = carried.sides(side)
        leaving.reset()
        rig.until(other.read_all, "the reset")
        assert other.was_reset
        rig.check_ended(carried, RESET[side])


@by_side
@by_way
def test_a_reset_is_passed_on_while_the_other_side_reads_nothing(way: Way, side: Side) -> None:
    with going(way), driven() as rig:
        carried = rig.open(frames=way.frames)
        leaving, other = carried.sides(side)
        rig.block(carried, leaving, BULK * 9)
        leaving.reset()
        rig.check_ended(carried, RESET[side])
        other.read_all()
        assert other.was_reset


@by_side
@by_way
def test_a_reader_that_takes_nothing_and_resets_ends_the_link(way: Way, side: Side) -> None:
    with going(way), driven() as rig:
        carried = rig.open(frames=way.frames)
        leaving, other = carried.sides(side)
        rig.block(carried, other, BULK * 9)
        leaving.reset()
        rig.check_ended(carried, RESET[side])
        other.read_all()
        assert other.was_reset


@by_side
def test_a_reset_after_the_own_direction_was_closed_is_passed_on(side: Side) -> None:
    """A node that has closed its socket answers with a reset what still comes."""
    with driven() as rig:
        carried = rig.open(frames=True)
        leaving, other = carried.sides(side)
        leaving.half_close()
        rig.until(other.read_all, "the end")
        leaving.sock.close()
        other.send(TICK)
        rig.check_ended(carried, CLOSED[side])
        assert other.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) in (errno.ECONNRESET, errno.EPIPE)


@pytest.mark.parametrize("way", WAYS[:3], ids=str)
def test_a_reset_that_comes_between_two_portions_of_a_bulk_is_passed_on(way: Way) -> None:
    """A look ahead must not take the error from the read that it is meant for."""
    with going(way, small=True), driven() as rig:
        carried = rig.open(frames=way.frames)
        rig.cut_short_in_a_bulk(carried)
        carried.near.reset()
        rig.put_off()
        carried.far.read_all()
        rig.check_ended(carried, End.NEAR_RESET)
        carried.far.read_all()
        assert carried.far.was_reset


@by_side
def test_a_side_that_no_longer_answers_is_lost(side: Side) -> None:
    """TCP_USER_TIMEOUT, which the kernel applies to a reader without a window, too."""
    with driven() as rig:
        carried = rig.open(frames=True, buffers=SMALL_SOCKETS)
        _, other = carried.sides(side)
        carried.flow_from(other).sink.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 10)
        rig.block(carried, other, BULK)
        rig.until(lambda: carried.over, "the time-out")
        other.read_all()
        assert other.was_reset
        rig.check_ended(carried, LOST[side])


# Reset, or closed, before the pump has it.


@by_side
def test_a_link_whose_side_is_gone_at_the_handover_ends_at_once(side: Side) -> None:
    """What was read already cannot be delivered."""
    with driven() as rig:
        (near, ours), (far, theirs) = connection(), connection()
        peers = {"near": Peer(near), "far": Peer(far)}
        gone, other = peers.pop(side), peers.popitem()[1]
        gone.reset()
        if side == "near":
            carried = rig.carry(gone, ours, other, theirs, frames=True, from_far=b"rest")
        else:
            carried = rig.carry(other, ours, gone, theirs, frames=True, from_near=b"rest")
        rig.check_ended(carried, RESET[side])
        other.read_all()
        assert other.was_reset
