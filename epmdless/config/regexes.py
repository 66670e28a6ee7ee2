"""Regular expressions that take time without end on a name that somebody made for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

try:  # the interpreter's own parser, which it may move or change
    import re._constants as kinds  # type: ignore[import-not-found]
    import re._parser as parser  # type: ignore[import-not-found]
except ImportError:
    parser = None

MANY = 10
"""Repetitions from which on what repeats in them is looked at."""

Items = Iterable[tuple[Any, Any]]
"""A parsed expression: what each item is, and its details."""


def repeats_repeats(regex: str) -> bool:
    """Whether the expression repeats what repeats by itself, as in ``(a+)+``, ``([a-z]+-?)*``.

    A run of characters can be cut up for it in two to the power of its length ways, and the engine tries
    them all on a name that does not match. Not every slow expression is found, and what is found is slow;
    nothing is found by an interpreter whose parser is elsewhere.

    :param regex: one that :func:`re.compile` takes.
    """
    return parser is not None and _is_slow(parser.parse(regex))


def _is_slow(items: Items) -> bool:
    for kind, details in items:
        if kind in (kinds.MAX_REPEAT, kinds.MIN_REPEAT) and details[1] >= MANY and _is_loose(details[2]):
            return True
        if any(map(_is_slow, _parts(kind, details))):
            return True
    return False


def _parts(kind: Any, details: Any) -> list[Items]:
    """The expressions inside of an item."""
    if kind in (kinds.MAX_REPEAT, kinds.MIN_REPEAT, kinds.POSSESSIVE_REPEAT):
        return [details[2]]
    if kind is kinds.SUBPATTERN:
        return [details[3]]
    if kind is kinds.BRANCH:
        return list(details[1])
    if kind in (kinds.ASSERT, kinds.ASSERT_NOT):
        return [details[1]]
    return [details] if kind is kinds.ATOMIC_GROUP else []


def _is_loose(items: Items) -> bool:
    """Whether all that must be there is one item that repeats: two turns match what one does."""
    must = [(kind, details) for kind, details in items if not _may_be_left_out(kind, details)]
    if len(must) != 1:
        return not must
    kind, details = must[0]
    if kind in (kinds.MAX_REPEAT, kinds.MIN_REPEAT):
        return bool(details[1] >= MANY)
    return kind in (kinds.SUBPATTERN, kinds.BRANCH) and any(map(_is_loose, _parts(kind, details)))


def _may_be_left_out(kind: Any, details: Any) -> bool:
    repeats = (kinds.MAX_REPEAT, kinds.MIN_REPEAT, kinds.POSSESSIVE_REPEAT)
    return kind in repeats and bool(details[0] == 0)
