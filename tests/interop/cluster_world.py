"""What the tests of clusters of real nodes share: machines on one switch, nodes there, and who is joined.

```
c1.internal 10.0.0.1   c2 .2   c3 .3 ... ──switch── ns.internal 10.0.0.53
```

Every machine has a network, a host name and a hosts file of its own. On the c machines `epmdless serve` is
the EPMD server, and joins the nodes there; the ns machine is their DNS server, by their resolv.conf too.

    with machines(3) as world, joining(world, text) as servers, node("otp25", world.hosts[0]) as app: ...
"""

import json
import re
import signal
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import dns.exception
import dns.message
import dns.query

from epmdless.cli.cluster_views import ClusterSample, NodeView, PeerView
from epmdless.cli.control import ControlClient
from tests.interop.hop_world import wait_line
from tests.interop.relay_world import Relay
from tests.support.beam import COOKIE, Beam, Flavour
from tests.support.deadline import DeadlineError, eventually
from tests.support.dns_servers import KNOT_CONFIGURATION
from tests.support.hops import tables
from tests.support.machine import Machine
from tests.support.process import Program, run
from tests.support.subnets import BRIDGES_ONLY_BRIDGE, EPMD_PORT
from tests.support.tools import PYTHON, clean_env, require

FLAVOURS: tuple[Flavour, Flavour, Flavour] = ("otp25", "otp27", "elixir")

NETWORK: Final = "10.0.0"
NAME_SERVER: Final = f"{NETWORK}.53"

SOON = "100ms"
"""The shortest interval at which a source may be asked."""

JOINED_WITHIN = 20.0
"""Seconds: a set-up between two nodes may take 7 s, and an attempt that failed is made again within 10 s."""

GONE_WITHIN = 10.0
READY_WITHIN = 10.0

NODE_NAME = re.compile(r"[\w-]+@[\w.:-]+")

ZONE = """\
$ORIGIN internal.
$TTL 1
@ SOA ns hostmaster {serial} 3600 600 86400 1
@ NS ns
ns A {address}
"""


class Host(Machine):
    """A machine with nodes."""

    def __init__(self, number: int, hosts: Path) -> None:
        super().__init__(f"c{number}.internal", hosts)
        self.address = f"{NETWORK}.{number}"

    def node(self, alive: str = "app") -> str:
        """The full name of a node on it."""
        return f"{alive}@{self.name}"


@dataclass(frozen=True, slots=True)
class World:
    """The machines.

    :ivar cookie: path of a file with the nodes' cookie.
    """

    hosts: tuple[Host, ...]
    ns: Machine
    folder: Path
    cookie: Path

    def cluster(self, sources: Mapping[str, Mapping[str, object]], **keys: object) -> str:
        """Write a configuration: its sources, and further keys of its own table."""
        text = tables("cluster", {"cookie_file": str(self.cookie), **keys})
        return text + "".join(tables(f"cluster.source.{name}", own) for name, own in sources.items())


