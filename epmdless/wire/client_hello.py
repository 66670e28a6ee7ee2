"""The server name in a TLS ClientHello, read without taking part in the handshake.

It is all that distribution over TLS tells a relay before it is encrypted: the host part of the node that
is dialled, which may be an IP address (OTP's inet_tls_dist hands it to ssl as it is, whatever RFC 6066
says). Sources: RFC 8446 §5.1 and §4.1.2, RFC 5246 §7.4.1.2, RFC 6066 §3. A client sends::

    records:   type:8 (=22)  version:16 (=0x03..)  length:16  fragment
    fragments: type:8 (=1)  length:24  hello
    hello:     version:16  random:32 bytes  session<8>  ciphers<16>  compressions<8>  extensions<16>
    extension: type:16  data<16>
    data of server_name (type 0): names<16>, each: type:8 (0 = host_name)  name<16>

``field<N>`` is a length of N bits and that many bytes. A hello may be cut into records anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from epmdless.errors import RemoteProtocolError

MAX_HELLO = 16 * 1024
"""The most bytes that a hello may take, its records' headers included: about what one record can hold
(RFC 8446 §5.1). With a post-quantum key share and a session ticket it takes 2 to 4 KiB."""

MAX_RECORDS = 64
"""The most records that a hello may be cut into. Clients use one, or a few to get past middleboxes; with
records of a byte each we would walk through thousands at every read."""

_HANDSHAKE = 22
_CLIENT_HELLO = 1
_RECORD_HEADER = 5
_MAX_FRAGMENT = 1 << 14
_MESSAGE_HEADER = 4
_FIXED = 2 + 32
_VECTORS = (1, 2, 1)  # bytes in the lengths of session, ciphers, compressions
_SERVER_NAME = 0
_HOST_NAME = 0
_PRINTABLE = re.compile(rb"[\x21-\x7e]{1,255}")


@dataclass(frozen=True, slots=True)
class Hello:
    """What a client says openly: the host it wants, in lower case, or None where it names none."""

    server_name: str | None


def is_tls(first_byte: int) -> bool:
    """Whether a connection that begins with this byte speaks TLS.

    The distribution's own handshake begins with the high byte of a length: 22 there would be a name message
    of 5632 bytes or more, and none is allowed to be so long.
    """
    return first_byte == _HANDSHAKE


def server_name(data: bytes) -> Hello | None:
    """Find the server name in all the bytes that a TLS client has sent so far.

    :returns: what the hello says, or None while more bytes are needed. Bytes after the hello do not matter.
    :raises RemoteProtocolError: this is no ClientHello. Reasons: ``record``, ``records`` (more than
        MAX_RECORDS), ``handshake`` (another message), ``oversized`` (more than MAX_HELLO), ``length`` (one
        inside it is wrong), ``extension`` (one comes twice), ``name`` (not of printable ASCII, or not one).
    """
    hello = _hello(data[:MAX_HELLO])
    if hello is not None:
        return Hello(_name_of(hello))
    if len(data) >= MAX_HELLO:
        raise RemoteProtocolError("oversized", f"no whole ClientHello in {MAX_HELLO} bytes")
    return None


def _hello(data: bytes) -> bytes | None:
    """Join fragments until they hold a whole hello, and return that without its header."""
    joined = bytearray()
    for fragment in _fragments(data):
        joined += fragment
        end = _announced_end(joined)
        if end is not None and len(joined) >= end:
            return bytes(joined[_MESSAGE_HEADER:end])
    return None


def _fragments(data: bytes) -> Iterator[bytes]:
    """Yield what the records hold, the last one perhaps cut short."""
    at = 0
    for _ in range(MAX_RECORDS):
        header = data[at : at + _RECORD_HEADER]
        _check_record(header)
        if len(header) < _RECORD_HEADER:
            return
        start = at + _RECORD_HEADER
        at = start + int.from_bytes(header[3:], "big")
        yield data[start:at]
    if at < len(data):
        raise RemoteProtocolError("records", f"a ClientHello in more than {MAX_RECORDS} records")


def _check_record(header: bytes) -> None:
    """Refuse a record as soon as what is there of its header cannot begin a hello.

    Of the version only the first byte counts: most clients say 0x0301 whatever they speak.
    """
    if header[:1] not in (b"", b"\x16") or header[1:2] not in (b"", b"\x03"):
        raise RemoteProtocolError("record", "not a TLS handshake record")
    if len(header) == _RECORD_HEADER and not 1 <= int.from_bytes(header[3:], "big") <= _MAX_FRAGMENT:
        raise RemoteProtocolError("record", "an empty TLS record, or one longer than TLS allows")


def _announced_end(joined: bytearray) -> int | None:
    if joined and joined[0] != _CLIENT_HELLO:
        raise RemoteProtocolError("handshake", f"handshake message {joined[0]}")
    if len(joined) < _MESSAGE_HEADER:
        return None
    end = _MESSAGE_HEADER + int.from_bytes(joined[1:_MESSAGE_HEADER], "big")
    if end > MAX_HELLO:
        raise RemoteProtocolError("oversized", f"a ClientHello of {end} bytes")
    return end


class _Fields:
    """Bytes that are read from front to back, and never past their end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, size: int) -> bytes:
        if size > self.left:
            raise RemoteProtocolError("length", f"{size} bytes of ClientHello where {self.left} are left")
        self._at += size
        return self._data[self._at - size : self._at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> bytes:
        """Read a length of `size` bytes, and that many bytes."""
        return self.take(self.number(size))

    def last_vector(self, size: int) -> bytes:
        vector = self.vector(size)
        if self.left:
            raise RemoteProtocolError("length", f"{self.left} bytes of ClientHello too many")
        return vector


def _name_of(hello: bytes) -> str | None:
    fields = _Fields(hello)
    fields.take(_FIXED)
    for size in _VECTORS:
        fields.vector(size)
    if not fields.left:  # no extensions at all: allowed before TLS 1.3
        return None
    data = _extensions(fields.last_vector(2)).get(_SERVER_NAME)
    return None if data is None else _host_name(data)


def _extensions(data: bytes) -> dict[int, bytes]:
    fields = _Fields(data)
    found: dict[int, bytes] = {}
    while fields.left:
        kind = fields.number(2)
        if kind in found:
            raise RemoteProtocolError("extension", f"extension {kind} twice")
        found[kind] = fields.vector(2)
    return found


def _host_name(data: bytes) -> str:
    names = _Fields(_Fields(data).last_vector(2))
    found = []
    while names.left:
        kind = names.number(1)
        name = names.vector(2)
        if kind == _HOST_NAME:
            found.append(name)
    if len(found) != 1 or not _PRINTABLE.fullmatch(found[0]):
        raise RemoteProtocolError("name", "not one host name of printable ASCII")
    return found[0].decode("ascii").lower()
