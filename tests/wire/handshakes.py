"""What the tests of the handshake share: captured links, an example of each message, and strategies."""

import gzip
import json
from collections.abc import Mapping
from typing import Final, NamedTuple

from hypothesis import strategies as st

from epmdless.errors import RemoteProtocolError
from epmdless.wire.handshake import (
    NAME_ME,
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
)
from epmdless.wire.handshake_watch import Event
from tests.wire.examples import U16, U32, VECTORS

COOKIE: Final = b"vectorcookie"
SPOKEN: Final = [Side.NEAR, Side.FAR, Side.FAR, Side.NEAR, Side.FAR]
"""Who says the five messages of every captured handshake."""

REASONS: Final = {"oversized", "short", "trailing", "tag", "name", "status"}
"""Why a message can be refused."""


class Link(NamedTuple):
    """A captured link: what passed, in its original chunks."""

    title: str
    chunks: list[tuple[Side, bytes]]

    def stream(self, side: Side) -> bytes:
        """All that a side sent."""
        return b"".join(data for who, data in self.chunks if who is side)

    def payloads(self) -> list[tuple[Side, bytes]]:
        """The handshake's messages, cut by their length words."""
        streams = {side: self.stream(side) for side in Side}
        found = []
        for side in SPOKEN:
            end = 2 + int.from_bytes(streams[side][:2], "big")
            found.append((side, streams[side][2:end]))
            streams[side] = streams[side][end:]
        return found

    def frames(self, side: Side) -> bytes:
        """What a side sent after the handshake."""
        return self.stream(side)[sum(2 + len(payload) for who, payload in self.payloads() if who is side) :]


def _captured(path_stem: str, packed: bytes) -> Link:
    sides = {"A": Side.NEAR, "B": Side.FAR}
    chunks = [(sides[who], bytes.fromhex(data)) for who, data in json.loads(gzip.decompress(packed))]
    return Link(path_stem, chunks)


LINKS: Final = [
    _captured(path.name.partition(".")[0], path.read_bytes())
    for path in sorted(VECTORS.glob("a*-b*.json.gz"))
]

PAYLOADS: Final = [(link, *spoken) for link in LINKS for spoken in link.payloads()]
"""Every captured handshake message: its link, who said it, and its payload."""

DIGEST: Final = bytes(range(16))
NEAR_NAME: Final = "a@one.test"
FAR_NAME: Final = "b@two.test"

EXAMPLES: Final[Mapping[Event, tuple[Side, Message, bytes]]] = {
    Event.NAME: (
        Side.NEAR,
        Name(0xD07DF7FBD, 0x6B0102A6, NEAR_NAME),
        bytes.fromhex("4e 0000000d07df7fbd 6b0102a6 000a") + b"a@one.test",
    ),
    Event.OLD_NAME: (
        Side.NEAR,
        OldName(5, 0x07DF7FBD, NEAR_NAME),
        bytes.fromhex("6e 0005 07df7fbd") + b"a@one.test",
    ),
    Event.OK: (Side.FAR, Status(StatusKind.OK), b"sok"),
    Event.OK_SIMULTANEOUS: (Side.FAR, Status(StatusKind.OK_SIMULTANEOUS), b"sok_simultaneous"),
    Event.NOK: (Side.FAR, Status(StatusKind.NOK), b"snok"),
    Event.NOT_ALLOWED: (Side.FAR, Status(StatusKind.NOT_ALLOWED), b"snot_allowed"),
    Event.ALIVE: (Side.FAR, Status(StatusKind.ALIVE), b"salive"),
    Event.NAMED: (
        Side.FAR,
        Status(StatusKind.NAMED, NEAR_NAME, 0x6B0102A6),
        b"snamed:" + bytes.fromhex("000a") + b"a@one.test" + bytes.fromhex("6b0102a6"),
    ),
    Event.TRUE: (Side.NEAR, StatusReply(goes_on=True), b"strue"),
    Event.FALSE: (Side.NEAR, StatusReply(goes_on=False), b"sfalse"),
    Event.CHALLENGE: (
        Side.FAR,
        Challenge(0xD07DF7FBD, 0xFEDCBA98, 0x6B0102A5, FAR_NAME),
        bytes.fromhex("4e 0000000d07df7fbd fedcba98 6b0102a5 000a") + b"b@two.test",
    ),
    Event.OLD_CHALLENGE: (
        Side.FAR,
        OldChallenge(5, 0x00DF7FBD, 0xFEDCBA98, FAR_NAME),
        bytes.fromhex("6e 0005 00df7fbd fedcba98") + b"b@two.test",
    ),
    Event.COMPLEMENT: (Side.NEAR, Complement(0xD, 0x6B0102A6), bytes.fromhex("63 0000000d 6b0102a6")),
    Event.REPLY: (Side.NEAR, Reply(0x01234567, DIGEST), bytes.fromhex("72 01234567") + DIGEST),
    Event.ACK: (Side.FAR, Ack(DIGEST), b"a" + DIGEST),
}
"""Of each message: who says it, what it means, and its payload, written by hand."""


def framed(payload: bytes, framing: Framing = Framing.TCP) -> bytes:
    return len(payload).to_bytes(framing, "big") + payload


def outcome(side: Side, payload: bytes) -> Message | str:
    """What the decoder makes of a payload: a message, or the word of its refusal; nothing else gets out."""
    try:
        return decode(side, payload)
    except RemoteProtocolError as error:
        if error.reason in REASONS:
            return error.reason
        raise


_LATIN = st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters="@\x7f")
_ANY = st.characters(min_codepoint=0x21, codec="utf-8", exclude_characters="@\x7f")
_HOSTS = st.text(_LATIN, min_size=1, max_size=40)
_NODE_NAMES = st.builds("{}@{}".format, _HOSTS, _HOSTS) | st.just("a" * 509 + "@" + "b" * 510)
_WIDE_NAMES = st.builds("{}@{}".format, st.text(_ANY, min_size=1, max_size=40), st.text(_ANY, min_size=1))
_DIGESTS = st.binary(min_size=16, max_size=16)
_TRAILING = st.binary(max_size=20) | st.just(bytes(3000))
_U64 = st.integers(0, (1 << 64) - 1)

MESSAGES = st.one_of(
    st.builds(Name, _U64.map(lambda flags: flags & ~NAME_ME), U32, _NODE_NAMES, _TRAILING),
    st.builds(Name, _U64.map(lambda flags: flags | NAME_ME), U32, _HOSTS, _TRAILING),
    st.builds(OldName, U16, U32, _NODE_NAMES),
    st.sampled_from([Status(kind) for kind in StatusKind if kind is not StatusKind.NAMED]),
    st.builds(Status, st.just(StatusKind.NAMED), _WIDE_NAMES, U32, _TRAILING),
    st.builds(StatusReply, st.booleans()),
    st.builds(Challenge, _U64, U32, U32, _NODE_NAMES, _TRAILING),
    st.builds(OldChallenge, U16, U32, U32, _NODE_NAMES),
    st.builds(Complement, U32, U32),
    st.builds(Reply, U32, _DIGESTS),
    st.builds(Ack, _DIGESTS),
)
"""Every message that can be carried."""

FROM_NEAR: Final = (Name, OldName, StatusReply, Complement, Reply)


def speaker(message: Message) -> Side:
    """Who says a message of this type."""
    return Side.NEAR if isinstance(message, FROM_NEAR) else Side.FAR
