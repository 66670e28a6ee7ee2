"""Erlang's terms on the wire: the external term format (source: OTP, ERTS manual, External Term Format),
just what a hidden node needs.

A term is the version byte 131, a tag, and what the tag says. All integers are big endian, but for the
magnitude of big ones. Compressed terms are refused: their size is known only after the work is done.

erlang-py was looked at and not taken: it inflates compressed terms and recurses without a bound, and neither
can be switched off.
"""

from __future__ import annotations

import math
import struct

from epmdless.errors import LocalProtocolError
from epmdless.names import MAX_NAME_CHARACTERS
from epmdless.wire.terms_decoding import decode, decode_prefix
from epmdless.wire.terms_values import (
    LIMITS,
    MAX_REFERENCE_WORDS,
    VERSION,
    Atom,
    Limits,
    Opaque,
    Pid,
    Port,
    Reference,
    Tag,
    Term,
)

__all__ = [
    "LIMITS",
    "Atom",
    "Limits",
    "Opaque",
    "Pid",
    "Port",
    "Reference",
    "Tag",
    "Term",
    "decode",
    "decode_prefix",
    "encode",
]

_HEAD8 = struct.Struct("!BB")
_HEAD16 = struct.Struct("!BH")
_HEAD32 = struct.Struct("!BI")
_INTEGER = struct.Struct("!Bi")
_FLOAT = struct.Struct("!Bd")
_BIG = struct.Struct("!BBB")
_LARGE_BIG = struct.Struct("!BIB")
_PID = struct.Struct("!III")

_UINT8 = range(1 << 8)
_INT32 = range(-(1 << 31), 1 << 31)


def encode(term: Term) -> bytes:
    """Write a term, its version byte first.

    :raises LocalProtocolError: the term is, or holds, what cannot be written: a ``bool`` or a ``str`` (write
        an :class:`Atom`), a float that is no number, a port, something opaque, a number that its field cannot
        carry; or it goes beyond LIMITS in depth or in an integer's bytes.
    """
    parts = [bytes([VERSION])]
    try:
        _write(parts, term, LIMITS.depth)
    except struct.error as error:
        raise LocalProtocolError(f"a field of a term is out of range: {error}") from None
    return b"".join(parts)


def _write(parts: list[bytes], term: Term, depth: int) -> None:
    match term:
        case Atom():
            parts.append(_atom(term))
        case bool():
            raise LocalProtocolError("a bool is no term: write Atom('true') or Atom('false')")
        case int():
            parts.append(_integer(term))
        case float():
            parts.append(_float(term))
        case bytes():
            parts += (_HEAD32.pack(Tag.BINARY, len(term)), term)
        case tuple():
            parts.append(_tuple_head(len(term)))
            _write_all(parts, term, depth)
        case list():
            if term:
                parts.append(_HEAD32.pack(Tag.LIST, len(term)))
                _write_all(parts, tuple(term), depth)
            parts.append(bytes([Tag.NIL]))
        case dict():
            parts.append(_HEAD32.pack(Tag.MAP, len(term)))
            _write_all(parts, tuple(half for pair in term.items() for half in pair), depth)
        case Pid(node, number, serial, creation):
            parts += (bytes([Tag.NEW_PID]), _atom(node), _PID.pack(number, serial, creation))
        case Reference():
            parts.append(_reference(term))
        case _:
            raise LocalProtocolError(f"a {type(term).__name__} cannot be sent")


def _write_all(parts: list[bytes], terms: tuple[Term, ...], depth: int) -> None:
    if depth <= 0:
        raise LocalProtocolError(f"terms nested more than {LIMITS.depth} deep")
    for term in terms:
        _write(parts, term, depth - 1)


def _atom(atom: Atom) -> bytes:
    if len(atom) > MAX_NAME_CHARACTERS:
        raise LocalProtocolError(f"an atom of {len(atom)} characters")
    try:
        raw = atom.encode()
    except UnicodeEncodeError:
        raise LocalProtocolError("an atom that UTF-8 cannot carry") from None
    if len(raw) in _UINT8:
        return _HEAD8.pack(Tag.SMALL_ATOM_UTF8, len(raw)) + raw
    return _HEAD16.pack(Tag.ATOM_UTF8, len(raw)) + raw


def _integer(number: int) -> bytes:
    if number in _UINT8:
        return _HEAD8.pack(Tag.SMALL_INTEGER, number)
    if number in _INT32:
        return _INTEGER.pack(Tag.INTEGER, number)
    magnitude = abs(number)
    size = (magnitude.bit_length() + 7) // 8
    if size > LIMITS.integer:
        raise LocalProtocolError(f"an integer of {size} bytes")
    small = size in _UINT8
    layout, tag = (_BIG, Tag.SMALL_BIG) if small else (_LARGE_BIG, Tag.LARGE_BIG)
    return layout.pack(tag, size, number < 0) + magnitude.to_bytes(size, "little")


def _float(number: float) -> bytes:
    if not math.isfinite(number):
        raise LocalProtocolError("a float that is no number")
    return _FLOAT.pack(Tag.NEW_FLOAT, number)


def _tuple_head(size: int) -> bytes:
    if size in _UINT8:
        return _HEAD8.pack(Tag.SMALL_TUPLE, size)
    return _HEAD32.pack(Tag.LARGE_TUPLE, size)


def _reference(reference: Reference) -> bytes:
    count = len(reference.words)
    if not 1 <= count <= MAX_REFERENCE_WORDS:
        raise LocalProtocolError(f"a reference of {count} words")
    numbers = struct.pack(f"!{1 + count}I", reference.creation, *reference.words)
    return _HEAD16.pack(Tag.NEWER_REFERENCE, count) + _atom(reference.node) + numbers
