"""The two zones of ``epmdless demo zones``: four network namespaces, and a firewall between their edges.

```
zone A                                                    zone B
a1 10.78.1.5 -- 10.78.1.9 edge A 10.78.0.1 ==#== 10.78.0.2 and .3 edge B 10.78.2.9 -- 10.78.2.5 b1
nodes                     relay                  two gateways            relay                nodes
                          gateway
```

Nobody forwards: what crosses is carried by the edges' programs.
"""

from __future__ import annotations

import socket
from contextlib import ExitStack, closing
from dataclasses import dataclass

from epmdless.addresses import EPMD_PORT
from epmdless.cli.namespaces import Namespace, NamespaceError

GATEWAY_PORT = 4370
"""The one port that is open between the zones."""

NODE_PORTS = (9001, 9010)
"""Where nodes listen: so that a gateway's ``ports`` can say so."""

HOST_A, HOST_B = "a1.az-a.internal", "b1.az-b.internal"
EDGE_NAME_A, EDGE_NAME_B = "edge.az-a.internal", "edge.az-b.internal"

A, INSIDE_A, OUTSIDE_A = "10.78.1.5", "10.78.1.9", "10.78.0.1"
B, INSIDE_B, FIRST_B, SECOND_B = "10.78.2.5", "10.78.2.9", "10.78.0.2", "10.78.0.3"

CONNECT_SECONDS = 1.0
"""For an attempt that the firewall drops."""

FIREWALL = f"""
table inet epmdless_demo {{
    chain input {{
        type filter hook input priority 0; policy accept;
        iifname "outside" tcp dport {GATEWAY_PORT} accept
        iifname "outside" ct state established,related accept
        iifname "outside" counter drop
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Zones:
    """The machines.

    :ivar no_firewall: why there is none between the edges; None: there is one.
    """

    host_a: Namespace
    edge_a: Namespace
    edge_b: Namespace
    host_b: Namespace
    no_firewall: str | None


def make_zones(stack: ExitStack) -> Zones:
    """Make them.

    :param stack: closes what was made.
    :raises NamespaceError: they cannot be made here.
    """
    host_a, edge_a, edge_b, host_b = (stack.enter_context(closing(Namespace())) for _ in range(4))
    edge_a.join("inside", host_a, "uplink")
    edge_a.join("outside", edge_b, "outside")
    edge_b.join("inside", host_b, "uplink")
    for place, interface, *addresses in (
        (host_a, "uplink", A),
        (edge_a, "inside", INSIDE_A),
        (edge_a, "outside", OUTSIDE_A),
        (edge_b, "outside", FIRST_B, SECOND_B),
        (edge_b, "inside", INSIDE_B),
        (host_b, "uplink", B),
    ):
        for address in addresses:
            place.ip("address", "add", f"{address}/24", "dev", interface)
    return Zones(host_a, edge_a, edge_b, host_b, _raise_firewall(edge_a, edge_b))


def _raise_firewall(*edges: Namespace) -> str | None:
    """Let one port pass between the edges; why that cannot be done."""
    try:
        for edge in edges:
            edge.nft(FIREWALL)
    except NamespaceError as error:
        return str(error)
    return None


def dial(place: Namespace, host: str, port: int) -> str:
    """What comes of dialling there."""

    def attempt() -> str:
        try:
            socket.create_connection((host, port), timeout=CONNECT_SECONDS).close()
        except TimeoutError:
            return "no answer"
        except OSError as error:
            return error.strerror or str(error)
        return "connected"

    return place.call(attempt)


def hosts_file(a: str, b: str) -> str:
    """A file for the nodes' ``inetrc``: where they find the hosts of both zones.

    Each zone finds the other's host at its own edge, which stands in for it; elsewhere DNS would say so.
    """
    lines = ["{lookup, [file]}.", '{host, {127,0,0,1}, ["localhost"]}.']
    lines += [f'{{host, {{{ip.replace(".", ",")}}}, ["{name}"]}}.' for ip, name in ((a, HOST_A), (b, HOST_B))]
    return "\n".join(lines) + "\n"


def dialled() -> tuple[tuple[str, int], ...]:
    """What zone A's edge may try to reach in zone B: its nodes, its edge's EPMD face, its gateway."""
    return (B, NODE_PORTS[0]), (FIRST_B, EPMD_PORT), (FIRST_B, GATEWAY_PORT)
