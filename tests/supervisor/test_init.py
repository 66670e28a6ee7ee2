"""As PID 1 of a namespace of its own, as in a container."""

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.supervisor.supervised import WITHIN, Supervised
from tests.supervisor.test_running import children_of, listener
from tests.support.deadline import eventually
from tests.support.process import run
from tests.support.tools import missing, require, require_root

LEFT = """
trap 'sleep 0.1; echo ended > "$1"; exit' TERM
echo up > "$1"
while :; do sleep 0.05; done
"""
"""What a command leaves behind: it needs a moment for its end."""

LEAVING = 'setsid sh "$1" "$2" & until [ -s "$2" ]; do sleep 0.01; done; exit 3'


@pytest.fixture(scope="module")
def prefix() -> Sequence[str]:
    """The words that run a command as PID 1."""
    require_root("it makes a namespace of processes")
    words = (require("unshare", "util-linux"), "--pid", "--fork", "--kill-child", "--mount-proc")
    if run([*words, "true"]).status != 0:
        missing("needs a namespace of processes, which this container may not make")
    return words


def init_of(supervised: Supervised) -> int:
    """The process id from outside of what is PID 1 inside."""
    (pid,) = eventually(lambda: children_of(supervised.program.pid), within=WITHIN, what="PID 1")
    return pid


def test_the_exit_status_is_kept(tmp_path: Path, prefix: Sequence[str]) -> None:
    with Supervised(tmp_path, ("sh", "-c", "echo parent $PPID; exit 7"), prefix=prefix) as supervised:
        assert supervised.wait() == 7
        assert supervised.program.stdout == "parent 1\n"
        assert "SIGTERM" in supervised.noted[-1]


def test_signals_reach_the_command(tmp_path: Path, prefix: Sequence[str]) -> None:
    wanted = (signal.SIGUSR1, signal.SIGHUP, signal.SIGTERM)
    with Supervised(tmp_path, listener(*wanted), prefix=prefix) as supervised:
        supervised.says("up")
        for number in wanted:
            os.kill(init_of(supervised), number)
            supervised.says(f"got {number}\n")
        assert supervised.wait() == 0


def test_sigterm_while_the_server_starts_ends_all(tmp_path: Path, prefix: Sequence[str]) -> None:
    """PID 1 is spared what would end any other process: it has to end by itself."""
    with Supervised(tmp_path, ("echo", "started"), server="silent", prefix=prefix) as supervised:
        eventually(lambda: len(supervised.noted) == 2, within=WITHIN, what=supervised.program.report)
        os.kill(init_of(supervised), signal.SIGTERM)
        assert supervised.wait() == 143
        assert supervised.program.stdout == ""


def test_zombies_do_not_pile_up(tmp_path: Path, prefix: Sequence[str]) -> None:
    command = ("sh", "-c", "for n in $(seq 300); do (true & ); done; echo up; exec sleep 600")
    with Supervised(tmp_path, command, prefix=prefix) as supervised:
        supervised.says("up")
        init = init_of(supervised)
        eventually(lambda: len(children_of(init)) == 2, within=WITHIN, what="the server and the command")
        os.kill(init, signal.SIGTERM)
        assert supervised.wait() == 143


def test_what_the_command_leaves_is_told_to_end_and_given_time(tmp_path: Path, prefix: Sequence[str]) -> None:
    script, left = tmp_path / "script", tmp_path / "left"
    script.write_text(LEFT)
    with Supervised(
        tmp_path, ("sh", "-c", LEAVING, "sh", str(script), str(left)), prefix=prefix
    ) as supervised:
        assert supervised.wait() == 3
        assert left.read_text() == "ended\n"
