"""`epmdless links`: what it shows of a relay that a test makes up, and how it fails."""

import io
import json
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from epmdless.cli import configuration, links, links_table
from epmdless.cli.ask import NoServerError
from epmdless.cli.control import ControlClient, Sample
from epmdless.cli.links_table import Rate, duration, si
from epmdless.errors import ConfigError, EpmdlessError, RemoteProtocolError
from tests.cli.command import complaint, epmdless, printed
from tests.cli.control_servers import FakeLinks, View, answering, direction, serving, side, view
from tests.support.deadline import eventually
from tests.support.process import Program
from tests.support.tools import PYTHON, clean_env

HOSTILE = "evil\x1b[2J\n\u202eend@host"
HOSTILE_SHOWN = r"evil\x1b[2J\n\u202eend@host"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


class LimitError(Exception):
    """The rounds that a test allowed are over."""


def rounds(number: int) -> Callable[[float], None]:
    """A pause that takes no time, so many times, and then raises LimitError."""
    left = iter(range(number))

    def pause(seconds: float) -> None:
        assert seconds == links.INTERVAL
        if next(left, None) is None:
            raise LimitError

    return pause


def sample(now: float, *views: View) -> Sample:
    return msgspec.convert({"now": now, "links": views}, Sample)


# Rates


def test_rates_are_differences_over_the_relays_own_time() -> None:
    ways = {"near_to_far": direction(bytes=1000, frames=10), "far_to_near": direction(bytes=0, frames=None)}
    later = {"near_to_far": direction(bytes=6000, frames=20), "far_to_near": direction(bytes=30, frames=None)}
    rates = links.rates_between(sample(100, view(1, **ways)), sample(102.5, view(1, **later)))
    assert rates == {1: (Rate(2000, 4), Rate(12, None))}


def test_a_new_link_began_with_nothing_and_one_that_ended_is_forgotten() -> None:
    carried = {"near_to_far": direction(bytes=500, frames=5)}
    rates = links.rates_between(sample(0, view(1)), sample(1, view(2, **carried)))
    assert rates == {2: (Rate(500, 5), Rate(0, 0))}


@pytest.mark.parametrize("now", [9, 10, 11])
def test_another_process_under_the_same_numbers_has_no_rate_yet(now: float) -> None:
    former = {"near_to_far": direction(bytes=1000), "far_to_near": direction(bytes=1000)}
    rates = links.rates_between(sample(10, view(1, **former)), sample(now, view(1)))
    assert rates == {1: (Rate(None, None), Rate(None, None))}


# Units


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        *((None, "-"), (0, "0"), (0.04, "0"), (0.25, "0.2"), (7, "7"), (9.97, "10"), (12.3, "12")),
        *((999, "999"), (999.4, "999"), (999.6, "1.00k"), (1234, "1.23k"), (45_600, "45.6k")),
        *((999_499, "999k"), (999_500, "1.00M"), (3.3e9, "3.30G"), (2**64, "18E"), (10**22, "10000E")),
    ],
)
def test_numbers_have_a_decimal_prefix(value: float | None, shown: str) -> None:
    assert si(value) == shown


