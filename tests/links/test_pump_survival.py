"""What the pump must survive: gigabytes for readers of every mood, and many that read nothing at all."""

import contextlib
import select
import socket
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from epmdless.links.ends import End
from epmdless.links.pipes import MAX_PIPES
from epmdless.links.pump import BUFFER_SIZE
from tests.links.bulks import BLOCK_SIZE, Block, Receiver, Sender, run_bulk
from tests.links.pump_ways import WAYS, Way, by_plain_way, going
from tests.links.pumps import descriptors, driven
from tests.support.deadline import eventually
from tests.support.link_sides import Far, FarHost, Near, linked
from tests.support.ports import free_port
from tests.support.relays import RelayProgram, config_text, dialling, route_to, serving
from tests.wire.frame_model import TICK, frame

GIGABYTES: Final = 2 * 10**9
LARGE: Final = BLOCK_SIZE - 4
FRAGMENT: Final = 65_000

PATHS: Final = [
    pytest.param(WAYS[0], FRAGMENT, id="heads looked at ahead"),
    pytest.param(WAYS[1], FRAGMENT, id="no accounting"),
    pytest.param(WAYS[2], LARGE, id="no SO_PEEK_OFF"),
    pytest.param(WAYS[4], FRAGMENT, id="copying"),
]


