"""Long answers of DNS, read with less work than dnspython takes for them; those to our own updates too.

dnspython makes several objects of each record, 30 to 50 µs: a whole TCP answer, 64 KiB of A records, holds
everything else up for a tenth of a second. What is read here are the records of one type that answer the
question, behind any aliases, and the addresses in the additional section (RFC 1035 §4, RFC 2782).
"""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

import dns.name
import dns.rdataclass
import dns.rdatatype

from epmdless.errors import RemoteProtocolError
from epmdless.resolve.srv_records import MAX_DOMAIN, MAX_LABEL, SrvRecord

MAX_NAME_BYTES = 255
"""Of a name on the wire, with its lengths (RFC 1035 §2.3.4)."""

MAX_POINTERS = 127
"""In one name: it has no more labels, and pointers to pointers would cost time without end."""

MAX_ALIASES = 16
"""CNAME records on the way to an answer, as in dnspython."""

POINTER = 0xC0
"""The two bits by which a length is none, but the place of the rest of a name (RFC 1035 §4.1.4)."""

_HEADER = struct.Struct("!6H")
_QUESTION = struct.Struct("!HH")
_RECORD = struct.Struct("!HHIH")
_SRV = struct.Struct("!HHH")

_FAMILIES: dict[int, tuple[socket.AddressFamily, int]] = {
    dns.rdatatype.A: (socket.AF_INET, 4),
    dns.rdatatype.AAAA: (socket.AF_INET6, 16),
}


class LongAnswer(NamedTuple):
    """What a message says to its question.

    :ivar addresses: of A and AAAA records, where those were asked for.
    :ivar services: of SRV records, where those were asked for.
    :ivar texts: of TXT records, where those were asked for: the data of each, as it came.
    :ivar ttl: in seconds, the lowest on the way.
    """

    addresses: tuple[str, ...]
    services: tuple[SrvRecord, ...]
    ttl: float
    texts: tuple[bytes, ...] = ()


def count_answers(wire: bytes) -> int:
    """How many records the answer section has, says the header; 0 where there is none."""
    return int(_HEADER.unpack_from(wire)[3]) if len(wire) >= _HEADER.size else 0


def read_long_answer(wire: bytes, rdtype: int) -> LongAnswer:
    """Read a message that answers one question.

    :param rdtype: A, AAAA, SRV or TXT.
    :raises RemoteProtocolError: it is not as it must be.
    """
    try:
        return _Message(wire, rdtype).answer()
    except (IndexError, struct.error):
        raise RemoteProtocolError("short", "a DNS message ends early") from None


def skip_to_last(wire: bytes) -> tuple[int, int]:
    """Where the last record of a message begins, and its type; a signature is there (RFC 8945 §5.1).

    :returns: type 0 for a message without records.
    :raises RemoteProtocolError: it is not as it must be.
    """
    try:
        return _Message(wire, 0).last()
    except (IndexError, struct.error):
        raise RemoteProtocolError("short", "a DNS message ends early") from None


