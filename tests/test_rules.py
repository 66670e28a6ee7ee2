"""Globs, and who may link with whom."""

import ipaddress
import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from epmdless.policy import Network
from epmdless.rules import (
    Glob,
    LinkFacts,
    Rule,
    Rules,
    Verdict,
    globs_overlap,
    literal_prefix,
    literal_suffix,
)

FACTS = LinkFacts("app-9001@a1.internal", "10.0.1.5", "db", "b1.internal")
ALLOWED = Verdict(allowed=True, rule=None)

GLOBS = st.text("ab*?", max_size=6)
TEXTS = st.text("ab", max_size=8)


# Globs.


def naive_match(glob: str, text: str) -> bool:
    """The definition, taken word by word."""
    if not glob:
        return not text
    if glob[0] == "*":
        return any(naive_match(glob[1:], text[skipped:]) for skipped in range(len(text) + 1))
    return bool(text) and glob[0] in ("?", text[0]) and naive_match(glob[1:], text[1:])


@pytest.mark.parametrize(
    ("glob", "text"),
    [
        ("*", ""),
        ("*", "app@b1\n.internal"),
        ("app", "app"),
        ("app-*", "app-9001@a1"),
        ("*@a1", "app@a1"),
        ("a?p", "aép"),
        ("?", "\n"),
        ("a*b*c", "aXbbXbcXc"),
        ("[ab]", "[ab]"),
        ("[!a]*", "[!a]x"),
        (r"\d*", r"\dx"),
        ("a.c", "a.c"),
        ("(a|b)+", "(a|b)+"),
        ("**", "x"),
    ],
)
def test_a_glob_matches(glob: str, text: str) -> None:
    assert Glob(glob).matches(text)


@pytest.mark.parametrize(
    ("glob", "text"),
    [
        ("app", "App"),
        ("app", "app\n"),
        ("app", "myapp"),
        ("?", ""),
        ("?", "ab"),
        ("a.c", "abc"),
        ("[ab]", "a"),
        ("a*b", "abc"),
        ("a*a", "a"),
        ("*a?", "a"),
    ],
)
def test_a_glob_does_not_match(glob: str, text: str) -> None:
    assert not Glob(glob).matches(text)


@given(GLOBS, TEXTS)
@example("*a*ab*b", "aabb")
def test_a_glob_matches_by_its_definition(glob: str, text: str) -> None:
    assert Glob(glob).matches(text) is naive_match(glob, text)


@given(st.text(st.sampled_from("ab*?[]\\.^$\n{}é"), max_size=8), st.text())
def test_every_text_is_a_glob_and_what_is_no_wildcard_matches_itself(glob: str, text: str) -> None:
    assert Glob(glob).matches(glob)
    assert Glob(text.replace("?", "").replace("*", "")).matches(text.replace("?", "").replace("*", ""))
    assert Glob(f"*{glob}*").matches(text + glob + text)


def test_many_stars_and_a_name_made_for_them_take_no_time_to_speak_of() -> None:
    """A regular expression that tries all places for each star would take longer than the world lasts."""
    assert not Glob("*a" * 100 + "*b").matches("a" * 255)
    assert Glob("*a" * 100 + "*").matches("a" * 255)


def test_case_is_ignored_where_it_means_nothing() -> None:
    assert Glob("B1.*", ignore_case=True).matches("b1.Internal")
    assert Glob("straße", ignore_case=True).matches("STRASSE")
    assert not Glob("B1.*").matches("b1.internal")


def test_globs_are_compared_by_what_they_match() -> None:
    assert Glob("a*") == Glob("a*")
    assert Glob("A", ignore_case=True) == Glob("a", ignore_case=True)
    assert len({Glob("a"), Glob("a"), Glob("a", ignore_case=True), Glob("A")}) == 3
    assert Glob("a") != "a"
    assert repr(Glob("a?")) == "Glob('a?', ignore_case=False)"


@pytest.mark.parametrize(
    ("glob", "is_all"), [("*", True), ("***", True), ("", False), ("?*", False), ("a*", False)]
)
def test_a_glob_of_stars_alone_matches_all(glob: str, is_all: bool) -> None:
    assert Glob(glob).matches_all is is_all


