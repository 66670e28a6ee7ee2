"""The questions that two real BEAM nodes ask: relay_beam.erl is their load, on nodes of this host's `erl`.

No EPMD anywhere: with ``-erl_epmd_port P`` a node listens on P and dials P, whatever host it dials. The far
node listens at FAR and is called after the address that the near node dials, as behind a relay.

Two nodes and what is in the middle are three processes on two cores, so where each of them runs decides much.
By default the near node has one core, and the far node the other, with the middle or with nothing beside
it: the nodes stand alike in every row, and what the middle costs is taken from the far node, so it shows.
With a core of its own for the middle, and one for both nodes, the nodes were at their limit long before
anything in the middle was, and all rates the same. ``--nodes`` chooses: beside, apart, or free, which
leaves it to the kernel. Each node has one scheduler, and no thread of it spins while it waits: a spinning
node would take the core from its neighbour, which on hosts of their own it never could.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec

from bench.relay_bench import Bench, Question
from bench.relay_generator import FAR, Way
from bench.relay_peers import started
from bench.relay_rounds import Job, tree_seconds
from bench.relay_rows import BEST, Target, shown_bytes, shown_rate, shown_us
from bench.report import Row
from bench.support import BENCH, BUILD, BenchError, Cores, fresh_build, running

NEAR_HOST = "127.0.0.1"
NODE_FLAGS = (
    *("-noshell", "-start_epmd", "false", "-setcookie", "relaybench"),
    *("+S", "1:1", "+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none"),
)

TARGETS: Mapping[str, Sequence[Target]] = {
    "sequential": (Target("haproxy-splice", 1.0), Target("haproxy", 1.0), Target("nginx", 1.1)),
    "parallel": (Target("haproxy-splice", 1.1), Target("haproxy", 1.1), Target("nginx", 1.0)),
    "large": (Target(BEST, 1.1),),
    "oneway": (),
}
"""By relay_beam.erl's modes."""

Reply = TypeVar("Reply")


@dataclass(frozen=True, slots=True)
class _Connected:
    connected: bool


@dataclass(frozen=True, slots=True)
class _Counted:
    """The near node's line of figures."""

    count: int
    total: int
    seconds: float
    rate: float
    mean_us: float | None = None
    p50_us: float | None = None
    p99_us: float | None = None


@dataclass(frozen=True, slots=True)
class Streamed:
    """What went one way between two nodes: messages, or bytes."""

    rate: float
    seconds: float
    cpu_seconds: float
    """CPU time of both nodes while the load ran."""
    total_cpu_seconds: float
    """The start of the near node included."""
    carried: float
    """Messages or bytes in all."""


@dataclass(frozen=True, slots=True)
class RoundTrips(Streamed):
    """Messages that went there and back."""

    mean_us: float
    p50_us: float
    p99_us: float