@given(st.floats(0, 1e18))
def test_a_number_is_short_and_right_to_its_last_digit(value: float) -> None:
    shown = si(value)
    prefix = shown[-1] if shown[-1].isalpha() else ""
    scale = 1000 ** links_table.PREFIXES.index(prefix)
    assert len(shown) <= 5
    assert float(shown.removesuffix(prefix)) * scale == pytest.approx(value, rel=0.006, abs=0.051)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        *((0, "0s"), (59.9, "59s"), (60, "1m00s"), (3599, "59m59s"), (3600, "1h00m")),
        *((86_399, "23h59m"), (86_400, "1d00h"), (100 * 86_400 + 3600 * 5, "100d05h")),
    ],
)
def test_durations_have_two_units(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


# Plain output


def plain(*views: View, pictures: int = 1, path: Path, **options: Any) -> list[list[str]]:
    """The words of each line that a watch of so many pictures writes to a file."""
    out = io.StringIO()
    console = Console(file=out, width=10_000, highlight=False)
    with serving(path, FakeLinks(*views, **options)), pytest.raises(LimitError):
        links.watch(ControlClient([path]), console, rounds(pictures))
    return [line.split() for line in out.getvalue().splitlines()]


TITLES = (
    *("LINK", "STATE", "ROUTE", "AGE", "SIDE", "NODE", "ADDRESS", "SENDS B/s", "FRAMES/s", "TICK s"),
    *("RTT ms", "RETRANS", "UNSENT B"),
)


def test_each_line_of_a_file_has_everything_and_nothing_is_cut(path: Path) -> None:
    long = "n" * 255 + "@" + "h" * 200
    near = side(node=long, rtt_us=1234, retransmits=7, unsent=65_536)
    far = side(node=None, address="", rtt_us=None, retransmits=None)
    shown = view(7, near=near, far=far, near_to_far=direction(last_tick_age=3.6, frames=None))
    titles, first, second = plain(shown, path=path)
    assert titles == " ".join(TITLES).split()
    link = ["7", "established", "b1.internal", "1m01s"]
    assert first == [*link, "near", long, "10.0.1.5:43210", "0", "-", "4", "1.23", "7", "65.5k"]
    assert second == [*link, "far", "-", "-", "0", "0", "-", "-", "-", "0"]


def test_a_watch_prints_one_table_after_the_other(path: Path) -> None:
    lines = plain(view(1), view(2), pictures=3, path=path)
    assert [words[0] if words else "" for words in lines] == [
        *("LINK", "1", "1", "2", "2", ""),
        *("LINK", "1", "1", "2", "2", ""),
        *("LINK", "1", "1", "2", "2"),
    ]


def test_what_a_peer_calls_itself_cannot_reach_the_terminal(path: Path) -> None:
    hostile = view(1, near=side(node=HOSTILE, address=HOSTILE), route=HOSTILE, state=HOSTILE)
    _, first, _ = plain(hostile, path=path)
    assert [first[at] for at in (1, 2, 5, 6)] == [HOSTILE_SHOWN] * 4


def test_markup_in_a_name_is_a_name(path: Path) -> None:
    _, first, _ = plain(view(1, near=side(node="[red]a@b[/red]")), path=path)
    assert first[5] == "[red]a@b[/red]"


def test_hops_and_clients_have_a_column_where_some_link_has_one(path: Path) -> None:
    through, served = view(1, hop="az-b", tunnel="5eed0001-1"), view(2, client="relay.az-a.internal")
    titles, *lines = plain(through, served, view(3), path=path)
    assert titles[:4] == ["LINK", "STATE", "ROUTE", "VIA"]
    assert [words[3] for words in lines] == ["az-b", "az-b", "from", "from", "-", "-"]
    assert lines[2][4] == "relay.az-a.internal"
    assert "VIA" not in plain(view(3), path=path)[0]


def test_the_tunnels_id_is_in_the_json(path: Path) -> None:
    with serving(path, FakeLinks(view(1, hop="az-b", client=None, tunnel="5eed0001-1"))):
        (link,) = json.loads(printed("links", "--json", "--socket", path))["links"]
    assert (link["hop"], link["client"], link["tunnel"]) == ("az-b", None, "5eed0001-1")


def test_no_links_are_titles_alone(path: Path) -> None:
    assert plain(path=path) == [" ".join(TITLES).split()]


# On a terminal


def screen(*views: View, width: int, height: int = 25, heading: str | None = None) -> list[str]:
    """The lines that a terminal of this size would show."""
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    found = sample(1, *views)
    console.print(links_table.screen(found, links.rates_between(found, found), console, heading))
    written = console.file
    assert isinstance(written, io.StringIO)
    return [line.rstrip() for line in written.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("width", "left_out"),
    [
        (170, set()),
        (120, {"ADDRESS", "STATE"}),
        (100, {"ADDRESS", "STATE", "RETRANS"}),
        (80, {"ADDRESS", "STATE", "RETRANS", "ROUTE", "SIDE"}),
    ],
)
def test_a_narrow_terminal_leaves_columns_out_and_cuts_none(width: int, left_out: set[str]) -> None:
    lines = screen(view(1), width=width)
    assert lines[0].split() == " ".join(title for title in TITLES if title not in left_out).split()
    assert all(len(line) <= width for line in lines)
    assert not any("…" in line for line in lines)


def test_the_hop_is_kept_longer_than_the_route() -> None:
    titles = screen(view(1, hop="az-b"), width=100)[0].split()
    assert "VIA" in titles
    assert "ROUTE" not in titles


def test_a_links_own_columns_are_in_its_first_line() -> None:
    _, first, second = screen(view(1), width=200)
    assert first.split()[:3] == ["1", "established", "b1.internal"]
    assert second.split()[:2] == ["far", "app-9001@b1.internal"]


def test_a_long_name_is_cut_on_a_terminal_before_a_number_is() -> None:
    _, first, _ = screen(view(1, near=side(node="n" * 200, unsent=123_000)), width=80)
    assert "…" in first
    assert first.endswith("123k")


@pytest.mark.parametrize(("height", "shown"), [(25, 10), (10, 3), (3, 1)])
def test_what_does_not_fit_is_counted(height: int, shown: int) -> None:
    lines = screen(*map(view, range(1, 101)), width=120, height=height, heading="heading")
    assert lines[0] == "heading"
    assert len(lines) == 3 + 2 * shown
    assert len(lines) < max(height, 6)
    assert lines[-1] == f"and {100 - shown} more: they need a taller window"


def test_a_terminal_is_told_that_there_are_none() -> None:
    assert screen(width=120)[-1] == "no links"


def test_a_terminal_is_redrawn_in_place(path: Path) -> None:
    out = io.StringIO()
    console = Console(file=out, width=120, height=20, force_terminal=True, color_system=None)
    headings = iter(["first heading", "second heading"])
    with serving(path, FakeLinks(view(1), grows=(5, 1))), pytest.raises(LimitError):
        links.watch(ControlClient([path]), console, rounds(2), lambda: next(headings))
    written = out.getvalue()
    first, second = written.index("first heading"), written.index("second heading")
    assert "\x1b[1A" in written[first:second], "the cursor does not go back up"
    assert written.rstrip().endswith("\x1b[?25h"), "the cursor stays hidden"


# The command


def test_the_command_prints_a_table(path: Path) -> None:
    with serving(path, FakeLinks(view(3))):
        lines = printed("links", "--socket", path).splitlines()
    assert [line.split()[0] for line in lines] == ["LINK", "3", "3"]


def test_json_is_the_document_with_rates(path: Path) -> None:
    given = view(3, far_to_near=direction(frames=None), near=side(node=HOSTILE))
    fake = FakeLinks(given, grows=(10**6, 100))
    with serving(path, fake):
        (line,) = printed("links", "--socket", path, "--json").splitlines()
    document = json.loads(line)
    (link,) = document["links"]
    there, back = link["near_to_far"].pop("rates"), link["far_to_near"].pop("rates")
    assert fake.looks == 2
    assert document.keys() == {"now", "links"}
    assert link == given | {
        "near_to_far": direction(bytes=10**6, frames=100),
        "far_to_near": direction(bytes=10**6, frames=None),
    }
    assert 0 < there["bytes_per_second"] <= 1.01e6
    assert there["frames_per_second"] == pytest.approx(there["bytes_per_second"] / 10**4)
    assert back["frames_per_second"] is None


def test_watched_json_is_a_document_a_line(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(path, FakeLinks(view(1), grows=(1, 1))), pytest.raises(LimitError):
        links.watch_json(ControlClient([path]), rounds(3))
    documents = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["links"][0]["near_to_far"]["bytes"] for each in documents] == [1, 2, 3]


def test_ctrl_c_ends_a_watch_quietly(path: Path) -> None:
    argv: list[str | Path] = [PYTHON, "-m", "epmdless", "links", "--watch", "--socket", path]
    with serving(path, FakeLinks(view(1))), Program(argv, env=clean_env()) as program:
        eventually(lambda: "LINK" in program.stdout, within=10, what="the first table")
        program.signal(signal.SIGINT)
        assert program.wait(5) == 0
        assert program.stderr == ""


def test_end_ends_a_link(path: Path) -> None:
    fake = FakeLinks(view(3), view(4))
    with serving(path, fake):
        assert printed("links", "--socket", path, "end", "3") == ""
        assert fake.numbers == [4]
        assert complaint(1, "links", "end", "3", "--socket", path) == "no link has the number 3"
        assert printed("links", "end", "4", "--socket", path) == ""
        assert fake.numbers == []


@pytest.mark.parametrize("words", [["end"], ["end", "x"], ["end", "-1"], ["start", "1"]])
def test_a_wrong_command_line_is_status_2(words: list[str]) -> None:
    done = epmdless("links", *words)
    assert (done.status, done.stdout) == (2, "")
    assert "Error: " in done.stderr


@pytest.mark.parametrize("words", [["links"], ["links", "--watch"], ["links", "end", "1"]])
def test_no_relay_is_one_line_and_status_1(path: Path, words: list[str]) -> None:
    line = complaint(1, *words, "--socket", path)
    assert line == f"nobody answers: {path}: No such file or directory"


# Where it looks


def test_the_configured_socket_is_asked(path: Path, tmp_path: Path) -> None:
    config = tmp_path / "epmdless.toml"
    config.write_text(f'[control]\nsocket = "{path}"\n')
    with serving(path, FakeLinks(view(5))):
        assert printed("links", "--config", config).splitlines()[1].split()[0] == "5"


def test_a_wrong_configuration_is_status_2(tmp_path: Path) -> None:
    config = tmp_path / "epmdless.toml"
    config.write_text("[control]\nsockets = 1\n")
    assert "control.sockets" in complaint(2, "links", "--config", config)
    with pytest.raises(ConfigError):
        links.client_for(None, str(config))


def test_the_first_socket_that_answers_is_asked(tmp_path: Path) -> None:
    dead, alive = tmp_path / "dead", tmp_path / "alive"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(dead))
    with serving(alive, FakeLinks(view(5))):
        client = ControlClient([tmp_path / "none", dead, alive])
        assert [link.id for link in client.links().sample.links] == [5]
    with pytest.raises(NoServerError, match=r"none: No such file.*; .*dead: Connection refused; .*alive: "):
        client.links()


