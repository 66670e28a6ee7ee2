"""What the process must survive of its surroundings: its log, its descriptors, its limits, its files."""

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.deadline import eventually
from tests.support.epmd_client import RefusedError, Registration, connect, framed, lookup, names, read_to_end
from tests.support.ports import free_port
from tests.support.process import Program
from tests.support.scripted_dns import ScriptedDns, answer, silence
from tests.support.servers import OUR_EPMD, OUR_SERVE, answers, end_daemon, wait_ready
from tests.support.tools import clean_env

JUNK = b"\0\0"
"""A request that is closed without a reply, and logged."""


@contextlib.contextmanager
def shell(script: str, port: int, *argv: str) -> Iterator[Program]:
    """A server that a shell line starts; ``"$@"`` is its command."""
    command = argv or (*OUR_SERVE, "--port", str(port))
    with Program(["bash", "-c", script, "bash", *command], env=clean_env()) as program:
        wait_ready(program, port)
        yield program


def send_junk(port: int, times: int) -> None:
    for _ in range(times):
        with connect(port) as sock:
            sock.sendall(JUNK)
            assert read_to_end(sock) == b""


@pytest.mark.parametrize("stderr", ["2>/dev/full", "2>&-", "2> >(head -c 1 >/dev/null)"])
@pytest.mark.parametrize("command", [(*OUR_SERVE, "--port"), (*OUR_EPMD, "-port")], ids=["serve", "epmd"])
def test_a_log_that_cannot_be_written_ends_nothing(stderr: str, command: Sequence[str]) -> None:
    port = free_port()
    with (
        shell(f'exec "$@" {stderr}', port, *command, str(port)) as program,
        Registration(port, "a", 7001),
    ):
        send_junk(port, 20)
        assert names(port) == {"a": 7001}
        assert not program.ended


def test_a_log_that_nobody_reads_stops_nothing() -> None:
    port = free_port()
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    process = subprocess.Popen([*OUR_SERVE, "--port", str(port)], stderr=writer, env=clean_env())
    try:
        os.close(writer)
        eventually(lambda: answers(port), within=10, what="an answer")
        with Registration(port, "a", 7001):
            send_junk(port, 150)
            assert names(port) == {"a": 7001}
    finally:
        process.kill()
        process.wait(5)
        os.close(reader)


def test_a_terminal_that_is_frozen_stops_nothing() -> None:
    port = free_port()
    master, slave = os.openpty()
    process = subprocess.Popen([*OUR_SERVE, "--port", str(port)], stderr=slave, env=clean_env())
    try:
        os.close(slave)
        eventually(lambda: answers(port), within=10, what="an answer")
        with contextlib.ExitStack() as held:
            for number in range(100):
                held.enter_context(Registration(port, f"{number:03}" + "n" * 240, 7001))
            assert len(names(port)) == 100
    finally:
        process.kill()
        process.wait(5)
        os.close(master)


@pytest.mark.parametrize(
    ("argv", "status"),
    [
        ((*OUR_EPMD, "-bogus"), 1),
        ((*OUR_SERVE, "--config", "/nowhere"), 2),
        ((*OUR_SERVE, "--bogus"), 2),
    ],
)
def test_a_full_disk_under_stderr_does_not_change_the_exit_status(argv: Sequence[str], status: int) -> None:
    done = subprocess.run(
        ["bash", "-c", 'exec "$@" >/dev/full 2>&1', "bash", *argv], env=clean_env(), timeout=20, check=False
    )
    assert done.returncode == status


def test_a_daemon_that_cannot_serve_does_not_say_that_it_does() -> None:
    port = free_port()
    script = 'ulimit -n 6 && exec "$@"'
    argv = ["bash", "-c", script, "bash", *OUR_EPMD, "-port", str(port), "-daemon"]
    done = subprocess.run(argv, env=clean_env(), timeout=20, check=False, capture_output=True)
    assert done.returncode == 1


def test_a_daemon_started_without_standard_descriptors_serves() -> None:
    port = free_port()
    done = subprocess.run(
        ["bash", "-c", 'exec "$@" <&- >&- 2>&-', "bash", *OUR_EPMD, "-port", str(port), "-daemon"],
        env=clean_env(ERL_EPMD_RELAXED_COMMAND_CHECK="1"),
        timeout=20,
        check=False,
    )
    try:
        assert done.returncode == 0
        assert names(port) == {}
    finally:
        end_daemon(port)


def test_a_daemon_lets_go_of_what_its_caller_left_open(tmp_path: Path) -> None:
    port = free_port()
    lock = (tmp_path / "lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    subprocess.run(
        [*OUR_EPMD, "-port", str(port), "-daemon"],
        env=clean_env(ERL_EPMD_RELAXED_COMMAND_CHECK="1"),
        pass_fds=[lock.fileno()],
        timeout=20,
        check=True,
    )
    try:
        lock.close()
        with (tmp_path / "lock").open("w") as again:
            fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        end_daemon(port)


def test_a_daemon_finds_the_configuration_where_its_caller_stood(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "own.toml").write_text(
        'epmd.relaxed_command_check = true\nresolve = {chain = ["static"], static = {couchdb = 9100}}\n'
    )
    argv, env = [*OUR_EPMD, "-port", str(port), "-daemon"], clean_env(EPMDLESS_CONFIG="own.toml")
    try:
        with Program(argv, env=env, cwd=tmp_path) as caller:
            assert caller.wait(20) == 0, caller.report()
        assert lookup(port, "couchdb") is not None
    finally:
        end_daemon(port)


