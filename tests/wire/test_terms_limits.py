"""Terms that are made to hurt: nothing but a refusal gets out, and little memory is taken."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epmdless.errors import LocalProtocolError, RemoteProtocolError
from epmdless.wire.distribution import MAX_FRAME
from epmdless.wire.terms import LIMITS, Atom, Limits, Term, decode, encode
from tests.wire.erlang_terms import KNOWN, TERMS, A, outcome

SMALL = 256 * 1024
"""Bytes of memory that a refusal may take, what is being read not counted; most are for Python's frames."""

ALL_THERE_IS = 240 * LIMITS.items
"""Bytes of memory that the largest term may take; references take the most."""

U32_MAX = b"\xff\xff\xff\xff"


def peak(data: bytes) -> int:
    """The bytes of memory that decoding takes at its height."""
    tracemalloc.start()
    try:
        outcome(data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def refusal(data: bytes) -> str:
    """What is said of bytes that are refused."""
    try:
        decode(data)
    except RemoteProtocolError as error:
        return error.detail
    return ""


# Claims that nothing backs.


@pytest.mark.parametrize(
    "wire",
    [
        b"\x6c" + U32_MAX,
        b"\x6c" + U32_MAX + b"\x6a" * 100,
        b"\x69" + U32_MAX + b"\x6a" * 100,
        b"\x68\xff" + b"\x6a" * 100,
        b"\x6d" + U32_MAX + b"x" * 100,
        b"\x6b\xff\xff" + b"x" * 100,
        b"\x77\xff" + b"x" * 100,
        b"\x76\xff\xff" + b"x" * 100,
        b"\x6e\xff\0" + b"x" * 100,
        b"\x4d" + U32_MAX + b"\x08" + b"x" * 100,
        b"\x70" + U32_MAX + b"x" * 100,
        b"\x5a\xff\xff" + b"\x77\x01n" + b"x" * 100,
    ],
)
def test_a_size_that_is_not_there_is_refused_before_anything_is_made(wire: bytes) -> None:
    assert outcome(b"\x83" + wire) == "term"
    assert peak(b"\x83" + wire) < SMALL


@pytest.mark.parametrize(
    "wire",
    [
        b"\x6f" + U32_MAX + b"\0" + b"x" * 100,
        b"\x6f\0\x10\0\0\0" + b"x" * (1 << 20),
        b"\x74" + U32_MAX + b"\x6a" * 100,
        b"\x74\0\0\x04\x01" + b"\x6a" * 2050,
        b"\x6c\0\x0f\0\0" + b"\x6a" * 0xF0001,
        b"\x69\0\x0f\0\0" + b"\x6a" * 0xF0000,
    ],
)
def test_what_is_there_and_too_much_is_refused_before_anything_is_made(wire: bytes) -> None:
    assert outcome(b"\x83" + wire) == "limit"
    assert peak(b"\x83" + wire) < SMALL


# Depth.

NESTS = {
    "tuple": b"\x68\x01",
    "large tuple": b"\x69\0\0\0\x01",
    "list": b"\x6c\0\0\0\x01",
    "tail": b"\x6c\0\0\0\0",
    "map key": b"\x74\0\0\0\x01",
    "map value": b"\x74\0\0\0\x01\x6a",
}
"""What holds the term that follows."""

by_nest = pytest.mark.parametrize("nest", NESTS.values(), ids=NESTS)


@by_nest
@pytest.mark.parametrize("depth", [LIMITS.depth + 1, 1000, 100_000])
def test_terms_that_nest_without_end_are_refused(nest: bytes, depth: int) -> None:
    wire = b"\x83" + nest * depth + b"\x6a" * 3
    assert outcome(wire) == "limit"
    assert peak(wire) < SMALL


@pytest.mark.parametrize("holder", [b"\x58", b"\x59", b"\x71", b"\x5a\0\x01", b"\x67"])
def test_what_needs_an_atom_takes_nothing_else_however_deep(holder: bytes) -> None:
    assert outcome(b"\x83" + holder * 100_000) == "term"


def nested(depth: int) -> Term:
    term: Term = []
    for _ in range(depth):
        term = (term,)
    return term


def test_the_depth_that_is_allowed_is_allowed_both_ways() -> None:
    deepest = nested(LIMITS.depth)
    assert decode(encode(deepest)) == deepest
    with pytest.raises(LocalProtocolError, match="nested"):
        encode(nested(LIMITS.depth + 1))
    with pytest.raises(LocalProtocolError, match="nested"):
        encode(nested(5000))


def test_a_term_without_end_is_not_sent() -> None:
    endless: list[Term] = []
    endless.append(endless)
    with pytest.raises(LocalProtocolError, match="nested"):
        encode(endless)


# Size.


def test_as_many_names_as_a_source_may_say_are_decoded() -> None:
    names: list[Term] = [Atom(f"app-{number}@host-{number}." + "x" * 60) for number in range(20_000)]
    assert decode(encode(names)) == names


def test_the_terms_in_a_term_are_counted_all_together() -> None:
    half: list[Term] = [0] * (LIMITS.items // 2)
    assert isinstance(decode(encode([half, half[8:]])), list)
    beyonds: list[Term] = [[half, half], (half, half), {1: half, 2: half}, [half, (A, half)]]
    for beyond in beyonds:
        assert outcome(encode(beyond)) == "limit"


def test_the_characters_of_strings_are_counted_too() -> None:
    string = b"\x6b\xff\xff" + b"x" * 0xFFFF
    assert outcome(b"\x83\x68\x01" + string) == ([120] * 0xFFFF,)
    assert outcome(b"\x83\x68\x02" + string * 2) == "limit"
    assert peak(b"\x83\x68\xff" + string * 255) < 0x80000 * 2


@pytest.mark.parametrize(
    ("item", "terms"),
    [
        (b"\x6a", 1),
        (b"\x68\x01\x6a", 2),
        (b"\x74\0\0\0\0", 1),
        (b"\x74\0\0\0\x01\x61\x01\x61\x01", 3),
        (b"\x46\x40" + bytes(7), 1),
        (b"\x62\x7f\xff\xff\xff", 1),
        (b"\x77\x20" + b"a" * 32, 1),
        (b"\x6d\0\0\0\x01x", 1),
        (b"\x58\x77\x01n" + b"\x7f" * 12, 2),
        (b"\x5a\0\x05\x77\x01n" + b"\x7f" * 24, 2),
        (b"\x70\0\0\0\x04", 1),
    ],
)
def test_as_many_terms_as_are_allowed_take_bounded_memory(item: bytes, terms: int) -> None:
    count = (LIMITS.items - 2) // terms
    wire = b"\x83\x6c" + count.to_bytes(4, "big") + item * count + b"\x6a"
    assert len(wire) < MAX_FRAME
    tracemalloc.start()
    try:
        term = decode(wire)
        assert tracemalloc.get_traced_memory()[1] < ALL_THERE_IS
    finally:
        tracemalloc.stop()
    assert isinstance(term, list)
    assert len(term) == count


def test_integers_whose_hashes_collide_cannot_fill_a_map() -> None:
    """Python hashes integers modulo 2**61 - 1."""
    colliding = [number * ((1 << 61) - 1) for number in range(1, LIMITS.pairs + 2)]
    assert {hash(number) for number in colliding} == {0}
    assert outcome(encode(dict.fromkeys(colliding, 0))) == "limit"
    allowed: Term = dict.fromkeys(colliding[:-1], 0)
    assert outcome(encode(allowed)) == allowed


def test_each_limit_is_the_callers_to_set() -> None:
    tried: list[tuple[Term, Limits]] = [
        ([1], Limits(depth=0)),
        ([1, 2, 3], Limits(items=4)),
        ({1: 1, 2: 2}, Limits(pairs=1)),
        (1 << 40, Limits(integer=5)),
    ]
    for term, limits in tried:
        assert decode(encode(term)) == term
        with pytest.raises(RemoteProtocolError) as caught:
            decode(encode(term), limits)
        assert caught.value.reason == "limit"


# Anything.


@given(st.binary(max_size=200))
def test_any_bytes_are_a_term_or_are_refused(data: bytes) -> None:
    assert outcome(b"\x83" + data) is not None
    assert outcome(data) is not None


@st.composite
def mutated(draw: st.DrawFn, originals: st.SearchStrategy[bytes]) -> bytes:
    """Bytes of a term, some of them changed, cut out, doubled or put in."""
    data = bytearray(draw(originals))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.integers(0, 4)))
        data[at:end] = draw(st.binary(max_size=4) | st.sampled_from([*NESTS.values(), U32_MAX]))
    return bytes(data)


@given(mutated(st.sampled_from([each.wire for each in KNOWN if len(each.wire) < 2000])))
def test_what_a_node_wrote_and_something_changed_is_a_term_or_is_refused(data: bytes) -> None:
    assert outcome(data) is not None


@given(mutated(TERMS.map(encode)))
def test_any_term_that_something_changed_is_a_term_or_is_refused(data: bytes) -> None:
    assert outcome(data) is not None


@given(mutated(TERMS.map(encode)))
def test_what_is_refused_is_told_without_what_was_sent(data: bytes) -> None:
    detail = refusal(data)
    assert len(detail) < 80
    assert detail.isascii()
