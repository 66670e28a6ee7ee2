"""Dialling a local node: at the address where its user listens, and nobody else."""

from __future__ import annotations

from collections.abc import Callable

import trio

from epmdless.cluster.local_addresses import Listeners
from epmdless.cluster.scout import connect
from epmdless.cluster.trouble import NodeError
from epmdless.cluster.users import Users, told
from epmdless.net.dialing import look_up

IsOurs = Callable[[str, int], bool]


class LocalDialer:
    """Dials ports of this machine.

    :param is_ours: whether a listener is one of ours: a relay's stand-in for a node of another host may have
        the port of a local node.
    """

    def __init__(self, is_ours: IsOurs, listeners: Listeners | None = None) -> None:
        self._is_ours = is_ours
        self._listeners = listeners or Listeners()

    async def dial(self, port: int, users: Users) -> trio.socket.SocketType:
        """Connect to a port, if one of these users listens there; the caller closes the socket.

        :raises NodeError: none of them does, or nobody answers.
        """
        listening = [each for each in await self._listeners.on(port) if not self._is_ours(each.address, port)]
        if not listening:
            raise NodeError("unreachable", "nobody but epmdless itself listens on its port")
        allowed = [each.address for each in listening if users.has(each.user)]
        if not allowed:
            raise NodeError("user", told(listening[0].user))
        for address in allowed:
            self._check(address, port, users)
        addresses = [found for address in allowed for found in await look_up(address, port)]
        return await connect(addresses, "unreachable")

    def check(self, sock: trio.socket.SocketType, users: Users) -> None:
        """See whose the port is by now to which a socket was connected, before our cookie is used.

        A port that its node has left may be anybody's the next moment.

        :raises NodeError: it is none of these users'.
        """
        try:
            address, port = sock.getpeername()[:2]
        except OSError:
            raise NodeError("closed") from None
        self._check(address, port, users)

    def _check(self, address: str, port: int, users: Users) -> None:
        if users.are_all:
            return
        user = self._listeners.user_now(address, port)
        if not users.has(user):
            raise NodeError("user", told(user))
