"""`epmdless cluster`: what it shows of a cluster that a test makes up, and how it fails."""

import io
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from epmdless.cli import cluster, cluster_reasons, cluster_table
from epmdless.cli.cluster_views import ClusterSample
from epmdless.cli.control import ControlClient
from epmdless.cli.links import INTERVAL
from epmdless.cluster.trouble import REASONS
from epmdless.errors import EpmdlessError, RemoteProtocolError
from tests.cli.command import as_json, complaint, epmdless, printed
from tests.cli.control_servers import FakeCluster, FakeLinks, View, answering, serving
from tests.support.deadline import eventually
from tests.support.process import Program
from tests.support.tools import PYTHON, clean_env

HOSTILE = "evil\x1b[2J\n\u202eend@host"
HOSTILE_SHOWN = r"evil\x1b[2J\n\u202eend@host"

WIDE = 10_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


def source(**changed: Any) -> View:
    """A source as the process shows it."""
    usual = {"name": "names", "kind": "dns", "state": "known", "reason": None, "detail": None}
    return {**usual, "names": 12, "age": 3.2, "failing_for": None, "expired": False, **changed}


def node(*peers: View, **changed: Any) -> View:
    """A local node as the process shows it."""
    usual = {"name": "app-9001@b1", "alive": "app-9001", "state": "linked", "reason": None, "detail": None}
    connected = sum(peer["state"] == "connected" for peer in peers)
    counts = {"connected": connected, "wanted": len(peers)}
    return {**usual, "otp": "25", "since": 61.5, **counts, "peers": list(peers), **changed}


def peer(name: str = "app@10.0.0.7", **changed: Any) -> View:
    """A peer as the process shows it."""
    usual = {"name": name, "state": "connected", "hidden": False, "sources": ["names"], "seen": 3.1}
    return {**usual, "reason": None, "detail": None, "attempts": 1, "next_attempt": None, **changed}


def failing(name: str, reason: str | None = "not_registered", **changed: Any) -> View:
    """A peer that could not be connected."""
    return peer(name, state="failing", reason=reason, attempts=4, next_attempt=8.9, **changed)


def document(*nodes: View, sources: tuple[View, ...] = (source(),), **changed: Any) -> View:
    """The whole, with one group."""
    groups = [{"name": "default", "nodes": list(nodes)}]
    usual = {"now": 123.4, "ready": True, "wanted_ready": 0, "sources": list(sources), "groups": groups}
    return usual | changed


def lines(shown: View, *, width: int = WIDE) -> list[str]:
    """The lines that a file would get."""
    out = io.StringIO()
    console = Console(file=out, width=width, highlight=False)
    for part in cluster_table.tables(msgspec.convert(shown, ClusterSample), console):
        console.print(part)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def words(shown: View) -> list[list[str]]:
    """The words of the lines that a file would get."""
    return [line.split() for line in lines(shown)]


def screen(shown: View, *, width: int, height: int = 25, heading: str | None = None) -> list[str]:
    """The lines that a terminal of this size would show."""
    out = io.StringIO()
    console = Console(file=out, width=width, height=height, force_terminal=True, color_system=None)
    console.print(cluster_table.screen(msgspec.convert(shown, ClusterSample), console, heading))
    return [line.rstrip() for line in out.getvalue().splitlines()]


# The tables


def test_sources_nodes_and_peers_stand_one_below_the_other() -> None:
    shown = document(node(peer("app@10.0.0.7"), failing("app@10.0.0.8", sources=["names", "file"])))
    assert words(shown) == [
        ["SOURCE", "KIND", "STATE", "NAMES", "AGE", "WHY"],
        ["names", "dns", "known", "12", "3s", "-"],
        [],
        ["group", "default"],
        ["NODE", "STATE", "OTP", "SINCE", "PEERS", "WHY"],
        ["app-9001@b1", "linked", "25", "1m01s", "1/2", "-"],
        [],
        ["NODE", "PEER", "STATE", "SOURCES", "NAMED", "TRIES", "NEXT", "WHY"],
        ["app-9001@b1", "app@10.0.0.7", "connected", "names", "3s", "1", "-", "-"],
        [
            *("app-9001@b1", "app@10.0.0.8", "failing", "names,", "file", "3s", "4", "8s"),
            *cluster_reasons.PEER_REASONS["not_registered"].split(),
        ],
    ]


