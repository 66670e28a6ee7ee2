"""Tunnels: what becomes of a request that is allowed, up to the link that the pump carries."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Protocol

import trio

from epmdless import metrics
from epmdless.addresses import Endpoint
from epmdless.errors import LinkError
from epmdless.gateway.prepared import Prepared
from epmdless.gateway.question import pass_question
from epmdless.gateway.refusal import RefusalError
from epmdless.gateway.session import Session, Tunnel
from epmdless.gateway.setup import TunnelSetUp
from epmdless.gateway.target import dial_target
from epmdless.grants import Allowance, Grant
from epmdless.links.carrier import Carrier
from epmdless.links.ends import End
from epmdless.links.link import Link
from epmdless.metrics import Metrics
from epmdless.net.plain import PlainConnection
from epmdless.net.rounds import Rounds
from epmdless.wire.connect import ConnectRequest
from epmdless.wire.proxy_status import ProxyError

HANDSHAKE_SECONDS = 10.0
"""For the nodes' handshake inside a tunnel; a BEAM gives up after 7 s."""

GOODBYE_SECONDS = 1.0
"""For the last words of a tunnel that carried an EPMD question, or for which no link came up."""

Grants = tuple[Grant, ...]

_PROBLEMS = {
    "denied": "for a node that no `nodes` allows",
    "refused": "not a lookup, which is all that may be asked",
    "malformed": "a question to EPMD, or its answer, that is none",
    "timed_out": "a question to EPMD that was not asked, or not answered, in time",
}
"""What is said of questions that ended so."""

LABEL = "gateway"
"""What stands in a log line where a relay's link has its route."""


class Auditor(Protocol):
    """Who keeps account of what clients were refused."""

    def note_refused(self, session: Session, reason: str, detail: str) -> None:
        """A client's question to EPMD was none that may pass."""

    def note_denied(self, session: Session, request: ConnectRequest, error: RefusalError) -> None:
        """A client may not ask this EPMD server, or it cannot be asked."""


class Tunnels:
    """Opens tunnels.

    :param in_force: the configuration in force.
    :param is_ours: whether dialling an address and port would lead back here.
    :param auditor: told of clients whose questions to EPMD are refused.
    :ivar carried: tunnels that the pump has.
    :ivar questions: tunnels with a question to an EPMD server.
    """

    def __init__(
        self,
        rounds: Rounds,
        counts: Metrics,
        carrier: Carrier,
        in_force: Callable[[], Prepared],
        is_ours: Callable[[str, int], bool],
        auditor: Auditor,
    ) -> None:
        self.carried = self.questions = 0
        self._auditor = auditor
        self._id = secrets.token_hex(4)
        self._rounds = rounds
        self._counts = counts
        self._carrier = carrier
        self._in_force = in_force
        self._is_ours = is_ours
        self._by_client: dict[tuple[str, ...], int] = {}
        self._setup_seconds = counts.histogram(metrics.SETUP_SECONDS)
        self._dial_seconds = counts.histogram(metrics.DIAL_SECONDS)

    async def open(self, session: Session, request: ConnectRequest, allowance: Allowance) -> Tunnel:
        """Connect to what a client asks for. Raises RefusalError."""
        self._rounds.hurry()
        if request.port == self._in_force().section.epmd_port:
            try:
                far, grants = await self._dial(session, request, allowance)
            except RefusalError as error:
                self._auditor.note_denied(session, request, error)
                raise
            target = str(Endpoint(request.host, request.port))
            return _Question(self, session, target, far, allowance, grants)
        link = self._begin(session, request, allowance)
        try:
            far, grants = await self._dial_for(link, session, request, allowance)
        except RefusalError as error:
            self.end(link, error.end, error.detail)
            raise
        except BaseException as error:
            self.end(link, End.INTERNAL if isinstance(error, Exception) else End.DRAINED, "")
            raise
        return _LinkTunnel(
            self, session, link, far, TunnelSetUp(link, session.connection, far, allowance, grants)
        )

    async def _dial_for(
        self, link: Link, session: Session, request: ConnectRequest, allowance: Allowance
    ) -> tuple[PlainConnection, tuple[Grant, ...]]:
        """Connect, unless the link is ended meanwhile."""
        with self._carrier.begin(link):
            return await self._dial(session, request, allowance)
        raise RefusalError(ProxyError.CONNECTION_LIMIT_REACHED, "the link was ended")

    async def _dial(
        self, session: Session, request: ConnectRequest, allowance: Allowance
    ) -> tuple[PlainConnection, tuple[Grant, ...]]:
        section, started = self._in_force().section, self._rounds.clock()
        if self._by_client.get(session.names, 0) > section.max_tunnels_per_client:
            raise RefusalError(ProxyError.CONNECTION_LIMIT_REACHED, "max_tunnels_per_client")
        sock, grants = await dial_target(
            allowance, request.host, request.port, self._is_ours, section.dial_timeout
        )
        self._dial_seconds.observe(self._rounds.clock() - started)
        self._in_force().options.apply(sock)
        return PlainConnection(sock), grants

    def _begin(self, session: Session, request: ConnectRequest, allowance: Allowance) -> Link:
        link = self._carrier.links.open(LABEL, session.host, session.address, self._rounds.clock())
        link.client = _name_of(session, allowance)
        link.tunnel = request.link or f"{self._id}-{link.id}"
        link.far.address = (
            f"{request.host}:{request.port}"
            if ":" not in request.host
            else f"[{request.host}]:{request.port}"
        )
        self._by_client[session.names] = self._by_client.get(session.names, 0) + 1
        link.over.append(partial(self._leave, session.names))
        return link

    def _leave(self, names: tuple[str, ...]) -> None:
        left = self._by_client[names] - 1
        if left:
            self._by_client[names] = left
        else:
            del self._by_client[names]

    def end(self, link: Link, code: End, detail: str) -> None:
        """End a link that nothing was carried for."""
        self._carrier.set_up(link)
        link.ends_as(code)
        link.detail = link.detail or detail
        self._carrier.settle(link)

    async def set_up(self, link: Link, setup: TunnelSetUp) -> bool:
        """Follow the nodes' handshake; whether the pump has the link now."""
        scope = self._carrier.begin(link)
        scope.deadline = trio.current_time() + HANDSHAKE_SECONDS
        carried = False
        code, detail = End.DRAINED, ""  # cancelled from outside, unless something else is found
        try:
            with scope:
                self._carry(link, setup, *await setup.run())
                carried = True
                return carried
            code = End.HANDSHAKE_TIMED_OUT
        except LinkError as error:
            code, detail = End(error.code), error.detail
        except OSError as error:
            code, detail = End.TUNNEL_CUT, str(error)
        except Exception:
            code = End.INTERNAL
            raise
        finally:
            if not carried and link.flows is None:
                self.end(link, code, detail)
        return carried

    def _carry(self, link: Link, setup: TunnelSetUp, from_near: bytes, from_far: bytes) -> None:
        """Hand a link over to the pump.

        :raises OSError: what the client sent behind the handshake is not what TLS allows.
        """
        self._setup_seconds.observe(self._rounds.clock() - link.opened)
        frames = self._in_force().frames and not link.tls
        assert setup.far is not None, "it was dialled"
        self.carried += 1
        link.over.append(self._note_over)
        self._carrier.set_up(link)
        self._carrier.carry(link, setup.near, setup.far, from_near, from_far, frames=frames)

    def _note_over(self) -> None:
        self.carried -= 1

    async def ask(
        self, session: Session, target: str, far: PlainConnection, allowance: Allowance, grants: Grants
    ) -> None:
        """Pass a question and its answer.

        :param target: whose EPMD server it is for, for the log.
        """
        self.questions += 1
        try:
            outcome = await pass_question(session.connection, far, allowance, grants)
        finally:
            self.questions -= 1
        problem = _PROBLEMS.get(outcome)
        if problem is not None:
            detail = f"lookup at {target}: {problem}"
            self._auditor.note_refused(session, f"epmd_{outcome}", detail)


