"""The handshake as a relay in the middle sees it: both sides' bytes in, checked messages out.

Theory of operation. The whole link has one state, not one a side: what may be said now depends on what was
said last, whichever side said it. Each side's bytes wait in a buffer of their own until
:meth:`Watcher.next` is asked for a message of that side. What may be said, and what then::

    state            from  message                          then
    NAME             near  name, old name                   STATUS
    STATUS           far   ok, ok_simultaneous, named       CHALLENGE
                     far   alive                            ALIVE
                     far   nok, not_allowed                 REFUSED
    ALIVE            near  true                             CHALLENGE
                     near  false                            GAVE_UP
    CHALLENGE        far   challenge                        REPLY, after an old name REPLY_AFTER_OLD
                     far   old challenge                    REPLY
    REPLY            near  reply                            ACK
                     far   not_allowed                      REFUSED
    REPLY_AFTER_OLD  near  complement                       REPLY
                     near  reply                            ACK
    ACK              far   ack                              ESTABLISHED
                     far   not_allowed                      REFUSED
    ESTABLISHED      what follows are frames; REFUSED, GAVE_UP: nobody says any more

Three quirks of OTP are in it (dist_util.erl). OTP 23 and 24 say the old name where EPMD has not told them
that B is as new, and the complement only if a challenge of the new form shows it. B looks at the flags'
high half when the complement has come, and may say `not_allowed` that late (OTP 25.3 to 27). After `nok` A
keeps the connection open until B's own attempt has won.

Whether the digests are right, and whether a status fits the name's flags, is for the ends to judge.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, StrEnum

from epmdless.errors import RemoteProtocolError
from epmdless.wire.handshake import (
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
    StatusReply,
    decode,
)

READ_SIZE = 64 * 1024
"""The most bytes that :meth:`Watcher.receive` may be given at once. Frames come right behind the ack."""

MAX_HELD = Framing.TLS + MAX_MESSAGE + READ_SIZE
"""The most bytes held of one side before the link is up: a message cut short, and one read behind it."""


class State(Enum):
    """Where the handshake is: see the table above."""

    NAME = "name"
    STATUS = "status"
    ALIVE = "alive"
    CHALLENGE = "challenge"
    REPLY = "reply"
    REPLY_AFTER_OLD = "reply_after_old"
    ACK = "ack"
    ESTABLISHED = "established"
    REFUSED = "refused"
    GAVE_UP = "gave_up"


class Event(StrEnum):
    """What a message means for the state: its type, and where types are not enough, what it says."""

    NAME = "name"
    OLD_NAME = "old_name"
    OK = "ok"
    OK_SIMULTANEOUS = "ok_simultaneous"
    NOK = "nok"
    NOT_ALLOWED = "not_allowed"
    ALIVE = "alive"
    NAMED = "named"
    TRUE = "true"
    FALSE = "false"
    CHALLENGE = "challenge"
    OLD_CHALLENGE = "old_challenge"
    COMPLEMENT = "complement"
    REPLY = "reply"
    ACK = "ack"


TABLE: Mapping[State, Mapping[tuple[Side, Event], State]] = {
    State.NAME: {
        (Side.NEAR, Event.NAME): State.STATUS,
        (Side.NEAR, Event.OLD_NAME): State.STATUS,
    },
    State.STATUS: {
        (Side.FAR, Event.OK): State.CHALLENGE,
        (Side.FAR, Event.OK_SIMULTANEOUS): State.CHALLENGE,
        (Side.FAR, Event.NAMED): State.CHALLENGE,
        (Side.FAR, Event.ALIVE): State.ALIVE,
        (Side.FAR, Event.NOK): State.REFUSED,
        (Side.FAR, Event.NOT_ALLOWED): State.REFUSED,
    },
    State.ALIVE: {
        (Side.NEAR, Event.TRUE): State.CHALLENGE,
        (Side.NEAR, Event.FALSE): State.GAVE_UP,
    },
    State.CHALLENGE: {
        (Side.FAR, Event.CHALLENGE): State.REPLY,
        (Side.FAR, Event.OLD_CHALLENGE): State.REPLY,
    },
    State.REPLY: {
        (Side.NEAR, Event.REPLY): State.ACK,
        (Side.FAR, Event.NOT_ALLOWED): State.REFUSED,
    },
    State.REPLY_AFTER_OLD: {
        (Side.NEAR, Event.COMPLEMENT): State.REPLY,
        (Side.NEAR, Event.REPLY): State.ACK,
    },
    State.ACK: {
        (Side.FAR, Event.ACK): State.ESTABLISHED,
        (Side.FAR, Event.NOT_ALLOWED): State.REFUSED,
    },
    State.ESTABLISHED: {},
    State.REFUSED: {},
    State.GAVE_UP: {},
}
"""State, what is said: state. The one thing it leaves out is that an old name is remembered until the
challenge, which then leads to REPLY_AFTER_OLD."""

TURNS: Mapping[State, Side] = {
    State.NAME: Side.NEAR,
    State.STATUS: Side.FAR,
    State.ALIVE: Side.NEAR,
    State.CHALLENGE: Side.FAR,
    State.REPLY: Side.NEAR,
    State.REPLY_AFTER_OLD: Side.NEAR,
    State.ACK: Side.FAR,
}
"""Whose message moves the handshake on; in the other states nobody's does."""

