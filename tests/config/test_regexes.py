"""Which regular expressions are slow, and that those are."""

import re
import time

import pytest

from epmdless.config.regexes import repeats_repeats

SLOW = [
    r"^(\w+-?)+_port(?P<port>[0-9]+)$",
    r"(a+)+x",
    r"(a*)*x",
    r"(?:a+?)+?x",
    r"^(([a-z]+))*x",
    r"^(?:[a-z]+|[0-9]+)*x",
    r"^(a+b?){2,}x",
    r"^(?:(?P<index>[a-z]+))+x",
]

QUICK = [
    r"_port(?P<port>[0-9]+)$",
    r"^[a-z-]+-(?P<index>[0-9]+)$",
    r"^(?:[a-z]+-)+(?P<port>[0-9]+)$",
    r"^(?:[a-z]+[0-9]+)+x",
    r"^(?:[a-z]+-?)?x",
    r"^(?:[a-z]+-?){1,3}x",
    r"^(?:[a-z]++-?)+x",
    r"^(?>[a-z]+)*x",
    r"^(?:[a-z]{4})+x",
    r"^(?:\b[a-z]+-*)+x",
    r"^(?:a|b)+x",
    r"^(?=[a-z]+)[a-z]+x",
]


@pytest.mark.parametrize("regex", SLOW)
def test_what_repeats_repeats_is_slow(regex: str) -> None:
    assert repeats_repeats(regex)
    short, long = (spent(regex, f"{'a' * length}!") for length in (10, 20))
    assert long > 50 * short, "each character more must double it"


@pytest.mark.parametrize("regex", QUICK)
def test_what_is_quick_is_let_through(regex: str) -> None:
    assert not repeats_repeats(regex)
    assert all(spent(regex, f"{piece * 60}!") < 0.5 for piece in ("a", "1", "a-", "a1"))


def spent(regex: str, name: str) -> float:
    """Seconds of the thread's own that a search takes."""
    compiled = re.compile(regex)
    started = time.thread_time()
    assert compiled.search(name) is None
    return time.thread_time() - started
