"""Who is registered, and which creation each name has reached.

Plain data: a registration is what a node said, its creation and the descriptor of its connection,
which the EPMD server owns. Nothing here looks at a socket or a clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from epmdless.wire.epmd import Node
from epmdless.wire.epmd_replies import encode_names_head, encode_names_line, encode_port_reply

REMEMBERED_NAMES = 1000
"""How many names that left are remembered with their creation, first in, first out: the reference's
number. A name that comes back after it was forgotten starts from the clock, which is later still."""

LOWEST_CREATION = 4
"""Creations 0..3 belong to nodes that know only two bits of them (before OTP 23)."""


@dataclass(frozen=True, slots=True)
class Registration:
    """A live registration; `answer` is the encoded PORT_PLEASE2 reply for it, `line` its line of NAMES."""

    node: Node
    creation: int
    fd: int
    answer: bytes
    line: bytes


@dataclass(frozen=True, slots=True)
class Departed:
    """What is remembered of a name that left."""

    creation: int
    port: int
    fd: int


class Registry:
    """Names to registrations. A name is registered once; a descriptor holds one registration.

    :ivar changes: how often a registration was added or removed: who saw this number saw them all.
    """

    def __init__(self) -> None:
        self.changes = 0
        self._by_name: dict[str, Registration] = {}
        self._by_fd: dict[int, Registration] = {}
        self._departed: dict[str, Departed] = {}
        self._listing: tuple[int, bytes] | None = None

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[Registration]:
        """Registrations, newest first."""
        return reversed(self._by_name.values())

    def get(self, name: str) -> Registration | None:
        """The live registration of an alive name."""
        return self._by_name.get(name)

    def departed(self) -> Iterator[tuple[str, Departed]]:
        """Names that left and are remembered, oldest first."""
        return iter(self._departed.items())

    def register(self, node: Node, fd: int, now: int) -> Registration | None:
        """Add a registration.

        :param fd: the descriptor of the connection that it lives with.
        :param now: seconds since 1970: where the creation of a new name starts.
        :returns: None if the name is taken, or the descriptor holds a registration already. The caller
            looks at the holder's own connection first, since it may have ended, unread.
        """
        if node.name in self._by_name or fd in self._by_fd:
            return None
        before = self._departed.pop(node.name, None)
        creation = (before.creation if before else now) + 1 & 0xFFFFFFFF
        registration = Registration(
            node, max(creation, LOWEST_CREATION), fd, encode_port_reply(node), encode_names_line(node)
        )
        self._by_name[node.name] = registration
        self._by_fd[fd] = registration
        self._changed()
        return registration

    def unregister(self, fd: int) -> Registration | None:
        """Remove the registration that lives on this descriptor, and remember its name.

        By descriptor and never by name: a refused duplicate cannot take the live node's entry along,
        as it can in the reference.

        :returns: what was removed; None if the descriptor held nothing.
        """
        registration = self._by_fd.pop(fd, None)
        if registration is None:
            return None
        node = registration.node
        del self._by_name[node.name]
        self._changed()
        if len(self._departed) >= REMEMBERED_NAMES:
            del self._departed[next(iter(self._departed))]
        self._departed[node.name] = Departed(registration.creation, node.port, fd)
        return registration

    def _changed(self) -> None:
        self.changes += 1
        self._listing = None

    def names_reply(self, port: int) -> bytes:
        """The encoded NAMES reply, kept until a registration changes: clients that read it slowly share it.

        :param port: the port that the client dialled.
        """
        if self._listing is None or self._listing[0] != port:
            lines = (registration.line for registration in self)
            self._listing = (port, encode_names_head(port) + b"".join(lines))
        return self._listing[1]
