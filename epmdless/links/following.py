"""The handshake of a link, followed in both directions until both nodes are linked.

The watcher says what may come next; messages pass as they are but for what the owner's policy changes. A
good status is held back until the far node has said its name, since that could still be refused, and a
refused near node is told so in the protocol's own words.
"""

from __future__ import annotations

from collections.abc import Awaitable
from contextlib import suppress
from typing import Protocol

import trio

from epmdless.errors import LinkError, RemoteProtocolError
from epmdless.links.ends import End
from epmdless.links.link import Link, Party
from epmdless.net.plain import send_all
from epmdless.net.tls.connection import TlsLayer, TunnelCutError
from epmdless.wire.handshake import (
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
    encode,
    frame,
)
from epmdless.wire.handshake_watch import State, Watcher

READ_SIZE = 4096
"""Bytes of one read before the link is up: a whole handshake of both sides has some 200."""

_REFUSALS = {StatusKind.NOK: End.FAR_NOK, StatusKind.NOT_ALLOWED: End.FAR_NOT_ALLOWED}
_GOES_ON = (StatusKind.OK, StatusKind.OK_SIMULTANEOUS, StatusKind.NAMED)


class Connection(Protocol):
    """One side of a link while it is set up: plain TCP, or TLS over it."""

    def recv(self, size: int, /) -> Awaitable[bytes]:
        """Some bytes; none at the end. Raises OSError."""

    def send(self, data: bytes, /) -> Awaitable[int]:
        """Send some of the bytes; how many. Raises OSError."""

    def close(self) -> None:
        """Close it, without waiting."""

    def detach(self) -> tuple[trio.socket.SocketType, TlsLayer | None, bytes]:
        """Give away the socket, its TLS, and what was read and not asked for yet. Raises OSError."""


