"""The same bytes to the C epmd and to ours: the same reply, and open or closed the same way.

Creations are masked, ports and descriptor numbers in listings too. What differs on purpose stands in
`OURS`, each with its reason.
"""

import re
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest

from tests.support.deadline import eventually
from tests.support.epmd_client import Registration, alive2, ask, connect, framed, read_to_end
from tests.support.servers import Kind, Server, running

pytestmark = pytest.mark.interop

HELD = {"first": 40001, "second": 40002}
"""Registered all the time, in this order."""

LONGEST = 3057
"""The longest payload that the C epmd reads."""


@dataclass(frozen=True)
class Case:
    """Bytes to send, and how the exchange goes on.

    pieces: written one by one. half_close: end our sending side then. stays: the reply is an ALIVE2 reply
    after which the connection stays open; otherwise the server closes.
    """

    name: str
    pieces: list[bytes] = field(repr=False)
    half_close: bool = False
    stays: bool = False


def one(name: str, wire: bytes, *, half_close: bool = False) -> Case:
    return Case(name, [wire], half_close)


def alive(name: str, wire: bytes) -> Case:
    return Case(name, [wire], stays=True)


def alive2_lying(
    name: bytes, *, nlen: int | None = None, elen: int | None = None, extra: bytes = b""
) -> bytes:
    """Make an ALIVE2 request whose inner lengths may lie, framed."""
    head = struct.pack(">cHBBHHH", b"x", 40009, 77, 0, 6, 5, len(name) if nlen is None else nlen)
    return framed(head + name + struct.pack(">H", len(extra) if elen is None else elen) + extra)


def byte_by_byte(wire: bytes) -> list[bytes]:
    return [wire[at : at + 1] for at in range(len(wire))]


FOUR_BYTES = "\U0001f300"

