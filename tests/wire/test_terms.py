"""Terms against those that real nodes wrote, against old forms written by hand, and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epmdless.errors import LocalProtocolError, RemoteProtocolError
from epmdless.wire.terms import (
    Atom,
    Opaque,
    Pid,
    Port,
    Reference,
    Tag,
    Term,
    decode,
    decode_prefix,
    encode,
)
from tests.wire.erlang_terms import (
    CAPTURED,
    COMPRESSED,
    KNOWN,
    MEANINGS,
    TERMS,
    WRITTEN,
    Written,
    outcome,
    written,
)

LONG = 5000
"""Bytes from which a vector is cut at some lengths only."""

SENDABLE = [each for each in KNOWN if not isinstance(MEANINGS[each.source], Opaque)]
SHORT_FORM = (b"\x83\x6b", b"\x6b\0\x01")
"""A list of small integers: nodes write it as a string, we write a list."""

NODE = Atom("vector@127.0.0.1")
N = b"\x73\x01n"
"""The atom n."""

by_vector = pytest.mark.parametrize("vector", KNOWN, ids=[each.title for each in KNOWN])
by_release = pytest.mark.parametrize("otp", ["otp25", "otp27"])


# What nodes write.


def test_each_release_wrote_each_term() -> None:
    assert {each.source for each in KNOWN if each.otp == "otp25"} == set(MEANINGS)
    assert {each.source for each in KNOWN if each.otp == "otp27"} == set(MEANINGS)


@by_vector
def test_what_a_node_wrote_is_decoded(vector: Written) -> None:
    term = decode(vector.wire)
    assert repr(term) == repr(MEANINGS[vector.source]), "the same, with its types, and the sign of a zero"


@by_vector
def test_what_a_node_wrote_is_found_between_other_bytes(vector: Written) -> None:
    found, end = decode_prefix(b"\x70\x83" + vector.wire + b"\x83\x61\0", 2)
    assert (found, end) == (MEANINGS[vector.source], 2 + len(vector.wire))


@by_vector
def test_a_term_that_is_cut_anywhere_is_refused(vector: Written) -> None:
    step = 1 if len(vector.wire) < LONG else len(vector.wire) // 20
    for end in range(0, len(vector.wire), step):
        assert outcome(vector.wire[:end]) == "term"


@by_vector
def test_a_byte_after_a_term_is_refused(vector: Written) -> None:
    assert outcome(vector.wire + b"\0") == "term"


@pytest.mark.parametrize("vector", SENDABLE, ids=[each.title for each in SENDABLE])
def test_what_is_decoded_is_encoded_to_the_same_term(vector: Written) -> None:
    term = decode(vector.wire)
    assert repr(decode(encode(term))) == repr(term)


@pytest.mark.parametrize("vector", SENDABLE, ids=[each.title for each in SENDABLE])
def test_what_is_encoded_is_what_otp_27_writes_but_for_strings(vector: Written) -> None:
    wire = written("otp27", vector.source)
    has_a_string = any(form in wire for form in SHORT_FORM)
    assert (encode(MEANINGS[vector.source]) == wire) is not has_a_string


@by_release
def test_pids_references_and_ports_of_nodes(otp: str) -> None:
    creation = CAPTURED[otp]["creation"]
    for source in ("self()", "make_ref()", "hd(erlang:ports())", "erlang:alias()"):
        term = decode(written(otp, source))
        assert isinstance(term, Pid | Reference | Port), source
        assert (term.node, term.creation) == (NODE, creation), source


def test_the_words_of_a_reference_and_of_an_alias() -> None:
    reference = decode(written("otp27", "make_ref()"))
    alias = decode(written("otp27", "erlang:alias()"))
    assert isinstance(reference, Reference)
    assert isinstance(alias, Reference)
    assert (len(reference.words), len(alias.words)) == (3, 5)
    assert reference.words == (0x3BA39, 0x0DEC0002, 0x76B57134)


@by_release
def test_compressed_terms_are_refused(otp: str) -> None:
    wire = written(otp, COMPRESSED)
    assert wire[1] == Tag.COMPRESSED
    with pytest.raises(RemoteProtocolError, match="tag 80"):
        decode(wire)


# What old nodes wrote, by hand from the External Term Format chapter.


@pytest.mark.parametrize(
    ("wire", "term"),
    [
        (b"\x73\x03n\xe9e", Atom("née")),
        (b"\x64\0\x03n\xe9e", Atom("née")),
        (b"\x76\0\x04n\xc3\xa9e", Atom("née")),
        (b"\x67" + N + b"\0\0\0\x07\0\0\0\x08\x02", Pid(Atom("n"), 7, 8, 2)),
        (b"\x58" + N + b"\0\0\0\x07\0\0\0\x08\0\0\x01\x02", Pid(Atom("n"), 7, 8, 258)),
        (b"\x66" + N + b"\0\0\0\x07\x02", Port(Atom("n"), 7, 2)),
        (b"\x59" + N + b"\0\0\0\x07\0\0\x01\x02", Port(Atom("n"), 7, 258)),
        (b"\x78" + N + b"\x01\0\0\0\0\0\0\x07\0\0\x01\x02", Port(Atom("n"), (1 << 56) + 7, 258)),
        (b"\x65" + N + b"\0\0\0\x07\x02", Reference(Atom("n"), (7,), 2)),
        (b"\x72\0\x02" + N + b"\x02\0\0\0\x07\0\0\0\x08", Reference(Atom("n"), (7, 8), 2)),
        (b"\x5a\0\x01" + N + b"\0\0\x01\x02\0\0\0\x07", Reference(Atom("n"), (7,), 258)),
        (b"\x6e\0\0", 0),
        (b"\x6e\x02\x01\x01\0", -1),
        (b"\x6f\0\0\0\x01\0\x05", 5),
        (b"\x6c\0\0\0\0\x6a", []),
        (b"\x6c\0\0\0\x01\x61\x01\x6b\0\x02\x02\x03", [1, 2, 3]),
        (b"\x6c\0\0\0\x01\x61\x01\x6c\0\0\0\x01\x61\x02\x61\x03", Opaque("improper_list")),
        (b"\x6b\0\0", []),
        (b"\x69\0\0\0\x01\x61\x01", (1,)),
        (b"\x4d\0\0\0\0\x08", Opaque("bitstring")),
        (b"\x70\0\0\0\x04", Opaque("fun")),
        (b"\x71" + N + N + b"\x61\x03", Opaque("export")),
        (b"\x74\0\0\0\x02" + N + b"\x61\x01" + N + b"\x61\x02", Opaque("map")),
    ],
)
def test_forms_that_nodes_of_today_write_seldom_or_never(wire: bytes, term: Term) -> None:
    assert repr(decode(b"\x83" + wire)) == repr(term)
    for end in range(len(wire)):
        assert outcome(b"\x83" + wire[:end]) == "term"


@pytest.mark.parametrize(
    "wire",
    [
        b"",
        b"\x82\x6a",
        b"\x83",
        b"\x83\x83\x6a",
        b"\x83\x46\x7f\xf0" + bytes(6),
        b"\x83\x46\x7f\xf8" + bytes(6),
        b"\x83\x63" + b"1.5".ljust(31, b"\0"),
        b"\x83\x77\x02\xc3\x28",
        b"\x83\x77\x03\xed\xa0\x80",
        b"\x83\x64\x01\0" + b"x" * 256,
        b"\x83\x76\x01\0" + b"x" * 256,
        b"\x83\x6e\x01\x02\x05",
        b"\x83\x4d\0\0\0\x01\0\xff",
        b"\x83\x4d\0\0\0\x01\x09\xff",
        b"\x83\x58\x61\x01" + bytes(12),
        b"\x83\x5a\0\0" + N + bytes(4),
        b"\x83\x5a\0\x06" + N + bytes(28),
        b"\x83\x70\0\0\0\x03",
        b"\x83\x71" + N + N + N,
        b"\x83\x71" + N + b"\x6a\x61\0",
        b"\x83\x44\0\0",
        b"\x83\x52\0",
        b"\x83\x75" + bytes(30),
        b"\x83\x79" + bytes(8) + b"\x61\0",
    ],
)
def test_what_no_node_would_take_or_nobody_offered_is_refused(wire: bytes) -> None:
    assert outcome(wire) == "term"


# Which tags are allowed.


def test_only_the_tags_that_are_allowed_are_decoded() -> None:
    wire = encode({Atom("a"): 1})
    assert decode(wire, allowed=frozenset({Tag.MAP, Tag.SMALL_ATOM_UTF8, Tag.SMALL_INTEGER})) == {
        Atom("a"): 1
    }
    for missing in (Tag.MAP, Tag.SMALL_ATOM_UTF8, Tag.SMALL_INTEGER):
        with pytest.raises(RemoteProtocolError, match=f"tag {missing.value}"):
            decode(wire, allowed=frozenset(Tag) - {missing})


def test_to_allow_a_tag_does_not_make_it_known() -> None:
    with pytest.raises(RemoteProtocolError, match="tag 80"):
        decode(b"\x83\x50\0\0\0\0", allowed=frozenset(range(256)))


@pytest.mark.parametrize("vector", [WRITTEN[0], *(each for each in WRITTEN if each.source == "self()")])
def test_nothing_is_decoded_if_nothing_is_allowed(vector: Written) -> None:
    with pytest.raises(RemoteProtocolError):
        decode(vector.wire, allowed=frozenset())


# There and back.


@given(TERMS)
def test_what_is_encoded_is_decoded(term: Term) -> None:
    assert repr(decode(encode(term))) == repr(term)


@given(TERMS, st.binary(max_size=5), st.binary(max_size=5))
def test_the_end_of_a_term_is_found(term: Term, before: bytes, after: bytes) -> None:
    wire = encode(term)
    found, end = decode_prefix(before + wire + after, len(before))
    assert repr(found) == repr(term)
    assert end == len(before) + len(wire)


@given(TERMS)
def test_a_term_cut_anywhere_is_refused(term: Term) -> None:
    wire = encode(term)
    for end in range(0, len(wire), max(1, len(wire) // 200)):
        assert outcome(wire[:end]) == "term"


@pytest.mark.parametrize(
    "term",
    [
        True,
        float("nan"),
        float("inf"),
        1 << 2048,
        -(1 << 2048),
        Atom("x" * 256),
        Atom("\ud800"),
        "text",
        None,
        {1, 2},
        Opaque("fun"),
        Port(Atom("n"), 1, 1),
        Pid(Atom("n"), -1, 0, 0),
        Pid(Atom("n"), 0, 0, 1 << 32),
        Pid(Atom("x" * 256), 0, 0, 0),
        Reference(Atom("n"), (), 0),
        Reference(Atom("n"), (0,) * 6, 0),
        Reference(Atom("n"), (1 << 32,), 0),
        Reference(Atom("n"), (0,), -1),
    ],
)
def test_what_cannot_be_sent_is_the_callers_mistake(term: Term) -> None:
    holders: list[Term] = [term, [term], (1, term), {Atom("a"): term}]
    for held in holders:
        with pytest.raises(LocalProtocolError):
            encode(held)


def test_atoms_are_text_of_their_own() -> None:
    assert Atom("a") == Atom("a") == "a"
    assert len({Atom("a"), Atom("a"), Atom("b")}) == 2
    assert repr(Atom("a")) == "Atom('a')"
    assert type(str(Atom("a"))) is str
