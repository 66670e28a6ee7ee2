"""The first part of a link's life: from accept to the end of its handshake.

Ownership: a :class:`SetUp` owns both sockets until :meth:`SetUp.run` returns; then the caller does, or they
are closed.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import trio

from epmdless.addresses import Endpoint
from epmdless.errors import LinkError, RemoteProtocolError
from epmdless.net.dialing import DialError
from epmdless.policy import plain_address
from epmdless.relay.ends import End
from epmdless.relay.links import Link, Party
from epmdless.relay.routes import Route, Target
from epmdless.rules import LinkFacts, Rules
from epmdless.wire import client_hello, proxy_protocol
from epmdless.wire.handshake import (
    PUBLISHED,
    Ack,
    Challenge,
    Complement,
    Message,
    Name,
    OldChallenge,
    OldName,
    Reply,
    Side,
    Status,
    StatusKind,
    digest,
    encode,
    frame,
)
from epmdless.wire.handshake_watch import State, Watcher

READ_SIZE = 4096
"""Bytes of one read before the link is up: a whole handshake of both sides has some 200."""


_REFUSALS = {StatusKind.NOK: End.FAR_NOK, StatusKind.NOT_ALLOWED: End.FAR_NOT_ALLOWED}
_GOES_ON = (StatusKind.OK, StatusKind.OK_SIMULTANEOUS, StatusKind.NAMED)


@dataclass(frozen=True, slots=True)
class Ready:
    """A link whose handshake is over: both sockets, and what was read that belongs to the other side."""

    near: trio.socket.SocketType
    far: trio.socket.SocketType
    from_near: bytes
    from_far: bytes


@dataclass(frozen=True, slots=True)
class Means:
    """What a set-up needs of the relay.

    :ivar rules: the policy in force.
    :ivar dial: connects to a target; raises DialError.
    :ivar target_of_host: the target for a host that TLS distribution names, given the one that the port
        means; None if there is none.
    :ivar passes_tls: whether a route lets TLS pass.
    :ivar is_allowed: whether there is room for a link from this address, now that it is known.
    """

    rules: Rules
    dial: Callable[[Target], Awaitable[trio.socket.SocketType]]
    target_of_host: Callable[[Target, str], Target | None]
    passes_tls: Callable[[Route], bool]
    is_allowed: Callable[[Link], bool]


class SetUp:
    """Sets one link up.

    :ivar phase: the end code if time runs out now.
    """

    def __init__(self, link: Link, near: trio.socket.SocketType, target: Target, means: Means) -> None:
        self.phase = End.HANDSHAKE_TIMED_OUT
        self._link = link
        self._near = near
        self._far: trio.socket.SocketType | None = None
        self._target = target
        self._means = means
        self._watcher = Watcher()
        self._held: Status | None = None
        self._problem: LinkError | None = None
        self._far_challenge = self._near_challenge = 0

    async def run(self) -> Ready:
        """Bring the handshake to its end.

        :raises LinkError: the link ends here; both sockets are closed.
        """
        try:
            ready = await self._run()
        except BaseException as error:
            self._near.close()
            if self._far is not None:
                self._far.close()
            if isinstance(error, RemoteProtocolError):
                raise LinkError(End.HANDSHAKE_MALFORMED, str(error)) from None
            raise
        return ready

    async def _run(self) -> Ready:
        data = await self._first_bytes()
        if client_hello.is_tls(data[0]):
            return await self._pass_tls(data)
        self._watcher.receive(Side.NEAR, data)
        while (message := self._watcher.next(Side.NEAR)) is None:
            self._watcher.receive(Side.NEAR, await self._receive(self._near, Side.NEAR))
        assert isinstance(message, Name | OldName), "the state table begins with a name"
        self._note_name(self._link.near, message)
        await self._judge(None, self._target.route.section.host, final=False)
        await self._dial()
        await self._pass_on(Side.NEAR, message)
        await self._follow_both()
        assert self._far is not None
        return Ready(self._near, self._far, self._watcher.rest(Side.NEAR), self._watcher.rest(Side.FAR))

    # The near side's first bytes.

    async def _first_bytes(self) -> bytes:
        """What the near side says first; a load balancer's header before it is taken off."""
        data = await self._receive(self._near, Side.NEAR)
        if not self._target.route.section.proxy_protocol:
            if data.startswith(proxy_protocol.SIGNATURE):  # else its first bytes announce 3338 more
                problem = "a PROXY header, which the route does not expect (proxy_protocol)"
                raise LinkError(End.HANDSHAKE_MALFORMED, problem)
            return data
        while (header := proxy_protocol.decode_header(data)) is None:
            data += await self._receive(self._near, Side.NEAR)
        if header.source is not None:
            host = str(plain_address(header.source))
            self._link.near.address = str(Endpoint(host, header.source_port or 0))
            self._link.proxied_host = host
            if not self._means.is_allowed(self._link):
                raise LinkError(End.REFUSED_BY_LIMIT, "too many links from this address")
        rest = data[header.length :]
        return rest or await self._receive(self._near, Side.NEAR)

    async def _pass_tls(self, data: bytes) -> Ready:
        """Pass TLS through: all that can be known is the host that the client names."""
        while (hello := client_hello.server_name(data)) is None:
            data += await self._receive(self._near, Side.NEAR)
        self._link.tls = True
        if hello.server_name is not None:
            target = self._means.target_of_host(self._target, hello.server_name)
            if target is None:
                raise LinkError(End.TARGET_UNKNOWN, "TLS names a host that no route here is for")
            self._target = target
            self._link.route = target.route.label
        if not self._means.passes_tls(self._target.route):
            raise LinkError(End.REFUSED_BY_POLICY, "no TLS on this route: tls, hidden, or bridged cookies")
        await self._judge(None, self._target.route.section.host)  # a server name is what the near side says
        await self._dial()
        assert self._far is not None
        return Ready(self._near, self._far, data, b"")

    # Who may.

    async def _judge(self, far: str | None, host: str | None, *, final: bool = True) -> None:
        """Ask the rules; a refused near node is told so.

        :param far, host: the far node's name, as far as it is known.
        :param final: whether nothing more will be known: if not, only what does not depend on it refuses.
        :raises LinkError: refused.
        """
        node = self._link.near.node
        facts = LinkFacts(
            near=None if node is None or "@" not in node else node,  # a host alone, until it is named
            near_address=self._link.proxied_host or self._link.near_host,
            far=far,
            host=host,
        )
        rules = self._means.rules
        verdict = rules.verdict(facts) if final else rules.foreseen(facts)
        if verdict is None or verdict.allowed:
            return
        await self._refuse(End.REFUSED_BY_POLICY, f"relay.rule[{(verdict.rule or 0) - 1}]")

    async def _refuse(self, code: End, detail: str) -> None:
        """Tell the near node `not_allowed`, where the handshake is at that, and end."""
        problem = self._problem = LinkError(code, detail)  # first: the near side may leave at it
        if self._watcher.state in (State.STATUS, State.CHALLENGE) or self._held is not None:
            with suppress(LinkError):
                await self._send(self._near, encode(Status(StatusKind.NOT_ALLOWED)))
        raise problem

    async def _dial(self) -> None:
        self.phase = End.DIAL_TIMED_OUT
        self._link.far.address = str(self._target)
        try:
            self._far = await self._means.dial(self._target)
        except DialError as error:
            code = End.TARGET_UNKNOWN if error.unknown else End.DIAL_REFUSED
            raise LinkError(End.REFUSED_BY_LIMIT if error.shortage else code, str(error)) from None
        self.phase = End.HANDSHAKE_TIMED_OUT

    # Following the handshake.

    async def _follow_both(self) -> None:
        """Pass messages on in both directions until the link is up; notice at once when a side leaves."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow, Side.NEAR, nursery.cancel_scope)
            nursery.start_soon(self._follow, Side.FAR, nursery.cancel_scope)
        if self._problem is not None:
            raise self._problem

    async def _follow(self, side: Side, scope: trio.CancelScope) -> None:
        assert self._far is not None
        sock = self._near if side is Side.NEAR else self._far
        try:
            await self._say_on(side)  # the near side may have said more than its name in one go
            while self._watcher.state is not State.ESTABLISHED:
                if not await self._step(side, sock):
                    return
        except RemoteProtocolError as error:
            self._problem = self._problem or LinkError(End.HANDSHAKE_MALFORMED, str(error))
        except LinkError as error:
            self._problem = self._problem or error
        scope.cancel()

    async def _step(self, side: Side, sock: trio.socket.SocketType) -> bool:
        """Pass on what a side says next.

        :returns: False if nothing that this side does matters any more.
        """
        try:
            data = await self._receive(sock, side)
        except LinkError:
            if side is Side.FAR and self._watcher.state is State.REFUSED:
                return False  # it has said no; the near node keeps its end open until it closes it
            raise
        self._watcher.receive(side, data)
        await self._say_on(side)
        return True

    async def _say_on(self, side: Side) -> None:
        """Pass on the messages of a side that are there."""
        while (message := self._watcher.next(side)) is not None:
            await self._pass_on(side, message)

    async def _receive(self, sock: trio.socket.SocketType, side: Side) -> bytes:
        """Read something.

        :raises LinkError: the side has left; the code is that of the reason that is known, or of the side.
        """
        try:
            data = await sock.recv(READ_SIZE)
        except OSError:
            raise LinkError(self._code_for_leaving(side, End.NEAR_RESET, End.FAR_RESET), "") from None
        if not data:
            raise LinkError(self._code_for_leaving(side, End.NEAR_CLOSED, End.FAR_CLOSED), "")
        return data

    def _code_for_leaving(self, side: Side, near: End, far: End) -> End:
        if self._link.end is not None:
            return self._link.end  # the far side had refused, or the near side gave up
        if side is Side.NEAR:
            return near
        if self._watcher.state is State.ACK:
            return End.WRONG_COOKIE  # so a node answers a digest that is not right
        return far

    # Passing messages on.

    async def _pass_on(self, side: Side, message: Message) -> None:
        """Give a message to the other side, changed as the route says."""
        match message:
            case Name() | OldName():
                changed: Message = self._hidden(message)
            case Status():
                await self._status(message)
                return
            case Challenge() | OldChallenge():
                await self._challenge(message)
                return
            case Complement():
                flags = self._link.near.flags or 0
                self._link.near.flags = flags & 0xFFFFFFFF | message.flags_high << 32
                self._link.near.creation = message.creation
                changed = message
            case Reply():
                changed = self._bridged_reply(message)
            case Ack():
                changed = self._bridged_ack(message)
                self._link.acknowledged = True
            case _:
                if self._watcher.state is State.GAVE_UP:
                    self._link.ends_as(End.FAR_ALIVE)
                changed = message
        await self._send(self._near if side is Side.FAR else self._far, encode(changed))

    async def _status(self, status: Status) -> None:
        """Hold a good answer back until the far node has said its name: it could still be refused."""
        if status.kind in _GOES_ON:
            self._held = status
            if status.kind is StatusKind.NAMED:
                self._link.near.node = status.name
                self._link.near.creation = status.creation
            return
        if status.kind in _REFUSALS:
            self._link.ends_as(_REFUSALS[status.kind])
        await self._send(self._near, encode(status))

    async def _challenge(self, challenge: Challenge | OldChallenge) -> None:
        self._note_name(self._link.far, challenge)
        self._far_challenge = challenge.challenge
        alive, _, host = challenge.name.partition("@")
        route = self._target.route
        if not route.is_for_host(host) or not route.names.matches(alive):
            await self._refuse(End.WRONG_NODE, f"{challenge.name} answers for {route.label}")
        await self._judge(alive, host)
        held, self._held = self._held, None
        parts = [] if held is None else [encode(held)]
        await self._send(self._near, *parts, encode(self._hidden(challenge)))

    def _hidden(self, message: Name | OldName | Challenge | OldChallenge) -> Message:
        if not self._target.route.section.hidden:
            return message
        return replace(message, flags=message.flags & ~PUBLISHED)

    def _bridged_reply(self, reply: Reply) -> Reply:
        self._near_challenge = reply.challenge
        cookies = self._target.route.cookies
        if cookies is None:
            return reply
        if not hmac.compare_digest(reply.digest, digest(cookies.near, self._far_challenge)):
            raise LinkError(End.WRONG_COOKIE, "the near node's digest does not fit cookie_near")
        return replace(reply, digest=digest(cookies.far, self._far_challenge))

    def _bridged_ack(self, ack: Ack) -> Ack:
        cookies = self._target.route.cookies
        if cookies is None:
            return ack
        if not hmac.compare_digest(ack.digest, digest(cookies.far, self._near_challenge)):
            raise LinkError(End.WRONG_COOKIE, "the far node's digest does not fit cookie_far")
        return replace(ack, digest=digest(cookies.near, self._near_challenge))

    def _note_name(self, party: Party, message: Name | OldName | Challenge | OldChallenge) -> None:
        party.node = message.name
        party.flags = message.flags
        if isinstance(message, Name | Challenge):
            party.creation = message.creation

    async def _send(self, sock: trio.socket.SocketType | None, *payloads: bytes) -> None:
        """Write messages in one go.

        :raises LinkError: the side has left.
        """
        assert sock is not None
        data = b"".join(frame(payload, self._watcher.framing) for payload in payloads)
        side = Side.NEAR if sock is self._near else Side.FAR
        try:
            while data:
                data = data[await sock.send(data) :]
        except OSError:
            raise LinkError(self._code_for_leaving(side, End.NEAR_RESET, End.FAR_RESET), "") from None
