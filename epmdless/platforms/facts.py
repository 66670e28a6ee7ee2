"""What is known of the place that this program runs in, and how it is checked.

Whatever a metadata service, the kubelet or an environment says becomes part of a shell's input later: an
address is taken apart and written anew, and a label that is more than plain text is left out.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from epmdless.errors import EpmdlessError

Platform = Literal["ecs", "kubernetes", "ec2", "fly", "compose", "host"]

PLATFORMS: tuple[Platform, ...] = get_args(Platform)

FACTS_SECONDS = 2.25
"""For all that is asked together, so that a command that finds nothing says so within 3 s: a release waits
for it at each start, and so does each ``bin/app rpc``."""

_LABEL = re.compile(r"[!-~](?:[ -~]{0,510}[!-~])?")


class PlatformError(EpmdlessError):
    """The platform does not say what is needed: what is wrong, and what to do; one line."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known.

    :ivar address: an IPv4 or IPv6 address at which other hosts reach this one.
    :ivar address_from: who says so, for people.
    :ivar labels: what else is known: ``zone``, ``region``, ``family``, ``pod``, ``instance`` …; each is one
        line of printable ASCII.
    """

    platform: Platform
    address: str
    address_from: str
    labels: Mapping[str, str] = field(default_factory=dict)


IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


def checked_address(text: str, source: str) -> str:
    """An address as other hosts can use it, in its usual form.

    :param source: who named it, for the error.
    :raises PlatformError: it is no IP address, or one that other hosts cannot use.
    """
    address = _parse(text, f"{source}: what is there is not an IP address; give --address")
    if is_of_this_host_alone(address):
        raise PlatformError(f"{source}: other hosts cannot reach {address}; give --address")
    return str(address)


def given_address(text: str) -> str:
    """The address that the caller gave, in its usual form: loopback too, for nodes of one host.

    :raises PlatformError: it is not the address of any one host.
    """
    address = _parse(text, "--address: not an IP address")
    if _is_no_ones(address):
        raise PlatformError(f"--address: {address} is no host's address")
    return str(address)


def _parse(text: str, problem: str) -> IpAddress:
    try:
        return ipaddress.ip_address(text.strip())
    except ValueError:
        raise PlatformError(problem) from None


def is_of_this_host_alone(address: IpAddress) -> bool:
    """Whether an address leads another host elsewhere, or nowhere."""
    return _is_no_ones(address) or address.is_loopback or address.is_link_local


def _is_no_ones(address: IpAddress) -> bool:
    """Whether no host has it, or none can be named by it: an IPv6 address with a zone is one host's word."""
    scoped = isinstance(address, ipaddress.IPv6Address) and (
        address.scope_id is not None or address.ipv4_mapped is not None
    )
    return scoped or address.is_unspecified or address.is_multicast


def plain_labels(found: Mapping[str, str | None]) -> dict[str, str]:
    """The labels that are there, and are one line of 512 printable characters at most."""
    return {name: text for name, text in found.items() if text and _LABEL.fullmatch(text)}
