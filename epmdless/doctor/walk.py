"""The walk: one step after the other, and what a step that failed means for those behind it."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import replace
from typing import TypeVar

import trio

from epmdless.doctor.addressing import find_addresses
from epmdless.doctor.asking import Answer, ask_all
from epmdless.doctor.meeting import Met
from epmdless.doctor.naming import look_at_name
from epmdless.doctor.plan import Plan
from epmdless.doctor.promising import Promise, Promised, ask_chain
from epmdless.doctor.proving import NOT_TRIED, call, from_handshake, try_cookie
from epmdless.doctor.registration import Registered, judge
from epmdless.doctor.report import NOT_REACHED, STEPS, Finding, Report, Step
from epmdless.doctor.steps import Steps, Watch
from epmdless.doctor.trial import Trial
from epmdless.log import Log
from epmdless.names import NodeName
from epmdless.net.dialing import Address
from epmdless.resolve.outcomes import Query

T = TypeVar("T")

_NO_EPMD = "nodes that ask no EPMD (-erl_epmd_port) reach it; for all others mend EPMD"

_OLD_ANSWER = (
    "EPMD's answer is wrong or old: see who registered the name there, and restart the node, or EPMD"
)


async def walk(plan: Plan, log: Log, watch: Watch = lambda _: None) -> Report:
    """Walk to a node, and leave it as it was. Takes as long as all `LIMITS` together, at most; where EPMD and
    the chain say different ports, those of four steps count twice.

    :param watch: told of each step as it begins.
    :raises ConfigError: the certificates cannot be loaded (any more).
    """
    return await _Walk(plan, log, watch).run()


class _Walk(Steps):
    def __init__(self, plan: Plan, log: Log, watch: Watch) -> None:
        super().__init__(watch)
        self._plan = plan
        self._log = log

    async def run(self) -> Report:
        met = await self._go()
        if met is not None:
            try:
                await self._show_cookie(met)
            finally:
                met.close()
        steps = [self.taken.get(name, Step(name, NOT_REACHED)) for name in STEPS]
        return Report(self._plan.node, steps)

    async def _go(self) -> Met | None:
        """Up to the node's challenge; None: the way ends before."""
        plan = self._plan
        look = _at_once(look_at_name(plan.node, plan.resolve.scheme.build(), plan.own_host))
        name = await self.take("name", look)
        if name is None or name.host is None:
            return None
        found = find_addresses(name.host, plan.own_host, plan.routes, plan.inetrc)
        addresses = await self.take("dns", found)
        if not addresses:
            return None
        asked = await self.take("epmd", self._ask_for_port(Query(name.alive, name.host), addresses))
        registered, promise = asked or (None, None)
        if registered is None:
            return await self._go_by_promise(name, addresses, promise)
        return await self._go_by_epmd(name, addresses, registered, promise)

    async def _ask_for_port(
        self, query: Query, addresses: Sequence[Address]
    ) -> tuple[tuple[Registered | None, Promise | None], Finding]:
        """Ask the host's EPMD servers, and the chain at the same time."""
        plan, answers, promised = self._plan, list[Answer](), Promised(None)

        async def ask_epmd() -> None:
            answers.extend(await ask_all(addresses, plan.epmd_port, query.alive))

        async with trio.open_nursery() as nursery:
            if plan.asks_epmd:
                nursery.start_soon(ask_epmd)
            promised = await ask_chain(query, plan.resolve, self._log)
        if not plan.asks_epmd:
            return (None, promised.promise), _not_asked(promised)
        registered, finding = judge(answers, plan.epmd_port, promised, query.alive)
        return (registered, promised.promise), finding

    async def _go_by_promise(
        self, name: NodeName, addresses: Sequence[Address], promise: Promise | None
    ) -> Met | None:
        """Go on without a word of EPMD's."""
        if promise is None:
            return None
        trial = await self._try(name, addresses, promise.port, is_old=False)
        self.taken |= trial.taken
        step = self.taken["epmd"]
        if trial.met is not None and step.finding.verdict == "failed":
            said = f"{step.finding.said}, and the node is there"
            finding = replace(step.finding, said=said, advice=(*step.finding.advice, _NO_EPMD))
            self.taken["epmd"] = replace(step, finding=finding)
        return trial.met

    async def _go_by_epmd(
        self, name: NodeName, addresses: Sequence[Address], registered: Registered, promise: Promise | None
    ) -> Met | None:
        """Try EPMD's port; and the promised one, where EPMD's leads nowhere."""
        order = [registered.address, *(each for each in addresses if each != registered.address)]
        trial = await self._try(name, order, registered.port, is_old=registered.is_old)
        if trial.failed is not None and promise is not None and promise.port != registered.port:
            other = await self._try(name, order, promise.port, is_old=registered.is_old)
            if other.met is not None:
                self._blame_epmd(registered, trial.failed, promise)
                trial = other
        self.taken |= trial.taken
        return trial.met

    async def _try(self, name: NodeName, addresses: Sequence[Address], port: int, *, is_old: bool) -> Trial:
        trial = Trial(self._plan, name, self._watch)
        await trial.run(addresses, port, is_old=is_old)
        return trial

    def _blame_epmd(self, registered: Registered, failed: Step, promise: Promise) -> None:
        """EPMD's port led nowhere, and the promised one to the node."""
        step = self.taken["epmd"]
        said = (
            f"EPMD says port {registered.port}, where the way ends ({failed.name}: {failed.finding.said}); "
            f"the node is at {promise.port}, {promise.as_said}"
        )
        finding = replace(step.finding, verdict="failed", said=said, advice=(_OLD_ANSWER,))
        self.taken["epmd"] = replace(step, finding=finding)

    async def _show_cookie(self, met: Met) -> None:
        """Go on from the challenge, as far as we have a cookie."""
        cookie = self._plan.cookie
        if cookie is None:
            self.note("cookie", NOT_TRIED, None)
            self.note("round_trip", from_handshake(met), met.seconds)
            return
        await self.take("cookie", _only(try_cookie(met, cookie)))
        if self.taken["cookie"].finding.verdict == "ok":
            await self.take("round_trip", _only(call(met)))


def _not_asked(promised: Promised) -> Finding:
    if promised.promise is None:
        said = "not asked, and nothing else says a port"
        advice = ("name the port: a scheme in [resolve.scheme], or another resolver in resolve.chain",)
        return Finding("failed", said, advice)
    promise = {"port": promised.promise.port, "by": promised.promise.by}
    return Finding("skipped", f"not asked; {promised.promise}", (), {"promised": promise})


async def _at_once(value: T) -> T:
    return value


async def _only(step: Awaitable[Finding]) -> tuple[None, Finding]:
    return None, await step
