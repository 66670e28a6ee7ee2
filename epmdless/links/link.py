"""Links as plain data: who is linked to whom, what passed, and how it ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from socket import SocketType

import trio

from epmdless.links.ends import End
from epmdless.links.pace import Pace
from epmdless.links.pipes import Pipe
from epmdless.net.tls.connection import TlsLayer
from epmdless.wire.frames import LENGTH_SIZE, FrameWalker


class Flow:
    """One direction of a link, from its source's socket to its sink's.

    It holds at most one buffer (`unsent`) or one pipe's content (`piped` bytes) that the sink has not
    taken, and reads no more until that is gone.

    :ivar count: bytes taken from the source.
    :ivar readable: the source may have more; an edge said so and no drained read has denied it since.
    :ivar hung_up: the source's side has ended, or has sent urgent data, at which reads stop: only a read
        that returns nothing counts as drained.
    :ivar blocked: the sink takes nothing now.
    :ivar ended: nothing more is read: the source has ended its side, or we were told to stop.
    :ivar shut: the sink was told the end.
    :ivar queued: cut short, and waiting to go on.
    :ivar bulk: so much came lately that it is spliced.
    :ivar plain: none of all that, the other direction not held up either, and between frames: the next
        event of the source is about an ordinary read.
    :ivar receive, send: the source's and the sink's, at hand; through TLS where there is any.
    :ivar send_raw: the sink's socket's own: `unsent` is what its socket did not take.
    :ivar opener, sealer: TLS of the source, and of the sink; None where it is plain.
    :ivar drained: the last read through TLS has emptied the socket.
    :ivar said_goodbye: the sink was told the end of TLS.
    :ivar pace: how fast it may go; None: as fast as it can.
    :ivar paused: it has gone too fast, and waits.
    :ivar reverse: the other direction.
    :ivar alone, longest_alone: reads that were exactly one frame, which the walker has not seen, and the
        longest of them in bytes; see :attr:`frames` and :attr:`largest`.
    """

    __slots__ = (
        *("alone", "blocked", "bulk", "count", "drained", "ended", "hung_up", "link", "longest_alone"),
        *("opener", "pace", "paused", "pipe", "piped", "plain", "queued", "readable", "receive", "reverse"),
        *("said_goodbye", "sealer", "send", "send_raw", "shut", "sink", "source", "unsent", "walker"),
    )

    def __init__(self, link: Link, source: SocketType, sink: SocketType, walker: FrameWalker | None) -> None:
        self.opener: TlsLayer | None = None
        self.sealer: TlsLayer | None = None
        self.pace: Pace | None = None
        self.drained = self.paused = self.said_goodbye = False
        self.link = link
        self.source = source
        self.sink = sink
        self.walker = walker
        self.unsent: bytes | memoryview = b""
        self.pipe: Pipe | None = None
        self.piped = 0
        self.count = 0
        self.readable = self.hung_up = self.blocked = self.ended = self.shut = self.queued = False
        self.plain = self.bulk = False
        self.receive: Callable[[memoryview], int] = source.recv_into
        self.send: Callable[[memoryview], int] = sink.send
        self.send_raw = sink.send
        self.reverse = self
        self.alone = self.longest_alone = 0

    def note_state(self) -> None:
        """Look again at whether the next event is about an ordinary read."""
        self.plain = not (
            self.blocked
            or self.reverse.blocked
            or self.bulk
            or self.ended
            or self.hung_up
            or self.queued
            or self.readable
            or self.pace is not None
            or not (self.walker is None or self.walker.between)
        )

    @property
    def frames(self) -> int | None:
        """Frames that passed, ticks not counted; None: they are not counted here."""
        return None if self.walker is None else self.walker.frames + self.alone

    @property
    def largest(self) -> int | None:
        """The longest frame's length in bytes, its length word not counted; None: as above."""
        if self.walker is None:
            return None
        return max(self.walker.largest, self.longest_alone - LENGTH_SIZE)

    @property
    def held(self) -> int:
        """Bytes that were taken from the source and not yet by the sink."""
        return len(self.unsent) + self.piped


