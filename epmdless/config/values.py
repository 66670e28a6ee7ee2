"""Values that a configuration holds, each with a way to write it as text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated

import msgspec

from epmdless.addresses import Endpoint, parse_port
from epmdless.errors import EpmdlessError
from epmdless.schemes import HIGHEST_PORT

Port = Annotated[int, msgspec.Meta(ge=1, le=HIGHEST_PORT)]

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_UNIT_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
MAX_DURATION = 366 * 86400


class Duration(float):
    """Seconds; written as text with a unit: ``500ms``, ``7s``, ``5m``, ``2h``, ``1d``."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: object) -> Duration:
        """Read a duration.

        :raises ValueError: not such text, or more than a year.
        """
        match = _DURATION.fullmatch(text) if isinstance(text, str) else None
        seconds = float(match[1]) * _UNIT_SECONDS[match[2]] if match else MAX_DURATION + 1
        if seconds > MAX_DURATION:
            raise ValueError(f'{text!r} is not a duration: a number with ms, s, m, h or d, as in "7s"')
        return cls(seconds)

    def __str__(self) -> str:
        for unit in ("d", "h", "m", "s"):
            count = self / _UNIT_SECONDS[unit]
            if count >= 1 and count.is_integer():
                return f"{int(count)}{unit}"
        milliseconds = self * 1000
        if milliseconds.is_integer():
            return f"{int(milliseconds)}ms"
        return f"{Decimal(float.__repr__(self)):f}s"


class Address:
    """An IP address with or without a port, as the operator wrote it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    @classmethod
    def parse(cls, text: object) -> Address:
        """Read an address.

        :raises ValueError: not ``ADDRESS`` or ``ADDRESS:PORT``.
        """
        try:
            Endpoint.parse(str(text), 0)
        except EpmdlessError as error:
            raise ValueError(str(error)) from None
        return cls(str(text))

    def endpoint(self, default_port: int) -> Endpoint:
        """The address with its port, or this one where it names none."""
        return Endpoint.parse(self._text, default_port)

    def __str__(self) -> str:
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Address) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)


class PortRange:
    """TCP ports from `low` to `high`, both included; written ``9100-9199``, or ``9100`` for one.

    No dataclass: a decoder would want a table for it, and ask nobody here.
    """

    __slots__ = ("high", "low")

    def __init__(self, low: int, high: int) -> None:
        self.low = low
        self.high = high

    @classmethod
    def parse(cls, text: object) -> PortRange:
        """Read one port or a range.

        :raises ValueError: not such text, or the range is the wrong way round.
        """
        low, dash, high = text.partition("-") if isinstance(text, str) else ("", "", "")
        try:
            found = cls(parse_port(low, lowest=1), parse_port(high if dash else low, lowest=1))
        except EpmdlessError:
            raise ValueError(f'{text!r} is not a port or a range as in "9100" or "9100-9199"') from None
        if found.low > found.high:
            raise ValueError(f"{text!r} is the wrong way round: write {high}-{low}")
        return found

    def __contains__(self, port: object) -> bool:
        return isinstance(port, int) and self.low <= port <= self.high

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.low, self.high + 1))

    def __len__(self) -> int:
        return self.high - self.low + 1

    def __str__(self) -> str:
        return str(self.low) if self.low == self.high else f"{self.low}-{self.high}"

    def __repr__(self) -> str:
        return f"PortRange({self.low}, {self.high})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PortRange) and (self.low, self.high) == (other.low, other.high)

    def __hash__(self) -> int:
        return hash((self.low, self.high))


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=False):
    """A table of the configuration; its fields are its keys."""
