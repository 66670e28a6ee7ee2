"""How a benchmark asks its questions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from bench.report import Row, failed
from bench.support import BenchError, Progress


class HasProgress(Protocol):
    """A benchmark's settings, with where its progress is shown."""

    @property
    def progress(self) -> Progress:
        """Where each question is told of."""


B = TypeVar("B", bound=HasProgress)


def ask(bench: B, questions: Mapping[str, Callable[[B], list[Row]]], only: Sequence[str]) -> list[Row]:
    """The rows of the questions called `only`, or of all; one without an answer gives a row that says why."""
    rows: list[Row] = []
    try:
        for name, question in questions.items():
            if only and name not in only:
                continue
            bench.progress.topic = name
            try:
                rows += question(bench)
            except BenchError as error:
                rows.append(failed(name, "", str(error)))
    finally:
        bench.progress.done()
    return rows
