"""The process: start, signals, reload, sockets that systemd hands over, and what it refuses to start with."""

import contextlib
import http.client
import json
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.deadline import eventually
from tests.support.epmd_client import Registration, connect, framed, lookup, names, read_to_end
from tests.support.ports import closed_port, free_port
from tests.support.process import Program, run
from tests.support.scripted_dns import ScriptedDns, silence
from tests.support.servers import OUR_EPMD, OUR_SERVE, Server, answers, running
from tests.support.tools import clean_env, require


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def events(program: Program, kind: str) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in program.stderr.splitlines()]
    return [line for line in lines if line["event"] == kind]


def wait_for(program: Program, kind: str, count: int = 1) -> dict[str, object]:
    eventually(lambda: len(events(program, kind)) >= count, within=10, what=f"a line {kind!r}")
    return events(program, kind)[-1]


@contextlib.contextmanager
def configured(path: Path, port: int) -> Iterator[Server]:
    """A server whose configuration file says where it listens."""
    with Program([*OUR_SERVE, "--config", path], env=clean_env()) as program:
        eventually(lambda: answers(port) or program.ended, within=10, what=program.report)
        assert not program.ended, program.report()
        yield Server("serve", port, program)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_cleanly(number: signal.Signals) -> None:
    with running("serve") as server, Registration(server.port, "a", 7001) as registration:
        server.program.signal(number)
        assert server.program.wait(5) == 0
        assert registration.socket.recv(1) == b""
        assert wait_for(server.program, "stopping")["signal"] == number.name
        assert server.program.stdout == ""


def test_it_says_where_it_listens_and_whom_it_asks() -> None:
    with running("serve") as server:
        line = wait_for(server.program, "started")
        assert line["listen"] == [f"0.0.0.0:{server.port}", f"[::]:{server.port}"]
        assert line["chain"] == ["registered", "scheme"]


def test_verbose_logs_each_lookup() -> None:
    with running("serve", "-v") as server:
        lookup(server.port, "app-9001")
        line = wait_for(server.program, "lookup")
        assert (line["name"], line["resolver"], line["port"]) == ("app-9001", "scheme", 9001)


def test_port_0_is_one_port_on_all_addresses() -> None:
    with Program([*OUR_SERVE, "--port", "0", "--address", "127.0.0.1,::1"], env=clean_env()) as program:
        listen = wait_for(program, "started")["listen"]
        assert isinstance(listen, list)
        ports = {re.sub(r".*:", "", address) for address in listen}
        assert len(listen) == 2
        assert len(ports) == 1
        assert names(int(ports.pop()), "::1") == {}


def test_a_port_in_use_is_one_clear_error_and_status_1() -> None:
    with closed_port() as port:
        finished = run([*OUR_SERVE, "--port", str(port)], env=clean_env())
    assert finished.status == 1
    assert finished.stderr == f"epmdless: cannot listen on 0.0.0.0:{port}: Address already in use\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[epmd]\nlisten = 4369\n", "epmd.listen: expected"),
        ("[epmd]\nlissten = []\n", "epmd.lissten: unknown key; allowed: listen, "),
        ('[resolve]\nchain = ["dns"]\n', "allowed: peers, registered, scheme, srv, static"),
        ("[epmd]\nlisten = []\n", "epmd.listen: empty, and nothing else is to be served"),
        ("[epmd\n", "not valid TOML"),
        (
            '[epmd]\nlisten = ["127.0.0.1:0"]\n[resolve]\nchain = ["srv"]\n',
            'chain names "srv", which needs a [resolve.srv] table',
        ),
    ],
)
def test_a_bad_file_is_one_clear_error_and_status_2(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path / "bad.toml", text)
    finished = run([*OUR_SERVE, "--config", path], env=clean_env())
    assert finished.status == 2
    assert finished.stderr.count("\n") == 1
    assert finished.stderr.startswith(f"epmdless: {path}: ")
    assert said in finished.stderr


def test_to_epmds_command_line_a_bad_file_is_the_same_error_and_epmds_status(tmp_path: Path) -> None:
    path = write(tmp_path / "bad.toml", "[epmd]\nlissten = []\n")
    argv = [*OUR_EPMD, "-port", str(free_port()), "-address", "127.0.0.1"]
    finished = run(argv, env=clean_env(EPMDLESS_CONFIG=str(path)))
    assert finished.status == 1
    assert finished.stderr.startswith(f"epmdless: {path}: epmd.lissten: unknown key")


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"ERL_EPMD_PORT": "70000"}, "ERL_EPMD_PORT: '70000' is not a port"),
        ({"ERL_EPMD_ADDRESS": "127.0.0.1,here"}, "ERL_EPMD_ADDRESS: 'here' is not ADDRESS"),
        ({"EPMDLESS_CONFIG": "/nowhere/at/all.toml"}, "/nowhere/at/all.toml: No such file or directory"),
    ],
)
def test_a_bad_environment_is_one_clear_error_and_status_2(env: dict[str, str], said: str) -> None:
    finished = run(OUR_SERVE, env=clean_env(**env))
    assert finished.status == 2
    assert said in finished.stderr


