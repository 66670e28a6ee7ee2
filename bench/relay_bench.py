"""What every question of the relay benchmark needs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass

import click

from bench.relay_generator import Generator, Way
from bench.relay_rounds import Alternation, Job
from bench.relay_rows import Target, rows_of
from bench.report import Row
from bench.support import BenchError, Cores, Progress


@dataclass(frozen=True, slots=True)
class Bench:
    """What was asked for, and the means to measure it."""

    way: Callable[[str, Cores], AbstractContextManager[Way]]
    """Makes the way of a label, until the block ends, with what is in the middle on the cores given."""
    labels: Sequence[str]
    """The ways asked for, in the order of the tables."""
    references: Collection[str]
    """Ways that are there to compare with, and never the best peer."""
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
        self, labels: Sequence[str] | None = None, *, cores: Cores | None = None
    ) -> Iterator[list[Way]]:
        """The ways called `labels` (None: all that were asked for), until the block ends.

        `cores` stand in for those of all other questions.
        """
        chosen = self.labels if labels is None else labels
        self.progress.say("starting " + ", ".join(chosen))
        with ExitStack() as stack:
            yield [stack.enter_context(self.way(label, cores or self.cores)) for label in chosen]

    def compared(self, job: Job, targets: Sequence[Target] = ()) -> list[Row]:
        """The rows of `job` through all ways that were asked for."""
        with self.standing() as ways:
            return self.measured(job, ways, targets)

    def measured(self, job: Job, ways: Sequence[Way], targets: Sequence[Target] = ()) -> list[Row]:
        """The rows of `job` through `ways`, which stand already."""
        return rows_of(job, self.alternation.measure(job, ways), targets, self.references)


Question = Callable[[Bench], list[Row]]


def chosen_labels(wanted: str, known: Sequence[str]) -> list[str]:
    """The ways of the comma list `wanted`, in the order of `known`."""
    names = {name.strip() for name in wanted.split(",") if name.strip()}
    if not names or not names <= set(known):
        raise click.BadParameter(f"choose from {', '.join(known)}", param_hint="--peers")
    return [name for name in known if name in names]


def compiled_generator(core: int | None, other_core: int | None) -> Generator:
    """The load generator, or a clear end of the program."""
    try:
        return Generator.compiled(core, other_core)
    except BenchError as error:
        raise click.ClickException(str(error)) from None
