"""Lists of names as text: one name a line, or JSON.

Text: a name a line; blank lines and ``#`` comments, which begin a line or stand behind a blank, are passed
by. JSON: a list of names and of objects ``{"name": …, "port": …}``, or such a list in ``{"nodes": …}``;
other keys are passed by.

What is no list of names is no empty list either: a page that says "503", or the head of a table, must not
look as if everybody had left. So one line that is no name spoils the whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Annotated

import msgspec

from epmdless.cluster.peers import MAX_NAMES, LookError, Peer
from epmdless.names import MAX_NAME_CHARACTERS, is_node_name, printable

MAX_BYTES = 2 * 1024 * 1024
"""Of a whole list: MAX_NAMES of 100 bytes, which a name with its port takes in JSON."""

SHOWN = 60
"""Characters of what is no name that an error repeats."""

_LINE = re.compile(r"[^\r\n]+")
_COMMENT = re.compile(r"(?:^|\s)#.*")
_NAME = re.compile(rf"(?=[!-~]{{3,{MAX_NAME_CHARACTERS}}}\Z)[^@]+@[^@]+")
"""The names that almost everybody has; tried first, as it takes a quarter of the time of a closer look."""


class _Entry(msgspec.Struct):
    name: str
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] | None = None


class _Nodes(msgspec.Struct):
    nodes: list[str | _Entry]


_JSON = msgspec.json.Decoder(list[str | _Entry] | _Nodes)


def parse_names(data: bytes) -> dict[str, Peer]:
    """Read a list of nodes, by name; of a name that stands in it twice, the first counts.

    :param data: of at most MAX_BYTES.
    :raises LookError: ``malformed``: it is no such list; ``too_many``: of more than MAX_NAMES.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LookError("malformed", f"not UTF-8, at byte {error.start}") from None
    found: dict[str, Peer] = {}
    for peer in _json_peers(text) if text.lstrip()[:1] in ("[", "{") else _text_peers(text):
        found.setdefault(peer.name, peer)
        if len(found) > MAX_NAMES:
            raise LookError("too_many", f"more than {MAX_NAMES} names")
    return found


def _text_peers(text: str) -> Iterator[Peer]:
    for match in _LINE.finditer(text):
        line = match[0]
        if "#" in line:
            line = _COMMENT.sub("", line)
        name = line.strip()
        if not name:
            continue
        if not _is_name(name):
            raise _not_a_name(f"line {text.count(chr(10), 0, match.start()) + 1}", name)
        yield Peer(name)


def _json_peers(text: str) -> Iterator[Peer]:
    try:
        said = _JSON.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise LookError("malformed", f"JSON: {printable(str(error))[:200]}") from None
    entries: Iterable[str | _Entry] = said.nodes if isinstance(said, _Nodes) else said
    for number, entry in enumerate(entries):
        peer = Peer(entry) if isinstance(entry, str) else Peer(entry.name, entry.port)
        if not _is_name(peer.name):
            raise _not_a_name(f"entry {number}", peer.name)
        yield peer


def _is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None or is_node_name(text)


def _not_a_name(where: str, text: str) -> LookError:
    return LookError("malformed", f"{where}: {printable(text[:SHOWN])!r} is not NAME@HOST")
