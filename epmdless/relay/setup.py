"""The first part of a link's life: from accept to the end of its handshake.

Ownership: a :class:`SetUp` owns both sockets until :meth:`SetUp.run` returns; then the caller does, or they
are closed.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from epmdless.addresses import Endpoint
from epmdless.errors import LinkError, RemoteProtocolError
from epmdless.links.ends import End
from epmdless.links.following import Connection, Following
from epmdless.links.link import Link
from epmdless.policy import plain_address
from epmdless.relay.routes import Route, Target
from epmdless.rules import LinkFacts, Rules
from epmdless.wire import client_hello, proxy_protocol
from epmdless.wire.handshake import (
    PUBLISHED,
    Ack,
    Challenge,
    Message,
    Name,
    OldChallenge,
    OldName,
    Reply,
    Side,
    digest,
)


@dataclass(frozen=True, slots=True)
class Ready:
    """A link whose handshake is over: both connections, and what was read that belongs to the other side."""

    near: Connection
    far: Connection
    from_near: bytes
    from_far: bytes


@dataclass(frozen=True, slots=True)
class Means:
    """What a set-up needs of the relay.

    :ivar rules: the policy in force.
    :ivar dial: connects a link to its target; raises LinkError.
    :ivar target_of_host: the target for a host that TLS distribution names, given the one that the port
        means; None if there is none.
    :ivar passes_tls: whether a route lets TLS pass.
    :ivar is_allowed: whether there is room for a link from this address, now that it is known.
    """

    rules: Rules
    dial: Callable[[Link, Target], Awaitable[Connection]]
    target_of_host: Callable[[Target, str], Target | None]
    passes_tls: Callable[[Route], bool]
    is_allowed: Callable[[Link], bool]


class SetUp(Following):
    """Sets one link up.

    :ivar phase: the end code if time runs out now.
    """

    def __init__(self, link: Link, near: Connection, target: Target, means: Means) -> None:
        super().__init__(link, near)
        self.phase = End.HANDSHAKE_TIMED_OUT
        self._target = target
        self._means = means
        self._far_challenge = self._near_challenge = 0

    async def run(self) -> Ready:
        """Bring the handshake to its end.

        :raises LinkError: the link ends here; both connections are closed.
        """
        try:
            ready = await self._run()
        except BaseException as error:
            self.near.close()
            if self.far is not None:
                self.far.close()
            if isinstance(error, RemoteProtocolError):
                raise LinkError(End.HANDSHAKE_MALFORMED, str(error)) from None
            raise
        return ready

    async def _run(self) -> Ready:
        data = await self._first_bytes()
        if client_hello.is_tls(data[0]):
            return await self._pass_tls(data)
        name = await self.hear_name(data)
        await self._judge(None, self._target.route.section.host, final=False)
        far = await self._dial()
        await self.follow(name)
        return Ready(self.near, far, self.watcher.rest(Side.NEAR), self.watcher.rest(Side.FAR))

    # The near side's first bytes.

    async def _first_bytes(self) -> bytes:
        """What the near side says first; a load balancer's header before it is taken off."""
        data = await self.receive(self.near, Side.NEAR)
        if not self._target.route.section.proxy_protocol:
            if data.startswith(proxy_protocol.SIGNATURE):  # else its first bytes announce 3338 more
                problem = "a PROXY header, which the route does not expect (proxy_protocol)"
                raise LinkError(End.HANDSHAKE_MALFORMED, problem)
            return data
        while (header := proxy_protocol.decode_header(data)) is None:
            data += await self.receive(self.near, Side.NEAR)
        if header.source is not None:
            host = str(plain_address(header.source))
            self.link.near.address = str(Endpoint(host, header.source_port or 0))
            self.link.proxied_host = host
            if not self._means.is_allowed(self.link):
                raise LinkError(End.REFUSED_BY_LIMIT, "too many links from this address")
        rest = data[header.length :]
        return rest or await self.receive(self.near, Side.NEAR)

    async def _pass_tls(self, data: bytes) -> Ready:
        """Pass TLS through: all that can be known is the host that the client names."""
        while (hello := client_hello.server_name(data)) is None:
            data += await self.receive(self.near, Side.NEAR)
        self.link.tls = True
        if hello.server_name is not None:
            target = self._means.target_of_host(self._target, hello.server_name)
            if target is None:
                raise LinkError(End.TARGET_UNKNOWN, "TLS names a host that no route here is for")
            self._target = target
            self.link.route = target.route.label
        if not self._means.passes_tls(self._target.route):
            raise LinkError(End.REFUSED_BY_POLICY, "no TLS on this route: tls, hidden, or bridged cookies")
        await self._judge(None, self._target.route.section.host)  # a server name is what the near side says
        return Ready(self.near, await self._dial(), data, b"")

    # Who may.

    async def _judge(self, far: str | None, host: str | None, *, final: bool = True) -> None:
        """Ask the rules; a refused near node is told so.

        :param far, host: the far node's name, as far as it is known.
        :param final: whether nothing more will be known: if not, only what does not depend on it refuses.
        :raises LinkError: refused.
        """
        node = self.link.near.node
        facts = LinkFacts(
            near=None if node is None or "@" not in node else node,  # a host alone, until it is named
            near_address=self.link.proxied_host or self.link.near_host,
            far=far,
            host=host,
        )
        rules = self._means.rules
        verdict = rules.verdict(facts) if final else rules.foreseen(facts)
        if verdict is None or verdict.allowed:
            return
        await self.refuse(End.REFUSED_BY_POLICY, f"relay.rule[{(verdict.rule or 0) - 1}]")

    async def _dial(self) -> Connection:
        self.phase = End.DIAL_TIMED_OUT
        self.link.far.address = str(self._target)
        self.far = await self._means.dial(self.link, self._target)
        self.phase = End.HANDSHAKE_TIMED_OUT
        return self.far

    # What the route changes.

    async def judge_challenge(self, challenge: Challenge | OldChallenge) -> None:
        """Refuse a far node that the route is not for, or that the rules deny."""
        self._far_challenge = challenge.challenge
        alive, _, host = challenge.name.partition("@")
        route = self._target.route
        if not route.is_for_host(host) or not route.names.matches(alive):
            await self.refuse(End.WRONG_NODE, f"{challenge.name} answers for {route.label}")
        await self._judge(alive, host)

    def changed(self, _side: Side, message: Message) -> Message:
        """A message as a hidden route, or one between two cookies, passes it on.

        :raises LinkError: a digest does not fit its cookie.
        """
        match message:
            case Name() | OldName() | Challenge() | OldChallenge():
                return self._hidden(message)
            case Reply():
                return self._bridged_reply(message)
            case Ack():
                return self._bridged_ack(message)
        return message

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
