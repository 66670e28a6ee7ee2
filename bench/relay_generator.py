"""The load generator ``relay_load`` (C), as Python calls it, and the ways between its two ends."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec

from bench.support import BENCH, BenchError, compile_c, running

NEAR = "127.0.0.2"
"""What near nodes dial: the stand-in address. It is the host part of the far nodes' names."""
FAR = "127.0.0.3"
"""Where the far side really is. On loopback all of 127.0.0.0/8 is this machine."""

SOURCES = tuple(
    BENCH / name
    for name in (
        "relay_load.c",
        "relay_links.c",
        "relay_handshake.c",
        "relay_ping.c",
        "relay_bulk.c",
        "relay_setup.c",
        "histogram.c",
    )
)

Reply = TypeVar("Reply")


@dataclass(frozen=True, slots=True)
class Way:
    """What lies between the two ends: nothing, or processes that carry bytes from NEAR to FAR."""

    label: str
    port: int
    """The same number on both addresses."""
    process_ids: tuple[int, ...]
    """Of the processes in the middle, the near one first; none: the near side dials FAR itself."""
    epmd_port: int | None = None
    """Of an EPMD server on the address that the near side dials; None: there is none."""

    @property
    def dialled(self) -> str:
        """The address that the near side dials."""
        return NEAR if self.process_ids else FAR


@dataclass(frozen=True, slots=True)
class Pings:
    """Frames of 64 bytes that went there and back; times from the send to the end of the answer."""

    messages: int
    total_messages: int
    """Those before and after the measured time too."""
    seconds: float
    rate: float
    """Round trips a second."""
    cpu_seconds: float
    """CPU time of the generator in the measured time."""
    total_cpu_seconds: float
    p50_us: float
    p99_us: float
    max_us: float
    slowest: int
    """Round trips of the link with the fewest."""
    median: int
    """Round trips of the link in the middle."""

    @property
    def carried(self) -> int:
        """Messages in all: each round trip is two."""
        return 2 * self.total_messages


@dataclass(frozen=True, slots=True)
class Bulk:
    """Frames one way, counted where they arrive."""

    bytes: int
    total_bytes: int
    seconds: float
    rate: float
    """Bytes a second."""
    cpu_seconds: float
    total_cpu_seconds: float
    slowest: int
    """Bytes of the link with the fewest."""
    median: int

    @property
    def carried(self) -> int:
        """Bytes in all."""
        return self.total_bytes


@dataclass(frozen=True, slots=True)
class Setups:
    """Links set up and closed again; times from connect(), or from when it was due, to the ack."""

    setups: int
    total_setups: int
    seconds: float
    rate: float
    cpu_seconds: float
    total_cpu_seconds: float
    p50_us: float
    p99_us: float
    max_us: float
    most_under_way: int
    far_cut_short: int
    """Connections that reached the far side and ended within the handshake."""
    failures: dict[str, int] = field(default_factory=dict)
    """Set-ups that failed, by reason."""

    @property
    def carried(self) -> int:
        """Links in all."""
        return self.total_setups


@dataclass(frozen=True, slots=True)
class _Opened:
    open: int
    seconds: float


@dataclass(frozen=True, slots=True)
class _StillOpen:
    still_open: int


class Generator:
    """Runs the load generator on `core`; with no process in the middle, its far side on `other_core`.

    The cores are None where the kernel chooses.
    """

    def __init__(self, binary: Path, core: int | None, other_core: int | None) -> None:
        self._binary = binary
        self._core = core
        self._other_core = other_core

    @classmethod
    def compiled(cls, core: int | None, other_core: int | None) -> Generator:
        """Compile the generator, and return it."""
        return cls(compile_c("relay_load", SOURCES, ["-pthread"]), core, other_core)

    def pings(self, way: Way, *, connections: int, seconds: float, warm: float) -> Pings:
        """Keep one small frame under way on each of `connections` links, for `seconds` after `warm`."""
        arguments = ["--connections", str(connections), *_times(seconds, warm)]
        return self._run("ping", way, arguments, Pings)

    def bulk(self, way: Way, *, connections: int, frame: int, seconds: float, warm: float) -> Bulk:
        """Send frames of `frame` bytes one way on each of `connections` links."""
        arguments = ["--connections", str(connections), "--frame", str(frame), *_times(seconds, warm)]
        return self._run("bulk", way, arguments, Bulk)

    def setups(
        self, way: Way, *, seconds: float, warm: float, rate: float | None = None, most: int = 1000
    ) -> Setups:
        """Set links up: `rate` a second, `most` under way at once; None: one after the other.

        Where the way has an EPMD server, each set-up asks it first. Raises BenchError if none came up.
        """
        paced = [] if rate is None else ["--rate", str(rate), "--connections", str(most)]
        figures = self._run("setup", way, [*paced, *_times(seconds, warm)], Setups)
        if figures.setups == 0:
            reasons = "; ".join(f"{count} failed: {why}" for why, count in figures.failures.items())
            raise BenchError(f"{way.label}: no link came up in the measured time: {reasons or 'none failed'}")
        return figures

    @contextmanager
    def held(self, way: Way, count: int, messages: int = 0) -> Iterator[None]:
        """Hold `count` established links that carry nothing; raises BenchError if one was lost by the end.

        `messages`: each carries so many small frames there and back before it is held.
        """
        command = self._command("hold", way, ["--connections", str(count), "--messages", str(messages)])
        with running(command, core=self._core, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            _read_line(process, _Opened)
            yield
            assert process.stdin is not None
            process.stdin.close()
            still_open = _read_line(process, _StillOpen).still_open
        if still_open != count:
            raise BenchError(f"{way.label}: {count - still_open} of {count} idle links were lost")

    def _run(self, mode: str, way: Way, arguments: Sequence[str], kind: type[Reply]) -> Reply:
        command = self._command(mode, way, arguments)
        with running(command, core=self._core, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            try:
                return _read_line(process, kind)
            except BenchError as error:
                raise BenchError(f"{way.label}: {error}") from None

    def _command(self, mode: str, way: Way, arguments: Sequence[str]) -> list[str]:
        ends = ["--dial", f"{way.dialled}:{way.port}", "--listen", f"{FAR}:{way.port}"]
        ends += ["--far-name", f"gen-{way.port}@{NEAR}"]
        if way.epmd_port is not None:
            ends += ["--lookup", f"{way.dialled}:{way.epmd_port}"]
        if not way.process_ids and self._other_core is not None:
            ends += ["--far-core", str(self._other_core)]
        return [str(self._binary), mode, *ends, *arguments]


def _times(seconds: float, warm: float) -> list[str]:
    return ["--seconds", str(seconds), "--warm", str(warm)]


def _read_line(process: subprocess.Popen[bytes], kind: type[Reply]) -> Reply:
    """The next line of the generator; bounded in time by the generator's own alarm."""
    assert process.stdout is not None
    line = process.stdout.readline()
    try:
        return msgspec.json.decode(line, type=kind)
    except msgspec.DecodeError:
        said = line.decode(errors="replace").strip() or f"ended with status {process.wait()}"
        raise BenchError(f"the load generator: {said}") from None
