"""Two subnets with three machines each and a relay machine between them, as namespaces on this machine.

```
near subnet 10.0.1.0/24            the relay's machine             far subnet 10.0.2.0/24
a1 .1  a2 .2  a3 .3  ──bridge-a── .9               .9 ──bridge-b── b1 .1  b2 .2  b3 .3
                       .11 .12 .13 stand in for b1 b2 b3
                                  stand in for a1 a2 a3 .11 .12 .13
```

Every machine has a network, a host name and a hosts file of its own, and an EPMD server on the usual
port. Each routes the other subnet through the relay's machine, which forwards nothing: what crosses is
carried by a program there.

    with subnets() as world, world.near[0].start(["erl", "-name", "app"], stdin=True) as app: ...
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from tests.support.machine import Machine
from tests.support.process import Program
from tests.support.servers import Kind, command, wait_ready
from tests.support.tools import require

EPMD_PORT: Final = 4369
SIZE: Final = 3
"""Machines in each subnet."""

NO_FORWARDING = """
table inet world {
    chain forward {
        type filter hook forward priority 0; policy drop;
        counter
    }
}
"""

NETWORKS: Final = {"a": "10.0.1", "b": "10.0.2"}
"""The first three numbers of each subnet's addresses."""

# A kernel with br_netfilter would send what stays within a subnet through the rules, too.
BRIDGES_ONLY_BRIDGE = """
for switch in /proc/sys/net/bridge/bridge-nf-call-*; do
    if [ -e "$switch" ]; then echo 0 >"$switch"; fi
done
"""


@dataclass(frozen=True, slots=True)
class Place:
    """A machine's part in the plan."""

    subnet: str
    number: int

    @property
    def short(self) -> str:
        """Its short name, like `b1`."""
        return f"{self.subnet}{self.number}"

    @property
    def name(self) -> str:
        """Its host name, the host part of its nodes' names."""
        return f"{self.short}.az-{self.subnet}.internal"

    @property
    def address(self) -> str:
        """Where it really is."""
        return f"{NETWORKS[self.subnet]}.{self.number}"

    @property
    def stand_in(self) -> str:
        """The relay's address that stands in for it, in the other subnet."""
        return f"{NETWORKS['b' if self.subnet == 'a' else 'a']}.{10 + self.number}"


PLACES = tuple(Place(subnet, number) for subnet in "ab" for number in range(1, SIZE + 1))
RELAY = "relay.internal"
WAY_OUT: Final = 9
"""The last number of the relay's own address in each subnet."""


class Host(Machine):
    """A machine in one of the subnets."""

    def __init__(self, place: Place, hosts: Path) -> None:
        super().__init__(place.name, hosts)
        self.place = place
        self.epmd: Program | None = None
        self._hosts = hosts

    @property
    def address(self) -> str:
        """Where it really is."""
        return self.place.address

    @property
    def stand_in(self) -> str:
        """The relay's address that stands in for it, in the other subnet."""
        return self.place.stand_in

    def node(self, alive: str) -> str:
        """Return the full name of a node on it."""
        return f"{alive}@{self.name}"

    def know(self, *, stand_ins: bool, also: Mapping[str, str] = MappingProxyType({})) -> None:
        """Make it find the other subnet's hosts at the relay's stand-in addresses, or where they are.

        also: further host names, each with its address.
        """
        lines = ["127.0.0.1 localhost"]
        for place in PLACES:
            abroad = stand_ins and place.subnet != self.place.subnet
            lines.append(f"{place.stand_in if abroad else place.address} {place.name}")
        lines += [f"{address} {name}" for name, address in also.items()]
        self._hosts.write_text("\n".join(lines) + "\n")

    def start_epmd(self, kind: Kind) -> None:
        """Start its EPMD server and wait until it answers."""
        epmd = self.epmd = self.start(command(kind))
        self.call(lambda: wait_ready(epmd, EPMD_PORT))

    def stop_epmd(self) -> None:
        """End its EPMD server, if it runs."""
        if self.epmd is not None:
            self.epmd.stop()
            self.epmd.close()
            self.epmd = None

    def close(self) -> None:
        """End its EPMD server and what keeps it."""
        self.stop_epmd()
        super().close()


