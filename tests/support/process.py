"""A program as a subprocess: its output is kept, its end is certain."""

import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.deadline import eventually


class Program:
    """A running program in a session of its own.

    Its output goes to unnamed files instead of pipes: nobody has to read along for it to go on, and a
    descendant that keeps the descriptors open cannot make a reader wait for ever.
    """

    def __init__(
        self,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: bool = False,
        pass_fds: Sequence[int] = (),
    ) -> None:
        """Start it. With `stdin` it gets a pipe to read from, otherwise nothing."""
        self.argv = [str(word) for word in argv]
        self._out = tempfile.TemporaryFile("a+b")  # noqa: SIM115 -- closed by close()
        self._err = tempfile.TemporaryFile("a+b")  # noqa: SIM115
        self.process = subprocess.Popen(
            self.argv,
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=self._out,
            stderr=self._err,
            env=env,
            cwd=cwd,
            pass_fds=pass_fds,
            start_new_session=True,
            bufsize=0,
        )

    @property
    def pid(self) -> int:
        """Its process id, which is also its group's and its session's."""
        return self.process.pid

    @property
    def stdout(self) -> str:
        """All it has written to standard output so far."""
        return _content(self._out.fileno())

    @property
    def stderr(self) -> str:
        """All it has written to standard error so far."""
        return _content(self._err.fileno())

    @property
    def ended(self) -> bool:
        """Tell whether it has ended; that also reaps it."""
        return self.process.poll() is not None

    def report(self) -> str:
        """Describe it for a failed test: command, status and both outputs."""
        status = "running" if not self.ended else f"ended with {self.process.returncode}"
        head = f"{' '.join(map(_shortened, self.argv))}\n  {status}"
        return f"{head}\n--- stdout\n{self.stdout[-8000:]}\n--- stderr\n{self.stderr[-8000:]}\n---"

    def wait(self, within: float) -> int:
        """Wait `within` seconds for its end, and return its status (negative: the signal)."""
        eventually(lambda: self.ended, within=within, what=lambda: f"the end of {self.report()}")
        return int(self.process.returncode)

    def signal(self, number: signal.Signals) -> None:
        """Send it, and it alone, a signal."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it and its process group with no chance to clean up, and reap it."""
        if self.ended:
            return  # reaped already: its group's number may be somebody else's by now
        os.killpg(self.pid, signal.SIGKILL)
        self.process.wait(10)

    def stop(self, grace: float = 5.0) -> int:
        """End it by SIGTERM, by SIGKILL when `grace` seconds did not do; return its status."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        if not self.ended:
            self.signal(signal.SIGTERM)
            try:
                self.process.wait(grace)
            except subprocess.TimeoutExpired:
                self.kill()
        return int(self.process.returncode)

    def close(self) -> None:
        """Make sure that it is gone, and forget its output."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.kill()
        self._out.close()
        self._err.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self.close()


def _shortened(word: str) -> str:
    """Keep a word of a command line readable in a report: a node's whole program is one word."""
    return word if len(word) <= 100 else f"{word[:40].strip()}…"


def _content(descriptor: int) -> str:
    """Read a file from its start without moving the offset, which the program shares."""
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode(errors="replace")


@dataclass(frozen=True, slots=True)
class Finished:
    """What a program that ran to its end printed, and its status."""

    status: int
    stdout: str
    stderr: str


def run(
    argv: Sequence[str | Path], *, within: float = 20.0, env: Mapping[str, str] | None = None
) -> Finished:
    """Run a program to its end, `within` seconds at most."""
    with Program(argv, env=env) as program:
        status = program.wait(within)
        return Finished(status, program.stdout, program.stderr)