class _LinkTunnel:
    """A tunnel for a distribution connection."""

    def __init__(
        self, tunnels: Tunnels, session: Session, link: Link, far: PlainConnection, setup: TunnelSetUp
    ) -> None:
        self._tunnels = tunnels
        self._session = session
        self._link = link
        self._far = far
        self._setup = setup

    async def run(self, rest: bytes) -> None:
        """Set the link up, and hand it over."""
        self._session.connection.put_back(rest)
        carried = False
        try:
            carried = await self._tunnels.set_up(self._link, self._setup)
            if not carried:
                await self._part()
        finally:
            if not carried:
                self._session.connection.close()
                self._far.close()

    async def _part(self) -> None:
        """End politely: to the near relay a far node that closes, as at a wrong digest, is no cut tunnel."""
        with suppress(OSError), trio.move_on_after(GOODBYE_SECONDS):
            await self._session.connection.say_goodbye()

    def give_up(self) -> None:
        """The client has left before it was told."""
        self._far.close()
        self._tunnels.end(self._link, End.NEAR_RESET, "")


class _Question:
    """A tunnel for one question to a far host's EPMD server."""

    def __init__(
        self,
        tunnels: Tunnels,
        session: Session,
        target: str,
        far: PlainConnection,
        allowance: Allowance,
        grants: Grants,
    ) -> None:
        self._tunnels = tunnels
        self._session = session
        self._target = target
        self._far = far
        self._allowance = allowance
        self._grants = grants

    async def run(self, rest: bytes) -> None:
        """Pass the question and its answer."""
        near = self._session.connection
        near.put_back(rest)
        try:
            await self._tunnels.ask(self._session, self._target, self._far, self._allowance, self._grants)
            with trio.move_on_after(GOODBYE_SECONDS):
                await near.say_goodbye()
        except OSError:
            pass  # the asker has left
        finally:
            near.close()
            self._far.close()

    def give_up(self) -> None:
        """The client has left before it was told."""
        self._far.close()


def _name_of(session: Session, allowance: Allowance) -> str | None:
    """By which of its names a client is allowed; the first, where by none."""
    named = [name for name in session.names for grant in allowance.grants if grant.client.matches(name)]
    return next(iter([*named, *session.names]), None)
