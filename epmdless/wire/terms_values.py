"""Erlang's terms as Python has them, and how much of them is taken in (see :mod:`epmdless.wire.terms`).

============================  ==========================================================
in Erlang                     in Python
============================  ==========================================================
atom                          :class:`Atom`; ``true`` and ``false`` too
integer, float                ``int``, ``float``; a ``bool`` is none of them and is refused
binary                        ``bytes``
tuple, list, map              ``tuple``, ``list``, ``dict``
string ("abc")                the list of integers that it is
pid, reference, port          :class:`Pid`, :class:`Reference`, :class:`Port`
fun, external fun, bitstring  :class:`Opaque`, decoded only
improper list                 :class:`Opaque`, decoded only
map that a dict cannot hold   :class:`Opaque`, decoded only: a key that is or holds a list or a map, or two
                              keys that Python takes for one, as 1 and 1.0
============================  ==========================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, Union


class Atom(str):
    """An atom: a ``str`` of its own, since no other term is text. It equals the same text."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Atom({str(self)!r})"


@dataclass(frozen=True, slots=True)
class Pid:
    """A process, on the node of this name that was started with this creation."""

    node: Atom
    id: int
    serial: int
    creation: int


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference: 1 to MAX_REFERENCE_WORDS words of 32 bits, unique on its node."""

    node: Atom
    words: tuple[int, ...]
    creation: int


@dataclass(frozen=True, slots=True)
class Port:
    """A port, in Erlang's sense."""

    node: Atom
    id: int
    creation: int


@dataclass(frozen=True, slots=True)
class Opaque:
    """A term that came and was not taken in.

    `kind` is ``fun``, ``export``, ``bitstring``, ``improper_list``, ``map``, or ``undecodable`` for a message
    that broke a limit or a rule (:mod:`epmdless.wire.distribution`).
    """

    kind: str


Term = Union[  # noqa: UP007 - an alias that names itself cannot be written with | at run time
    Atom,
    int,
    float,
    bytes,
    tuple["Term", ...],
    list["Term"],
    dict["Term", "Term"],
    Pid,
    Reference,
    Port,
    Opaque,
]
"""Any term."""


class Tag(IntEnum):
    """The byte that a term begins with (OTP: erl_ext_dist, External Term Format)."""

    NEW_FLOAT = 70
    BIT_BINARY = 77
    COMPRESSED = 80
    NEW_PID = 88
    NEW_PORT = 89
    NEWER_REFERENCE = 90
    SMALL_INTEGER = 97
    INTEGER = 98
    ATOM = 100
    REFERENCE = 101
    PORT = 102
    PID = 103
    SMALL_TUPLE = 104
    LARGE_TUPLE = 105
    NIL = 106
    STRING = 107
    LIST = 108
    BINARY = 109
    SMALL_BIG = 110
    LARGE_BIG = 111
    NEW_FUN = 112
    EXPORT = 113
    NEW_REFERENCE = 114
    SMALL_ATOM = 115
    MAP = 116
    ATOM_UTF8 = 118
    SMALL_ATOM_UTF8 = 119
    V4_PORT = 120


VERSION = 131
"""The byte before every term, for the format's version."""

MAX_REFERENCE_WORDS = 5
"""Words of a reference, as OTP 24 and later allow; older nodes make 3."""


class Limits(NamedTuple):
    """How much of a term is taken in.

    :param depth: how deep tuples, lists and maps may lie in each other. A stack trace in an exit reason needs
        about 8. Each level takes two calls in Python, which allows 1000.
    :param items: terms in the whole, the characters of strings among them. ``nodes()`` with 20,000 names, the
        most that a source may name, takes little more than 20,000. Each takes 60 to 220 bytes of memory.
    :param pairs: pairs of one map. Integers can be chosen so that their hashes collide, and then each key is
        compared with all before it.
    :param integer: bytes of a big integer. Integers in answers and in exit reasons are times, sizes and
        counters; Python's way to print one is slow above some thousand digits.
    """

    depth: int = 64
    items: int = 100_000
    pairs: int = 1024
    integer: int = 256


LIMITS = Limits()
"""For what an authenticated node says."""