class _Message:
    """A message while it is read; IndexError and struct.error where it ends early.

    :ivar records: (TTL, where its data are, their length) of the records of the type, by owner.
    """

    def __init__(self, wire: bytes, rdtype: int) -> None:
        self._wire = wire
        self._rdtype = rdtype
        self._names: dict[int, str] = {}
        self._domains: dict[bytes, str] = {}
        self._aliases: dict[str, tuple[int, str]] = {}
        self._records: dict[str, list[tuple[int, int, int]]] = {}
        self._found: dict[str, list[str]] = {}

    def answer(self) -> LongAnswer:
        _, _, questions, answers, authorities, additionals = _HEADER.unpack_from(self._wire)
        if questions != 1:
            raise RemoteProtocolError("question", "a DNS message does not have one question")
        asked, at = self._name(_HEADER.size)
        at += _QUESTION.size
        at = self._skip(at, answers, is_answer=True)
        at = self._skip(at, authorities)
        if self._skip(at, additionals, is_additional=True) != len(self._wire):
            raise RemoteProtocolError("trailing", "bytes after a DNS message")
        records, ttl = self._behind_aliases(asked)
        ttl = min([ttl, *(each[0] for each in records)])
        if self._rdtype == dns.rdatatype.SRV:
            return LongAnswer((), tuple(self._service(at, length) for _, at, length in records), ttl)
        if self._rdtype == dns.rdatatype.TXT:
            return LongAnswer((), (), ttl, tuple(self._wire[at : at + length] for _, at, length in records))
        return LongAnswer(tuple(self._address(self._rdtype, at, n) for _, at, n in records), (), ttl)

    def last(self) -> tuple[int, int]:
        _, _, questions, *counts = _HEADER.unpack_from(self._wire)
        at = start = _HEADER.size
        rdtype = 0
        for _ in range(questions):
            at = self._behind_name(at) + _QUESTION.size
        for _ in range(sum(counts)):
            start, at = at, self._behind_name(at)
            rdtype, _, _, length = _RECORD.unpack_from(self._wire, at)
            at += _RECORD.size + length
        if at != len(self._wire):
            raise RemoteProtocolError("trailing", "bytes after a DNS message, or too few")
        return start, rdtype

    def _behind_name(self, at: int) -> int:
        while length := self._wire[at]:
            if length >= POINTER:
                return at + 2
            at += 1 + length
        return at + 1

    def _skip(self, at: int, count: int, *, is_answer: bool = False, is_additional: bool = False) -> int:
        """Go through a section, note what is needed of it, and return where it ends."""
        for _ in range(count):
            owner, at = self._name(at)
            rdtype, rdclass, ttl, length = _RECORD.unpack_from(self._wire, at)
            at += _RECORD.size
            if at + length > len(self._wire):
                raise RemoteProtocolError("short", "a DNS record is longer than its message")
            if rdclass != dns.rdataclass.IN:
                pass
            elif is_answer and rdtype == self._rdtype:
                self._records.setdefault(owner, []).append((ttl, at, length))
            elif is_answer and rdtype == dns.rdatatype.CNAME:
                self._aliases[owner] = ttl, self._name(at)[0]
            elif is_additional and rdtype in _FAMILIES:
                self._found.setdefault(owner, []).append(self._address(rdtype, at, length))
            at += length
        return at

    def _behind_aliases(self, name: str) -> tuple[list[tuple[int, int, int]], float]:
        """The records of the name, or of what it is an alias of, and the lowest TTL of those aliases."""
        lowest = float("inf")
        for _ in range(MAX_ALIASES):
            if name in self._records:
                return self._records[name], lowest
            if name not in self._aliases:
                return [], 0.0
            ttl, name = self._aliases[name]
            lowest = min(lowest, ttl)
        raise RemoteProtocolError("alias", f"more than {MAX_ALIASES} aliases")

    def _address(self, rdtype: int, at: int, length: int) -> str:
        family, size = _FAMILIES[rdtype]
        if length != size:
            raise RemoteProtocolError("length", f"an address of {length} bytes")
        return socket.inet_ntop(family, self._wire[at : at + size])

    def _service(self, at: int, length: int) -> SrvRecord:
        priority, weight, port = _SRV.unpack_from(self._wire, at)
        target = self._target(at + _SRV.size, at + length)
        return SrvRecord(priority, weight, port, target, tuple(self._found.get(target, ())))

    def _target(self, at: int, end: int) -> str:
        """The name that is there; a domain that many targets share is read once."""
        size = self._wire[at]
        label, domain = self._wire[at + 1 : at + 1 + size], self._wire[at + 1 + size : end]
        is_plain = 0 < size <= MAX_LABEL and domain != b"" and not label.translate(None, _USUAL)
        if is_plain and domain in self._domains:
            return label.decode("ascii").lower() + self._domains[domain]
        target, its_end = self._name(at)
        if its_end != end:
            raise RemoteProtocolError("length", "an SRV record does not end with its target")
        if is_plain and len(target) - size < MAX_DOMAIN - MAX_LABEL:
            self._domains[domain] = target[size:]
        return target

    def _name(self, at: int) -> tuple[str, int]:
        """A name in lower case without its last dot, and where it ends."""
        first = self._wire[at]
        if first >= POINTER:  # nearly all owners are one
            place = (first & ~POINTER) << 8 | self._wire[at + 1]
            if place in self._names:
                return self._names[place], at + 2
        labels: list[bytes] = []
        end = self._labels(at, labels)
        name = _text(labels)
        if first >= POINTER:
            self._names[place] = name
        return name, end

    def _labels(self, at: int, labels: list[bytes]) -> int:
        """Gather the labels of a name, and return where it ends; pointers lead back only."""
        wire, end, lowest = self._wire, 0, at
        left, pointers_left = MAX_NAME_BYTES, MAX_POINTERS
        while length := wire[at]:
            if length >= POINTER:
                end = end or at + 2
                at = (length & ~POINTER) << 8 | wire[at + 1]
                pointers_left -= 1
                if at >= lowest:
                    raise RemoteProtocolError("name", "a pointer in a name does not lead back")
                if not pointers_left:
                    raise RemoteProtocolError("name", f"{MAX_POINTERS} pointers in one name")
                lowest = at
                continue
            left -= length + 1
            if length > MAX_LABEL or left <= 0:
                raise RemoteProtocolError("name", "a domain name, or a label of one, is too long")
            labels.append(wire[at + 1 : at + 1 + length])
            at += 1 + length
        return end or at + 1


def _text(labels: list[bytes]) -> str:
    """Labels of the usual characters as they are, others with dnspython's escapes."""
    text = b".".join(labels)
    if not text.translate(None, _USUAL + b".") and text.count(b".") == max(len(labels) - 1, 0):
        return text.decode("ascii").lower()
    return dns.name.Name((*labels, b"")).to_text(omit_final_dot=True).lower()


_USUAL = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
