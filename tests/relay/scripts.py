"""The ways a handshake can go, message by message, and what the relay is to make of a side that leaves."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from epmdless.wire.handshake import (
    NAME_ME,
    Complement,
    Message,
    Name,
    OldChallenge,
    OldName,
    Side,
    Status,
    StatusKind,
    StatusReply,
)
from epmdless.wire.handshake_watch import TABLE, State, Watcher
from tests.support.link_sides import ACK, CHALLENGE, FLAGS, HANDSHAKE, HOST, NAME, OK, REPLY, framed

Script = Sequence[tuple[Side, Message]]

OLD_NAME: Final = OldName(5, FLAGS & 0xFFFFFFFF, "a@a1.test")
COMPLEMENT: Final = Complement(FLAGS >> 32, 0x6B0102A6)
NAMELESS: Final = Name(FLAGS | NAME_ME, 0, "a1.test")
NAMED: Final = Status(StatusKind.NAMED, "2KJQ@a1.test", 0x6B0102A7)
ALIVE: Final = Status(StatusKind.ALIVE)

NEAR, FAR = Side.NEAR, Side.FAR

SCRIPTS: Final[Mapping[str, Script]] = {
    "plain": HANDSHAKE,
    "simultaneous": (
        (NEAR, NAME),
        (FAR, Status(StatusKind.OK_SIMULTANEOUS)),
        (FAR, CHALLENGE),
        (NEAR, REPLY),
        (FAR, ACK),
    ),
    "alive": (
        (NEAR, NAME),
        (FAR, ALIVE),
        (NEAR, StatusReply(goes_on=True)),
        (FAR, CHALLENGE),
        (NEAR, REPLY),
        (FAR, ACK),
    ),
    "named": ((NEAR, NAMELESS), (FAR, NAMED), (FAR, CHALLENGE), (NEAR, REPLY), (FAR, ACK)),
    "old name": (
        (NEAR, OLD_NAME),
        (FAR, OK),
        (FAR, CHALLENGE),
        (NEAR, COMPLEMENT),
        (NEAR, REPLY),
        (FAR, ACK),
    ),
    "old far node": (
        (NEAR, OLD_NAME),
        (FAR, OK),
        (FAR, OldChallenge(5, FLAGS & 0xFFFFFF, CHALLENGE.challenge, f"b@{HOST}")),
        (NEAR, REPLY),
        (FAR, ACK),
    ),
    "with what later releases append": (
        (NEAR, replace(NAME, trailing=b"later")),
        (FAR, replace(OK)),
        (FAR, replace(CHALLENGE, trailing=b"later still")),
        (NEAR, REPLY),
        (FAR, ACK),
    ),
}
"""Each leads to a link."""


def state_after(script: Script) -> State:
    """Where a handshake is after these messages."""
    watcher = Watcher()
    for side, message in script:
        watcher.receive(side, framed(message))
        assert watcher.next(side) == message
    return watcher.state


def code_for_leaving(side: Side, how: str, script: Script) -> str:
    """The end code if a side leaves after these messages. A node that gets a wrong digest just closes."""
    if side is Side.FAR and state_after(script) is State.ACK:
        return "wrong_cookie"
    return f"{side.value}_{how}"


def may_say(side: Side, state: State) -> bool:
    """Whether the state table has anything for a side."""
    return any(who is side for who, _ in TABLE[state])