def test_the_environment_moves_it_as_it_moves_epmd() -> None:
    port = free_port()
    env = clean_env(ERL_EPMD_PORT=str(port), ERL_EPMD_ADDRESS="127.0.0.2", ERL_EPMD_RELAXED_COMMAND_CHECK="")
    with Program(OUR_SERVE, env=env) as program:
        assert wait_for(program, "started")["listen"] == [
            f"127.0.0.2:{port}",
            f"127.0.0.1:{port}",
            f"[::1]:{port}",
        ]
        with Registration(port, "a", 7001), connect(port) as sock:
            sock.sendall(framed(b"k"))
            assert read_to_end(sock) == b"OK"
        assert program.wait(5) == 0


def test_reload_changes_answers_and_addresses_and_keeps_registrations(tmp_path: Path) -> None:
    old, new = free_port(), free_port()
    path = write(tmp_path / "e.toml", f'[epmd]\nlisten = ["127.0.0.1:{old}"]\n')
    with configured(path, old) as server, Registration(old, "a", 7001):
        assert lookup(old, "couchdb") is None
        write(
            path,
            f'[epmd]\nlisten = ["127.0.0.1:{new}"]\n'
            '[resolve]\nchain = ["registered", "static"]\n[resolve.static]\ncouchdb = 9100\n',
        )
        server.program.signal(signal.SIGHUP)
        wait_for(server.program, "configuration reloaded")
        node = lookup(new, "couchdb")
        assert node is not None
        assert node.port == 9100
        assert names(new) == {"a": 7001}
        assert lookup(new, "app-9001") is None
        assert not answers(old)


def test_a_reload_to_nothing_at_all_leaves_the_running_configuration(tmp_path: Path) -> None:
    port, metrics_port = free_port(), free_port()
    tables = f'[epmd]\nlisten = ["127.0.0.1:{port}"]\n[metrics]\nlisten = "127.0.0.1:{metrics_port}"\n'
    path = write(tmp_path / "e.toml", tables)
    with configured(path, port) as server:
        write(path, "[epmd]\nlisten = []\n")
        server.program.signal(signal.SIGHUP)
        wait_for(server.program, "configuration not reloaded")
        assert names(port) == {}
        assert get(metrics_port, "/readyz")[0] == 200


@pytest.mark.parametrize("text", ["[epmd]\nlisten = 1\n", "[epmd", "[resolve]\nchain = ['srv']\n", None])
def test_a_broken_file_leaves_the_running_configuration(tmp_path: Path, text: str | None) -> None:
    port = free_port()
    path = write(tmp_path / "e.toml", f'[epmd]\nlisten = ["127.0.0.1:{port}"]\n')
    with configured(path, port) as server, Registration(port, "a", 7001):
        if text is None:
            path.unlink()
        else:
            path.write_text(text)
        server.program.signal(signal.SIGHUP)
        assert str(path) in str(wait_for(server.program, "configuration not reloaded")["error"])
        assert names(port) == {"a": 7001}
        assert len(events(server.program, "configuration not reloaded")) == 1


