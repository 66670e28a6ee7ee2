"""What a request is answered with. No sockets here: the server carries the answers out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Literal, NamedTuple

from epmdless import metrics
from epmdless.epmd.face import Face
from epmdless.log import Log
from epmdless.metrics import Metrics
from epmdless.policy import AccessList
from epmdless.registry import Registry
from epmdless.resolve.chain import Chain
from epmdless.resolve.outcomes import Failed, Found, Missing, Query
from epmdless.schemes import Scheme
from epmdless.wire import epmd_plain as plain
from epmdless.wire import epmd_replies as replies
from epmdless.wire.epmd import (
    Alive2Request,
    DumpRequest,
    KillRequest,
    NamesRequest,
    Node,
    PortPlease2Request,
    Request,
    StopRequest,
    UnacceptableAlive2,
)

REMEMBERED_MISMATCHES = 1024
"""Names for which a mismatch was logged, so that it is logged once; then all are forgotten."""


class Then(Enum):
    """What happens to the connection after the reply."""

    CLOSE = auto()
    REGISTERED = auto()
    """It is a registration now."""
    LINGER = auto()
    """The client closes it."""
    WAIT = auto()
    """No reply yet: :meth:`Desk.look_up` must be awaited."""
    END_SERVER = auto()


class Answer(NamedTuple):
    """The reply's bytes, empty for none, and what happens then."""

    reply: bytes
    then: Then = Then.CLOSE


NO_REPLY = Answer(b"")
WAIT = Answer(b"", Then.WAIT)


class Caller(NamedTuple):
    """Who asks: the connection's descriptor, the peer's address, whether it is on this host, and the
    port that it dialled."""

    fd: int
    address: str
    local: bool
    port: int


@dataclass(frozen=True, slots=True)
class Settings:
    """What the configuration says about answers.

    :ivar log_lookups: a debug line for each lookup, not only for what goes wrong.
    :ivar lookup_access, names_access: None = everybody may ask.
    :ivar is_needed: whether others than registered nodes depend on this process: KILL is refused then.
    """

    chain: Chain
    scheme: Scheme
    host: str
    on_mismatch: Literal["warn", "reject", "ignore"] = "warn"
    relaxed_command_check: bool = False
    log_lookups: bool = False
    lookup_access: AccessList | None = None
    names_access: AccessList | None = None
    is_needed: Callable[[], bool] = field(default=lambda: False)


