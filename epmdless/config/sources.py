"""``[cluster.source.NAME]``: where the names of a cluster's nodes come from; `kind` says which."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from epmdless.config.values import Address, Duration, Port, Section


Ec2State = Literal["pending", "running", "stopping", "stopped", "shutting-down", "terminated"]


class StaticSource(Section, frozen=True, tag_field="kind", tag="static"):
    """Node names in the configuration."""

    nodes: tuple[str, ...]


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
    gather: Duration = Duration(30)
    """How long a record is remembered that answers no longer hold: servers that cap their answers
    (AWS Cloud Map: 8 records) show another part of the cluster each time. 0s: not at all."""
    poll: Duration = Duration(5)
    servers: tuple[Address, ...] = ()
    """Empty: the system's resolv.conf."""
    tcp: bool = False
    timeout: Duration = Duration(1)
    lifetime: Duration = Duration(3)


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


class GossipSource(Section, frozen=True, tag_field="kind", tag="gossip"):
    """UDP multicast, as libcluster's Gossip strategy speaks it; it also speaks for the local nodes."""

    group: str = "233.252.1.32"
    port: Port = 45892
    ttl: Annotated[int, msgspec.Meta(ge=0, le=255)] = 1
    interface: str | None = None
    """Address of ours that multicast leaves by and comes in by; absent: the kernel's choice."""
    secret_file: str | None = None
    heartbeat: Duration = Duration(5)
    """The longest pause between two heartbeats."""
    expire: Duration = Duration(30)
    """A node that was not heard for so long is named no longer."""


class KubernetesSource(Section, frozen=True, tag_field="kind", tag="kubernetes"):
    """The EndpointSlices of a service, listed and then watched with the pod's service account."""

    basename: str
    service: str | None = None
    selector: str | None = None
    """A label selector in place of `service`."""
    namespace: str | None = None
    """Absent: the pod's own."""
    names: Literal["ip", "hostname", "dns"] = "ip"
    """The host part: ``10.0.0.7``; ``HOSTNAME.SERVICE.NAMESPACE.svc.DOMAIN``; or
    ``10-0-0-7.NAMESPACE.pod.DOMAIN``."""
    domain: str = "cluster.local"
    not_ready: bool = True
    """Whether endpoints that are not ready count: a node may have to be joined to become ready."""
    api: str | None = None
    """``https://HOST:PORT``; absent: what KUBERNETES_SERVICE_HOST and _PORT say."""
    token_file: str = "/var/run/secrets/kubernetes.io/serviceaccount/token"  # noqa: S105 - a path
    ca_file: str = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"
    timeout: Duration = Duration(10)


class Ec2Source(Section, frozen=True, tag_field="kind", tag="ec2"):
    """EC2 instances, by tags and state, or those of this instance's auto scaling group."""

    basename: str
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    states: tuple[
        Literal["pending", "running", "stopping", "stopped", "shutting-down", "terminated"], ...
    ] = ("running",)
    own_group: bool = False
    """Only instances of the auto scaling group that this instance belongs to."""
    names: Literal["private_dns", "private_ip"] = "private_dns"
    region: str | None = None
    endpoint: str | None = None
    """URL of the service, for tests and private endpoints."""
    poll: Duration = Duration(15)
    timeout: Duration = Duration(5)


class EcsSource(Section, frozen=True, tag_field="kind", tag="ecs"):
    """The running tasks of an ECS service; the host part is the task's private address."""

    basename: str
    service: str
    cluster: str = "default"
    region: str | None = None
    endpoint: str | None = None
    poll: Duration = Duration(15)
    timeout: Duration = Duration(5)


class CloudMapSource(Section, frozen=True, tag_field="kind", tag="cloudmap"):
    """The healthy instances of an AWS Cloud Map service, by DiscoverInstances."""

    basename: str
    namespace: str
    service: str
    names: Literal["plain", "port"] = "plain"
    """``BASENAME@ADDRESS``, or ``BASENAME-PORT@ADDRESS``."""
    health: Literal["HEALTHY", "ALL", "HEALTHY_OR_ELSE_ALL"] = "HEALTHY"
    region: str | None = None
    endpoint: str | None = None
    poll: Duration = Duration(15)
    timeout: Duration = Duration(5)


class CommandSource(Section, frozen=True, tag_field="kind", tag="command"):
    """A program that prints names, one a line, or JSON."""

    argv: tuple[str, ...]
    poll: Duration = Duration(10)
    timeout: Duration = Duration(5)


class FileSource(Section, frozen=True, tag_field="kind", tag="file"):
    """A file with names, one a line, or JSON; watched."""

    path: str
    poll: Duration = Duration(1)


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
