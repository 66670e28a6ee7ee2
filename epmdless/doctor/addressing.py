"""The second step: the addresses of the host part, as the system resolves it."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import replace

import trio

from epmdless.addresses import is_address
from epmdless.config import RouteSection
from epmdless.doctor.reaching import shown
from epmdless.doctor.report import LIMITS, Finding
from epmdless.net.dialing import MAX_ADDRESSES, Address

_ITSELF = ("localhost", "localhost.localdomain", "ip6-localhost")

_NO_SUCH_HOST = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))

_INETRC = (
    "ERL_INETRC is set here: a node started with it resolves names by that file, and not by the system; "
    "compare with inet:getaddr(HOST, inet) in the node"
)

_NO_HOSTS = ("name the node by an address that other hosts reach, as `epmdless env` does: ALIVE@10.0.0.1",)


async def find_addresses(
    host: str, own_host: str, routes: Sequence[RouteSection], inetrc: str | None
) -> tuple[list[Address], Finding]:
    """The addresses of a host, at most `MAX_ADDRESSES`.

    :param routes: of the configuration's relay.
    :param inetrc: what ``ERL_INETRC`` is set to; None or empty: it is not.
    """
    also = (_INETRC,) if inetrc else ()
    if is_address(host):
        if _plain(host).is_unspecified or _plain(host).is_multicast:
            return [], Finding("failed", f"no host has the address {host} for its own", _NO_HOSTS)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        itself: list[Address] = [(family, (host, 0))]
        return itself, _judged(itself, host, own_host, routes, ())
    try:
        with trio.fail_after(LIMITS["dns"]):
            found = await _resolved(host)
    except (OSError, UnicodeError, trio.TooSlowError) as error:
        return [], _failed(error, host, also)
    addresses = found[:MAX_ADDRESSES]
    finding = _judged(addresses, host, own_host, routes, also)
    if len(found) > len(addresses):
        left_out = f"{finding.said}; {len(found) - len(addresses)} more are not looked at"
        finding = replace(finding, said=left_out)
    return addresses, finding


async def _resolved(host: str) -> list[Address]:
    found = await trio.socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
    addresses: dict[Address, None] = {(int(family), address): None for family, _, _, _, address in found}
    return list(addresses)


def _failed(error: Exception, host: str, also: tuple[str, ...]) -> Finding:
    if isinstance(error, trio.TooSlowError):
        said = f"the system found no address of {host} within {LIMITS['dns']:g} s"
        return Finding("failed", said, ("look at the DNS servers in /etc/resolv.conf", *also))
    if isinstance(error, UnicodeError):
        return Finding("failed", f"{host} cannot be a host's name", ("ask the node for its name: node()",))
    if isinstance(error, socket.gaierror) and error.errno in _NO_SUCH_HOST:
        advice = (
            f"give {host} an address: a record in DNS, a line in /etc/hosts, or a relay's stand-in address",
            "or name the node by an address that this host reaches: ALIVE@10.0.0.1",
        )
        return Finding("failed", f"no such host: {host} has no address here", (*advice, *also))
    said = f"{host} cannot be resolved: {getattr(error, 'strerror', None) or error}"
    return Finding("failed", said, ("look at the DNS servers in /etc/resolv.conf", *also))


def _judged(
    addresses: Sequence[Address],
    host: str,
    own_host: str,
    routes: Sequence[RouteSection],
    also: tuple[str, ...],
) -> Finding:
    texts = [shown(address) for address in addresses]
    said = "the host part is an address itself" if texts == [host] else ", ".join(texts)
    details: dict[str, object] = {"addresses": texts}
    relay = _relayed(host, texts, routes)
    if relay is not None:
        said += f"; {relay}"
        details["relay"] = relay
    is_far = host not in (own_host, *_ITSELF) and not is_address(host)
    if is_far and all(map(_is_loopback, texts)):
        said += ": this machine itself"
        advice = (
            f"if {host} is another machine, its name must not lead to loopback here: look at /etc/hosts",
            *also,
        )
        return Finding("warning", said, advice, details)
    return Finding("ok", said, also, details)


def _relayed(host: str, addresses: Sequence[str], routes: Sequence[RouteSection]) -> str | None:
    """How the configured relay leads to this host, if it does."""
    for route in routes:
        by = f" through the hop {route.via}" if route.via else ""
        if route.listen is not None and route.listen in addresses:
            return f"the relay's stand-in address for {route.host}{by}"
        if route.host == host:
            return f"the relay stands in for it at {route.listen}{by}, where this name does not lead"
        if route.net is not None and any(_plain(address) in route.net for address in addresses):
            return f"the relay carries what goes there{by}"
    return None


def _is_loopback(address: str) -> bool:
    return _plain(address).is_loopback


def _plain(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Without the interface that a link-local address comes with."""
    return ipaddress.ip_address(address.partition("%")[0])
