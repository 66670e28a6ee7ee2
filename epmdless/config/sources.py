"""``[cluster.source.NAME]``: where the names of a cluster's nodes come from; `kind` says which.

What is asked of a platform (Kubernetes, AWS) is in ``cloud_sources``.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import Annotated, Literal

import msgspec

from epmdless.config.checks import (
    check_basename,
    check_distinct,
    check_domain,
    check_host,
    check_node_names,
    check_path,
    check_poll,
    check_timeout,
    is_wildcard,
    same_domain,
)
from epmdless.config.cloud_sources import CloudMapSource, Ec2Source, EcsSource, KubernetesSource
from epmdless.config.errors import SectionError
from epmdless.config.values import Address, Duration, Port, Section, host_address
from epmdless.names import is_transient

MAX_STATIC_NODES = 20_000
"""As many as any source may name (``cluster.peers.MAX_NAMES``): more of them would never be used."""

MAX_DOMAINS = 64
"""Domain names that one source asks for, each at every poll."""

MAX_HOSTS = 1024
"""EPMD servers that one source asks, each at every poll, from every host: with more, DNS or a file tells
them apart better than a configuration does."""

MIN_HEARTBEAT = Duration(0.1)
"""Every host hears every other's heartbeats: at this pace 100 hosts are heard 2000 times a second."""


class StaticSource(Section, frozen=True, tag_field="kind", tag="static"):
    """Node names in the configuration."""

    nodes: tuple[str, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.nodes) <= MAX_STATIC_NODES:
            raise SectionError("nodes", f"names 1 to {MAX_STATIC_NODES} nodes")
        check_node_names("nodes", self.nodes)
        for number, node in enumerate(self.nodes):
            if is_transient(node.partition("@")[0]):
                problem = f"{node!r} would not be joined: nodes of such names come and go by themselves"
                raise SectionError(f"nodes[{number}]", problem)


class DnsSource(Section, frozen=True, tag_field="kind", tag="dns"):
    """DNS: A and AAAA records as ``BASENAME@ADDRESS``, SRV records as ``BASENAME-PORT@TARGET``."""

    basename: str
    """The alive name, or what it begins with."""
    addresses: tuple[str, ...] = ()
    """Domain names whose A and AAAA records are asked for."""
    srv: tuple[str, ...] = ()
    """Domain names whose SRV records are asked for."""
    srv_names: Literal["port", "plain"] = "port"
    """``port``: ``BASENAME-PORT@TARGET``; ``plain``: ``BASENAME@TARGET``, its port kept for `peers`."""
    families: tuple[Literal["ipv4", "ipv6"], ...] = ("ipv4", "ipv6")
    gather: Duration = Duration(120)
    """How long a record is remembered that answers no longer hold: servers that cap their answers
    (AWS Cloud Map: 8 records) show another part of the cluster each time. With 24 polls in that time, 8 of 40
    records leave one of 200 out at any moment. 0s: not at all."""
    poll: Duration = Duration(5)
    servers: tuple[Address, ...] = ()
    """Empty: the system's resolv.conf."""
    tcp: bool = False
    timeout: Duration = Duration(1)
    """Of one question to one server."""
    lifetime: Duration = Duration(3)
    """Of one question, all servers and tries together."""

    def __post_init__(self) -> None:
        check_basename(self.basename)
        if not self.addresses and not self.srv:
            raise SectionError("addresses", "nothing to ask for: needs at least one of `addresses` and `srv`")
        _check_domains("addresses", self.addresses)
        _check_domains("srv", self.srv)
        if not self.families:
            raise SectionError("families", "an empty list asks for nothing: ipv4, ipv6 or both")
        check_distinct("families", self.families)
        check_poll(self.poll)
        check_timeout("timeout", self.timeout)
        check_timeout("lifetime", self.lifetime)


class EpmdSource(Section, frozen=True, tag_field="kind", tag="epmd"):
    """The names that EPMD servers list."""

    hosts: tuple[str, ...] = ()
    """Host names or addresses; each becomes the host part of the names that it lists."""
    dns: tuple[str, ...] = ()
    """Domain names whose A and AAAA records are hosts."""
    hosts_file: str | None = None
    """Path of a ``.hosts.erlang``."""
    local: bool = False
    """This host too; the host part is `resolve.host`."""
    port: Port = 4369
    timeout: Duration = Duration(2)
    poll: Duration = Duration(5)

    def __post_init__(self) -> None:
        if not (self.hosts or self.dns or self.hosts_file or self.local):
            problem = "nobody to ask: needs at least one of `hosts`, `dns`, `hosts_file` and `local`"
            raise SectionError("hosts", problem)
        self._check_hosts()
        _check_domains("dns", self.dns)
        if self.hosts_file is not None:
            check_path("hosts_file", self.hosts_file)
        check_poll(self.poll)
        check_timeout("timeout", self.timeout)

    def _check_hosts(self) -> None:
        if len(self.hosts) > MAX_HOSTS:
            raise SectionError("hosts", f"{len(self.hosts)} are more than {MAX_HOSTS}")
        for number, host in enumerate(self.hosts):
            key = f"hosts[{number}]"
            check_host(key, host)
            if is_wildcard(host) or "%" in host or host.endswith("."):
                raise SectionError(key, f"{host!r} is no host part of a node's name")
        check_distinct("hosts", self.hosts, same_domain)


