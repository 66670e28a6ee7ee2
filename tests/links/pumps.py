"""A pump on real TCP connections over loopback, driven round by round, and the peers of its links.

    with driven() as rig:
        link = rig.open(frames=True)
        link.near.send(b"...")
        rig.until(lambda: link.far.read(), "the bytes")

At its end a rig checks that nothing is left: descriptors, handlers, pipes, work that was put off.
"""

import contextlib
import fcntl
import os
import resource
import select
import socket
import termios
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from epmdless.links.ends import End
from epmdless.links.link import Flow, Link, LinkTable
from epmdless.links.pace import Pace
from epmdless.links.pump import Pump
from epmdless.net.rounds import Rounds
from epmdless.net.tls.connection import TlsLayer
from tests.links import peers
from tests.links.peers import Contexts, Peer, Side, tls_end
from tests.links.pump_ways import FRAMES
from tests.support.deadline import eventually
from tests.wire.frame_model import Counts

WITHIN: Final = 10.0
"""Seconds for what takes a few rounds."""

SMALL_SOCKETS: Final = 8 * 1024
"""Bytes for each buffer of a socket: few enough for a sender to be blocked soon."""


@dataclass(slots=True)
class Carried:
    """A link that a pump carries, and its two ends."""

    link: Link
    near: Peer
    far: Peer
    flows: tuple[Flow, Flow]

    @property
    def end(self) -> End | None:
        return self.link.end

    @property
    def over(self) -> bool:
        return self.link.flows is None

    def flow_from(self, peer: Peer) -> Flow:
        return self.flows[0] if peer is self.near else self.flows[1]

    def sides(self, side: Side) -> tuple[Peer, Peer]:
        """The peer on that side, and the other."""
        return (self.near, self.far) if side == "near" else (self.far, self.near)

    def other(self, peer: Peer) -> Peer:
        return self.far if peer is self.near else self.near


class Rig:
    """A pump, its rounds, and what it told."""

    def __init__(self, rounds: Rounds) -> None:
        self.rounds = rounds
        self.ended: list[Link] = []
        self.faults: list[Exception] = []
        self.pump = Pump(rounds, self._note_end, self.faults.append)
        self.on_closed: Callable[[Link], object] = lambda link: None
        self._table = LinkTable()
        self._peers: list[Peer] = []
        self._flows_of_ended: tuple[Flow, Flow] | None = None
        rounds.failed = lambda fd, error: self.faults.append(error)

    def open(
        self,
        *,
        frames: bool,
        from_near: bytes = b"",
        from_far: bytes = b"",
        buffers: int | None = None,
        tls: Contexts | None = None,
        paces: tuple[Pace, Pace] | None = None,
    ) -> Carried:
        """Have a new link carried; on the sides of `peers.TLS_SIDES` it speaks TLS.

        buffers: bytes for each of its sockets' buffers; None = as the system has it.
        tls: contexts of TLS; None = the usual ones.
        """
        (near, ours), (far, theirs) = connection(buffers), connection(buffers)
        ends: dict[Side, Peer] = {"near": Peer(near), "far": Peer(far)}
        layers: dict[Side, TlsLayer | None] = {"near": None, "far": None}
        for side in peers.TLS_SIDES:
            layers[side], ends[side] = tls_end(ends[side].sock, side, tls)
        return self.carry(
            ends["near"],
            ours,
            ends["far"],
            theirs,
            from_near=from_near,
            from_far=from_far,
            frames=frames,
            near_tls=layers["near"],
            far_tls=layers["far"],
            paces=paces,
        )

    def carry(
        self,
        near: Peer,
        ours: socket.socket,
        far: Peer,
        theirs: socket.socket,
        *,
        frames: bool,
        from_near: bytes = b"",
        from_far: bytes = b"",
        near_tls: TlsLayer | None = None,
        far_tls: TlsLayer | None = None,
        paces: tuple[Pace, Pace] | None = None,
    ) -> Carried:
        """Have a link carried whose sockets are there already."""
        self._peers += [near, far]
        near.sent += from_near
        far.sent += from_far
        link = self._table.open("route", "127.0.0.1", "127.0.0.1 port 1", self.rounds.now)
        link.paces = paces
        self.pump.carry(
            link,
            ours,
            theirs,
            from_near=from_near,
            from_far=from_far,
            frames=frames,
            near_tls=near_tls,
            far_tls=far_tls,
        )
        flows = link.flows or self._flows_of_ended
        assert flows is not None
        return Carried(link, near, far, flows)

    def round(self) -> int:
        """Handle what is there, once; how much that was."""
        for peer in self._peers:
            peer.flush()
        return self.rounds._round()

    def block(self, carried: Carried, sender: Peer, data: bytes) -> None:
        """Send until the other side, which reads nothing, is full, and so are the flow and its source."""
        rest = memoryview(data)
        flow = carried.flow_from(sender)
        self.rest()
        while taken := sender.send(rest):
            rest = rest[taken:]
            self.rest()
        assert flow.blocked
        assert flow.held

    def cut_short_in_a_bulk(self, carried: Carried) -> None:
        """Have the near side send until its flow, a bulk, has had its portion and waits for its turn.

        Only a pump in miniature comes to that while nobody else has a processor.
        """
        flow = carried.flows[0]
        for _ in range(100):
            carried.near.send(FRAMES)
            self.round()
            carried.far.read_all()
            if flow.bulk and flow.queued:
                return
        raise AssertionError("the flow was never cut short")

    def check_ended(self, carried: Carried, code: End) -> None:
        """This link, and no other, is over, for this reason, and nothing is amiss."""
        self.rest()
        assert carried.over
        assert carried.end is code
        assert self.ended == [carried.link]
        assert self.faults == []

    def check_idle_pipes(self) -> None:
        """No pipe in the pool holds anything."""
        for pipe in self.pump.pipes._idle:
            assert fcntl.ioctl(pipe.read_end, termios.FIONREAD, bytes(4)) == bytes(4)

    def put_off(self) -> None:
        """Do the work that was put off, without a look at what has happened since."""
        while self.rounds.again:
            self.rounds.again.popleft()()

    def until(self, look: Callable[[], object], what: str) -> None:
        """Go on until `look` returns something true."""

        def step() -> object:
            self.round()
            return look()

        for _ in range(100):  # most things take a few rounds; then pauses between them are no loss
            if step():
                return
        eventually(step, within=WITHIN, what=what)

    def rest(self) -> None:
        """Go on until nothing happens any more."""
        while self.round() or select.select([self.rounds.epoll], [], [], 0.005)[0]:
            pass

    def deliver(self, carried: Carried, from_near: bytes = b"", from_far: bytes = b"") -> None:
        """Send, and read on both sides, until all of it has arrived."""
        left = {carried.near: memoryview(from_near), carried.far: memoryview(from_far)}
        goal = {peer: len(carried.other(peer).sent) + len(left[carried.other(peer)]) for peer in left}

        def look() -> bool:
            for peer in left:
                left[peer] = left[peer][peer.send(left[peer]) if left[peer] else 0 :]
                peer.read()
            return all(len(peer.received) >= goal[peer] for peer in left)

        self.until(look, "the delivery")

    def _note_end(self, link: Link) -> None:
        self.ended.append(link)
        self._flows_of_ended = link.flows
        self._table.close(link)
        self.on_closed(link)

    def abandon(self) -> None:
        """Close everything, in whatever state it is."""
        for peer in self._peers:
            peer.sock.close()
        for link in self._table:
            self.pump.cut(link, End.INTERNAL)
        self.pump.close()
        self.rounds.close()

    def close(self) -> None:
        """End it, and check that nothing is left."""
        for peer in self._peers:
            peer.sock.close()
        self.until(lambda: not self._table and not self.rounds.again, "the end of all links")
        self.check_idle_pipes()
        assert self.pump.pipes.used == 0
        self.pump.close()
        assert self.pump.descriptors == 0
        assert self.rounds.handlers == {}
        assert watched(self.rounds.epoll) == 0
        assert self.faults == []


