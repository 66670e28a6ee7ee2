"""Which regular expressions are told to be slow."""

import re

import pytest

from epmdless.config import regexes
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


def test_nothing_is_found_without_the_interpreters_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regexes, "parser", None)
    assert not repeats_repeats(SLOW[0])


@pytest.mark.parametrize("regex", QUICK)
def test_what_is_quick_is_let_through(regex: str) -> None:
    assert not repeats_repeats(regex)
    compiled = re.compile(regex)
    for piece in ("a", "1", "a-", "a1"):
        assert compiled.search(f"{piece * 60}!") is None  # a slow one would go on until the sun is out
