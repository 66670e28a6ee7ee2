"""The connections that are registrations: each lives as long as its name."""

from __future__ import annotations

import select
from socket import MSG_DONTWAIT, SocketType

from epmdless.log import Log
from epmdless.registry import Registry

_ENDED = select.POLLIN | select.POLLRDHUP | select.POLLHUP | select.POLLERR


class Holders:
    """Sockets of registrations by descriptor; they are in the epoll, and are this object's to close."""

    def __init__(self, registry: Registry, epoll: select.epoll, log: Log) -> None:
        self._registry = registry
        self._epoll = epoll
        self._log = log
        self._socks: dict[int, SocketType] = {}

    def __len__(self) -> int:
        return len(self._socks)

    def __contains__(self, fd: int) -> bool:
        return fd in self._socks

    def add(self, sock: SocketType, reply: bytes) -> None:
        """Take over the socket of a name that was just registered, and tell the node in one write.

        A BEAM that reads half of the reply gives up, so one that does not go out whole ends the
        registration.
        """
        fd = sock.fileno()
        self._socks[fd] = sock
        self._epoll.modify(fd, select.EPOLLIN | select.EPOLLRDHUP)
        try:
            sent = sock.send(reply, MSG_DONTWAIT)
        except OSError:
            sent = 0
        if sent != len(reply):
            self.end(fd, "reply not taken")

    def stirred(self, fd: int) -> None:
        """A registration ends by EOF, by an error, or by any byte."""
        try:
            data = self._socks[fd].recv(1, MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.end(fd, "spoke" if data else "closed")

    def end(self, fd: int, why: str) -> None:
        """Unregister, close, and say so."""
        registration = self._registry.unregister(fd)
        self._epoll.unregister(fd)
        self._socks.pop(fd).close()
        if registration is not None:
            node = registration.node
            self._log.info("unregistered", name=node.name, port=node.port, fd=fd, why=why)

    def has_ended(self, fd: int) -> bool:
        """Whether a registration's connection has ended or spoken, unread as yet."""
        poll = select.poll()
        poll.register(fd, _ENDED)
        return bool(poll.poll(0))

    def close(self) -> None:
        """Close all of them, when the server ends."""
        for fd, sock in self._socks.items():
            self._registry.unregister(fd)
            sock.close()
        self._socks.clear()
