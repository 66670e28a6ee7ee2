"""Records of DNS as they stand on the wire, to be compared by the thousand. Pure (RFC 1035 §3, RFC 2782).

A name is in lower case, uncompressed, with the empty label at its end: DNS compares names without case, so
that what is equal here is equal there.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import NamedTuple

from epmdless.errors import RemoteProtocolError
from epmdless.resolve.srv_records import MAX_LABEL

MAX_NAME_BYTES = 255
"""Of a name on the wire (RFC 1035 §2.3.4)."""

MAX_STRING_BYTES = 255
"""Of one string of a TXT record (RFC 1035 §3.3): its length is one byte."""

_SRV = struct.Struct("!3H")


class RecordType(IntEnum):
    """Types that are written."""

    A = 1
    TXT = 16
    AAAA = 28
    SRV = 33


class Record(NamedTuple):
    """One record.

    :ivar owner: a name on the wire.
    :ivar rdata: its data on the wire.
    """

    owner: bytes
    rdtype: RecordType
    rdata: bytes


def domain(text: str) -> bytes:
    """A domain name on the wire, of text whose labels hold no escapes; the last dot may be there or not.

    :raises ValueError: a label, or the whole, is too long, or a label is empty.
    """
    return name(label.encode() for label in text.removesuffix(".").split("."))


def name(labels: Iterable[bytes], under: bytes = b"\0") -> bytes:
    """A name on the wire, of labels that may hold any bytes, in front of another name.

    :raises ValueError: a label, or the whole, is too long, or a label is empty.
    """
    made = b""
    for label in labels:
        if not 1 <= len(label) <= MAX_LABEL:
            raise ValueError(f"a label of {len(label)} bytes")
        made += bytes((len(label),)) + label.lower()
    made += under
    if len(made) > MAX_NAME_BYTES:
        raise ValueError(f"a domain name of {len(made)} bytes")
    return made


def is_under(text: str, zone: str) -> bool:
    """Whether a domain name, as text, is in a zone."""
    own, top = (each.lower().removesuffix(".") for each in (text, zone))
    return own == top or own.endswith(f".{top}")


def srv(owner: bytes, port: int, target: bytes) -> Record:
    """An SRV record of priority and weight 0."""
    return Record(owner, RecordType.SRV, _SRV.pack(0, 0, port) + target)


def address(owner: bytes, text: str) -> Record:
    """An A or AAAA record, whichever the address needs."""
    parsed = ipaddress.ip_address(text)
    return Record(owner, RecordType.A if parsed.version == 4 else RecordType.AAAA, parsed.packed)


def txt(owner: bytes, strings: Sequence[bytes]) -> Record:
    """A TXT record of one or more strings.

    :raises ValueError: one of them is too long.
    """
    if any(len(string) > MAX_STRING_BYTES for string in strings):
        raise ValueError("a string of a TXT record is too long")
    return Record(owner, RecordType.TXT, b"".join(bytes((len(string),)) + string for string in strings))


def strings_of(rdata: bytes) -> tuple[bytes, ...]:
    """The strings of a TXT record, as the network sent its data.

    :raises RemoteProtocolError: a string ends after the data.
    """
    strings = []
    at = 0
    while at < len(rdata):
        end = at + 1 + rdata[at]
        if end > len(rdata):
            raise RemoteProtocolError("length", "a string of a TXT record is cut short")
        strings.append(rdata[at + 1 : end])
        at = end
    return tuple(strings)
