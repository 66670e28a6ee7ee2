"""What the benchmarks share: child processes and their cost, cores, machine facts, progress on a terminal."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

from rich.console import Console
from rich.status import Status

ROOT = Path(__file__).resolve().parent.parent
BENCH = ROOT / "bench"
BUILD = BENCH / "build"
RESULTS = BENCH / "results"

END_LIMIT = 5.0
"""Seconds that a process has to end after SIGTERM, before it is killed."""


class BenchError(Exception):
    """A measurement could not be made; the text says why."""


@dataclass(frozen=True, slots=True)
class Cores:
    """The core that each side is pinned to; None: wherever the kernel likes."""

    server: int | None
    generator: int | None

    @classmethod
    def apart(cls) -> Cores:
        """The first two cores that this process may use; none when it may use only one."""
        usable = sorted(os.sched_getaffinity(0))
        return cls(usable[0], usable[1]) if len(usable) > 1 else cls(None, None)


@contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """Children that this thread starts meanwhile run on `core` only."""
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def running(
    command: Sequence[str],
    *,
    core: int | None,
    stdout: int | IO[bytes] = subprocess.DEVNULL,
    stderr: int | IO[bytes] = subprocess.DEVNULL,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `command`, with a pipe as its stdin, until the block ends, however it ends."""
    with pinned(core):
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=stdout, stderr=stderr, cwd=ROOT, env=clean_environment()
        )
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """End `process` and wait until it is gone; one that does not want to is killed."""
    process.terminate()
    try:
        process.wait(END_LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def clean_environment() -> dict[str, str]:
    """The environment without what would change either server's settings."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("ERL_", "EPMDLESS_"))}


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port on 127.0.0.1 that was free just now."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def raise_descriptor_limit() -> int:
    """Raise the soft limit on descriptors to the hard one, for all children too; returns it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def process_tree(process_id: int) -> list[int]:
    """`process_id` and all that descend from it; what ends meanwhile may be missing."""
    found = [process_id]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            with suppress(FileNotFoundError, ProcessLookupError):
                found += [int(child) for child in children.read_text().split()]
    return found


def resident_bytes(process_id: int) -> int:
    """Resident memory of a process and its descendants, in bytes, exact (smaps_rollup)."""
    return sum(memory_of_one(each, "Rss") for each in process_tree(process_id))


def proportional_bytes(process_id: int) -> int:
    """The same, with its share only of each page that other processes have too."""
    return sum(memory_of_one(each, "Pss") for each in process_tree(process_id))


def memory_of_one(process_id: int, name: str) -> int:
    """A figure of a process without its descendants: "Rss", "Pss" or another of smaps_rollup, in bytes."""
    for line in Path(f"/proc/{process_id}/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise BenchError(f"no {name} for process {process_id}")


def cpu_seconds(process_id: int) -> float:
    """CPU time of a process and its descendants so far, in seconds, to a clock tick (10 ms)."""
    return sum(_cpu_seconds_of_one(each) for each in process_tree(process_id))


def _cpu_seconds_of_one(process_id: int) -> float:
    after_name = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    user, system = int(after_name[11]), int(after_name[12])
    return (user + system) / os.sysconf("SC_CLK_TCK")


def machine_busy_seconds() -> float:
    """CPU time that all cores together were not idle so far, in seconds; stolen time counts as busy."""
    fields = [int(field) for field in Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]]
    idle, waiting = fields[3], fields[4]
    return (sum(fields) - idle - waiting) / os.sysconf("SC_CLK_TCK")


def median(values: Sequence[float]) -> float:
    """The median; nan when there is nothing, so that a failed measurement stays visible."""
    return statistics.median(values) if values else float("nan")


def compile_c(name: str, sources: Sequence[Path], flags: Sequence[str] = ()) -> Path:
    """Compile `sources`, with more `flags`, into ``bench/build/NAME`` and return its path."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise BenchError("a C compiler is needed: no `cc` found")
    with fresh_build(name) as binary:
        result = subprocess.run(
            [compiler, "-std=c11", "-O2", "-Wall", "-Wextra", *flags, "-o", binary, *sources],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if result.returncode != 0:
            raise BenchError(f"{name} does not compile:\n{result.stdout}")
    return BUILD / name


@contextmanager
def fresh_build(name: str) -> Iterator[Path]:
    """A path to make the file `name` at; it takes its place in ``bench/build`` once the block ends.

    Whoever runs the older one meanwhile, another benchmark or a test, goes on with that.
    """
    BUILD.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD) as folder:
        made = Path(folder, name)
        yield made
        made.replace(BUILD / name)


def debian_version(program: Path) -> str | None:
    """Package and version that `program` belongs to; None where dpkg does not know it."""
    if shutil.which("dpkg-query") is None:
        return None
    owner = _output(["dpkg-query", "-S", str(program)])
    if owner is None:
        return None
    package = owner.partition(":")[0]
    return f"{package} {_output(['dpkg-query', '-W', '-f=${Version}', package])}"


def _output(command: Sequence[str]) -> str | None:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout.strip() if result.returncode == 0 else None


def machine_facts() -> dict[str, object]:
    """What the figures depend on, without names of hosts, users or paths."""
    return {
        "kernel": platform.release(),
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "python": platform.python_version(),
        "descriptor_limit": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "congestion_control": Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip(),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"


def end_cleanly_on_sigterm() -> None:
    """Let SIGTERM unwind the program, as Ctrl-C does, so that it ends its children."""

    def leave(_number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + signal.SIGTERM)

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, leave)


class Progress:
    """What is being done now, on stderr: one live line on a terminal, a line for each step elsewhere."""

    def __init__(self) -> None:
        self.topic = ""
        """What the steps belong to; stands before each."""
        self._console = Console(stderr=True, highlight=False)
        self._status: Status | None = None

    def say(self, text: str) -> None:
        """Show `text` until the next one."""
        text = f"{self.topic}: {text}"
        if not self._console.is_terminal:
            self._console.print(text, soft_wrap=True)
        elif self._status is None:
            self._status = self._console.status(text)
            self._status.start()
        else:
            self._status.update(text)

    def done(self) -> None:
        """Clear the live line, if there is one."""
        if self._status is not None:
            self._status.stop()
            self._status = None
