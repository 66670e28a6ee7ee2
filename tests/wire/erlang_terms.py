"""What the tests of terms share: terms that real nodes wrote, what they mean, and strategies."""

import gzip
import json
from collections.abc import Mapping
from typing import Final, NamedTuple

from hypothesis import strategies as st

from epmdless.errors import RemoteProtocolError
from epmdless.wire.terms import Atom, Opaque, Pid, Reference, Term, decode
from tests.wire.examples import U32, VECTORS

REASONS: Final = {"term", "limit"}
"""Why a term can be refused."""

OK: Final = Atom("ok")
A: Final = Atom("a")
B: Final = Atom("b")
C: Final = Atom("c")
D: Final = Atom("d")
HEAD_OF_NIL: Final[Term] = (
    Atom("EXIT"),
    (
        Atom("badarg"),
        [
            (
                Atom("erlang"),
                Atom("hd"),
                [[]],
                [(Atom("error_info"), {Atom("module"): Atom("erl_erts_errors")})],
            )
        ],
    ),
)

MEANINGS: Final[Mapping[str, Term]] = {
    "ok": OK,
    "''": Atom(""),
    "'hello world'": Atom("hello world"),
    "'née'": Atom("née"),
    "'日本'": Atom("日本"),
    "'Ω€'": Atom("Ω€"),
    "list_to_atom(lists:duplicate(255, $x))": Atom("x" * 255),
    "list_to_atom(lists:duplicate(255, 16#1F300))": Atom("\U0001f300" * 255),
    "0": 0,
    "255": 255,
    "256": 256,
    "-1": -1,
    "2147483647": 2147483647,
    "-2147483648": -2147483648,
    "2147483648": 2147483648,
    "-2147483649": -2147483649,
    "1 bsl 64": 1 << 64,
    "-(1 bsl 64)": -(1 << 64),
    "(1 bsl 2039) + 7": (1 << 2039) + 7,
    "(1 bsl 2040) + 7": (1 << 2040) + 7,
    "0.0": 0.0,
    "-0.0": -0.0,
    "1.5": 1.5,
    "-1.0e308": -1.0e308,
    "<<>>": b"",
    "<<1,2,3>>": b"\1\2\3",
    "{}": (),
    "{a, {b, 1}, [c]}": (A, (B, 1), [C]),
    "list_to_tuple(lists:seq(1, 256))": tuple(range(1, 257)),
    "[]": [],
    "[1,2,3]": [1, 2, 3],
    '"abc"': [97, 98, 99],
    "lists:duplicate(65535, 7)": [7] * 65535,
    "lists:duplicate(65536, 7)": [7] * 65536,
    '[a, [b, [c]], "d", 1000]': [A, [B, [C]], [100], 1000],
    "[1000 | a]": Opaque("improper_list"),
    "[a | [b, c]]": [A, B, C],
    "[1, 2 | 3]": Opaque("improper_list"),
    "#{}": {},
    "#{node => 'a@b.example'}": {Atom("node"): Atom("a@b.example")},
    '#{a => 1, {b} => [2], <<"c">> => #{d => 1.5}}': {A: 1, (B,): [2], b"c": {D: 1.5}},
    '#{"abc" => 1}': Opaque("map"),
    "#{#{} => 1}": Opaque("map"),
    "#{1 => a, 1.0 => b}": Opaque("map"),
    "#{{[]} => 1}": Opaque("map"),
    "<<1:1>>": Opaque("bitstring"),
    "<<255, 5:3>>": Opaque("bitstring"),
    "fun erlang:node/0": Opaque("export"),
    "fun(X) -> X end": Opaque("fun"),
    "{'EXIT', {badarg, [{erlang, hd, [[]], [{error_info, #{module => erl_erts_errors}}]}]}}": HEAD_OF_NIL,
}
"""What the nodes were asked to write, and what it is here."""

COMPRESSED: Final = "term_to_binary(lists:duplicate(300, a), [compressed])"


class Written(NamedTuple):
    """A term that a node wrote: the release, the expression, and its bytes."""

    otp: str
    source: str
    wire: bytes

    @property
    def title(self) -> str:
        """For the test's name."""
        return f"{self.otp} {self.source[:40]}"


def _captured() -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = json.loads(
        gzip.decompress((VECTORS / "terms.json.gz").read_bytes())
    )
    return found


CAPTURED: Final = _captured()

WRITTEN: Final = [
    Written(otp, source, bytes.fromhex(hexed))
    for otp, captured in CAPTURED.items()
    for source, hexed in (captured["terms"] if isinstance(captured["terms"], list) else [])
]
"""Every term of the file terms.json.gz."""

KNOWN: Final = [written for written in WRITTEN if written.source in MEANINGS]


def written(otp: str, source: str) -> bytes:
    """The bytes that a node of this release wrote."""
    (found,) = (each.wire for each in WRITTEN if (each.otp, each.source) == (otp, source))
    return found


def outcome(data: bytes) -> Term | str:
    """What the decoder makes of bytes: a term, or the word of its refusal; nothing else gets out."""
    try:
        return decode(data)
    except RemoteProtocolError as error:
        if error.reason in REASONS:
            return error.reason
        raise


ATOMS = st.builds(Atom, st.text(st.characters(codec="utf-8"), max_size=20) | st.just("\U0001f300" * 255))
INTEGERS = st.integers(-300, 300) | st.integers(-(1 << 33), 1 << 33) | st.integers(-(1 << 2047), 1 << 2047)
PIDS = st.builds(Pid, ATOMS, U32, U32, U32)
REFERENCES = st.builds(Reference, ATOMS, st.lists(U32, min_size=1, max_size=5).map(tuple), U32)
LEAVES: st.SearchStrategy[Term] = st.one_of(
    ATOMS,
    INTEGERS,
    st.floats(allow_nan=False, allow_infinity=False),
    st.binary(max_size=20),
    PIDS,
    REFERENCES,
)
KEYS: st.SearchStrategy[Term] = st.recursive(
    LEAVES, lambda keys: st.lists(keys, max_size=3).map(tuple), max_leaves=4
)
TERMS: st.SearchStrategy[Term] = st.recursive(
    LEAVES,
    lambda terms: st.one_of(
        st.lists(terms, max_size=5),
        st.lists(terms, max_size=5).map(tuple),
        st.dictionaries(KEYS, terms, max_size=4),
    ),
    max_leaves=20,
)
"""Terms that can be sent."""
