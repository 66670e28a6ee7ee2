"""The walk: one step after the other, and what a step that failed means for those behind it."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import trio

from epmdless.cluster.encryption import load_node_context
from epmdless.cluster.shaking import OwnedConnection
from epmdless.config import ResolveSection, RouteSection
from epmdless.doctor.addressing import find_addresses
from epmdless.doctor.asking import ask_all
from epmdless.doctor.connecting import Connected, connect
from epmdless.doctor.encrypting import Spoken, find_out
from epmdless.doctor.meeting import Met, identify, shake
from epmdless.doctor.naming import look_at_name
from epmdless.doctor.promising import Promise, Promised, ask_chain
from epmdless.doctor.proving import NOT_TRIED, call, from_handshake, try_cookie
from epmdless.doctor.reaching import ReachError, at_port, reach
from epmdless.doctor.registration import Registered, judge
from epmdless.doctor.report import LIMITS, NOT_REACHED, STEPS, Finding, Report, Step, StepName
from epmdless.doctor.speaking import judge as judge_speech
from epmdless.doctor.speaking import refused
from epmdless.log import Log
from epmdless.names import NodeName
from epmdless.net.dialing import Address
from epmdless.net.tls.contexts import TlsFiles
from epmdless.resolve.outcomes import Query
from epmdless.wire.handshake import Framing

T = TypeVar("T")

_NO_EPMD = "nodes that ask no EPMD (-erl_epmd_port) reach it; for all others mend EPMD"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to walk to, and with what.

    :ivar node: as it was given.
    :ivar own_host: the host part of our own names.
    :ivar tls: the certificates for nodes that speak TLS; None: they speak none.
    :ivar server_name: whom the node's certificate is for; None: the host part of its name.
    :ivar cookie: None: the walk ends where it would be needed.
    :ivar asks_epmd: False: nodes here know the port without asking.
    :ivar inetrc: what ``ERL_INETRC`` is set to.
    """

    node: str
    epmd_port: int
    resolve: ResolveSection
    own_host: str
    routes: Sequence[RouteSection] = ()
    tls: TlsFiles | None = None
    server_name: str | None = None
    cookie: bytes | None = field(default=None, repr=False)
    asks_epmd: bool = True
    inetrc: str | None = None


async def walk(plan: Plan, log: Log) -> Report:
    """Walk to a node, and leave it as it was. Takes as long as all `LIMITS` together, at most; where EPMD and
    the chain say different ports, those of four steps count twice."""
    return await _Walk(plan, log).run()


class _EndError(Exception):
    """The way ends here."""


class _Steps:
    """Steps that were taken."""

    def __init__(self) -> None:
        self.taken: dict[StepName, Step] = {}

    async def take(self, name: StepName, step: Awaitable[tuple[T, Finding]]) -> T | None:
        """Take a step, and note how it went; None where its time was up."""
        began, value = trio.current_time(), None
        finding = Finding("failed", f"no end of it within {LIMITS[name]:g} s")
        with trio.move_on_after(
            LIMITS[name] + 1
        ):  # each step keeps to its limit by itself, and says what is up
            value, finding = await step
        self.note(name, finding, trio.current_time() - began)
        return value

    def note(self, name: StepName, finding: Finding, seconds: float | None) -> None:
        self.taken[name] = Step(name, finding, seconds)

    @property
    def failed(self) -> Step | None:
        return next((step for step in self.taken.values() if step.finding.verdict == "failed"), None)


