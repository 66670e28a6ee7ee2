"""Links beside each other: nobody starves, nobody holds more than his share, nothing is left over."""

import select
from typing import Final

import pytest

from epmdless.links import pipes, pump
from epmdless.links.ends import End
from epmdless.links.link import Flow
from epmdless.net.tls.connection import RECORD_SIZE
from tests.links.pump_ways import BULK, FRAMES, WAYS, Way, by_way, going, most_held
from tests.links.pumps import SMALL_SOCKETS, WITHIN, Carried, Rig, driven
from tests.wire.frame_model import TICK

MANY: Final = 40


def wait_for_bytes(flow: Flow) -> None:
    """Wait until the system has brought something to a flow's source."""
    assert select.select([flow.source.fileno()], [], [], WITHIN)[0]


# Turns.


@pytest.mark.parametrize("way", WAYS[:3], ids=str)
def test_a_ping_beside_a_bulk_waits_for_one_portion_at_the_most(way: Way) -> None:
    with going(way, small=True), driven() as rig:
        bulk, ping = rig.open(frames=way.frames), rig.open(frames=way.frames)
        for _ in range(20):
            rig.cut_short_in_a_bulk(bulk)
            ping.near.send(TICK)
            wait_for_bytes(ping.flows[0])
            assert rig.rounds.again
            rig.round()
            assert ping.flows[0].count == len(ping.near.sent)
        rig.until(lambda: ping.far.read() or len(ping.far.received) == 80, "the pings")


@by_way
def test_a_flow_moves_one_portion_in_a_round(way: Way) -> None:
    with going(way), driven() as rig:
        carried = rig.open(frames=way.frames)
        flow = carried.flows[0]
        most = pump.PORTION * max(pump.BUFFER_SIZE, pipes.PIPE_SIZE if way.splices else 0)
        for _ in range(50):
            before = flow.count
            carried.near.send(BULK)
            rig.round()
            carried.far.read_all()
            assert flow.count - before <= 2 * most  # an event's, and that of the work that was put off


@pytest.mark.parametrize("way", [*WAYS[:3], WAYS[4]], ids=str)
def test_many_bulks_get_the_same(way: Way) -> None:
    with going(way, small=True), driven() as rig:
        links = [rig.open(frames=way.frames) for _ in range(MANY)]
        for _ in range(30):
            for carried in links:
                carried.near.send(FRAMES[:40_000])
            rig.round()
            for carried in links:
                carried.far.read_all()
        counts = sorted(carried.flows[0].count for carried in links)
        assert counts[0] >= counts[MANY // 2] / 2


def test_a_side_that_reads_nothing_holds_up_nobody_else() -> None:
    with driven() as rig:
        stalled, lively = rig.open(frames=True), rig.open(frames=True)
        rig.block(stalled, stalled.near, BULK * 9)
        rig.deliver(lively, BULK, BULK)
        stalled.far.send(BULK)  # the other direction of the same link, too
        rig.until(lambda: stalled.near.read() == 0 and stalled.near.received == stalled.far.sent, "the bulk")
        assert stalled.flows[0].blocked


def test_ticks_overtake_nothing_and_are_not_overtaken() -> None:
    with driven() as rig:
        carried = rig.open(frames=True)
        rig.block(carried, carried.near, BULK * 9)
        sent = len(carried.near.sent)
        rig.deliver(carried, TICK)
        assert carried.far.received[:sent] == carried.near.sent[:sent]
        assert carried.far.received[sent:] == TICK


# Shares.


@by_way
def test_a_flow_holds_one_buffer_or_one_pipe_full_at_the_most(way: Way) -> None:
    with going(way), driven() as rig:
        carried = rig.open(frames=way.frames)
        rig.block(carried, carried.near, BULK * 9)
        flow = carried.flows[0]
        assert len(flow.unsent) <= most_held(way, pump.BUFFER_SIZE, RECORD_SIZE)
        assert flow.piped <= pipes.PIPE_SIZE
        assert not (flow.unsent and flow.piped)
        before = flow.count
        rig.rest()
        assert flow.count == before


def test_a_blocked_flow_is_not_read_for_each_byte_that_comes() -> None:
    with driven() as rig:
        carried = rig.open(frames=True, buffers=SMALL_SOCKETS)
        rig.block(carried, carried.near, BULK)
        held = carried.flows[0].held
        carried.near.send(TICK)
        rig.rest()
        assert carried.flows[0].held == held


def test_no_more_pipes_than_may_be_are_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipes, "MAX_PIPES", 5)
    with going(WAYS[1], small=True), driven() as rig:
        links = [rig.open(frames=False, buffers=SMALL_SOCKETS) for _ in range(MANY)]
        for carried in links:
            rig.block(carried, carried.near, FRAMES)
            assert rig.pump.pipes.used <= 5
        with_pipe = [carried for carried in links if carried.flows[0].pipe is not None]
        assert len(with_pipe) == rig.pump.pipes.used == 5
        for carried in links:
            rig.deliver(carried)
        rig.rest()
        assert rig.pump.pipes.used == 0


def test_a_pipe_that_holds_something_is_closed_with_its_link() -> None:
    with going(WAYS[1], small=True), driven() as rig:
        carried = rig.open(frames=False, buffers=SMALL_SOCKETS)
        rig.block(carried, carried.near, FRAMES)
        assert carried.flows[0].piped
        rig.pump.cut(carried.link, End.ENDED)
        assert rig.pump.pipes.descriptors == 0
        fresh = rig.open(frames=False)
        rig.deliver(fresh, FRAMES)
        assert fresh.far.received == FRAMES


def test_descriptors_are_counted() -> None:
    with going(WAYS[1], small=True), driven() as rig:
        assert rig.pump.descriptors == 0
        carried = rig.open(frames=False, buffers=SMALL_SOCKETS)
        assert rig.pump.descriptors == 2
        rig.block(carried, carried.near, FRAMES)
        assert rig.pump.descriptors == 4
        rig.pump.cut(carried.link, End.ENDED)
        assert rig.pump.descriptors == 0


def end_all(rig: Rig, links: list[Carried]) -> None:
    """End links in all ways that there are, one after the other."""
    for number, carried in enumerate(links):
        match number % 5:
            case 0:
                carried.near.reset()
            case 1:
                carried.far.sock.close()
            case 2:
                carried.near.half_close()
                carried.far.half_close()
            case 3:
                rig.pump.cut(carried.link, End.ENDED, reset=True)
            case 4:
                rig.pump.finish(carried.link, End.ENDED)
                rig.pump.cut(carried.link, End.ENDED)


@pytest.mark.parametrize("loaded", [False, True])
def test_nothing_is_left_of_links_that_end_all_at_once(loaded: bool) -> None:
    """What is left is looked at by driven()."""
    with going(WAYS[0], small=True), driven() as rig:
        links = [rig.open(frames=True, buffers=SMALL_SOCKETS) for _ in range(MANY)]
        for carried in links if loaded else ():
            rig.block(carried, carried.near, FRAMES)
            rig.block(carried, carried.far, FRAMES)
        end_all(rig, links)
        for carried in links:
            for peer in (carried.near, carried.far):
                if peer.sock.fileno() >= 0:
                    rig.until(peer.read_all, "the end")
                    peer.sock.close()
        rig.until(lambda: len(rig.ended) == MANY, "all ends")
        assert len(set(map(id, rig.ended))) == MANY
