"""Faults of ours: said once each, counted, and survived."""

from __future__ import annotations

import traceback
from pathlib import Path

from epmdless import metrics
from epmdless.log import Log
from epmdless.metrics import Metrics


def note_fault(counts: Metrics, log: Log, error: Exception) -> None:
    """Count and log an exception that nobody foresaw: its kind and its place, never what it says, since
    that could hold what came from the network."""
    counts.count(metrics.INTERNAL_ERRORS)
    frames = traceback.extract_tb(error.__traceback__)[-1:]
    where = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames]
    log.error("internal error", kind=type(error).__name__, where=where)