class GossipSource(Section, frozen=True, tag_field="kind", tag="gossip"):
    """UDP multicast, as libcluster's Gossip strategy speaks it; it also speaks for the local nodes."""

    group: str = "233.252.1.32"
    """IPv4: for IPv6, the kernel wants an interface and no address of it."""
    port: Port = 45892
    ttl: Annotated[int, msgspec.Meta(ge=0, le=255)] = 1
    interface: str | None = None
    """Address of ours that multicast leaves by and comes in by; absent: the kernel's choice."""
    secret_file: str | None = None
    heartbeat: Duration = Duration(5)
    """The longest pause between two heartbeats."""
    expire: Duration = Duration(30)
    """A node that was not heard for so long is named no longer."""

    def __post_init__(self) -> None:
        group = _ipv4(self.group)
        if group is None or not group.is_multicast:
            problem = f"{self.group!r} is not an IPv4 multicast address: 224.0.0.0 to 239.255.255.255"
            raise SectionError("group", problem)
        self._check_interface()
        if self.secret_file is not None:
            check_path("secret_file", self.secret_file, of_secret=True)
        if self.heartbeat < MIN_HEARTBEAT:
            problem = f"must be at least {MIN_HEARTBEAT}: each host hears those of all others"
            raise SectionError("heartbeat", problem)
        if self.expire <= self.heartbeat:
            problem = f"must be more than the {self.heartbeat} of heartbeat, or nodes that live expire"
            raise SectionError("expire", problem)

    def _check_interface(self) -> None:
        if self.interface is None:
            return
        own = _ipv4(self.interface)
        if own is None or own.is_multicast or own.is_unspecified:
            problem = f"{self.interface!r} is not an IPv4 address of this machine"
            raise SectionError("interface", f"{problem}; leave the key out for the kernel's choice")


class CommandSource(Section, frozen=True, tag_field="kind", tag="command"):
    """A program that prints names, one a line, or JSON."""

    argv: tuple[str, ...]
    """The program, by an absolute path or to be found in PATH, and its arguments; there is no shell."""
    poll: Duration = Duration(10)
    timeout: Duration = Duration(5)

    def __post_init__(self) -> None:
        if not self.argv:
            raise SectionError("argv", "names no program")
        program = self.argv[0]
        if not program or ("/" in program and not program.startswith("/")):
            problem = f"{program!r} is neither the absolute path of a program nor the name of one in PATH"
            raise SectionError("argv[0]", problem)
        for number, word in enumerate(self.argv):
            if "\0" in word:
                raise SectionError(f"argv[{number}]", "holds a NUL, which no argument of a program can")
        check_poll(self.poll)
        check_timeout("timeout", self.timeout)


class FileSource(Section, frozen=True, tag_field="kind", tag="file"):
    """A file with names, one a line, or JSON; watched."""

    path: str
    poll: Duration = Duration(1)

    def __post_init__(self) -> None:
        check_path("path", self.path)
        check_poll(self.poll)


SourceSection = (
    StaticSource
    | DnsSource
    | EpmdSource
    | GossipSource
    | KubernetesSource
    | Ec2Source
    | EcsSource
    | CloudMapSource
    | CommandSource
    | FileSource
)


def _check_domains(key: str, names: Sequence[str]) -> None:
    """Each can be asked for, stands in the list once, and there are not too many of them."""
    if len(names) > MAX_DOMAINS:
        raise SectionError(key, f"{len(names)} are more than {MAX_DOMAINS}")
    for number, name in enumerate(names):
        check_domain(f"{key}[{number}]", name)
    check_distinct(key, names, same_domain)


def _ipv4(text: str) -> IPv4Address | None:
    """The IPv4 address that the text is, in its one spelling; None for anything else."""
    address = host_address(text)
    return address if isinstance(address, IPv4Address) and str(address) == text else None
