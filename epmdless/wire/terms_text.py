"""Terms as Erlang shows them, cut short: for logs and for people."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from epmdless.names import printable
from epmdless.wire.terms_values import Atom, Opaque, Pid, Port, Reference, Term

MAX_TEXT = 200
"""Characters of a term that are shown: one line."""

_BARE_ATOM = re.compile(r"[a-z][A-Za-z0-9_@]*")


def text_of(term: Term, longest: int = MAX_TEXT) -> str:
    """Show a term as Erlang does, without control characters.

    :param longest: characters at the most; what is left out is ``...``. The rest of the term is not even
        looked at.
    """
    text = ""
    for piece in _pieces(term):
        text += printable(piece[: longest + 1])
        if len(text) > longest:
            return text[: max(longest - 3, 0)] + "..."
    return text


def _pieces(term: Term) -> Iterator[str]:
    match term:
        case Atom():
            yield str(term) if _BARE_ATOM.fullmatch(term) else f"'{term}'"
        case int() | float():
            yield str(term)
        case bytes():
            yield from ('<<"', term.decode("latin-1"), '">>')
        case tuple():
            yield from _joined("{", term, "}")
        case list() if term and all(isinstance(item, int) and 32 <= item < 127 for item in term):
            yield from ('"', *(chr(item) for item in term if isinstance(item, int)), '"')
        case list():
            yield from _joined("[", term, "]")
        case dict():
            yield from _joined("#{", term.items(), "}")
        case Pid() | Reference() | Port():
            yield from (f"#{type(term).__name__}<", str(term.node), ">")
        case Opaque(kind):
            yield f"#{kind}"


def _joined(before: str, terms: Iterable[Term], after: str) -> Iterator[str]:
    yield before
    for place, term in enumerate(terms):
        if place:
            yield ","
        yield from _pieces(term)
    yield after
