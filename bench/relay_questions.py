"""The questions about the pump, by plain TCP: small frames there and back, and frames as fast as they go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from bench.relay_bench import Bench
from bench.relay_peers import OURS
from bench.relay_rounds import Job
from bench.relay_rows import BEST, COST, Target, rows_of, shown_bytes, shown_rate
from bench.report import Row

PLAIN = "epmdless-plain"
"""epmdless with `frames = false`."""
SMALL_FRAME, LARGE_FRAME = 64 * 1024, 1024 * 1024
"""Bytes: a fragment as OTP cuts large messages, and a whole large message of a node that does not."""

PING_TARGETS = (Target("haproxy-splice", 1.2), Target("nginx", 0.95))
BULK_TARGETS = (Target(BEST, 1.0), Target("haproxy", 1.0, COST))
ACCOUNTING_TARGETS = (Target(PLAIN, 0.9),)


def pings(bench: Bench, connections: int, targets: Sequence[Target]) -> list[Row]:
    """Small frames there and back on `connections` links."""
    return bench.compared(ping_job(bench, connections), targets)


def ping_job(bench: Bench, connections: int) -> Job:
    """One small frame under way on each of `connections` links."""
    run = partial(bench.generator.pings, connections=connections, seconds=bench.seconds, warm=bench.warm)
    return Job(f"TCP ping, 64 bytes, {_links(connections)}", run, 1e6, "million", shown_rate)


def bulk(bench: Bench, connections: int, frame: int) -> list[Row]:
    """Frames of `frame` bytes one way on `connections` links."""
    return bench.compared(bulk_job(bench, connections, frame), BULK_TARGETS)


def bulk_job(bench: Bench, connections: int, frame: int) -> Job:
    """Frames of `frame` bytes one way on `connections` links, as fast as they go."""
    run = partial(
        bench.generator.bulk, connections=connections, frame=frame, seconds=bench.seconds, warm=bench.warm
    )
    question = f"TCP bulk, frames of {frame // 1024:,} KiB, {_links(connections)}"
    return Job(question, run, 1e9, "GB", shown_bytes)


def frames(bench: Bench) -> list[Row]:
    """Frame accounting on against off, both ours."""
    rows: list[Row] = []
    jobs = [ping_job(bench, 32), bulk_job(bench, 1, SMALL_FRAME), bulk_job(bench, 8, SMALL_FRAME)]
    with bench.standing([OURS, PLAIN]) as ways:
        for job in jobs:
            rows += rows_of(job, bench.alternation.measure(job, ways), ACCOUNTING_TARGETS)
    return rows


def _links(count: int) -> str:
    return f"{count:,} link{'' if count == 1 else 's'}"


QUESTIONS: dict[str, Callable[[Bench], list[Row]]] = {
    "ping-1": partial(pings, connections=1, targets=()),
    "ping-32": partial(pings, connections=32, targets=PING_TARGETS),
    "bulk-1": partial(bulk, connections=1, frame=SMALL_FRAME),
    "bulk-8": partial(bulk, connections=8, frame=SMALL_FRAME),
    "bulk-1-large": partial(bulk, connections=1, frame=LARGE_FRAME),
    "bulk-8-large": partial(bulk, connections=8, frame=LARGE_FRAME),
    "frames": frames,
}
