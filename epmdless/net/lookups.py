"""Addresses of host names, as the system resolves them: one look at each name at a time, for all who ask.

The system's resolver takes a thread, of which trio has 40, and gives it back when it has an answer or has
given up, after 10 s or more, whoever has left meanwhile. So names of a zone whose servers are down must not
take them all: those who dial other hosts would wait with them.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import trio

LOOKUPS_A_DOMAIN = 16
"""Names below one domain that are looked up at once."""


class _Lookup:
    """A look at a name that is under way.

    :ivar askers: how many wait for it.
    :ivar over: set when there is an answer.
    :ivar found: the answer; None: there is none, or none yet.
    :ivar error: why there is none.
    """

    __slots__ = ("askers", "error", "found", "over")

    def __init__(self) -> None:
        self.askers = 0
        self.over = trio.Event()
        self.found: list[tuple[int, Any]] | None = None
        self.error: Exception | None = None


class _Lookups:
    """All that are under way in one run of trio."""

    def __init__(self) -> None:
        self._by_name: dict[str, _Lookup] = {}
        self._domains: dict[str, trio.CapacityLimiter] = {}

    async def ask(self, host: str) -> list[tuple[int, Any]]:
        """The addresses of a name, with 0 for their port. Raises what the resolver raises."""
        lookup = self._by_name.get(host)
        if lookup is None:
            lookup = self._by_name[host] = _Lookup()
            # Not the asker's: who leaves must not leave a thread behind of which nobody knows.
            trio.lowlevel.spawn_system_task(self._look_up, host, lookup)
        lookup.askers += 1
        try:
            await lookup.over.wait()
        finally:
            lookup.askers -= 1
        if lookup.found is None:
            raise lookup.error or OSError("not looked up")
        return lookup.found

    async def _look_up(self, host: str, lookup: _Lookup) -> None:
        try:
            with self._turns_of(host) as turns:
                async with turns:
                    if lookup.askers:
                        found = await trio.socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
                        lookup.found = [(family, address) for family, _, _, _, address in found]
        except RuntimeError as error:  # "can't start new thread": pids.max of the control group, TasksMax
            lookup.error = OSError(errno.ENOMEM, str(error))
        except Exception as error:  # noqa: BLE001 - it is the askers'
            lookup.error = error
        finally:
            del self._by_name[host]
            lookup.over.set()

    @contextmanager
    def _turns_of(self, host: str) -> Iterator[trio.CapacityLimiter]:
        """The turns of a name's domain, which are forgotten when nobody has or wants one."""
        domain = host.removesuffix(".").partition(".")[2].casefold()
        turns = self._domains.setdefault(domain, trio.CapacityLimiter(LOOKUPS_A_DOMAIN))
        try:
            yield turns
        finally:
            if not turns.borrowed_tokens and not turns.statistics().tasks_waiting:
                self._domains.pop(domain, None)


_LOOKUPS: trio.lowlevel.RunVar[_Lookups] = trio.lowlevel.RunVar("epmdless lookups")


async def addresses_of(host: str, port: int) -> list[tuple[int, Any]]:
    """The addresses of a host name.

    :raises OSError: it has none, or nobody can say.
    :raises UnicodeError: it is no name.
    """
    try:
        lookups = _LOOKUPS.get()
    except LookupError:
        lookups = _Lookups()
        _LOOKUPS.set(lookups)
    return [(family, (host, port, *more)) for family, (host, _, *more) in await lookups.ask(host)]
