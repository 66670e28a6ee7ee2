"""Requests whole, cut, dripped, and with every length field wrong: the reference's reply, or a close."""

import contextlib
import socket
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.epmd_client import Registration, alive2, ask, connect, framed, names, read_to_end
from tests.support.servers import Server, running

MISS = b"w\x01"
LENGTHS = (0, 1, 3056, 3057, 3058, 65535)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running("serve") as server, Registration(server.port, "here", 7001):
        yield server
        assert names(server.port) == {"here": 7001}
        assert not server.program.ended
        assert "Traceback" not in server.program.stderr
        assert "internal error" not in server.program.stderr


def requests(port: int) -> dict[str, tuple[bytes, bytes | None]]:
    """Each request with its reply; None where the reply differs from call to call."""
    found = b"w\0" + alive2("here", 7001)[3:]
    listing = struct.pack(">I", port) + b"name here at port 7001\n"
    return {
        "hit": (framed(b"zhere"), found),
        "miss": (framed(b"znobody"), MISS),
        "names": (framed(b"n"), listing),
        "dump": (framed(b"d"), None),
        "kill": (framed(b"k"), b"NO"),
        "stop": (framed(b"shere"), b""),
        "duplicate": (alive2("here", 7002), b"v\x01\0\0\0\x63"),
        "old duplicate": (alive2("here", 7002, high=5), b"y\x01\0\x63"),
    }


def send(server: Server, *pieces: bytes) -> bytes:
    """Send pieces, half-close, and read to the end."""
    with connect(server.port) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                sock.sendall(piece)
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_WR)
        return read_to_end(sock)


@pytest.mark.parametrize("which", list(requests(0)))
def test_whole_and_byte_by_byte(server: Server, which: str) -> None:
    request, reply = requests(server.port)[which]
    whole = send(server, request)
    dripped = send(server, *(bytes([byte]) for byte in request))
    assert whole == dripped
    if reply is not None:
        assert whole == reply


@pytest.mark.parametrize("which", list(requests(0)))
def test_cut_at_every_byte_is_closed_without_a_reply(server: Server, which: str) -> None:
    request, _ = requests(server.port)[which]
    for length in range(len(request)):
        assert send(server, request[:length]) == b""


@pytest.mark.parametrize("which", list(requests(0)))
def test_rubbish_behind_a_request_in_the_same_read_is_closed_without_a_reply(
    server: Server, which: str
) -> None:
    request, _ = requests(server.port)[which]
    assert send(server, request + b"!") == b""
    assert send(server, request + request) == b""


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("which", list(requests(0)))
def test_every_length_of_the_request(server: Server, which: str, length: int) -> None:
    request, reply = requests(server.port)[which]
    body = request[2:]
    if length == 1 and body[:1] in b"ndk":
        assert reply is None or send(server, struct.pack(">H", 1) + body) == reply
    else:
        assert send(server, struct.pack(">H", length) + body) == b""


@pytest.mark.parametrize("length", [0, 1, 1019, 1020, 1021, 65535])
@pytest.mark.parametrize("offset", [9 + 2, 11 + 4 + 2])
def test_every_length_inside_alive2(server: Server, offset: int, length: int) -> None:
    request = bytearray(alive2("here", 7002))
    request[offset : offset + 2] = struct.pack(">H", length)
    reply = send(server, bytes(request))
    assert reply in (b"", b"v\x01\0\0\0\x63") or reply.startswith(b"v\0")


def test_a_lookup_with_a_trailing_nul_is_answered(server: Server) -> None:
    assert ask(server.port, b"zhere\0")[:4] == b"w\0" + struct.pack(">H", 7001)


@pytest.mark.parametrize(
    "body", [b"z", b"z\0", b"za\0b", b"z\xff\xfe", b"z" + b"a" * 256, b"q", b"\0", b"\xff"]
)
def test_what_cannot_be_a_request_is_closed_without_a_reply(server: Server, body: bytes) -> None:
    assert ask(server.port, body) == b""


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=80), cut=st.integers(0, 80))
def test_no_bytes_upset_the_server(server: Server, data: bytes, cut: int) -> None:
    if data[2:3] in (b"x", b"k"):
        data = data[:2] + b"z" + data[3:]
    send(server, data[:cut], data[cut:])
    assert ask(server.port, b"zhere")[:2] == b"w\0"
