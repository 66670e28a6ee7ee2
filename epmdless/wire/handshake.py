"""The messages of the distribution handshake (source: Erlang/OTP, lib/kernel/src/dist_util.erl, and the
Distribution Protocol chapter of the ERTS manual).

A message is a length word and that many bytes, its payload; the payload's first byte is the tag. All
integers are big endian. The initiator A is the *near* side of a link, the acceptor B its *far* side. The
same tag means different things from the two sides, so :func:`decode` has to be told who spoke. Which
message may come when is :mod:`epmdless.wire.handshake_watch`.

Names are ISO 8859-1, as OTP has them: it calls ``list_to_atom`` with the bytes of the message. So each
byte is a character, and every name goes out as it came in. Only the name in the status ``named:`` is UTF-8.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Mapping
from typing import Any

from epmdless.errors import LocalProtocolError, RemoteProtocolError
from epmdless.names import MAX_NAME_BYTES
from epmdless.wire.handshake_messages import (
    DIST_HDR_ATOM_CACHE,
    FRAGMENTS,
    HANDSHAKE_23,
    MANDATORY_25,
    NAME_ME,
    PUBLISHED,
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
    is_name,
)

__all__ = [
    "DIGEST_SIZE",
    "DIST_HDR_ATOM_CACHE",
    "FRAGMENTS",
    "HANDSHAKE_23",
    "MANDATORY_25",
    "MAX_MESSAGE",
    "NAME_ME",
    "PUBLISHED",
    "Ack",
    "Challenge",
    "Complement",
    "Framing",
    "Message",
    "Name",
    "OldChallenge",
    "OldName",
    "Reply",
    "Side",
    "Status",
    "StatusKind",
    "StatusReply",
    "decode",
    "digest",
    "encode",
    "frame",
    "is_name",
]

MAX_MESSAGE = 4096
"""The longest payload in bytes. The longest in use is the challenge: 19 bytes and a name of 255 characters,
1020 bytes if a peer sends it in UTF-8. The rest, 3057 bytes, is room for what a later release may append
after the name. The 16-bit length word would allow 65535."""

DIGEST_SIZE = 16
"""Bytes of an MD5 digest."""

_NAME = struct.Struct("!QIH")
_OLD_NAME = struct.Struct("!HI")
_CHALLENGE = struct.Struct("!QIIH")
_OLD_CHALLENGE = struct.Struct("!HII")
_COMPLEMENT = struct.Struct("!II")
_REPLY = struct.Struct(f"!I{DIGEST_SIZE}s")
_DIGEST = struct.Struct(f"!{DIGEST_SIZE}s")
_U16 = struct.Struct("!H")
_U32 = struct.Struct("!I")
_NAMED = b"named:"
_STATUSES = {kind.value.encode(): Status(kind) for kind in StatusKind if kind is not StatusKind.NAMED}
_STATUS_REPLIES = {b"true": StatusReply(goes_on=True), b"false": StatusReply(goes_on=False)}


def digest(cookie: bytes, challenge: int) -> bytes:
    """The proof that its sender knows the cookie: MD5 of the cookie and the challenge's decimal text.

    :param challenge: the number that the *other* side sent.
    """
    return hashlib.md5(cookie + b"%d" % challenge, usedforsecurity=False).digest()


def frame(payload: bytes, framing: Framing) -> bytes:
    """Put the length word before a payload.

    :raises LocalProtocolError: the payload is empty or longer than MAX_MESSAGE.
    """
    if not 1 <= len(payload) <= MAX_MESSAGE:
        raise LocalProtocolError(f"a handshake message of {len(payload)} bytes")
    return len(payload).to_bytes(framing, "big") + payload


def decode(side: Side, payload: bytes) -> Message:
    """Read one whole message, its length word taken off.

    :param side: who sent it.
    :raises RemoteProtocolError: neither end of a link says that. Reasons: ``oversized`` (longer than
        MAX_MESSAGE), ``short`` (ends inside a field), ``trailing`` (bytes after a message that has none),
        ``tag`` (nothing this side says begins so), ``name`` (cannot be a node's), ``status``.
    """
    if not payload:
        raise RemoteProtocolError("short", "an empty message")
    if len(payload) > MAX_MESSAGE:
        raise RemoteProtocolError("oversized", f"a message of {len(payload)} bytes")
    decoder = _DECODERS[side].get(payload[0])
    if decoder is None:
        raise RemoteProtocolError("tag", f"tag {payload[0]} from the {side.value} side")
    return decoder(payload[1:])


def encode(message: Message) -> bytes:
    """Write a message's payload; :func:`frame` adds the length word.

    :raises LocalProtocolError: a number, a name or a digest that its field cannot carry, or more than
        MAX_MESSAGE bytes.
    """
    try:
        payload = _encode(message)
    except struct.error as error:
        raise LocalProtocolError(f"a field of {type(message).__name__} is out of range: {error}") from None
    if len(payload) > MAX_MESSAGE:
        raise LocalProtocolError(f"a handshake message of {len(payload)} bytes")
    return payload


def _encode(message: Message) -> bytes:
    match message:
        case Name(flags, creation, name, trailing):
            raw = _name_bytes(name, asks_for_name=bool(flags & NAME_ME))
            return b"N" + _NAME.pack(flags, creation, len(raw)) + raw + trailing
        case OldName(version, flags, name):
            return b"n" + _OLD_NAME.pack(version, flags) + _name_bytes(name)
        case Status():
            return b"s" + _status_text(message)
        case StatusReply(goes_on):
            return b"strue" if goes_on else b"sfalse"
        case Challenge(flags, challenge, creation, name, trailing):
            raw = _name_bytes(name)
            return b"N" + _CHALLENGE.pack(flags, challenge, creation, len(raw)) + raw + trailing
        case OldChallenge(version, flags, challenge, name):
            return b"n" + _OLD_CHALLENGE.pack(version, flags, challenge) + _name_bytes(name)
        case Complement(flags_high, creation):
            return b"c" + _COMPLEMENT.pack(flags_high, creation)
        case Reply(challenge, proof):
            return b"r" + _REPLY.pack(challenge, _whole_digest(proof))
        case Ack(proof):
            return b"a" + _whole_digest(proof)


def _status_text(status: Status) -> bytes:
    if status.kind is not StatusKind.NAMED:
        if status != Status(status.kind):
            raise LocalProtocolError("only the status 'named' carries a name")
        return status.kind.value.encode()
    if status.name is None or status.creation is None:
        raise LocalProtocolError("the status 'named' carries a name and a creation")
    raw = _name_bytes(status.name, "utf-8")
    return _NAMED + _U16.pack(len(raw)) + raw + _U32.pack(status.creation) + status.trailing


def _name_bytes(name: str, codec: str = "latin-1", *, asks_for_name: bool = False) -> bytes:
    try:
        raw = name.encode(codec)
    except UnicodeEncodeError:
        raise LocalProtocolError(f"a name that {codec} cannot carry") from None
    if len(raw) > MAX_NAME_BYTES or not is_name(name, asks_for_name=asks_for_name):
        raise LocalProtocolError("not a node's name: ALIVE@HOST, or a host where a name is asked for")
    return raw


def _whole_digest(proof: bytes) -> bytes:
    if len(proof) != DIGEST_SIZE:
        raise LocalProtocolError(f"a digest of {len(proof)} bytes")
    return proof


def _decode_name(body: bytes) -> Name:
    flags, creation, length = _fields(_NAME, body)
    raw, trailing = _cut(body[_NAME.size :], length)
    return Name(flags, creation, _name_text(raw, asks_for_name=bool(flags & NAME_ME)), trailing)


def _decode_old_name(body: bytes) -> OldName:
    version, flags = _fields(_OLD_NAME, body)
    return OldName(version, flags, _name_text(body[_OLD_NAME.size :]))


def _decode_status(body: bytes) -> Status:
    if body.startswith(_NAMED):
        return _decode_named(body[len(_NAMED) :])
    status = _STATUSES.get(body)
    if status is None:
        raise RemoteProtocolError("status", f"an unknown status of {len(body)} bytes")
    return status


def _decode_named(body: bytes) -> Status:
    (length,) = _fields(_U16, body)
    raw, after = _cut(body[_U16.size :], length)
    (creation,) = _fields(_U32, after)
    return Status(StatusKind.NAMED, _name_text(raw, "utf-8"), creation, after[_U32.size :])


def _decode_status_reply(body: bytes) -> StatusReply:
    reply = _STATUS_REPLIES.get(body)
    if reply is None:
        raise RemoteProtocolError("status", f"an unknown answer to 'alive' of {len(body)} bytes")
    return reply


def _decode_challenge(body: bytes) -> Challenge:
    flags, challenge, creation, length = _fields(_CHALLENGE, body)
    raw, trailing = _cut(body[_CHALLENGE.size :], length)
    return Challenge(flags, challenge, creation, _name_text(raw), trailing)


def _decode_old_challenge(body: bytes) -> OldChallenge:
    version, flags, challenge = _fields(_OLD_CHALLENGE, body)
    return OldChallenge(version, flags, challenge, _name_text(body[_OLD_CHALLENGE.size :]))


def _decode_complement(body: bytes) -> Complement:
    return Complement(*_exactly(_COMPLEMENT, body))


def _decode_reply(body: bytes) -> Reply:
    return Reply(*_exactly(_REPLY, body))


def _decode_ack(body: bytes) -> Ack:
    return Ack(*_exactly(_DIGEST, body))


_DECODERS: Mapping[Side, Mapping[int, Callable[[bytes], Message]]] = {
    Side.NEAR: {
        ord("N"): _decode_name,
        ord("n"): _decode_old_name,
        ord("s"): _decode_status_reply,
        ord("c"): _decode_complement,
        ord("r"): _decode_reply,
    },
    Side.FAR: {
        ord("s"): _decode_status,
        ord("N"): _decode_challenge,
        ord("n"): _decode_old_challenge,
        ord("a"): _decode_ack,
    },
}


def _fields(layout: struct.Struct, body: bytes) -> tuple[Any, ...]:
    """Read the fixed fields at the beginning of a body."""
    if len(body) < layout.size:
        raise RemoteProtocolError("short", f"{len(body)} bytes where {layout.size} belong")
    return layout.unpack_from(body)


def _exactly(layout: struct.Struct, body: bytes) -> tuple[Any, ...]:
    """Read a body of fixed fields alone: nodes refuse a byte after them."""
    fields = _fields(layout, body)
    if len(body) > layout.size:
        raise RemoteProtocolError("trailing", f"{len(body)} bytes where {layout.size} belong")
    return fields


def _cut(body: bytes, length: int) -> tuple[bytes, bytes]:
    """Part a name from what comes after it."""
    if length > len(body):
        raise RemoteProtocolError("short", f"{length} bytes of name in {len(body)}")
    return body[:length], body[length:]


def _name_text(raw: bytes, codec: str = "latin-1", *, asks_for_name: bool = False) -> str:
    try:
        name = raw.decode(codec)
    except UnicodeDecodeError:
        raise RemoteProtocolError("name", f"a name of {len(raw)} bytes that is not {codec}") from None
    if len(raw) > MAX_NAME_BYTES or not is_name(name, asks_for_name=asks_for_name):
        raise RemoteProtocolError("name", f"{len(raw)} bytes that cannot be a node's name")
    return name
