"""Files for platforms that run containers on a machine or a cluster of one's own: compose, Kubernetes."""

from __future__ import annotations

from collections.abc import Sequence

from epmdless import __version__
from epmdless.addresses import EPMD_PORT
from epmdless.errors import ConfigError
from epmdless.render.gateways import gateway_config
from epmdless.render.template import Values, fill
from epmdless.render.values import MAX_PORT, Network, Node


def compose(node: Node, image: str, release: str, replicas: int) -> str:
    """A file for Docker compose; the arguments are checked ones of ``values``."""
    values = _common(node, image, release, replicas)
    return fill("compose.yaml", values | {"config": fill("compose.toml", values)})


def compose_relay(node: Node, image: str, release: str, replicas: int) -> str:
    """A file for Docker compose with two networks and a relay between them.

    :raises ConfigError: the application is called as one of the file's other services.
    """
    if node.app in ("relay", "b1"):
        raise ConfigError("--app", "", f"{node.app!r} is another service of this file")
    values = _common(node, image, release, replicas)
    own = {
        "near_config": fill("compose-relay-near.toml", values),
        "relay_config": fill("compose-relay.toml", values),
    }
    return fill("compose-relay.yaml", values | own)


def kubernetes(node: Node, image: str, release: str, replicas: int, relays: Sequence[Network] = ()) -> str:
    """A manifest for Kubernetes; the arguments are checked ones of ``values``.

    :param relays: whose hosts may use the gateway, in IPv4; empty: there is none, and nodes are named by
        address. Behind a gateway they are named by host: routes to them must last longer than a pod.
    """
    values = _common(node, image, release, replicas) | {"other_ports": _all_ports_but(EPMD_PORT, node.port)}
    if not relays:
        config = fill("kubernetes.toml", values | {"names": ""})
        empty = ("host_variable", "to_do", "others", "gateway")
        own: Values = {"config": config, "host_part": "POD-ADDRESS", **dict.fromkeys(empty, "")}
        return fill("kubernetes.yaml", values | own)
    host = f"{node.app}-nodes.$(POD_NAMESPACE).svc.cluster.local"
    own = {
        "config": fill("kubernetes.toml", values | {"names": 'names    = "hostname"'}),
        "host_part": f"POD.{node.app}-nodes.NAMESPACE.svc.cluster.local",
        "host_variable": f'- name: EPMDLESS_HOST\n  value: "$(POD_NAME).{host}"',
        "to_do": fill("kubernetes-relay-to-do.txt", values),
        "others": f"- podSelector:\n    matchLabels:\n      app.kubernetes.io/name: {node.app}-gateway",
        "gateway": _kubernetes_gateway(node, values, relays),
    }
    return fill("kubernetes.yaml", values | own)


def _kubernetes_gateway(node: Node, values: Values, relays: Sequence[Network]) -> str:
    hosts = [f"*.{node.app}-nodes.*.svc.cluster.local"]
    own = {
        "gateway_config": gateway_config(node, hosts, metrics="0.0.0.0"),
        "source_ranges": "\n".join(f'- "{each}"' for each in relays),
        "blocks": "\n".join(f'- ipBlock: {{cidr: "{each}"}}' for each in relays),
    }
    return fill("kubernetes-gateway.yaml", values | own)


def _common(node: Node, image: str, release: str, replicas: int) -> Values:
    return {
        "version": __version__,
        "app": node.app,
        "alive": node.alive,
        "port": node.port,
        "image": image,
        "release": release,
        "replicas": replicas,
    }


def _all_ports_but(*ports: int) -> str:
    """Entries of a NetworkPolicy for all TCP ports but these, as ranges."""
    ranges = []
    low = 1
    for port in sorted(ports):
        if low < port:
            ranges.append((low, port - 1))
        low = port + 1
    if low <= MAX_PORT:
        ranges.append((low, MAX_PORT))
    return "\n".join(f"- {{protocol: TCP, port: {low}, endPort: {high}}}" for low, high in ranges)