CASES = [
    one("names", framed(b"n")),
    Case("names, byte by byte", byte_by_byte(framed(b"n"))),
    one("names, half-closed", framed(b"n"), half_close=True),
    one("names with a payload", framed(b"nfirst")),
    one("names of the greatest length", framed(b"n" * LONGEST)),
    one("names, a byte too long", framed(b"n" * (LONGEST + 1))),
    one("names and a byte after it", framed(b"n") + b"n"),
    one("names twice", framed(b"n") * 2),
    one("lookup, known", framed(b"zfirst")),
    Case("lookup, byte by byte", byte_by_byte(framed(b"zsecond"))),
    one("lookup, half-closed", framed(b"zfirst"), half_close=True),
    one("lookup, unknown", framed(b"znobody")),
    one("lookup, one NUL at the end", framed(b"zfirst\0")),
    one("lookup, two NULs at the end", framed(b"zfirst\0\0")),
    one("lookup, NUL and more", framed(b"zfirst\0more")),
    one("lookup, only a NUL", framed(b"z\0")),
    one("lookup, empty", framed(b"z")),
    one("lookup, beginning of a name", framed(b"zfirs")),
    one("lookup, other case", framed(b"zFIRST")),
    one("lookup, not UTF-8", framed(b"z\xff\xfe")),
    one("lookup, overlong UTF-8", framed(b"z\xc0\xaf")),
    one("lookup, 256 characters", framed(b"z" + b"a" * 256)),
    one("lookup of the greatest length", framed(b"z" + b"a" * (LONGEST - 1))),
    one("dump", framed(b"d")),
    one("dump with a payload", framed(b"dump")),
    one("kill with nodes alive", framed(b"k")),
    one("kill with a payload", framed(b"kill")),
    one("stop, not relaxed", framed(b"sfirst")),
    one("stop of nothing, not relaxed", framed(b"s")),
    one("the old alive", framed(b"a\x9c\x41old")),
    one("the old port please", framed(b"pfirst")),
    one("nothing at all", b"", half_close=True),
    one("half a length", b"\0", half_close=True),
    one("a length only", b"\0\x05", half_close=True),
    one("a request cut short", framed(b"zfirst")[:-1], half_close=True),
    one("length 0", b"\0\0"),
    one("length 0 and a request", b"\0\0n"),
    one("length 65535", b"\xff\xffn"),
    alive("alive", alive2("new", 40003)),
    Case("alive, byte by byte", byte_by_byte(alive2("new", 40003)), stays=True),
    alive("alive, high 5", alive2("new", 40003, high=5)),
    alive("alive, high 0", alive2("new", 40003, high=0, low=0)),
    alive("alive, high 65535", alive2("new", 40003, high=65535)),
    alive("alive, low above high", alive2("new", 40003, high=6, low=7)),
    alive("alive, hidden", alive2("new", 40003, kind=72)),
    alive("alive, type 0", alive2("new", 40003, kind=0)),
    alive("alive, port 0", alive2("new", 0)),
    alive("alive, extra", alive2("new", 40003, extra=b"\0extra\xff")),
    alive("alive, longest extra", alive2("new", 40003, extra=b"e" * 1020)),
    alive("alive, extra too long", alive2("new", 40003, extra=b"e" * 1021)),
    alive("alive, bytes after extra", framed(alive2("new", 40003)[2:] + b"more")),
    alive("alive, one character", alive2("n", 40003)),
    alive("alive, spaces and @", alive2("a name@host", 40003)),
    alive("alive, not ASCII", alive2("имя", 40003)),
    alive("alive, 254 characters", alive2("n" * 254, 40003)),
    alive("alive, 256 characters", alive2("n" * 256, 40003)),
    alive("alive, 254 characters of 4 bytes", alive2(FOUR_BYTES * 254, 40003)),
    alive("alive, 256 characters of 4 bytes", alive2(FOUR_BYTES * 256, 40003)),
    alive("alive, not UTF-8", alive2(b"\xff\xfe", 40003)),
    alive("alive, a surrogate", alive2(b"\xed\xa0\x80", 40003)),
    alive("alive, taken", alive2("first", 40003)),
    alive("alive, taken, high 5", alive2("first", 40003, high=5)),
    alive("alive, a control character", alive2("a\x01b", 40003)),
    alive("alive, a newline", alive2("a\nname b at port 1", 40003)),
    alive("alive, 255 characters", alive2("n" * 255, 40003)),
    one("alive, half-closed", alive2("new", 40003), half_close=True),
    one("alive, a byte after it", alive2("new", 40003) + b"!"),
    one("alive, empty name", alive2("", 40003)),
    alive("alive, empty name and extra", alive2("", 40003, extra=b"extra")),
    one("alive, NUL in the name", alive2("ne\0w", 40003)),
    one("alive, NUL after the name", alive2("new\0", 40003)),
    one("alive, name past the payload", alive2_lying(b"new", nlen=4)),
    one("alive, name far past the payload", alive2_lying(b"new", nlen=65535)),
    one("alive, extra past the payload", alive2_lying(b"new", elen=1)),
    one("alive, extra far past the payload", alive2_lying(b"new", elen=65535, extra=b"e")),
    one("alive, 13 bytes", framed(alive2("new", 40003)[2:15])),
    one("alive, no extra length", framed(alive2("new", 40003)[2:-2])),
    one("alive, only the opcode", framed(b"x")),
]


@dataclass(frozen=True)
class Outcome:
    """What can be seen from outside, masked.

    reply: what came back. stays: the connection is open after it. listed, found: after an ALIVE2 request
    what NAMES and a lookup of its name say.
    """

    reply: bytes
    stays: bool = False
    listed: bytes = b""
    found: bytes = b""


def exchange(server: Server, case: Case) -> Outcome:
    """Send a case's bytes and collect what comes of it."""
    with connect(server.port) as sock:
        for piece in case.pieces:
            sock.sendall(piece)
        if case.half_close:
            sock.shutdown(socket.SHUT_WR)
        if not case.stays:
            return Outcome(masked(case, read_to_end(sock)))
        reply = read_alive2_reply(sock)
        listed, found = ask(server.port, b"n"), ask(server.port, b"z" + alive_name(case))
        # Both answers came after the reply: a server that meant to close has done so by now.
        return Outcome(masked(case, reply), is_open(sock), listed[4:], found)


