"""The benchmark runs: its figures are nobody's business here."""

import json
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from bench.hop_certificates import FAR_NAME, certificates_in, check_encrypted
from bench.relay_peers import NGINX_STREAM
from bench.support import BenchError
from tests.support.namespaces import require_namespaces
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


def test_the_hop_benchmark_measures_every_pair(tmp_path: Path) -> None:
    require_pairs()
    rows = measured(tmp_path, "--only", "ping-32", "--only", "setup", "--only", "memory", benchmark="hop")
    assert [row["error"] for row in rows] == [None] * 12
    labels = [row["details"]["against"]["label"] for row in rows[:10]]
    assert labels == ["direct", "haproxy", "stunnel", "epmdless-plain", "relay"] * 2
    assert all(row["ratio"] > 0 for row in rows[:10])
    assert [row["target"] for row in rows[5:]] == ["", "", "", "≤ 1.3 ×", "", "≤ 120 KiB", "≤ 120 KiB"]
    assert all(row["details"]["ours"]["resident"] > 0 for row in rows[10:])


def test_the_hop_benchmark_asks_nodes_and_kills_a_gateway(tmp_path: Path) -> None:
    require_pairs()
    require("erl", "erlang-base")
    questions = ["--only", "beam-parallel", "--only", "failover"]
    rows = measured(tmp_path, *questions, "--peers", "epmdless,haproxy", benchmark="hop")
    assert [row["error"] for row in rows] == [None] * 3
    assert [row["target"] for row in rows] == ["≥ 0.9 ×", "none", "≤ 5 s"]
    for falls in (rows[1]["details"]["ours"], *rows[1]["details"]["against"]):
        assert all(0 < each["broken"] <= each["links"] for each in falls["rounds"])


def test_the_cluster_benchmark_joins_nodes_in_every_way(tmp_path: Path) -> None:
    require_hosts()
    rows = measured(tmp_path, "--only", "cold", benchmark="cluster")
    assert [row["error"] for row in rows] == [None] * 12
    assert [row["target"] for row in rows] == ["≤ 10 s", "≤ 7 (1.2 × 6)", ""] * 4
    for row in rows:
        (ours,) = row["details"]["ours"]
        assert ours["attempts"] == sum(ours["results"].values()) > 0
        assert ours["dialled"] >= 6
        assert ours["first_up"] <= ours["last_up"]
        assert ours["epmd_resident"] > 0


def test_the_cluster_benchmark_has_nodes_appear_and_reads_long_lists(tmp_path: Path) -> None:
    require_hosts()
    rows = measured(tmp_path, "--only", "appears", "--only", "names", benchmark="cluster")
    assert [row["error"] for row in rows] == [None] * 12
    assert [row["target"] for row in rows[:4]] == ["≤ 1.5 s"] * 2 + [""] * 2
    assert all(each["joined"] > 0 for row in rows[:2] for each in row["details"]["rounds"])
    assert all(row["details"]["polled"]["polls"] > 0 for row in rows[4:9])
    assert rows[10]["details"]["wanted"] == 500


def test_the_platforms_benchmark_runs_containers_publishes_and_walks(tmp_path: Path) -> None:
    require_containers()
    questions = ["--only", "container", "--only", "zone", "--only", "doctor"]
    few = ["--ways", "epmdless,script", "--servers", "knot"]
    rows = measured(tmp_path, *questions, *few, benchmark="platforms")
    assert [row["error"] for row in rows] == [None] * 8
    for way in ("epmdless", "script"):
        (life,) = rows[0]["details"][way]
        assert 0 < life["started"]["served"] <= life["started"]["registered"]
        assert 0 < life["stopped"]["node"] <= life["stopped"]["all"]
        assert life["init"]["resident"] >= life["init"]["proportional"] > 0
    assert all(
        each["there"] > 0 and each["gone"] > 0 for row in rows[4:6] for each in row["details"]["rounds"]
    )
    assert set(rows[6]["details"]) == {"epmdless doctor", "erl, net_adm:ping", "erl_call"}
    (walk,) = rows[7]["details"]["walks"]
    assert walk["round_trip"] > 0


def test_a_pair_without_tls_is_not_measured_as_one_with_it(tmp_path: Path) -> None:
    require("openssl")
    certificates = certificates_in(tmp_path)
    with serving(None) as address, pytest.raises(BenchError, match="does not speak TLS"):
        check_encrypted(address, certificates)


def test_a_far_end_that_asks_for_no_certificate_is_not_measured(tmp_path: Path) -> None:
    require("openssl")
    certificates = certificates_in(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.certificate(FAR_NAME), certificates.key(FAR_NAME))
    with serving(context) as address, pytest.raises(BenchError, match="without a certificate"):
        check_encrypted(address, certificates)
    context.load_verify_locations(certificates.authority)
    context.verify_mode = ssl.CERT_REQUIRED
    with serving(context) as address:
        check_encrypted(address, certificates)


@contextmanager
def serving(context: ssl.SSLContext | None) -> Iterator[tuple[str, int]]:
    """A far end that says a word to each of two connections, inside TLS if there is a context."""

    def serve() -> None:
        for _ in range(2):
            with suppress(OSError):
                plain, _address = listener.accept()
                with plain if context is None else context.wrap_socket(plain, server_side=True) as end:
                    end.sendall(b"welcome")
                    end.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def require_pairs() -> None:
    """End the test for want of a program that the hop benchmark runs."""
    for tool, package in {"cc": "gcc", "openssl": None, "haproxy": None, "stunnel4": None}.items():
        require(tool, package)


def require_hosts() -> None:
    """End the test for want of what the hosts of the cluster benchmark need."""
    require_namespaces()
    require("nft", "nftables")
    require("dnsmasq", "dnsmasq-base")
    require("erl", "erlang-base")
    require("epmd", "erlang-base")


def require_containers() -> None:
    """End the test for want of what the containers of the platforms benchmark need, and its zone."""
    require_namespaces()
    for tool in ("tini", "curl", "jq"):
        require(tool)
    require("cc", "gcc")
    require("mix", "elixir")
    require("erl", "erlang-base")
    require("knotd", "knot")


def measured(tmp_path: Path, *arguments: str, benchmark: str = "relay") -> list[dict[str, Any]]:
    """The rows of a quick run of one of the benchmarks."""
    results = tmp_path / "results.json"
    module = f"bench.{benchmark}"
    argv: list[str | Path] = [sys.executable, "-m", module, "--quick", *arguments, "--json", results]
    finished = run(argv, env=clean_env(), within=120)
    assert finished.status == 0, finished.stdout + finished.stderr
    rows: list[dict[str, Any]] = json.loads(results.read_text())["rows"]
    return rows
