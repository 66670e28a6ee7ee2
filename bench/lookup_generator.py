"""The load generator ``lookup_load`` (C), as Python calls it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from bench.support import BENCH, BenchError, compile_c, running

HELD_PER_PROCESS = 10_000
"""Connections that one generator process holds: below the limit on descriptors of any usual host."""

SOURCES = tuple(BENCH / name for name in ("lookup_load.c", "lookup_hold.c", "lookup_run.c", "histogram.c"))

Reply = TypeVar("Reply")


@dataclass(frozen=True, slots=True)
class Nodes:
    """`count` nodes: number I has the port `base` + I and the name `pattern` ({i}: I, {port}: its port)."""

    count: int
    pattern: str = "n{i}-{port}"
    base: int = 20_000

    def arguments(self) -> list[str]:
        """These nodes as the generator's arguments."""
        return ["--count", str(self.count), "--pattern", self.pattern, "--base", str(self.base)]


@dataclass(frozen=True, slots=True)
class Lookups:
    """What one run of lookups measured. Latency: from the start of connect() to the end of the reply."""

    lookups: int
    seconds: float
    rate: float
    """Right answers a second."""
    cpu_seconds: float
    """CPU time of the generator itself."""
    p50_us: float
    p90_us: float
    p99_us: float
    max_us: float
    failures: dict[str, int]
    """Lookups that failed, by kind, warming up included; empty in a run that counts."""


@dataclass(frozen=True, slots=True)
class _Opened:
    open: int
    seconds: float


@dataclass(frozen=True, slots=True)
class _StillOpen:
    still_open: int


class Generator:
    """Runs the load generator on `core` (None: on any) against servers on 127.0.0.1."""

    def __init__(self, binary: Path, core: int | None) -> None:
        self._binary = binary
        self._core = core

    @classmethod
    def compiled(cls, core: int | None) -> Generator:
        """Compile the generator, and return it."""
        return cls(compile_c("lookup_load", SOURCES), core)

    def load(self, port: int, nodes: Nodes, *, concurrency: int, seconds: float, warm: float) -> Lookups:
        """Look up names of `nodes` at random for `seconds`, after `warm` seconds that do not count."""
        times = ["--seconds", str(seconds), "--warm", str(warm)]
        return self._lookups("load", port, nodes, ["--concurrency", str(concurrency), *times])

    def sweep(self, port: int, nodes: Nodes, *, concurrency: int) -> Lookups:
        """Look up each of `nodes` once."""
        return self._lookups("sweep", port, nodes, ["--concurrency", str(concurrency)])

    def _lookups(self, mode: str, port: int, nodes: Nodes, arguments: Sequence[str]) -> Lookups:
        command = [*self._command(mode, port), *nodes.arguments(), *arguments]
        with running(command, core=self._core, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            return _read_line(process, Lookups)

    @contextmanager
    def registered(self, port: int, nodes: Nodes) -> Iterator[None]:
        """Hold a registration of each of `nodes`; raises BenchError if one was lost by the end."""
        with self._held("register", port, nodes):
            yield

    @contextmanager
    def silent(self, port: int, count: int) -> Iterator[None]:
        """Hold `count` connections that send nothing; raises BenchError if one was lost by the end."""
        with self._held("silent", port, Nodes(count)):
            yield

    @contextmanager
    def _held(self, mode: str, port: int, nodes: Nodes) -> Iterator[None]:
        with ExitStack() as stack:
            processes = []
            for first in range(0, nodes.count, HELD_PER_PROCESS):
                share = Nodes(min(HELD_PER_PROCESS, nodes.count - first), nodes.pattern, nodes.base)
                command = [*self._command(mode, port), *share.arguments(), "--first", str(first)]
                process = stack.enter_context(
                    running(command, core=self._core, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
                )
                _read_line(process, _Opened)
                processes.append(process)
            yield
            still_open = sum(_let_go(process) for process in processes)
            if still_open != nodes.count:
                raise BenchError(
                    f"{nodes.count - still_open} of {nodes.count} held connections were lost ({mode})"
                )

    def _command(self, mode: str, port: int) -> list[str]:
        return [str(self._binary), mode, "--port", str(port)]


def _let_go(process: subprocess.Popen[bytes]) -> int:
    """End a held process; returns how many connections were still open until then."""
    assert process.stdin is not None
    process.stdin.close()
    return _read_line(process, _StillOpen).still_open


def _read_line(process: subprocess.Popen[bytes], kind: type[Reply]) -> Reply:
    """The next line of the generator; bounded in time by the generator's own alarm."""
    assert process.stdout is not None
    line = process.stdout.readline()
    try:
        return msgspec.json.decode(line, type=kind)
    except msgspec.DecodeError:
        said = line.decode(errors="replace").strip() or f"ended with status {process.wait()}"
        raise BenchError(f"the load generator: {said}") from None
