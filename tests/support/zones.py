"""Two zones with three machines each, an edge machine for each zone, and a border between the edges.

```
zone A 10.0.1.0/24       edge.az-a          border          edge.az-b        zone B 10.0.2.0/24
a1 .1  a2 .2  a3 .3 ──── .9   10.0.8.2 ──── .1  .1 ──── 10.0.9.2   .9 ──── b1 .1  b2 .2  b3 .3
          .11 .12 .13 stand in for b1 b2 b3         10.0.9.3         stand in for a1 a2 a3 .11 .12 .13
```

The subnets are those of :mod:`tests.support.subnets`, with an edge's machine in the place of the relay's. The
edges and the border know their ways and would forward; one port passes, from either zone to the other's edge,
and nothing else.

    with zones() as world, world.near[0].start(["erl", "-name", "app"], stdin=True) as app: ...
"""

import selectors
import socket
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from tests.support.machine import Machine
from tests.support.subnets import (
    PLACES,
    Hosts,
    connect,
    drop_what_is_forwarded,
    hosts_of,
    start_epmds,
)
from tests.support.tools import require

GATEWAY_PORT: Final = 4370
"""The one that passes."""

OUTSIDE: Final = {"a": ("10.0.8.2",), "b": ("10.0.9.2", "10.0.9.3")}
"""An edge's addresses on the border's side: zone B has room for two gateways."""

BORDER: Final = {"a": "10.0.8.1", "b": "10.0.9.1"}
"""The border's own addresses."""

INSIDE: Final = {"a": "10.0.1.0/24", "b": "10.0.2.0/24"}

SOON: Final = 0.4
"""Seconds in which a packet that is not dropped has been answered: all of it is one kernel."""

# Without state: who takes the port as its own source opens nothing by that.
ONE_PORT = """
table inet world {{
    chain forward {{
        type filter hook forward priority 0; policy drop;
        ip daddr {{ {edges} }} tcp dport {port} accept
        ip saddr {{ {edges} }} tcp sport {port} tcp flags & (syn | ack) != syn accept
        counter
    }}
}}
"""


class Edge(Machine):
    """The machine through which a zone reaches the other one."""

    def __init__(self, zone: str, hosts: Path) -> None:
        super().__init__(f"edge.az-{zone}.internal", hosts)
        self.zone = zone
        self._hosts = hosts
        self.know({})

    @property
    def address(self) -> str:
        """Where the other zone finds it."""
        return OUTSIDE[self.zone][0]

    @property
    def addresses(self) -> tuple[str, ...]:
        """All such addresses."""
        return OUTSIDE[self.zone]

    def know(self, also: Mapping[str, str] = MappingProxyType({})) -> None:
        """Make it find its own zone's hosts, the other edge, and these further names, each at its address."""
        names = {place.name: place.address for place in PLACES if place.subnet == self.zone}
        names |= {f"edge.az-{zone}.internal": OUTSIDE[zone][0] for zone in OUTSIDE}
        lines = [f"{address} {name}" for name, address in (names | dict(also)).items()]
        self._hosts.write_text("\n".join(["127.0.0.1 localhost", *lines]) + "\n")


@dataclass(frozen=True, slots=True)
class Zones(Hosts):
    """The machines."""

    near_edge: Edge
    far_edge: Edge
    border: Machine

    @contextmanager
    def torn(self, verdict: str) -> Iterator[None]:
        """Have the border do this to what passes: `drop`, or `reject with tcp reset`."""
        port = GATEWAY_PORT
        rules = f"""
            chain torn {{
                type filter hook forward priority -10;
                tcp dport {port} {verdict}
                tcp sport {port} {verdict}
            }}
        """
        with self.border.rules("torn", rules):
            yield

    @contextmanager
    def open(self) -> Iterator[None]:
        """Let everything pass."""
        machines = (self.near_edge, self.far_edge, self.border)
        for machine in machines:
            machine.run("nft chain inet world forward '{ policy accept; }'")
        try:
            yield
        finally:
            for machine in machines:
                machine.run("nft chain inet world forward '{ policy drop; }'")


@contextmanager
def zones() -> Iterator[Zones]:
    """Make the world, with stand-in addresses known, and EPMD servers as in the world of two subnets."""
    require("nft", "nftables")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="zones-")))
        near, far = (hosts_of(stack, subnet, folder) for subnet in "ab")
        near_edge, far_edge = (_edge(stack, zone, folder / f"edge-{zone}") for zone in "ab")
        (folder / "border").touch()
        border = Machine("border.internal", folder / "border")
        stack.callback(border.close)
        for edge, hosts in ((near_edge, near), (far_edge, far)):
            connect(edge, hosts)
            _join(border, edge)
        rules = ONE_PORT.format(port=GATEWAY_PORT, edges=", ".join(sum(OUTSIDE.values(), ())))
        for machine in (near_edge, far_edge, border):
            drop_what_is_forwarded(machine, rules)
        start_epmds((*near, *far))
        yield Zones(near, far, near_edge, far_edge, border)


def _edge(stack: ExitStack, zone: str, file: Path) -> Edge:
    file.touch()
    edge = Edge(zone, file)
    stack.callback(edge.close)
    return edge


def _join(border: Machine, edge: Edge) -> None:
    """Lay the cable between the border and an edge."""
    zone, cable = edge.zone, f"zone-{edge.zone}"
    border.run(
        f"ip link add {cable} type veth peer name out netns {edge.pid};"
        f" ip address add {BORDER[zone]}/24 dev {cable}; ip link set {cable} up"
    )
    addresses = "".join(f"ip address add {address}/24 dev out;" for address in edge.addresses)
    edge.run(f"{addresses} ip link set out up; ip route add 10.0.0.0/16 via {BORDER[zone]}")
    border.run(f"ip route add {INSIDE[zone]} via {edge.address}")


def reached(
    machine: Machine, targets: Sequence[tuple[str, int]], source_port: int = 0
) -> list[tuple[str, int]]:
    """Return at which of these a machine gets an answer, be it a refusal."""

    def dial_all() -> list[tuple[str, int]]:
        answered = []
        with ExitStack() as stack, selectors.DefaultSelector() as selector:
            for target in targets:
                sock = stack.enter_context(socket.socket())
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind(("", source_port))
                sock.setblocking(False)
                sock.connect_ex(target)
                selector.register(sock, selectors.EVENT_WRITE, target)
            left = len(targets)
            while left and (events := selector.select(SOON)):
                for key, _ in events:
                    selector.unregister(key.fileobj)
                    answered.append(key.data)
                    left -= 1
        return answered

    return machine.call(dial_all)
