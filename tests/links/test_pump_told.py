"""What a pump does when it is told to end links, and when something happens that should not."""

import errno
import os
import select
import socket

import pytest

from epmdless.links.ends import End
from epmdless.links.link import Link
from epmdless.wire.frames import FrameWalker
from tests.links.peers import Side
from tests.links.pump_ways import BULK, WAYS, Way, by_plain_way, by_way, going
from tests.links.pumps import Carried, driven

by_side = pytest.mark.parametrize("side", ["near", "far"])


# Told to end.


@by_way
def test_finish_delivers_what_was_taken_in_and_then_the_end(way: Way) -> None:
    with going(way), driven() as rig:
        carried = rig.open(frames=way.frames)
        rig.block(carried, carried.near, BULK * 9)
        out, back = carried.flows
        taken = out.count
        rig.pump.finish(carried.link, End.DRAINED)
        assert back.shut
        assert not out.shut
        rig.until(carried.far.read_all, "the end")
        assert carried.far.at_end
        assert carried.far.received == carried.near.sent[:taken]
        assert carried.near.read_all()
        assert not carried.over  # both must have acknowledged it all: who called finish() looks to that
        rig.pump.cut(carried.link, End.DRAINED)
        rig.check_ended(carried, End.DRAINED)


def test_finish_reads_no_more() -> None:
    with driven() as rig:
        carried = rig.open(frames=True)
        rig.pump.finish(carried.link, End.ENDED)
        carried.near.send(b"too late")
        rig.rest()
        assert carried.flows[0].count == 0
        assert carried.far.read_all()
        rig.pump.cut(carried.link, End.ENDED)


@by_way
def test_finish_waits_for_a_half_closed_link_too(way: Way) -> None:
    """To close a socket in which something is unread is to reset it, and to lose what it has not sent."""
    with going(way), driven() as rig:
        carried = rig.open(frames=way.frames)
        rig.block(carried, carried.near, BULK * 2)
        carried.near.half_close()
        for _ in range(100):
            carried.far.read(100_000)
            rig.rest()
            if carried.flows[0].shut:
                break
        assert carried.flows[0].shut
        carried.far.send(b"unread")
        rig.pump.finish(carried.link, End.DRAINED)
        assert not carried.over
        rig.until(carried.far.read_all, "the end")
        assert carried.far.received == carried.near.sent
        rig.pump.cut(carried.link, End.DRAINED)
        rig.check_ended(carried, End.NEAR_CLOSED)


@by_side
def test_a_reset_while_a_link_finishes_ends_it(side: Side) -> None:
    with driven() as rig:
        carried = rig.open(frames=True)
        rig.rest()
        rig.pump.finish(carried.link, End.DRAINED)
        carried.sides(side)[0].reset()
        rig.check_ended(carried, End.DRAINED)


@pytest.mark.parametrize("reset", [False, True])
def test_cut_ends_a_link_whatever_it_holds(reset: bool) -> None:
    with driven() as rig:
        carried = rig.open(frames=True)
        rig.block(carried, carried.near, BULK * 9)
        rig.pump.cut(carried.link, End.ENDED, reset=reset)
        rig.check_ended(carried, End.ENDED)
        carried.near.read_all()
        assert carried.near.was_reset  # of what it has sent, some was not read
        carried.far.read_all()
        assert carried.far.was_reset is reset


@pytest.mark.parametrize("reset", [False, True])
def test_cut_ends_an_idle_link_as_it_is_told(reset: bool) -> None:
    with driven() as rig:
        carried = rig.open(frames=True)
        rig.pump.cut(carried.link, End.ENDED, reset=reset)
        for peer in (carried.near, carried.far):
            assert peer.read_all()
            assert peer.was_reset is reset


def test_a_link_that_is_over_cannot_be_ended_again() -> None:
    with driven() as rig:
        carried = rig.open(frames=True)
        rig.pump.cut(carried.link, End.ENDED)
        rig.pump.cut(carried.link, End.DRAINED)
        rig.pump.finish(carried.link, End.DRAINED)
        rig.check_ended(carried, End.ENDED)


def test_a_link_may_end_while_its_flow_waits_for_its_turn() -> None:
    with going(WAYS[0], small=True), driven() as rig:
        carried = rig.open(frames=True)
        rig.cut_short_in_a_bulk(carried)
        rig.pump.cut(carried.link, End.ENDED)
        rig.check_ended(carried, End.ENDED)


# Descriptors that change hands.


