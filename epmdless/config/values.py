"""Values that a configuration holds, each with a way to write it as text."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated

import msgspec

from epmdless.addresses import Endpoint, parse_port
from epmdless.errors import EpmdlessError
from epmdless.policy import Network, plain_address
from epmdless.schemes import HIGHEST_PORT

Port = Annotated[int, msgspec.Meta(ge=1, le=HIGHEST_PORT)]

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_UNIT_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
MAX_DURATION = 366 * 86400

_SIZE = re.compile(r"([0-9]{1,16})(B|kB|KiB|MB|MiB|GB|GiB)")
_UNIT_BYTES = {
    "GiB": 2**30,
    "GB": 10**9,
    "MiB": 2**20,
    "MB": 10**6,
    "KiB": 2**10,
    "kB": 10**3,
    "B": 1,
}
MAX_SIZE = 2**50

MAX_HOST_CHARACTERS = 253
"""Of a domain name as text (RFC 1035 §2.3.4: 255 bytes with their lengths)."""

_HOST = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")
_HOST_GLOB = re.compile(r"[A-Za-z0-9_.*?-]+")
_ADDRESS_GLOB = re.compile(r"(?=.*[0-9])[0-9.*?]+")


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


class Size(int):
    """Bytes; written as text with a unit: ``1000B``, ``500kB``, ``64KiB``, ``10MB``, ``10MiB``, ``1GiB``."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: object) -> Size:
        """Read a size.

        :raises ValueError: not such text, or more than 1,048,576 GiB.
        """
        match = _SIZE.fullmatch(text) if isinstance(text, str) else None
        size = int(match[1]) * _UNIT_BYTES[match[2]] if match else MAX_SIZE + 1
        if size > MAX_SIZE:
            units = "B, kB, KiB, MB, MiB, GB or GiB"
            raise ValueError(f'{text!r} is not a size: a whole number with {units}, as in "64KiB"')
        return cls(size)

    def __str__(self) -> str:
        exact = (f"{int(self) // unit}{name}" for name, unit in _UNIT_BYTES.items() if int(self) % unit == 0)
        return min(exact, key=len) if self else "0B"


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


class GrantPorts(PortRange):
    """As :class:`PortRange`; one port may be written as a number too."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: object) -> GrantPorts:
        """Read a port as a number, or text as :meth:`PortRange.parse` takes it.

        :raises ValueError: neither.
        """
        found = PortRange.parse(str(text) if isinstance(text, int) else text)
        return cls(found.low, found.high)


class HostPort:
    """A host name or an IP address, and a port; written ``gw1.internal:4370`` or ``[fd00::1]:4370``.

    An address is kept in its one spelling, a name as it was written. No dataclass, as :class:`PortRange`.
    """

    __slots__ = ("host", "port")

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port

    @classmethod
    def parse(cls, text: object) -> HostPort:
        """Read a host and its port.

        :raises ValueError: not such text.
        """
        host, _, port = text.rpartition(":") if isinstance(text, str) else ("", "", "")
        is_bracketed = host.startswith("[") and host.endswith("]")
        host = host[1:-1] if is_bracketed else host
        try:
            number = parse_port(port, lowest=1)
        except EpmdlessError:
            number = 0
        if not number or is_bracketed != (":" in host) or "%" in host or not is_host(host):
            allowed = 'HOST:PORT as in "gw1.internal:4370", "10.0.2.7:4370" or "[fd00::7]:4370"'
            raise ValueError(f"{text!r} is not {allowed}")
        return cls(plain_host(host), number)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __repr__(self) -> str:
        return f"HostPort({self.host!r}, {self.port})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HostPort) and (self.host, self.port) == (other.host, other.port)

    def __hash__(self) -> int:
        return hash((self.host, self.port))


class HostPattern:
    """Hosts that a gateway may dial: a glob over names, ``*.az-b.internal``, or a network, ``10.0.2.0/24``.

    What can be read as an address or a network is one. What was meant as one and is none is a mistake,
    and no glob: that would match names, and the network would stay closed with no word why.

    :param network: None: `text` is a glob.
    """

    __slots__ = ("network", "text")

    def __init__(self, text: str, network: Network | None = None) -> None:
        self.text = text
        self.network = network

    @classmethod
    def parse(cls, text: object) -> HostPattern:
        """Read a pattern.

        :raises ValueError: not such text.
        """
        if not isinstance(text, str) or not text or len(text) > MAX_HOST_CHARACTERS or "%" in text:
            raise _host_pattern_error(text)
        if "/" in text or ":" in text or host_address(text) is not None:
            network = Network.parse(text)
            return cls(str(network), network)
        if _ADDRESS_GLOB.fullmatch(text) or not _HOST_GLOB.fullmatch(text):
            raise _host_pattern_error(text)
        return cls(text)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"HostPattern({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HostPattern) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)


def _host_pattern_error(text: object) -> ValueError:
    allowed = 'a pattern of host names as in "*.az-b.internal" or a network as in "10.0.2.0/24"'
    return ValueError(f"{text!r} is not {allowed}")


def is_host(text: str) -> bool:
    """Whether the text is a host name, or an IP address without brackets."""
    is_name = _HOST.fullmatch(text) is not None and len(text) <= MAX_HOST_CHARACTERS
    return is_name or host_address(text) is not None


def plain_host(host: str) -> str:
    """An IP address in its one spelling; a host name as it is."""
    address = host_address(host)
    return host if address is None else str(address)


def host_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address that the text is; None for a name."""
    try:
        return plain_address(text)
    except ValueError:
        return None


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=False):
    """A table of the configuration; its fields are its keys."""