def test_all_is_sorted_but_the_sources_whose_order_means_something() -> None:
    first = node(peer("b@1"), peer("a@1"), name="z@1")
    second = node(peer("c@1"), name="y@1")
    groups = [{"name": "web", "nodes": [first, second]}, {"name": "db", "nodes": []}]
    shown = words(document(sources=(source(name="z"), source(name="a")), groups=groups))
    assert [each[0] for each in shown[1:3]] == ["z", "a"]
    assert shown[4:6] == [["group", "db:", "no", "local", "node"], []]
    assert [each[:2] for each in shown[-3:]] == [["y@1", "c@1"], ["z@1", "a@1"], ["z@1", "b@1"]]


def test_nodes_of_no_group_come_last() -> None:
    groups = [{"name": None, "nodes": [node()]}, {"name": "web", "nodes": []}]
    shown = words(document(groups=groups))
    assert [shown[3][:2], shown[5]] == [["group", "web:"], ["in", "no", "group"]]


def test_hidden_connections_are_told_apart() -> None:
    *_, hidden, visible = words(document(node(peer("a@1", hidden=True), peer("b@1"))))
    assert hidden[2:4] == ["connected", "hidden"]
    assert visible[2:4] == ["connected", "names"]


@pytest.mark.parametrize(
    ("wanted", "ready", "said"),
    [
        (2, False, "not ready: each local node must be connected to 2 peers"),
        (1, True, "ready: each local node must be connected to 1 peer"),
    ],
)
def test_readiness_is_said_where_it_is_asked_for(wanted: int, ready: bool, said: str) -> None:
    assert lines(document(wanted_ready=wanted, ready=ready))[:2] == [said, ""]
    assert lines(document())[0].startswith("SOURCE")


def test_a_process_that_knows_nothing_yet_is_shown() -> None:
    starting = source(state="starting", names=0, age=None)
    waiting = node(state="waiting", otp=None, since=None)
    assert words(document(waiting, sources=(starting,)))[1::4] == [
        ["names", "dns", "starting", "0", "-", "-"],
        ["app-9001@b1", "waiting", "-", "0/0", "-"],
    ]
    assert lines(document(sources=(), groups=[])) == ["no sources"]


def test_what_others_call_themselves_cannot_reach_the_terminal() -> None:
    bad_peer = peer(HOSTILE, state=HOSTILE, sources=[HOSTILE], reason=HOSTILE, detail=HOSTILE)
    bad_source = source(name=HOSTILE, kind=HOSTILE, state=HOSTILE, reason=HOSTILE, detail=HOSTILE)
    bad_node = node(bad_peer, name=HOSTILE, state=HOSTILE, otp=HOSTILE, reason=HOSTILE, detail=HOSTILE)
    shown = document(sources=(bad_source,), groups=[{"name": HOSTILE, "nodes": [bad_node]}])
    text = "\n".join(lines(shown))
    assert text.count(HOSTILE_SHOWN) == 5 + 1 + 5 + 6
    assert all(character.isprintable() or character == "\n" for character in text)


def test_markup_in_a_name_is_a_name() -> None:
    assert words(document(node(peer("[red]a@b[/red]"))))[-1][1] == "[red]a@b[/red]"


# Reasons


def test_a_source_that_does_not_know_says_since_when_and_what_is_done_meanwhile() -> None:
    lost = source(state="unknown", reason="timeout", detail="no answer from ::1", failing_for=61.5)
    said = "for 1m01s: it does not answer in time (no answer from ::1)"
    assert lines(document(sources=(lost,)))[1].endswith(f"  {said}; its last list goes on being used")
    expired = lost | {"expired": True}
    assert lines(document(sources=(expired,)))[1].endswith(f"{said}; its last list is too old to be used")
    never = lost | {"age": None}
    assert lines(document(sources=(never,)))[1].endswith(said)
    partly = lost | {"state": "known"}
    shown = lines(document(sources=(partly,)))[1]
    assert shown.endswith(f"in part, {said}; what it said of that part before goes on being used")


