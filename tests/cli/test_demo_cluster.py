"""`epmdless demo cluster`: its parts, and all of it with real nodes."""

import hashlib
import io
import re
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from epmdless.cli import cluster_reasons, configuration
from epmdless.cli.cluster_views import ClusterSample, GroupView, NodeView, PeerView
from epmdless.cli.demo_cluster import JOIN_SECONDS, Showing
from epmdless.cli.demo_cluster_pages import PAGE_SIZES, PAGES, Pages
from epmdless.cli.demo_cluster_programs import ClusterPrograms, Kind
from epmdless.cli.demo_cluster_progress import Cluster
from epmdless.errors import EpmdlessError
from tests.cli.command import complaint, printed
from tests.cli.demos import BOOT_WITHIN, END_WITHIN, children, ended
from tests.support.deadline import eventually
from tests.support.process import Program, run
from tests.support.tools import PYTHON, clean_env, require

COMMAND = [PYTHON, "-m", "epmdless", "demo", "cluster"]

NODES = ("n1@127.0.0.1", "n2@127.0.0.1", "n3@127.0.0.1")

RIGHT = tuple(hashlib.sha256(bytes([number])).digest() for number in range(3))


def sample(*pairs: tuple[int, int], source: str = "file") -> ClusterSample:
    """A cluster in which these pairs are connected, seen from the first of each; others are failing."""
    views = []
    for at, node in enumerate(NODES):
        peers = tuple(
            PeerView(other, "connected", sources=(source,))
            if (at, to) in pairs
            else PeerView(other, "failing", sources=(source,), reason="not_registered")
            for to, other in enumerate(NODES)
            if to != at
        )
        connected = sum(peer.state == "connected" for peer in peers)
        views.append(NodeView(node, "linked", connected=connected, wanted=len(peers), peers=peers))
    return ClusterSample(1.0, ready=True, groups=(GroupView("default", tuple(views)),))


WHOLE = ((0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1))


def page(node: str, number: int, digest: bytes | None = None, size: int = 1000) -> str:
    """What the first node says of a page; its digest is right where none is given."""
    return f"page {node} {number} {size} {(digest or RIGHT[number]).hex()}\n"


def row(cluster: Cluster, node: str) -> list[str]:
    """The words of a node's line in the table."""
    out = io.StringIO()
    Console(file=out, width=200).print(cluster.table())
    return next(line.split() for line in out.getvalue().splitlines() if line.startswith(node))


ALL_WORKED = [page(node, 0) for node in NODES]


@pytest.fixture
def cluster() -> Cluster:
    return Cluster(NODES, RIGHT)


# Progress


def test_a_node_is_joined_once_it_is_connected_to_all_that_are_named(cluster: Cluster) -> None:
    cluster.take_sample(sample((0, 1), (1, 0), (1, 2)), 1.26)
    assert row(cluster, NODES[0])[1:4] == ["file", "-", "1/2"]
    assert row(cluster, NODES[1])[1:4] == ["file", "1.3s", "2/2"]
    assert list(cluster.apart()) != []
    cluster.take_sample(sample(*WHOLE, source="epmd"), 2.0)
    assert row(cluster, NODES[0])[1:4] == ["epmd", "2.0s", "2/2"]
    assert row(cluster, NODES[1])[2] == "1.3s"
    assert list(cluster.apart()) == [f"{node} has hashed no page" for node in NODES]
    assert not cluster.is_whole
    for line in ALL_WORKED:
        cluster.take_line(line)
    assert list(cluster.apart()) == []
    assert cluster.is_whole


def test_a_node_that_is_alone_is_not_joined(cluster: Cluster) -> None:
    alone = NodeView(NODES[0], "linked", connected=0, wanted=0)
    cluster.take_sample(ClusterSample(1.0, ready=True, groups=(GroupView("default", (alone,)),)), 1.0)
    assert row(cluster, NODES[0])[1:4] == ["-", "-", "0/2"]


