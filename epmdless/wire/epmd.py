"""EPMD requests and what is common to both directions (source: Erlang/OTP, erts/epmd/src/epmd_srv.c).

A request is ``length:16`` and that many bytes, one a connection. All integers are big endian. Both
roles are here: a server calls :func:`decode_request`, a client :func:`encode_request`; the replies
are in :mod:`epmdless.wire.epmd_replies`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from epmdless.errors import LocalProtocolError, RemoteProtocolError
from epmdless.names import MAX_NAME_BYTES, MAX_NAME_CHARACTERS, is_listable
from epmdless.wire.epmd_plain import MAX_REQUEST, Opcode, encode_frame

READ_SIZE = 2 + MAX_REQUEST + 1
"""What one read takes: the longest request, and one byte more that shows that there is too much."""

MAX_EXTRA = 1020
"""The longest `extra` of a node in bytes: the reference stores it where a name would fit."""

MIN_ALIVE2 = 14
"""The shortest ALIVE2 payload: its fixed fields and one byte of name."""

ALIVE2_X_VERSION = 6
"""From this highest distribution version on, an ALIVE2 reply carries 32 bits of creation (OTP 23)."""


class NodeType(IntEnum):
    """How a node presents itself; other values are carried as they come."""

    NORMAL = 77
    HIDDEN = 72


@dataclass(frozen=True, slots=True)
class Node:
    """What a node says of itself. The same bytes in an ALIVE2 request and in a PORT_PLEASE2 reply::

    port:16  node_type:8  protocol:8  highest:16  lowest:16
    name_length:16  name (UTF-8)  extra_length:16  extra
    """

    port: int
    name: str
    node_type: int = NodeType.NORMAL
    protocol: int = 0
    highest: int = 6
    lowest: int = 5
    extra: bytes = b""


@dataclass(frozen=True, slots=True)
class Alive2Request:
    """Register `node` for as long as this connection lives."""

    node: Node


@dataclass(frozen=True, slots=True)
class UnacceptableAlive2:
    """An ALIVE2 request that is well formed but that no registry accepts.

    The answer is an error reply, in the shape that `highest` chooses, and the connection stays open.
    `reason` is one word for a counter.
    """

    highest: int
    reason: str


@dataclass(frozen=True, slots=True)
class PortPlease2Request:
    """Where does the node of this alive name listen?"""

    name: str


@dataclass(frozen=True, slots=True)
class NamesRequest:
    """Which nodes are registered?"""


@dataclass(frozen=True, slots=True)
class DumpRequest:
    """Which nodes are, and were, registered, and on which descriptors?"""


@dataclass(frozen=True, slots=True)
class KillRequest:
    """End the server."""


@dataclass(frozen=True, slots=True)
class StopRequest:
    """Unregister this alive name by force."""

    name: str


Request = (
    Alive2Request
    | UnacceptableAlive2
    | PortPlease2Request
    | NamesRequest
    | DumpRequest
    | KillRequest
    | StopRequest
)

_NODE_FIXED = struct.Struct("!HBBHHH")
_U16 = struct.Struct("!H")
_BARE: dict[int, NamesRequest | DumpRequest | KillRequest] = {
    Opcode.NAMES: NamesRequest(),
    Opcode.DUMP: DumpRequest(),
    Opcode.KILL: KillRequest(),
}


def decode_request(data: bytes) -> Request | None:
    """Read the one request of a connection from all the bytes that it has sent so far.

    :returns: the request, or None while more bytes are needed.
    :raises RemoteProtocolError: the connection must be closed without a reply. Reasons: ``length``,
        ``trailing``, ``opcode``, ``short``, ``name``.
    """
    if len(data) < 2:
        return None
    length = data[0] << 8 | data[1]
    if not 1 <= length <= MAX_REQUEST:
        raise RemoteProtocolError("length", f"a request of {length} bytes")
    if len(data) < 2 + length:
        return None
    if len(data) > 2 + length:
        raise RemoteProtocolError("trailing", "bytes after the request")
    opcode = data[2]
    if opcode == Opcode.PORT_PLEASE2:
        return PortPlease2Request(_decode_asked_name(data[3:]))
    if opcode == Opcode.ALIVE2:
        return _decode_alive2(data[2:])
    if opcode == Opcode.STOP:
        return _decode_stop(data[3:])
    if opcode in _BARE:
        return _BARE[opcode]
    raise RemoteProtocolError("opcode", f"opcode {opcode}")


def encode_request(request: Request) -> bytes:
    """Write a request, its length included.

    :raises LocalProtocolError: a name or `extra` that the protocol cannot carry.
    """
    match request:
        case Alive2Request(node):
            return encode_frame(Opcode.ALIVE2, encode_node(node))
        case PortPlease2Request(name):
            return encode_frame(Opcode.PORT_PLEASE2, _encode_name(name))
        case StopRequest(name):
            return encode_frame(Opcode.STOP, _encode_name(name))
        case NamesRequest():
            return encode_frame(Opcode.NAMES)
        case DumpRequest():
            return encode_frame(Opcode.DUMP)
        case KillRequest():
            return encode_frame(Opcode.KILL)
        case UnacceptableAlive2():
            raise LocalProtocolError("an unacceptable ALIVE2 request is only ever received")


def encode_node(node: Node) -> bytes:
    """Write a node as ALIVE2 and PORT_PLEASE2 carry it.

    :raises LocalProtocolError: the name, `extra` or a number does not fit its field.
    """
    name = _encode_name(node.name)
    if len(node.extra) > MAX_EXTRA:
        raise LocalProtocolError(f"extra is longer than {MAX_EXTRA} bytes")
    try:
        fixed = _NODE_FIXED.pack(
            node.port, node.node_type, node.protocol, node.highest, node.lowest, len(name)
        )
    except struct.error as error:
        raise LocalProtocolError(f"a node's field is out of range: {error}") from None
    return b"".join((fixed, name, _U16.pack(len(node.extra)), node.extra))


def decode_text(raw: bytes) -> str | None:
    """Read a name's bytes; None unless they are UTF-8 of 1 to 255 characters."""
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        return None
    return name if 1 <= len(name) <= MAX_NAME_CHARACTERS else None


