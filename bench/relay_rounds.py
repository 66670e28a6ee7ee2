"""Rounds of one job through several ways in turn, and what they add up to."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from bench.lookup_rounds import GENERATOR_LIMIT, OTHERS_LIMIT, turned
from bench.relay_generator import Way
from bench.support import machine_busy_seconds, median, process_tree

SETTLE_SECONDS = 0.05
"""After a run, for the process in the middle to take leave of its links before its CPU time is read."""


class Figures(Protocol):
    """What a load reports; all loads have these."""

    @property
    def rate(self) -> float:
        """Messages, bytes or set-ups a second."""

    @property
    def seconds(self) -> float:
        """The measured time."""

    @property
    def cpu_seconds(self) -> float:
        """CPU time of the load itself in the measured time."""

    @property
    def total_cpu_seconds(self) -> float:
        """CPU time of the load itself, start and end included."""

    @property
    def carried(self) -> float:
        """Messages, bytes or set-ups in all, those outside the measured time too."""


@dataclass(frozen=True, slots=True)
class Job:
    """A load that is put on each way: what it is called, how it is run, and which figure is compared."""

    question: str
    run: Callable[[Way], Figures]
    unit: float
    """What the CPU time of the middle is given for: 1e9 bytes, 1e6 messages."""
    unit_name: str
    show: Callable[[float], str]
    """The figure that is compared, as text."""
    figure: str = "rate"
    """Its name."""
    less_is_better: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """One run through one way; the shares are of one core."""

    figures: Figures
    middle_seconds: float
    """CPU time of what is in the middle, over the whole run."""
    cost: float
    """That, for one `Job.unit` carried."""
    others_busy: float
    """What all the rest of the machine used."""

    @property
    def generator_busy(self) -> float:
        """What the load used."""
        return self.figures.cpu_seconds / self.figures.seconds

    def figure(self, name: str) -> float:
        """One of the load's figures by its name."""
        return float(getattr(self.figures, name))


@dataclass(frozen=True, slots=True)
class Measured:
    """What the rounds through one way gave; single figures are medians of the rounds."""

    way: Way
    runs: Sequence[Run]

    @property
    def rate(self) -> float:
        """Messages, bytes or set-ups a second."""
        return self.figure("rate")

    @property
    def cost(self) -> float:
        """CPU seconds of the middle for one unit."""
        return median([run.cost for run in self.runs])

    @property
    def generator_busy(self) -> float:
        """Share of one core that the load used."""
        return median([run.generator_busy for run in self.runs])

    @property
    def others_busy(self) -> float:
        """Share of one core that all the rest of the machine used."""
        return median([run.others_busy for run in self.runs])

    @property
    def at_limit(self) -> bool:
        """Whether the load itself may be what limited the rate."""
        return self.generator_busy > GENERATOR_LIMIT

    def has(self, name: str) -> bool:
        """Whether this load has a figure of that name."""
        return all(hasattr(run.figures, name) for run in self.runs)

    def figure(self, name: str) -> float:
        """The median of a figure by its name."""
        return median([run.figure(name) for run in self.runs])

    def as_json(self) -> dict[str, object]:
        """Every figure, for the JSON file."""
        return {
            "label": self.way.label,
            "rate_median": self.rate,
            "cost_median": self.cost,
            "generator_busy_median": self.generator_busy,
            "others_busy_median": self.others_busy,
            "rounds": [
                {
                    "figures": msgspec.to_builtins(run.figures),
                    "middle_seconds": run.middle_seconds,
                    "cost": run.cost,
                    "others_busy": run.others_busy,
                }
                for run in self.runs
            ],
        }


@dataclass(frozen=True, slots=True)
class Alternation:
    """Puts a job on several ways in turn, in another order each round."""

    rounds: int
    retries: int
    """Times that a run is made again, at most, when other work on the machine disturbed it."""
    say: Callable[[str], None]

    def measure(self, job: Job, ways: Sequence[Way]) -> list[Measured]:
        """Run all rounds; the results stand in the order of `ways`.

        A run is made again by what the rest of the machine did meanwhile, never by its figures.
        """
        runs: list[list[Run]] = [[] for _ in ways]
        for number in range(self.rounds):
            for place in turned(len(ways), number):
                self.say(f"{job.question}, {ways[place].label}: round {number + 1} of {self.rounds}")
                runs[place].append(self._calmest(job, ways[place]))
        return [Measured(way, runs) for way, runs in zip(ways, runs, strict=True)]

    def _calmest(self, job: Job, way: Way) -> Run:
        run = measured_run(job, way)
        for number in range(self.retries):
            if run.others_busy <= OTHERS_LIMIT:
                break
            self.say(f"{job.question}, {way.label}: disturbed, once more ({number + 1} of {self.retries})")
            run = min(run, measured_run(job, way), key=lambda each: each.others_busy)
        return run


def measured_run(job: Job, way: Way) -> Run:
    """One run of `job`, with the CPU time that everybody used meanwhile."""
    started, machine_before = time.monotonic(), machine_busy_seconds()
    middle_before = middle_seconds(way)
    figures = job.run(way)
    time.sleep(SETTLE_SECONDS)
    middle = middle_seconds(way) - middle_before
    machine = machine_busy_seconds() - machine_before
    span = time.monotonic() - started
    others = max(0.0, machine - middle - figures.total_cpu_seconds) / span
    cost = middle / figures.carried * job.unit if figures.carried else float("nan")
    return Run(figures, middle, cost, others)


def middle_seconds(way: Way) -> float:
    """CPU time so far of what is in the middle; 0 where nothing is."""
    return sum(tree_seconds(process_id) for process_id in way.process_ids)


def tree_seconds(process_id: int) -> float:
    """CPU time so far of a process, its descendants, and those of them that have ended."""
    return sum(_seconds_of_one(each) for each in process_tree(process_id))


def _seconds_of_one(process_id: int) -> float:
    """CPU time of one process and of its children that have ended; 0 when it has just ended itself."""
    try:
        text = Path(f"/proc/{process_id}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    ticks = text.rpartition(")")[2].split()[11:15]
    return sum(int(each) for each in ticks) / os.sysconf("SC_CLK_TCK")
