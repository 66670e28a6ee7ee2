"""What the supervisor is to run, handed from the command line's process to the one that stays."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import NamedTuple


class Orders(NamedTuple):
    """What to run, and how.

    :ivar command: the command and its arguments; found by PATH.
    :ivar plan: the program that prints the plan as JSON, with its arguments.
    :ivar server: the EPMD server, with its arguments.
    :ivar helper: what a release's script is told to do, where that starts no node of its own name
        (``remote``, ``rpc``, …); ``""``: it starts one.
    :ivar release: the folder of the release whose script the command is; ``""``: it is none, or said already.
    :ivar epmd_port: where the command's node looks for an EPMD server.
    :ivar kill_after: seconds from SIGTERM to SIGKILL for the command; None: it has all the time it takes.
    :ivar blocked: the signals that were blocked when we were started, and are to be so in the command.
    """

    command: tuple[str, ...]
    plan: tuple[str, ...]
    server: tuple[str, ...]
    helper: str
    release: str
    epmd_port: int
    kill_after: float | None
    blocked: tuple[int, ...]

    def to_words(self) -> list[str]:
        """As arguments: a descriptor to read all but the command from, then the command as ``ps`` is to
        show it."""
        descriptor = os.memfd_create("orders", 0)  # 0: it outlives execve
        os.write(descriptor, json.dumps(self._replace(command=())).encode())
        return [str(descriptor), *self.command]

    @classmethod
    def from_words(cls, words: Sequence[str]) -> Orders:
        """Read what :meth:`to_words` wrote; the descriptor is closed."""
        with open(int(words[0]), "rb") as file:  # noqa: PTH123 - a descriptor
            file.seek(0)
            _, plan, server, helper, release, epmd_port, kill_after, blocked = json.load(file)
        return cls(
            command=tuple(words[1:]),
            plan=tuple(plan),
            server=tuple(server),
            helper=helper,
            release=release,
            epmd_port=epmd_port,
            kill_after=kill_after,
            blocked=tuple(blocked),
        )