@pytest.mark.parametrize(
    ("glob", "prefix", "suffix"),
    [("app", "app", "app"), ("app-*", "app-", ""), ("*@a1", "", "@a1"), ("a?b*c", "a", "c"), ("*", "", "")],
)
def test_what_a_glob_begins_and_ends_with(glob: str, prefix: str, suffix: str) -> None:
    assert (literal_prefix(glob), literal_suffix(glob)) == (prefix, suffix)


# Globs that overlap.


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("*", "*"),
        ("*", "app"),
        ("app", "app"),
        ("app*", "*app"),
        ("a*c", "*b*"),
        ("a?", "?b"),
        ("a*a", "aa"),
        ("?*", "*a"),
        ("a*b*a", "a?a"),
        ("", "*"),
    ],
)
def test_globs_that_can_match_one_text_overlap(one: str, other: str) -> None:
    assert globs_overlap(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("app", "db"),
        ("app-*", "db-*"),
        ("*-1", "*-2"),
        ("a*", "b*"),
        ("app", "App"),
        ("a?", "a"),
        ("a?c", "a*bb"),
        ("a*a", "a"),
        ("??", "?"),
        ("", "?"),
        ("*a*b*", "b?a"),
    ],
)
def test_globs_that_cannot_do_not(one: str, other: str) -> None:
    assert not globs_overlap(one, other)


EVERY_TEXT = ["".join(letters) for length in range(7) for letters in itertools.product("abc", repeat=length)]
"""Enough for globs of at most three characters over a and b: a common text needs no more than their
lengths together, and c stands for any other character."""


@given(st.text("ab*?", max_size=3), st.text("ab*?", max_size=3))
def test_globs_overlap_where_there_is_a_text_that_both_match(one: str, other: str) -> None:
    both = any(Glob(one).matches(text) and Glob(other).matches(text) for text in EVERY_TEXT)
    assert globs_overlap(one, other) is both
    assert globs_overlap(other, one) is both


@given(TEXTS, st.data())
def test_globs_made_of_one_text_overlap(text: str, data: st.DataObject) -> None:
    one, other = (widened(text, data) for _ in range(2))
    assert Glob(one).matches(text)
    assert globs_overlap(one, other)


def widened(text: str, data: st.DataObject) -> str:
    """A glob that matches the text: characters made ?, stars put in, and parts made stars."""
    choices = st.lists(st.sampled_from(["keep", "?", "*", "*keep"]), min_size=len(text), max_size=len(text))
    made = {"keep": "{}", "?": "?", "*": "*", "*keep": "*{}"}
    return "".join(made[choice].format(c) for choice, c in zip(data.draw(choices), text, strict=True))


@given(st.text("ab*?", max_size=10))
def test_overlap_with_everything_and_with_itself(glob: str) -> None:
    assert globs_overlap(glob, "*")
    assert globs_overlap(glob, glob)


# Rules.


def rule(action: str, **patterns: str) -> Rule:
    networks = patterns.pop("networks", None)
    return Rule(
        allow=action == "allow",
        **{key: Glob(glob, ignore_case=key == "host") for key, glob in patterns.items()},
        networks=None if networks is None else tuple(map(Network.parse, networks.split())),
    )


def test_without_rules_every_link_is_allowed() -> None:
    assert Rules().verdict(FACTS) == ALLOWED
    assert Rules().verdict(LinkFacts(None, "", None, None)) == ALLOWED


def test_a_rule_without_patterns_matches_every_link() -> None:
    assert Rules([rule("deny")]).verdict(FACTS) == Verdict(allowed=False, rule=1)
    assert Rules([rule("allow"), rule("deny")]).verdict(FACTS) == Verdict(allowed=True, rule=1)


@pytest.mark.parametrize(
    "patterns",
    [
        {"near": "app-*@a1.internal"},
        {"far": "d?"},
        {"host": "B1.*"},
        {"networks": "192.0.2.0/24 10.0.0.0/8"},
        {"near": "*@a1.*", "far": "db", "host": "b1.internal", "networks": "10.0.1.5"},
    ],
)
def test_a_rule_matches_a_link_that_all_its_patterns_match(patterns: dict[str, str]) -> None:
    assert Rules([rule("deny", **patterns)]).verdict(FACTS) == Verdict(allowed=False, rule=1)


