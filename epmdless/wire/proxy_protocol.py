"""The PROXY protocol, version 2: who a load balancer is speaking for.

Source: https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt §2.2. The header comes first on a
connection, once, and what follows it is the client's::

    signature:12 bytes
    version:4 (=2)  command:4 (0 LOCAL, 1 PROXY)
    family:4 (0 unspecified, 1 IPv4, 2 IPv6, 3 UNIX)  transport:4 (0 unspecified, 1 stream, 2 datagram)
    length:16 of what follows: the addresses of the family, and then type-length-value fields
    IPv4: source:4 bytes  destination:4 bytes  source_port:16  destination_port:16
    IPv6: source:16 bytes  destination:16 bytes  source_port:16  destination_port:16
    UNIX: source:108 bytes  destination:108 bytes

Version 1, a line of text, is refused: a listener expects a header or it does not, and never guesses (§2).
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from epmdless.errors import LocalProtocolError, RemoteProtocolError

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"

MAX_HEADER = 4096
"""The longest header in bytes; nginx draws the line there too. Addresses end at 232; the rest is room for the
fields of load balancers: the id of an AWS endpoint is short, a client's TLS certificate takes 1 to 3 KiB."""


class Command(IntEnum):
    """Whether the connection is the balancer's own (a health check) or made for a client."""

    LOCAL = 0
    PROXY = 1


class Family(IntEnum):
    """What the addresses are, with the transport: the whole byte."""

    UNSPECIFIED = 0x00
    TCP4 = 0x11
    TCP6 = 0x21
    UNIX_STREAM = 0x31


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """What a header says.

    `length` is how many bytes it took. The addresses and ports are None where it names none: then the
    connection's own ends count. An IPv4 address that is mapped into IPv6 is left as it came.
    """

    length: int
    source: str | None = None
    source_port: int | None = None
    destination: str | None = None
    destination_port: int | None = None


_FIXED = struct.Struct("!12sBBH")
_ADDRESSES: Mapping[int, struct.Struct] = {
    Family.TCP4: struct.Struct("!4s4sHH"),
    Family.TCP6: struct.Struct("!16s16sHH"),
}
_UNIX_SIZE = 216


def decode_header(data: bytes) -> ProxyHeader | None:
    """Read the header from all the bytes that a connection has sent so far.

    :returns: the header, or None while more bytes are needed; the client's bytes begin at its `length`.
    :raises RemoteProtocolError: the connection must be closed without an answer. Reasons: ``signature``,
        ``version``, ``command``, ``family``, ``oversized`` (longer than MAX_HEADER), ``short`` (no room for
        the family's addresses).
    """
    if data[: len(SIGNATURE)] != SIGNATURE[: len(data)]:
        raise RemoteProtocolError("signature", "not a PROXY header of version 2")
    if len(data) < _FIXED.size:
        return None
    _, version_command, family, size = _FIXED.unpack_from(data)
    command = _command(version_command)
    length = _FIXED.size + size
    if length > MAX_HEADER:
        raise RemoteProtocolError("oversized", f"a PROXY header of {length} bytes")
    if command is Command.PROXY:
        _check_family(family, size)
    if len(data) < length:
        return None
    if command is Command.LOCAL or family not in _ADDRESSES:
        return ProxyHeader(length)
    source, destination, *ports = _ADDRESSES[family].unpack_from(data, _FIXED.size)
    return ProxyHeader(length, _text(source), ports[0], _text(destination), ports[1])


def encode_header(
    source: str, source_port: int, destination: str, destination_port: int, fields: bytes = b""
) -> bytes:
    """Write the header for a client's TCP connection.

    :param source: the client's address, IPv4 or IPv6; `destination`, what it dialled, of the same family.
    :param fields: type-length-value fields, encoded.
    :raises LocalProtocolError: addresses of two families, or a number that its field cannot carry.
    """
    ends = ipaddress.ip_address(source), ipaddress.ip_address(destination)
    if ends[0].version != ends[1].version:
        raise LocalProtocolError("a PROXY header has two addresses of one family")
    family = Family.TCP4 if ends[0].version == 4 else Family.TCP6
    try:
        body = _ADDRESSES[family].pack(ends[0].packed, ends[1].packed, source_port, destination_port) + fields
        return _FIXED.pack(SIGNATURE, 2 << 4 | Command.PROXY, family, len(body)) + body
    except struct.error as error:
        raise LocalProtocolError(f"a PROXY header's field is out of range: {error}") from None


def encode_local_header() -> bytes:
    """Write the header of a connection that a balancer makes for itself, to see whether we answer."""
    return _FIXED.pack(SIGNATURE, 2 << 4 | Command.LOCAL, Family.UNSPECIFIED, 0)


def _command(version_command: int) -> Command:
    version, command = version_command >> 4, version_command & 0xF
    if version != 2:
        raise RemoteProtocolError("version", f"PROXY protocol version {version}")
    if command > Command.PROXY:
        raise RemoteProtocolError("command", f"PROXY command {command}")
    return Command(command)


def _check_family(family: int, size: int) -> None:
    """Refuse what cannot have led to a TCP connection, and addresses that are cut short.

    An unspecified family is taken with whatever follows it: its addresses are not to be read (§2.2).
    """
    if family not in tuple(Family):
        raise RemoteProtocolError("family", f"PROXY family and transport {family:#x}")
    needed = _UNIX_SIZE if family == Family.UNIX_STREAM else 0
    if family in _ADDRESSES:
        needed = _ADDRESSES[family].size
    if size < needed:
        raise RemoteProtocolError("short", f"{size} bytes of PROXY header where {needed} belong")


def _text(packed: bytes) -> str:
    return str(ipaddress.ip_address(packed))
