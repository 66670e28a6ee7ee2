"""Terms as Erlang shows them, cut short: for logs and for people."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from epmdless.names import printable
from epmdless.wire.terms_values import Atom, Opaque, Pid, Port, Reference, Term

MAX_TEXT = 200
"""Characters of a term that are shown: one line."""

_CUT = "..."
_BARE_ATOM = re.compile(r"[a-z][A-Za-z0-9_@]*")


def text_of(term: Term) -> str:
    """Show a term as Erlang does, in MAX_TEXT characters at the most and none of them a control character.

    A term that takes more ends with ``...``.
    """
    text = ""
    for piece in _pieces(term):
        text += printable(piece)
        if len(text) > MAX_TEXT:
            return text[: MAX_TEXT - len(_CUT)] + _CUT
    return text


def _pieces(term: Term) -> Iterator[str]:
    match term:
        case Atom():
            yield str(term) if _BARE_ATOM.fullmatch(term) else f"'{term}'"
        case int() | float():
            yield str(term)
        case bytes():
            yield from ('<<"', term[:MAX_TEXT].decode("latin-1"), '">>')
        case tuple():
            yield from _between("{", map(_pieces, term), "}")
        case list() if term and all(isinstance(item, int) and 32 <= item < 127 for item in term):
            yield from ('"', *(chr(item) for item in term if isinstance(item, int)), '"')
        case list():
            yield from _between("[", map(_pieces, term), "]")
        case dict():
            yield from _between("#{", map(_pair, term.items()), "}")
        case Pid() | Reference() | Port():
            yield from (f"#{type(term).__name__}<", str(term.node), ">")
        case Opaque(kind):
            yield f"#{kind}"


def _pair(pair: tuple[Term, Term]) -> Iterator[str]:
    yield from _pieces(pair[0])
    yield " => "
    yield from _pieces(pair[1])


def _between(before: str, parts: Iterable[Iterable[str]], after: str) -> Iterator[str]:
    yield before
    for place, pieces in enumerate(parts):
        if place:
            yield ","
        yield from pieces
    yield after
