"""Files for hosts: systemd, nftables, and the small ones that nodes read."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from epmdless import __version__
from epmdless.config import HostPort
from epmdless.errors import ConfigError
from epmdless.render.template import Values, fill
from epmdless.render.values import FarHost, Network, Node

FAMILIES = ((4, "ip"), (6, "ip6"))
"""nftables' words for the two versions of IP."""


def systemd(node: Node, release: str, dns: str | None) -> str:
    """A script that sets a host up with systemd; the arguments are checked ones of ``values``.

    :param dns: the domain name with the hosts' addresses; None: those of the EC2 auto scaling group.
    """
    if dns is None:
        source = fill("systemd-ec2.toml", {"alive": node.alive})
        to_do = "the instances' role allows ec2:DescribeInstances; epmdless is installed with its extra, aws"
    else:
        source = fill("systemd-dns.toml", {"alive": node.alive, "dns": dns})
        to_do = f"in DNS, {dns} has the address of each host"
    own = {
        "release": release,
        "to_do": f"#   2. {to_do}",
        "config": fill("systemd.toml", {"app": node.app, "source": source}),
    }
    return fill("systemd.sh", _names(node) | own)


def systemd_relay(node: Node, far: Sequence[FarHost], gateway: HostPort | None) -> str:
    """A script that sets a relay's host up.

    :param gateway: None: the relay dials the far hosts itself.
    """
    if gateway is None:
        to_do = f"in the far subnet, TCP 4369 and {node.port} are open to this host"
        tables, own_key = [], ""
    else:
        files = "relay.crt, relay.key, ca.crt"
        to_do = f"in /etc/epmdless/tls: {files}; {gateway} is open to this host"
        tables = [fill("relay-hop.toml", {"gateway": str(gateway)})]
        own_key = "[ ! -e /etc/epmdless/tls/relay.key ] || chown epmdless /etc/epmdless/tls/relay.key"
    tables += [_route(node, each, is_hop=gateway is not None) for each in far]
    config = fill("relay.toml", {"tables": "\n".join(tables)})
    own = {
        "config": config,
        "to_do": f"#   3. {to_do}",
        "own_key": own_key,
        "stand_ins": ", ".join(each.stand_in for each in far),
    }
    return fill("systemd-relay.sh", _names(node) | own)


def nftables(node: Node, near: Sequence[Network]) -> str:
    """Rules for a host with nodes.

    :param near: whose hosts may look up and connect.
    """
    accept = []
    for version, family in FAMILIES:
        sources = [str(each) for each in near if each.version == version]
        if sources:
            accept.append(f"{family} saddr {_set(sources)} accept")
    return fill("nftables.nft", _names(node) | {"accept": "\n".join(accept)})


def nftables_relay(node: Node, near: Sequence[Network], far: Sequence[FarHost]) -> str:
    """Rules for a relay's host."""
    versions = {each.version for each in near}
    for each in far:
        if ipaddress.ip_address(each.stand_in).version not in versions:
            problem = f"no network of --from is of the IP version of {each.stand_in}: nobody could reach it"
            raise ConfigError("--far", "", problem)
    accept, ports = [], []
    for version, family in FAMILIES:
        sources = [str(each) for each in near if each.version == version]
        own = [each.stand_in for each in far if ipaddress.ip_address(each.stand_in).version == version]
        if own:
            ports.append(f"{family} daddr {_set(own)} tcp dport 9100-9199 jump near")
            accept.append(f"{family} saddr {_set(sources)} {family} daddr {_set(own)} accept")
    rules = {"accept": "\n".join(accept), "stand_in_ports": "\n".join(ports)}
    return fill("nftables-relay.nft", _names(node) | rules)


def vm_args(node: Node) -> str:
    """Flags of the BEAM."""
    return fill("vm.args", _names(node))


def env_sh(node: Node) -> str:
    """The ``env.sh`` of a release."""
    return fill("env.sh", _names(node))


def inetrc(node: Node, far: Sequence[FarHost]) -> str:
    """How near nodes resolve the far hosts: to the relay's addresses."""
    hosts = "\n".join(f'{{host, {_erlang(each.stand_in)}, ["{each.host}"]}}.' for each in far)
    first = ipaddress.ip_address(far[0].stand_in)
    own = {
        "hosts": hosts,
        "first_host": far[0].host,
        "first_family": "inet" if first.version == 4 else "inet6",
    }
    return fill("inetrc", _names(node) | own)


def _names(node: Node) -> Values:
    return {"version": __version__, "app": node.app, "alive": node.alive, "port": node.port}


def _route(node: Node, far: FarHost, *, is_hop: bool) -> str:
    lines = [f'dial   = "{far.dial}"'] if far.dial != far.host else []
    if is_hop:
        lines.append('via    = "far"')
    own = {"host": far.host, "stand_in": far.stand_in, "way": "\n".join(lines)}
    return fill("relay-route.toml", _names(node) | own)


def _set(members: Sequence[str]) -> str:
    return f"{{ {', '.join(members)} }}"


def _erlang(address: str) -> str:
    """An address as Erlang writes it: a tuple of bytes, or of 16-bit words."""
    found = ipaddress.ip_address(address)
    size = 1 if found.version == 4 else 2
    packed = found.packed
    parts = [int.from_bytes(packed[at : at + size]) for at in range(0, len(packed), size)]
    return f"{{{','.join(map(str, parts))}}}"
