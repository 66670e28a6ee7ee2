"""Which port the configured chain says, whatever the far EPMD server does."""

from __future__ import annotations

from typing import NamedTuple

import trio

from epmdless.config import ResolveSection
from epmdless.errors import EpmdlessError
from epmdless.log import Log
from epmdless.metrics import Metrics
from epmdless.registry import Registry
from epmdless.resolve.build import build_chain
from epmdless.resolve.outcomes import Failed, Found, Outcome, Query, Verdict

CHAIN_SECONDS = 5.0
"""DNS has no longer: an EPMD server asks it within the time of a lookup."""


class Promise(NamedTuple):
    """A port that does not come from an EPMD server, and which resolver says so."""

    port: int
    by: str

    @property
    def as_said(self) -> str:
        """For a port that is this one."""
        return "as the scheme promises" if self.by == "scheme" else f"as {self.by} says"

    def __str__(self) -> str:
        return f"the scheme promises {self.port}" if self.by == "scheme" else f"{self.by} says {self.port}"


class Promised(NamedTuple):
    """What the chain said.

    :ivar promise: None: it does not know the name.
    :ivar problem: which resolver failed, for people; None: none did.
    """

    promise: Promise | None
    problem: str | None = None


async def ask_chain(query: Query, section: ResolveSection, log: Log) -> Promised:
    """Ask the configured chain, as an EPMD server of ours would for a name that is not registered.

    The scheme is asked last where it is not in the chain: it is what registrations are compared with.
    """
    try:
        chain = build_chain(section, Registry(), Metrics(), log, registered=_Nobody())
        with trio.fail_after(CHAIN_SECONDS):
            outcome: Outcome | Failed = (await chain.explain(query))[-1].outcome
    except trio.TooSlowError:
        return Promised(_of_scheme(query, section), f"the chain gave no answer within {CHAIN_SECONDS:g} s")
    except EpmdlessError as error:
        return Promised(_of_scheme(query, section), f"the chain cannot be asked: {error}")
    match outcome:
        case Found(node=node, resolver=by):
            return Promised(Promise(node.port, by))
        case Failed(resolver=by, problem=problem):
            return Promised(_of_scheme(query, section), f"the resolver {by} failed: {problem}")
    return Promised(_of_scheme(query, section))


def _of_scheme(query: Query, section: ResolveSection) -> Promise | None:
    port = section.scheme.build().port_of(query.alive)
    return None if port is None else Promise(port, "scheme")


class _Nobody:
    """The resolver ``registered`` where nothing is registered: the far EPMD server is asked by itself."""

    name = "registered"

    def answer_now(self, query: Query) -> Outcome:
        """It has no say."""
        return Verdict.NOT_MINE

    async def answer(self, query: Query) -> Outcome:
        """It has no say."""
        return Verdict.NOT_MINE
