"""Addresses to listen on and to ask, and epmd's rules for them.

Standard library only: ``epmdless-epmd`` reads its flags with it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
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
            ipaddress.ip_address(host)
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
    listed = environ.get("ERL_EPMD_ADDRESS", "")
    if listed.strip():
        return address_list(listed, port, "ERL_EPMD_ADDRESS")
    return all_interfaces(port)


def all_interfaces(port: int) -> ListenPlan:
    """Every IPv4 address, and every IPv6 one where the host has any."""
    return ListenPlan((Endpoint("0.0.0.0", port),), (Endpoint("::", port),))


def address_list(text: str, port: int, source: str) -> ListenPlan:
    """A comma list of addresses as epmd takes it.

    The loopback addresses are added, since a node registers only there; a host may lack one of them.

    :param source: the flag or variable, for the error.
    :raises ConfigError: an entry is not an address.
    """
    try:
        listed = [Endpoint.parse(part.strip(), port) for part in text.split(",") if part.strip()]
    except EpmdlessError as error:
        raise ConfigError(source, "", str(error)) from None
    covered = {endpoint.host for endpoint in listed}
    loopback = (("0.0.0.0", "127.0.0.1"), ("::", "::1"))
    added = [Endpoint(own, port) for every, own in loopback if not covered & {every, own}]
    return ListenPlan(tuple(dict.fromkeys(listed)), tuple(added))


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
