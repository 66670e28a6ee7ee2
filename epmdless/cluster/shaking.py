"""The handshake from its near side: how we become a hidden node's connection (PROTOCOL.md §2).

Our own name makes an atom in the node, for good. So there are few of them: ``epmdless-1@HOST``, and the next
one only where another epmdless is connected under that name already.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from epmdless.cluster.trouble import NodeError
from epmdless.errors import RemoteProtocolError
from epmdless.names import printable
from epmdless.wire.distribution import FLAGS
from epmdless.wire.handshake import (
    HANDSHAKE_23,
    MAX_MESSAGE,
    Ack,
    Challenge,
    Complement,
    Framing,
    Message,
    Name,
    OldChallenge,
    OldName,
    Reply,
    Side,
    Status,
    StatusKind,
    StatusReply,
    decode,
    digest,
    encode,
    frame,
)

SPAWN = 0x1_0000_0000
"""The node takes spawn requests (OTP 23)."""

OLD_VERSION = 5
"""Of the handshake before OTP 23."""

MAX_OWN_NAMES = 8
"""Processes of ours that one node can have connected: each has an atom there."""

OWN_NAMES = tuple(f"epmdless-{number}" for number in range(1, MAX_OWN_NAMES + 1))
"""Our alive names, in the order in which they are tried."""

TLS_ALERT = 0x15
"""The first byte of what a TLS server says to somebody who speaks no TLS."""


Cookie = Callable[[str], bytes]
"""The cookie for a node of this whole name. Raises NodeError."""


class Connection(Protocol):
    """What a handshake takes of a socket."""

    def recv(self, size: int, /) -> Awaitable[bytes]:
        """Some bytes; none at the peer's end. Raises OSError."""

    def send(self, data: bytes, /) -> Awaitable[int]:
        """Send some of the bytes; how many. Raises OSError."""


class OwnedConnection(Connection, Protocol):
    """A connection in the hands of who closes it."""

    def close(self) -> None:
        """Close it; at once, and it does not matter how often."""


class Shaken(NamedTuple):
    """The node at the other end.

    :ivar own_creation: of our node, as we told it.
    :ivar rest: what came after the handshake.
    """

    name: str
    flags: int
    own_creation: int
    rest: bytes

    @property
    def takes_spawn_requests(self) -> bool:
        """Whether it knows spawn requests."""
        return bool(self.flags & SPAWN)


class TakenError(Exception):
    """The node has a connection under our name."""


class Messages:
    """Handshake messages over a connection.

    :param framing: TLS where the connection is one.
    """

    def __init__(self, connection: Connection, framing: Framing = Framing.TCP) -> None:
        self._connection = connection
        self._framing = framing
        self.rest = b""

    async def send(self, message: Message) -> None:
        """Send one. Raises OSError."""
        data = frame(encode(message), self._framing)
        while data:
            data = data[await self._connection.send(data) :]

    async def receive(self) -> Message:
        """The next one of the node's.

        :raises NodeError: the connection ended, or it is not what a node says.
        :raises OSError: the connection broke.
        """
        head = await self._exactly(self._framing)
        length = int.from_bytes(head, "big")
        if length > MAX_MESSAGE or length == 0:
            raise NodeError("tls" if head[0] == TLS_ALERT else "protocol")
        try:
            return decode(Side.FAR, await self._exactly(length))
        except RemoteProtocolError as error:
            raise NodeError("protocol", str(error)) from None

    async def _exactly(self, size: int) -> bytes:
        while len(self.rest) < size:
            received = await self._connection.recv(MAX_MESSAGE)
            if not received:
                raise NodeError("closed", "it ended the connection in the handshake")
            self.rest += received
        taken, self.rest = self.rest[:size], self.rest[size:]
        return taken


def own_names(host: str) -> list[str]:
    """The names that we may have in a node, in the order in which they are tried."""
    return [f"{alive}@{host}" for alive in OWN_NAMES]


async def introduce(messages: Messages, own: str, creation: int, *, is_old: bool) -> Challenge | OldChallenge:
    """Say who we are, and hear who the node is.

    :param own: our own node name.
    :param is_old: the node is older than OTP 23, says EPMD.
    :raises TakenError: there is a connection under our name.
    :raises NodeError: it does not want us, or says what no node says.
    :raises OSError: the connection broke.
    """
    if is_old:
        await messages.send(OldName(OLD_VERSION, FLAGS & 0xFFFFFFFF, own))
    else:
        await messages.send(Name(FLAGS, creation, own))
    status = await messages.receive()
    if not isinstance(status, Status) or status.kind is StatusKind.NAMED:
        raise NodeError("protocol", "no status where one belongs")
    if status.kind is StatusKind.ALIVE:
        await messages.send(StatusReply(goes_on=False))
        raise TakenError
    if status.kind is StatusKind.NOK:
        raise TakenError
    if status.kind is StatusKind.NOT_ALLOWED:
        raise NodeError("not_allowed")
    challenge = await messages.receive()
    if not isinstance(challenge, Challenge | OldChallenge):
        raise NodeError("protocol", "no challenge where one belongs")
    return challenge


async def shake(
    connection: Connection,
    own: str,
    cookie: Cookie,
    expected: str,
    *,
    is_old: bool = False,
    framing: Framing = Framing.TCP,
) -> Shaken:
    """Follow a handshake to its end, as the initiator.

    :param own: our own node name.
    :param cookie: of the node of a name; it is asked for once the node's name is known.
    :param expected: the alive name that the node must have, or its whole name where there is an ``@`` in it:
        nobody else is shown anything that our cookie made.
    :param framing: TLS where the connection is one.
    :raises TakenError: there is a connection under our name.
    :raises NodeError: it does not want us, is somebody else, or says what no node says.
    :raises OSError: the connection broke.
    """
    messages = Messages(connection, framing)
    creation = secrets.randbelow(0xFFFF_FFF0) + 4
    challenge = await introduce(messages, own, creation, is_old=is_old)
    check_name(challenge.name, expected)
    await prove(messages, challenge, cookie(challenge.name), creation, is_old=is_old)
    return Shaken(challenge.name, challenge.flags, creation, messages.rest)


async def prove(
    messages: Messages, challenge: Challenge | OldChallenge, secret: bytes, creation: int, *, is_old: bool
) -> None:
    """Show a node that we know its cookie, and see that it does: the end of what `introduce` began.

    :param challenge: of the node, whose name was looked at: nobody else is shown what our cookie made.
    :raises NodeError: one side does not know it, or the node says what no node says.
    :raises OSError: the connection broke before.
    """
    if is_old and challenge.flags & HANDSHAKE_23:
        await messages.send(Complement(FLAGS >> 32, creation))
    ours = secrets.randbits(32)
    await messages.send(Reply(ours, digest(secret, challenge.challenge)))
    try:
        ack = await messages.receive()
    except (NodeError, OSError) as error:
        if isinstance(error, NodeError) and error.reason != "closed":
            raise
        raise NodeError("cookie") from None  # a node says nothing to a wrong digest, and closes
    if not isinstance(ack, Ack):
        raise NodeError("protocol", "no acknowledgement where one belongs")
    if not hmac.compare_digest(ack.digest, digest(secret, ours)):
        raise NodeError("cookie", "it took our cookie, and does not know it itself")


def check_name(name: str, expected: str) -> None:
    """See that a node is who it should be.

    :param expected: an alive name, or a whole one.
    :raises NodeError: it is another.
    """
    if (name if "@" in expected else name.partition("@")[0]) != expected:
        raise NodeError("other_name", f"{printable(name)} answers")