def test_a_descriptor_that_a_new_link_gets_within_a_round_is_not_taken_for_the_old_one() -> None:
    """Both sides of the old link leave in one round: the second's event comes to the new link."""
    with driven() as rig:
        old = rig.open(frames=True)
        numbers = {flow.source.fileno() for flow in old.flows}
        new: list[Carried] = []

        def open_anew(link: Link) -> None:
            if link is old.link:
                new.append(rig.open(frames=True))

        rig.rest()
        rig.on_closed = open_anew
        old.near.reset()
        old.far.reset()
        rig.until(lambda: new, "the new link")
        assert numbers & {flow.source.fileno() for flow in new[0].flows}
        rig.deliver(new[0], b"to far", b"to near")
        assert new[0].end is None


# Faults of ours.


def test_a_fault_ends_its_own_link_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    class PoisonError(Exception):
        pass

    walk = FrameWalker.walk

    def poisoned(walker: FrameWalker, data: memoryview, end: int, now: float) -> None:
        if bytes(data[:end]) == b"poison":
            raise PoisonError
        walk(walker, data, end, now)

    monkeypatch.setattr(FrameWalker, "walk", poisoned)
    with driven() as rig:
        sick, well = rig.open(frames=True), rig.open(frames=True)
        sick.near.send(b"poison")
        well.near.send(b"food")
        rig.until(sick.far.read_all, "the end")
        rig.until(well.far.read, "the food")
        assert sick.far.was_reset
        assert (sick.end, well.end) == (End.INTERNAL, None)
        assert [type(fault) for fault in rig.faults] == [PoisonError]
        rig.faults.clear()


def test_a_fault_in_who_is_told_of_an_end_stops_nobody() -> None:
    """Not even those whose events were in the same round: no edge would come again."""
    with driven() as rig:
        links = [rig.open(frames=True) for _ in range(5)]
        rig.rest()

        def stumble(link: Link) -> None:
            raise ValueError(link.id)

        rig.on_closed = stumble
        links[0].near.reset()
        links[1].near.send(b"1")
        links[2].far.sock.close()
        links[2].near.sock.close()
        links[3].near.send(b"3")
        links[4].near.reset()
        rig.rest()
        assert [bytes(links[number].far.received) for number in (1, 3) if links[number].far.read()] == [
            b"1",
            b"3",
        ]
        assert [carried.over for carried in links] == [True, False, True, False, True]
        assert sorted(error.args for error in rig.faults) == [(1,), (3,), (5,)]
        rig.faults.clear()
        rig.on_closed = lambda link: None


def test_a_link_that_the_epoll_does_not_take_ends_as_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """fs.epoll.max_user_watches, for one."""

    class Full:
        def __init__(self, epoll: select.epoll) -> None:
            self.epoll = epoll
            self.left = 1

        def register(self, fd: int, events: int) -> None:
            if not self.left:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self.left -= 1
            self.epoll.register(fd, events)

    with driven() as rig:
        monkeypatch.setattr(rig.pump, "_epoll", Full(rig.rounds.epoll))
        carried = rig.open(frames=True)
        assert carried.near.read_all()
        assert carried.far.read_all()
        assert [type(fault) for fault in rig.faults] == [OSError]
        rig.faults.clear()
        rig.check_ended(carried, End.INTERNAL)


# Urgent data: no node sends any, but an end behind it must not be lost.


@by_plain_way
@pytest.mark.parametrize("after", [b"", b"after"])
def test_urgent_data_does_not_hold_up_what_stands_behind_it(way: Way, after: bytes) -> None:
    with going(way), driven() as rig:
        carried = rig.open(frames=way.frames)
        rig.rest()
        carried.near.sock.send(b"before")
        carried.near.sock.send(b"!", socket.MSG_OOB)
        carried.near.sock.send(after)
        rig.rest()
        carried.far.read_all()
        assert bytes(carried.far.received).replace(b"!", b"") == b"before" + after


@pytest.mark.parametrize("way", WAYS[:3], ids=str)
def test_an_end_behind_urgent_data_does_not_hide_what_stands_between(way: Way) -> None:
    """splice(2) stops at urgent data, and says then that the connection has ended if the FIN is there."""
    with going(way, small=True), driven() as rig:
        carried = rig.open(frames=way.frames)
        rig.cut_short_in_a_bulk(carried)
        sent = len(carried.near.sent)
        carried.near.sock.send(b"!", socket.MSG_OOB)
        carried.near.send(b"behind" * 100)
        carried.near.half_close()
        rig.until(carried.far.read_all, "the end")
        assert carried.far.received[:sent] == carried.near.sent[:sent]
        assert bytes(carried.far.received[sent:]).lstrip(b"!") == b"behind" * 100