@pytest.mark.parametrize(
    ("reason", "detail", "said"),
    [
        ("cookie", None, "the node refuses our cookie: is cookie_file its cookie?"),
        (
            "unreachable",
            "port 9001: refused",
            "nothing answers on its port: has it ended? (port 9001: refused)",
        ),
        ("cookie", REASONS["cookie"], "the node refuses our cookie: is cookie_file its cookie?"),
        ("later_word", None, "later_word"),
        ("later_word", "more", "later_word (more)"),
        (None, "more", "more"),
        (None, None, "-"),
    ],
)
def test_why_a_node_cannot_be_told_is_said_in_words(
    reason: str | None, detail: str | None, said: str
) -> None:
    shown = document(node(state="failing", reason=reason, detail=detail))
    assert lines(shown)[-1].endswith(f"  0/0  {said}")


@pytest.mark.parametrize(
    ("reason", "detail", "said"),
    [
        ("refused", None, "the node could not connect to it (cookie? TLS?)"),
        ("refused", "it answers us", "the node could not connect to it (it answers us)"),
        ("no_address", None, "its host has no address: look at DNS"),
        ("later_word", None, "later_word"),
        (None, None, "-"),
    ],
)
def test_why_a_peer_is_not_connected_is_said_in_words(
    reason: str | None, detail: str | None, said: str
) -> None:
    shown = document(node(failing("a@1", reason, detail=detail)))
    assert lines(shown)[-1].endswith(f"  8s  {said}")


def test_every_reason_that_there_is_has_a_sentence() -> None:
    of_peers_alone, of_nodes_alone = {"refused"}, {"cookie_file", "taken", "left_out", "user"}
    assert cluster_reasons.NODE_REASONS.keys() >= REASONS.keys() - of_peers_alone
    assert cluster_reasons.PEER_REASONS.keys() >= REASONS.keys() - of_nodes_alone


@pytest.mark.parametrize("table", ["SOURCE_REASONS", "NODE_REASONS", "PEER_REASONS"])
def test_each_reason_has_a_sentence_of_one_line(table: str) -> None:
    for reason, sentence in getattr(cluster_reasons, table).items():
        assert reason.isidentifier()
        assert sentence == sentence.strip()
        assert len(sentence.splitlines()) == 1


# Many rows


def crowd(connected: int, bad: int, **changed: Any) -> View:
    good = [peer(f"a{number:05}@1") for number in range(connected)]
    return node(*good, *(failing(f"b{number:05}@1") for number in range(bad)), **changed)


def test_fifty_peers_are_all_shown_by_name() -> None:
    shown = words(document(crowd(45, 5)))
    assert [each[1][0] for each in shown[-50:]] == ["a"] * 45 + ["b"] * 5


def test_of_more_those_that_fail_come_first_and_the_rest_is_counted() -> None:
    shown = words(document(crowd(168, 5)))
    assert [each[1] for each in shown[-51:-46]] == [f"b{number:05}@1" for number in range(5)]
    assert [each[1] for each in shown[-46:-1]] == [f"a{number:05}@1" for number in range(45)]
    assert shown[-1] == ["...", "and", "123", "connected"]


def test_failing_peers_are_counted_too_where_they_are_too_many() -> None:
    other = crowd(0, 20, name="app-9002@b1")
    shown = lines(document(crowd(7, 80), other))
    assert shown[-1] == "... and 50 failing, 7 connected"
    assert [line.split()[1][0] for line in shown[-51:-1]] == ["b"] * 50


def test_every_state_has_its_place_when_there_are_too_many() -> None:
    states = ["connected", "strange", "gone", "waiting", "connecting", "failing"]
    peers = [peer(f"p{number:03}@1", state=states[number % 6]) for number in range(66)]
    shown = words(document(node(*peers)))
    seen = [each[2] for each in shown[-51:-1]]
    assert seen == ["failing"] * 11 + ["connecting"] * 11 + ["waiting"] * 11 + ["gone"] * 11 + ["strange"] * 6
    assert shown[-1] == ["...", "and", "5", "strange,", "11", "connected"]


