"""What every question of the cluster benchmark needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.cluster_world import World, world
from bench.report import Row
from bench.support import Progress


@dataclass(frozen=True, slots=True)
class Bench:
    """What was asked for, and the means to measure it."""

    hosts: int
    """That start cold."""
    rounds: int
    ways: Sequence[str]
    """How the nodes that start cold are joined; labels of ``cluster_cold.WAYS``."""
    members: int
    """Hosts that are joined already when another one appears."""
    appearances: int
    """Of another one, in each way."""
    poll: float
    """Seconds between two polls of DNS, while others appear."""
    names: int
    """In place of "10,000"."""
    polls: int
    """That the cost of one is measured over."""
    attempt_seconds: float
    """For how long attempts to join peers that are not there are watched."""
    keep: Path | None
    """A folder for the programs' logs; None: they are gone."""
    progress: Progress

    @contextmanager
    def world(self, count: int, label: str) -> Iterator[World]:
        """Hosts, until the block ends.

        :param label: of this world, for the folder of its logs.
        """
        with world(count, None if self.keep is None else self.keep / label) as made:
            yield made


Question = Callable[[Bench], list[Row]]