@pytest.mark.parametrize("limit", [40, 64, 200])
def test_few_descriptors_are_shared_out(limit: int) -> None:
    port = free_port()
    with shell(f'ulimit -n {limit} && exec "$@"', port), contextlib.ExitStack() as held:
        with contextlib.suppress(RefusedError):
            for number in range(limit):
                held.enter_context(Registration(port, f"n{number}", 7001))
        for _ in range(limit):
            held.enter_context(connect(port))
        assert lookup(port, "n0") is not None
        assert lookup(port, "app-9001") is not None


def test_a_flood_on_the_metrics_port_leaves_lookups_alone(tmp_path: Path) -> None:
    port, metrics_port = free_port(), free_port()
    path = tmp_path / "e.toml"
    path.write_text(
        f'[epmd]\nlisten = ["127.0.0.1:{port}"]\n[metrics]\nlisten = "127.0.0.1:{metrics_port}"\n'
    )
    argv = (*OUR_SERVE, "--config", str(path))
    with shell('ulimit -n 400 && exec "$@"', port, *argv) as program, contextlib.ExitStack() as held:
        for _ in range(600):
            held.enter_context(connect(metrics_port))
        with Registration(port, "a", 7001):
            assert lookup(port, "a") is not None
        assert len(list(Path(f"/proc/{program.pid}/fd").iterdir())) < 100
        assert "Traceback" not in program.stderr


PATTERN = '[resolve.scheme]\nkind = "pattern"\nregex = '
BAD_FILES = {
    "a number of 5,000 digits": f"[epmd]\nx = {'1' * 5000}\n",
    "a regular expression that overflows": PATTERN + '"(?P<port>a{99999999999})"\n',
    "a regular expression too deep": PATTERN + f'"{"(" * 3000}"\n',
    "tables too deep": f"x = {'[' * 5000}\n",
}


@pytest.mark.parametrize("text", BAD_FILES.values(), ids=BAD_FILES)
def test_no_file_ends_a_running_server(tmp_path: Path, text: str) -> None:
    port, path = free_port(), tmp_path / "e.toml"
    path.write_text(f'[epmd]\nlisten = ["127.0.0.1:{port}"]\n')
    with shell('exec "$@"', port, *OUR_SERVE, "--config", str(path)) as program:
        path.write_text(text)
        program.signal(signal.SIGHUP)
        eventually(lambda: "configuration not reloaded" in program.stderr, within=10, what=program.report)
        assert "internal error" not in program.stderr
        assert names(port) == {}


def dns_configuration(port: int, dns: ScriptedDns) -> str:
    return (
        f'[epmd]\nlisten = ["127.0.0.1:{port}"]\n[resolve]\nchain = ["registered", "srv"]\n'
        f'[resolve.srv]\nquestion = "_{{name}}._tcp.nodes.test"\nservers = ["127.0.0.1:{dns.port}"]\n'
        'timeout = "1s"\nlifetime = "1s"\n'
    )


def test_a_reload_keeps_what_dns_has_said(tmp_path: Path) -> None:
    """An operator reloads in the very outage in which stale answers are all there is."""
    port, path = free_port(), tmp_path / "e.toml"
    with ScriptedDns() as dns:
        dns.script("_shop._tcp.nodes.test", "SRV", answer("_shop._tcp.nodes.test 0 IN SRV 0 0 9001 b1.test."))
        path.write_text(dns_configuration(port, dns))
        with shell('exec "$@"', port, *OUR_SERVE, "--config", str(path)) as program:
            assert lookup(port, "shop") is not None
            dns.script("_shop._tcp.nodes.test", "SRV", silence)
            program.signal(signal.SIGHUP)
            eventually(lambda: "configuration reloaded" in program.stderr, within=10, what=program.report)
            assert lookup(port, "shop") is not None


def test_lookups_given_up_leave_nothing_behind(tmp_path: Path) -> None:
    port, path = free_port(), tmp_path / "e.toml"
    with ScriptedDns() as dns:
        dns.script_all(silence)
        text = dns_configuration(port, dns).replace('"1s"', '"60s"')
        path.write_text(text)
        with shell('exec "$@"', port, *OUR_SERVE, "--config", str(path)) as program:
            before = resident(program.pid)
            for _ in range(4000):
                sock = connect(port)
                sock.sendall(framed(b"zsame"))
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                sock.close()
            assert names(port) == {}
            assert resident(program.pid) - before < 4000 * 1000


def resident(pid: int) -> int:
    """Bytes of memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def test_reload_from_one_address_to_the_default_adds_ipv6(tmp_path: Path) -> None:
    port, path = free_port(), tmp_path / "e.toml"
    path.write_text(f'[epmd]\nlisten = ["0.0.0.0:{port}"]\n')
    with Program([*OUR_SERVE, "--config", path], env=clean_env(ERL_EPMD_PORT=str(port))) as program:
        wait_ready(program, port)
        path.write_text("")
        program.signal(signal.SIGHUP)
        eventually(lambda: "configuration reloaded" in program.stderr, within=10, what=program.report)
        assert names(port, "::1") == {}
