"""The questions about links themselves: setting them up, holding many of them, working on many at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from bench import relay_peers
from bench.relay_bench import Bench
from bench.relay_generator import Setups, Way
from bench.relay_peers import DIRECT, OURS
from bench.relay_questions import ping_job
from bench.relay_rounds import Job, Measured, tree_seconds
from bench.relay_rows import rows_of, shown_rate, shown_us
from bench.report import Row
from bench.support import BenchError, median, process_tree, resident_bytes

NOT_FOR_MANY = "socat"
"""Has a process for each link: thousands of them would measure the machine's memory."""

LINK_BYTES_LIMIT = 8 * 1024
IDLE_WAKE_UPS_SPARE = 2
"""Wake-ups more than without links that count as none: of timers that happen to end meanwhile."""
FAIR_SHARE = 0.5
"""What the slowest link must reach of the median one."""
ADDED_LIMIT_US = 2000.0
HELD_RATE = 500.0
LONG_SECONDS = 5.0
"""At least: a backlog that grows, or a link that starves, needs some seconds to show."""
HELD_LIMIT_US = 1e6
"""The slowest set-up of a rate that is held: with a backlog that grows they take ever longer."""
SETTLE_SECONDS = 0.5


# ---- set-up ----


def setups(bench: Bench) -> list[Row]:
    """Links set up one after the other and closed again, without a lookup: all ways can."""
    return bench.compared(setup_job(bench, "TCP link set-up, one at a time"))


def setup_job(bench: Bench, question: str) -> Job:
    """Links set up one after the other, compared by the median time of one."""
    run = partial(bench.generator.setups, seconds=bench.seconds, warm=bench.warm)
    return Job(question, run, 1e3, "thousand", shown_us, "p50_us", True)


def lookups(bench: Bench) -> list[Row]:
    """Lookup, connection and handshake through the relay, against a far host that is dialled directly."""
    with replace(bench, way=partial(relay_peers.way, lookups=True)).standing([DIRECT, _ours(bench)]) as ways:
        job = setup_job(bench, "lookup and link set-up, one at a time")
        direct, ours = bench.alternation.measure(job, ways)
        held = _held_row(bench, ways[1])
    added = ours.figure("p50_us") - direct.figure("p50_us")
    row = rows_of(job, [direct, ours], ())[0]
    return [_with_target(row, f"adds ≤ {ADDED_LIMIT_US / 1000:g} ms", added), held]


def _with_target(row: Row, target: str, added: float) -> Row:
    return Row(
        row.question,
        target,
        row.ours,
        row.against,
        row.ratio,
        met=added <= ADDED_LIMIT_US,
        note=f"adds {added / 1000:.2f} ms at the median; {row.note}",
        details={**row.details, "added_us": added, "target_added_us": ADDED_LIMIT_US},
    )


def _held_row(bench: Bench, way: Way) -> Row:
    seconds = _long(bench)
    runs: list[Setups] = []
    for number in range(bench.alternation.rounds):
        bench.progress.say(f"{HELD_RATE:.0f} set-ups a second, {way.label}: round {number + 1}")
        runs.append(bench.generator.setups(way, seconds=seconds, warm=bench.warm, rate=HELD_RATE))
    failures = {why: count for run in runs for why, count in run.failures.items()}
    slowest = max(run.max_us for run in runs)
    rate = median([run.rate for run in runs])
    held = not failures and min(run.rate for run in runs) >= 0.99 * HELD_RATE and slowest < HELD_LIMIT_US
    p50, p99 = (median([getattr(run, name) for run in runs]) for name in ("p50_us", "p99_us"))
    return Row(
        question=f"lookup and link set-up, {HELD_RATE:.0f} begun each second for {seconds:g} s",
        target="held",
        ours=shown_rate(rate),
        against="",
        ratio=None,
        met=held,
        note=f"p50 {p50:.0f} µs; p99 {p99:.0f} µs; slowest {slowest / 1000:.1f} ms"
        + "".join(f"; {count} failed: {why}" for why, count in failures.items()),
        details={"ours": [asdict(run) for run in runs]},
    )


# ---- idle links ----


@dataclass(frozen=True, slots=True)
class Idle:
    """What a process spent while its links were idle, and what memory they took."""

    label: str
    links: int
    seconds: float
    bytes_each: float
    """Resident memory, in bytes; of this process alone, so without what the kernel holds."""
    cpu_seconds: float
    wake_ups: int
    """Voluntary context switches of all threads: each is a wait that ended."""
    wake_ups_without: int
    """In as long a time before the links were there."""


def idle(bench: Bench) -> list[Row]:
    """Many links that carry nothing."""
    labels = _many_capable(bench)
    with bench.standing(labels) as ways:
        results = [_idle(bench, way) for way in ways]
    ours, others = results[0], results[1:]
    return [_memory_row(ours, others), _wake_up_row(ours, others)]


