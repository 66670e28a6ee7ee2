"""`epmdless exec` as users call it, with the real `epmdless env` and `epmdless serve`."""

import json
import os
import re
import signal
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.cli.command import complaint, epmdless
from tests.supervisor.test_running import children_of
from tests.support.deadline import eventually
from tests.support.epmd_client import names
from tests.support.ports import free_port
from tests.support.process import Program, run
from tests.support.servers import running
from tests.support.tools import PYTHON, clean_env, missing, require, require_root

EXEC = (PYTHON, "-m", "epmdless", "exec")
HERE = ("--app=shop", "--address=127.0.0.1")

WITHIN = 15.0

MOST_RESIDENT = 16 * 1024
"""KiB of memory that the process may take that stays; measured: 12,800 with Python 3.11."""


def logged(stderr: str) -> list[dict[str, object]]:
    """The lines of the server's log; every line must be one."""
    return [json.loads(line) for line in stderr.splitlines()]


def script(folder: Path, text: str) -> str:
    path = folder / "script"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_the_command_runs_in_the_planned_environment_beside_a_server(tmp_path: Path) -> None:
    port = free_port()
    command = script(tmp_path, 'echo "$RELEASE_NODE $ERL_AFLAGS"; exec sleep 600')
    with Program([*EXEC, *HERE, "--", command], env=clean_env(ERL_EPMD_PORT=str(port))) as program:
        eventually(lambda: program.stdout, within=WITHIN, what=program.report)
        assert program.stdout.startswith("shop-9001@127.0.0.1 -start_epmd false")
        assert "inet_dist_listen_min 9001" in program.stdout
        assert names(port) == {}
        (started,) = logged(program.stderr)
        environ = Path(f"/proc/{started['pid']}/environ").read_bytes().split(b"\0")
        assert b"EPMDLESS_HOST=127.0.0.1" in environ
        status = Path(f"/proc/{program.pid}/status").read_text()
        resident = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert resident is not None
        assert int(resident[1]) < MOST_RESIDENT
        program.signal(signal.SIGTERM)
        assert program.wait(WITHIN) == 143
        assert [line["event"] for line in logged(program.stderr)] == ["started", "stopping", "stopped"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--platform=ecs", "--app=shop"), "ECS_CONTAINER_METADATA_URI_V4"),
        (("--config=/nowhere", *HERE), "/nowhere: No such file"),
        ((*HERE, "--kill-after=25"), "--kill-after: '25' is not a duration"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_and_nothing_is_started(
    tmp_path: Path, words: Sequence[str], told: str
) -> None:
    there = tmp_path / "there"
    line = complaint(2, "exec", *words, "--", "touch", there, ERL_EPMD_PORT=str(free_port()))
    assert told in line
    assert not there.exists()


def test_a_bad_port_of_epmd_starts_nothing() -> None:
    assert "ERL_EPMD_PORT" in complaint(2, "exec", *HERE, "--", "echo", ERL_EPMD_PORT="65536")


def test_a_configuration_that_only_the_server_finds_wrong_starts_no_command(tmp_path: Path) -> None:
    path = tmp_path / "e.toml"
    path.write_text("[epmd]\nlisten = []\n")
    line = complaint(2, "exec", *HERE, "--config", path, "--", "echo", ERL_EPMD_PORT=str(free_port()))
    assert line == f"{path}: epmd.listen: empty, and nothing else is to be served"


def test_no_command_is_a_wrong_command_line() -> None:
    done = epmdless("exec", *HERE)
    assert (done.status, done.stdout) == (2, "")
    assert "Missing argument 'COMMAND...'" in done.stderr


def test_options_of_the_command_are_its_own() -> None:
    done = epmdless("exec", *HERE, "echo", "--app", "-h", "--", "x", ERL_EPMD_PORT=str(free_port()))
    assert (done.status, done.stdout) == (0, "--app -h -- x\n")


def test_a_port_that_something_else_has_taken_is_told() -> None:
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))  # it does not listen: whoever asks there is refused at once
        port = other.getsockname()[1]
        line = complaint(1, "exec", *HERE, "--", "echo", ERL_EPMD_PORT=str(port))
        assert line == f"cannot listen on 0.0.0.0:{port}: Address already in use"


def test_an_epmd_that_is_there_is_used(tmp_path: Path) -> None:
    with running("serve") as server:
        command = script(tmp_path, "cat /proc/$PPID/task/$PPID/children")
        done = epmdless("exec", *HERE, "--", command, ERL_EPMD_PORT=str(server.port))
        told = f"epmdless: an EPMD server answers on port {server.port} already: none is started\n"
        assert (done.status, done.stderr) == (0, told)
        assert len(done.stdout.split()) == 1
        assert not server.program.ended


def test_a_releases_helper_gets_no_port_of_its_own(tmp_path: Path) -> None:
    command = script(tmp_path, 'echo "$ERL_AFLAGS"')
    done = epmdless("exec", *HERE, "--", command, "remote_console", ERL_EPMD_PORT=str(free_port()))
    assert done.status == 0
    assert "-start_epmd false" in done.stdout
    assert "inet_dist_listen_min" not in done.stdout


def test_sigterm_that_comes_while_pid_1_is_still_loading_ends_it() -> None:
    """The kernel drops what PID 1 neither handles nor blocks."""
    require_root("it makes a namespace of processes")
    unshare = [require("unshare", "util-linux"), "--pid", "--fork", "--kill-child", "--mount-proc"]
    if run([*unshare, "true"]).status != 0:
        missing("needs a namespace of processes, which this container may not make")
    argv = [*unshare, *EXEC, *HERE, "--", "echo", "started"]
    with Program(argv, env=clean_env(ERL_EPMD_PORT=str(free_port()))) as program:
        (init,) = eventually(lambda: children_of(program.pid), within=WITHIN, what=program.report)
        eventually(lambda: holds_signals(init), within=WITHIN, what="signals to be held")
        os.kill(init, signal.SIGTERM)
        assert program.wait(WITHIN) == 143
        assert (program.stdout, program.stderr) == ("", "")


def holds_signals(pid: int) -> bool:
    """Whether it blocks a signal that unshare, which it was at first, does not block for a moment."""
    found = re.search(r"^SigBlk:\t(.*)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return found is not None and bool(int(found[1], 16) & 1 << signal.SIGUSR1 - 1)


def flags_in_release(folder: Path, vm_args: str) -> Program:
    """Start a release's script that shows ERL_AFLAGS."""
    (folder / "releases" / "0.1.0").mkdir(parents=True)
    (folder / "releases" / "start_erl.data").write_text("13.1.5 0.1.0")
    (folder / "releases" / "0.1.0" / "vm.args").write_text(f"{vm_args}\n")
    (folder / "bin").mkdir()
    command = script(folder / "bin", 'echo "$ERL_AFLAGS"')
    argv = [*EXEC, "--app=shop", "--address=::1", "--", command, "start"]
    return Program(argv, env=clean_env(ERL_EPMD_PORT=str(free_port())))


def test_a_protocol_in_the_releases_vm_args_is_seen_and_not_doubled(tmp_path: Path) -> None:
    """Given twice, OTP 25 takes neither and OTP 27 the first: TLS would be off."""
    with (
        flags_in_release(tmp_path / "tls", "-proto_dist inet6_tls") as tls,
        flags_in_release(tmp_path / "plain", "") as plain,
    ):
        for program, added in ((tls, False), (plain, True)):
            assert program.wait(WITHIN) == 0, program.report()
            assert ("-proto_dist inet6_tcp" in program.stdout) is added
            assert "inet_dist_listen_min 9001" in program.stdout
