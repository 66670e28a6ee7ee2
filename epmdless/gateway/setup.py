"""The handshake inside a new tunnel: it must be one, and lead to a node that the client is allowed."""

from __future__ import annotations

from collections.abc import Sequence

from epmdless.errors import LinkError, RemoteProtocolError
from epmdless.grants import Allowance, Grant
from epmdless.links.ends import End
from epmdless.links.following import Connection, Following
from epmdless.links.link import Link
from epmdless.wire import client_hello
from epmdless.wire.handshake import Challenge, OldChallenge, Side


class TunnelSetUp(Following):
    """Follows one tunnel's handshake.

    :param grants: those that allowed its target.
    """

    def __init__(
        self, link: Link, near: Connection, far: Connection, allowance: Allowance, grants: Sequence[Grant]
    ) -> None:
        super().__init__(link, near, far)
        self._allowance = allowance
        self._grants = tuple(grants)

    async def run(self) -> tuple[bytes, bytes]:
        """Bring the handshake to its end.

        :returns: what was read that belongs to the other side: from near, from far.
        :raises LinkError: the link ends here.
        """
        try:
            data = await self.receive(self.near, Side.NEAR)
            if client_hello.is_tls(data[0]):
                return self._pass_tls(data), b""
            await self.follow(await self.hear_name(data))
        except RemoteProtocolError as error:
            raise LinkError(End.HANDSHAKE_MALFORMED, str(error)) from None
        return self.watcher.rest(Side.NEAR), self.watcher.rest(Side.FAR)

    def _pass_tls(self, data: bytes) -> bytes:
        """TLS of the nodes themselves, in which nothing can be seen: only where any node is allowed."""
        if self._allowance.restricts_nodes(self._grants):
            rule = f"gateway.allow[{self._grants[0].number}].nodes" if self._grants else "gateway.allow"
            raise LinkError(End.REFUSED_BY_POLICY, f"{rule}: no node's name can be seen inside TLS")
        self.link.tls = True
        return data

    async def judge_challenge(self, challenge: Challenge | OldChallenge) -> None:
        """Refuse a far node that none of the grants allows."""
        denied = self._allowance.judge_node(self._grants, challenge.name)
        if denied is not None:
            await self.refuse(End.REFUSED_BY_POLICY, f"{denied.rule}: {denied.detail}")
