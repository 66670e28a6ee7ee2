"""`epmdless published`: what it shows of publishing that a test makes up, and how it fails."""

import io
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from epmdless.cli.control import ControlClient
from epmdless.cli.publish_views import PublishSample
from epmdless.cli.published import parts
from epmdless.errors import RemoteProtocolError
from epmdless.publish.records import LEFT_OUT
from epmdless.resolve.update_reasons import REASONS
from tests.cli import command
from tests.cli.control_servers import FakeLinks, View, answering, serving
from tests.cli.within import as_json, complaint, epmdless

HOSTILE = "evil\x1b[2J\n\u202eend"
HOSTILE_SHOWN = r"evil\x1b[2J\n\u202eend"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


def node(name: str = "shop-9001@b1.internal", **changed: Any) -> View:
    return {"name": name, "port": 9001, "services": ["epmdless", "shop"], "published": True, **changed}


def document(*nodes: View, **changed: Any) -> View:
    """What a process shows."""
    usual: View = {"zone": "nodes.internal", "servers": ["10.0.0.2:53"], "target": "b1.nodes.internal"}
    usual |= {"addresses": ["10.0.1.23"], "state": "published", "reason": None, "detail": None}
    usual |= {"failing_for": None, "age": 3.2, "next": 25.9, "records": 6, "twin": None}
    return usual | {"nodes": list(nodes), "left_out": [], "left_out_count": 0} | changed


def lines(shown: View) -> list[str]:
    """The lines that a file would get."""
    out = io.StringIO()
    console = Console(file=out, width=10_000, highlight=False)
    for part in parts(msgspec.convert({"now": 1.0} | shown, PublishSample)):
        console.print(part)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_state_target_and_nodes_are_shown(path: Path) -> None:
    waiting = node("stock-9002@b1.internal", port=9002, services=["epmdless"], published=False)
    with serving(path, FakeLinks(), publish=document(waiting, node())):
        said = [line.rstrip() for line in command.printed("published", "--socket", path).splitlines()]
    assert said == [
        "nodes.internal: published, last written 3s ago, next in 25s",
        "target b1.nodes.internal (10.0.1.23), 6 records",
        "",
        "NODE                    PORT  STATE      SERVICES",
        "shop-9001@b1.internal   9001  published  epmdless, shop",
        "stock-9002@b1.internal  9002  pending    epmdless",
    ]


@pytest.mark.parametrize("reason", sorted(REASONS))
def test_why_it_fails_is_said_in_words(reason: str) -> None:
    failing = document(
        state="failing", reason=reason, detail="10.0.0.2:53: REFUSED", failing_for=61.5, age=None
    )
    assert lines(failing)[0] == (
        f"nodes.internal: failing, for 1m01s, {REASONS[reason]}, 10.0.0.2:53: REFUSED, next in 25s"
    )


def test_a_process_that_has_not_written_yet() -> None:
    assert lines(document(state="starting", age=None, next=None, records=1, addresses=[])) == [
        "nodes.internal: starting",
        "target b1.nodes.internal, 1 record",
        "",
        "no node is registered that is to be published",
    ]


def test_another_host_of_the_same_target_is_named() -> None:
    said = lines(document(twin="stock-9002@b1"))[2]
    assert said == "another host publishes under this target too: stock-9002@b1"


@pytest.mark.parametrize("reason", sorted(LEFT_OUT))
def test_who_is_left_out_is_told_why(reason: str) -> None:
    left_out = [{"name": "rem-1@b1", "reason": reason}]
    said = lines(document(node(), left_out=left_out, left_out_count=8))
    assert said[-3:] == ["LEFT OUT  WHY", f"rem-1@b1  {LEFT_OUT[reason]}", "... and 7 more"]


def test_words_of_a_later_version_are_shown_as_they_are() -> None:
    said = lines(document(state="resting", reason="tired", left_out=[{"name": "a@b", "reason": "odd"}]))
    assert said[0].startswith("nodes.internal: resting, tired, last written")
    assert said[-1] == "a@b       odd"


def test_what_others_call_themselves_cannot_reach_the_terminal() -> None:
    bad = node(HOSTILE, services=[HOSTILE])
    shown = document(
        *(bad,), zone=HOSTILE, target=HOSTILE, addresses=[HOSTILE], state=HOSTILE, reason=HOSTILE,
        detail=HOSTILE, twin=HOSTILE, left_out=[{"name": HOSTILE, "reason": HOSTILE}],
    )  # fmt: skip
    text = "\n".join(lines(shown))
    assert text.count(HOSTILE_SHOWN) == 11
    assert all(character.isprintable() or character == "\n" for character in text)


def test_json_is_the_document_as_it_came(path: Path) -> None:
    given = document(node(colour="red"), more=True)
    with serving(path, FakeLinks(), publish=given):
        said = as_json("published", "--socket", path)
    assert said.pop("now") > 0
    assert said == given


def test_nobody_and_nothing_published_are_one_line_and_status_1(path: Path) -> None:
    said = command.complaint(1, "published", "--socket", path)
    assert said == f"nobody answers: {path}: No such file or directory"
    with serving(path, FakeLinks()):
        said = complaint(1, "published", "--socket", path)
    assert said == "nothing is published there: the configuration has no [publish]"


def test_a_wrong_command_line_or_configuration_is_status_2(tmp_path: Path) -> None:
    assert epmdless("published", "now").status == 2
    config = tmp_path / "epmdless.toml"
    config.write_text("[publish]\nzones = 1\n")
    assert "publish.zones" in complaint(2, "published", "--config", config)


@pytest.mark.parametrize("body", [b"{}", b"[" * 100_000, b'{"now": 1, "zone": "a", "state": 1}'])
def test_an_answer_that_is_none_is_an_error_of_ours(path: Path, body: bytes) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with answering(path, head + body), pytest.raises(RemoteProtocolError):
        ControlClient([path]).published()


def test_json_says_no_more_than_the_process(path: Path) -> None:
    body = json.dumps({"now": 1.0} | document()).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with answering(path, head + body):
        assert ControlClient([path]).published().sample.zone == "nodes.internal"
