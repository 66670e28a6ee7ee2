"""The questions about a container: how long it takes to start and to stop, and what its small parts hold."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.platforms_bench import Bench, Question, own_folder, seconds_text
from bench.platforms_containers import (
    HOME_MADE,
    OURS,
    WAYS,
    Memory,
    Started,
    Stopped,
    container,
)
from bench.platforms_release import make_release
from bench.report import Row, failed
from bench.support import BenchError, median

SETTLE_SECONDS = 1.0
"""From the node's boot until memory is looked at and all is stopped."""


@dataclass(frozen=True, slots=True)
class Life:
    """One container, from its start to its end.

    :ivar init: of PID 1; of the BEAM itself, where that is it.
    """

    started: Started
    stopped: Stopped
    init: Memory
    epmd: Memory


Lives = Mapping[str, Sequence[Life]]
"""By the way's label."""


def containers(bench: Bench) -> list[Row]:
    """A life of each kind in alternating rounds."""
    lives: dict[str, list[Life]] = {label: [] for label in bench.ways}
    errors: dict[str, str] = {}
    with own_folder() as folder:
        bench.progress.say("mix release")
        release = make_release(folder)
        for number in range(bench.rounds):
            for label in bench.ways:
                bench.progress.say(f"{WAYS[label].about}: round {number + 1}")
                try:
                    lives[label].append(_live(label, release))
                except BenchError as error:
                    errors[label] = str(error)
    rows = [failed(f"a container: {WAYS[label].about}", "", said) for label, said in errors.items()]
    whole = {label: found for label, found in lives.items() if label not in errors}
    return rows + (_rows(whole) if OURS in whole else [])


def _live(label: str, release: Path) -> Life:
    with own_folder() as folder, container(WAYS[label], release, folder) as running:
        started = running.wait_until_registered()
        running.wait_until_booted()
        time.sleep(SETTLE_SECONDS)
        init, epmd = running.memory_of_init(), running.memory_of_epmd()
        return Life(started, running.stop(), init, epmd)


def _rows(lives: Lives) -> list[Row]:
    return [
        _time_row(
            lives,
            "a container starts: until EPMD has its node",
            lambda life: life.started.registered,
            "EPMD answers after " + _each(lives, lambda life: life.started.served),
        ),
        _time_row(
            lives,
            "PID 1 gets SIGTERM: until all has ended",
            lambda life: life.stopped.all,
            "after the node: " + _each(lives, lambda life: life.stopped.all - life.stopped.node),
        ),
        _memory_row(lives, "PID 1: memory (RSS; PSS)", lambda life: life.init, (HOME_MADE,)),
        _memory_row(lives, "the EPMD server beside: memory (RSS; PSS)", lambda life: life.epmd, (HOME_MADE,)),
    ]


def _time_row(lives: Lives, question: str, seconds: Callable[[Life], float], note: str) -> Row:
    figures = {label: [seconds(life) for life in found] for label, found in lives.items()}
    peers = [label for label in figures if label != OURS]
    ratio = median(figures[OURS]) / median(figures[HOME_MADE]) if HOME_MADE in figures else None
    return Row(
        question=question,
        target="",
        ours=seconds_text(figures[OURS]),
        against="\n".join(f"{seconds_text(figures[label])}: {WAYS[label].about}" for label in peers),
        ratio=ratio,
        met=None,
        note=note,
        details={label: list(map(asdict, found)) for label, found in lives.items()},
    )


def _each(lives: Lives, seconds: Callable[[Life], float]) -> str:
    """The medians of all ways."""
    medians = {label: median([seconds(life) for life in found]) for label, found in lives.items()}
    return ", ".join(f"{1000 * middle:.0f} ms ({label})" for label, middle in medians.items())


def _memory_row(lives: Lives, question: str, memory: Callable[[Life], Memory], against: Sequence[str]) -> Row:
    def text(label: str) -> str:
        found = [memory(life) for life in lives[label]]
        resident, proportional = (
            median([getattr(each, name) for each in found]) / 2**20 for name in ("resident", "proportional")
        )
        return f"{resident:.1f}; {proportional:.1f} MiB"

    peers = [label for label in against if label in lives]
    return Row(
        question=question,
        target="",
        ours=text(OURS),
        against="\n".join(f"{text(label)}: {WAYS[label].about}" for label in peers),
        ratio=None,
        met=None,
        note="pages that other Pythons share weigh less in PSS",
        details={label: [asdict(memory(life)) for life in found] for label, found in lives.items()},
    )


QUESTIONS: dict[str, Question] = {"container": containers}
