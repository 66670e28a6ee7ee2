"""A decoder's complaint made into key, problem and what is allowed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from epmdless.names import printable

_AT = re.compile(r"(?P<problem>.*?)(?: - at `(?P<path>[^`]*)`)?", re.DOTALL)
_STEP = re.compile(r"\[(?P<index>\d+)\]|(?P<key>[^.\[]+)")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_INVALID = re.compile(r"Invalid (?:enum value|value) ?(?P<value>'[^']*')?.*")


class SectionError(ValueError):
    """Keys that are right one by one and wrong together, found by a section's own check.

    :param key: the dotted path, from that section down, of the key to mend; ``""`` for the section.
    :param problem: what is wrong, and what is allowed instead.
    """

    def __init__(self, key: str, problem: str) -> None:
        self.key = key
        self.problem = problem
        super().__init__(f"{key}: {problem}" if key else problem)


def explain(
    error: msgspec.ValidationError,
    root: type,
    tables: Mapping[str, Any],
    convert: Callable[[Any, type], object],
) -> tuple[str, str]:
    """Read a decoder's error.

    :param root: the type that was decoded.
    :param tables: what was decoded: in a table with a kind, that kind's keys are allowed.
    :param convert: decodes a part of it again, to a type.
    :returns: the dotted key, an item of a list as ``relay.route[1]``, counted from 0; and the problem
        with what is allowed. Each is one line, whatever the file holds.
    """
    key, problem = _explained(error, _Decoded(root, tables), convert)
    return printable(key), printable(problem)


class _Decoded(NamedTuple):
    """What was decoded, to which type.

    :ivar name: of the table that a ``*`` in a key stands for.
    """

    root: type
    tables: Mapping[str, Any]
    name: str | None = None

    def at(self, keys: str) -> tuple[list[Any], Any]:
        """The types that a place can have, and what stands there.

        On the way along dotted keys (``*`` = any value, ``[2]`` = an item) the tag of a table chooses among
        several structures.
        """
        kinds = _flatten(msgspec.inspect.type_info(self.root))
        value: Any = self.tables
        for step in _STEP.finditer(keys):
            kinds = _structures(kinds, value) or kinds
            kinds = [inner for kind in kinds for inner in _flatten(_step(kind, step["key"]))]
            key = self.name if step["key"] == "*" else step["key"]
            value = value[int(step["index"])] if step["index"] else value.get(key, {})
        return kinds, value


def _explained(
    error: msgspec.ValidationError, decoded: _Decoded, convert: Callable[[Any, type], object]
) -> tuple[str, str]:
    message = str(error)
    match = _AT.fullmatch(message)
    problem, path = (match["problem"], match["path"]) if match else (message, None)
    keys = (path or "$").removeprefix("$").replace("[...]", ".*").lstrip(".")
    name = _refused_name(keys, decoded, convert)
    shown = keys if name is None else keys.replace(".*", f".{quoted(name)}", 1)
    if isinstance(error.__cause__, SectionError):
        return _join(shown, error.__cause__.key), error.__cause__.problem
    key, said = _read(problem, keys, decoded._replace(name=name))
    return _join(shown, key), said


def quoted(name: str) -> str:
    """A table's name as it stands in a dotted key."""
    return name if _BARE_KEY.fullmatch(name) else json.dumps(name)


def _refused_name(keys: str, decoded: _Decoded, convert: Callable[[Any, type], object]) -> str | None:
    """The name of the table, of many with names of their own, that an error is about; None: of no such.

    The decoder keeps that name to itself: the first table that it refuses is the one.
    """
    parent, star, _ = keys.partition(".*")
    if not star:
        return None
    kinds, _ = decoded.at(f"{parent}.*")
    if not any(isinstance(kind, msgspec.inspect.StructType) for kind in kinds):
        return None
    _, named = decoded.at(parent)
    return next((name for name, table in named.items() if _is_refused(table, kinds, convert)), None)


def _is_refused(table: Any, kinds: list[Any], convert: Callable[[Any, type], object]) -> bool:
    structures = _structures(kinds, table)
    try:
        for kind in structures:
            convert(table, kind.cls)
    except msgspec.ValidationError:
        return True
    return not structures


def _structures(kinds: list[Any], table: Any) -> list[Any]:
    """The structures among the kinds that a table can be; its tag chooses where there are several."""
    return [
        kind
        for kind in kinds
        if isinstance(kind, msgspec.inspect.StructType)
        and (kind.tag_field is None or (isinstance(table, Mapping) and table.get(kind.tag_field) == kind.tag))
    ]


def _read(problem: str, keys: str, decoded: _Decoded) -> tuple[str, str]:
    """Read a decoder's problem: the key below `keys` that it is about, and what to say of it."""
    if unknown := _UNKNOWN.fullmatch(problem):
        return unknown[1], "unknown key" + _allowed(_keys_at(keys, decoded))
    if missing := _MISSING.fullmatch(problem):
        choices = _choices_at(_join(keys, missing[1]), decoded)
        return missing[1], "this key is required" + _allowed(choices)
    if invalid := _INVALID.fullmatch(problem):
        shown = invalid["value"] or "this"
        return "", f"{shown} is not one of the choices" + _allowed(_choices_at(keys, decoded))
    return "", problem[:1].lower() + problem[1:]


def _join(*keys: str) -> str:
    return ".".join(filter(None, keys))


def _allowed(choices: list[str]) -> str:
    return f"; allowed: {', '.join(choices)}" if choices else ""


def _keys_at(keys: str, decoded: _Decoded) -> list[str]:
    """The keys of the structure at this place."""
    found = _structures(*decoded.at(keys))
    names = [kind.tag_field for kind in found if kind.tag_field]
    names += [field.encode_name for kind in found for field in kind.fields]
    return list(dict.fromkeys(names))


def _choices_at(keys: str, decoded: _Decoded) -> list[str]:
    """The literal values that this place takes."""
    choices: list[str] = []
    for kind in decoded.at(keys)[0]:
        if isinstance(kind, msgspec.inspect.LiteralType):
            choices += [str(value) for value in kind.values]
    parent, _, last = keys.rpartition(".")
    for kind in decoded.at(parent)[0]:
        if isinstance(kind, msgspec.inspect.StructType) and kind.tag_field == last:
            choices.append(str(kind.tag))
    return choices


def _step(kind: Any, key: str | None) -> Any:
    """The type that stands in this one under a key; None for the key: as an item."""
    if isinstance(kind, msgspec.inspect.StructType):
        return next((field.type for field in kind.fields if field.encode_name == key), None)
    if isinstance(kind, msgspec.inspect.DictType):
        return kind.value_type
    if isinstance(kind, msgspec.inspect.VarTupleType):
        return kind.item_type
    return None


def _flatten(kind: Any) -> list[Any]:
    if isinstance(kind, msgspec.inspect.UnionType):
        return list(kind.types)
    return [] if kind is None else [kind]
