"""Addresses to listen on and to ask, and epmd's rules for them.

Standard library only: ``epmdless-epmd`` reads its flags with it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from epmdless.errors import ConfigError, EpmdlessError

EPMD_PORT = 4369
"""IANA's port for EPMD."""


class Endpoint(NamedTuple):
    """An address to listen on or to ask: an IPv4 or IPv6 address without brackets, and a port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, default_port: int) -> Endpoint:
        """Read ``10.0.0.1``, ``10.0.0.1:4369``, ``::1``, ``[::1]`` or ``[::1]:4369``.

        :param default_port: taken where the text names no port.
        :raises EpmdlessError: not an address (host names are not looked up here), or a bad port.
        """
        host, port = _split_port(text.strip())
        try:
            host = str(ipaddress.ip_address(host))
        except ValueError:
            raise EpmdlessError(f"{text!r} is not ADDRESS or ADDRESS:PORT with an IP address") from None
        return cls(host, default_port if port is None else parse_port(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _split_port(text: str) -> tuple[str, str | None]:
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            return text, None
        return host, rest[1:] if rest else None
    if text.count(":") == 1:
        host, _, port = text.partition(":")
        return host, port
    return text, None


def is_address(host: str) -> bool:
    """Whether a host is given by its IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def parse_port(text: str, lowest: int = 0) -> int:
    """Read a TCP port; 0 means "the kernel chooses" where the caller allows it.

    The reference takes 70000 as 4464 and a word as 0; a mistake is an error here.

    :raises EpmdlessError: not a decimal number in ``lowest``..65535.
    """
    if text.isascii() and text.isdigit() and len(text) <= 5 and lowest <= int(text) <= 65535:
        return int(text)
    raise EpmdlessError(f"{text!r} is not a port: a number from {lowest} to 65535")


class ListenPlan(NamedTuple):
    """Where to listen; `optional` endpoints are left out on a host that does not have them."""

    required: tuple[Endpoint, ...]
    optional: tuple[Endpoint, ...] = ()


def epmd_plan(environ: Mapping[str, str]) -> ListenPlan:
    """Where epmd listens: all interfaces on 4369; ``ERL_EPMD_PORT`` moves the port,
    ``ERL_EPMD_ADDRESS`` names the addresses.

    :raises ConfigError: a variable is not what it must be.
    """
    port = environment_port(environ)
    return address_list(environ.get("ERL_EPMD_ADDRESS", ""), port, "ERL_EPMD_ADDRESS")


def all_interfaces(port: int) -> ListenPlan:
    """Every IPv4 address, and every IPv6 one where the host has any."""
    return ListenPlan((Endpoint("0.0.0.0", port),), (Endpoint("::", port),))


def address_list(text: str, port: int, source: str) -> ListenPlan:
    """A list of addresses as epmd takes it, commas or blanks between them; an empty one is all.

    The loopback addresses are added, since a node registers only there; a host may lack one of them.

    :param source: the flag or variable, for the error.
    :raises ConfigError: an entry is not an address.
    """
    try:
        listed = [Endpoint.parse(part, port) for part in re.split(r"[\s,]+", text) if part]
    except EpmdlessError as error:
        raise ConfigError(source, "", str(error)) from None
    if not listed:
        return all_interfaces(port)
    wanted = [endpoint for endpoint in dict.fromkeys(listed) if not _is_covered(endpoint, listed)]
    loopback = [Endpoint("127.0.0.1", port), Endpoint("::1", port)]
    added = [own for own in loopback if own not in wanted and not _is_covered(own, listed)]
    return ListenPlan(tuple(wanted), tuple(added))


def _is_covered(endpoint: Endpoint, listed: Sequence[Endpoint]) -> bool:
    """Whether another of these listens on all addresses of its family, at its port."""
    everything = endpoint._replace(host="::" if ":" in endpoint.host else "0.0.0.0")
    return endpoint != everything and everything in listed


def environment_port(environ: Mapping[str, str]) -> int:
    """EPMD's port: ``ERL_EPMD_PORT``, or 4369.

    :raises ConfigError: the variable is not a port.
    """
    text = environ.get("ERL_EPMD_PORT", "")
    if not text:
        return EPMD_PORT
    try:
        return parse_port(text, lowest=1)
    except EpmdlessError as error:
        raise ConfigError("ERL_EPMD_PORT", "", str(error)) from None
