"""The benchmark runs: its figures are nobody's business here."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.relay_peers import NGINX_STREAM
from tests.support.process import run
from tests.support.tools import clean_env, missing, require

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


def test_the_relay_benchmark_measures_every_peer(tmp_path: Path) -> None:
    for tool, package in {"cc": "gcc", "haproxy": None, "nginx": None, "socat": None}.items():
        require(tool, package)
    if not Path(NGINX_STREAM).exists():
        missing("needs nginx's stream module (Debian package libnginx-mod-stream)")
    rows = measured(tmp_path, "--only", "ping-32")
    assert [row["error"] for row in rows] == [None] * 5
    labels = [row["details"]["against"]["label"] for row in rows]
    assert labels == ["direct", "haproxy-splice", "haproxy", "nginx", "socat"]
    assert all(row["ratio"] > 0 for row in rows)
    assert [row["target"] for row in rows] == ["", "≥ 1.2 ×", "", "≥ 0.95 ×", ""]


def test_the_relay_benchmark_asks_nodes_and_the_epmd_face(tmp_path: Path) -> None:
    require("cc", "gcc")
    require("erl", "erlang-base")
    questions = ["--only", "bulk-8", "--only", "lookup", "--only", "beam-parallel"]
    rows = measured(tmp_path, *questions, "--peers", "direct,epmdless")
    assert [row["error"] for row in rows] == [None] * 4
    assert sorted(row["ratio"] > 0 for row in rows if row["against"]) == [True] * 3


def test_the_relay_benchmark_counts_what_many_links_take(tmp_path: Path) -> None:
    require("cc", "gcc")
    rows = measured(tmp_path, "--only", "idle", "--only", "ring", "--peers", "epmdless")
    assert [row["error"] for row in rows] == [None] * 4
    idle = rows[0]["details"]["ours"]
    assert idle["links"] == 100
    assert idle["bytes_each"] > 0


def measured(tmp_path: Path, *arguments: str) -> list[dict[str, Any]]:
    """The rows of a quick run of the relay benchmark."""
    results = tmp_path / "relay.json"
    argv: list[str | Path] = [sys.executable, "-m", "bench.relay", "--quick", *arguments, "--json", results]
    finished = run(argv, env=clean_env(), within=60)
    assert finished.status == 0, finished.stdout + finished.stderr
    rows: list[dict[str, Any]] = json.loads(results.read_text())["rows"]
    return rows