def test_who_is_not_connected_to_whom_is_said_with_the_reason(cluster: Cluster) -> None:
    known, _, _ = sample(*WHOLE[1:]).groups[0].nodes
    refused = NodeView(NODES[1], "failing", reason="cookie")
    cluster.take_sample(ClusterSample(1.0, ready=False, groups=(GroupView("g", (known, refused)),)), 1.0)
    assert list(cluster.apart()) == [
        f"{NODES[0]} is not connected to {NODES[1]}: its EPMD does not know it: does it run?",
        f"{NODES[1]} is not connected to {NODES[0]}, {NODES[2]}: {cluster_reasons.NODE_REASONS['cookie']}",
        f"{NODES[2]} is not connected to {NODES[0]}, {NODES[1]}: the server does not know it",
    ]


def test_pages_are_counted_for_who_did_them(cluster: Cluster) -> None:
    for line in (page(NODES[0], 0), page(NODES[1], 1), page(NODES[0], 2, size=500)):
        cluster.take_line(line)
    assert row(cluster, NODES[0])[4:] == ["2", "1.50k", RIGHT[2].hex()[:12], "0"]
    assert row(cluster, NODES[1])[4:] == ["1", "1.00k", RIGHT[1].hex()[:12], "0"]
    assert row(cluster, NODES[2])[4:] == ["0", "0", "-", "0"]
    assert list(cluster.wrong()) == []


def test_wrong_digests_are_said(cluster: Cluster) -> None:
    for line in (page(NODES[1], 1), page(NODES[1], 1, RIGHT[2]), page(NODES[1], 3, RIGHT[0])):
        cluster.take_line(line)
    assert row(cluster, NODES[1])[-1] == "2"
    assert list(cluster.wrong()) == [f"{NODES[1]} has hashed 2 of 3 pages wrongly"]


@pytest.mark.parametrize(
    "line",
    [
        "ready\n",
        "a round failed\n",
        page("stranger@127.0.0.1", 0),
        page(NODES[0], 0)[:-1],
        page(NODES[0], 0)[:-3] + "\n",
        f"=WARNING REPORT==== {page(NODES[0], 0)}",
        "page \x1b[2J 1 1 " + "0" * 64 + "\n",
        f"page {NODES[0]} {'9' * 5000} 1 {'0' * 64}\n",
    ],
)
def test_what_is_not_about_a_page_is_passed_over(cluster: Cluster, line: str) -> None:
    cluster.take_line(line)
    assert row(cluster, NODES[0])[4:] == ["0", "0", "-", "0"]


# Pages


def test_pages_are_what_their_digests_say() -> None:
    with Pages() as pages:
        assert len(pages.digests) == len(set(pages.digests)) == PAGES
        for number in (0, PAGES - 1):
            with urllib.request.urlopen(f"http://127.0.0.1:{pages.port}/{number}", timeout=5) as answer:
                body = answer.read()
            assert PAGE_SIZES[0] <= len(body) <= PAGE_SIZES[1]
            assert hashlib.sha256(body).digest() == pages.digests[number]
        with pytest.raises(urllib.error.HTTPError, match="404") as caught:
            urllib.request.urlopen(f"http://127.0.0.1:{pages.port}/{PAGES}", timeout=5)
        caught.value.close()


# Programs


@pytest.fixture
def programs(tmp_path: Path) -> ClusterPrograms:
    return ClusterPrograms(tmp_path, "erl", 3, "file", 8000)


@pytest.mark.parametrize("source", ["file", "epmd"])
def test_the_configuration_is_one(tmp_path: Path, source: Kind) -> None:
    made = ClusterPrograms(tmp_path, "erl", 3, source, 8000)
    made.write_files()
    found, _ = configuration.read_config(tmp_path / "epmdless.toml")
    assert list(found.cluster.source) == [source]
    assert found.cluster.cookie_file == str(tmp_path / ".erlang.cookie")
    assert (tmp_path / "nodes.txt").read_text() == ""


