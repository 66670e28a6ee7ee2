"""Lists of names as text and as JSON: what is one, and what must not be taken for an empty one."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epmdless.cluster.peers import MAX_NAMES, LookError, Peer
from epmdless.cluster.sources.name_text import MAX_BYTES, parse_names


def names(text: str) -> list[str]:
    """The names alone, none of which has a port."""
    found = parse_names(text.encode())
    assert all(peer == Peer(name) for name, peer in found.items())
    return list(found)


def refusal(data: bytes) -> LookError:
    with pytest.raises(LookError) as caught:
        parse_names(data)
    assert caught.value.detail.isprintable()
    assert len(caught.value.detail) <= 300
    return caught.value


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("\n\n  \n\t\n", []),
        ("# nobody yet\n", []),
        ("app@10.0.0.7", ["app@10.0.0.7"]),
        ("app@10.0.0.7\napp@10.0.0.8\n", ["app@10.0.0.7", "app@10.0.0.8"]),
        ("app@10.0.0.7\r\napp@10.0.0.8\r\n", ["app@10.0.0.7", "app@10.0.0.8"]),
        ("\ufeffapp@10.0.0.7\n", ["app@10.0.0.7"]),
        (" \tapp@fd00::7 \t\n", ["app@fd00::7"]),
        ("# the first\napp@b1 # in zone a\n\t# and no more", ["app@b1"]),
        ("b#1@b1 #2", ["b#1@b1"]),
        ("zürich@b1.internal", ["zürich@b1.internal"]),
        ("app@b1\napp@b2\napp@b1\n", ["app@b1", "app@b2"]),
    ],
)
def test_text_has_a_name_a_line(text: str, found: list[str]) -> None:
    assert names(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "app",
        "app@",
        "@b1",
        "app@b1 app@b2",
        "app@b1, app@b2",
        "app@b1@b2",
        "app@b1\n<html>503 Service Unavailable</html>",
        "psql: error: connection refused",
        "  name\n--------\n app@b1\n(1 row)",
        "app@b1\0",
        "app@b1\x1b[2J",
        "x" * 254 + "@b",
        '"app@b1", "app@b2"',
    ],
)
def test_one_line_that_is_no_name_spoils_the_whole(text: str) -> None:
    error = refusal(text.encode())
    assert error.reason == "malformed"
    assert "is not NAME@HOST" in error.detail


def test_the_line_is_said_and_as_much_of_it_as_a_terminal_can_bear() -> None:
    assert refusal(b"app@b1\n\n# two\n\x1b[2Jboo").detail == r"line 4: '\\x1b[2Jboo' is not NAME@HOST"
    assert refusal(b"y" * 100_000).detail == f"line 1: '{'y' * 60}' is not NAME@HOST"


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ([], []),
        ({"nodes": []}, []),
        (["app@b1", "app@b2"], [Peer("app@b1"), Peer("app@b2")]),
        ([{"name": "app@b1", "port": 9001}], [Peer("app@b1", 9001)]),
        ([{"name": "app@b1", "port": None}, "app@b2"], [Peer("app@b1"), Peer("app@b2")]),
        ([{"name": "app@b1", "zone": {"a": [1, 2]}}], [Peer("app@b1")]),
        ({"nodes": ["app@b1"], "generated": "today"}, [Peer("app@b1")]),
        (["app@b1", {"name": "app@b1", "port": 9001}], [Peer("app@b1")]),
    ],
)
def test_json_has_names_and_ports(said: object, found: list[Peer]) -> None:
    assert list(parse_names(json.dumps(said, indent=2).encode()).values()) == found
    assert list(parse_names(b"\xef\xbb\xbf \n" + json.dumps(said).encode()).values()) == found


@pytest.mark.parametrize(
    "text",
    [
        "[",
        "{",
        "{}",
        '{"nodes": null}',
        '{"nodes": {}}',
        '{"error": "no such table"}',
        '["app@b1",]',
        '["app@b1"] and more',
        "[1]",
        "[null]",
        '["app"]',
        '[["app@b1"]]',
        '[{"port": 9001}]',
        '[{"name": "app", "port": 9001}]',
        '[{"name": "app@b1", "port": 0}]',
        '[{"name": "app@b1", "port": 65536}]',
        '[{"name": "app@b1", "port": "9001"}]',
        '[{"name": "app@b1", "port": true}]',
        '[{"name": "a\\u001b@b1"}]',
        '["app@b\\ud800"]',
        "[" * 100_000,
        '[{"name": "app@b1", "x": ' + "[" * 100_000,
        '[{"name": "app@b1", "port": ' + "9" * 100_000 + "}]",
    ],
)
def test_json_that_is_no_list_of_names(text: str) -> None:
    assert refusal(text.encode()).reason == "malformed"


@pytest.mark.parametrize("data", [b"\xff", b"app@b1\n\xc3", b'["app@b\xff1"]', b"\0\0\0", b"\x1f\x8b\x08"])
def test_what_is_no_text(data: bytes) -> None:
    assert refusal(data).reason == "malformed"


@pytest.mark.parametrize("as_json", [False, True])
def test_one_name_too_many_is_a_mistake(as_json: bool) -> None:
    most = [f"app-{n}@b{n}" for n in range(MAX_NAMES)]

    def written(names: list[str]) -> bytes:
        return (json.dumps(names) if as_json else "\n".join(names)).encode()

    assert list(parse_names(written(most))) == most
    assert list(parse_names(written(most + most[:5]))) == most, "names that stand there twice count once"
    assert refusal(written([*most, "app@c"])).reason == "too_many"


def test_the_most_names_fit_the_most_bytes() -> None:
    entries = [
        {"name": f"app-{n:05}@ip-10-0-{n:05}.eu-central-1.compute.internal", "port": 40_000}
        for n in range(MAX_NAMES)
    ]
    assert len(json.dumps(entries)) <= MAX_BYTES


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_whatever_comes_is_a_list_or_an_error(data: bytes) -> None:
    try:
        found = parse_names(data)
    except LookError:
        return
    assert all(name == peer.name and "@" in name for name, peer in found.items())


@given(st.lists(st.from_regex(r"[a-z0-9_-]{1,20}@[a-z0-9.:-]{1,30}", fullmatch=True), unique=True))
def test_both_forms_say_the_same(written: list[str]) -> None:
    assert names("\n".join(written)) == names(json.dumps(written)) == written