@pytest.mark.parametrize(
    "patterns",
    [
        {"near": "App-*"},
        {"near": "app-9001"},
        {"far": "DB"},
        {"far": "db@b1.internal"},
        {"host": "b2.*"},
        {"networks": "192.0.2.0/24"},
        {"networks": "::/0"},
        {"networks": ""},
        {"near": "*", "far": "db", "host": "b1.internal", "networks": "10.0.2.0/24"},
        {"near": "nobody@*", "far": "db"},
    ],
)
def test_a_rule_does_not_match_if_one_of_its_patterns_does_not(patterns: dict[str, str]) -> None:
    assert Rules([rule("deny", **patterns)]).verdict(FACTS) == ALLOWED


def test_the_first_rule_that_matches_decides() -> None:
    rules = Rules([rule("allow", far="web"), rule("allow", near="app-9001@*"), rule("deny")])
    assert rules.verdict(FACTS) == Verdict(allowed=True, rule=2)
    assert rules.verdict(LinkFacts("x@y", "10.0.1.5", "db", "h")) == Verdict(allowed=False, rule=3)
    assert rules.verdict(LinkFacts("x@y", "10.0.1.5", "web", "h")) == Verdict(allowed=True, rule=1)


@pytest.mark.parametrize("address", ["10.0.1.5", "::ffff:10.0.1.5", "::ffff:a00:105"])
def test_an_ipv4_address_is_the_same_however_the_kernel_reports_it(address: str) -> None:
    facts = LinkFacts("a@b", address, "db", "h")
    assert not Rules([rule("deny", networks="10.0.1.0/24")]).verdict(facts).allowed


def test_a_link_local_address_has_a_zone() -> None:
    facts = LinkFacts("a@b", "fe80::1%eth0", "db", "h")
    assert not Rules([rule("deny", networks="fe80::/10")]).verdict(facts).allowed


UNKNOWN = [
    ({"near": "app@*"}, LinkFacts(None, "10.0.1.5", "db", "h")),
    ({"far": "d*"}, LinkFacts("a@b", "10.0.1.5", None, "h")),
    ({"host": "?"}, LinkFacts("a@b", "10.0.1.5", "db", None)),
    ({"networks": "0.0.0.0/0 ::/0"}, LinkFacts("a@b", "", "db", "h")),
    ({"networks": "0.0.0.0/0"}, LinkFacts("a@b", "10.0.1", "db", "h")),
]


@pytest.mark.parametrize(("patterns", "facts"), UNKNOWN)
def test_what_is_not_known_is_denied_by_any_pattern_and_allowed_by_none(
    patterns: dict[str, str], facts: LinkFacts
) -> None:
    assert Rules([rule("deny", **patterns)]).verdict(facts) == Verdict(allowed=False, rule=1)
    closed = Rules([rule("allow", **patterns), rule("deny")])
    assert closed.verdict(facts) == Verdict(allowed=False, rule=2)


def test_what_is_not_known_is_allowed_by_a_star() -> None:
    facts = LinkFacts(None, "", None, None)
    rules = Rules([rule("allow", near="*", far="**", host="*"), rule("deny")])
    assert rules.verdict(facts) == Verdict(allowed=True, rule=1)


def test_what_is_not_known_does_not_make_a_deny_rule_match_that_what_is_known_rules_out() -> None:
    facts = LinkFacts(None, "10.0.1.5", "db", "h")
    assert Rules([rule("deny", near="app@*", far="web")]).verdict(facts) == ALLOWED


# A model: every rule is looked at, word by word.

NAMES = st.none() | st.sampled_from(["a", "b", "ab", "A"])
ADDRESSES = st.sampled_from(["10.0.0.1", "10.0.1.1", "::ffff:10.0.0.1", "fd00::1", "junk"])
NETWORKS = st.none() | st.lists(
    st.sampled_from(["10.0.0.0/24", "10.0.0.0/8", "fd00::/8", "::/0"]).map(Network.parse), max_size=2
).map(tuple)
PATTERNS = st.sampled_from(["*", "a", "b*", "?", "A", "ab"])
RULES = st.builds(
    Rule,
    allow=st.booleans(),
    near=PATTERNS.map(Glob),
    far=PATTERNS.map(Glob),
    host=PATTERNS.map(lambda glob: Glob(glob, ignore_case=True)),
    networks=NETWORKS,
)


