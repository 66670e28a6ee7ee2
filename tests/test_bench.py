"""The benchmark runs: its figures are nobody's business here."""

import json
import sys
from pathlib import Path

import pytest

from tests.support.process import run
from tests.support.tools import clean_env, require

pytestmark = pytest.mark.interop


def test_the_lookup_benchmark_measures_both_servers(tmp_path: Path) -> None:
    require("epmd", "erlang-base")
    require("cc", "gcc")
    results = tmp_path / "lookup.json"
    argv: list[str | Path] = [
        sys.executable,
        "-m",
        "bench.lookup",
        "--quick",
        "--only",
        "ten",
        "--json",
        results,
    ]
    finished = run(argv, env=clean_env(), within=120)
    assert finished.status == 0, finished.stderr
    rows = json.loads(results.read_text())["rows"]
    assert len(rows) == 2
    for row in rows:
        assert row["error"] is None
        assert row["ratio"] > 0
        assert row["question"] in finished.stdout
