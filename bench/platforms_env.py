"""The question about `epmdless env`: how long it takes, whatever the metadata endpoint does.

Beside it runs what it stands in for: ``curl | jq``, with no time limit, as articles have it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from bench.platforms_bench import Bench, Question, seconds_text
from bench.platforms_metadata import ADDRESS, Behaviour, metadata
from bench.platforms_release import NAME
from bench.report import Row, failed
from bench.support import ROOT, BenchError, clean_environment

TARGET = 3.0
"""Seconds."""
LIMIT = 30.0
"""Seconds until ours is given up."""
VARIABLE = "ECS_CONTAINER_METADATA_URI_V4"

BEHAVIOURS: dict[Behaviour, str] = {
    "answers": "answers",
    "absent": "refuses connections",
    "silent": "accepts, and is silent",
    "drips": "drips, a byte in 0.1 s",
}
OUR_COMMAND = (sys.executable, "-m", "epmdless", "env", "--app", NAME)
CURL = f"curl -fsS ${VARIABLE}/task | jq -r '.Containers[0].Networks[0].IPv4Addresses[0]'"


@dataclass(frozen=True, slots=True)
class Run:
    """What a command did.

    :ivar status: None: it did not end in time.
    """

    seconds: float
    status: int | None
    said: str


def env(bench: Bench) -> list[Row]:
    """Each behaviour, by ours and theirs in turn."""
    rows = []
    for behaviour, about in BEHAVIOURS.items():
        question = f"`epmdless env`, the metadata endpoint {about}"
        ours, theirs = [], []
        for number in range(bench.rounds):
            bench.progress.say(f"{about}: round {number + 1}")
            with metadata(behaviour) as url:
                ours.append(_run(OUR_COMMAND, url, LIMIT))
                theirs.append(_run(("sh", "-c", CURL), url, bench.patience))
        try:
            for each in ours:
                _check(behaviour, each)
            rows.append(_row(question, ours, theirs, bench.patience))
        except BenchError as error:
            rows.append(failed(question, f"≤ {TARGET:g} s", str(error)))
    return rows


def _run(argv: Sequence[str], url: str, limit: float) -> Run:
    """Run a command, and kill it with what it started when its time is over."""
    environment: Mapping[str, str] = clean_environment() | {VARIABLE: url}
    begun = time.perf_counter()
    process = subprocess.Popen(
        argv,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=limit)
        return Run(time.perf_counter() - begun, process.returncode, said)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.communicate()
        return Run(time.perf_counter() - begun, None, "")


def _check(behaviour: Behaviour, run: Run) -> None:
    """See that it said what it should: a name, or nothing and status 2."""
    right = (0, True) if behaviour == "answers" else (2, False)
    if (run.status, f"@{ADDRESS}\n" in run.said) != right or (right[0] and run.said):
        raise BenchError(f"status {run.status}, said {run.said!r}")


def _row(question: str, ours: Sequence[Run], theirs: Sequence[Run], patience: float) -> Row:
    seconds = [run.seconds for run in ours]
    return Row(
        question=question,
        target=f"≤ {TARGET:g} s",
        ours=seconds_text(seconds),
        against=f"{_their_text(theirs, patience)}: curl | jq",
        ratio=None,
        met=max(seconds) <= TARGET,
        note=f"status {_statuses(ours)}; curl | jq: {_statuses(theirs)}",
        details={"ours": list(map(asdict, ours)), "curl": list(map(asdict, theirs))},
    )


def _their_text(runs: Sequence[Run], patience: float) -> str:
    if all(run.status is None for run in runs):
        return f"no end in {patience:g} s"
    return seconds_text([run.seconds for run in runs])


def _statuses(runs: Sequence[Run]) -> str:
    return ", ".join(sorted({"none" if run.status is None else str(run.status) for run in runs}))


QUESTIONS: dict[str, Question] = {"env": env}
