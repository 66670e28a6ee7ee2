"""The question about gateways that die: one of two is killed under links that are dialled again at once."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial

from bench.hop_peers import GATEWAY, HAPROXY_PAIR, PLAIN, SECOND_GATEWAY, pair
from bench.hop_redial import Fall, fall
from bench.relay_bench import Bench, Question
from bench.relay_peers import OURS
from bench.report import Row
from bench.support import BenchError

LINKS = 200
BACK_LIMIT = 5.0
"""Seconds from a broken link's first redial."""
CAPABLE = (OURS, HAPROXY_PAIR, PLAIN)
"""The pairs whose near end knows two far ends. stunnel tries the next one too, but checks none."""


@dataclass(frozen=True, slots=True)
class Falls:
    """All rounds of one pair."""

    label: str
    rounds: Sequence[Fall]

    @property
    def lost(self) -> int:
        """New links that failed, in all rounds."""
        return sum(sum(each.new_failures.values()) for each in self.rounds)

    @property
    def slowest(self) -> float:
        """Seconds that the slowest of all broken links took."""
        return max(each.back_slowest for each in self.rounds)

    @property
    def all_back(self) -> bool:
        """Whether each link stands in the end, and carries."""
        return not any(each.never_back or each.silent for each in self.rounds)


def failover(bench: Bench) -> list[Row]:
    """What the death of one gateway of two does to new links, and to those that it carried."""
    labels = [label for label in CAPABLE if label in bench.labels]
    if not labels:
        raise BenchError(f"needs one of {', '.join(CAPABLE)} among the peers")
    ours, *others = [_falls(bench, label) for label in labels]
    return [_new_row(ours, others), _back_row(ours, others)]


def _falls(bench: Bench, label: str) -> Falls:
    rounds = []
    for number in range(bench.alternation.rounds):
        bench.progress.say(f"{label}, one gateway of two killed: round {number + 1}")
        with pair(label, bench.cores, (GATEWAY, SECOND_GATEWAY)) as (way, far):
            result = fall(way, partial(os.kill, far[GATEWAY], signal.SIGKILL), LINKS)
        if result.broken == 0:
            raise BenchError(f"{label}: the gateway that was killed carried no link")
        rounds.append(result)
    return Falls(label, rounds)


def _new_row(ours: Falls, others: Sequence[Falls]) -> Row:
    begun = LINKS * len(ours.rounds)
    reasons = [f"{count} failed: {why}" for each in ours.rounds for why, count in each.new_failures.items()]
    slowest = max(each.new_slowest for each in ours.rounds)
    return Row(
        question=f"one gateway of two killed: new links that fail, of {begun}",
        target="none",
        ours=f"{ours.lost}{_name(ours)}",
        against="; ".join(f"{each.lost} {each.label}" for each in others),
        ratio=None,
        met=ours.lost == 0,
        note="; ".join([*reasons, f"slowest up after {slowest:.2f} s"]),
        details=_details(ours, others),
    )


def _back_row(ours: Falls, others: Sequence[Falls]) -> Row:
    return Row(
        question="the same: the slowest broken link is back, from its first redial",
        target=f"≤ {BACK_LIMIT:g} s",
        ours=f"{_shown(ours)}{_name(ours)}",
        against="; ".join(f"{_shown(each)} {each.label}" for each in others),
        ratio=None,
        met=ours.all_back and ours.slowest <= BACK_LIMIT,
        note="; ".join(_told(each) for each in (ours, *others)),
        details=_details(ours, others),
    )


def _shown(falls: Falls) -> str:
    return f"{falls.slowest:.2f} s" + ("" if falls.all_back else ", not all")


def _told(falls: Falls) -> str:
    """What happened to the links that stood, of all rounds."""
    broken, never, silent = (
        sum(getattr(each, name) for each in falls.rounds) for name in ("broken", "never_back", "silent")
    )
    noticed = max(each.noticed for each in falls.rounds)
    text = f"{falls.label}: {broken} broken, the last seen after {noticed:.2f} s"
    for reason, count in sum((Counter(each.failed_redials) for each in falls.rounds), Counter[str]()).items():
        text += f", {count} redials failed: {reason}"
    return text + (f", {never} never back, {silent} carry nothing" if never or silent else "")


def _name(falls: Falls) -> str:
    return "" if falls.label == OURS else f" {falls.label}"


def _details(ours: Falls, others: Sequence[Falls]) -> dict[str, object]:
    return {"ours": asdict(ours), "against": [asdict(each) for each in others]}


QUESTIONS: dict[str, Question] = {"failover": failover}