@dataclass(frozen=True, slots=True)
class Nodes:
    """The far nodes that stand behind each way, by its label."""

    far: Mapping[str, int]
    """Their process ids."""
    core: int | None

    def load(self, way: Way, *, mode: str, seconds: float, warm: float) -> Streamed:
        """Start a near node, let it put its load on the far node, and end it."""
        far = self.far[way.label]
        far_before = tree_seconds(far)
        more = ["-run", "relay_beam", "main", mode, _far_name(way), f"{warm:.3f}", f"{seconds:.3f}"]
        command = _node("near@" + NEAR_HOST, NEAR_HOST, way.port, more)
        with running(command, core=self.core, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as near:
            _read_line(way, near, _Connected)
            begun = time.monotonic()
            before = tree_seconds(near.pid) + tree_seconds(far)
            counted = _read_line(way, near, _Counted)
            after = tree_seconds(near.pid) + tree_seconds(far)
            spent = (after - before) / (time.monotonic() - begun) * counted.seconds
            total = tree_seconds(near.pid) + tree_seconds(far) - far_before
        return _figures(counted, spent, total)


def _figures(counted: _Counted, spent: float, total: float) -> Streamed:
    shared = (counted.rate, counted.seconds, spent, total)
    if counted.mean_us is None or counted.p50_us is None or counted.p99_us is None:
        return Streamed(*shared, counted.total)
    return RoundTrips(*shared, 2 * counted.total, counted.mean_us, counted.p50_us, counted.p99_us)


def _far_name(way: Way) -> str:
    return f"gen-{way.port}@{way.dialled}"


def _node(name: str, host: str, port: int, more: Sequence[str] = ()) -> list[str]:
    """The command of a node that listens at `port` of `host`."""
    erl = shutil.which("erl")
    if erl is None:
        raise BenchError("erl is needed (Debian package erlang-base)")
    interface = "{" + host.replace(".", ",") + "}"
    own = ["-name", name, "-erl_epmd_port", str(port), "-kernel", "inet_dist_use_interface", interface]
    return [erl, *NODE_FLAGS, "-pa", str(BUILD), *own, *more]


def _read_line(way: Way, process: subprocess.Popen[bytes], kind: type[Reply]) -> Reply:
    assert process.stdout is not None
    line = process.stdout.readline()
    try:
        return msgspec.json.decode(line, type=kind)
    except msgspec.DecodeError:
        said = line.decode(errors="replace").strip() or f"ended with status {process.wait()}"
        raise BenchError(f"{way.label}: the near node: {said}") from None


@contextmanager
def far_nodes(bench: Bench, ways: Sequence[Way]) -> Iterator[Nodes]:
    """A far node behind each of `ways`, until the block ends."""
    compile_load()
    cores = node_cores(bench)
    with ExitStack() as stack:
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="epmdless-bench-")))
        far: dict[str, int] = {}
        for way in ways:
            bench.progress.say(f"starting the far node behind {way.label}")
            command, listens = _node(_far_name(way), FAR, way.port), (FAR, way.port)
            core = cores.generator if bench.nodes == "apart" and way.process_ids else cores.server
            log = logs / way.label
            far[way.label] = stack.enter_context(started("a far node", command, listens, core, log))
        yield Nodes(far, cores.generator)


def compile_load() -> None:
    """Compile relay_beam.erl into ``bench/build``."""
    erlc = shutil.which("erlc")
    if erlc is None:
        raise BenchError("erlc is needed (Debian package erlang-base)")
    with fresh_build("relay_beam.beam") as made:
        command = [erlc, "-o", str(made.parent), str(BENCH / "relay_beam.erl")]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise BenchError(f"relay_beam.erl does not compile:\n{result.stdout}{result.stderr}")


def node_cores(bench: Bench) -> Cores:
    """The cores of the middle and of the near node."""
    return Cores(None, None) if bench.nodes == "free" else bench.cores


def between_nodes(bench: Bench, mode: str, targets: Sequence[Target]) -> list[Row]:
    """The rows of one of relay_beam.erl's modes."""
    with bench.standing(cores=node_cores(bench)) as ways, far_nodes(bench, ways) as nodes:
        run = partial(nodes.load, mode=mode, seconds=bench.seconds, warm=bench.warm)
        return bench.measured(_job(mode, run), ways, targets)


def _job(mode: str, run: partial[Streamed]) -> Job:
    if mode == "sequential":
        question = "BEAM, sequential round trips, 64 bytes"
        return Job(question, run, 1e6, "million", shown_us, "p50_us", True)
    if mode == "parallel":
        return Job("BEAM, round trips of 32 processes, 64 bytes", run, 1e6, "million", shown_rate)
    if mode == "large":
        return Job("BEAM, 1 MB messages one way", run, 1e9, "GB", shown_bytes)
    return Job("BEAM, 64-byte messages one way", run, 1e6, "million", shown_rate)


def questions(targets: Mapping[str, Sequence[Target]]) -> dict[str, Question]:
    """The questions of all modes that `targets` names."""
    return {f"beam-{mode}": partial(between_nodes, mode=mode, targets=targets[mode]) for mode in targets}


QUESTIONS = questions(TARGETS)
