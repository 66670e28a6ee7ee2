"""What ``epmdless resolve`` finds out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import trio

from epmdless import log as logs
from epmdless.cli import ask, queries, waiting
from epmdless.config import Config
from epmdless.errors import EpmdlessError
from epmdless.metrics import Metrics
from epmdless.names import NodeName
from epmdless.registry import Registry
from epmdless.resolve.build import build_chain, own_host
from epmdless.resolve.chain import Step
from epmdless.resolve.outcomes import Failed, Found, Missing, Outcome, Query, Verdict
from epmdless.resolve.peers import PeersResolver

UNKNOWN_HERE = " (a running server alone knows what its sources told: ask it with --server)"
"""What the resolver ``peers`` cannot say from outside."""


@dataclass(frozen=True, slots=True)
class Walk:
    """A search: each resolver with what it said, and the port it ended with."""

    node: str
    steps: tuple[tuple[str, str], ...]
    port: int | None
    resolver: str

    def to_json(self, *, explain: bool) -> dict[str, Any]:
        """The same for programs."""
        plain: dict[str, Any] = {"node": self.node, "port": self.port, "resolver": self.resolver}
        if explain:
            plain["steps"] = [{"resolver": who, "outcome": said} for who, said in self.steps]
        return plain


def ask_server(name: NodeName, server: str, epmd_port: int) -> Walk:
    """Ask a running EPMD server.

    :raises EpmdlessError: it does not answer, or not as it must.
    """
    node = queries.ask_port((server,), epmd_port, name.alive).node
    said = "no such node" if node is None else f"port {node.port}"
    return Walk(name.alive, ((server, said),), None if node is None else node.port, server)


def walk_chain(name: NodeName, config: Config, epmd_port: int) -> Walk:
    """Ask the configured chain, as the server on the node's host would.

    :raises ConfigError: the chain cannot be built.
    """
    host = name.host or own_host(config.resolve)
    log = logs.configure("error", config.log.format)
    registrations = ListedRegistrations(name.host, epmd_port)
    chain = build_chain(config.resolve, Registry(), Metrics(), log, registered=registrations)
    steps = waiting.run(chain.explain, Query(name.alive, host))
    last = steps[-1].outcome
    described = tuple((step.resolver, _describe(step, registrations)) for step in steps)
    if isinstance(last, Found):
        return Walk("@".join((name.alive, host)), described, last.node.port, last.resolver)
    return Walk("@".join((name.alive, host)), described, None, steps[-1].resolver)


class ListedRegistrations:
    """The resolver ``registered``, seen from outside: what a running server lists under NAMES.

    A server's answer to a lookup would come from its whole chain; its list holds live registrations.
    """

    name = "registered"

    def __init__(self, host: str | None, epmd_port: int) -> None:
        self._hosts = (host,) if host else ask.LOOPBACK
        self._port = epmd_port
        self.note = ""

    def answer_now(self, query: Query) -> Outcome:
        """It always takes I/O."""
        return Verdict.WAIT

    async def answer(self, query: Query) -> Outcome:
        """Ask for the list; a host without an EPMD server has no say in the name."""
        try:
            reply = await trio.to_thread.run_sync(queries.ask_names, self._hosts, self._port)
        except EpmdlessError as error:
            self.note = f" (no EPMD server: {error})"
            return Verdict.NOT_MINE
        for alive, port in reply.nodes:
            if alive == query.alive:
                return Found.unregistered(alive, port, self.name)
        return Verdict.NOT_MINE


def _describe(step: Step, registrations: ListedRegistrations) -> str:
    match step.outcome:
        case Found(node=node):
            return f"found: port {node.port}"
        case Missing():
            return "no such node"
        case Failed(problem=problem):
            return f"failed: {problem}"
    if step.resolver == PeersResolver.name:
        return f"not mine{UNKNOWN_HERE}"
    return "not mine" + (registrations.note if step.resolver == registrations.name else "")