@contextmanager
def machines(count: int) -> Iterator[World]:
    """Make so many hosts, and the machine for a DNS server, on which nothing runs yet."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cluster-")))
        numbers = range(1, count + 1)
        known = "".join(f"{NETWORK}.{number} c{number}.internal c{number}\n" for number in numbers)
        hosts_file = folder / "hosts"
        hosts_file.write_text(f"127.0.0.1 localhost\n{known}")
        ns = Machine("ns.internal", hosts_file)
        stack.callback(ns.close)
        _have_switch(ns)
        (folder / "resolv.conf").write_text(f"nameserver {NAME_SERVER}\n")
        hosts = []
        for number in numbers:
            host = Host(number, hosts_file)
            stack.callback(host.close)
            hosts.append(host)
            _connect(ns, host, f"c{number}")
            host.run('mount --bind "$1" /etc/resolv.conf', str(folder / "resolv.conf"))
        yield World(tuple(hosts), ns, folder, cookie_file(folder, COOKIE))


def _have_switch(machine: Machine) -> None:
    machine.run(
        f"ip link add switch type bridge; ip address add {NAME_SERVER}/24 dev switch;"
        f" ip link set switch up; {BRIDGES_ONLY_BRIDGE}"
    )


def _connect(ns: Machine, host: Host, cable: str) -> None:
    ns.run(
        f"ip link add {cable} type veth peer name eth0 netns {host.pid}; ip link set {cable} master switch up"
    )
    host.run(f"ip address add {host.address}/24 dev eth0; ip link set eth0 up; ip route add default dev eth0")


def cookie_file(folder: Path, cookie: str) -> Path:
    """Write a cookie as it must be kept."""
    path = folder / f"cookie-{cookie}"
    path.touch(mode=0o600)
    path.write_text(cookie)
    return path


class NameServer:
    """knotd on a machine, authoritative for ``internal``; it runs only while told so."""

    def __init__(self, machine: Machine, folder: Path) -> None:
        self._machine = machine
        self._folder = folder
        self._serial = 0
        self._program: Program | None = None

    def say(self, *records: str) -> None:
        """Have just these records, lines of a zone file; wait until it says them. It starts where need be."""
        self._serial += 1
        head = ZONE.format(serial=self._serial, address=NAME_SERVER)
        (self._folder / "zone").write_text(head + "\n".join(records) + "\n")
        file = self._folder / "knot.conf"
        if self._program is None:
            where = {"folder": self._folder, "host": "0.0.0.0", "port": 53, "origin": "internal."}
            file.write_text(KNOT_CONFIGURATION.format(**where, key="", acl=""))
            self._program = self._machine.start([require("knotd", "knot"), "--config", file])
        else:
            knotc = require("knotc", "knot")
            self._machine.run('"$1" --config "$2" zone-reload internal.', knotc, str(file))
        self._wait()

    def _wait(self) -> None:
        assert self._program is not None
        what = self._program.report
        eventually(lambda: self._machine.call(self._is_current), within=READY_WITHIN, what=what)

    def _is_current(self) -> bool:
        query = dns.message.make_query("internal.", "SOA")
        try:
            answer = dns.query.udp(query, "127.0.0.1", timeout=0.2)
        except (OSError, dns.exception.DNSException):
            return False
        return any(record.serial == self._serial for rrset in answer.answer for record in rrset)

    def stop(self) -> None:
        """End it, if it runs."""
        if self._program is not None:
            self._program.stop()
            self._program.close()
            self._program = None


@contextmanager
def name_server(world: World) -> Iterator[NameServer]:
    """Have a DNS server until the context ends; it starts with the first records."""
    with tempfile.TemporaryDirectory(prefix="knot-") as folder:
        server = NameServer(world.ns, Path(folder))
        try:
            yield server
        finally:
            server.stop()


class Joining(Relay):
    """`epmdless serve` on a host, and what it shows of the cluster."""

    @property
    def sample(self) -> ClusterSample:
        """What its control socket says."""
        return ControlClient([self.socket]).cluster().sample

    def local(self, name: str) -> NodeView | None:
        """What it says of a local node; None: nothing."""
        nodes = (node for group in self.sample.groups for node in group.nodes)
        return next((node for node in nodes if node.name == name), None)

    def peers(self, name: str) -> dict[str, PeerView]:
        """What it says of the peers of a local node, by name; none where there is no such node."""
        node = self.local(name)
        return {} if node is None else {peer.name: peer for peer in node.peers}

    def told(self) -> dict[str, Any]:
        """What `epmdless cluster --json` prints about it."""
        argv: list[str | Path] = [PYTHON, "-m", "epmdless", "cluster", "--json", "--config", self.file]
        done = run(argv, env=clean_env())
        assert done.status == 0, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def wait(self, look: Callable[[], Any], what: str, within: float = JOINED_WITHIN) -> Any:
        """Wait until a look at it shows something true, and return that."""

        def look_at() -> Any:
            assert not self.program.ended, self.program.report()
            return look()

        try:
            return eventually(look_at, within=within, what=what)
        except DeadlineError as error:
            raise AssertionError(f"{error}\n{self.sample}\n{self.program.report()}") from None


@contextmanager
def serving(host: Host, text: str) -> Iterator[Joining]:
    """Run `epmdless serve` on a host until the context ends; it is ready."""
    with starting(host, text) as server:
        wait_started(server)
        yield server


@contextmanager
def starting(host: Host, text: str) -> Iterator[Joining]:
    """The same; nobody waits for it."""
    with tempfile.TemporaryDirectory(prefix="joining-") as folder:
        server = Joining(host, Path(folder) / "epmdless.toml", text)
        with server.program:
            yield server


def wait_started(server: Joining) -> None:
    """Wait until it serves."""
    wait_line(server, lambda line: line["event"] == "started", "its start")


Servers = tuple[Joining, ...]


@contextmanager
def joining(world: World, text: str) -> Iterator[Servers]:
    """Run it on each host."""
    with ExitStack() as stack:
        servers = tuple(stack.enter_context(starting(host, text)) for host in world.hosts)
        for server in servers:
            wait_started(server)
        yield servers


def reload(servers: Iterable[Joining], text: str) -> None:
    """Give servers another configuration, and wait until it is in force."""
    for server in servers:
        server.reload(text)


class Names:
    """A file that names nodes."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, *names: str) -> None:
        """Name just these, in one step."""
        aside = self._path.with_suffix(".new")
        aside.write_text("".join(f"{name}\n" for name in names))
        aside.rename(self._path)

    @property
    def source(self) -> dict[str, object]:
        """The source that watches it."""
        return {"kind": "file", "path": str(self._path), "poll": SOON}


