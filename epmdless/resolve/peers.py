"""Answers from what the cluster's sources told: SRV records say the port along with the name, and so does a
far EPMD server's list."""

from __future__ import annotations

from collections.abc import Callable

from epmdless.resolve.outcomes import Found, Outcome, Query, Verdict

PortOf = Callable[[str, str], int | None]
"""The port of a node, by its alive name and its host; None: no source told one."""


class PeersResolver:
    """Found for a node whose port a source of the cluster told; not mine otherwise."""

    name = "peers"

    def __init__(self, port_of: PortOf) -> None:
        self._port_of = port_of

    def answer_now(self, query: Query) -> Outcome:
        """Look the node up in the sources' lists."""
        port = self._port_of(query.alive, query.host)
        return Verdict.NOT_MINE if port is None else Found.unregistered(query.alive, port, self.name)

    async def answer(self, query: Query) -> Outcome:
        """The same; it never waits."""
        return self.answer_now(query)
