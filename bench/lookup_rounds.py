"""Alternating rounds of lookups against several servers, and what they add up to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from bench.epmd_servers import Server
from bench.lookup_generator import Generator, Lookups, Nodes
from bench.support import cpu_seconds, machine_busy_seconds, median

GENERATOR_LIMIT = 0.95
"""A generator that is busy for more of the time than this may be what limits a figure."""
OTHERS_LIMIT = 0.15
"""Of one core: other work beyond this disturbs a round."""
WARM_UP_SECONDS = 1.0
"""Lookups against each side before the first round, not counted."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the things compared: lookups of `nodes` at `server`."""

    label: str
    server: Server
    nodes: Nodes


@dataclass(frozen=True, slots=True)
class Run:
    """One run of lookups against one side; the shares are of one core."""

    lookups: Lookups
    server_busy: float
    others_busy: float
    """What all the rest of the machine used."""

    @property
    def generator_busy(self) -> float:
        """What the generator used."""
        return self.lookups.cpu_seconds / self.lookups.seconds

    @property
    def server_us(self) -> float:
        """CPU time of the server for one lookup, in µs; nan without lookups."""
        return self.server_busy / self.lookups.rate * 1e6 if self.lookups.rate else float("nan")


@dataclass(frozen=True, slots=True)
class Measured:
    """What the rounds of one side gave; single figures are medians of the rounds."""

    side: Side
    runs: Sequence[Run]
    failures: Counter[str]
    """Lookups that failed, by kind: those of rounds that do not count too, and while warming up."""

    @property
    def rate(self) -> float:
        """Lookups a second."""
        return median([run.lookups.rate for run in self.runs])

    @property
    def p99_ms(self) -> float:
        """99th percentile of the latency, in ms."""
        return median([run.lookups.p99_us for run in self.runs]) / 1000

    @property
    def generator_busy(self) -> float:
        """Share of one core that the generator used."""
        return median([run.generator_busy for run in self.runs])

    @property
    def server_us(self) -> float:
        """CPU time of the server for one lookup, in µs."""
        return median([run.server_us for run in self.runs])

    @property
    def others_busy(self) -> float:
        """Share of one core that all the rest of the machine used."""
        return median([run.others_busy for run in self.runs])

    def as_json(self) -> dict[str, object]:
        """Every figure, for the JSON file."""
        return {
            "label": self.side.label,
            "names": self.side.nodes.count,
            "rate_median": self.rate,
            "p99_ms_median": self.p99_ms,
            "server_cpu_us_per_lookup_median": self.server_us,
            "generator_busy_median": self.generator_busy,
            "others_busy_median": self.others_busy,
            "failures": self.failures,
            "rounds": [asdict(run) for run in self.runs],
        }


@dataclass(frozen=True, slots=True)
class Alternation:
    """Measures several sides in turn, in another order each round."""

    generator: Generator
    rounds: int
    retries: int
    """Rounds more, at most, in place of those that other work on the machine disturbed."""
    seconds: float
    warm: float
    """Seconds at the start of each run that do not count."""
    say: Callable[[str], None]

    def measure(self, sides: Sequence[Side], concurrency: int) -> list[Measured]:
        """Run all rounds; the results stand in the order of `sides`.

        A round is kept or dropped for all sides together, by what the rest of the machine did meanwhile,
        never by its figures.
        """
        failures = [self._warm_up(side, concurrency) for side in sides]
        rounds: list[list[Run]] = []
        while len(rounds) < self.rounds + self.retries and count_calm(rounds) < self.rounds:
            rounds.append(self._round(sides, concurrency, len(rounds)))
        for runs in rounds:
            for counted, run in zip(failures, runs, strict=True):
                counted.update(run.lookups.failures)
        kept = sorted(rounds, key=disturbance)[: self.rounds]
        return [
            Measured(side, [runs[place] for runs in kept], failures[place])
            for place, side in enumerate(sides)
        ]

    def _warm_up(self, side: Side, concurrency: int) -> Counter[str]:
        self.say(f"{side.label}, {concurrency} at a time: warming up")
        seconds = min(WARM_UP_SECONDS, self.seconds)
        return Counter(self._lookups(side, concurrency, seconds, 0.0).failures)

    def _round(self, sides: Sequence[Side], concurrency: int, number: int) -> list[Run]:
        runs: dict[int, Run] = {}
        for place in turned(len(sides), number):
            self.say(f"{sides[place].label}, {concurrency} at a time: round {number + 1} of {self.rounds}")
            runs[place] = self._run(sides[place], concurrency)
        return [runs[place] for place in range(len(sides))]

    def _run(self, side: Side, concurrency: int) -> Run:
        process_id, span = side.server.process_id, self.seconds + self.warm
        server_before, machine_before = cpu_seconds(process_id), machine_busy_seconds()
        lookups = self._lookups(side, concurrency, self.seconds, self.warm)
        server = (cpu_seconds(process_id) - server_before) / span
        machine = (machine_busy_seconds() - machine_before) / span
        return Run(lookups, server, max(0.0, machine - server - lookups.cpu_seconds / lookups.seconds))

    def _lookups(self, side: Side, concurrency: int, seconds: float, warm: float) -> Lookups:
        return self.generator.load(
            side.server.port, side.nodes, concurrency=concurrency, seconds=seconds, warm=warm
        )


def disturbance(runs: Sequence[Run]) -> float:
    """How far other work disturbed a round; equal for all rounds that count as calm."""
    return max(OTHERS_LIMIT, *(run.others_busy for run in runs))


def count_calm(rounds: Sequence[Sequence[Run]]) -> int:
    """The number of rounds that nothing disturbed."""
    return sum(disturbance(runs) <= OTHERS_LIMIT for runs in rounds)


def turned(count: int, number: int) -> list[int]:
    """The order of round `number`: the first goes last in the next, so that nobody is always first."""
    return [(number + place) % count for place in range(count)]


def failure_text(results: Sequence[Measured]) -> str | None:
    """What failed, or None when every lookup was answered rightly."""
    texts = [
        f"{result.side.label}: " + ", ".join(f"{count} {kind}" for kind, count in result.failures.items())
        for result in results
        if result.failures
    ]
    return "; ".join(texts) or None
