"""`epmdless exec` with real nodes: a `mix release`, plain `erl` of both releases; alone and as PID 1."""

import json
import os
import re
import signal
from collections.abc import Sequence

import pytest

from tests.supervisor.test_running import children_of
from tests.support.beam import COOKIE, Beam
from tests.support.deadline import eventually
from tests.support.epmd_client import names
from tests.support.ports import free_port
from tests.support.process import Program, run
from tests.support.releases import Release, make_release, release_env
from tests.support.servers import answers
from tests.support.tools import PYTHON, missing, require, require_root
from tests.support.trees import Otp, runtime

pytestmark = [pytest.mark.interop, pytest.mark.usefixtures("ours_only")]

EXEC = (PYTHON, "-m", "epmdless", "exec", "--address=127.0.0.1")
WITHIN = 20.0


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return make_release(tmp_path_factory.mktemp("release"))


UP = "-eval erlang:display(up)."
"""Has a node say that it has booted: a BEAM loses the SIGTERM that comes before, when it is registered
already (`kernel` starts the distribution first, and then what takes signals)."""


def booted(program: Program) -> None:
    eventually(lambda: "up" in program.stdout.split(), within=WITHIN, what=program.report)


def served(program: Program, port: int, nodes: dict[str, int]) -> None:
    """Wait until just these nodes are registered."""

    def look() -> bool:
        assert not program.ended, program.report()
        return answers(port) and names(port) == nodes

    eventually(look, within=WITHIN, what=program.report)


def server_pids(program: Program) -> list[int]:
    """The process ids of the servers that have started, from their logs."""
    lines = re.findall(r'^\{.*"event": "started".*\}$', program.stderr, re.MULTILINE)
    return [json.loads(line)["pid"] for line in lines]


def test_a_release_lives_through_its_servers_crash_and_stops_cleanly(release: Release) -> None:
    epmd, port = free_port(), free_port()
    exec_words = [*EXEC, "--app=shop", f"--port={port}", "--"]
    env = release_env({"ERL_EPMD_PORT": str(epmd)})
    with Program([*exec_words, *release.command("start")], env=env) as program:
        served(program, epmd, {f"shop-{port}": port})
        with Program([*exec_words, *release.command("rpc", "IO.puts(node())")], env=env) as rpc:
            assert rpc.wait(WITHIN) == 0, rpc.report()
            assert (rpc.stdout, rpc.stderr) == (f"shop-{port}@127.0.0.1\n", "")
        (first,) = server_pids(program)
        nodes_before = set(children_of(program.pid)) - {first}
        os.kill(first, signal.SIGKILL)
        eventually(lambda: len(server_pids(program)) == 2, within=WITHIN, what=program.report)
        served(program, epmd, {f"shop-{port}": port})
        assert nodes_before <= set(children_of(program.pid))
        program.signal(signal.SIGTERM)
        assert program.wait(WITHIN) == 0, program.report()
        assert not answers(epmd)
        assert "SIGTERM received - shutting down" in program.stdout


def plain_erl(otp: Otp, epmd: int, port: int) -> Program:
    erl = (*runtime(otp).prefix, "erl", "-noinput", "-setcookie", COOKIE, *UP.split())
    argv = [*EXEC, f"--app=shop-{port}", "--set-name", "--", *erl]
    return Program(argv, env=release_env({"ERL_EPMD_PORT": str(epmd)}))


def test_plain_erl_stops_cleanly() -> None:
    """Both releases of OTP at once: most of the time a node that ends waits."""
    epmds, ports = (free_port(), free_port()), (free_port(), free_port())
    with (
        plain_erl("otp25", epmds[0], ports[0]) as old,
        plain_erl("otp27", epmds[1], ports[1]) as new,
    ):
        for program, epmd, port in zip((old, new), epmds, ports, strict=True):
            served(program, epmd, {f"shop-{port}": port})
            booted(program)
            program.signal(signal.SIGTERM)
        for program, epmd in zip((old, new), epmds, strict=True):
            assert program.wait(WITHIN) == 0, program.report()
            assert not answers(epmd)


def test_a_node_reads_what_we_are_given_to_read() -> None:
    epmd, port = free_port(), free_port()
    prefix = [*EXEC, f"--app=shop-{port}", "--set-name", "--"]
    with Beam("otp25", None, epmd_port=epmd, args=["-setcookie", COOKIE], prefix=prefix) as node:
        assert node.eval("node().") == f"'shop-{port}@127.0.0.1'"
        assert node.program.process.stdin is not None
        node.program.process.stdin.close()  # which ends it
        assert node.program.wait(WITHIN) == 0, node.program.report()


@pytest.fixture(scope="module")
def as_pid_1() -> Sequence[str]:
    require_root("it makes a namespace of processes")
    words = (require("unshare", "util-linux"), "--pid", "--fork", "--kill-child", "--mount-proc")
    if run([*words, "true"]).status != 0:
        missing("needs a namespace of processes, which this container may not make")
    return words


def test_a_container_stops_cleanly(release: Release, as_pid_1: Sequence[str]) -> None:
    """SIGTERM to PID 1 is what `docker stop` sends."""
    epmd, port = free_port(), free_port()
    argv = [*as_pid_1, *EXEC, "--app=shop", f"--port={port}", "--kill-after=15s", "--"]
    env = release_env({"ERL_EPMD_PORT": str(epmd), "ERL_ZFLAGS": UP})
    with Program([*argv, *release.command("start")], env=env) as program:
        served(program, epmd, {f"shop-{port}": port})
        booted(program)
        (init,) = children_of(program.pid)
        os.kill(init, signal.SIGTERM)
        assert program.wait(WITHIN) == 0, program.report()
        assert not answers(epmd)
