"""What the server must survive: each of these stops, misleads or ends the C epmd."""

import contextlib
import re
import signal
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.deadline import eventually
from tests.support.epmd_client import (
    NAMES,
    RefusedError,
    Registration,
    alive2,
    ask,
    connect,
    framed,
    lookup,
    names,
    read_to_end,
)
from tests.support.ports import free_port
from tests.support.process import Program
from tests.support.servers import OUR_EPMD, OUR_SERVE, Server, running, wait_ready
from tests.support.tools import clean_env

DESCRIPTORS = 1024
SILENT = 5000


@pytest.fixture
def server() -> Iterator[Server]:
    with running("serve") as server:
        yield server


@contextlib.contextmanager
def few_descriptors(*flags: str) -> Iterator[Server]:
    """A server under ``ulimit -n 1024``, hard limit included."""
    port = free_port()
    argv = [
        "sh",
        "-c",
        f'ulimit -n {DESCRIPTORS} && exec "$@"',
        "sh",
        *OUR_SERVE,
        "--port",
        str(port),
        *flags,
    ]
    with Program(argv, env=clean_env()) as program:
        wait_ready(program, port)
        yield Server("serve", port, program)


def cpu_ticks(pid: int) -> int:
    """Clock ticks, 100 a second, that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def reset(sock: socket.socket) -> None:
    """Close with RST instead of FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def drop_quietly(connections: list[socket.socket]) -> None:
    for connection in connections:
        connection.close()


def test_five_thousand_silent_connections_at_1024_descriptors() -> None:
    with few_descriptors() as server, Registration(server.port, "before", 7001):
        silent: list[socket.socket] = []
        try:
            silent += (connect(server.port) for _ in range(SILENT))
            with Registration(server.port, "during", 7002):
                for alive, port in (("before", 7001), ("during", 7002), ("app-9001", 9001)):
                    node = lookup(server.port, alive)
                    assert node is not None
                    assert node.port == port
                assert set(names(server.port)) == {"before", "during"}
            assert not server.program.ended
            assert len(list(Path(f"/proc/{server.program.pid}/fd").iterdir())) < DESCRIPTORS
        finally:
            drop_quietly(silent)


def test_silent_connections_do_not_make_it_spin() -> None:
    with few_descriptors() as server:
        silent = [connect(server.port) for _ in range(DESCRIPTORS + 200)]
        try:
            assert lookup(server.port, "nobody") is None
            before = cpu_ticks(server.program.pid)
            silent[-1].settimeout(1.0)
            with pytest.raises(TimeoutError):
                silent[-1].recv(1)
            assert cpu_ticks(server.program.pid) - before < 50
        finally:
            drop_quietly(silent)


def test_registrations_leave_descriptors_for_lookups() -> None:
    with few_descriptors() as server, contextlib.ExitStack() as held:
        granted = 0
        with contextlib.suppress(RefusedError):
            for number in range(DESCRIPTORS):
                held.enter_context(Registration(server.port, f"n{number}", 7000))
                granted += 1
        assert DESCRIPTORS // 2 < granted < DESCRIPTORS
        crowd = [connect(server.port) for _ in range(200)]
        try:
            node = lookup(server.port, "n0")
            assert node is not None
            assert len(names(server.port)) == granted
        finally:
            drop_quietly(crowd)


def test_a_client_that_does_not_read_names_delays_nobody(server: Server) -> None:
    with contextlib.ExitStack() as held:
        for number in range(900):
            held.enter_context(Registration(server.port, f"{number:04}" + "x" * 251, 7000 + number))
        greedy = []
        for _ in range(20):
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.settimeout(10)
            sock.connect(("127.0.0.1", server.port))
            sock.sendall(framed(NAMES))
            greedy.append(held.enter_context(sock))
        node = lookup(server.port, "0007" + "x" * 251)
        assert node is not None
        assert node.port == 7007
        held.enter_context(Registration(server.port, "another", 8000))
        assert len(read_to_end(greedy[0])) == 4 + 900 * len(f"name {'x' * 255} at port 7000\n")


def test_a_duplicate_that_resets_leaves_the_live_node_registered() -> None:
    port = free_port()
    with Program([*OUR_EPMD, "-port", str(port), "-delay_write", "1"], env=clean_env()) as program:
        wait_ready(program, port)
        with Registration(port, "live", 7001):
            duplicate = connect(port)
            duplicate.sendall(alive2("live", 7002))
            reset(duplicate)
            node = lookup(port, "live")
            assert node is not None
            assert node.port == 7001
            assert names(port) == {"live": 7001}


def test_a_duplicate_is_refused_and_the_holder_stays(server: Server) -> None:
    with Registration(server.port, "live", 7001):
        with pytest.raises(RefusedError):
            Registration(server.port, "live", 7002)
        assert names(server.port) == {"live": 7001}