def naive_verdict(rules: list[Rule], facts: LinkFacts) -> Verdict:
    for number, each in enumerate(rules, 1):
        host = None if facts.host is None else facts.host.lower()
        known = [(each.near, facts.near), (each.far, facts.far), (each.host, host)]
        fits = [
            (glob.text == "*" or not each.allow) if text is None else naive_match(glob.text, text)
            for glob, text in known
        ]
        if all(fits) and naive_membership(each, facts.near_address):
            return Verdict(each.allow, number)
    return ALLOWED


def naive_membership(each: Rule, address: str) -> bool:
    if each.networks is None:
        return True
    if address == "junk":
        return not each.allow
    ip = ipaddress.ip_address(address.removeprefix("::ffff:"))
    blocks = [ipaddress.ip_network(str(network)) for network in each.networks]
    return any(ip in block for block in blocks)


@given(st.lists(RULES, max_size=5), st.builds(LinkFacts, NAMES, ADDRESSES, NAMES, NAMES))
def test_the_verdict_is_that_of_the_model(rules: list[Rule], facts: LinkFacts) -> None:
    assert Rules(rules).verdict(facts) == naive_verdict(rules, facts)


@given(st.lists(RULES, max_size=5), ADDRESSES, NAMES, NAMES, NAMES)
def test_what_is_allowed_unknown_would_be_allowed_whatever_it_is(
    rules: list[Rule], address: str, near: str | None, far: str | None, host: str | None
) -> None:
    if Rules(rules).verdict(LinkFacts(None, address, far, host)).allowed:
        assert Rules(rules).verdict(LinkFacts(near, address, far, host)).allowed
    if Rules(rules).verdict(LinkFacts(near, address, None, host)).allowed:
        assert Rules(rules).verdict(LinkFacts(near, address, far, host)).allowed
    if Rules(rules).verdict(LinkFacts(near, address, far, None)).allowed:
        assert Rules(rules).verdict(LinkFacts(near, address, far, host)).allowed
    if Rules(rules).verdict(LinkFacts(near, "junk", far, host)).allowed:
        assert Rules(rules).verdict(LinkFacts(near, address, far, host)).allowed


WORDS = st.sampled_from(["a", "b", "ab", "A"])


@given(st.lists(RULES, max_size=5), ADDRESSES, WORDS, NAMES, NAMES, WORDS, WORDS)
def test_what_is_foreseen_comes_true(
    rules: list[Rule], address: str, near: str, far: str | None, host: str | None, then: str, there: str
) -> None:
    foreseen = Rules(rules).foreseen(LinkFacts(near, address, far, host))
    if foreseen is not None:
        known = LinkFacts(near, address, far or then, host or there)
        assert Rules(rules).verdict(known).allowed == foreseen.allowed


@given(st.lists(RULES, max_size=5), ADDRESSES.filter(lambda address: address != "junk"), WORDS, WORDS, WORDS)
def test_of_a_link_of_which_all_is_known_the_verdict_is_foreseen(
    rules: list[Rule], address: str, near: str, far: str, host: str
) -> None:
    facts = LinkFacts(near, address, far, host)
    assert Rules(rules).foreseen(facts) == Rules(rules).verdict(facts)


@pytest.mark.parametrize(
    ("rules", "foreseen"),
    [
        ([rule("deny", far="a")], None),
        ([rule("allow", far="a"), rule("deny")], None),
        ([rule("deny", far="a"), rule("deny")], Verdict(allowed=False, rule=2)),
        ([rule("allow", far="a"), rule("allow", host="b")], ALLOWED),
        ([rule("allow", far="a", near="other@*"), rule("deny")], Verdict(allowed=False, rule=2)),
        ([rule("allow", near="n@*"), rule("deny", far="a")], Verdict(allowed=True, rule=1)),
    ],
)
def test_a_verdict_is_foreseen_where_the_far_name_cannot_change_it(
    rules: list[Rule], foreseen: Verdict | None
) -> None:
    assert Rules(rules).foreseen(LinkFacts("n@h", "10.0.0.1", None, None)) == foreseen
