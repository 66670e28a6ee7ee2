"""The questions about what a hop carries, and about setting links up through it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from bench import relay_beam
from bench.hop_peers import HAPROXY_PAIR, PLAIN
from bench.relay_bench import Bench, Question
from bench.relay_generator import Setups, Way
from bench.relay_link_questions import setup_job
from bench.relay_questions import SMALL_FRAME, bulk_job, ping_job
from bench.relay_rounds import Job
from bench.relay_rows import BEST, Target, shown_rate, shown_us
from bench.report import Row
from bench.support import BenchError

BEAM_TARGETS: Mapping[str, Sequence[Target]] = {
    "sequential": (Target(HAPROXY_PAIR, 1.15),),
    "parallel": (Target(HAPROXY_PAIR, 0.9),),
    "large": (Target(BEST, 1.1),),
}
WARM_TARGETS = (Target(PLAIN, 1.3),)

WARM_RATE = 50.0
"""Set-ups a second that leave any pool the time to fill again before the next."""
WARM_SECONDS = 2.0
"""At least, unless all runs are short: a median needs some of them."""


def pings(bench: Bench) -> list[Row]:
    """Small frames there and back on 32 links, without nodes, which limit what BEAM rows can show."""
    return bench.compared(ping_job(bench, 32))


def bulk(bench: Bench) -> list[Row]:
    """Fragments as OTP cuts them, one way on 8 links, without nodes."""
    return bench.compared(bulk_job(bench, 8, SMALL_FRAME))


def warm_setups(bench: Bench) -> list[Row]:
    """Links begun one by one with time between them, so that ready connections are there to take."""
    is_quick = bench.seconds < 1
    run = partial(_paced, bench, seconds=bench.seconds if is_quick else max(bench.seconds, WARM_SECONDS))
    question = f"link set-up, {WARM_RATE:g} begun each second"
    return bench.compared(Job(question, run, 1e3, "thousand", shown_us, "p50_us", True), WARM_TARGETS)


def _paced(bench: Bench, way: Way, *, seconds: float) -> Setups:
    figures = bench.generator.setups(way, seconds=seconds, warm=bench.warm, rate=WARM_RATE)
    if figures.failures:
        reasons = "; ".join(f"{count} {why}" for why, count in figures.failures.items())
        raise BenchError(f"{way.label}: set-ups failed: {reasons}")
    return figures


def setup_rate(bench: Bench) -> list[Row]:
    """Links set up one after the other as fast as it goes: with a pool, as fast as it is filled again."""
    job = setup_job(bench, "link set-ups, one after the other")
    return bench.compared(Job(job.question, job.run, job.unit, job.unit_name, shown_rate))


QUESTIONS: dict[str, Question] = {
    **relay_beam.questions(BEAM_TARGETS),
    "ping-32": pings,
    "bulk-8": bulk,
    "setup": warm_setups,
    "setup-rate": setup_rate,
}