@pytest.mark.parametrize(("first", "then"), [("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "0.0.0.0")])
def test_reload_narrows_and_widens_on_the_same_port(tmp_path: Path, first: str, then: str) -> None:
    """The one address holds the port against the other, so it must make way first."""
    port = free_port()
    path = write(tmp_path / "e.toml", f'[epmd]\nlisten = ["{first}:{port}"]\n')
    with configured(path, port) as server, Registration(port, "a", 7001):
        for address in (then, first, then):
            write(path, f'[epmd]\nlisten = ["{address}:{port}"]\n')
            before = len(events(server.program, "configuration reloaded"))
            server.program.signal(signal.SIGHUP)
            line = wait_for(server.program, "configuration reloaded", before + 1)
            assert line["listen"] == [f"{address}:{port}"]
            assert names(port) == {"a": 7001}
        with pytest.raises(ConnectionRefusedError) if then == "127.0.0.1" else contextlib.nullcontext():
            assert names(port, "127.0.0.2") == {"a": 7001}


def test_an_address_in_the_way_and_one_that_cannot_be_had_leave_all_as_it_was(tmp_path: Path) -> None:
    port = free_port()
    path = write(tmp_path / "e.toml", f'[epmd]\nlisten = ["0.0.0.0:{port}"]\n')
    with configured(path, port) as server, closed_port() as taken:
        write(path, f'[epmd]\nlisten = ["127.0.0.1:{port}", "127.0.0.1:{taken}"]\n')
        server.program.signal(signal.SIGHUP)
        wait_for(server.program, "configuration not reloaded")
        assert names(port, "127.0.0.2") == {}


def test_the_epmd_server_can_come_later(tmp_path: Path) -> None:
    port, metrics_port = free_port(), free_port()
    status = f'[metrics]\nlisten = "127.0.0.1:{metrics_port}"\n'
    path = write(tmp_path / "e.toml", f"[epmd]\nlisten = []\n{status}")
    with Program([*OUR_SERVE, "--config", path], env=clean_env()) as program:
        wait_for(program, "started")
        assert not answers(port)
        write(path, f'[epmd]\nlisten = ["127.0.0.1:{port}"]\n{status}')
        program.signal(signal.SIGHUP)
        wait_for(program, "configuration reloaded")
        assert names(port) == {}


def test_metrics_that_cannot_be_served_leave_the_running_configuration(tmp_path: Path) -> None:
    port = free_port()
    path = write(tmp_path / "e.toml", f'[epmd]\nlisten = ["127.0.0.1:{port}"]\n')
    with configured(path, port) as server, closed_port() as taken:
        write(path, f'[epmd]\nlisten = ["127.0.0.1:{port}"]\n[metrics]\nlisten = "127.0.0.1:{taken}"\n')
        server.program.signal(signal.SIGHUP)
        line = wait_for(server.program, "configuration not reloaded")
        assert line["error"] == f"cannot listen on 127.0.0.1:{taken}: Address already in use"


def test_an_address_that_cannot_be_had_leaves_the_running_configuration(tmp_path: Path) -> None:
    port = free_port()
    path = write(tmp_path / "e.toml", f'[epmd]\nlisten = ["127.0.0.1:{port}"]\n')
    with configured(path, port) as server, closed_port() as taken:
        write(path, f'[epmd]\nlisten = ["127.0.0.1:{port}", "127.0.0.1:{taken}"]\n')
        server.program.signal(signal.SIGHUP)
        line = wait_for(server.program, "configuration not reloaded")
        assert line["error"] == f"cannot listen on 127.0.0.1:{taken}: Address already in use"
        assert names(port) == {}


def get(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.closing(connection):
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()


def test_metrics_and_health_come_and_go_with_the_configuration(tmp_path: Path) -> None:
    port, metrics_port = free_port(), free_port()
    plain = f'[epmd]\nlisten = ["127.0.0.1:{port}"]\n'
    path = write(tmp_path / "e.toml", f'{plain}[metrics]\nlisten = "127.0.0.1:{metrics_port}"\n')
    with configured(path, port) as server, Registration(port, "a", 7001):
        lookup(port, "a")
        lookup(port, "nobody")
        status, text = get(metrics_port, "/metrics")
        assert status == 200
        assert 'epmdless_lookups_total{outcome="found",resolver="registered"} 1.0' in text
        assert 'epmdless_lookups_total{outcome="missing",resolver="none"} 1.0' in text
        assert "epmdless_registered_nodes 1.0" in text
        assert get(metrics_port, "/healthz") == (200, "ok\n")
        assert get(metrics_port, "/readyz") == (200, "ready\n")
        silent = connect(metrics_port)
        write(path, plain)
        server.program.signal(signal.SIGHUP)
        wait_for(server.program, "configuration reloaded")
        assert silent.recv(1) == b""
        silent.close()
        with pytest.raises(ConnectionRefusedError):
            get(metrics_port, "/healthz")
        assert names(port) == {"a": 7001}


def test_the_control_socket_moves_with_the_configuration(tmp_path: Path) -> None:
    port = free_port()
    epmd = f'epmd.listen = ["127.0.0.1:{port}"]\n'
    first, second = tmp_path / "first.sock", tmp_path / "second.sock"
    path = write(tmp_path / "e.toml", f'{epmd}control.socket = "{first}"\n')
    with configured(path, port) as server:
        wait_for(server.program, "control socket")
        for wanted, other in ((second, first), (first, second)):
            write(path, f'{epmd}control.socket = "{wanted}"\n')
            server.program.signal(signal.SIGHUP)
            eventually(
                lambda: wanted.exists() and not other.exists(),  # noqa: B023 - called at once
                within=5,
                what="the move",
            )
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(5)
                client.connect(str(wanted))
                client.sendall(b"GET /links HTTP/1.1\r\nHost: x\r\n\r\n")
                assert client.recv(100).startswith(b"HTTP/1.1 200 ")
        write(path, f'{epmd}control.socket = "{tmp_path}/e.toml"\n')  # no socket: the old one stays
        server.program.signal(signal.SIGHUP)
        wait_for(server.program, "no control socket")
        assert first.exists()


def test_a_slow_dns_server_delays_only_those_who_need_it(tmp_path: Path) -> None:
    port = free_port()
    with ScriptedDns() as dns:
        dns.script_all(silence)
        path = write(
            tmp_path / "e.toml",
            f'[epmd]\nlisten = ["127.0.0.1:{port}"]\n'
            '[resolve]\nchain = ["registered", "scheme", "srv"]\n'
            f'[resolve.srv]\nquestion = "_{{name}}._tcp.nodes.test"\nservers = ["127.0.0.1:{dns.port}"]\n'
            'timeout = "20s"\nlifetime = "20s"\n',
        )
        with configured(path, port) as server, connect(port) as waiting:
            waiting.sendall(framed(b"zslow"))
            with Registration(port, "a", 7001):
                assert lookup(port, "a") is not None
                assert lookup(port, "app-9001") is not None
            waiting.settimeout(0.2)
            with pytest.raises(TimeoutError):
                waiting.recv(1)
            server.program.signal(signal.SIGTERM)
            assert server.program.wait(5) == 0


def test_sockets_from_systemd_are_used_by_their_names() -> None:
    activate = require("systemd-socket-activate", "systemd")
    first, second, status = free_port(), free_port(), free_port()
    argv = [
        activate,
        *("-l", f"127.0.0.1:{first}", "-l", f"[::1]:{second}", "-l", f"127.0.0.1:{status}"),
        "--fdname=epmd:epmd:metrics",
        *OUR_SERVE,
    ]
    with Program(argv, env=clean_env()) as program:
        eventually(lambda: answers(first), within=10, what=program.report)
        assert names(second, "::1") == {}
        assert get(status, "/readyz")[0] == 200
        assert f'"listen": ["127.0.0.1:{first}", "[::1]:{second}"]' in program.stderr


def test_a_socket_from_systemd_for_both_families_serves_the_stand_in_addresses_too(tmp_path: Path) -> None:
    """As ``ListenStream=4369`` opens it: nobody else can listen there, at no address of either family."""
    activate = require("systemd-socket-activate", "systemd")
    port = free_port()
    route = f'relay = {{epmd_port = {port}, route = [{{host = "b1.far", listen = "127.0.0.9"}}]}}\n'
    path = write(tmp_path / "e.toml", route + f'control.socket = "{tmp_path}/control.sock"\n')
    argv = [activate, "-l", str(port), *OUR_SERVE, f"--config={path}"]
    with Program(argv, env=clean_env()) as program:
        eventually(lambda: answers(port), within=10, what=program.report)
        with Registration(port, "a", 7001), connect(port, "127.0.0.9") as sock:
            assert names(port, "::1") == {"a": 7001}
            sock.sendall(framed(b"d"))  # not for who asks a stand-in
            assert read_to_end(sock) == b""
            assert '"reason": "stand-in"' in program.stderr


@pytest.mark.parametrize(("level", "kinds"), [("error", set()), ("debug", {"started", "lookup"})])
def test_epmds_command_line_as_a_service_logs_as_configured(
    tmp_path: Path, level: str, kinds: set[str]
) -> None:
    activate = require("systemd-socket-activate", "systemd")
    port = free_port()
    path = write(tmp_path / "e.toml", f'log.level = "{level}"\n')
    env = ("-E", f"EPMDLESS_CONFIG={path}")
    argv = [activate, "-l", f"127.0.0.1:{port}", *env, *OUR_EPMD, "-systemd"]
    with Program(argv, env=clean_env()) as program:

        def logged() -> set[str]:
            return {json.loads(line)["event"] for line in program.stderr.splitlines() if line[:1] == "{"}

        eventually(lambda: answers(port), within=10, what=program.report)
        assert lookup(port, "nobody") is None
        eventually(lambda: logged() == kinds, within=5, what=program.report)


def test_systemd_hears_of_every_change(tmp_path: Path) -> None:
    path = write(tmp_path / "e.toml", "")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(10)
        env = clean_env(NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="200000")
        port = free_port()
        with Program([*OUR_SERVE, "--config", path, "--port", str(port)], env=env) as program:
            assert manager.recv(4096) == b"READY=1\nSTATUS=0 nodes registered"
            assert manager.recv(4096).startswith(b"STATUS=")
            assert manager.recv(4096) == b"WATCHDOG=1"
            program.signal(signal.SIGHUP)
            heard = until(manager, b"RELOADING=1")
            assert re.fullmatch(rb"RELOADING=1\nMONOTONIC_USEC=\d+", heard)
            until(manager, b"READY=1")
            program.signal(signal.SIGTERM)
            assert until(manager, b"STOPPING=1") == b"STOPPING=1"
            assert program.wait(5) == 0


def until(manager: socket.socket, start: bytes) -> bytes:
    """The next notice that starts so; those before it are passed over."""
    while True:
        notice = manager.recv(4096)
        if notice.startswith(start):
            return notice
