"""What the two ends of a distribution link say to each other in its handshake.

The initiator A is the *near* side of a link, the acceptor B its *far* side. Above each message stands
its payload, a field a line or several with their bits; all integers are big endian. How they go over the
wire is :mod:`epmdless.wire.handshake`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum, IntEnum, StrEnum

PUBLISHED = 0x1
"""The node is visible. Cleared in both names, the ends see each other as hidden."""

DIST_HDR_ATOM_CACHE = 0x2000
"""Frames may carry headers with references to an atom cache."""

FRAGMENTS = 0x800000
"""Large messages may come in fragments."""

HANDSHAKE_23 = 0x1000000
"""The node knows the messages tagged 'N' (OTP 23)."""

MANDATORY_25 = 0x4000000
"""Shorthand for every flag that OTP 25 requires."""

NAME_ME = 0x2_0000_0000
"""The node has no name yet: it sends its host, and asks for a name in the status (OTP 23)."""


class Framing(IntEnum):
    """Bytes of the length word: the kernel's inet_tcp_dist uses two, ssl's inet_tls_dist four."""

    TCP = 2
    TLS = 4


class Side(Enum):
    """Who speaks: the initiator of the link, or the acceptor."""

    NEAR = "near"
    FAR = "far"

    @property
    def other(self) -> Side:
        """The side across."""
        return Side.FAR if self is Side.NEAR else Side.NEAR


class StatusKind(StrEnum):
    """What B makes of A's name."""

    OK = "ok"
    OK_SIMULTANEOUS = "ok_simultaneous"
    NOK = "nok"
    NOT_ALLOWED = "not_allowed"
    ALIVE = "alive"
    NAMED = "named"


@dataclass(frozen=True, slots=True)
class Name:
    """A says who it is::

        'N'  flags:64  creation:32  name_length:16  name  trailing

    With NAME_ME among the flags, `name` is A's host alone and the creation 0.
    """

    flags: int
    creation: int
    name: str
    trailing: bytes = b""


@dataclass(frozen=True, slots=True)
class OldName:
    """A says who it is, to a B that may be older than OTP 23::

    'n'  version:16  flags:32  name
    """

    version: int
    flags: int
    name: str


@dataclass(frozen=True, slots=True)
class Status:
    """B lets A go on, or not::

        's'  text: ok, ok_simultaneous, nok, not_allowed, alive
        's'  'named:'  name_length:16  name (UTF-8)  creation:32  trailing

    `name` and `creation` are what A shall be called, and None unless the kind is NAMED.
    """

    kind: StatusKind
    name: str | None = None
    creation: int | None = None
    trailing: bytes = b""


@dataclass(frozen=True, slots=True)
class StatusReply:
    """A answers `alive`::

    's'  text: true, false

    True ends the older link that B holds; false gives this one up.
    """

    goes_on: bool


@dataclass(frozen=True, slots=True)
class Challenge:
    """B says who it is, and asks for a proof of the cookie::

    'N'  flags:64  challenge:32  creation:32  name_length:16  name  trailing
    """

    flags: int
    challenge: int
    creation: int
    name: str
    trailing: bytes = b""


@dataclass(frozen=True, slots=True)
class OldChallenge:
    """The same from a B older than OTP 23::

    'n'  version:16  flags:32  challenge:32  name
    """

    version: int
    flags: int
    challenge: int
    name: str


@dataclass(frozen=True, slots=True)
class Complement:
    """A adds what its old name message had no room for::

    'c'  flags_high:32  creation:32
    """

    flags_high: int
    creation: int


@dataclass(frozen=True, slots=True)
class Reply:
    """A proves that it knows the cookie, and asks the same of B::

    'r'  challenge:32  digest:16 bytes
    """

    challenge: int
    digest: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ack:
    """B proves that it knows the cookie; the link is up::

    'a'  digest:16 bytes
    """

    digest: bytes = field(repr=False)


Message = Name | OldName | Status | StatusReply | Challenge | OldChallenge | Complement | Reply | Ack
"""Whatever either side can say."""

_NEVER_IN_A_NAME = re.compile(r"[\x00-\x20\x7f]")


def is_name(name: str, *, asks_for_name: bool = False) -> bool:
    """Whether a node takes this for a node's name: `ALIVE@HOST`, neither empty, one `@`, no blanks.

    :param asks_for_name: NAME_ME was among the flags, so it has to be a host alone.
    """
    if _NEVER_IN_A_NAME.search(name):
        return False
    alive, at, host = name.partition("@")
    if asks_for_name:
        return bool(alive) and not at
    return bool(alive and host) and "@" not in host