@contextmanager
def nodes_on(world: World, name: Callable[[Host], str] = Host.node, *args: str) -> Iterator[tuple[Beam, ...]]:
    """Run a node on each host, each of another release.

    :param name: makes its whole name.
    :param args: more words for `erl`.
    """
    with ExitStack() as stack:
        pairs = zip(FLAVOURS, world.hosts, strict=True)
        yield tuple(stack.enter_context(node(flavour, host, name(host), *args)) for flavour, host in pairs)


def wait_apart(beams: Sequence[Beam]) -> None:
    """Wait until nodes are connected to nobody, ours included."""
    for beam in beams:
        wait_connected(beam, (), "connected", GONE_WITHIN)


@contextmanager
def node(
    flavour: Flavour,
    host: Host,
    name: str = "app",
    *args: str,
    cookie: str = COOKIE,
    epmd_port: int = EPMD_PORT,
) -> Iterator[Beam]:
    """Run a node on a host.

    :param name: its whole name, or its alive name: then the host's name follows.
    """
    whole = name if "@" in name else host.node(name)
    prefix = host.prefix
    with Beam(flavour, whole, epmd_port=epmd_port, cookie=cookie, args=args, prefix=prefix) as beam:
        yield beam


def connected(beam: Beam, kind: str = "visible") -> set[str]:
    """The nodes that a node is connected to.

    :param kind: `visible`, `hidden` or `connected`, as ``erlang:nodes/1`` takes them.
    """
    shown = beam.eval(f"Node.list(:{kind})" if beam.flavour == "elixir" else f"nodes({kind}).")
    return set(NODE_NAME.findall(shown))


def wait_connected(
    beam: Beam, names: Iterable[str], kind: str = "visible", within: float = JOINED_WITHIN
) -> None:
    """Wait until a node is connected to just these."""
    wanted, seen = set(names), [set[str]()]

    def look() -> bool:
        seen[0] = connected(beam, kind)
        return seen[0] == wanted

    what = f"{kind} nodes of {beam.name}"
    eventually(look, within=within, what=lambda: f"{what}: {sorted(wanted)}, not {sorted(seen[0])}")


def wait_joined(beams: Sequence[Beam]) -> None:
    """Wait until each of the nodes sees all others of them, and nobody else."""
    for beam in beams:
        wait_connected(beam, {other.name for other in beams if other is not beam})


def leave(servers: Iterable[Joining], beams: Sequence[Beam]) -> None:
    """Have servers join nobody, wait until they have left the nodes, and disconnect those from everybody."""
    reload(servers, "")
    for beam in beams:
        what = f"that epmdless has left {beam.name}"
        eventually(lambda: not ours_in(beam), within=GONE_WITHIN, what=what)  # noqa: B023 - called at once
    part(beams)


def ours_in(beam: Beam) -> set[str]:
    """The names under which a node has connections of ours."""
    return {name for name in connected(beam, "hidden") if name.startswith("epmdless-")}


def part(beams: Sequence[Beam]) -> None:
    """Disconnect nodes from everybody, again where one was just about to connect."""

    def look() -> bool:
        for beam in beams:
            if beam.flavour == "elixir":
                beam.eval("for node <- Node.list(:connected), do: Node.disconnect(node)")
            else:
                beam.eval("[erlang:disconnect_node(Node) || Node <- nodes(connected)].")
        return not any(connected(beam, "connected") for beam in beams)

    eventually(look, within=GONE_WITHIN, what="nodes that are apart")


def kill(beam: Beam) -> None:
    """End a node as a fault or an operator does, with no chance to say anything."""
    beam.program.signal(signal.SIGKILL)
    beam.program.wait(GONE_WITHIN)