_EVENTS: Mapping[type[Message], Event] = {
    Name: Event.NAME,
    OldName: Event.OLD_NAME,
    Challenge: Event.CHALLENGE,
    OldChallenge: Event.OLD_CHALLENGE,
    Complement: Event.COMPLEMENT,
    Reply: Event.REPLY,
    Ack: Event.ACK,
}


def event_of(message: Message) -> Event:
    """What the state table calls a message."""
    match message:
        case Status(kind):
            return Event(kind.value)
        case StatusReply(goes_on):
            return Event.TRUE if goes_on else Event.FALSE
        case _:
            return _EVENTS[type(message)]


class Watcher:
    """Follows one handshake. After an error it is of no more use: the link has to be ended.

    :param framing: how long the length words are.
    """

    __slots__ = ("_after_old_name", "_held", "framing", "state")

    def __init__(self, framing: Framing = Framing.TCP) -> None:
        self.framing = framing
        self.state = State.NAME
        self._after_old_name = False
        self._held = {Side.NEAR: bytearray(), Side.FAR: bytearray()}

    @property
    def turn(self) -> Side | None:
        """Whose message is expected; None once the handshake is over."""
        return TURNS.get(self.state)

    def receive(self, side: Side, data: bytes) -> None:
        """Take what was read from a side; then ask :meth:`next` until it says None.

        :param data: at most READ_SIZE bytes.
        :raises RemoteProtocolError: ``oversized``: a length word announces more than MAX_MESSAGE, or more
            than MAX_HELD bytes of the side wait.
        """
        held = self._held[side]
        if self.state is not State.ESTABLISHED and len(held) + len(data) > MAX_HELD:
            raise RemoteProtocolError("oversized", f"{len(held) + len(data)} bytes held")
        held += data
        self._announced(side)

    def next(self, side: Side) -> Message | None:
        """Take the next message of a side, and move the state on.

        :returns: the message, which the other side must get; None where more bytes are needed, and always
            once the link is up: ask :meth:`rest` then.
        :raises RemoteProtocolError: ``state``: the side may not say this now; and what
            :func:`~epmdless.wire.handshake.decode` raises.
        """
        size = self._announced(side)
        held = self._held[side]
        if size is None or len(held) < self.framing + size:
            return None
        message = decode(side, bytes(held[self.framing : self.framing + size]))
        self.state = self._state_after(side, message)
        del held[: self.framing + size]
        return message

    def rest(self, side: Side) -> bytes:
        """Take what was received of a side and is no message: its first frames, once the link is up."""
        rest = bytes(self._held[side])
        self._held[side].clear()
        return rest

    def _announced(self, side: Side) -> int | None:
        """The length of the side's next message; None where the length word is not there, or is a frame's."""
        held = self._held[side]
        if self.state is State.ESTABLISHED or len(held) < self.framing:
            return None
        size = int.from_bytes(held[: self.framing], "big")
        if size > MAX_MESSAGE:
            raise RemoteProtocolError("oversized", f"a message of {size} bytes")
        return size

    def _state_after(self, side: Side, message: Message) -> State:
        event = event_of(message)
        state = TABLE[self.state].get((side, event))
        if state is None:
            raise RemoteProtocolError(
                "state", f"{event} from the {side.value} side in state {self.state.value}"
            )
        if event is Event.OLD_NAME:
            self._after_old_name = True
        if event is Event.CHALLENGE and self._after_old_name:
            return State.REPLY_AFTER_OLD
        return state
