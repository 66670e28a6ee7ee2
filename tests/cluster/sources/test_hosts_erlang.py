"""`.hosts.erlang`: hosts as Erlang terms."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epmdless.cluster.peers import LookError
from epmdless.cluster.sources.hosts_erlang import parse_hosts


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("", []),
        ("\n\n", []),
        ("% nobody. yet", []),
        ("'b1.internal'.\n'b2.internal'.\n", ["b1.internal", "b2.internal"]),
        ("'b1.internal'.\r\n\t'b2' .\r\n", ["b1.internal", "b2"]),
        ("localhost. 'b2'.", ["localhost", "b2"]),
        ("%% -*- erlang -*-\n'b1'. % it's the first.\n%'b2'.\n'10.0.0.7'. % 'b3'.", ["b1", "10.0.0.7"]),
        ("'fd00::7'.", ["fd00::7"]),
        ("'b1'.\n'b1'.", ["b1"]),
        ("'B1.internal'.", ["B1.internal"]),
    ],
)
def test_each_term_is_a_host(text: str, hosts: list[str]) -> None:
    assert list(parse_hosts(text.encode())) == hosts


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("b1.internal.", "line 1: 'b1.internal.'"),
        ("'b1.internal'", "line 1: \"'b1.internal'\""),
        ("'b1'.\n\n'b2'\n'b3'.", "line 3: "),
        ("'b1'.'b2'.", "line 1: "),
        ('"b1".', "line 1: "),
        ("['b1', 'b2'].", "line 1: "),
        ("'b 1'.", "line 1: "),
        ("''.", "line 1: "),
        ("'b1", "line 1: "),
        ("'b1\n'.", "line 1: "),
        (r"'b\x{31}'.", "line 1: "),
        ("'b1@b2'.", "line 1: "),
        ("B1.", "line 1: "),
        ("<html>", "line 1: "),
        ("\x1b[2J.", r"line 1: '\\x1b[2J.'"),
    ],
)
def test_what_is_no_host_is_said_with_its_line(text: str, problem: str) -> None:
    with pytest.raises(LookError) as caught:
        parse_hosts(text.encode())
    assert caught.value.reason == "malformed"
    assert caught.value.detail.startswith(problem)
    assert caught.value.detail.endswith(" is not 'HOST'.")
    assert caught.value.detail.isprintable()


def test_what_is_no_text_is_malformed() -> None:
    with pytest.raises(LookError, match="UTF-8"):
        parse_hosts(b"'b1'.\n\xff")


@given(st.binary(max_size=60) | st.text("'b1.% \n\\", max_size=40).map(str.encode))
def test_whatever_comes_is_a_list_or_an_error(data: bytes) -> None:
    try:
        hosts = parse_hosts(data)
    except LookError:
        return
    assert all(host.strip() == host != "" for host in hosts)
