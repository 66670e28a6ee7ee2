"""Rows of the relay benchmark's table: ours against each peer, and what the targets say of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from bench.lookup_rounds import OTHERS_LIMIT
from bench.relay_peers import DIRECT, OURS
from bench.relay_rounds import Job, Measured
from bench.report import Row

BEST = "the best peer"
COST = "cost"
"""As a figure: the CPU time of the middle for one unit; less is better."""


@dataclass(frozen=True, slots=True)
class Target:
    """What ours must be as a multiple of a peer's figure: at least, or at most where less is better."""

    against: str
    """The label of a peer, or BEST."""
    bound: float
    figure: str | None = None
    """COST, which makes a row of its own; None: the figure that the job is compared by."""


def rows_of(
    job: Job,
    results: Sequence[Measured],
    targets: Sequence[Target],
    references: Collection[str] = (DIRECT,),
) -> list[Row]:
    """A row for ours (or for the first that is no reference) against each of the others.

    `results` stand in the order of the table. `references` are labels that are never the best peer. A job
    that went one way only gives one row, without a ratio.
    """
    peers = [result for result in results if result.way.label not in references]
    if len(results) < 2 or not peers:
        return [_alone(job, result) for result in results]
    ours = next((result for result in peers if result.way.label == OURS), peers[0])
    best = _best(job, [result for result in peers if result is not ours])
    rows = []
    for other in results:
        if other is ours:
            continue
        names = {other.way.label, BEST if other is best else None}
        found = [target for target in targets if target.against in names]
        plain = [target for target in found if target.figure is None]
        rows.append(_row(job, ours, other, plain[0] if plain else None))
        rows += [_cost_row(job, ours, other, target) for target in found if target.figure == COST]
    return rows


def _best(job: Job, peers: Sequence[Measured]) -> Measured | None:
    choose = min if job.less_is_better else max
    return choose(peers, key=lambda each: each.figure(job.figure), default=None)


def _alone(job: Job, result: Measured) -> Row:
    return Row(
        question=job.question,
        target="",
        ours=_shown(job, result),
        against="",
        ratio=None,
        met=None,
        note=_note(job, [result]),
        details={"ours": result.as_json()},
    )


def _shown(job: Job, result: Measured) -> str:
    """The figure; with the label where it is not ours."""
    name = "" if result.way.label == OURS else f" {result.way.label}"
    return job.show(result.figure(job.figure)) + name


def _row(job: Job, ours: Measured, other: Measured, target: Target | None) -> Row:
    ratio = _ratio(ours.figure(job.figure), other.figure(job.figure))
    best = f" ({BEST})" if target is not None and target.against == BEST else ""
    sign = "≤" if job.less_is_better else "≥"
    return Row(
        question=job.question,
        target=f"{sign} {target.bound} ×" if target is not None else "",
        ours=_shown(job, ours),
        against=_shown(job, other) + best,
        ratio=ratio,
        met=_meets(ratio, target.bound, job.less_is_better) if target is not None else None,
        note=_note(job, [ours, other]),
        details={
            "target_ratio": target.bound if target is not None else None,
            "figure": job.figure,
            "cost_unit": job.unit_name,
            "ours": ours.as_json(),
            "against": other.as_json(),
        },
    )


def _cost_row(job: Job, ours: Measured, other: Measured, target: Target) -> Row:
    ratio = _ratio(ours.cost, other.cost)
    return Row(
        question=f"{job.question}: CPU of the middle",
        target=f"≤ {target.bound} ×",
        ours=f"{ours.cost:.3g} s per {job.unit_name}",
        against=f"{other.cost:.3g} s per {job.unit_name} {other.way.label}",
        ratio=ratio,
        met=_meets(ratio, target.bound, True),
        details={"target_ratio": target.bound, "figure": COST, "ours": ours.cost, "against": other.cost},
    )


def _ratio(ours: float, other: float) -> float:
    return ours / other if other else float("nan")


def _meets(ratio: float, bound: float, at_most: bool) -> bool:
    return ratio <= bound if at_most else ratio >= bound


def _note(job: Job, results: Sequence[Measured]) -> str:
    """What stands beside the compared figure: of ours first, then of the other."""

    def pair(show: Callable[[Measured], str]) -> str:
        return " / ".join(show(result) for result in results)

    costs = [f"CPU s per {job.unit_name} " + pair(lambda each: f"{each.cost:.3g}")]
    if results[0].has("p50_us"):
        costs.append("p50 " + pair(lambda each: f"{each.figure('p50_us'):.0f}") + " µs")
        costs.append("p99 " + pair(lambda each: f"{each.figure('p99_us'):.0f}") + " µs")
    load = ["load busy " + pair(lambda each: f"{each.generator_busy:.0%}")]
    limited = [each.way.label for each in results if each.at_limit]
    if limited:
        load.append(f"at its limit with {' and '.join(limited)}")
    worst = max(each.others_busy for each in results)
    if worst > OTHERS_LIMIT:
        load.append(f"DISTURBED: other work used {worst:.0%} of a core")
    return "; ".join(costs) + "\n" + "; ".join(load)


def shown_rate(rate: float) -> str:
    """So many a second."""
    return f"{rate:,.0f}/s"


def shown_bytes(rate: float) -> str:
    """GB a second."""
    return f"{rate / 1e9:.2f} GB/s"


def shown_us(time_us: float) -> str:
    """Microseconds."""
    return f"{time_us:,.1f} µs"
