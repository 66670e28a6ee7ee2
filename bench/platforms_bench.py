"""What every question of the platforms benchmark needs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.report import Row
from bench.support import Cores, Progress, median


@dataclass(frozen=True, slots=True)
class Bench:
    """What was asked for, and the means to measure it."""

    rounds: int
    """Of containers, and of commands."""
    ways: Sequence[str]
    """How containers start; labels of ``platforms_containers.WAYS``."""
    patience: float
    """Seconds after which a command that is no epmdless is given up."""
    servers: Sequence[str]
    """That the zone is at; labels of ``platforms_zone.KINDS``."""
    appearances: int
    """Of a node in the zone, one after the other."""
    nodes: int
    """That register at once, in place of "500"."""
    seconds: float
    """Of lookups, while nodes are published."""
    cores: Cores
    progress: Progress


@contextmanager
def own_folder() -> Iterator[Path]:
    """A folder until the block ends."""
    with tempfile.TemporaryDirectory(prefix="epmdless-bench-") as folder:
        yield Path(folder)


def seconds_text(values: Sequence[float]) -> str:
    """Median and worst of times in seconds, as a row shows them."""
    middle, worst = median(values), max(values, default=float("nan"))
    if worst < 1:
        return f"{1000 * middle:.0f} ms, worst {1000 * worst:.0f} ms"
    return f"{middle:.2f} s, worst {worst:.2f} s"


Question = Callable[[Bench], list[Row]]
