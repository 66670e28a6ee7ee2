"""Programs of a demonstration: servers of ours and Erlang nodes, started, watched and ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import epmdless
from epmdless.cli.demo_world import Place
from epmdless.errors import EpmdlessError

READY_SECONDS = 30.0
"""For each program to be ready: a BEAM boots in 0.5 s on an idle machine."""

END_SECONDS = 5.0
"""For a program to end by itself after it was asked to."""

LOOK_SECONDS = 0.05
"""Between two looks whether something is ready."""

LOG_TAIL = 2000
"""Characters of a program's output that an error shows."""

OURS = (sys.executable, "-m", "epmdless")

FAR_CODE = """
register(echo, spawn(fun Echo() -> receive {From, Data} -> From ! Data, Echo() end end)),
io:put_chars("ready\\n"), io:get_line(""), halt().
"""
"""The far node echoes. Both nodes end when their standard input does."""

NEAR_CODE = """
Far = '{far_node}',
Link = fun Link() ->
    case net_adm:ping(Far) of pong -> io:put_chars("ready\\n"); pang -> timer:sleep(200), Link() end
end,
Data = binary:copy(<<"epmdless">>, 128),
Talk = fun Talk(0) -> timer:sleep(50), Talk(20);
           Talk(N) -> {{echo, Far}} ! {{self(), Data}}, receive Data -> ok after 1000 -> ok end, Talk(N - 1)
end,
spawn(fun() -> Link(), Talk(20) end),
io:get_line(""), halt().
"""
"""The near node pings, and then sends 1 KiB and waits for it to come back: 20 times, 20 times a second."""


class Running:
    """Programs that run, by name.

    :param folder: for their files, of ours alone.
    :param epmd_port: where Erlang nodes look for an EPMD server.
    """

    def __init__(self, folder: Path, epmd_port: int) -> None:
        self._folder = folder
        self._epmd_port = epmd_port
        self._processes: list[tuple[str, subprocess.Popen[bytes]]] = []

    def start(self, name: str, place: Place, argv: Sequence[str]) -> None:
        """Start a program; its output goes to a file. Its session is its own: Ctrl-C is for us alone."""

        def start() -> None:
            with self.log(name).open("wb") as log:
                process = subprocess.Popen(  # noqa: S603 - this interpreter, or the `erl` that was asked for
                    argv,
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    cwd=self._folder,
                    env=self._environment(),
                    start_new_session=True,
                )
            self._processes.append((name, process))

        place.call(start)

    def show(self, place: Place, argv: Sequence[str]) -> int:
        """Run a command of ours to its end; it prints where we do. Its exit status."""

        def run() -> int:
            return subprocess.run(  # noqa: S603 - this interpreter
                [*OURS, *argv], stdin=subprocess.DEVNULL, env=self._environment(), check=False
            ).returncode

        return place.call(run)

    def wait(self, name: str, is_ready: Callable[[], object], told_by: str | None = None) -> None:
        """Wait until something is ready; an error of ours says that it is not.

        :param told_by: the program whose output tells why not; None: the one of this name.
        :raises EpmdlessError: a program ended, or it takes too long.
        """
        end = time.monotonic() + READY_SECONDS
        while True:
            self.check()
            with contextlib.suppress(EpmdlessError):
                if is_ready():
                    return
            if time.monotonic() > end:
                said = self._tail(told_by or name)
                raise EpmdlessError(f"the {name} was not ready within {READY_SECONDS:g} s{said}")
            time.sleep(LOOK_SECONDS)

    def said_ready(self, name: str) -> bool:
        """Whether a node has said that it is ready."""
        return "ready\n" in self.log(name).read_text(errors="replace")

    def check(self) -> None:
        """See that every program lives.

        :raises EpmdlessError: one ended.
        """
        for name, process in self._processes:
            if process.poll() is not None:
                raise EpmdlessError(f"the {name} ended with status {process.returncode}{self._tail(name)}")

    def kill(self, name: str) -> None:
        """End a program as a crash does."""
        (found,) = (pair for pair in self._processes if pair[0] == name)
        self._processes.remove(found)
        process = found[1]
        assert process.stdin is not None, "each was started with a pipe"
        process.stdin.close()
        process.kill()
        process.wait()

    def close(self) -> None:
        """End them all, the last one first."""
        while self._processes:
            _end(self._processes.pop()[1])

    def _environment(self) -> Mapping[str, str]:
        """Nothing of ours that changes what the programs do: ERL_FLAGS, EPMDLESS_CONFIG, LISTEN_FDS."""
        kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
        return kept | {
            "HOME": str(self._folder),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "PYTHONPATH": str(Path(epmdless.__file__).parent.parent),
        }

    def log(self, name: str) -> Path:
        """The file with what a program says."""
        return self._folder / f"{name}.log"

    def _tail(self, name: str) -> str:
        log = self.log(name)
        said = log.read_text(errors="replace")[-LOG_TAIL:].strip() if log.exists() else ""
        return f"; it said:\n{said}" if said else ""


KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "TERM", "COLUMNS", "NO_COLOR")
"""Of our environment, for programs."""


def node_command(erl: str, name: str, address: str, *flags: str) -> list[str]:
    """The command line of a node that listens on one address, and starts no EPMD server."""
    octets = address.replace(".", ",")
    listening = ["-kernel", "inet_dist_use_interface", f"{{{octets}}}"]
    return [erl, "-noshell", "-name", name, "-start_epmd", "false", *listening, *flags]


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program and what it started: gently at first, and not for long."""
    assert process.stdin is not None, "each was started with a pipe"
    process.stdin.close()
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