def test_closing_and_registering_again_at_once_is_never_refused(server: Server) -> None:
    creations = []
    for _ in range(1000):
        with Registration(server.port, "again", 7001) as registration:
            creations.append(registration.creation)
    assert creations == list(range(creations[0], creations[0] + 1000))


def test_a_refused_duplicate_stays_open_until_its_client_closes(server: Server) -> None:
    with Registration(server.port, "live", 7001), connect(server.port) as duplicate:
        duplicate.sendall(alive2("live", 7002))
        assert duplicate.recv(100) == b"v\x01\x00\x00\x00\x63"
        duplicate.settimeout(0.3)
        with pytest.raises(TimeoutError):
            duplicate.recv(1)


@pytest.mark.parametrize("byte", [b"\0", b"\x01", framed(NAMES)])
def test_any_byte_ends_a_registration(server: Server, byte: bytes) -> None:
    registration = Registration(server.port, "talker", 7001)
    registration.socket.sendall(byte)
    assert read_to_end(registration.socket) == b""
    registration.close()
    assert names(server.port) == {}


def test_a_reset_ends_a_registration(server: Server) -> None:
    registration = Registration(server.port, "gone", 7001)
    reset(registration.socket)
    eventually(lambda: names(server.port) == {}, within=5, what="the name's end")


@pytest.mark.parametrize(
    "alive",
    [
        "at@sign",
        "ünïcödé",
        "a" * 255,
        "𐍈" * 255,
        "dots.and-dashes_9",
        "name",
        "at port 5".replace(" ", "\xb7"),
    ],
)
def test_what_registers_can_be_found_again(server: Server, alive: str) -> None:
    with Registration(server.port, alive, 7001):
        node = lookup(server.port, alive)
        assert node is not None
        assert (node.alive, node.port) == (alive, 7001)
        assert names(server.port) == {alive: 7001}


@pytest.mark.parametrize(
    "alive",
    [
        "a\nname forged at port 1",
        "a at port 1",
        "tab\there",
        "\x1b[31mred",
        "line\u2028end",
        "\x85",
        "a" * 256,
    ],
)
def test_a_name_that_could_forge_a_line_of_names_is_refused(server: Server, alive: str) -> None:
    with pytest.raises(RefusedError):
        Registration(server.port, alive, 7001)
    assert ask(server.port, NAMES) == struct.pack(">I", server.port)


def test_names_survive_everything_a_stranger_sends(server: Server) -> None:
    rubbish = [
        b"",
        b"\0",
        b"\0\0",
        b"\xff\xff" + b"x" * 5000,
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01" * 100,
    ]
    with Registration(server.port, "steady", 7001):
        for data in rubbish:
            with connect(server.port) as sock:
                sock.sendall(data)
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_WR)
                assert read_to_end(sock) == b""
        assert names(server.port) == {"steady": 7001}
    assert "Traceback" not in server.program.stderr


def test_one_line_for_rubbish_and_never_a_flood(server: Server) -> None:
    for _ in range(1000):
        with connect(server.port) as sock:
            sock.sendall(b"\0\0")
            assert read_to_end(sock) == b""
    lines = re.findall("malformed request", server.program.stderr)
    assert 1 <= len(lines) < 400


def test_many_half_requests_hold_little_memory(server: Server) -> None:
    half = framed(b"z" + b"n" * 3000)[:-1]
    held = []
    try:
        assert lookup(server.port, "warm") is None
        before = rss(server.program.pid)
        for _ in range(2000):
            sock = connect(server.port)
            sock.sendall(half)
            held.append(sock)
        assert lookup(server.port, "app-9001") is not None
        assert rss(server.program.pid) - before < 2000 * 6000
    finally:
        drop_quietly(held)


def rss(pid: int) -> int:
    """Bytes of resident memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def test_the_silent_are_closed_on_time_and_the_slow_are_served() -> None:
    port = free_port()
    with Program([*OUR_EPMD, "-port", str(port), "-packet_timeout", "1"], env=clean_env()) as program:
        wait_ready(program, port)
        with connect(port) as silent, connect(port) as slow:
            silent.settimeout(10)
            for byte in framed(b"zab-9001"):
                slow.sendall(bytes([byte]))
                with contextlib.suppress(TimeoutError):
                    silent.settimeout(0.9)
                    assert silent.recv(1) == b""
            assert read_to_end(slow)[:4] == b"w\0\x23\x29"
            assert silent.recv(1) == b""


def test_a_killed_server_leaves_its_port_to_the_next() -> None:
    with running("serve") as first:
        port = first.port
        with Registration(port, "node", 7001):
            first.program.signal(signal.SIGKILL)
            first.program.wait(5)
            with running("serve", port=port):
                assert names(port) == {}