@pytest.mark.parametrize(("way", "frame_size"), PATHS)
def test_two_gigabytes_arrive_at_a_moody_reader(way: Way, frame_size: int) -> None:
    """Some 3 s each: it is gigabytes that show a count that runs over, or a pipe that was mixed up.

    The reader takes the first bytes one by one, stalls three times until all is full, and closes its own
    direction in the middle. Behind it all comes a tick.
    """
    block = Block(frame_size)
    blocks = GIGABYTES // len(block.data) + 1
    with going(way) as passed, driven() as rig:
        carried = rig.open(frames=way.frames)
        sender = Sender(carried.near.sock, block, blocks, last=TICK)
        receiver = Receiver(
            carried.far.sock,
            one_by_one=3000,
            pauses=[
                (2000, Receiver.stall),
                (GIGABYTES // 4, Receiver.stall),
                (GIGABYTES // 3, Receiver.half_close),
                (GIGABYTES // 2, Receiver.stall),
            ],
        )
        run_bulk(rig, carried, sender, receiver)
        rig.check_ended(carried, End.FAR_CLOSED)
        assert (receiver.count, receiver.hash) == (sender.count, sender.hash)
        assert receiver.count > GIGABYTES
        assert receiver.last == TICK
        assert (passed.splices > 0) is way.splices
        out = carried.flows[0]
        assert out.count == sender.count
        if out.walker is not None:
            frames, ticks, fragments, largest = block.counts_of(blocks)
            assert (out.frames, out.walker.ticks, out.walker.fragments, out.largest) == (
                frames,
                ticks + 1,
                fragments,
                largest,
            )


@by_plain_way
def test_a_reader_that_resets_in_the_middle_of_a_bulk_ends_it(way: Way) -> None:
    with going(way), driven() as rig:
        carried = rig.open(frames=way.frames)
        sender = Sender(carried.near.sock, Block(FRAGMENT), 100)
        receiver = Receiver(
            carried.far.sock, one_by_one=10, pauses=[(30_000_000, lambda _: carried.far.reset())]
        )
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            run_bulk(rig, carried, sender, receiver)
        rig.check_ended(carried, End.FAR_RESET)
        assert receiver.count >= 30_000_000


# Readers that read nothing, in a relay of its own.

STALLED: Final = 72
"""Links whose far side reads nothing: more flows than there are pipes."""

FEW: Final = 32 * 1024
"""Bytes of the nodes' own buffers, and of one piece that is sent: so that it is the relay's buffers that
fill, and the kernel does not make its own so large that the machine's limit for TCP is in sight."""

MOST: Final = 64 * 1024 * 1024
"""Bytes of a link at which there is no end to what is taken in; the kernel's share is some 4 MiB."""

PER_LINK: Final = 16 * 1024
"""Bytes of memory that a link may take beside what it holds."""

ROOM: Final = 4 * 1024 * 1024
"""Bytes that the allocator may keep for itself."""

BOUND: Final = STALLED * (BUFFER_SIZE + PER_LINK) + ROOM
"""Bytes: a copying flow holds BUFFER_SIZE at the most; what is in a pipe is the kernel's."""


def memory(pid: int) -> int:
    """Bytes of memory that a process has in use (VmRSS)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))


def pipes_of(pid: int) -> int:
    """How many pipes a process has open for splice; each has two ends here."""
    return sum(what.startswith("pipe:") for what in descriptors(pid).values()) // 2


@contextlib.contextmanager
def relay(folder: Path, far_host: FarHost) -> Iterator[RelayProgram]:
    before = "[epmd]\nlisten = []"
    text = config_text(route_to(far_host), before=before, epmd_port=free_port(), drain="500ms")
    with serving(folder, text) as program:
        yield program


class Stalled:
    """A link whose near side sends what is taken, and whose far side reads nothing yet."""

    def __init__(self, near: Near, far: Far, number: int) -> None:
        self.near, self.far = near.sock, far.sock
        self._data = memoryview(frame(500_000, seed=number) * 2)
        self._sent = self._hash = 0
        self._rest = memoryview(b"")
        self._received = bytearray()
        for sock in (self.near, self.far):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, FEW)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, FEW)
            sock.setblocking(False)

    def push(self) -> int:
        """Send a piece, or what of it is taken now; how much that was."""
        assert self._sent < MOST
        at = self._sent % (len(self._data) // 2)
        return self._send(self._data[at : at + FEW])

    def _send(self, data: bytes | memoryview) -> int:
        try:
            count = self.near.send(data)
        except BlockingIOError:
            return 0
        self._hash = zlib.crc32(data[:count], self._hash)
        self._sent += count
        return count

    def finish(self) -> None:
        """Complete the frame, and put a tick behind it; see `step`."""
        self.far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, len(self._data))
        at = self._sent % (len(self._data) // 2)
        self._rest = memoryview(bytes(self._data[at : len(self._data) // 2]) + TICK)

    def step(self) -> bool:
        """Send what is taken, and read what is there; whether that was all."""
        self._rest = self._rest[self._send(self._rest) if self._rest else 0 :]
        with contextlib.suppress(BlockingIOError):
            while data := self.far.recv(1 << 20):
                self._received.extend(data)
        return not self._rest and len(self._received) >= self._sent

    def check(self) -> None:
        """All has arrived, the tick last."""
        assert (len(self._received), zlib.crc32(self._received)) == (self._sent, self._hash)
        assert self._received.endswith(TICK)


def fill(links: list[Stalled]) -> None:
    """Send on all links until nothing is taken any more, on none of them, not even after a while."""
    quiet = 0
    while quiet < 3:
        quiet = 0 if sum(link.push() for link in links) else quiet + 1
        if quiet:
            select.select([], [link.near for link in links], [], 0.3)


def _step(links: list[Stalled]) -> list[Stalled]:
    """Let all go on that are not done; those are left."""
    links[:] = [link for link in links if not link.step()]
    return links


def test_readers_that_read_nothing_cost_a_bounded_amount_of_memory(tmp_path: Path) -> None:
    """Some seconds: hundreds of megabytes must get stuck, and nothing more be taken for a while."""
    with FarHost() as far_host, relay(tmp_path, far_host) as program, contextlib.ExitStack() as stack:
        pid = program.program.pid
        links = []
        for number in range(STALLED):
            near = stack.enter_context(dialling(far_host))
            links.append(Stalled(near, linked(near, far_host), number))
        before = memory(pid)
        fill(links)
        assert all(view["far"]["unsent"] > 0 for view in program.links())
        assert memory(pid) - before < BOUND
        assert pipes_of(pid) <= MAX_PIPES
        fill(links)  # nothing more is taken in, however long they wait
        assert memory(pid) - before < BOUND
        for link in links:
            link.finish()
        left = list(links)
        eventually(lambda: not _step(left), within=60, what="all that was sent")
        for link in links:
            link.check()
        views = program.links()
        assert [view["near_to_far"]["ticks"] for view in views] == [1] * STALLED
        assert memory(pid) - before < BOUND
        assert program.events("internal error") == []