@contextlib.contextmanager
def driven() -> Iterator[Rig]:
    """A rig; at the end, nothing of it may be left."""
    before = descriptors()
    rounds = Rounds()
    rig = Rig(rounds)
    try:
        yield rig
        rig.close()
    finally:
        rig.abandon()
    assert descriptors() == before


def counted(flow: Flow) -> Counts | None:
    """What was counted of a flow; None if nothing was."""
    if flow.walker is None:
        return None
    assert flow.frames is not None
    assert flow.largest is not None
    return Counts(flow.frames, flow.walker.ticks, flow.walker.fragments, flow.largest)


def connection(buffers: int | None = None) -> tuple[socket.socket, socket.socket]:
    """A TCP connection over loopback: who dialled, who accepted; both non-blocking, without Nagle's delay."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        dialling = socket.socket()
        for sock in (listener, dialling):
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF) if buffers else ():
                sock.setsockopt(socket.SOL_SOCKET, option, buffers or 0)
        dialling.connect(listener.getsockname())
        accepted, _ = listener.accept()
    for sock in (dialling, accepted):
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return dialling, accepted


def descriptors(pid: int | None = None) -> dict[str, str]:
    """What a process, by default this one, has open, by number."""
    folder = Path(f"/proc/{pid or 'self'}/fd")
    found = {}
    for path in folder.iterdir():
        with contextlib.suppress(OSError):  # the one that lists the folder is gone
            found[path.name] = str(path.readlink())
    return {number: what for number, what in found.items() if what != f"/proc/{pid or os.getpid()}/fd"}


@contextlib.contextmanager
def no_descriptors() -> Iterator[None]:
    """Take all descriptors that this process may have, under a limit just above what it has."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, descriptors())) + 1, limits[1]))
    taken = []
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(0))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for descriptor in taken:
            os.close(descriptor)


def watched(epoll: select.epoll) -> int:
    """How many descriptors an epoll watches."""
    return Path(f"/proc/self/fdinfo/{epoll.fileno()}").read_text().count("tfd:")
