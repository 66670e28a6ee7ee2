"""Schemes: rules that turn an alive name into a port.

A scheme works both ways: :meth:`Scheme.port_of` answers a lookup, :meth:`Scheme.promises` says
whether a port that a node registers is the one that its name promises.

Transient names (remote shells and the like, :func:`epmdless.names.is_transient`) are never a
scheme's: such a node has only the port that it registered, if any.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass

from epmdless.names import is_transient

HIGHEST_PORT = 65535

_SUFFIX = re.compile(r".+-([1-9][0-9]{3,4})", re.DOTALL)
_TRAILING_INTEGER = re.compile(r"[0-9]+\Z")


class Scheme(ABC):
    """A rule from alive name to port."""

    @abstractmethod
    def _port(self, alive: str) -> int | None:
        """The rule itself; may return a number that is no port."""

    def port_of(self, alive: str) -> int | None:
        """The port that this name promises, 1..65535, or None where the rule says nothing."""
        if is_transient(alive):
            return None
        port = self._port(alive)
        return port if port is not None and 1 <= port <= HIGHEST_PORT else None

    def promises(self, alive: str, port: int) -> bool | None:
        """Whether this is the port that the name promises; None where the rule says nothing."""
        promised = self.port_of(alive)
        return None if promised is None else promised == port


@dataclass(frozen=True, slots=True)
class SuffixScheme(Scheme):
    """``NAME-PORT``, the port in 1024..65535 with four or five digits, no leading zero.

    Caravan's idea made safe: ``i-0abc123`` and ``node7`` promise nothing.
    """

    lowest: int = 1024

    def _port(self, alive: str) -> int | None:
        match = _SUFFIX.fullmatch(alive)
        if match is None:
            return None
        port = int(match[1])
        return port if port >= self.lowest else None


@dataclass(frozen=True, slots=True)
class CaravanScheme(Scheme):
    """Caravan's own rule: the digits that end the name are the port; without any, `default`."""

    default: int = 4370

    def _port(self, alive: str) -> int | None:
        index = trailing_integer(alive)
        return self.default if index is None else index


@dataclass(frozen=True, slots=True)
class OffsetScheme(Scheme):
    """``base + (trailing integer mod modulo)``, and `base` for a name without one.

    EMQX's rule (ekka) with the defaults; with base 4469 epmdlib's.
    """

    base: int = 4370
    modulo: int = 60000

    def _port(self, alive: str) -> int | None:
        return self.base + (trailing_integer(alive) or 0) % self.modulo


@dataclass(frozen=True, slots=True)
class FixedScheme(Scheme):
    """One port for every name, as with ``ERL_DIST_PORT``."""

    port: int

    def _port(self, alive: str) -> int | None:
        return self.port


@dataclass(frozen=True, slots=True)
class PatternScheme(Scheme):
    """A regular expression that is searched in the name.

    Its group ``port`` is the port; or its group ``index``, if it took part in the match, is added to
    `base`. A name that does not match gets `default`, None for no answer.
    """

    regex: re.Pattern[str]
    base: int = 0
    default: int | None = None

    def _port(self, alive: str) -> int | None:
        match = self.regex.search(alive)
        if match is None:
            return self.default
        groups = match.groupdict()
        if groups.get("port") is not None:
            return _decimal(groups["port"])
        index = _decimal(groups.get("index"))
        return None if index is None else self.base + index


def trailing_integer(alive: str) -> int | None:
    """The number that ends the name, read with leading zeros; None if it ends in no ASCII digit."""
    match = _TRAILING_INTEGER.search(alive)
    return None if match is None else int(match[0])


def _decimal(text: str | None) -> int | None:
    """A decimal number as `pattern` captured it; None for anything else, whatever the group let in."""
    return int(text) if text is not None and text.isascii() and text.isdigit() else None