def test_the_usual_places_are_the_systems_and_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[Path]] = []
    monkeypatch.setattr(links, "ControlClient", asked.append)
    monkeypatch.setattr(configuration, "find_file", lambda _: None)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    for uid in (7, 0):
        monkeypatch.setattr(os, "geteuid", lambda uid=uid: uid)
        links.client_for(None, None)
    system, own = Path("/run/epmdless/control.sock"), Path("/run/user/7/epmdless/control.sock")
    assert asked == [[system, own], [system]]


# Answers that are none


def http(body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", NoServerError),
        (b"\x00\x01rubbish\n", RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000, RemoteProtocolError),
        (http(b"{}"), RemoteProtocolError),
        (http(b"[]"), RemoteProtocolError),
        (http(b"\xff"), RemoteProtocolError),
        (http(b"[" * 100_000), RemoteProtocolError),
        (http(b'{"now": 1, "links": [{"id": 1}]}'), RemoteProtocolError),
        (http(b"no", "500 Internal Server Error"), RemoteProtocolError),
        (http(b"no", "404 Not Found"), EpmdlessError),
    ],
)
def test_an_answer_that_is_none_is_an_error_of_ours(
    path: Path, answer: bytes, error: type[EpmdlessError]
) -> None:
    with answering(path, answer):
        with pytest.raises(error):
            ControlClient([path]).links()
        if not answer.startswith(b"HTTP/1.1 200"):
            with pytest.raises(error):
                ControlClient([path]).end(1)


def test_an_endless_answer_is_not_taken_in(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("epmdless.cli.control.MAX_ANSWER", 1000)
    with (
        answering(path, http(b" " * 1001)),
        pytest.raises(RemoteProtocolError, match="more than 1000 bytes"),
    ):
        ControlClient([path]).links()


def test_fields_of_a_later_version_are_passed_over(path: Path) -> None:
    document = {"now": 1.0, "links": [view(1) | {"colour": "red"}], "more": True}
    with answering(path, http(json.dumps(document).encode())):
        answer = ControlClient([path]).links()
    assert answer.document == document
    assert [link.id for link in answer.sample.links] == [1]
