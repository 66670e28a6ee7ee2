"""Bulks of gigabytes: a sender and a receiver in threads of their own, the pump between them under trio."""

import socket
import threading
import zlib
from collections.abc import Callable
from typing import Final

import trio

from tests.links.pumps import Carried, Rig
from tests.wire.frame_model import FURTHER_FRAGMENT, Counts, frame, naive

BLOCK_SIZE: Final = 4 * 1024 * 1024

LOOK: Final = 0.005
"""Seconds between looks at how far it is."""

BULK_WITHIN: Final = 120.0
"""Seconds for a bulk; it takes a few."""

Pause = tuple[int, Callable[["Receiver"], None]]
"""At how many bytes received, what is done."""


class Block:
    """What is sent over and over, each time with another number in it: so that the order shows in the hash.

    frame_size: the length of each of its frames.
    """

    def __init__(self, frame_size: int) -> None:
        one = frame(frame_size, FURTHER_FRAGMENT)
        self.data = bytearray(one * (BLOCK_SIZE // len(one)))
        self.counts = naive(bytes(self.data))

    def number(self, number: int) -> memoryview:
        """The block of this number."""
        self.data[6:14] = number.to_bytes(8, "big")
        return memoryview(self.data)

    def counts_of(self, blocks: int) -> Counts:
        """What is to be counted in so many blocks."""
        frames, ticks, fragments, largest = self.counts
        return Counts(frames * blocks, ticks * blocks, fragments * blocks, largest)


class Party(threading.Thread):
    """One end of the bulk; what goes wrong in it is raised where it is waited for."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(daemon=True)
        self.sock = sock
        self.sock.settimeout(BULK_WITHIN)
        self.count = self.hash = 0
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.work()
        except BaseException as error:  # noqa: BLE001 - see finish
            self.error = error

    def work(self) -> None:
        raise NotImplementedError

    def note(self, data: bytes | memoryview) -> None:
        """Take bytes into the count and the hash."""
        self.count += len(data)
        self.hash = zlib.crc32(data, self.hash)

    def finish(self) -> None:
        self.join(BULK_WITHIN)
        assert not self.is_alive()
        if self.error is not None:
            raise self.error


class Sender(Party):
    """Sends blocks, then `last`, and closes its direction."""

    def __init__(self, sock: socket.socket, block: Block, blocks: int, last: bytes = b"") -> None:
        super().__init__(sock)
        self._block = block
        self._blocks = blocks
        self._last = last

    def work(self) -> None:
        for number in range(self._blocks):
            data = self._block.number(number)
            self.note(data)
            self.sock.sendall(data)
        self.note(self._last)
        self.sock.sendall(self._last)
        self.sock.shutdown(socket.SHUT_WR)


class Receiver(Party):
    """Reads up to the end, the first bytes one by one, and does what it is told at certain counts."""

    def __init__(self, sock: socket.socket, *, one_by_one: int, pauses: list[Pause]) -> None:
        super().__init__(sock)
        self._one_by_one = one_by_one
        self._pauses = pauses
        self.stalls = threading.Event()
        self.goes_on = threading.Event()
        self.last = b""

    def work(self) -> None:
        buffer = memoryview(bytearray(BLOCK_SIZE))
        while True:
            size = self.sock.recv_into(buffer, 1 if self.count < self._one_by_one else BLOCK_SIZE)
            if not size:
                return
            self.note(buffer[:size])
            self.last = (self.last + buffer[max(0, size - 4) : size])[-4:]
            while self._pauses and self.count >= self._pauses[0][0]:
                self._pauses.pop(0)[1](self)

    def stall(self) -> None:
        """Read nothing until somebody says that it goes on."""
        self.goes_on.clear()
        self.stalls.set()
        assert self.goes_on.wait(BULK_WITHIN)

    def half_close(self) -> None:
        """Send no more; go on reading."""
        self.sock.shutdown(socket.SHUT_WR)


def run_bulk(rig: Rig, carried: Carried, sender: Sender, receiver: Receiver) -> None:
    """Run the pump under trio until both are done; a receiver that stalls goes on when the flow is full."""

    async def watch() -> None:
        flow = carried.flow_from(carried.near)
        while receiver.is_alive() or sender.is_alive():
            if receiver.stalls.is_set() and flow.blocked and flow.held:
                receiver.stalls.clear()
                receiver.goes_on.set()
            await trio.sleep(LOOK)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.rounds.run)
            with trio.fail_after(BULK_WITHIN):
                await watch()
            nursery.cancel_scope.cancel()

    sender.start()
    receiver.start()
    trio.run(main)
    sender.finish()
    receiver.finish()