class _Walk(_Steps):
    def __init__(self, plan: Plan, log: Log) -> None:
        super().__init__()
        self._plan = plan
        self._log = log

    async def run(self) -> Report:
        met: Met | None = None
        try:
            met = await self._go()
            if met is not None:
                await self._show_cookie(met)
        finally:
            if met is not None:
                met.close()
        steps = [self.taken.get(name, Step(name, NOT_REACHED)) for name in STEPS]
        return Report(self._plan.node, steps)

    async def _go(self) -> Met | None:
        """Up to the node's challenge; None: the way ends before."""
        plan = self._plan
        name = await self.take(
            "name", _at_once(look_at_name(plan.node, plan.resolve.scheme.build(), plan.own_host))
        )
        if name is None or name.host is None:
            return None
        found = find_addresses(name.host, plan.own_host, plan.routes, plan.inetrc)
        addresses = await self.take("dns", found)
        if not addresses:
            return None
        promised, registered = await self._ask_for_port(name, addresses)
        return await self._choose(name, addresses, registered, promised.promise)

    async def _ask_for_port(
        self, name: NodeName, addresses: Sequence[Address]
    ) -> tuple[Promised, Registered | None]:
        plan = self._plan
        promised = Promised(None)

        async def ask() -> tuple[Registered | None, Finding]:
            nonlocal promised
            answers: list[object] = []

            async def ask_epmd() -> None:
                answers.extend(await ask_all(addresses, plan.epmd_port, name.alive))

            async def ask_others() -> None:
                nonlocal promised
                query = Query(name.alive, name.host or "")
                promised = await ask_chain(query, plan.resolve, self._log)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask_others)
                if plan.asks_epmd:
                    nursery.start_soon(ask_epmd)
            if not plan.asks_epmd:
                return None, _not_asked(promised)
            return judge(answers, plan.epmd_port, promised, name.alive)  # type: ignore[arg-type]

        registered = await self.take("epmd", ask())
        return promised, registered

    async def _choose(
        self,
        name: NodeName,
        addresses: Sequence[Address],
        registered: Registered | None,
        promise: Promise | None,
    ) -> Met | None:
        """Try EPMD's port; and the promised one, where EPMD's is none or leads nowhere."""
        if registered is None:
            if promise is None:
                return None
            trial = await self._try(name, addresses, promise.port, is_old=False)
            self.taken |= trial.taken
            if trial.met is not None:
                self._also_say("epmd", "the node is there", _NO_EPMD)
            return trial.met
        order = [registered.address, *(each for each in addresses if each != registered.address)]
        trial = await self._try(name, order, registered.port, is_old=registered.is_old)
        if trial.failed is not None and promise is not None and promise.port != registered.port:
            other = await self._try(name, order, promise.port, is_old=registered.is_old)
            if other.met is not None:
                self._blame_epmd(registered, trial.failed, promise)
                trial = other
        self.taken |= trial.taken
        return trial.met

    async def _try(self, name: NodeName, addresses: Sequence[Address], port: int, *, is_old: bool) -> _Trial:
        trial = _Trial(self._plan, name)
        await trial.run(addresses, port, is_old=is_old)
        return trial

    def _also_say(self, name: StepName, said: str, advice: str) -> None:
        step = self.taken[name]
        if step.finding.verdict != "failed":
            return
        finding = replace(
            step.finding,
            said=f"{step.finding.said}, and {said}",
            advice=(*step.finding.advice, advice),
        )
        self.taken[name] = replace(step, finding=finding)

    def _blame_epmd(self, registered: Registered, failed: Step, promise: Promise) -> None:
        """EPMD's port led nowhere, and the promised one to the node."""
        step = self.taken["epmd"]
        said = (
            f"EPMD says port {registered.port}, where the way ends ({failed.name}: {failed.finding.said}); "
            f"the node is at {promise.port}, as {promise.by} says"
        )
        advice = (
            "EPMD's answer is wrong or old: see who registered the name there, and restart the node, or EPMD",
        )
        self.taken["epmd"] = replace(
            step, finding=replace(step.finding, verdict="failed", said=said, advice=advice)
        )

    async def _show_cookie(self, met: Met) -> None:
        cookie = self._plan.cookie
        if cookie is None:
            self.note("cookie", NOT_TRIED, None)
            self.note("round_trip", from_handshake(met), met.seconds)
            return
        await self.take("cookie", _only(try_cookie(met, cookie)))
        if self.taken["cookie"].finding.verdict == "ok":
            await self.take("round_trip", _only(call(met)))


class _Trial(_Steps):
    """The way from a port on, up to the node's name.

    :ivar met: the node, if it is the one that was meant; for the caller to close.
    """

    def __init__(self, plan: Plan, name: NodeName) -> None:
        super().__init__()
        self._plan = plan
        self._name = name
        self._host = plan.server_name or name.host or ""
        self.met: Met | None = None

    async def run(self, addresses: Sequence[Address], port: int, *, is_old: bool) -> None:
        connected = await self.take("tcp", connect(addresses, port))
        if connected is None:
            return
        spoken = await self.take("tls", self._speak(connected))
        if spoken is None or self.failed is not None:
            return
        framing = Framing.TCP if spoken.connection is None else Framing.TLS
        before = spoken.first if spoken.kind == "foreign" else b""
        dial = _Dial(self, connected, spoken)
        try:
            met = await self.take(
                "handshake", shake(dial, self._plan.own_host, framing, is_old=is_old, before=before)
            )
        except ssl.SSLError as error:
            tls = replace(self.taken["tls"], finding=refused(error, str(connected)))
            self.taken["tls"] = tls
            return
        finally:
            dial.close()
        if met is None:
            return
        finding = identify(met, f"{self._name.alive}@{self._name.host}")
        self.note("identity", finding, 0.0)
        if finding.verdict == "failed":
            met.close()
        else:
            self.met = met

    async def _speak(self, connected: Connected) -> tuple[Spoken, Finding]:
        spoken = await self.speak(connected.sock, str(connected))
        return spoken, judge_speech(spoken, has_certificates=self._plan.tls is not None)

    async def speak(self, sock: trio.socket.SocketType, peer: str) -> Spoken:
        """See what a port speaks; by TLS with our certificates, if we have any. Owns the socket."""
        files = self._plan.tls
        try:
            context = None if files is None else load_node_context(files, "cluster.tls")
        except BaseException:
            sock.close()
            raise
        return await find_out(sock, self._host, context, peer=peer)


class _Dial:
    """Connects to the node anew, for each name that we try; the connection that is up by TLS comes first."""

    def __init__(self, trial: _Trial, connected: Connected, spoken: Spoken) -> None:
        self._trial = trial
        self._connected = connected
        self._ready: OwnedConnection | None = spoken.connection
        self._is_tls = spoken.connection is not None

    async def __call__(self) -> OwnedConnection:
        if (ready := self._ready) is not None:
            self._ready = None
            return ready
        connected = self._connected
        sock = await reach(at_port(connected.address, connected.port), LIMITS["tcp"])
        if not self._is_tls:
            return sock
        spoken = await self._trial.speak(sock, str(connected))
        if spoken.connection is None:
            raise ReachError("refused", "TLS did not come about again")
        return spoken.connection

    def close(self) -> None:
        """Close what nobody took."""
        if self._ready is not None:
            self._ready.close()


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
