"""Replies that wait for their clients to read them, and what memory they hold."""

from __future__ import annotations

from epmdless.epmd.connections import Connection


class Backlog:
    """Connections with an unsent rest, the one that took nothing for longest first.

    `size` is in bytes; a reply that many wait for (the list of names) is one buffer, and counts once.
    """

    def __init__(self) -> None:
        self._waiting: dict[Connection, bytes] = {}
        self._readers: dict[int, int] = {}
        self.size = 0

    def __contains__(self, connection: Connection) -> bool:
        return connection in self._waiting

    def put_last(self, connection: Connection) -> None:
        """Note that a connection has an unsent rest, or that it took some of it."""
        self.discard(connection)
        reply = connection.unsent.obj
        assert isinstance(reply, bytes)
        self._waiting[connection] = reply
        readers = self._readers.get(id(reply), 0)
        self._readers[id(reply)] = readers + 1
        if not readers:
            self.size += len(reply)

    def discard(self, connection: Connection) -> None:
        """Forget a connection, if it is there."""
        reply = self._waiting.pop(connection, None)
        if reply is None:
            return
        readers = self._readers.pop(id(reply)) - 1
        if readers:
            self._readers[id(reply)] = readers
        else:
            self.size -= len(reply)

    def first(self) -> Connection:
        """The connection that took nothing for longest; there is one while `size` is not 0."""
        return next(iter(self._waiting))
