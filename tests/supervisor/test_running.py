"""The supervisor as a real process: what the command gets, signals, ends, and what is left behind."""

import contextlib
import os
import signal
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from epmdless.supervisor.signals import ALL
from tests.supervisor.supervised import HOST, VARIABLES, WITHIN, Supervised
from tests.support.deadline import eventually
from tests.support.tools import PYTHON

SLEEPER = ("sh", "-c", "echo up; exec sleep 600")

LISTENER = """
import signal, sys
wanted = set(map(int, sys.argv[1:]))
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
print("up", flush=True)
while wanted:
    wanted.discard(number := signal.sigwait(signal.valid_signals()))
    print(f"got {int(number)}", flush=True)
print("all")
"""


def listener(*numbers: int) -> tuple[str, ...]:
    """A command that ends once it has got each of these signals."""
    return (PYTHON, "-I", "-S", "-c", LISTENER, *map(str, numbers))


def is_there(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    return False


def children_of(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


# What the command gets.


def test_the_command_gets_our_environment_and_the_plans(tmp_path: Path) -> None:
    """Without a locale too, which the interpreter would set; and a service manager's socket is its own."""
    given = {
        "PATH": os.environ["PATH"],
        "NOTIFY_SOCKET": "/run/outside",
        "RELEASE_NODE": "old",
        "ÄÖ": "\udcff",
    }
    with Supervised(tmp_path, ("env", "-0"), env=given) as supervised:
        assert supervised.wait() == 0
        got = dict(line.split("=", 1) for line in supervised.program.stdout.strip("\0").split("\0"))
        assert got == {**given, **VARIABLES, "ÄÖ": "\ufffd"}  # a byte that is no text, as the test reads it


def test_the_command_gets_no_descriptor_of_ours_and_each_that_was_passed(tmp_path: Path) -> None:
    with (tmp_path / "passed").open("w") as passed:
        command = ("sh", "-c", "ls /proc/$$/fd")
        with Supervised(tmp_path, command, pass_fds=[passed.fileno()]) as supervised:
            assert supervised.wait() == 0
            got = set(map(int, supervised.program.stdout.split()))
            assert got - {10} == {0, 1, 2, passed.fileno()}  # 10: what some shells read a script by
            assert "descriptors [0, 1, 2]" in supervised.noted


@pytest.mark.parametrize("ignored", [[], [signal.SIGHUP, signal.SIGCHLD]])
def test_the_command_gets_signals_as_we_were_given_them(
    tmp_path: Path, ignored: list[signal.Signals]
) -> None:
    ignore = f"for number in {list(map(int, ignored))}: signal.signal(number, signal.SIG_IGN)"
    become = "os.execv(sys.argv[1], sys.argv[1:])"
    prefix = (PYTHON, "-I", "-S", "-c", f"import os, signal, sys\n{ignore}\n{become}")
    with Supervised(
        tmp_path, ("grep", "Sig", "/proc/self/status"), prefix=prefix, blocked=[signal.SIGUSR1]
    ) as supervised:
        assert supervised.wait() == 0
        masks = dict(line.split(":\t") for line in supervised.program.stdout.splitlines())
        assert int(masks["SigBlk"], 16) == 1 << signal.SIGUSR1 - 1
        assert int(masks["SigIgn"], 16) == sum(1 << number - 1 for number in ignored)


def test_the_command_line_shows_the_command_and_nothing_else_that_was_said(tmp_path: Path) -> None:
    with Supervised(tmp_path, SLEEPER) as supervised:
        supervised.says("up")
        shown = Path(f"/proc/{supervised.program.pid}/cmdline").read_text().split("\0")
        assert shown[-4:] == [*SLEEPER, ""]
        assert HOST not in "".join(shown)


# Exit statuses.


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (("true",), 0),
        (("sh", "-c", "exit 7"), 7),
        (("sh", "-c", "kill -KILL $$"), 137),
        (("sh", "-c", "kill -TERM $$"), 143),
    ],
)
def test_the_exit_status_is_kept(tmp_path: Path, command: tuple[str, ...], status: int) -> None:
    with Supervised(tmp_path, command) as supervised:
        assert supervised.wait() == status
        assert supervised.program.stderr == ""
        (server,) = supervised.servers()
        assert supervised.noted[-1] == f"ended {server} by SIGTERM"


