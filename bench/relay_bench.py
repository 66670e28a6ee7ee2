"""What every question of the relay benchmark needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from bench.relay_generator import Generator, Way
from bench.relay_peers import standing
from bench.relay_rounds import Alternation, Job
from bench.relay_rows import Target, rows_of
from bench.report import Row
from bench.support import Cores, Progress


@dataclass(frozen=True, slots=True)
class Bench:
    """What was asked for, and the means to measure it."""

    labels: Sequence[str]
    """The ways asked for, in the order of the tables."""
    cores: Cores
    """`server`: of what is in the middle; `generator`: of the load."""
    generator: Generator
    alternation: Alternation
    progress: Progress
    seconds: float
    warm: float
    """Seconds at the start of each run that do not count."""
    links: int
    """Links in place of "2,000"."""
    idle_seconds: float
    """How long idle links are watched."""
    nodes: str
    """Where BEAM nodes run: beside, apart, or free, as relay_beam says."""

    @contextmanager
    def standing(
        self, labels: Sequence[str] | None = None, *, lookups: bool = False, cores: Cores | None = None
    ) -> Iterator[list[Way]]:
        """The ways called `labels` (None: all that were asked for), until the block ends.

        `lookups` is as for `relay_peers.way`; `cores` stand in for those of all other questions.
        """
        chosen = self.labels if labels is None else labels
        self.progress.say("starting " + ", ".join(chosen))
        with standing(chosen, cores or self.cores, lookups=lookups) as ways:
            yield ways

    def compared(self, job: Job, targets: Sequence[Target] = ()) -> list[Row]:
        """The rows of `job` through all ways that were asked for."""
        with self.standing() as ways:
            return rows_of(job, self.alternation.measure(job, ways), targets)
