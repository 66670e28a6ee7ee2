"""What the tests of the resolver `srv` share: one over a source and a clock in memory."""

from typing import Final

import trio

from epmdless import metrics
from epmdless.errors import ResolveError
from epmdless.metrics import Metrics
from epmdless.resolve.dns_client import SrvAnswer
from epmdless.resolve.outcomes import Found, Missing, Outcome, Query, Verdict
from epmdless.resolve.srv import Limits, SrvResolver
from epmdless.resolve.srv_records import SrvRecord

BY_NAME: Final = "_{name}._tcp.nodes.internal"
BY_HOST: Final = "_epmd._tcp.{host}"
QUERY: Final = Query("app", "b1.internal")
QUESTION: Final = "_app._tcp.nodes.internal"
DOWN: Final = ResolveError("timed out")

GATE_SECONDS: Final = 10.0
"""After which a question fails whose gate nobody opens: no test hangs."""


def answer(port: int = 9001, *, ttl: float = 60, target: str = "b1.internal") -> SrvAnswer:
    """One record."""
    return SrvAnswer((SrvRecord(0, 0, port, target),), ttl)


class Bench:
    """A resolver with its source and its clock, both in memory.

    `says` is what the source answers every question with from now on. While `gate` is set to an unset
    event, questions wait for it.
    """

    def __init__(self, template: str = BY_NAME, limits: Limits | None = None) -> None:
        self.now = 1000.0
        self.says: SrvAnswer | Exception = answer()
        self.gate: trio.Event | None = None
        self.asked: list[str] = []
        self.counts = Metrics()
        self.resolver = SrvResolver(template, self, limits or Limits(), self.counts, lambda: self.now)

    async def ask(self, question: str) -> SrvAnswer:
        self.asked.append(question)
        if self.gate is not None:
            with trio.fail_after(GATE_SECONDS):
                await self.gate.wait()
        else:
            await trio.lowlevel.checkpoint()
        if isinstance(self.says, Exception):
            raise self.says
        return self.says

    async def port(self, query: Query = QUERY) -> int | None:
        """The port that is found; None: no such node."""
        return port_of(await self.resolver.answer(query))

    def port_now(self, query: Query = QUERY) -> int | None:
        """The port that is at hand without waiting; None: no such node."""
        return port_of(self.resolver.answer_now(query))

    def waits(self, query: Query = QUERY) -> bool:
        return self.resolver.answer_now(query) is Verdict.WAIT

    def cache(self, result: str) -> float:
        return self.counts.value(metrics.DNS_CACHE, result)


def port_of(outcome: Outcome) -> int | None:
    if isinstance(outcome, Found):
        assert outcome.resolver == "srv"
        return outcome.node.port
    assert outcome == Missing("srv")
    return None