def is_open(sock: socket.socket) -> bool:
    """Tell whether the other side has not closed, all that it sent having been read."""
    sock.setblocking(False)
    try:
        return bool(sock.recv(1))
    except BlockingIOError:
        return True


def read_alive2_reply(sock: socket.socket) -> bytes:
    """Read a whole ALIVE2 reply, whose tag says how long it is; less when the server closes."""
    reply = sock.recv(1)
    rest = {b"v": 5, b"y": 3}.get(reply, 0)
    while rest and (part := sock.recv(rest)):
        reply += part
        rest -= len(part)
    return reply


def alive_name(case: Case) -> bytes:
    """The name in a case's well-formed ALIVE2 request."""
    wire = b"".join(case.pieces)
    return wire[13 : 13 + int.from_bytes(wire[11:13], "big")]


def masked(case: Case, reply: bytes) -> bytes:
    """Hide what differs from one server to the other by nature."""
    if reply[:2] in (b"v\0", b"y\0"):
        return reply[:2] + b"C" * len(reply[2:])
    opcode = b"".join(case.pieces)[2:3]
    if opcode in (b"n", b"d") and len(reply) >= 4:
        return b"PORT" + re.sub(rb"fd = \d+", b"fd = F", reply[4:])
    return reply


BASE = b"name second at port 40002\nname first at port 40001\n"
REFUSED = Outcome(b"v\x01\x00\x00\x00c", stays=True, listed=BASE, found=b"w\x01")

OURS: dict[str, tuple[str, Outcome]] = {
    "alive, a newline": ("could forge a line of NAMES: refused", REFUSED),
    "alive, a control character": ("could hide a line of NAMES: refused", REFUSED),
    "alive, spaces and @": ("could be read as another line of NAMES: refused", REFUSED),
    "alive, 255 characters": (
        "the C epmd registers it and never finds it",
        Outcome(
            b"v\x00CCCC",
            stays=True,
            listed=b"name " + b"n" * 255 + b" at port 40003\n" + BASE,
            found=b"w\x00\x9cCM\x00\x00\x06\x00\x05\x00\xff" + b"n" * 255 + b"\x00\x00",
        ),
    ),
    "alive, empty name and extra": (
        "the C epmd registers nobody's name when an extra follows, and never finds it",
        Outcome(b"", stays=False, listed=BASE, found=b""),
    ),
}
"""What ours answers otherwise, and why."""


@pytest.fixture(scope="module")
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[Server, Server]]:
    """The C epmd and ours (with --reference: the C epmd twice), the names of HELD registered at both."""
    with ExitStack() as stack:
        servers = (stack.enter_context(running("c")), stack.enter_context(running(our_kind(request.config))))
        for server in servers:
            for name, port in HELD.items():
                stack.enter_context(Registration(server.port, name, port))
        yield servers


def our_kind(config: pytest.Config) -> Kind:
    return "c" if config.getoption("--reference") else "epmd"


def settled(server: Server) -> None:
    """Wait until the server has noticed the end of what the test before registered."""
    eventually(lambda: ask(server.port, b"n")[4:] == BASE, within=5, what="just the names that are held")


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_one_exchange(pair: tuple[Server, Server], case: Case) -> None:
    for server in pair:
        settled(server)
    theirs, ours = (exchange(server, case) for server in pair)
    if case.name in OURS and pair[1].kind != "c":
        reason, expected = OURS[case.name]
        assert ours == expected, reason
        assert theirs != expected, "the reference does the same: no difference to list"
    else:
        assert ours == theirs


@pytest.mark.parametrize("which", [0, 1], ids=["reference", "ours"])
def test_opcodes_that_mean_nothing(pair: tuple[Server, Server], which: int) -> None:
    server = pair[which]
    for opcode in set(range(256)) - set(b"xzndks"):
        assert ask(server.port, bytes([opcode])) == b""
        assert ask(server.port, bytes([opcode]) + b"first") == b""


def test_the_differences_are_of_cases_that_exist() -> None:
    assert set(OURS) <= {case.name for case in CASES}
