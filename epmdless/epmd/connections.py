"""Connections that are not (or not yet) registrations: what they sent, and how long they may stay."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto
from socket import SocketType

import trio

from epmdless.epmd.face import Face

SLACK = 1.0
"""Seconds on top of the idle time-out: a client that sends a byte a second, with a time-out of one
second, is served; the reference's clock has whole seconds and drops it."""

SHORTEST_CAP = 300.0
"""Seconds that any connection may take in all, however it drips: a request with the longest name,
255 bytes of ASCII, at a byte a second fits."""

CAP_TIMEOUTS = 5
"""The same as a multiple of the idle time-out, where that is more."""


class Waits(Enum):
    """What a connection waits for."""

    REQUEST = auto()
    """The rest of its request."""

    ANSWER = auto()
    """Us: DNS is being asked, or a delay was ordered."""

    WRITE = auto()
    """Its client to read the reply."""

    CLOSE = auto()
    """Its client to close, after a refused ALIVE2: the reference leaves that to the client."""


class Connection:
    """An accepted connection, from its first wait until it is closed or registered.

    `received` holds at most READ_SIZE bytes; `unsent` is the rest of a reply. `opened` and `active`
    are seconds on the server's clock; `scope` is that of a task that works for it; `face` is set where
    the address that was dialled stands in for far hosts.
    """

    __slots__ = (
        *("active", "face", "opened", "own_port", "peer", "received", "scope", "sock", "unsent", "waits"),
    )

    def __init__(
        self, sock: SocketType, peer: str, own_port: int, now: float, face: Face | None = None
    ) -> None:
        self.sock = sock
        self.peer = peer
        self.own_port = own_port
        self.received = b""
        self.unsent: memoryview = memoryview(b"")
        self.waits = Waits.REQUEST
        self.scope: trio.CancelScope | None = None
        self.opened = self.active = now
        self.face = face


class ConnectionTable:
    """Connections by descriptor, in the order of their opening and of their last activity.

    Both orders are those of dicts (a connection that stirs moves to the end), so that the next to
    expire, and the one to sacrifice when descriptors run short, are found without a search.
    """

    def __init__(self) -> None:
        self._by_opening: dict[int, Connection] = {}
        self._by_activity: dict[int, Connection] = {}

    def __len__(self) -> int:
        return len(self._by_opening)

    def __iter__(self) -> Iterator[Connection]:
        return iter(list(self._by_opening.values()))

    def get(self, fd: int) -> Connection | None:
        """The connection on this descriptor."""
        return self._by_opening.get(fd)

    def add(self, connection: Connection) -> None:
        """Take a connection in; its descriptor is open and not in the table."""
        fd = connection.sock.fileno()
        self._by_opening[fd] = self._by_activity[fd] = connection

    def touch(self, connection: Connection, now: float) -> None:
        """Note that the client sent or took something."""
        fd = connection.sock.fileno()
        del self._by_activity[fd]
        self._by_activity[fd] = connection
        connection.active = now

    def remove(self, connection: Connection) -> None:
        """Forget a connection, before its descriptor is closed."""
        fd = connection.sock.fileno()
        self._by_opening.pop(fd, None)
        self._by_activity.pop(fd, None)

    def longest_idle(self) -> Connection | None:
        """The one that has been silent for longest."""
        return next(iter(self._by_activity.values()), None)

    def expired(self, now: float, timeout: float) -> list[Connection]:
        """Those whose time is up.

        :param timeout: seconds of silence that are allowed.
        """
        cap = max(SHORTEST_CAP, CAP_TIMEOUTS * timeout)
        late: dict[Connection, None] = {}
        for connection in self._by_activity.values():
            if now - connection.active <= timeout + SLACK:
                break
            late[connection] = None
        for connection in self._by_opening.values():
            if now - connection.opened <= cap:
                break
            late[connection] = None
        return list(late)