def test_a_command_that_cannot_be_executed_is_told_as_a_shell_tells_it(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch(mode=stat.S_IRUSR)
    for command, status, problem in (
        ("no-such-command", 127, "No such file or directory"),
        (str(plain), 126, "Permission denied"),
        (str(tmp_path), 126, "Permission denied"),
    ):
        with Supervised(tmp_path, (command,)) as supervised:
            assert supervised.wait() == status
            assert supervised.program.stderr == f"epmdless: {command}: {problem}\n"


# The order of the start.


def test_a_plan_that_fails_starts_nothing(tmp_path: Path) -> None:
    with Supervised(
        tmp_path, ("echo", "started"), plan=("/bin/sh", "-c", "echo no >&2; exit 2")
    ) as supervised:
        assert supervised.wait() == 2
        assert (supervised.program.stdout, supervised.program.stderr) == ("", "no\n")
        assert supervised.noted == []


@pytest.mark.parametrize(
    "printed", ["", "{", "[]", '{"host": "b1"}', '{"host": "b1", "variables": []}', "[" * 9999]
)
def test_what_is_no_plan_starts_nothing(tmp_path: Path, printed: str) -> None:
    with Supervised(tmp_path, ("echo", "started"), plan=("/bin/echo", printed)) as supervised:
        assert supervised.wait() == 2
        assert supervised.program.stderr == "epmdless: epmdless env has printed no plan\n"
        assert (supervised.program.stdout, supervised.noted) == ("", [])


@pytest.mark.parametrize("status", [1, 2])
def test_a_server_that_fails_starts_no_command(tmp_path: Path, status: int) -> None:
    with Supervised(tmp_path, ("echo", "started"), server=f"fail-{status}") as supervised:
        assert supervised.wait() == status
        assert (supervised.program.stdout, supervised.program.stderr) == ("", "")
        assert len(supervised.servers()) == 1


@contextlib.contextmanager
def answering(reply: bytes) -> Iterator[int]:
    """A server on a port of the loopback, which answers all alike."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection:
                        connection.recv(3)
                        connection.sendall(reply or port.to_bytes(4, "big"))

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield port
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_where_an_epmd_answers_no_server_is_started(tmp_path: Path) -> None:
    with answering(b"") as port, Supervised(tmp_path, ("echo", "started"), port=port) as supervised:
        assert supervised.wait() == 0
        assert (supervised.program.stdout, supervised.noted) == ("started\n", [])


@pytest.mark.parametrize("reply", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0\0\x11", b"\0\0\0\1"])
def test_what_is_no_epmd_is_not_taken_for_one(tmp_path: Path, reply: bytes) -> None:
    with answering(reply) as port, Supervised(tmp_path, ("true",), port=port) as supervised:
        assert supervised.wait() == 0
        assert len(supervised.servers()) == 1


# Signals.


def test_every_signal_that_can_be_caught_reaches_the_command(tmp_path: Path) -> None:
    wanted = sorted(ALL - {signal.SIGCHLD})
    with Supervised(tmp_path, listener(*wanted)) as supervised:
        supervised.says("up")
        for number in wanted:  # one by one: SIGCONT takes back a SIGTSTP that waits
            os.kill(supervised.program.pid, number)
            supervised.says(f"got {number}\n")
        assert supervised.wait() == 0
        got = [int(line[4:]) for line in supervised.program.stdout.splitlines() if line.startswith("got")]
        assert sorted(got) == wanted


def test_a_signal_from_before_the_command_reaches_it(tmp_path: Path) -> None:
    """The command gets it blocked, so that it is not too early for it."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    plan = ("/bin/sh", "-c", f"cat {gate}")
    with Supervised(tmp_path, listener(signal.SIGUSR2), plan=plan, blocked=[signal.SIGUSR2]) as supervised:
        with gate.open("w") as writer:  # the plan has begun
            os.kill(supervised.program.pid, signal.SIGUSR2)
            writer.write('{"host": "b1.internal", "variables": {}}')
        assert supervised.wait() == 0
        assert supervised.program.stdout.splitlines() == ["up", f"got {int(signal.SIGUSR2)}", "all"]


def test_sigterm_while_the_server_starts_ends_all(tmp_path: Path) -> None:
    with Supervised(tmp_path, ("echo", "started"), server="silent") as supervised:
        eventually(lambda: len(supervised.noted) == 2, within=WITHIN, what=supervised.program.report)
        (server,) = supervised.servers()
        supervised.program.signal(signal.SIGTERM)
        assert supervised.wait() == 143
        assert supervised.program.stdout == ""
        assert not is_there(server)


def test_sigterm_while_the_plan_is_made_ends_all(tmp_path: Path) -> None:
    with Supervised(
        tmp_path, ("echo", "started"), plan=("/bin/sh", "-c", "echo up >&2; sleep 600")
    ) as supervised:
        eventually(lambda: supervised.program.stderr, within=WITHIN, what=supervised.program.report)
        supervised.program.signal(signal.SIGTERM)
        assert supervised.wait() == 143
        assert (supervised.program.stdout, supervised.noted) == ("", [])


def test_a_command_that_ignores_sigterm_is_killed_after_its_time(tmp_path: Path) -> None:
    command = ("sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done")
    with Supervised(tmp_path, command, kill_after=0.1) as supervised:
        supervised.says("up")
        supervised.program.signal(signal.SIGTERM)
        assert supervised.wait() == 137


# The server.


def test_a_server_that_crashes_is_restarted_and_the_command_goes_on(tmp_path: Path) -> None:
    with Supervised(tmp_path, listener(signal.SIGTERM)) as supervised:
        supervised.says("up")
        (first,) = supervised.servers()
        os.kill(first, signal.SIGKILL)
        eventually(lambda: len(supervised.servers()) == 2, within=WITHIN, what=supervised.program.report)
        expected = "epmdless: the EPMD server was ended by signal 9; it is started again in 0.25 s\n"
        assert supervised.program.stderr == expected
        supervised.program.signal(signal.SIGTERM)
        assert supervised.wait() == 0


def test_a_stderr_that_nobody_reads_stops_nothing(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    os.set_blocking(writer, True)
    prefix = ("bash", "-c", f'exec "$@" 2>&{writer}', "bash")
    with Supervised(tmp_path, listener(signal.SIGTERM), prefix=prefix, pass_fds=[writer]) as supervised:
        supervised.says("up")
        os.kill(supervised.servers()[0], signal.SIGKILL)
        eventually(lambda: len(supervised.servers()) == 2, within=WITHIN, what=supervised.program.report)
        supervised.program.signal(signal.SIGTERM)
        assert supervised.wait() == 0
    os.close(reader)
    os.close(writer)


def test_a_stderr_that_is_closed_raises_no_signal_in_the_command(tmp_path: Path) -> None:
    prefix = ("bash", "-c", 'exec "$@" 2> >(:)', "bash")
    with Supervised(tmp_path, listener(signal.SIGTERM), prefix=prefix) as supervised:
        supervised.says("up")
        os.kill(supervised.servers()[0], signal.SIGKILL)
        eventually(lambda: len(supervised.servers()) == 2, within=WITHIN, what=supervised.program.report)
        supervised.program.signal(signal.SIGTERM)
        assert supervised.wait() == 0
        assert supervised.program.stdout.splitlines() == ["up", f"got {int(signal.SIGTERM)}", "all"]


def test_the_server_ends_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    with Supervised(tmp_path, SLEEPER) as supervised:
        supervised.says("up")
        (server,) = supervised.servers()
        (command,) = set(children_of(supervised.program.pid)) - {server}
        supervised.program.signal(signal.SIGKILL)
        eventually(lambda: not is_there(server), within=WITHIN, what="the end of the server")
        assert supervised.noted[-1] == f"ended {server} by SIGTERM"
        assert is_there(command)
        os.kill(command, signal.SIGKILL)


def test_the_server_is_in_a_session_of_its_own(tmp_path: Path) -> None:
    with Supervised(tmp_path, SLEEPER) as supervised:
        supervised.says("up")
        (server,) = supervised.servers()
        assert os.getsid(server) == server
        os.killpg(supervised.program.pid, signal.SIGWINCH)
        assert is_there(server)


# Orphans.

ORPHANS = "for n in $(seq 100); do (true & ); done; echo up; exec sleep 600"


def test_orphans_are_reaped(tmp_path: Path) -> None:
    with Supervised(tmp_path, ("sh", "-c", ORPHANS)) as supervised:
        supervised.says("up")
        pid = supervised.program.pid
        eventually(
            lambda: len(children_of(pid)) == 2, within=WITHIN, what="none but the server and the command"
        )


def test_a_child_that_the_command_leaves_goes_on(tmp_path: Path) -> None:
    left = "sh -c 'echo $$; exec sleep 600' & sleep 0.1; exit 3"
    with Supervised(tmp_path, ("sh", "-c", left)) as supervised:
        assert supervised.wait() == 3
        orphan = int(supervised.program.stdout)
        assert is_there(orphan)
        os.kill(orphan, signal.SIGKILL)
