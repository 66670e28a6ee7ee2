"""Schemes, both ways: the port that a name promises, and whether a port is the promised one."""

import re
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epmdless.names import MAX_NAME_CHARACTERS
from epmdless.schemes import (
    HIGHEST_PORT,
    CaravanScheme,
    FixedScheme,
    OffsetScheme,
    PatternScheme,
    Scheme,
    SuffixScheme,
    trailing_integer,
)


def pattern(regex: str, base: int = 0, default: int | None = None) -> PatternScheme:
    return PatternScheme(re.compile(regex), base, default)


NETDALEK: Final = pattern(r"_port(?P<port>[0-9]+)$", default=4370)
ALL: Final[dict[str, Scheme]] = {
    "suffix": SuffixScheme(),
    "caravan": CaravanScheme(),
    "offset": OffsetScheme(),
    "gen_rpc": OffsetScheme(base=5370),
    "epmdlib": OffsetScheme(base=4469),
    "fixed": FixedScheme(25672),
    "netdalek": NETDALEK,
    "index": pattern(r"(?P<index>[0-9]+)$", base=9000),
}

IN_USE = [
    ("suffix", "app-9001", 9001),
    ("caravan", "app-9001", 9001),
    ("caravan", "app2", 2),
    ("caravan", "app", 4370),
    ("offset", "emqx3", 4373),
    ("offset", "emqx60000", 4370),
    ("offset", "emqx", 4370),
    ("gen_rpc", "emqx3", 5373),
    ("epmdlib", "app7", 4476),
    ("fixed", "rabbit", 25672),
    ("netdalek", "app_port9001", 9001),
    ("netdalek", "app", 4370),
    ("index", "app-12", 9012),
]


@pytest.mark.parametrize(("scheme", "alive", "port"), IN_USE)
def test_the_conventions_in_use(scheme: str, alive: str, port: int) -> None:
    assert ALL[scheme].port_of(alive) == port


@pytest.mark.parametrize(("scheme", "alive", "port"), IN_USE)
def test_a_promise_is_kept_by_that_port_alone(scheme: str, alive: str, port: int) -> None:
    assert ALL[scheme].promises(alive, port) is True
    assert ALL[scheme].promises(alive, port + 1) is False
    assert ALL[scheme].promises(alive, 0) is False


@pytest.mark.parametrize(
    ("alive", "port"),
    [("a-1024", 1024), ("a-9999", 9999), ("a-10000", 10000), ("a-65535", 65535), ("a-b-9001", 9001)],
)
def test_a_suffix_is_a_port_of_four_or_five_digits(alive: str, port: int) -> None:
    assert SuffixScheme().port_of(alive) == port


@pytest.mark.parametrize(
    "alive",
    [
        *("app", "app9001", "app-80", "app-999", "app-1023", "app-65536", "app-99999", "app-123456", "-9001"),
        *(
            "app-09001",
            "app-9001 ",
            "app-9001\n",
            "app-9001x",
            "app-٩٠٠١",
            "i-0abc123",
            "node123456",
            "app_9001",
        ),
    ],
)
def test_a_suffix_that_is_no_port_promises_nothing(alive: str) -> None:
    assert SuffixScheme().port_of(alive) is None
    assert SuffixScheme().promises(alive, 9001) is None


def test_a_name_may_hold_a_newline_before_its_suffix() -> None:
    assert SuffixScheme().port_of("a\nb-9001") == 9001


@pytest.mark.parametrize("alive", ["app0", "app-000", "app70000", "node123456", "9" * MAX_NAME_CHARACTERS])
def test_caravan_has_no_range_check_but_no_port_is_made_up(alive: str) -> None:
    assert CaravanScheme().port_of(alive) is None


def test_caravans_default_is_configurable() -> None:
    assert CaravanScheme(default=5000).port_of("app") == 5000


@pytest.mark.parametrize(
    ("alive", "port"),
    [("n59999", 64369), ("n60000", 4370), ("n60001", 4371), ("n007", 4377), ("n" + "9" * 254, 4370 + 39999)],
)
def test_an_offset_wraps_at_the_modulo(alive: str, port: int) -> None:
    assert OffsetScheme().port_of(alive) == port


def test_an_offset_that_passes_the_highest_port_promises_nothing() -> None:
    scheme = OffsetScheme(base=65000, modulo=1000)
    assert [scheme.port_of("n535"), scheme.port_of("n536")] == [65535, None]


@pytest.mark.parametrize(
    ("scheme", "alive", "port"),
    [
        (pattern(r"(?P<port>.+)"), "app", None),
        (pattern(r"(?P<port>\d+)$"), "app٩٠٠١", None),
        (pattern(r"(?P<port>\d*)$"), "app", None),
        (pattern(r"(?P<port>\d+)$"), "app65536", None),
        (pattern(r"(?P<port>\d+)$"), "app0", None),
        (pattern(r"(?P<port>\d+)$"), "app", None),
        (pattern(r"(?P<port>\d+)$", base=100), "app9001", 9001),
        (pattern(r"(?P<index>\d+)$", base=65535), "app1", None),
        (pattern(r"(?P<index>\d+)$", base=65535), "app0", 65535),
        (pattern(r"p(?P<port>\d+)|i(?P<index>\d+)", base=9000), "p77", 77),
        (pattern(r"p(?P<port>\d+)|i(?P<index>\d+)", base=9000), "i77", 9077),
        (pattern(r"x(?P<index>\d+)?", base=9000), "x", None),
        (pattern(r"x(?P<index>\d+)", base=9000, default=4370), "y1", 4370),
    ],
)
def test_a_pattern_gives_a_port_or_an_index_or_nothing(
    scheme: PatternScheme, alive: str, port: int | None
) -> None:
    assert scheme.port_of(alive) == port


TRANSIENT = [
    *("rem-4f2a-app-9001", "rpc-4f2a-app-9001", "remsh-9001", "remsh1", "maint-9001", "app_maint_9001"),
    *("rabbitmqcli-9001", "rabbit_prelaunch_9001", "epmd-starter-9001", "ctl-9001", "rem-0-_port9001"),
]


@pytest.mark.parametrize("alive", TRANSIENT)
@pytest.mark.parametrize("scheme", ALL)
def test_a_transient_name_promises_nothing_under_any_scheme(scheme: str, alive: str) -> None:
    assert ALL[scheme].port_of(alive) is None
    assert ALL[scheme].promises(alive, 9001) is None


ALIVE_NAMES = st.one_of(
    st.text(max_size=MAX_NAME_CHARACTERS),
    st.from_regex(r"[a-z]{1,5}[-_]?(port)?[0-9]{0,6}", fullmatch=True),
    st.from_regex(r"[0-9]{1,255}", fullmatch=True),
)


@pytest.mark.parametrize("scheme", ALL)
@given(alive=ALIVE_NAMES)
def test_a_promise_is_a_port_and_it_is_kept_by_itself(scheme: str, alive: str) -> None:
    port = ALL[scheme].port_of(alive)
    if port is None:
        assert ALL[scheme].promises(alive, 9001) is None
    else:
        assert 1 <= port <= HIGHEST_PORT
        assert ALL[scheme].promises(alive, port) is True


@given(st.text(st.characters(exclude_characters="0123456789"), max_size=20), st.integers(0, 10**30))
def test_a_trailing_integer_is_read_whole(stem: str, number: int) -> None:
    assert trailing_integer(stem) is None
    assert trailing_integer(f"{stem}{number}") == trailing_integer(f"{stem}000{number}") == number


def test_a_newline_after_digits_is_no_trailing_integer() -> None:
    assert trailing_integer("app9001\n") is None
