"""Accepting connections in batches, also when descriptors run short."""

from __future__ import annotations

import errno
import select
import socket
from collections.abc import Callable, Sequence
from socket import SOCK_STREAM, SocketType
from typing import NamedTuple

from epmdless import metrics
from epmdless.log import Log
from epmdless.metrics import Metrics
from epmdless.net.rounds import Rounds

ACCEPTS_A_ROUND = 128
"""Connections accepted from one listener before the others get their turn."""

_SHORTAGE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

_GONE = (
    *(errno.ECONNABORTED, errno.EPERM, errno.EPROTO, errno.ENOPROTOOPT, errno.EOPNOTSUPP, errno.EINTR),
    *(errno.ENETDOWN, errno.EHOSTDOWN, errno.ENONET, errno.EHOSTUNREACH, errno.ENETUNREACH),
)
"""The connection was gone before it was accepted, or a firewall forbids it: accept(2), "Error handling"."""


class Listener(NamedTuple):
    """A listening socket, with what each accepted connection needs of it: to ask anew costs a
    microsecond. `host` may stand for all addresses."""

    sock: socket.socket
    family: int
    host: str
    port: int


class Acceptor:
    """Listeners in the loop.

    :param is_full: whether room must be made before the next connection is accepted.
    :param make_room: give up a connection; False if there is none to give up.
    :param take: given each accepted socket, its peer's address (for IPv6 with its scope, if it has one)
        and port, and the listener.
    """

    def __init__(
        self,
        rounds: Rounds,
        counts: Metrics,
        log: Log,
        *,
        is_full: Callable[[], bool],
        make_room: Callable[[], bool],
        take: Callable[[SocketType, tuple[str, int], Listener], None],
    ) -> None:
        self._rounds = rounds
        self._epoll = rounds.epoll
        self._counts = counts
        self._log = log
        self._is_full = is_full
        self._make_room = make_room
        self._take = take
        self._listeners: dict[int, Listener] = {}
        self._paused = False

    def listen_on(self, listeners: Sequence[socket.socket]) -> None:
        """Accept on exactly these sockets from now on; they stay the caller's to close."""
        wanted = {listener.fileno(): listener for listener in listeners}
        for fd in self._listeners.keys() - wanted.keys():
            self._forget(fd)
        for fd, sock in wanted.items():
            if fd not in self._listeners:
                self.add(sock)

    def add(self, sock: socket.socket) -> None:
        """Accept on this socket too."""
        sock.setblocking(False)
        fd = sock.fileno()
        self._epoll.register(fd, 0 if self._paused else select.EPOLLIN)
        self._listeners[fd] = Listener(sock, int(sock.family), *sock.getsockname()[:2])
        self._rounds.handlers[fd] = self._accept_batch

    def remove(self, sock: socket.socket) -> None:
        """Accept no more on this socket, which is still open."""
        fd = sock.fileno()
        if fd in self._listeners:
            self._forget(fd)

    def _forget(self, fd: int) -> None:
        self._epoll.unregister(fd)
        del self._listeners[fd], self._rounds.handlers[fd]

    def _accept_batch(self, fd: int, _events: int) -> None:
        """Accept what waits, a batch at the most."""
        listener = self._listeners[fd]
        for _ in range(ACCEPTS_A_ROUND):
            if self._is_full():
                self._make_room()
            try:
                # socket.accept() without what it adds for its callers: a tenth of a lookup.
                accepted, address = listener.sock._accept()  # type: ignore[attr-defined]
            except BlockingIOError:
                return
            except OSError as error:
                if not self._goes_on_after(error):
                    return
                continue
            self._take(SocketType(listener.family, SOCK_STREAM, 0, accepted), address, listener)

    def resume(self) -> None:
        """Look at the listeners again, if a shortage made that stop."""
        if self._paused:
            self._paused = False
            for fd in self._listeners:
                self._epoll.modify(fd, select.EPOLLIN)

    def _goes_on_after(self, error: OSError) -> bool:
        """Deal with a failed accept; whether to go on accepting."""
        name = errno.errorcode.get(error.errno or 0, "unknown")
        self._counts.count(metrics.ACCEPT_ERRORS, name)
        if error.errno in _GONE or (error.errno in _SHORTAGE and self._make_room()):
            return True
        self._log.error("cannot accept", error=name)
        self._pause()
        return False

    def _pause(self) -> None:
        """Stop looking at the listeners until :meth:`resume`: they would stay readable, and spin."""
        self._paused = True
        for fd in self._listeners:
            self._epoll.modify(fd, 0)
