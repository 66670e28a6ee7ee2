"""Files for platforms that run containers on a machine or a cluster of one's own: compose, Kubernetes."""

from __future__ import annotations

from collections.abc import Iterator

from epmdless import __version__
from epmdless.addresses import EPMD_PORT
from epmdless.render import values
from epmdless.render.template import fill
from epmdless.render.values import Node


def compose(node: Node, image: str, release: str, replicas: int) -> str:
    """A file for Docker compose; the arguments are checked ones of ``values``."""
    config = fill("compose.toml", {"alive": node.alive, "app": node.app})
    return fill("compose.yaml", _common(node, image, release, replicas) | {"config": config})


def kubernetes(node: Node, image: str, release: str, replicas: int) -> str:
    """A manifest for Kubernetes; the arguments are checked ones of ``values``."""
    config = fill("kubernetes.toml", {"alive": node.alive, "app": node.app})
    ranges = _ranges_without(EPMD_PORT, node.port)
    other_ports = "\n".join(f"- {{protocol: TCP, port: {low}, endPort: {high}}}" for low, high in ranges)
    own = {"config": config, "other_ports": other_ports}
    return fill("kubernetes.yaml", _common(node, image, release, replicas) | own)


def _common(node: Node, image: str, release: str, replicas: int) -> dict[str, str | int]:
    return {
        "version": __version__,
        "app": node.app,
        "alive": node.alive,
        "port": node.port,
        "image": image,
        "release": release,
        "replicas": replicas,
    }


def _ranges_without(*ports: int) -> Iterator[tuple[int, int]]:
    """All ports but these, as ranges, both ends included."""
    low = 1
    for port in sorted(ports):
        if low < port:
            yield low, port - 1
        low = port + 1
    if low <= values.MAX_PORT:
        yield low, values.MAX_PORT
