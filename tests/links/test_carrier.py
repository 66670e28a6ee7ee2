"""The carrier: links handed over to it, and flows that went too fast and wait."""

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import pytest
import trio

from epmdless.links import carrier
from epmdless.links.carrier import Carrier
from epmdless.links.ends import End
from epmdless.links.link import Link
from epmdless.links.pace import LONGEST_WAIT, Bucket, Pace
from epmdless.metrics import Metrics
from epmdless.net.plain import PlainConnection
from epmdless.net.rounds import Rounds
from epmdless.net.tls.connection import TlsConnection
from tests.links.peers import Peer, Side, contexts, shaken_layers, tls_end
from tests.links.pumps import connection, descriptors
from tests.support.relays import Lines
from tests.wire.frame_model import TICK, frame

WITHIN: Final = 20.0
"""Seconds for what takes a few turns."""

RATE: Final = 256 * 1024
"""Bytes a second of the flows that are paced here."""

SOONEST: Final = 0.4
"""Seconds that a second's worth of bytes takes at the least: some of it may pass at once."""

LOOK: Final = 0.001
"""Seconds between looks at what has arrived."""


class World:
    """A carrier that serves, and the rounds that it needs."""

    def __init__(self, carrier: Carrier, rounds: Rounds) -> None:
        self.carrier, self.rounds = carrier, rounds
        self.shared = Bucket(RATE, rounds.clock())

    def open(self, side: Side | None = None, *, paced: bool = True) -> tuple[Link, Peer, Peer]:
        """A link, and its peers; one side speaks TLS."""
        (near, ours), (far, theirs) = connection(), connection()
        ends: dict[Side, Peer] = {"near": Peer(near), "far": Peer(far)}
        layer = None
        if side is not None:
            layer, ends[side] = tls_end(ends[side].sock, side)
        link = self.carrier.links.open("route", "127.0.0.1", "127.0.0.1 port 1", self.rounds.clock())
        link.paces = (Pace([self.shared]), Pace([self.shared])) if paced else None
        link.established = self.rounds.clock()
        self.carrier.pump.carry(
            link,
            ours,
            theirs,
            frames=True,
            near_tls=layer if side == "near" else None,
            far_tls=layer if side == "far" else None,
        )
        return link, ends["near"], ends["far"]

    async def transfer(self, sender: Peer, receiver: Peer, data: bytes) -> None:
        """Send, and read until it has arrived."""
        goal, rest = len(receiver.received) + len(data), memoryview(data)
        while len(receiver.received) < goal:
            rest = rest[sender.send(rest) if rest else 0 :]
            sender.flush()
            receiver.read()
            await trio.sleep(LOOK)


@asynccontextmanager
async def carrying() -> AsyncIterator[World]:
    """A world; at its end no link and no descriptor may be left."""
    before = descriptors()
    rounds = Rounds()
    lines = Lines()
    carries = Carrier(rounds, Metrics(), lines)
    with trio.fail_after(WITHIN):
        async with trio.open_nursery() as nursery:
            await nursery.start(carries.serve)
            nursery.start_soon(rounds.run)
            yield World(carries, rounds)
            nursery.cancel_scope.cancel()
    rounds.close()
    assert len(carries) == 0
    assert "internal error" not in [line["event"] for line in lines]
    gone = {number: what for number, what in descriptors().items() if number not in before}
    assert not any("event" in what or "socket" in what for what in gone.values())


async def until(look: Callable[[], bool]) -> None:
    """Go on until this is so."""
    while not look():  # noqa: ASYNC110 - sockets and flows tell nobody
        await trio.sleep(LOOK)


def is_paused(link: Link) -> bool:
    return link.flows is not None and link.flows[0].paused


# Pauses.


@pytest.mark.parametrize("side", [None, "near", "far"])
async def test_a_paced_bulk_arrives_whole_and_not_too_soon(side: Side | None) -> None:
    data = frame(RATE)
    async with carrying() as world:
        _, near, far = world.open(side)
        started = world.rounds.clock()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.transfer, near, far, data)
            nursery.start_soon(world.transfer, far, near, TICK)
        assert bytes(far.received) == data
        assert world.rounds.clock() - started >= SOONEST
        near.sock.close()
        far.sock.close()


