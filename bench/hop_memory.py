"""The question about memory: what each end of a pair holds for a tunnel that was used, and is idle now."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from bench.hop_peers import PAIRS
from bench.relay_bench import Bench, Question
from bench.relay_generator import Way
from bench.relay_link_questions import SETTLE_SECONDS, one_link
from bench.relay_peers import OURS
from bench.report import Row
from bench.support import BenchError, proportional_bytes, resident_bytes

MESSAGES = 5
"""Small ones that each tunnel carries, there and back, before it is held."""
TUNNEL_BYTES_LIMIT = 120 * 1024
SIDES = ("near", "far")


@dataclass(frozen=True, slots=True)
class Held:
    """Memory that a tunnel takes in one process, in bytes; not what the kernel holds."""

    label: str
    resident: float
    proportional: float
    """Without the share of others in pages that they have too."""


def memory(bench: Bench) -> list[Row]:
    """Many tunnels, a few messages each, and then nothing; the near and the far process for themselves."""
    labels = [label for label in bench.labels if label in PAIRS]
    if not labels:
        raise BenchError("needs a pair among the peers")
    with bench.standing(labels) as ways:
        held = [_held(bench, way) for way in ways]
    return [_row(bench, side, [each[place] for each in held]) for place, side in enumerate(SIDES)]


def _held(bench: Bench, way: Way) -> list[Held]:
    """What the near and the far process of `way` hold for each tunnel."""
    one_link(bench, way)
    before = [_memory(process_id) for process_id in way.process_ids]
    bench.progress.say(f"{way.label}: {bench.links:,} tunnels")
    with bench.generator.held(way, bench.links, MESSAGES):
        time.sleep(max(SETTLE_SECONDS, bench.idle_seconds))
        after = [_memory(process_id) for process_id in way.process_ids]
    growth = [
        [(full - empty) / bench.links for full, empty in zip(*each, strict=True)]
        for each in zip(after, before, strict=True)
    ]
    return [Held(way.label, resident, proportional) for resident, proportional in growth]


def _memory(process_id: int) -> tuple[int, int]:
    return resident_bytes(process_id), proportional_bytes(process_id)


def _row(bench: Bench, side: str, held: Sequence[Held]) -> Row:
    ours, *others = held
    name = "" if ours.label == OURS else f" {ours.label}"
    return Row(
        question=f"memory (RSS) for a tunnel, {side} end, {bench.links:,} of them",
        target=f"≤ {TUNNEL_BYTES_LIMIT // 1024} KiB",
        ours=_kib(ours.resident) + name,
        against="; ".join(f"{_kib(each.resident)} {each.label}" for each in others),
        ratio=None,
        met=ours.resident <= TUNNEL_BYTES_LIMIT,
        note="PSS " + "; ".join(f"{_kib(each.proportional)} {each.label}" for each in held),
        details={"ours": asdict(ours), "against": [asdict(each) for each in others]},
    )


def _kib(size: float) -> str:
    return f"{size / 1024:,.1f} KiB"


QUESTIONS: dict[str, Question] = {"memory": memory}
