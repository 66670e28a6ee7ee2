"""`epmdless env` with real nodes: a `mix release` and its commands, plain `erl`, IPv6 alone."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.beam import COOKIE, Beam, fixed_port
from tests.support.deadline import eventually
from tests.support.epmd_client import names
from tests.support.machine import Machine
from tests.support.ports import free_port
from tests.support.process import Program, run
from tests.support.releases import COOKIE as RELEASE_COOKIE
from tests.support.releases import Release, make_release, release_env
from tests.support.servers import OUR_SERVE, Server
from tests.support.tools import PYTHON, clean_env

pytestmark = pytest.mark.interop

EPMD_PORT: Final = 4369
BOOT_WITHIN: Final = 20.0

PROGRAMS: Final = str(Path(PYTHON).parent)
"""The folder where the command `epmdless` is installed."""


def env_sh(words: str) -> str:
    """The lines that README recommends for env.sh.eex."""
    return f'variables="$({PROGRAMS}/epmdless env {words})" || exit 2\neval "$variables"'


def planned(*words: str, prefix: tuple[str, ...] = (), **env: str) -> dict[str, Any]:
    done = run([*prefix, PYTHON, "-m", "epmdless", "env", *words, "--json"], env=clean_env(**env))
    assert done.status == 0, done.stderr
    plan: dict[str, Any] = json.loads(done.stdout)
    return plan


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return make_release(tmp_path_factory.mktemp("release"))


@pytest.mark.usefixtures("ours_only")
def test_a_release_listens_where_its_name_says_and_its_commands_work_beside_it(
    server: Server, release: Release
) -> None:
    port, other = free_port(), free_port()
    release.write_vm_args(" ".join(fixed_port(other)))
    release.write_env_sh(env_sh(f"--port {port} --address 127.0.0.1"))
    name, epmd = f"shop-{port}@127.0.0.1", {"ERL_EPMD_PORT": str(server.port)}
    with release.start("start", **epmd) as running:
        _wait_for(running, server.port, {f"shop-{port}": port})
        # What the running node's own environment holds does not get into the way of a command either.
        both = epmd | planned("--app=shop", f"--port={port}", "--address=127.0.0.1")["variables"]
        with (
            release.start("pid", **epmd) as pid,
            release.start("rpc", "IO.inspect({node(), Node.list(:hidden) != []})", **epmd) as rpc,
            release.start("pid", **both) as pid_again,
            release.start("eval", "IO.puts(:up)", **both) as up,
            Program(release.command("remote"), env=release_env(epmd), stdin=True) as shell,
        ):
            assert shell.process.stdin is not None
            shell.process.stdin.write(b"IO.puts(node())\n")
            for command, said in (
                (pid, f"{running.pid}\n"),
                (rpc, f'{{:"{name}", true}}\n'),
                (pid_again, f"{running.pid}\n"),
                (up, "up\n"),
            ):
                assert (command.wait(BOOT_WITHIN), command.stdout) == (0, said), command.report()
            eventually(lambda: name in shell.stdout, within=BOOT_WITHIN, what=shell.report)
            shell.kill()
        assert release.run("stop", **epmd).status == 0
        assert running.wait(BOOT_WITHIN) == 0


def test_a_failure_ends_the_start_of_a_release(server: Server, release: Release) -> None:
    release.write_env_sh(env_sh("--platform ecs"))
    done = release.run("start", ERL_EPMD_PORT=str(server.port))
    assert (done.status, done.stdout) == (2, "")
    assert done.stderr.startswith("epmdless: ECS_CONTAINER_METADATA_URI_V4 is not set")
    assert names(server.port) == {}


@pytest.mark.usefixtures("ours_only")
def test_plain_erl_listens_where_its_name_says(server: Server) -> None:
    """Both OTP releases, with other ports on their command lines."""
    ports = free_port(), free_port()
    plans = [
        planned(f"--app=app-{port}", "--address=127.0.0.1", "--host=127.0.0.1", "--set-name")
        for port in ports
    ]
    args = ["-setcookie", COOKIE, *fixed_port(free_port())]
    with (
        Beam("otp25", None, epmd_port=server.port, args=args, env=plans[0]["variables"]) as old,
        Beam("otp27", None, epmd_port=server.port, args=args, env=plans[1]["variables"]) as new,
    ):
        assert (old.name, new.name) == (plans[0]["node"], plans[1]["node"])
        assert names(server.port) == {f"app-{port}": port for port in ports}
        assert old.eval(f"net_adm:ping('{new.name}').") == "pong"


@pytest.fixture
def ipv6_only(tmp_path: Path) -> Iterator[Machine]:
    """A machine with IPv6 addresses alone, the second for whoever asks for it, and our EPMD server on it."""
    hosts = tmp_path / "hosts"
    hosts.write_text("::1 localhost\n")
    machine = Machine("v6.internal", hosts)
    try:
        machine.run(
            "ip address flush dev lo; ip -6 address add ::1/128 dev lo;"
            " ip -6 address add fd00:6::1/128 dev lo; ip -6 route add default dev lo;"
            " ip -6 address add fd00:6::2/128 dev lo preferred_lft 0"
        )
        with machine.start(OUR_SERVE) as epmd:
            machine.call(lambda: eventually(lambda: _answers(epmd), within=BOOT_WITHIN, what="EPMD"))
            yield machine
    finally:
        machine.close()


def _answers(epmd: Program) -> bool:
    assert not epmd.ended, epmd.report()
    try:
        names(EPMD_PORT, host="::1")
    except OSError:
        return False
    return True


@pytest.mark.usefixtures("ours_only")
def test_nodes_with_ipv6_addresses_alone(ipv6_only: Machine, release: Release) -> None:
    """A release and its commands, with plain erl of the other OTP release."""
    release.write_vm_args("")
    release.write_env_sh(env_sh("--port 9001"))
    prefix = tuple(ipv6_only.prefix)
    ours = planned("--app=shop", prefix=prefix)
    assert (ours["node"], ours["address_from"]) == ("shop-9001@fd00:6::1", "default route")
    theirs = planned("--app=stock-9002", "--set-name", "--address=fd00:6::2", prefix=prefix)

    def command(*words: str) -> Program:
        return Program([*prefix, *release.command(*words)], env=release_env({}))

    args = ["-setcookie", RELEASE_COOKIE]
    with (
        command("start") as running,
        Beam("otp27", None, epmd_port=EPMD_PORT, args=args, env=theirs["variables"], prefix=prefix) as stock,
    ):
        assert stock.name == "stock-9002@fd00:6::2"
        eventually(
            lambda: _listed(ipv6_only) == {"shop-9001": 9001, "stock-9002": 9002},
            within=BOOT_WITHIN,
            what="both nodes",
        )
        assert stock.eval(f"net_adm:ping('{ours['node']}').") == "pong"
        with command("rpc", "IO.inspect(Node.list())") as rpc:
            assert rpc.wait(BOOT_WITHIN) == 0, rpc.report()
            assert rpc.stdout == '[:"stock-9002@fd00:6::2"]\n'
        running.kill()  # its clean end takes a second and a half


def _listed(machine: Machine) -> dict[str, int]:
    return machine.call(lambda: names(EPMD_PORT, host="::1"))


def _wait_for(running: Program, port: int, nodes: dict[str, int]) -> None:
    """Wait until an EPMD server lists just these nodes."""

    def listed() -> bool:
        assert not running.ended, running.report()
        return names(port) == nodes

    eventually(listed, within=BOOT_WITHIN, what=running.report)