def decode_node_fields(body: bytes) -> tuple[tuple[int, ...], bytes, bytes]:
    """Cut a node's bytes into port, type, protocol, highest, lowest; name; extra.

    Bytes after `extra` are ignored, as the reference does.

    :raises RemoteProtocolError: a length points past the end.
    """
    if len(body) < MIN_ALIVE2 - 1:
        raise RemoteProtocolError("short", f"a node of {len(body)} bytes")
    *fixed, name_length = _NODE_FIXED.unpack_from(body)
    extra_at = _NODE_FIXED.size + name_length + 2
    if extra_at > len(body):
        raise RemoteProtocolError("length", "the name's length points past the end")
    (extra_length,) = _U16.unpack_from(body, extra_at - 2)
    if extra_at + extra_length > len(body):
        raise RemoteProtocolError("length", "the length of extra points past the end")
    return tuple(fixed), body[_NODE_FIXED.size : extra_at - 2], body[extra_at : extra_at + extra_length]


def _decode_alive2(payload: bytes) -> Alive2Request | UnacceptableAlive2:
    if len(payload) < MIN_ALIVE2:
        raise RemoteProtocolError("short", f"ALIVE2 of {len(payload)} bytes")
    (port, node_type, protocol, highest, lowest), raw, extra = decode_node_fields(payload[1:])
    if not raw or 0 in raw:
        raise RemoteProtocolError("name", "ALIVE2 with an empty name or a NUL in it")
    name = decode_text(raw)
    if name is None or len(raw) > MAX_NAME_BYTES:
        return UnacceptableAlive2(highest, "name-encoding")
    if not is_listable(name):
        return UnacceptableAlive2(highest, "name-characters")
    if len(extra) > MAX_EXTRA:
        return UnacceptableAlive2(highest, "extra-length")
    return Alive2Request(Node(port, name, node_type, protocol, highest, lowest, extra))


def _decode_asked_name(raw: bytes) -> str:
    if raw.endswith(b"\0"):
        raw = raw[:-1]
    name = None if 0 in raw else decode_text(raw)
    if name is None:
        raise RemoteProtocolError("name", "PORT_PLEASE2 for what cannot be a name")
    return name


def _decode_stop(raw: bytes) -> StopRequest:
    if not raw:
        raise RemoteProtocolError("short", "STOP without a name")
    # The reference compares C strings: a name ends at its first NUL, and an unknown one is no error.
    return StopRequest(raw.split(b"\0", 1)[0].decode(errors="replace"))


def _encode_name(name: str) -> bytes:
    raw = name.encode(errors="surrogatepass")
    if decode_text(raw) is None or 0 in raw:
        raise LocalProtocolError("not a name: 1 to 255 characters of UTF-8 without NUL")
    return raw
