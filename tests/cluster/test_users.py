"""Whose processes are taken for local nodes."""

from __future__ import annotations

import os
import pwd

import pytest

from epmdless.cluster.users import UNSEEN, Users, told
from epmdless.errors import ConfigError

DAEMON = pwd.getpwnam("daemon").pw_uid


def test_our_own_and_root_are_always_among_them() -> None:
    users = Users((), "f.toml")
    assert users.has(os.geteuid())
    assert users.has(0)
    assert not users.has(DAEMON)
    assert not users.has(None)
    assert not users.are_all


@pytest.mark.parametrize("name", ["daemon", str(DAEMON)])
def test_others_are_named_or_numbered(name: str) -> None:
    users = Users((name,), "f.toml")
    assert users.has(DAEMON)
    assert not users.has(DAEMON + 1)
    assert not users.has(None)


def test_a_star_is_everybody_even_who_is_not_known() -> None:
    users = Users(("daemon", "*"), "f.toml")
    assert users.are_all
    assert users.has(4711)
    assert users.has(None)


def test_a_user_who_does_not_exist_is_a_mistake() -> None:
    with pytest.raises(ConfigError) as caught:
        Users(("no-such-user",), "f.toml")
    assert str(caught.value) == "f.toml: cluster.users: 'no-such-user' is no user of this machine"


@pytest.mark.parametrize(
    ("user", "said"),
    [
        (DAEMON, "the user daemon, who is not among cluster.users"),
        (4_000_000_000, "the user 4000000000, who is not among cluster.users"),
        (UNSEEN, "PrivateUsers=no"),
        (None, "cannot be seen"),
    ],
)
def test_what_is_told_of_one_who_is_not_among_them(user: int | None, said: str) -> None:
    assert said in told(user)
