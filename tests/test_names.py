"""Node names: their two parts, what a listing can carry, who comes and goes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epmdless.errors import EpmdlessError
from epmdless.names import (
    MAX_NAME_CHARACTERS,
    NodeName,
    is_alive_name,
    is_listable,
    is_node_name,
    is_transient,
)
from epmdless.wire.handshake import is_name

FOUR_BYTES = "\U0001f300"


def test_an_alive_name_alone_has_no_host() -> None:
    assert NodeName.parse("app-9001") == NodeName("app-9001", None)


def test_a_node_name_splits_at_its_first_at() -> None:
    assert NodeName.parse("app@b1.internal") == NodeName("app", "b1.internal")
    assert NodeName.parse("app@b1@b2") == NodeName("app", "b1@b2")


@pytest.mark.parametrize("text", ["", "@", "@host", "app@"])
def test_an_empty_part_is_refused(text: str) -> None:
    with pytest.raises(EpmdlessError, match="write NAME or NAME@HOST"):
        NodeName.parse(text)


def test_a_name_of_255_characters_is_the_longest() -> None:
    longest = FOUR_BYTES * MAX_NAME_CHARACTERS
    assert NodeName.parse(longest).alive == longest
    with pytest.raises(EpmdlessError, match="longer than 255 characters"):
        NodeName.parse(longest + "a")


@given(
    st.text(min_size=1, max_size=MAX_NAME_CHARACTERS).filter(lambda alive: "@" not in alive),
    st.text(min_size=1),
)
def test_both_parts_come_back(alive: str, host: str) -> None:
    assert NodeName.parse(f"{alive}@{host}") == NodeName(alive, host)


@pytest.mark.parametrize("alive", ["a", "app-9001", "имя", FOUR_BYTES, "a@b", "a<b>", "=", "a,b"])
def test_a_printable_name_is_listable(alive: str) -> None:
    assert is_listable(alive)


@pytest.mark.parametrize(
    "gap", [" ", "\t", "\n", "\r", "\v", "\f", "\0", "\x1b", "\x1f", "\x7f", "\x85", "\x9b", "\xa0", "\u2028"]
)
def test_white_space_and_control_characters_are_not_listable(gap: str) -> None:
    assert not any(map(is_listable, [gap, f"{gap}app", f"a{gap}b", f"app{gap}"]))


@pytest.mark.parametrize("name", ["a@b", "app-9001@b1.internal", "имя@fd00::1", f"a@{'b' * 253}"])
def test_a_whole_name_is_two_parts_of_255_characters(name: str) -> None:
    assert is_node_name(name)
    assert is_alive_name(name.partition("@")[0])


@pytest.mark.parametrize(
    "name",
    ["", "a", "@", "@b", "a@", "a@b@c", "a b@c", "a@b c", "a@b\n", "a@b\0", "a@b\u200b", f"a@{'b' * 254}"],
)
def test_what_no_node_can_be_called_is_no_whole_name(name: str) -> None:
    assert not is_node_name(name)


@pytest.mark.parametrize("text", ["", "a@b", "@", "a b", "a\0", "a" * 256])
def test_what_cannot_stand_before_the_at_is_no_alive_name(text: str) -> None:
    assert not is_alive_name(text)


@given(st.text(st.sampled_from("ab@. \t\0é\xa0"), max_size=6) | st.text())
def test_a_whole_name_is_one_that_nodes_take_for_a_name(text: str) -> None:
    if is_node_name(text):
        assert is_name(text)
        assert NodeName.parse(text) == NodeName(*text.split("@"))


@given(st.text())
def test_a_listable_name_is_one_word_of_one_line(text: str) -> None:
    if is_listable(text):
        assert f"name {text} at port 1".split() == ["name", *([text] if text else []), "at", "port", "1"]


TRANSIENT = [
    *("rem-4f2a-app", "rem-DEAD-9001", "rpc-0-", "remsh", "remsh1a2b-app", "maint", "maint123", "a_maint_1"),
    *("_maint_", "rabbitmqcli-1234-rabbit", "rabbit_prelaunch_77", "_prelaunch_", "epmd-starter-5", "ctl-1"),
    *("ctl-9-ejabberd", "rem-1-a\nb"),
]
PERMANENT = [
    *("app", "app-9001", "rem", "rem-", "rem-xyz-app", "rem-4f2a", "remote-9001", "rpc", "rpc-server-9001"),
    *("a_maint", "prelaunch", "my-remsh", "rabbit", "rabbitmqcli", "epmd-starter", "ctl", "control-9001"),
    *("the-ctl-1", "Remsh", "", "xrem-4f2a-app"),
]


@pytest.mark.parametrize("alive", TRANSIENT)
def test_a_node_that_comes_and_goes_is_transient(alive: str) -> None:
    assert is_transient(alive)


@pytest.mark.parametrize("alive", PERMANENT)
def test_any_other_node_is_not(alive: str) -> None:
    assert not is_transient(alive)
