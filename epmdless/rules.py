"""Link policy: ordered rules over who links with whom, and the globs that they are written in.

Pure: what is known of a link comes as :class:`LinkFacts`, a :class:`Verdict` goes back. The first rule
that matches decides; a link that no rule matches is allowed.

What is not known (the near node's name inside TLS, say) could be anything, so the rules fail closed: it
matches any pattern of a deny rule, and in an allow rule the pattern ``*`` alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from epmdless.policy import Network, plain_address

MAX_GLOB_CHARACTERS = 1024
"""Longer than any node name: 255 characters, ``@``, and a host name of 253."""

_WILDCARD = re.compile(r"[*?]")


class Glob:
    """A pattern in which ``*`` is any text, also none, ``?`` is one character, and all else is itself.

    Brackets and backslashes are literal, unlike in a shell: a node name may hold them.

    :param text: the pattern.
    :param ignore_case: for host names, in which case means nothing; alive names differ by it.
    """

    __slots__ = ("_regex", "ignore_case", "matches_all", "text")

    def __init__(self, text: str, *, ignore_case: bool = False) -> None:
        self.text = text.casefold() if ignore_case else text
        self.ignore_case = ignore_case
        self.matches_all = set(text) == {"*"}
        """Whether there is no text that it does not match."""
        self._regex = _translated(self.text)

    def matches(self, text: str) -> bool:
        """Whether the pattern matches the whole text."""
        return self._regex.fullmatch(text.casefold() if self.ignore_case else text) is not None

    def __repr__(self) -> str:
        return f"Glob({self.text!r}, ignore_case={self.ignore_case})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Glob) and (self.text, self.ignore_case) == (other.text, other.ignore_case)

    def __hash__(self) -> int:
        return hash((self.text, self.ignore_case))


def _translated(glob: str) -> re.Pattern[str]:
    """A glob as a regular expression that takes at most linear time for each star.

    What stands between two stars is found at its first place and stays there (an atomic group, as
    CPython's fnmatch does it): a later place could help no star that follows. Without that, a name made
    for the purpose takes a time that grows with the power of the number of stars.
    """
    parts = ["".join("." if c == "?" else re.escape(c) for c in part) for part in glob.split("*")]
    if len(parts) == 1:
        return re.compile(parts[0], re.DOTALL)
    first, *between, last = parts
    middle = "".join(f"(?>.*?{part})" for part in between if part)
    return re.compile(f"{first}{middle}.*{last}", re.DOTALL)


def literal_prefix(glob: str) -> str:
    """What every text that the glob matches begins with: all before its first wildcard."""
    return _WILDCARD.split(glob, maxsplit=1)[0]


def literal_suffix(glob: str) -> str:
    """What every text that the glob matches ends with: all after its last wildcard."""
    return _WILDCARD.split(glob)[-1]


def globs_overlap(one: str, other: str) -> bool:
    """Whether there is a text that both globs match; exact, in time by the product of their lengths."""
    if not _ends_fit(one, other):
        return False
    # ends[j]: whether the rest of `one`, of which we walk back to the start, and other[j:] can meet.
    ends = [set(other[j:]) <= {"*"} for j in range(len(other) + 1)]
    for mark in reversed(one):
        ends = _with_one_before(mark, other, ends)
    return ends[0]


def _with_one_before(mark: str, other: str, ends: Sequence[bool]) -> list[bool]:
    """The same answers for a rest that is longer by this character in front."""
    longer = [False] * (len(other) + 1)
    for j in range(len(other), -1, -1):
        facing = other[j] if j < len(other) else None
        if mark == "*":
            longer[j] = ends[j] or (facing is not None and longer[j + 1])
        elif facing == "*":
            longer[j] = ends[j] or longer[j + 1]
        elif facing is not None and (mark == facing or "?" in (mark, facing)):
            longer[j] = ends[j + 1]
    return longer


def _ends_fit(one: str, other: str) -> bool:
    """Whether how the two begin and end leaves room for a common text: cheap, and mostly the answer."""
    short, long = sorted((literal_prefix(one), literal_prefix(other)), key=len)
    if not long.startswith(short):
        return False
    short, long = sorted((literal_suffix(one), literal_suffix(other)), key=len)
    return long.endswith(short)


ANYTHING = Glob("*")
ANY_HOST = Glob("*", ignore_case=True)


@dataclass(frozen=True, slots=True)
class LinkFacts:
    """What is known of a link when it is judged; None: not known.

    :param near: the near node's whole name, ``app-9001@a1.internal``.
    :param near_address: the near side's IP address, as the kernel reports it.
    :param far: the far node's alive name.
    :param host: the far node's host part.
    """

    near: str | None
    near_address: str
    far: str | None
    host: str | None


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; it matches a link that all of its patterns match.

    :param allow: what becomes of a link that it matches.
    :param networks: of near addresses; None: everywhere.
    """

    allow: bool
    near: Glob = ANYTHING
    far: Glob = ANYTHING
    host: Glob = ANY_HOST
    networks: tuple[Network, ...] | None = None

    def matches(self, facts: LinkFacts) -> bool:
        """Whether the rule decides this link; see above for what is not known."""
        return self._matches(facts, unknown_fits=not self.allow)

    def may_match(self, facts: LinkFacts) -> bool:
        """Whether it matches if what is not known is the right thing."""
        return self._matches(facts, unknown_fits=True)

    def must_match(self, facts: LinkFacts) -> bool:
        """Whether it matches whatever it is that is not known."""
        return self._matches(facts, unknown_fits=False)

    def _matches(self, facts: LinkFacts, *, unknown_fits: bool) -> bool:
        patterns = ((self.near, facts.near), (self.far, facts.far), (self.host, facts.host))
        for glob, text in patterns:
            if not (glob.matches_all or unknown_fits if text is None else glob.matches(text)):
                return False
        return self._comes_from(facts.near_address, unknown_fits)

    def _comes_from(self, address: str, unknown_fits: bool) -> bool:
        """An address that cannot be read is one that is not known."""
        if self.networks is None:
            return True
        try:
            ip = plain_address(address)
        except ValueError:
            return unknown_fits
        return any(ip in network for network in self.networks)


class Verdict(NamedTuple):
    """Whether a link may be, and the number of the rule that decided, from 1; None: no rule did."""

    allowed: bool
    rule: int | None


class Rules:
    """Ordered rules; without any, every link is allowed."""

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        self._rules = tuple(rules)

    def verdict(self, facts: LinkFacts) -> Verdict:
        """Judge a link by the first rule that matches it."""
        for number, rule in enumerate(self._rules, 1):
            if rule.matches(facts):
                return Verdict(rule.allow, number)
        return Verdict(allowed=True, rule=None)

    def foreseen(self, facts: LinkFacts) -> Verdict | None:
        """The verdict over a link of which more will be known, if that cannot change it; None: it can.

        A far name that only the challenge tells may fit an allow rule that stands before a deny rule for
        everybody, so what is not known fails neither way here.
        """
        foreseen = Verdict(allowed=True, rule=None)
        seen = set[bool]()
        for number, rule in enumerate(self._rules, 1):
            if not rule.may_match(facts):
                continue
            seen.add(rule.allow)
            if rule.must_match(facts):
                foreseen = Verdict(rule.allow, number)
                break
        return foreseen if seen <= {foreseen.allowed} else None
