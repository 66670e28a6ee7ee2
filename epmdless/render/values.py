"""What operators fill in, checked so strictly that it is itself in every language that it is written into.

The checked values are YAML, JSON, TOML, TypeScript, shell, nftables and Erlang as they stand: no quote, no
backslash, no blank, no ``$`` is in any of them. Each function raises a ConfigError that names the option.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

from epmdless.addresses import EPMD_PORT
from epmdless.config import METRICS_PORT, HostPort
from epmdless.errors import ConfigError
from epmdless.names import is_transient
from epmdless.schemes import SuffixScheme

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_APP_CHARACTERS = 30
"""Also a user's name on Linux (31 of useradd(8)), and with its suffixes of Kubernetes' 63."""

MIN_PORT = 1024
"""What needs no privilege, and what the scheme takes for a port."""

MAX_PORT = 65535

MAX_REPLICAS = 1000
"""Peers that a node is joined with unless the configuration says more (``cluster.max_peers``)."""

MAX_IMAGE_CHARACTERS = 512
MAX_LIST = 64
"""Networks, or far hosts: what a person can read, and one set of nftables or one security group holds."""

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_APP = re.compile(rf"[a-z](?:[a-z0-9-]{{0,{MAX_APP_CHARACTERS - 2}}}[a-z0-9])?")
_RELEASE = re.compile(r"[a-z][A-Za-z0-9_]{0,63}")
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_IMAGE = re.compile(
    rf"""(?:{_LABEL}(?:\.{_LABEL})*(?::[0-9]{{1,5}})?/)?           # registry
        [a-z0-9]+(?:[._-]{{1,2}}[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]{{1,2}}[a-z0-9]+)*)*
        (?::[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?                  # tag
        (?:@sha256:[0-9a-f]{{64}})?""",
    re.VERBOSE,
)

NOT_NAMES = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
"""YAML takes these for something else than text."""

RESERVED = frozenset({"root", "epmd", "epmdless"})
"""Users and units that are there already, with another meaning."""


@dataclass(frozen=True, slots=True)
class Node:
    """Whose file it is.

    :ivar app: what everything is named after.
    :ivar port: of the node; together they are the alive name.
    """

    app: str
    port: int

    @property
    def alive(self) -> str:
        """The alive name, which promises the port by the default scheme."""
        return f"{self.app}-{self.port}"


@dataclass(frozen=True, slots=True)
class FarHost:
    """A host behind the relay.

    :ivar host: the host part of its nodes' names.
    :ivar stand_in: the relay's address that stands in for it.
    :ivar dial: where it really is: an address, or `host` itself.
    """

    host: str
    stand_in: str
    dial: str


def node(app: str, port: int) -> Node:
    """Check ``--app`` and ``--port``."""
    if not _APP.fullmatch(app):
        problem = f"{app!r} is not 1 to {MAX_APP_CHARACTERS} small letters, digits and `-`, a letter first"
        raise ConfigError("--app", "", f"{problem}, no `-` last")
    if app in NOT_NAMES or app in RESERVED:
        raise ConfigError("--app", "", f"{app!r} means something else where it would be written")
    promised = SuffixScheme().port_of(app)
    if promised is not None:
        problem = f"{app!r} names port {promised} itself: leave the port out, it is added"
        raise ConfigError("--app", "", problem)
    if not MIN_PORT <= port <= MAX_PORT:
        raise ConfigError("--port", "", f"{port} is not a port from {MIN_PORT} to {MAX_PORT}")
    if port in (EPMD_PORT, METRICS_PORT):
        raise ConfigError("--port", "", f"{port} is not free: epmdless itself listens there")
    found = Node(app, port)
    if is_transient(found.alive):
        problem = f"{found.alive} would pass for a remote shell or the like, which nobody is joined with"
        raise ConfigError("--app", "", problem)
    return found


def release(name: str | None, app: str) -> str:
    """Check ``--release``, the program in ``bin``.

    :param name: None: as mix names it after an application, with ``_`` for ``-``.
    """
    wanted = app.replace("-", "_") if name is None else name
    if not _RELEASE.fullmatch(wanted):
        problem = f"{wanted!r} is not 1 to 64 letters, digits and `_`, a small letter first"
        raise ConfigError("--release", "", problem)
    return wanted


def image(name: str) -> str:
    """Check ``--image``."""
    if len(name) > MAX_IMAGE_CHARACTERS or not _IMAGE.fullmatch(name):
        problem = f"{name!r} is not the name of an image, as in registry.internal/shop:1.2"
        raise ConfigError("--image", "", problem)
    return name


def replicas(count: int) -> int:
    """Check ``--replicas``."""
    if not 1 <= count <= MAX_REPLICAS:
        raise ConfigError("--replicas", "", f"{count} is not a number from 1 to {MAX_REPLICAS}")
    return count


def domain(option: str, name: str) -> str:
    """Check a domain name: small letters, no dot at its end, and no address."""
    is_name = _DOMAIN.fullmatch(name) is not None and len(name) <= 253
    if not is_name or name.rpartition(".")[2].isdigit():
        raise ConfigError(option, "", f"{name!r} is not a domain name in small letters, as in nodes.internal")
    return name


def host(option: str, text: str) -> str:
    """Check a host: a domain name, or an IP address, which comes back in its one spelling."""
    try:
        return address(option, text)
    except ConfigError:
        return domain(option, text)


def address(option: str, text: str) -> str:
    """Check an IP address that a host can have; it comes back in its one spelling."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        raise ConfigError(option, "", f"{text!r} is not an IP address") from None
    if found.is_unspecified or found.is_multicast or "%" in text:
        raise ConfigError(option, "", f"{text} is no single host's address")
    return str(found)


def networks(option: str, texts: Sequence[str]) -> list[Network]:
    """Check networks: at least one, each once, none of them within another."""
    if not 1 <= len(texts) <= MAX_LIST:
        raise ConfigError(option, "", f"give 1 to {MAX_LIST} networks, as in {option} 10.0.1.0/24")
    found = [_network(option, text) for text in texts]
    for number, each in enumerate(found):
        for other in found[:number]:
            if each.version == other.version and each.overlaps(other):
                raise ConfigError(option, "", f"{each} and {other} overlap")
    return found


def relays(texts: Sequence[str]) -> list[Network]:
    """Check ``--from`` of a gateway: as `networks`, and all of IPv4, where it listens and is found."""
    found = networks("--from", texts)
    for each in found:
        if each.version != 4:
            raise ConfigError("--from", "", f"{each}: the gateway listens on IPv4 alone")
    return found


def _network(option: str, text: str) -> Network:
    try:
        found = ipaddress.ip_network(text)
    except ValueError as error:
        raise ConfigError(option, "", f"{error}; write a network as in 10.0.1.0/24") from None
    if "%" in text or getattr(found.network_address, "ipv4_mapped", None) is not None:
        raise ConfigError(option, "", f"{text!r} is not a network as in 10.0.1.0/24 or fd00::/64")
    return found


def far_hosts(texts: Sequence[str]) -> list[FarHost]:
    """Check ``--far HOST=STAND_IN[=DIAL]``: each host once, and a stand-in address for each."""
    if not 1 <= len(texts) <= MAX_LIST:
        example = "--far b1.az-b.internal=10.0.1.11"
        raise ConfigError("--far", "", f"give 1 to {MAX_LIST} far hosts, as in {example}")
    found = [_far_host(text) for text in texts]
    for number, each in enumerate(found):
        for other in found[:number]:
            if each.host == other.host or each.stand_in == other.stand_in:
                same = each.host if each.host == other.host else each.stand_in
                raise ConfigError("--far", "", f"{same} is given twice")
    dialled = {each.dial for each in found}
    for each in found:
        if each.stand_in in dialled:
            raise ConfigError("--far", "", f"{each.stand_in} stands in for {each.host}, and would be dialled")
    return found


def _far_host(text: str) -> FarHost:
    parts = text.split("=")
    if not 2 <= len(parts) <= 3:
        raise ConfigError("--far", "", f"{text!r} is not HOST=STAND_IN or HOST=STAND_IN=DIAL")
    name = domain("--far", parts[0])
    return FarHost(name, address("--far", parts[1]), host("--far", parts[2]) if len(parts) == 3 else name)


def gateway(text: str) -> HostPort:
    """Check ``--gateway HOST:PORT``."""
    try:
        found = HostPort.parse(text)
    except ValueError as error:
        raise ConfigError("--gateway", "", str(error)) from None
    host("--gateway", found.host)
    return found