def test_lines_are_read_once_and_whole(programs: ClusterPrograms) -> None:
    assert programs.lines() == []
    log = programs.running.log(NODES[0])
    log.write_bytes(b"one\ntwo\nth")
    assert programs.lines() == ["one\n", "two\n"]
    assert programs.lines() == []
    with log.open("ab") as file:
        file.write(b"ree\n\xff\n")
    assert programs.lines() == ["three\n", "\ufffd\n"]
    assert programs.lines() == []


def test_nodes_come_up_one_after_the_other_and_are_named_then(
    programs: ClusterPrograms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []
    monkeypatch.setattr(programs.running, "start", lambda node, place, argv: started.append(node))
    ready: set[str] = set()
    monkeypatch.setattr(programs.running, "said_ready", ready.__contains__)
    for up in range(3):
        assert [programs.grow(), programs.grow()] == [True, False]
        assert started == list(NODES[: up + 1])
        assert (tmp_path / "nodes.txt").exists() == (up > 0)
        ready.add(NODES[up])
    assert [programs.grow(), programs.grow()] == [True, False]
    assert (tmp_path / "nodes.txt").read_text().split() == list(NODES)


# The course of it


class FakePrograms:
    """A server and nodes that do as a test says, one look after the other."""

    def __init__(self, samples: list[ClusterSample], lines: list[str]) -> None:
        self.nodes = NODES
        self.source = "file"
        self.control_path = Path("/control.sock")
        self._samples = samples
        self._lines = lines

    def start(self) -> None:
        """Nothing."""

    def grow(self) -> bool:
        """All run already."""
        return False

    def lines(self) -> list[str]:
        said, self._lines = self._lines, []
        return said

    def cluster(self) -> ClusterSample:
        """The next, and at last the last again and again."""
        return self._samples.pop(0) if len(self._samples) > 1 else self._samples[0]


class Time:
    """Passes only where it is waited for."""

    def __init__(self) -> None:
        self.now = 100.0

    def pause(self, seconds: float) -> None:
        self.now += seconds


def shown(samples: list[ClusterSample], lines: list[str], time: Time, *, terminal: bool = False) -> str:
    """What is printed of a cluster until the end, 5 s after all are joined."""
    out = io.StringIO()
    console = Console(file=out, width=200, force_terminal=terminal, color_system=None)
    programs = FakePrograms(samples, lines)
    cluster = Cluster(NODES, RIGHT)
    Showing(programs, cluster, console, 8000, lambda: time.now, time.pause).run(5.0)  # type: ignore[arg-type]
    return out.getvalue()


def test_it_goes_on_for_so_long_after_all_are_joined() -> None:
    time = Time()
    out = shown([sample(), sample((0, 1)), sample(*WHOLE)], ALL_WORKED, time)
    assert out.count("NODE ") == 1
    assert re.search(r"^n1@127.0.0.1 +file +0.5s +2/2 +1 ", out, re.MULTILINE)
    assert time.now == 105.5


def test_a_terminal_sees_each_picture() -> None:
    out = shown([sample(), sample(*WHOLE)], ALL_WORKED, Time(), terminal=True)
    assert re.findall(r"n1@127.0.0.1 +file +\S+ +(\d)/2", out)[:3] == ["0", "2", "2"]
    assert "\x1b[1A" in out


def test_a_node_that_is_not_joined_is_an_error_after_a_while() -> None:
    time = Time()
    with pytest.raises(EpmdlessError, match=f"{NODES[0]} is not connected to {NODES[1]}: its EPMD does not"):
        shown([sample(*WHOLE[1:])], ALL_WORKED, time)
    assert time.now == 100 + JOIN_SECONDS


def test_a_node_that_does_nothing_is_an_error_after_a_while() -> None:
    time = Time()
    with pytest.raises(EpmdlessError, match=f"^{NODES[2]} has hashed no page$"):
        shown([sample(*WHOLE)], ALL_WORKED[:2], time)
    assert time.now == 100 + JOIN_SECONDS


def test_a_wrong_digest_is_an_error() -> None:
    with pytest.raises(EpmdlessError, match=rf"^{NODES[2]} has hashed 1 of 2 pages wrongly$"):
        shown([sample(*WHOLE)], [*ALL_WORKED, page(NODES[2], 1, RIGHT[0])], Time())


# With real nodes


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where the demonstration's files go. Nothing of it may be left, nor a process that knows of it."""
    require("erl", "erlang-base")
    yield tmp_path
    assert list(tmp_path.iterdir()) == []
    ended(tmp_path)


@pytest.mark.interop
@pytest.mark.parametrize("source", ["file", "epmd"])
def test_nodes_are_joined_and_share_the_work(folder: Path, source: str) -> None:
    argv = [*COMMAND, "--nodes", "3", "--for", "2", "--source", source]
    done = run(argv, within=BOOT_WITHIN + END_WITHIN, env=clean_env(TMPDIR=str(folder)))
    assert (done.stderr, done.status) == ("", 0)
    _, _, table = done.stdout.partition("NODE ")
    titles, *lines = table.splitlines()
    assert titles.endswith("LAST SHA-256  WRONG")
    rows = {line.split()[0]: line.split()[1:] for line in lines}
    assert list(rows) == list(NODES)
    for by, at, peers, pages, size, digest, wrong in rows.values():
        assert (by, peers, wrong) == (source, "2/2", "0")
        assert re.fullmatch(r"\d+\.\ds", at)
        assert int(pages) > 0
        assert size != "0"
        assert re.fullmatch(r"[0-9a-f]{12}", digest)


@pytest.mark.interop
def test_the_command_that_it_names_shows_the_cluster(folder: Path) -> None:
    argv = [*COMMAND, "--nodes", "2"]
    with Program(argv, env=clean_env(TMPDIR=str(folder))) as program:
        (control,) = eventually(
            lambda: list(folder.glob("*/control.sock")),
            within=BOOT_WITHIN,
            what=lambda: f"a server: {program.report()}",
        )
        eventually(
            lambda: printed("cluster", "--socket", control).count(" connected ") == 2,
            within=BOOT_WITHIN,
            what="both connected to each other",
        )
        program.signal(signal.SIGINT)
        assert program.wait(END_WITHIN) == 0
        assert program.stderr == ""
        assert "n1@127.0.0.1" in program.stdout


@pytest.mark.interop
def test_ctrl_c_ends_it_while_it_starts(folder: Path) -> None:
    with Program(COMMAND, env=clean_env(TMPDIR=str(folder))) as program:
        eventually(lambda: children(program, "serve"), within=BOOT_WITHIN, what="the server's process")
        program.signal(signal.SIGINT)
        assert program.wait(END_WITHIN) == 0
        assert program.stderr == ""


@pytest.mark.interop
def test_an_erlang_without_crypto_is_said(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    broken = tmp_path_factory.mktemp("otp")
    (broken / "crypto.beam").write_text("no code")
    erl = broken / "erl"
    erl.write_text(f'#!/bin/sh\nexec {require("erl", "erlang-base")} -pa {broken} "$@"\n')
    erl.chmod(0o755)
    argv = [*COMMAND, "--otp-erl", str(erl)]
    with Program(argv, env=clean_env(TMPDIR=str(folder))) as program:
        assert program.wait(BOOT_WITHIN) == 1
        assert "the n1@127.0.0.1 ended with status 1; it said:\n" in program.stderr
        assert "it lacks `crypto` (Debian package erlang-crypto)" in program.stderr


def test_no_erl_is_one_line_that_names_the_package(tmp_path: Path) -> None:
    assert complaint(1, "demo", "cluster", PATH=str(tmp_path)).startswith("there is no `erl` here: ")


def test_its_exit_statuses_are_in_the_help() -> None:
    said = " ".join(printed("demo", "cluster", "--help").split())
    assert "The exit status is 0; 1 if a node was not joined, or a digest was wrong." in said
