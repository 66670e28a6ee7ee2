"""Reads the external term format under limits (see :mod:`epmdless.wire.terms`).

What a byte says about how much follows is checked against the bytes that are there, and against the limits,
before anything is made for it.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from typing import Any

from epmdless.errors import RemoteProtocolError
from epmdless.names import MAX_NAME_CHARACTERS
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

_FLOAT = struct.Struct("!d")
_U16 = struct.Struct("!H")
_U32 = struct.Struct("!I")
_I32 = struct.Struct("!i")

_BIG = struct.Struct("!BB")
"""length:8  sign:8"""
_LARGE_BIG = struct.Struct("!IB")
"""length:32  sign:8"""
_BITS = struct.Struct("!IB")
"""bytes:32  bits of the last byte:8"""
_NEW_PID = struct.Struct("!III")
"""id:32  serial:32  creation:32"""
_PID = struct.Struct("!IIB")
"""id:32  serial:32  creation:8"""
_NEW_PORT = struct.Struct("!II")
"""id:32  creation:32"""
_V4_PORT = struct.Struct("!QI")
"""id:64  creation:32"""
_PORT = struct.Struct("!IB")
"""id:32  creation:8; of old references too, which have one word"""


def decode(data: bytes, limits: Limits = LIMITS, *, allowed: frozenset[int] | None = None) -> Term:
    """Read one term, its version byte first, that takes all of the bytes.

    :param allowed: the tags that may occur anywhere in the term; None for all that are known.
    :raises RemoteProtocolError: reasons ``term`` (no such term, or more bytes after it) and ``limit`` (more
        than the limits allow).
    """
    term, end = decode_prefix(data, limits=limits, allowed=allowed)
    if end != len(data):
        raise RemoteProtocolError("term", f"{len(data) - end} bytes after a term")
    return term


def decode_prefix(
    data: bytes, start: int = 0, *, limits: Limits = LIMITS, allowed: frozenset[int] | None = None
) -> tuple[Term, int]:
    """Read one term, its version byte first, that begins at `start`.

    :param allowed: as for :func:`decode`.
    :returns: the term, and the position of the first byte after it.
    :raises RemoteProtocolError: as :func:`decode`.
    """
    reader = _Reader(data, start, limits, allowed)
    version = reader.uint8()
    if version != VERSION:
        raise RemoteProtocolError("term", f"version {version} of the external term format")
    return reader.term(limits.depth), reader.position


class _Reader:
    """A position in bytes that hold terms, and what may still be taken in."""

    __slots__ = ("_allowed", "_items", "data", "limits", "position")

    def __init__(self, data: bytes, position: int, limits: Limits, allowed: frozenset[int] | None) -> None:
        self.data = data
        self.position = position
        self.limits = limits
        self._items = limits.items
        self._allowed = allowed

    def term(self, depth: int) -> Term:
        """Read the term that begins here.

        :param depth: how many levels of terms in terms are left.
        """
        tag = self.uint8()
        read = _READERS.get(tag)
        if read is None or (self._allowed is not None and tag not in self._allowed):
            raise RemoteProtocolError("term", f"a term with tag {tag}")
        self.count(1)
        return read(self, depth)

    def terms(self, count: int, depth: int) -> list[Term]:
        """Read so many terms, the elements of one at this depth."""
        if depth <= 0:
            raise RemoteProtocolError("limit", f"terms nested more than {self.limits.depth} deep")
        self.reserve(count)
        if count > self._items:
            raise RemoteProtocolError("limit", f"more than {self.limits.items} terms in a term")
        return [self.term(depth - 1) for _ in range(count)]

    def count(self, items: int) -> None:
        """Note that so many terms are taken in."""
        self._items -= items
        if self._items < 0:
            raise RemoteProtocolError("limit", f"more than {self.limits.items} terms in a term")

    def atom(self) -> Atom:
        """Read a term that has to be an atom: nothing else is begun, so that nothing else can nest here."""
        tag = self.data[self.position] if self.position < len(self.data) else None
        if tag not in _ATOMS:
            raise RemoteProtocolError("term", f"a term with tag {tag} where an atom belongs")
        term = self.term(0)
        assert isinstance(term, Atom), "the tag said so"
        return term

    def reserve(self, size: int) -> None:
        """Refuse a size that the bytes left cannot hold."""
        left = len(self.data) - self.position
        if size > left:
            raise RemoteProtocolError("term", f"a term of {size} bytes in {left}")

    def take(self, size: int) -> bytes:
        """Read so many bytes."""
        self.reserve(size)
        start = self.position
        self.position += size
        return self.data[start : self.position]

    def fields(self, layout: struct.Struct) -> tuple[Any, ...]:
        """Read fixed fields."""
        self.reserve(layout.size)
        fields = layout.unpack_from(self.data, self.position)
        self.position += layout.size
        return fields

    def uint8(self) -> int:
        """Read a number of 8 bits."""
        if self.position >= len(self.data):
            raise RemoteProtocolError("term", "a term of 1 byte in 0")
        self.position += 1
        return self.data[self.position - 1]

    def uint16(self) -> int:
        """Read a number of 16 bits."""
        number: int = self.fields(_U16)[0]
        return number

    def uint32(self) -> int:
        """Read a number of 32 bits."""
        number: int = self.fields(_U32)[0]
        return number

    def int32(self) -> int:
        """Read a number of 32 bits with a sign."""
        number: int = self.fields(_I32)[0]
        return number


_Number = Callable[[_Reader], int]
"""How a reader reads a number of some size."""


def _float(reader: _Reader, _depth: int) -> float:
    number: float = reader.fields(_FLOAT)[0]
    if not math.isfinite(number):
        raise RemoteProtocolError("term", "a float that is no number")
    return number


def _integer(number: _Number) -> Callable[[_Reader, int], int]:
    return lambda reader, _depth: number(reader)


def _big_integer(layout: struct.Struct) -> Callable[[_Reader, int], int]:
    def read(reader: _Reader, _depth: int) -> int:
        size, sign = reader.fields(layout)
        if size > reader.limits.integer:
            raise RemoteProtocolError("limit", f"an integer of {size} bytes")
        if sign > 1:
            raise RemoteProtocolError("term", f"sign {sign} of an integer")
        magnitude = int.from_bytes(reader.take(size), "little")
        return -magnitude if sign else magnitude

    return read


def _atom(size: _Number, codec: str) -> Callable[[_Reader, int], Atom]:
    def read(reader: _Reader, _depth: int) -> Atom:
        raw = reader.take(size(reader))
        try:
            text = raw.decode(codec)
        except UnicodeDecodeError:
            raise RemoteProtocolError("term", f"an atom of {len(raw)} bytes that is not {codec}") from None
        if len(text) > MAX_NAME_CHARACTERS:
            raise RemoteProtocolError("term", f"an atom of {len(text)} characters")
        return Atom(text)

    return read


def _tuple(size: _Number) -> Callable[[_Reader, int], tuple[Term, ...]]:
    return lambda reader, depth: tuple(reader.terms(size(reader), depth))


def _nil(_reader: _Reader, _depth: int) -> list[Term]:
    return []


def _string(reader: _Reader, _depth: int) -> list[Term]:
    characters = reader.take(reader.uint16())
    reader.count(len(characters))
    return list(characters)


def _list(reader: _Reader, depth: int) -> list[Term] | Opaque:
    """Elements, and the tail: a list that goes on, which no node writes, or something else."""
    elements = reader.terms(reader.uint32(), depth)
    tail = reader.term(depth - 1)
    if not isinstance(tail, list):
        return Opaque("improper_list")
    elements.extend(tail)
    return elements


def _binary(reader: _Reader, _depth: int) -> bytes:
    return reader.take(reader.uint32())


def _map(reader: _Reader, depth: int) -> dict[Term, Term] | Opaque:
    count = reader.uint32()
    if count > reader.limits.pairs:
        raise RemoteProtocolError("limit", f"a map of {count} pairs")
    flat = reader.terms(2 * count, depth)
    try:
        pairs = dict(zip(flat[::2], flat[1::2], strict=True))
    except TypeError:  # a key that cannot be hashed
        return Opaque("map")
    return pairs if len(pairs) == count else Opaque("map")


def _pid(layout: struct.Struct) -> Callable[[_Reader, int], Pid]:
    return lambda reader, _depth: Pid(reader.atom(), *reader.fields(layout))


def _port(layout: struct.Struct) -> Callable[[_Reader, int], Port]:
    return lambda reader, _depth: Port(reader.atom(), *reader.fields(layout))


def _old_reference(reader: _Reader, _depth: int) -> Reference:
    node = reader.atom()
    word, creation = reader.fields(_PORT)
    return Reference(node, (word,), creation)


def _reference(number: _Number) -> Callable[[_Reader, int], Reference]:
    def read(reader: _Reader, _depth: int) -> Reference:
        count = reader.uint16()
        if not 1 <= count <= MAX_REFERENCE_WORDS:
            raise RemoteProtocolError("term", f"a reference of {count} words")
        node, creation = reader.atom(), number(reader)
        return Reference(node, reader.fields(_WORDS[count]), creation)

    return read


_WORDS = [struct.Struct(f"!{count}I") for count in range(MAX_REFERENCE_WORDS + 1)]


def _bits(reader: _Reader, _depth: int) -> Opaque:
    size, bits = reader.fields(_BITS)
    if not 1 <= bits <= 8:
        raise RemoteProtocolError("term", f"{bits} bits in a byte")
    reader.take(size)
    return Opaque("bitstring")


def _fun(reader: _Reader, _depth: int) -> Opaque:
    size = reader.uint32()
    if size < _U32.size:
        raise RemoteProtocolError("term", f"a fun of {size} bytes")
    reader.take(size - _U32.size)
    return Opaque("fun")


def _export(reader: _Reader, _depth: int) -> Opaque:
    reader.atom()
    reader.atom()
    if reader.uint8() != Tag.SMALL_INTEGER:
        raise RemoteProtocolError("term", "an external fun without its arity")
    reader.uint8()
    return Opaque("export")


_ATOMS = frozenset({Tag.ATOM, Tag.SMALL_ATOM, Tag.ATOM_UTF8, Tag.SMALL_ATOM_UTF8})

_READERS: Mapping[int, Callable[[_Reader, int], Term]] = {
    Tag.NEW_FLOAT: _float,
    Tag.BIT_BINARY: _bits,
    Tag.NEW_PID: _pid(_NEW_PID),
    Tag.NEW_PORT: _port(_NEW_PORT),
    Tag.NEWER_REFERENCE: _reference(_Reader.uint32),
    Tag.SMALL_INTEGER: _integer(_Reader.uint8),
    Tag.INTEGER: _integer(_Reader.int32),
    Tag.ATOM: _atom(_Reader.uint16, "latin-1"),
    Tag.REFERENCE: _old_reference,
    Tag.PORT: _port(_PORT),
    Tag.PID: _pid(_PID),
    Tag.SMALL_TUPLE: _tuple(_Reader.uint8),
    Tag.LARGE_TUPLE: _tuple(_Reader.uint32),
    Tag.NIL: _nil,
    Tag.STRING: _string,
    Tag.LIST: _list,
    Tag.BINARY: _binary,
    Tag.SMALL_BIG: _big_integer(_BIG),
    Tag.LARGE_BIG: _big_integer(_LARGE_BIG),
    Tag.NEW_FUN: _fun,
    Tag.EXPORT: _export,
    Tag.NEW_REFERENCE: _reference(_Reader.uint8),
    Tag.SMALL_ATOM: _atom(_Reader.uint8, "latin-1"),
    Tag.MAP: _map,
    Tag.ATOM_UTF8: _atom(_Reader.uint16, "utf-8"),
    Tag.SMALL_ATOM_UTF8: _atom(_Reader.uint8, "utf-8"),
    Tag.V4_PORT: _port(_V4_PORT),
}
