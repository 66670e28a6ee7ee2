"""Terms shown to people: as Erlang shows them, one short line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epmdless.wire.terms import Atom, Opaque, Pid, Port, Reference, Term
from epmdless.wire.terms_text import MAX_TEXT, text_of
from tests.wire.erlang_terms import TERMS

NODE = Atom("a@b")


@pytest.mark.parametrize(
    ("term", "text"),
    [
        (Atom("ok"), "ok"),
        (Atom("a@b_1"), "a@b_1"),
        (Atom("EXIT"), "'EXIT'"),
        (Atom("a b"), "'a b'"),
        (Atom(""), "''"),
        (-1, "-1"),
        (1.5, "1.5"),
        (b"abc", '<<"abc">>'),
        ((), "{}"),
        ((1, (Atom("a"),)), "{1,{a}}"),
        ([], "[]"),
        ([1, [Atom("a")]], "[1,[a]]"),
        ([97, 98], '"ab"'),
        ([97, 7], "[97,7]"),
        ({}, "#{}"),
        ({Atom("a"): 1, (2,): [97]}, '#{a => 1,{2} => "a"}'),
        (Pid(NODE, 1, 2, 3), "#Pid<a@b>"),
        (Reference(NODE, (1,), 3), "#Reference<a@b>"),
        (Port(NODE, 1, 3), "#Port<a@b>"),
        (Opaque("fun"), "#fun"),
    ],
)
def test_a_term_is_shown_as_erlang_shows_it(term: Term, text: str) -> None:
    assert text_of(term) == text


@pytest.mark.parametrize(
    "term",
    [
        Atom("x" * 255),
        b"x" * 10_000,
        [120] * 10_000,
        [1] * 10_000,
        tuple(range(10_000)),
        {number: number for number in range(1000)},
        1 << 2000,
    ],
)
def test_a_long_term_is_cut(term: Term) -> None:
    text = text_of(term)
    assert len(text) == MAX_TEXT
    assert text.endswith("...")


@given(TERMS)
def test_any_term_is_one_short_line(term: Term) -> None:
    text = text_of(term)
    assert 0 < len(text) <= MAX_TEXT
    assert text.isprintable()


@given(st.text(st.sampled_from("\x1b\r\n\0\x9b\u2028"), min_size=1, max_size=3))
def test_no_control_character_reaches_a_terminal(nasty: str) -> None:
    for term in (Atom(nasty), nasty.encode(), (Atom(nasty),), Pid(Atom(nasty), 1, 1, 1)):
        assert text_of(term).isprintable()