@dataclass(frozen=True, slots=True)
class Hosts:
    """The machines of both subnets."""

    near: tuple[Host, ...]
    far: tuple[Host, ...]

    @property
    def hosts(self) -> tuple[Host, ...]:
        """The machines of both subnets."""
        return (*self.near, *self.far)

    def abroad(self, host: Host) -> tuple[Host, ...]:
        """Return the hosts of the other subnet."""
        return self.far if host in self.near else self.near


@dataclass(frozen=True, slots=True)
class World(Hosts):
    """Them, and the relay's machine."""

    relay: Machine

    def know(self, *, stand_ins: bool) -> None:
        """Say for all hosts whether they know stand-in addresses or the real ones."""
        for host in self.hosts:
            host.know(stand_ins=stand_ins)

    def dropped(self) -> int:
        """Return how many packets between the subnets the relay's machine has not forwarded."""
        return dropped(self.relay)

    def forward(self) -> None:
        """Let the relay's machine forward from now on."""
        self.relay.run("nft chain inet world forward '{ policy accept; }'")

    def forward_nothing(self) -> None:
        """Have it drop again what goes from one subnet to the other."""
        self.relay.run("nft chain inet world forward '{ policy drop; }'")

    def cut(self, host: Host) -> None:
        """Take the cable between a host and everybody else out."""
        self.relay.run('ip link set "$1" down', host.place.short)

    def mend(self, host: Host) -> None:
        """Put it in again."""
        self.relay.run('ip link set "$1" up', host.place.short)


def dropped(machine: Machine) -> int:
    """Return how many packets a machine's table `world` has not forwarded."""
    listed = machine.run("nft list chain inet world forward").split()
    return int(listed[listed.index("packets") + 1])


@contextmanager
def subnets() -> Iterator[World]:
    """Make the world, with stand-in addresses known; the near EPMD servers are ours, the far ones C."""
    require("nft", "nftables")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="subnets-")))
        near, far = (hosts_of(stack, subnet, folder) for subnet in "ab")
        relay_hosts = folder / "relay"
        relay_hosts.write_text("".join(f"{place.address} {place.name}\n" for place in PLACES))
        relay = Machine(RELAY, relay_hosts)
        stack.callback(relay.close)
        drop_what_is_forwarded(relay, NO_FORWARDING)
        connect(relay, near)
        connect(relay, far)
        start_epmds((*near, *far))
        yield World(near, far, relay)


def hosts_of(stack: ExitStack, subnet: str, folder: Path) -> tuple[Host, ...]:
    """Make the machines of a subnet; their hosts files are in the folder."""
    return tuple(_host(stack, place, folder / place.short) for place in PLACES if place.subnet == subnet)


def _host(stack: ExitStack, place: Place, file: Path) -> Host:
    file.touch()
    host = Host(place, file)
    stack.callback(host.close)
    return host


def start_epmds(hosts: Sequence[Host]) -> None:
    """Have hosts know stand-in addresses, and run EPMD servers: ours in the near subnet, C in the far one."""
    for host in hosts:
        host.know(stand_ins=True)
        host.start_epmd("serve" if host.place.subnet == "a" else "c")


def drop_what_is_forwarded(machine: Machine, rules: str) -> None:
    """Have a machine forward, were it not for the rules, which drop."""
    machine.run(f'echo 1 >/proc/sys/net/ipv4/ip_forward; nft "$1"; {BRIDGES_ONLY_BRIDGE}', rules)


def connect(machine: Machine, hosts: Sequence[Host]) -> None:
    """Lay cables between a machine and the hosts of one subnet, whose way to all others it becomes.

    It gets the addresses that stand in for the other subnet's hosts.
    """
    subnet = hosts[0].place.subnet
    way_out = f"{NETWORKS[subnet]}.{WAY_OUT}"
    ours = [way_out, *(place.stand_in for place in PLACES if place.subnet != subnet)]
    lines = [
        f"ip link add bridge-{subnet} type bridge",
        *(f"ip address add {address}/24 dev bridge-{subnet}" for address in ours),
        f"ip link set bridge-{subnet} up",
    ]
    for host in hosts:
        short = host.place.short
        lines.append(f"ip link add {short} type veth peer name eth0 netns {host.pid}")
        lines.append(f"ip link set {short} master bridge-{subnet} up")
    machine.run("\n".join(lines))
    for host in hosts:
        host.run(
            f"ip address add {host.address}/24 dev eth0; ip link set eth0 up;"
            f" ip route add 10.0.0.0/16 via {way_out}"
        )