class Desk:
    """Answers requests from the registry and the resolver chain.

    :param max_registrations: refuse more than this many: descriptors must be left for lookups.
    :param has_ended: whether the connection on a descriptor has ended or spoken, unread as yet;
    :param end: unregister and close the registration on a descriptor.
    :param now: seconds since 1970.
    """

    def __init__(
        self,
        registry: Registry,
        settings: Settings,
        counts: Metrics,
        log: Log,
        *,
        max_registrations: int,
        has_ended: Callable[[int], bool],
        end: Callable[[int, str], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        self.registry = registry
        self.settings = settings
        self._counts = counts
        self._log = log
        self._max_registrations = max_registrations
        self._has_ended = has_ended
        self._end = end
        self._now = now
        self._mismatched: set[str] = set()

    def answer(self, request: Request, caller: Caller) -> Answer:
        """Answer a request, or say that its answer takes I/O (only a lookup's can)."""
        match request:
            case PortPlease2Request(name):
                return self.look_up_now(name, caller.address)
            case NamesRequest():
                return self._names(caller)
        if not caller.local:
            return self._refuse(request, "not-local", caller)
        match request:
            case Alive2Request(node):
                return self._register(node, caller)
            case UnacceptableAlive2(highest, reason):
                self._refuse(request, reason, caller)
                return Answer(replies.encode_alive2_error(highest), Then.LINGER)
            case DumpRequest():
                return self._dump(caller)
            case KillRequest():
                return self._kill(caller)
            case StopRequest(name):
                return self._stop(name, caller)
        raise AssertionError(request)

    def look_up_now(self, name: str, address: str) -> Answer:
        """Answer a lookup if that takes no I/O; :data:`WAIT` otherwise."""
        if not _allows(self.settings.lookup_access, address):
            return self._refused("lookup", "access", address)
        outcome = self.settings.chain.answer_now(Query(name, self.settings.host))
        return WAIT if outcome is None else self._lookup_answer(name, outcome)

    async def look_up(self, name: str) -> Answer:
        """Answer a lookup, whatever I/O that takes."""
        outcome = await self.settings.chain.answer(Query(name, self.settings.host))
        return self._lookup_answer(name, outcome)

    def _lookup_answer(self, name: str, outcome: Found | Missing | Failed) -> Answer:
        if self.settings.log_lookups:
            port = outcome.node.port if isinstance(outcome, Found) else None
            self._log.debug("lookup", name=name, resolver=outcome.resolver, port=port)
        if isinstance(outcome, Found):
            self._counts.count(metrics.LOOKUPS, outcome.resolver, "found")
            return Answer(outcome.answer)
        kind = "missing" if isinstance(outcome, Missing) else "failed"
        self._counts.count(metrics.LOOKUPS, outcome.resolver, kind)
        return Answer(replies.MISS)

    def _names(self, caller: Caller) -> Answer:
        if not _allows(self.settings.names_access, caller.address):
            return self._refuse(NamesRequest(), "access", caller)
        self._counts.count(metrics.REQUESTS, "names")
        return Answer(self.registry.names_reply(caller.port))

    def _register(self, node: Node, caller: Caller) -> Answer:
        self._counts.count(metrics.REQUESTS, "alive2")
        holder = self.registry.get(node.name)
        if holder is not None and self._has_ended(holder.fd):
            self._end(holder.fd, "closed")
        reason = self._objection(node)
        registration = None
        if reason is None:
            registration = self.registry.register(node, caller.fd, int(self._now()))
        if registration is None:
            self._counts.count(metrics.REFUSALS, "alive2", reason or "taken")
            self._log.warning(
                "registration refused", name=node.name, port=node.port, reason=reason or "taken"
            )
            return Answer(replies.encode_alive2_error(node.highest), Then.LINGER)
        self._counts.count(metrics.REGISTRATIONS)
        self._log.info(
            "registered", name=node.name, port=node.port, creation=registration.creation, fd=caller.fd
        )
        reply = replies.encode_alive2_reply(node.highest, registration.creation)
        return Answer(reply, Then.REGISTERED)

    def _objection(self, node: Node) -> str | None:
        """Why a registration is refused, apart from its name being taken."""
        if len(self.registry) >= self._max_registrations:
            return "full"
        if self.settings.on_mismatch == "ignore":
            return None
        if self.settings.scheme.promises(node.name, node.port) is not False:
            return None
        self._counts.count(metrics.MISMATCHES)
        self._log_mismatch(node)
        return "mismatch" if self.settings.on_mismatch == "reject" else None

    def _log_mismatch(self, node: Node) -> None:
        if node.name in self._mismatched:
            return
        if len(self._mismatched) >= REMEMBERED_MISMATCHES:
            self._mismatched.clear()
        self._mismatched.add(node.name)
        promised = self.settings.scheme.port_of(node.name)
        self._log.warning("scheme mismatch", name=node.name, port=node.port, promised=promised)

    def _dump(self, caller: Caller) -> Answer:
        self._counts.count(metrics.REQUESTS, "dump")
        active = ((r.node.name, r.node.port, r.fd) for r in self.registry)
        old = ((name, d.port, d.fd) for name, d in self.registry.departed())
        return Answer(replies.encode_dump_reply(caller.port, active, old))

    def _kill(self, caller: Caller) -> Answer:
        self._counts.count(metrics.REQUESTS, "kill")
        reason = "living-nodes" if len(self.registry) else "links" if self.settings.is_needed() else None
        if reason is not None and not self.settings.relaxed_command_check:
            self._refuse(KillRequest(), reason, caller)
            return Answer(plain.KILL_REFUSED)
        return Answer(plain.KILL_OK, Then.END_SERVER)

    def _stop(self, name: str, caller: Caller) -> Answer:
        self._counts.count(metrics.REQUESTS, "stop")
        if not self.settings.relaxed_command_check:
            return self._refuse(StopRequest(name), "not-relaxed", caller)
        registration = self.registry.get(name)
        if registration is None:
            return Answer(plain.NOT_STOPPED)
        self._end(registration.fd, "stopped by request")
        return Answer(plain.STOPPED)

    async def answer_for(self, face: Face, request: Request, caller: Caller) -> Answer:
        """Answer a request to an address that stands in for far hosts: only lookups and lists are for
        them."""
        match request:
            case PortPlease2Request(name):
                if not _allows(self.settings.lookup_access, caller.address):
                    return self._refuse(request, "access", caller)
                reply = await face.look_up(name)
                if self.settings.log_lookups:
                    said = replies.decode_port_reply(reply, closed=True)
                    port = said.node.port if said is not None and said.node is not None else None
                    self._log.debug("lookup", name=name, resolver="relay", port=port, peer=caller.address)
                self._counts.count(metrics.LOOKUPS, "relay", "missing" if reply == replies.MISS else "found")
                return Answer(reply)
            case NamesRequest():
                if not _allows(self.settings.names_access, caller.address):
                    return self._refuse(request, "access", caller)
                self._counts.count(metrics.REQUESTS, "names")
                return Answer(await face.names(caller.port))
        return self._refuse(request, "stand-in", caller)

    def _refuse(self, request: Request, reason: str, caller: Caller) -> Answer:
        return self._refused(_KINDS[type(request)], reason, caller.address)

    def _refused(self, kind: str, reason: str, address: str) -> Answer:
        self._counts.count(metrics.REFUSALS, kind, reason)
        self._log.warning("refused", request=kind, reason=reason, peer=address)
        return NO_REPLY


def _allows(access: AccessList | None, address: str) -> bool:
    return access is None or access.allows(address)


_KINDS: dict[type, str] = {
    Alive2Request: "alive2",
    UnacceptableAlive2: "alive2",
    PortPlease2Request: "lookup",
    NamesRequest: "names",
    DumpRequest: "dump",
    KillRequest: "kill",
    StopRequest: "stop",
}
