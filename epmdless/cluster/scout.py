"""A look at a peer before a node is told to connect to it, and after the node could not.

A node that is told to connect says yes or no, and no reason; and a connection that cannot come about costs
it up to seven seconds. So we ask the peer's EPMD first, as the node would, and where the node fails we say
why, as far as a stranger can find out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import trio

from epmdless.cluster.encryption import Encryption, broken
from epmdless.cluster.shaking import Messages, TakenError, check_name, introduce, own_names
from epmdless.cluster.trouble import NodeError
from epmdless.errors import ResolveError
from epmdless.metrics import Metrics
from epmdless.net.dialing import Address, DialError, dial_first, look_up
from epmdless.policy import is_local_peer
from epmdless.resolve.far import FarEpmd
from epmdless.resolve.outcomes import Found, Query

LOOKS_AT_ONCE = 16
"""Of the process, and as many at peers that were not there before: a crowd of dead names must not keep those
that are new waiting. Each may hold one of trio's 40 threads for the peer's address, and a descriptor."""

LOOK_SECONDS = 3.0
"""For one look, its turn not counted."""

TLS_SECONDS = 2.0
"""Of those, for TLS."""

OLD_HIGHEST = 5
"""The highest version of a node before OTP 23, as it told its EPMD."""


class Seen(NamedTuple):
    """Where a node listens.

    :ivar is_old: it is older than OTP 23, says EPMD.
    :ivar is_here: it is this machine's own EPMD that says so, and of a node of this machine.
    """

    port: int
    is_old: bool = False
    is_here: bool = False


class _Look:
    """A look under way; neither `seen` nor `error` if whoever looked was cancelled."""

    __slots__ = ("done", "error", "seen")

    def __init__(self) -> None:
        self.done = trio.Event()
        self.seen: Seen | None = None
        self.error: NodeError | None = None


class Scout:
    """Looks at peers.

    :param epmd_port: where EPMD servers are asked.
    :param own_host: the host part of our own node names.
    :param port_of: a port that a source told for a node; None: it has to be asked for.
    :param encryption: how nodes are spoken to now.
    :param is_ours: whether a listener is one of ours: a relay's stand-in answers here for another host, and
        may well have that node's own port.
    """

    def __init__(
        self,
        counts: Metrics,
        epmd_port: int,
        own_host: str,
        port_of: Callable[[str], int | None],
        encryption: Callable[[], Encryption] = Encryption,
        is_ours: Callable[[str, int], bool] = lambda _address, _port: False,
    ) -> None:
        self._counts = counts
        self._epmd_port = epmd_port
        self._own_name = own_names(own_host)[-1]
        self._port_of = port_of
        self._encryption = encryption
        self._is_ours = is_ours
        self._turns = trio.CapacityLimiter(LOOKS_AT_ONCE)
        self._turns_again = trio.CapacityLimiter(LOOKS_AT_ONCE)
        self._questions = trio.CapacityLimiter(2 * LOOKS_AT_ONCE)
        self._looks: dict[str, _Look] = {}

    @property
    def descriptors(self) -> int:
        """Sockets that looks may hold now."""
        return self._turns.borrowed_tokens + self._turns_again.borrowed_tokens

    async def look(self, name: str, *, again: bool) -> Seen:
        """Where a node listens, by the sources or by the EPMD server of its host.

        Whoever asks for the same node meanwhile gets the same answer.

        :param again: it was not there the last time.
        :raises NodeError: nobody says that it is there.
        """
        port = self._port_of(name)
        if port is not None:
            return Seen(port)
        while (look := self._looks.get(name)) is not None:
            await look.done.wait()
            if look.seen is not None:
                return look.seen
            if look.error is not None:
                raise NodeError(look.error.reason, look.error.detail)
        look = self._looks[name] = _Look()
        try:
            look.seen = await self._ask_in_turn(name, self._turns_again if again else self._turns)
        except NodeError as error:
            look.error = error
            raise
        finally:
            del self._looks[name]
            look.done.set()
        return look.seen

    async def _ask_in_turn(self, name: str, turns: trio.CapacityLimiter) -> Seen:
        async with turns:
            with trio.move_on_after(LOOK_SECONDS):
                return await self._ask_epmd(name)
        raise NodeError("epmd_unreachable")

    async def dial(self, name: str, seen: Seen) -> trio.socket.SocketType:
        """Connect to a node's port; the caller closes the socket.

        :raises NodeError: nobody can be connected to there.
        """
        host = name.partition("@")[2]
        return await connect(await _addresses(host, seen.port), "port_unreachable")

    async def reason_against(self, name: str) -> NodeError:
        """Why a node could not connect to a peer, as far as we can see; ``refused`` where we see nothing."""
        try:
            seen = await self.look(name, again=True)
            async with self._turns_again:
                with trio.move_on_after(LOOK_SECONDS):
                    await self._meet(name, seen)
                    return NodeError("refused", "it answers us, and not the node: is it the same cookie?")
            return NodeError("timeout")
        except NodeError as error:
            return error

    async def _ask_epmd(self, name: str) -> Seen:
        alive, _, host = name.partition("@")
        sock = await connect(await _addresses(host, self._epmd_port), "epmd_unreachable")

        async def connected() -> trio.SocketStream:
            return trio.SocketStream(sock)

        with sock:
            is_here = self._is_here(sock)
            try:
                outcome = await FarEpmd(connected, self._counts, self._questions).answer(Query(alive, host))
            except ResolveError as error:
                raise NodeError("epmd_unreachable", str(error)) from None
        if not isinstance(outcome, Found):
            raise NodeError("not_registered")
        return Seen(outcome.node.port, is_old=outcome.node.highest <= OLD_HIGHEST, is_here=is_here)

    def _is_here(self, sock: trio.socket.SocketType) -> bool:
        """Whether a connection ends on the machine where it begins, and not at a stand-in there."""
        try:
            address, port = sock.getpeername()[:2]
            return is_local_peer(address, sock.getsockname()[0]) and not self._is_ours(address, port)
        except OSError:
            return False

    async def _meet(self, name: str, seen: Seen) -> None:
        """Go as far into a handshake as a node says who it is, and away again: no cookie is shown."""
        encryption, host = self._encryption(), name.partition("@")[2]
        connection = await encryption.begin(await self.dial(name, seen), host, TLS_SECONDS)
        try:
            messages = Messages(connection, encryption.framing)
            challenge = await introduce(messages, self._own_name, 4, is_old=seen.is_old)
            check_name(challenge.name, name)
        except OSError as error:
            raise broken(error, host) from None
        except TakenError:
            return
        finally:
            connection.close()


async def connect(addresses: list[Address], problem: str) -> trio.socket.SocketType:
    """Connect to the first of some addresses that answers.

    :param problem: the reason to give where none does.
    :raises NodeError: none does, or we have no room.
    """
    try:
        return await dial_first(addresses)
    except DialError as error:
        raise NodeError("shortage" if error.shortage else problem, str(error)) from None


async def _addresses(host: str, port: int) -> list[Address]:
    try:
        return await look_up(host, port)
    except DialError as error:
        raise NodeError("no_address", str(error)) from None