def test_groups_are_cut_each_for_itself() -> None:
    groups = [{"name": name, "nodes": [crowd(60, 0)]} for name in ("a", "b")]
    assert lines(document(groups=groups)).count("... and 10 connected") == 2


# On a terminal


@pytest.mark.parametrize(
    ("width", "left_out"),
    [
        (140, set()),
        (90, set()),
        (80, {"TRIES", "NEXT"}),
        (70, {"TRIES", "NEXT", "SOURCES"}),
    ],
)
def test_a_narrow_terminal_leaves_columns_out_and_cuts_none(width: int, left_out: set[str]) -> None:
    found = screen(document(node(failing("app@10.0.0.7"))), width=width)
    titles = next(line for line in found if "PEER " in line).split()
    assert set(titles) == {column.title for column in cluster_table.PEERS} - left_out
    assert all(len(line) <= width for line in found)
    assert not any("…" in line for line in found)


def test_a_sentence_is_folded_and_never_cut() -> None:
    found = screen(document(node(failing("app@10.0.0.7", "epmd_unreachable"))), width=60)
    assert " ".join(" ".join(found).split()).endswith(
        "its EPMD does not answer: does it run, is its port open?"
    )


def test_a_local_node_is_named_in_its_first_line() -> None:
    nodes = (node(peer("a@1"), peer("b@1")), node(peer("a@1"), name="app-9002@b1"))
    *_, first, second, third = screen(document(*nodes), width=140)
    assert [line.split()[0] for line in (first, second, third)] == ["app-9001@b1", "b@1", "app-9002@b1"]


@pytest.mark.parametrize("height", [6, 12, 18, 30, 60])
def test_a_screen_shows_first_what_fails_and_is_never_too_high(height: int) -> None:
    found = screen(document(crowd(40, 3)), width=140, height=height, heading="heading")
    assert found[0] == "heading"
    assert len(found) < height
    if height == 18:
        assert ["failing" in line for line in found[-7:]] == [*(True, True, True), *(False,) * 4]
        assert found[-1] == "... and 37 connected"
    if height == 60:
        assert sum("connected" in line for line in found) == 40
    if height == 6:
        assert found[-1].startswith("lines that need a taller window: ")


# Watching


class LimitError(Exception):
    """The rounds that a test allowed are over."""


def rounds(number: int) -> Callable[[float], None]:
    """A pause that takes no time, and ends the watch after so many pictures."""
    left: Iterator[int] = iter(range(number - 1))

    def pause(seconds: float) -> None:
        assert seconds == INTERVAL
        if next(left, None) is None:
            raise LimitError

    return pause


def watched(path: Path, *documents: View, terminal: bool) -> str:
    out = io.StringIO()
    console = Console(file=out, width=140, height=30, force_terminal=terminal, color_system=None)
    fake = FakeCluster(*documents)
    with serving(path, FakeLinks(), fake), pytest.raises(LimitError):
        cluster.watch(ControlClient([path]), console, rounds(len(documents)))
    assert fake.looks == len(documents)
    return out.getvalue()


def test_a_watch_prints_one_picture_after_the_other(path: Path) -> None:
    growing = [document(crowd(number, 0)) for number in (1, 2)]
    first, second = watched(path, *growing, terminal=False).split("\n\nSOURCE")
    assert (first.count(" connected "), second.count(" connected ")) == (1, 2)


def test_a_terminal_is_redrawn_in_place(path: Path) -> None:
    growing = [document(crowd(number, 0)) for number in (1, 2)]
    written = watched(path, *growing, terminal=True)
    first, second = written.index("a00000@1"), written.index("a00001@1")
    assert "\x1b[1A" in written[first:second], "the cursor does not go back up"
    assert written.rstrip().endswith("\x1b[?25h"), "the cursor stays hidden"