def _idle(bench: Bench, way: Way) -> Idle:
    [process_id] = way.process_ids
    one_link(bench, way)
    bench.progress.say(f"{way.label}: watching it without links for {bench.idle_seconds:g} s")
    _, without = _watched(process_id, bench.idle_seconds)
    empty = resident_bytes(process_id)
    bench.progress.say(f"{way.label}: opening {bench.links:,} links")
    with bench.generator.held(way, bench.links):
        time.sleep(SETTLE_SECONDS)
        full = resident_bytes(process_id)
        bench.progress.say(f"{way.label}: watching {bench.links:,} idle links for {bench.idle_seconds:g} s")
        spent, wake_ups = _watched(process_id, bench.idle_seconds)
    each = (full - empty) / bench.links
    return Idle(way.label, bench.links, bench.idle_seconds, each, spent, wake_ups, without)


def one_link(bench: Bench, way: Way) -> None:
    """Carry one link first: what the first one loads once is not the price of each."""
    with bench.generator.held(way, 1):
        time.sleep(SETTLE_SECONDS)
    time.sleep(SETTLE_SECONDS)


def _watched(process_id: int, seconds: float) -> tuple[float, int]:
    """CPU seconds and voluntary context switches in the next `seconds`."""
    cpu, switches = tree_seconds(process_id), voluntary_switches(process_id)
    time.sleep(seconds)
    return tree_seconds(process_id) - cpu, voluntary_switches(process_id) - switches


def voluntary_switches(process_id: int) -> int:
    """Voluntary context switches so far of a process and its descendants, all threads."""
    count = 0
    for each in process_tree(process_id):
        for status in Path(f"/proc/{each}/task").glob("*/status"):
            line = next(line for line in status.read_text().splitlines() if line.startswith("voluntary"))
            count += int(line.split()[1])
    return count


def _memory_row(ours: Idle, others: Sequence[Idle]) -> Row:
    return Row(
        question=f"memory (RSS) for an idle link, {ours.links:,} of them",
        target=f"≤ {LINK_BYTES_LIMIT:,} bytes",
        ours=f"{ours.bytes_each:,.0f} bytes{_name(ours.label)}",
        against="; ".join(f"{each.bytes_each:,.0f} {each.label}" for each in others),
        ratio=None,
        met=ours.bytes_each <= LINK_BYTES_LIMIT,
        details={"ours": asdict(ours), "against": [asdict(each) for each in others]},
    )


def _wake_up_row(ours: Idle, others: Sequence[Idle]) -> Row:
    return Row(
        question=f"wake-ups in {ours.seconds:g} s with {ours.links:,} idle links",
        target="no more than without links",
        ours=f"{ours.wake_ups:,}{_name(ours.label)}, without {ours.wake_ups_without:,}",
        against="; ".join(f"{each.wake_ups:,} {each.label}" for each in others),
        ratio=None,
        met=ours.wake_ups <= ours.wake_ups_without + IDLE_WAKE_UPS_SPARE,
        note="CPU seconds " + "; ".join(f"{each.cpu_seconds:.2f} {each.label}" for each in (ours, *others)),
        details={"ours": asdict(ours), "against": [asdict(each) for each in others]},
    )


# ---- many links that all work ----


def ring(bench: Bench) -> list[Row]:
    """A frame under way on each of many links at once."""
    job = ping_job(replace(bench, seconds=_long(bench)), bench.links)
    with bench.standing(_many_capable(bench)) as ways:
        results = bench.alternation.measure(job, ways)
    return [_fairness_row(job, results[0], results[1:]), *rows_of(job, results, ())]


def _fairness_row(job: Job, ours: Measured, others: Sequence[Measured]) -> Row:
    share = _share(ours)
    return Row(
        question=f"{job.question}: slowest against median link",
        target=f"≥ {FAIR_SHARE}",
        ours=f"{share:.2f}{_name(ours.way.label)}",
        against="; ".join(f"{_share(each):.2f} {each.way.label}" for each in others),
        ratio=None,
        met=share >= FAIR_SHARE,
        note=f"{ours.figure('slowest'):,.0f} of {ours.figure('median'):,.0f} round trips",
    )


def _share(result: Measured) -> float:
    """The worst round's: starving must not happen in any."""
    return min(run.figure("slowest") / max(1.0, run.figure("median")) for run in result.runs)


# ---- which ways, and for how long ----


def _long(bench: Bench) -> float:
    """Seconds of a run that must not be short, unless all of them are."""
    return max(LONG_SECONDS, bench.seconds) if bench.seconds >= 1 else bench.seconds


def _ours(bench: Bench) -> str:
    """epmdless, or the variant of it that was asked for; nothing else answers lookups."""
    found = [label for label in bench.labels if label.startswith(OURS)]
    if not found:
        raise BenchError(f"needs {OURS} among the peers")
    return found[0]


def _many_capable(bench: Bench) -> list[str]:
    """The ways with something in the middle that can hold many links; ours first, if it is among them."""
    found = [label for label in bench.labels if label not in (DIRECT, NOT_FOR_MANY)]
    if not found:
        raise BenchError("nothing is in the middle that can hold many links")
    return found


def _name(label: str) -> str:
    return "" if label == OURS else f" {label}"


QUESTIONS: dict[str, Callable[[Bench], list[Row]]] = {
    "setup": setups,
    "lookup": lookups,
    "idle": idle,
    "ring": ring,
}
