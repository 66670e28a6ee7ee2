"""EPMD replies, both roles.

Each reply ends with the server closing the connection, except ALIVE2's: there the connection is the
registration. A decoder is given all that was received so far, and whether the server has closed.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from epmdless.errors import RemoteProtocolError
from epmdless.wire.epmd import ALIVE2_X_VERSION, Node, decode_node_fields, decode_text, encode_node
from epmdless.wire.epmd_plain import split_listing


class ReplyTag(IntEnum):
    """First byte of the replies that have one."""

    ALIVE2_X = 118
    ALIVE2 = 121
    PORT2 = 119


ERROR_CREATION = 99
"""What the reference puts in the creation field of an ALIVE2 error."""

MISS = bytes([ReplyTag.PORT2, 1])
"""The reply to PORT_PLEASE2 for an unknown name."""

MAX_PORT = 0xFFFF

_ALIVE2_X = struct.Struct("!BBL")
_ALIVE2 = struct.Struct("!BBH")
_PORT = struct.Struct("!L")
_NAMES_LINE = re.compile(r"name (.+) at port ([0-9]{1,5})", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Alive2Reply:
    """Registered (result 0) under this creation, or refused (any other result)."""

    result: int
    creation: int


@dataclass(frozen=True, slots=True)
class PortReply:
    """The node that was asked for, or None: no such node."""

    node: Node | None


@dataclass(frozen=True, slots=True)
class NamesReply:
    """The server's own port, and (alive name, port) of each registered node, newest first."""

    port: int
    nodes: tuple[tuple[str, int], ...]


def encode_alive2_reply(highest: int, creation: int) -> bytes:
    """Accept a registration.

    :param highest: the request's highest version: it chooses the shape.
    :param creation: the 32-bit counter of the name; an old node sees it as 1..3.
    """
    if highest >= ALIVE2_X_VERSION:
        return _ALIVE2_X.pack(ReplyTag.ALIVE2_X, 0, creation)
    return _ALIVE2.pack(ReplyTag.ALIVE2, 0, creation % 3 + 1)


def encode_alive2_error(highest: int) -> bytes:
    """Refuse a registration, in the shape that the request's highest version chooses."""
    if highest >= ALIVE2_X_VERSION:
        return _ALIVE2_X.pack(ReplyTag.ALIVE2_X, 1, ERROR_CREATION)
    return _ALIVE2.pack(ReplyTag.ALIVE2, 1, ERROR_CREATION)


def encode_port_reply(node: Node) -> bytes:
    """Answer PORT_PLEASE2 with a node; :data:`MISS` is the other answer.

    :raises LocalProtocolError: the node does not fit its fields.
    """
    return bytes([ReplyTag.PORT2, 0]) + encode_node(node)


def encode_names_reply(port: int, nodes: Iterable[tuple[str, int]]) -> bytes:
    """Answer NAMES.

    :param port: the port that the client dialled: it gives up on any other.
    :param nodes: (alive name, port) in the order of the list.
    """
    lines = [encode_names_line(Node(node_port, name)) for name, node_port in nodes]
    return encode_names_head(port) + b"".join(lines)


def encode_names_head(port: int) -> bytes:
    """What a NAMES reply starts with: the server's own port."""
    return _PORT.pack(port)


def encode_names_line(node: Node) -> bytes:
    """A node's line of a NAMES reply."""
    return f"name {node.name} at port {node.port}\n".encode()


def encode_dump_reply(
    port: int, active: Iterable[tuple[str, int, int]], old: Iterable[tuple[str, int, int]]
) -> bytes:
    """Answer DUMP.

    :param active: (alive name, port, descriptor) of each registered node, newest first.
    :param old: the same of the names that left, oldest first.
    """
    lines = [f"active name     <{name}> at port {p}, fd = {fd}\n\0" for name, p, fd in active]
    lines += [f"old/unused name <{name}>, port = {p}, fd = {fd} \n\0" for name, p, fd in old]
    return _PORT.pack(port) + "".join(lines).encode()


def decode_alive2_reply(data: bytes) -> Alive2Reply | None:
    """Read an ALIVE2 reply; None while more bytes are needed.

    :raises RemoteProtocolError: not an ALIVE2 reply, or bytes after it.
    """
    if not data:
        return None
    layout = {ReplyTag.ALIVE2_X: _ALIVE2_X, ReplyTag.ALIVE2: _ALIVE2}.get(data[0])  # type: ignore[call-overload]
    if layout is None:
        raise RemoteProtocolError("opcode", f"tag {data[0]} in an ALIVE2 reply")
    if len(data) < layout.size:
        return None
    if len(data) > layout.size:
        raise RemoteProtocolError("trailing", "bytes after an ALIVE2 reply")
    _, result, creation = layout.unpack(data)
    return Alive2Reply(result, creation)


def decode_port_reply(data: bytes, *, closed: bool) -> PortReply | None:
    """Read a PORT_PLEASE2 reply.

    :param closed: the server has closed: nothing more will come.
    :returns: the reply, or None while more bytes are needed.
    :raises RemoteProtocolError: not such a reply, or cut short.
    """
    if data[:1] and data[0] != ReplyTag.PORT2:
        raise RemoteProtocolError("opcode", f"tag {data[0]} in a PORT_PLEASE2 reply")
    if len(data) >= 2 and data[1] != 0:
        return PortReply(None)
    if not closed:
        return None
    if len(data) < 2:
        raise RemoteProtocolError("short", "the connection was closed without an answer")
    (port, node_type, protocol, highest, lowest), raw, extra = decode_node_fields(data[2:])
    name = decode_text(raw)
    if name is None:
        raise RemoteProtocolError("name", "PORT_PLEASE2 was answered with what cannot be a name")
    return PortReply(Node(port, name, node_type, protocol, highest, lowest, extra))


def decode_names_reply(data: bytes) -> NamesReply:
    """Read a whole NAMES reply, after the server has closed.

    :raises RemoteProtocolError: too short, or a line is not as it must be.
    """
    port, text = split_listing(data)
    nodes = []
    *lines, rest = text.decode(errors="replace").split("\n")
    if rest:
        raise RemoteProtocolError("short", "the connection was closed in the middle of a list")
    for line in lines:
        match = _NAMES_LINE.fullmatch(line)
        if match is None or int(match[2]) > MAX_PORT:
            raise RemoteProtocolError("name", "a line of a NAMES reply cannot be read")
        nodes.append((match[1], int(match[2])))
    return NamesReply(port, tuple(nodes))