async def test_a_tick_of_another_link_comes_through_beside_a_bulk() -> None:
    async with carrying() as world:
        bulk, near, far = world.open()
        _, quiet_near, quiet_far = world.open("far")
        near.send(frame(10 * RATE))
        await until(lambda: is_paused(bulk))
        with trio.fail_after(2 * LONGEST_WAIT):
            await world.transfer(quiet_near, quiet_far, TICK)
        for peer in (near, far, quiet_near, quiet_far):
            peer.reset()


async def test_pieces_that_need_no_pause_wait_for_no_event() -> None:
    """After a pause a flow may have more than a portion to move, and nobody else stirs the loop up."""
    async with carrying() as world:
        world.shared.rate = 64 * RATE
        _, near, far = world.open()
        await world.transfer(near, far, frame(8 * RATE))
        near.sock.close()
        far.sock.close()


async def test_a_paced_flow_that_is_closed_on_one_side_delivers_all_and_goes_on() -> None:
    data = frame(RATE // 2)
    async with carrying() as world:
        link, near, far = world.open("far")
        near.send(data)
        near.half_close()
        await until(far.read_all)
        assert bytes(far.received) == data
        assert link.end is End.NEAR_CLOSED
        await world.transfer(far, near, data)
        far.half_close()
        await until(near.read_all)
        assert near.at_end
        near.sock.close()
        far.sock.close()


@pytest.mark.parametrize("side", [None, "far"])
async def test_nothing_is_left_of_a_pause_when_its_link_is_over(side: Side | None) -> None:
    async with carrying() as world:
        link, near, far = world.open(side)
        near.send(frame(RATE * 4))
        await until(lambda: is_paused(link))
        far.reset()
        await until(lambda: link.flows is None)
        await until(lambda: not world.carrier._pauses and not world.rounds.again)
        near.sock.close()


# Ends.


async def send_until_blocked(link: Link, near: Peer) -> None:
    """Send frames from the near end until the far one takes no more."""
    flow = link.flows and link.flows[0]
    assert flow is not None
    while not flow.blocked:
        near.send(frame(1 << 16))
        await trio.sleep(LOOK)


async def test_a_link_that_one_side_closed_ends_though_the_other_takes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its host has vanished, or sleeps: no read tells the end behind what it has not taken."""
    monkeypatch.setattr(carrier, "HOUSEKEEPING", 0.05)
    monkeypatch.setattr(carrier, "HALF_CLOSED_SECONDS", 0.2)
    async with carrying() as world:
        link, near, far = world.open(paced=False)
        near.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 14)
        await send_until_blocked(link, near)
        near.half_close()
        await until(lambda: link.flows is None)
        assert link.end is End.NEAR_CLOSED
        await until(far.read_all)
        assert far.was_reset
        near.sock.close()
        far.sock.close()


async def test_a_link_on_which_one_side_takes_nothing_goes_on_for_as_long_as_nobody_closes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(carrier, "HOUSEKEEPING", 0.02)
    monkeypatch.setattr(carrier, "HALF_CLOSED_SECONDS", 0.1)
    async with carrying() as world:
        link, near, far = world.open(paced=False)
        await send_until_blocked(link, near)
        await trio.sleep(0.5)
        assert link.flows is not None
        near.sock.close()
        far.sock.close()


# What cannot be handed over.


@pytest.mark.parametrize("side", ["near", "far"])
async def test_a_side_whose_tls_is_broken_at_the_handover_resets_the_other(side: Side) -> None:
    async with carrying() as world:
        (plain_peer, plain), (tls_peer, tls) = connection(), connection()
        _client, server, _ = shaken_layers()
        broken = TlsConnection(trio.socket.from_stdlib_socket(tls), contexts().server)
        broken.layer = server
        server.incoming.write(b"no record at all")
        good = PlainConnection(trio.socket.from_stdlib_socket(plain))
        link = world.carrier.links.open("route", "127.0.0.1", "127.0.0.1 port 1", world.rounds.clock())
        told: list[None] = []
        link.over.append(lambda: told.append(None))
        near, far = (broken, good) if side == "near" else (good, broken)
        world.carrier.carry(link, near, far, b"", b"", frames=True)
        assert link.end is End.TUNNEL_CUT
        assert told == [None]
        assert len(world.carrier) == 0
        other = Peer(plain_peer)
        await until(other.read_all)
        assert other.was_reset
        plain_peer.close()
        tls_peer.close()