class Following:
    """Follows one link's handshake. Owns nothing: whoever made it closes the connections.

    :ivar watcher: what was read and not passed on yet is here.
    """

    def __init__(self, link: Link, near: Connection, far: Connection | None = None) -> None:
        self.watcher = Watcher()
        self.link = link
        self.near = near
        self.far = far
        self._held: Status | None = None
        self._problem: LinkError | None = None

    # What owners have to say.

    async def judge_challenge(self, challenge: Challenge | OldChallenge) -> None:
        """Look at the far node's name; whoever does not like it calls :meth:`refuse`."""

    def changed(self, _side: Side, message: Message) -> Message:
        """A message of a side as the other shall hear it."""
        return message

    # Beginning.

    async def hear_name(self, data: bytes) -> Name | OldName:
        """Read until the near node's first message is whole.

        :param data: what was read of it already.
        :raises LinkError: the near side has left.
        :raises RemoteProtocolError: it says something else.
        """
        self.watcher.receive(Side.NEAR, data)
        while (message := self.watcher.next(Side.NEAR)) is None:
            self.watcher.receive(Side.NEAR, await self.receive(self.near, Side.NEAR))
        assert isinstance(message, Name | OldName), "the state table begins with a name"
        note_name(self.link.near, message)
        return message

    async def follow(self, name: Name | OldName) -> None:
        """Pass the near node's name on, and all that follows in both directions until the link is up;
        notice at once when a side leaves.

        :raises LinkError: the link ends here.
        """
        await self._pass_on(Side.NEAR, name)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow, Side.NEAR, nursery.cancel_scope)
            nursery.start_soon(self._follow, Side.FAR, nursery.cancel_scope)
        if self._problem is not None:
            raise self._problem

    async def refuse(self, code: End, detail: str) -> None:
        """Tell the near node `not_allowed`, where the handshake is at that, and end.

        :raises LinkError: always.
        """
        problem = self._problem = LinkError(code, detail)  # first: the near side may leave at it
        if self.watcher.state in (State.STATUS, State.CHALLENGE) or self._held is not None:
            with suppress(LinkError):
                await self._send(self.near, encode(Status(StatusKind.NOT_ALLOWED)))
        raise problem

    async def receive(self, connection: Connection, side: Side) -> bytes:
        """Read something.

        :raises LinkError: the side has left; the code is that of the reason that is known, or of the side.
        """
        try:
            data = await connection.recv(READ_SIZE)
        except OSError as error:
            raise self._left(side, error) from None
        if not data:
            raise self._left(side, None)
        return data

    # Following.

    async def _follow(self, side: Side, scope: trio.CancelScope) -> None:
        assert self.far is not None
        connection = self.near if side is Side.NEAR else self.far
        try:
            await self._say_on(side)  # the near side may have said more than its name in one go
            while self.watcher.state is not State.ESTABLISHED:
                if not await self._step(side, connection):
                    return
        except RemoteProtocolError as error:
            self._problem = self._problem or LinkError(End.HANDSHAKE_MALFORMED, str(error))
        except LinkError as error:
            self._problem = self._problem or error
        else:
            if side is Side.NEAR:
                return  # the other task may still be passing the last message on
        scope.cancel()

    async def _step(self, side: Side, connection: Connection) -> bool:
        """Pass on what a side says next.

        :returns: False if nothing that this side does matters any more.
        """
        try:
            data = await self.receive(connection, side)
        except LinkError as error:
            if side is Side.FAR and self.watcher.state is State.REFUSED:
                return False  # it has said no; the near node keeps its end open until it closes it
            if error.code == End.NEAR_CLOSED and self.watcher.state is State.ESTABLISHED:
                return False  # the far node may have something to say yet; the pump will see the end again
            raise
        self.watcher.receive(side, data)
        await self._say_on(side)
        return True

    async def _say_on(self, side: Side) -> None:
        """Pass on the messages of a side that are there."""
        while (message := self.watcher.next(side)) is not None:
            await self._pass_on(side, message)

    async def _pass_on(self, side: Side, message: Message) -> None:
        """Give a message to the other side."""
        match message:
            case Status():
                await self._status(message)
                return
            case Challenge() | OldChallenge():
                await self._challenge(message)
                return
            case Complement():
                flags = self.link.near.flags or 0
                self.link.near.flags = flags & 0xFFFFFFFF | message.flags_high << 32
                self.link.near.creation = message.creation
            case Name() | OldName() | Reply():
                pass
            case Ack():
                changed = self.changed(side, message)
                self.link.acknowledged = True
                await self._send(self.near, encode(changed))
                return
            case _:
                if self.watcher.state is State.GAVE_UP:
                    self.link.ends_as(End.FAR_ALIVE)
        await self._send(self.near if side is Side.FAR else self.far, encode(self.changed(side, message)))

    async def _status(self, status: Status) -> None:
        """Hold a good answer back until the far node has said its name: it could still be refused."""
        if status.kind in _GOES_ON:
            self._held = status
            if status.kind is StatusKind.NAMED:
                self.link.near.node = status.name
                self.link.near.creation = status.creation
            return
        if status.kind in _REFUSALS:
            self.link.ends_as(_REFUSALS[status.kind])
        await self._send(self.near, encode(status))

    async def _challenge(self, challenge: Challenge | OldChallenge) -> None:
        note_name(self.link.far, challenge)
        await self.judge_challenge(challenge)
        held, self._held = self._held, None
        parts = [] if held is None else [encode(held)]
        await self._send(self.near, *parts, encode(self.changed(Side.FAR, challenge)))

    async def _send(self, connection: Connection | None, *payloads: bytes) -> None:
        """Write messages in one go.

        :raises LinkError: the side has left.
        """
        assert connection is not None
        data = b"".join(frame(payload, self.watcher.framing) for payload in payloads)
        side = Side.NEAR if connection is self.near else Side.FAR
        try:
            await send_all(connection, data)
        except OSError as error:
            raise self._left(side, error) from None

    def _left(self, side: Side, error: OSError | None) -> LinkError:
        """Why a side has left, as far as that is known: by an error, or a clean end."""
        if self.link.end is not None:
            return LinkError(self.link.end, "")  # the far side had refused, or the near side gave up
        if side is Side.FAR and self.watcher.state is State.ACK and not isinstance(error, TunnelCutError):
            return LinkError(End.WRONG_COOKIE, "")  # so a node answers a digest that is not right
        is_tunnel = (self.link.client if side is Side.NEAR else self.link.hop) is not None
        if error is not None and (is_tunnel or isinstance(error, TunnelCutError)):
            return LinkError(End.TUNNEL_CUT, str(error))
        if side is Side.NEAR:
            return LinkError(End.NEAR_CLOSED if error is None else End.NEAR_RESET, "")
        return LinkError(End.FAR_CLOSED if error is None else End.FAR_RESET, "")


def note_name(party: Party, message: Name | OldName | Challenge | OldChallenge) -> None:
    """Keep what a node says of itself."""
    party.node = message.name
    party.flags = message.flags
    if isinstance(message, Name | Challenge):
        party.creation = message.creation
