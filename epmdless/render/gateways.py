"""What the gateways of all platforms have in common."""

from __future__ import annotations

from collections.abc import Sequence

from epmdless.render.template import Values, fill
from epmdless.render.values import Node

GATEWAY_PORT = 4370


def gateway_config(node: Node, hosts: Sequence[str], metrics: str) -> str:
    """The configuration of a gateway in a container, which leads to nodes of this alive name alone.

    :param hosts: patterns of their host parts, or their networks.
    :param metrics: the address that the probes ask.
    """
    listed = ", ".join(f'"{each}"' for each in hosts)
    values: Values = {"alive": node.alive, "port": node.port, "hosts": listed, "metrics": metrics}
    return fill("gateway.toml", values)