def test_watched_json_is_a_document_a_line(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    growing = [document(crowd(number, 0)) for number in (1, 2, 3)]
    with serving(path, FakeLinks(), FakeCluster(*growing)), pytest.raises(LimitError):
        cluster.watch_json(ControlClient([path]), rounds(3))
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == growing


# The command


def test_the_command_prints_tables(path: Path) -> None:
    with serving(path, FakeLinks(), FakeCluster(document(node(peer())))):
        shown = printed("cluster", "--socket", path)
    assert [line.split()[0] for line in shown.splitlines() if line] == [
        *("SOURCE", "names", "group", "NODE", "app-9001@b1", "NODE", "app-9001@b1")
    ]


def test_json_is_the_document(path: Path) -> None:
    given = document(crowd(70, 1), node(peer(HOSTILE))) | {"more": True}
    with serving(path, FakeLinks(), FakeCluster(given)):
        assert as_json("cluster", "--socket", path) == given


def test_the_configured_socket_is_asked(path: Path, tmp_path: Path) -> None:
    config = tmp_path / "epmdless.toml"
    config.write_text(f'[control]\nsocket = "{path}"\n')
    with serving(path, FakeLinks(), FakeCluster(document())):
        assert "group default: no local node" in printed("cluster", "--config", config)


def test_ctrl_c_ends_a_watch_quietly(path: Path) -> None:
    argv: list[str | Path] = [PYTHON, "-m", "epmdless", "cluster", "--watch", "--socket", path]
    with (
        serving(path, FakeLinks(), FakeCluster(document())),
        Program(argv, env=clean_env()) as program,
    ):
        eventually(lambda: program.stdout.count("SOURCE") == 2, within=10, what="the second picture")
        program.signal(signal.SIGINT)
        assert program.wait(5) == 0
        assert program.stderr == ""


@pytest.mark.parametrize("flags", [[], ["--watch"], ["--json"]])
def test_nobody_and_no_cluster_are_one_line_and_status_1(path: Path, flags: list[str]) -> None:
    said = complaint(1, "cluster", *flags, "--socket", path)
    assert said == f"nobody answers: {path}: No such file or directory"
    with serving(path, FakeLinks()):
        said = complaint(1, "cluster", *flags, "--socket", path)
    assert said == "no cluster is configured there: the configuration has no [cluster.source]"


def test_a_wrong_command_line_or_configuration_is_status_2(tmp_path: Path) -> None:
    assert epmdless("cluster", "end").status == 2
    config = tmp_path / "epmdless.toml"
    config.write_text("[cluster]\nsources = 1\n")
    assert "cluster.sources" in complaint(2, "cluster", "--config", config)


def test_exit_statuses_are_in_the_help() -> None:
    said = " ".join(printed("cluster", "--help").split())
    assert "The exit status is 0; 1 if nobody answers or no cluster is configured there; 2 if" in said


# Answers that are none


def http(body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"\x00\x01rubbish\n", RemoteProtocolError),
        (http(b"{}"), RemoteProtocolError),
        (http(b"[" * 100_000), RemoteProtocolError),
        (http(b'{"now": 1, "ready": true, "groups": [{"name": 1}]}'), RemoteProtocolError),
        (http(b'{"now": 1, "ready": true, "sources": {}}'), RemoteProtocolError),
        (http(b"no", "500 Internal Server Error"), RemoteProtocolError),
        (http(b"try /links\n", "404 Not Found"), EpmdlessError),
    ],
)
def test_an_answer_that_is_none_is_an_error_of_ours(
    path: Path, answer: bytes, error: type[EpmdlessError]
) -> None:
    with answering(path, answer), pytest.raises(error):
        ControlClient([path]).cluster()


def test_fields_of_a_later_version_are_passed_over(path: Path) -> None:
    given = document(node(peer(colour="red"), colour="red"), sources=(source(colour="red"),), more=True)
    with answering(path, http(json.dumps(given).encode())):
        answer = ControlClient([path]).cluster()
    assert answer.document == given
    assert [peer.name for _, peer in answer.sample.groups[0].pairs()] == ["app@10.0.0.7"]
