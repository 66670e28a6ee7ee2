"""Whose processes are taken for local nodes.

Erlang's handshake proves a cookie to whoever asks for the proof, and the asker can hand the question on from
another node: with our answer he is let in there. Everybody on a machine can register with its EPMD server. So
whom we answer is decided by something that nobody can claim: the user who owns the listening socket.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Sequence

from epmdless.errors import ConfigError

EVERYBODY = "*"

ROOT = 0

UNSEEN = 65534
"""What the kernel shows in place of a user whom our user namespace does not have (``overflowuid``)."""


class Users:
    """Users whose processes may be local nodes: our own, root, and those that are named.

    :param names: of users, or their numbers; ``*``: everybody.
    :raises ConfigError: there is no user of a name.
    """

    def __init__(self, names: Sequence[str], file: str) -> None:
        self.are_all = EVERYBODY in names
        numbers = (_number(name, file) for name in names if name != EVERYBODY)
        self._numbers = frozenset((os.geteuid(), ROOT, *numbers))

    def has(self, user: int | None) -> bool:
        """Whether a user is among them.

        :param user: its number; None: not known.
        """
        return self.are_all or user in self._numbers


def told(user: int | None) -> str:
    """A user, as an error tells it."""
    if user is None:
        return 'whose its port is cannot be seen here: say users = ["*"] if all of this machine are trusted'
    if user == UNSEEN:
        return "its port belongs to a user whom this process cannot see (systemd: PrivateUsers=no)"
    try:
        return f"its port belongs to the user {pwd.getpwuid(user).pw_name}, who is not among cluster.users"
    except KeyError:
        return f"its port belongs to the user {user}, who is not among cluster.users"


def _number(name: str, file: str) -> int:
    if name.isascii() and name.isdigit():
        return int(name)
    try:
        return pwd.getpwnam(name).pw_uid
    except (KeyError, ValueError):
        raise ConfigError(file, "cluster.users", f"{name!r} is no user of this machine") from None