@dataclass(slots=True, eq=False)
class Party:
    """One end of a link: what its node said of itself, and its address; None = not known."""

    address: str
    node: str | None = None
    creation: int | None = None
    flags: int | None = None


@dataclass(slots=True, eq=False)
class Link:
    """A relayed distribution connection.

    :ivar route: the route's name, for people.
    :ivar near_host: the near side's IP address.
    :ivar proxied_host: the address that a load balancer's header told in its place; None = none did.
    :ivar opened: seconds on the loop's clock when it was accepted.
    :ivar established: the same when its handshake was over; None before.
    :ivar acknowledged: both nodes have heard that they are linked, or are about to.
    :ivar flows: near to far, far to near; None before it is established.
    :ivar end: how it ended, or is ending; the first cause counts.
    :ivar finishing: nothing more is read; it is over once both sides have what was taken in.
    :ivar setup: what its set-up runs in; None before and after.
    :ivar client: by which name of its certificate the relay behind a gateway's link is allowed.
    :ivar hop: through which hop it goes; :attr:`gateway`: and which gateway, as far as that is known.
    :ivar tunnel: the id of its tunnel, the same on both ends.
    :ivar paces: how fast it may go, near to far and far to near; None: as fast as it can.
    :ivar over: told once, when it has ended.
    """

    id: int
    route: str
    near_host: str
    near: Party
    far: Party
    opened: float
    tls: bool = False
    established: float | None = None
    acknowledged: bool = False
    flows: tuple[Flow, Flow] | None = None
    end: End | None = None
    finishing: bool = False
    detail: str = ""
    proxied_host: str | None = None
    setup: trio.CancelScope | None = None
    client: str | None = None
    hop: str | None = None
    gateway: str | None = None
    tunnel: str | None = None
    paces: tuple[Pace, Pace] | None = None
    over: list[Callable[[], None]] = field(default_factory=list)

    def give_up(self, code: End) -> None:
        """End it while it is set up; if its two nodes have heard that they are linked, it goes on."""
        if not self.acknowledged:
            self.ends_as(code)
            if self.setup is not None:
                self.setup.cancel()

    def ends_as(self, code: End) -> None:
        """Note the cause of the end, if there is none yet."""
        if self.end is None:
            self.end = code


class LinkTable:
    """The links that live, by number, and how many each near address has."""

    def __init__(self) -> None:
        self._links: dict[int, Link] = {}
        self._by_address: dict[str, int] = {}
        self._last = 0

    def __len__(self) -> int:
        return len(self._links)

    def __iter__(self) -> Iterator[Link]:
        return iter(list(self._links.values()))

    def get(self, number: int) -> Link | None:
        """The link of this number."""
        return self._links.get(number)

    def of_address(self, host: str) -> int:
        """How many links this near address has."""
        return self._by_address.get(host, 0)

    def open(self, route: str, near_host: str, near_address: str, now: float) -> Link:
        """Take in a new link."""
        self._last += 1
        link = Link(self._last, route, near_host, Party(near_address), Party(""), now)
        self._links[link.id] = link
        self._by_address[near_host] = self.of_address(near_host) + 1
        return link

    def move(self, link: Link) -> int:
        """Count a link on the address that a load balancer's header told; how many that has now."""
        self._leave(link.near_host)
        link.near_host = link.proxied_host or link.near_host
        self._by_address[link.near_host] = self.of_address(link.near_host) + 1
        return self.of_address(link.near_host)

    def close(self, link: Link) -> None:
        """Forget a link."""
        del self._links[link.id]
        self._leave(link.near_host)

    def _leave(self, host: str) -> None:
        left = self._by_address[host] - 1
        if left:
            self._by_address[host] = left
        else:
            del self._by_address[host]
