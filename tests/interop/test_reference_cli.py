"""The same command line to the C epmd and to ours: the same output, the same status.

What ours says otherwise on purpose has tests of its own at the end.
"""

import itertools
import re

import pytest

from tests.support.deadline import eventually
from tests.support.epmd_client import Registration, names
from tests.support.ports import closed_port, free_port
from tests.support.process import Finished, run
from tests.support.servers import Kind, answers, command, end_daemon, running
from tests.support.tools import clean_env

pytestmark = pytest.mark.interop

USAGE = [
    *("-help", "--help", "-h", "-version", "names", "-unknown", "-d -d -unknown", "-daemon -unknown"),
    *("-port", "-port x", "-port 0", "-port -names", "-address", "-packet_timeout", "-packet_timeout x"),
    *("-packet_timeout 0", "-delay_accept", "-delay_accept x", "-delay_write", "-delay_write 0"),
    *("-names x", "-names -port 1", "-kill x", "-started x", "-dump x", "-stop", "-stop a b"),
]
"""All of these are answered with the usage text."""

CLIENT = [
    *("-names", "-d -names", "-relaxed_command_check -names", "-started", "-dump", "-kill"),
    *("-stop first", "-stop nobody", f"-stop {'n' * 1001}"),
]
"""Said to no server, a strict one and a relaxed one."""

SERVER = ["", "-address 127.0.0.1", "-address ::1", "-packet_timeout 5"]
"""Said where a server has the port already."""


@pytest.fixture
def ours(kind: Kind) -> Kind:
    """Our program; the C epmd once more with --reference."""
    return "c" if kind == "c" else "epmd"


def both(ours: Kind) -> tuple[Kind, Kind]:
    return ("c", ours)


def call(kind: Kind, words: str, **env: str) -> Finished:
    """Run a program to its end. The descriptor numbers that a dump shows are masked."""
    done = run([*command(kind), *words.split()], env=clean_env(**env))
    return Finished(done.status, re.sub(r"fd = \d+", "fd = F", done.stdout), done.stderr)


@pytest.mark.parametrize("words", USAGE)
def test_usage(ours: Kind, words: str) -> None:
    theirs = call("c", words)
    assert theirs.stderr.startswith("usage: epmd ")
    assert call(ours, words) == theirs


@pytest.mark.parametrize("words", CLIENT)
def test_client_without_a_server(ours: Kind, words: str) -> None:
    with closed_port() as port:
        assert call(ours, f"-port {port} {words}") == call("c", f"-port {port} {words}")


@pytest.mark.parametrize("words", CLIENT)
@pytest.mark.parametrize("flags", [[], ["-relaxed_command_check"]], ids=["strict", "relaxed"])
def test_client_with_names_registered(ours: Kind, flags: list[str], words: str) -> None:
    theirs, same = (said_to_a_server("c", flags, program, words) for program in both(ours))
    assert same == theirs


@pytest.mark.parametrize("words", ["-names", "-started", "-dump", "-kill"])
def test_client_with_nothing_registered(ours: Kind, words: str) -> None:
    for program in both(ours):
        with running("c") as server:
            done = call(program, f"-port {server.port} {words}")
            assert done.status == 0
            assert done.stdout in {"", "Killed\n", f"epmd: up and running on port {server.port} with data:\n"}
            assert not done.stderr


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "-names"),
        ([], "-dump"),
        ([], "-kill"),
        ([], "-stop first"),
        (["-relaxed_command_check"], "-kill"),
        (["-relaxed_command_check"], "-stop first"),
        (["-relaxed_command_check"], "-stop nobody"),
    ],
)
def test_the_c_program_with_our_server(ours: Kind, flags: list[str], words: str) -> None:
    theirs, same = (said_to_a_server(server, flags, "c", words) for server in both(ours))
    assert same == theirs


def said_to_a_server(server_kind: Kind, flags: list[str], program: Kind, words: str) -> Finished:
    """Run a client call against a fresh server with two names; its port is masked."""
    with (
        running(server_kind, *flags) as server,
        Registration(server.port, "first", 40001),
        Registration(server.port, "second", 40002),
    ):
        done = call(program, f"-port {server.port} {words}")
        return Finished(done.status, done.stdout.replace(str(server.port), "PORT"), done.stderr)


def test_the_port_from_the_environment(ours: Kind) -> None:
    with running("c") as server:
        for program in both(ours):
            done = call(program, "-names", ERL_EPMD_PORT=str(server.port))
            assert done == Finished(0, f"epmd: up and running on port {server.port} with data:\n", "")


@pytest.mark.parametrize("words", SERVER)
def test_a_second_server_ends_at_once_in_silence(ours: Kind, words: str) -> None:
    for first, second in itertools.product(both(ours), repeat=2):
        with running(first) as server:
            assert call(second, f"-port {server.port} {words}") == Finished(0, "", "")
            assert names(server.port) == {}


@pytest.mark.parametrize("words", ["-daemon", "-daemon -d"])
def test_a_second_daemon_ends_at_once_in_silence(ours: Kind, words: str) -> None:
    """`erl` does this at every boot."""
    if ours == "c":
        pytest.skip("the C epmd's child tries the port at some time after its parent has ended")
    for first in both(ours):
        with running(first) as server:
            assert call(ours, f"-port {server.port} {words}") == Finished(0, "", "")
            server.program.stop()
            assert not answers(server.port)


def test_a_second_server_says_so_when_asked(ours: Kind) -> None:
    with running("c") as server:
        for program in both(ours):
            done = call(program, f"-d -port {server.port}")
            assert (done.status, done.stdout) == (0, "")
            assert f"there is already a epmd running at port {server.port}" in done.stderr


@pytest.mark.parametrize(
    ("words", "theirs", "same"),
    [
        # ours also takes ADDRESS:PORT, and names the flag
        ("-address foo", 'cannot parse IP address "foo"', "-address: 'foo' is not ADDRESS"),
        ("-systemd", "systemd provides no sockets", "systemd provides no sockets"),
    ],
)
def test_a_server_that_cannot_start(ours: Kind, words: str, theirs: str, same: str) -> None:
    for program in both(ours):
        done = call(program, f"-port {free_port()} {words}")
        assert (done.status, done.stdout) == (1, "")
        assert (theirs if program == "c" else same) in done.stderr


def test_a_daemon_serves_and_ends_by_kill(ours: Kind) -> None:
    port = free_port()
    assert call(ours, f"-port {port} -daemon") == Finished(0, "", "")
    try:
        if ours == "c":  # which returns before it listens
            eventually(lambda: answers(port), within=5, what="the daemon")
        assert answers(port), "it must serve by the time that it returns"
        assert call("c", f"-port {port} -names").status == 0
    finally:
        end_daemon(port)


@pytest.mark.parametrize("words", ["-port 70000 -names", "-port 4369x -names", "-port -1 -names"])
def test_a_bad_port_is_not_taken_for_another(ours: Kind, words: str) -> None:
    """The C epmd takes 70000 for 4464 and 4369x for 4369."""
    if ours == "c":
        pytest.skip("the C epmd does")
    done = call(ours, words)
    assert (done.status, done.stdout) == (1, "")
    assert done.stderr.startswith("usage: epmd ")


@pytest.mark.parametrize("value", ["70000", "x", "-1"])
def test_a_bad_port_in_the_environment_is_said(ours: Kind, value: str) -> None:
    if ours == "c":
        pytest.skip("the C epmd takes it for another")
    done = call(ours, "-names", ERL_EPMD_PORT=value)
    assert (done.status, done.stdout) == (1, "")
    assert "ERL_EPMD_PORT" in done.stderr
