"""On a terminal: Ctrl-C and Ctrl-Z, a shell's jobs, and whose the foreground is."""

import contextlib
import os
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.supervisor.supervised import START, WITHIN, scripted_orders
from tests.supervisor.test_running import listener
from tests.support.deadline import eventually
from tests.support.tools import clean_env, require

CTRL_C, CTRL_Z = "\x03", "\x1a"

READER = ("sh", "-c", "echo up; while read line; do echo got-$line; done")
COUNTER = ("sh", "-c", "trap 'echo interrupted' INT; echo up; while :; do read line && echo got-$line; done")


class Terminal:
    """A terminal with a program at the head of its session, and what is shown on it."""

    def __init__(self, argv: Sequence[str], descriptor: int) -> None:
        """Start the program, with a descriptor that it may need."""
        self._master, slave = os.openpty()
        os.set_blocking(self._master, False)
        self._shown = ""
        self._read = 0
        self._program = subprocess.Popen(
            [require("setsid", "util-linux"), "--ctty", *argv],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=clean_env(PS1="shell> ", TERM="dumb"),
            pass_fds=[descriptor],
        )
        os.close(slave)

    def types(self, text: str) -> None:
        os.write(self._master, text.encode())

    def shows(self, text: str) -> None:
        """Wait until this is shown, after what was waited for before."""

        def look() -> bool:
            with contextlib.suppress(OSError):
                while piece := os.read(self._master, 65536):
                    self._shown += piece.decode(errors="replace")
            found = self._shown.find(text, self._read)
            if found >= 0:
                self._read = found + len(text)
            return found >= 0

        eventually(look, within=WITHIN, what=lambda: f"{text!r} in {self._shown!r}")

    def count(self, text: str) -> int:
        """How often this has been shown."""
        return self._shown.count(text)

    def status(self) -> int:
        """Wait for the program's end."""
        return self._program.wait(WITHIN)

    def close(self) -> None:
        os.close(self._master)  # the session's head gets SIGHUP
        try:
            self._program.wait(WITHIN)
        finally:
            self._program.kill()
            self._program.wait()


@contextlib.contextmanager
def on_terminal(folder: Path, command: Sequence[str], *shell: str) -> Iterator[Terminal]:
    """Supervise a command on a terminal.

    shell: a program that runs the words after it, and heads the session; without one the supervisor does,
    as in a container.
    """
    words = scripted_orders(folder / "journal", command).to_words()
    terminal = Terminal([*shell, *START, *words], int(words[0]))
    os.close(int(words[0]))
    try:
        yield terminal
    finally:
        terminal.close()


@contextlib.contextmanager
def in_shell(folder: Path, command: Sequence[str], after: str = "") -> Iterator[Terminal]:
    """Type the supervisor's command line into an interactive shell; `after` is what stands behind it."""
    words = scripted_orders(folder / "journal", command).to_words()
    terminal = Terminal([require("bash"), "--norc", "--noprofile", "-i"], int(words[0]))
    os.close(int(words[0]))
    try:
        terminal.shows("shell> ")
        terminal.types(shlex.join([*START, *words]) + after + "\n")
        yield terminal
    finally:
        terminal.close()


def test_the_command_reads_the_terminal_and_gets_its_ctrl_c_once(tmp_path: Path) -> None:
    with on_terminal(tmp_path, COUNTER) as terminal:
        terminal.shows("up\r\n")
        terminal.types("one\n")
        terminal.shows("got-one\r\n")
        terminal.types(CTRL_C)
        terminal.shows("interrupted\r\n")
        terminal.types("two\n")
        terminal.shows("got-two\r\n")
        assert terminal.count("interrupted") == 1


def test_ctrl_c_ends_a_command_and_its_status_says_so(tmp_path: Path) -> None:
    with on_terminal(tmp_path, READER) as terminal:
        terminal.shows("up\r\n")
        terminal.types(CTRL_C)
        assert terminal.status() == 130


def test_ctrl_z_stops_nothing_where_nobody_could_continue_it(tmp_path: Path) -> None:
    with on_terminal(tmp_path, READER) as terminal:
        terminal.shows("up\r\n")
        terminal.types(CTRL_Z)
        terminal.types("one\n")
        terminal.shows("got-one\r\n")


def test_a_job_of_a_shell_is_stopped_and_continued(tmp_path: Path) -> None:
    with in_shell(tmp_path, READER) as terminal:
        terminal.shows("up\r\n")
        terminal.types(CTRL_Z)
        terminal.shows("Stopped")
        terminal.shows("shell> ")
        terminal.types("fg\n")
        terminal.types("one\n")
        terminal.shows("got-one\r\n")
        terminal.types("\x04")
        terminal.shows("shell> ")
        terminal.types("echo status=$?\n")
        terminal.shows("status=0\r\n")


def test_a_job_in_the_background_takes_no_terminal_until_it_is_given_one(tmp_path: Path) -> None:
    with in_shell(tmp_path, READER, " &") as terminal:
        terminal.shows("up\r\n")  # then it reads, which stops it
        terminal.types("until jobs | grep Stopped; do sleep 0.02; done\n")
        terminal.shows("Stopped")
        terminal.types("fg\n")
        terminal.types("one\n")
        terminal.shows("got-one\r\n")
        terminal.types(CTRL_C)
        terminal.shows("shell> ")


def test_a_script_has_the_terminal_back_afterwards(tmp_path: Path) -> None:
    script = '"$@"; echo ended $?; read line; echo script-got-$line'
    with on_terminal(tmp_path, ("sh", "-c", "exit 3"), "sh", "-c", script, "sh") as terminal:
        terminal.shows("ended 3\r\n")
        terminal.types("one\n")
        terminal.shows("script-got-one\r\n")


def test_signals_are_not_taken_from_the_terminal_by_the_server(tmp_path: Path) -> None:
    with on_terminal(tmp_path, listener(2)) as terminal:
        terminal.shows("up\r\n")
        terminal.types(CTRL_C)
        assert terminal.status() == 0
        assert "SIGTERM" in (tmp_path / "journal").read_text().splitlines()[-1]
