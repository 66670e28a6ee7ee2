"""Faults of ours: said once each, counted, and survived."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import TypeVar, cast

from epmdless import metrics
from epmdless.log import Log
from epmdless.metrics import Metrics

E = TypeVar("E", bound=BaseException)


def note_fault(counts: Metrics, log: Log, error: Exception) -> None:
    """Count and log an exception that nobody foresaw: its kind and its place, never what it says, since
    that could hold what came from the network. Of a group, the first."""
    if isinstance(error, ExceptionGroup):
        error = first_of(error)
    counts.count(metrics.INTERNAL_ERRORS)
    frames = traceback.extract_tb(error.__traceback__)[-1:]
    where = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames]
    log.error("internal error", kind=type(error).__name__, where=where)


def first_of(errors: BaseExceptionGroup[E]) -> E:
    """The first of the exceptions in a group, however deep: what tasks that ended together ended by."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return cast(E, error)


def ended_by(errors: BaseExceptionGroup[BaseException], kind: type[BaseException]) -> BaseException:
    """What to raise in place of the group that a nursery raised, whose tasks end by a kind of exception.

    A cancellation, or a fault of ours, that came at the same moment goes first, and alone: who takes care of
    one knows nothing of a group with the other kind in it.

    :returns: the first of that kind, or the group without them, if there is anything left in it.
    """
    _, others = errors.split(kind)
    return others or first_of(errors)
