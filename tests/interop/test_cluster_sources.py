"""Three nodes of different releases, on three hosts, are joined by each source that names them."""

import json
import re
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.interop.cluster_world import (
    READY_WITHIN,
    SOON,
    Host,
    Names,
    Servers,
    World,
    joining,
    leave,
    machines,
    name_server,
    node,
    nodes_on,
    part,
    reload,
    wait_apart,
    wait_joined,
)
from tests.interop.hop_world import METRICS_PORT, metrics
from tests.support.beam import Beam, fixed_port
from tests.support.deadline import eventually
from tests.support.epmd_client import names
from tests.support.process import Program
from tests.support.subnets import EPMD_PORT
from tests.support.tools import require

pytestmark = pytest.mark.interop

Nodes = tuple[Beam, ...]

PORT = 9001
"""Where the nodes listen, as their names say."""

NOBODY = 1
"""A port where nobody listens."""

GOSSIP_GROUP, GOSSIP_PORT = "233.252.1.32", 45892
PEER = Path(__file__).with_name("gossip_peer.escript")
SECRET = "sesame"

STRANGERS = re.compile(r'^epmdless_cluster_gossip_packets_total{result="encryption"} (\S+)', re.MULTILINE)

# As an application may: by a name and a port that only DNS knows.
PLAIN, PLAIN_PORT = "plain", 9003
CHAIN = '[resolve]\nchain = ["registered", "peers"]\n'


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with machines(3) as world:
        yield world


@pytest.fixture(scope="module")
def servers(world: World) -> Iterator[Servers]:
    with joining(world, "") as servers:
        yield servers


@pytest.fixture(scope="module")
def running(world: World, servers: Servers) -> Iterator[Nodes]:
    with nodes_on(world, name_of, *fixed_port(PORT)) as nodes:
        yield nodes


def name_of(host: Host) -> str:
    return host.node(f"app-{PORT}")


@pytest.fixture
def nodes(servers: Servers, running: Nodes) -> Iterator[Nodes]:
    """The nodes, which nobody has joined yet, and which are apart again at the end."""
    part(running)
    yield running
    leave(servers, running)


def test_the_configuration_names_them(world: World, servers: Servers, nodes: Nodes) -> None:
    nodes_named = [name_of(host) for host in world.hosts]
    reload(servers, world.cluster({"names": {"kind": "static", "nodes": nodes_named}}))
    wait_joined(nodes)


def test_a_file_names_them(world: World, servers: Servers, nodes: Nodes, tmp_path: Path) -> None:
    file = Names(tmp_path / "nodes")
    file.write("# every node", *(name_of(host) for host in world.hosts))
    reload(servers, world.cluster({"names": file.source}))
    wait_joined(nodes)


def test_a_program_names_them(world: World, servers: Servers, nodes: Nodes) -> None:
    shown = json.dumps([{"name": name_of(host)} for host in world.hosts])
    reload(servers, world.cluster({"names": {"kind": "command", "argv": ["echo", shown]}}))
    wait_joined(nodes)


def test_several_sources_name_one_each(world: World, servers: Servers, nodes: Nodes, tmp_path: Path) -> None:
    file = Names(tmp_path / "nodes")
    file.write(nodes[1].name)
    static = {"kind": "static", "nodes": [nodes[0].name]}
    command = {"kind": "command", "argv": ["echo", nodes[2].name]}
    reload(servers, world.cluster({"one": static, "two": file.source, "three": command}))
    wait_joined(nodes)


def test_services_in_dns_name_them(world: World, servers: Servers, nodes: Nodes) -> None:
    records = [f"_app._tcp SRV 0 0 {PORT} c{number}" for number, _ in enumerate(nodes, 1)]
    source = {"kind": "dns", "basename": "app", "srv": ["_app._tcp.internal"], "poll": SOON}
    with name_server(world) as dns:
        dns.say(*records)
        reload(servers, world.cluster({"names": source}))
        wait_joined(nodes)


def test_the_port_of_a_service_is_told_to_nodes_that_ask(
    world: World, servers: Servers, nodes: Nodes
) -> None:
    """No EPMD server knows the second node: the port in DNS is all there is."""
    records = [f"_plain._tcp SRV 0 0 {PLAIN_PORT} {host}" for host in ("c1", "c2")]
    source = {"kind": "dns", "basename": PLAIN, "srv": ["_plain._tcp.internal"], "srv_names": "plain"}
    first, second = world.hosts[:2]
    listen = fixed_port(PLAIN_PORT)
    alone = [*listen, "-erl_epmd_port", str(PLAIN_PORT)]
    with (
        name_server(world) as dns,
        node("otp25", first, PLAIN, *listen) as registered,
        node("otp27", second, PLAIN, *alone, epmd_port=NOBODY) as unregistered,
    ):
        dns.say(*records)
        reload(servers, world.cluster({"names": {**source, "poll": SOON}}, nodes=[PLAIN]) + CHAIN)
        wait_joined([registered, unregistered])
        assert PLAIN not in second.call(partial(names, EPMD_PORT))
        wait_apart(nodes)


def test_epmd_servers_name_them(world: World, servers: Servers, nodes: Nodes) -> None:
    hosts = [host.name for host in world.hosts]
    reload(servers, world.cluster({"names": {"kind": "epmd", "hosts": hosts, "poll": SOON}}))
    wait_joined(nodes)


def test_epmd_servers_of_a_hosts_file_name_them(
    world: World, servers: Servers, nodes: Nodes, tmp_path: Path
) -> None:
    path = tmp_path / ".hosts.erlang"
    path.write_text("".join(f"'{host.name}'.\n" for host in world.hosts))
    reload(servers, world.cluster({"names": {"kind": "epmd", "hosts_file": str(path), "poll": SOON}}))
    wait_joined(nodes)


def test_the_own_epmd_server_names_the_nodes_beside(world: World, servers: Servers, nodes: Nodes) -> None:
    with node("otp27", world.hosts[0], "beside") as beside:
        reload(servers[:1], world.cluster({"names": {"kind": "epmd", "local": True, "poll": SOON}}))
        wait_joined([nodes[0], beside])


def gossip(**keys: object) -> dict[str, object]:
    return {"kind": "gossip", "heartbeat": "200ms", "expire": "5s", **keys}


@pytest.fixture(params=[None, SECRET], ids=["clear", "secret"])
def secret(request: pytest.FixtureRequest) -> str | None:
    given: str | None = request.param
    return given


@pytest.fixture
def source(tmp_path: Path, secret: str | None) -> dict[str, object]:
    """Gossip, in the clear or not."""
    if secret is None:
        return gossip()
    path = tmp_path / "secret"
    path.touch(mode=0o600)
    path.write_text(secret)
    return gossip(secret_file=str(path))


def test_they_name_each_other_by_gossip(
    world: World, servers: Servers, nodes: Nodes, source: dict[str, object]
) -> None:
    reload(servers, world.cluster({"names": source}))
    wait_joined(nodes)


def test_gossip_with_who_speaks_it_by_itself(
    world: World, servers: Servers, nodes: Nodes, source: dict[str, object], secret: str | None
) -> None:
    """The third host has no epmdless that joins: its node's application speaks libcluster's packets."""
    reload(servers[:2], world.cluster({"names": source}))
    with speaking(world.hosts[2], nodes[2].name, secret) as peer:
        wait_joined(nodes)
        wanted = {f"heard {beam.name}" for beam in nodes[:2]}
        eventually(lambda: wanted <= set(peer.stdout.splitlines()), within=READY_WITHIN, what=peer.report)


def test_gossip_with_another_secret_is_not_heard(
    world: World, servers: Servers, nodes: Nodes, tmp_path: Path
) -> None:
    path = tmp_path / "secret"
    path.touch(mode=0o600)
    path.write_text(SECRET)
    reload(servers[:2], world.cluster({"names": gossip(secret_file=str(path))}) + metrics())
    third = nodes[2].name
    with speaking(world.hosts[2], third, "another"), speaking(world.hosts[2], third, None):
        eventually(
            lambda: world.hosts[0].call(strangers) > 10, within=READY_WITHIN, what="packets that are none"
        )
        wait_joined(nodes[:2])
        assert set(servers[0].peers(nodes[0].name)) == {nodes[1].name}


def strangers() -> float:
    """How many packets of somebody who does not know the secret a server has heard."""
    with urllib.request.urlopen(f"http://127.0.0.1:{METRICS_PORT}/metrics", timeout=5) as page:
        found = STRANGERS.search(page.read().decode())
    return float(found[1]) if found else 0


@contextmanager
def speaking(host: Host, name: str, secret: str | None) -> Iterator[Program]:
    """Run a script that gossips of one node as libcluster does."""
    words = [GOSSIP_GROUP, str(GOSSIP_PORT), host.address, name, *([secret] if secret else [])]
    argv = [require("escript", "erlang-base"), str(PEER), *words]
    with host.start(argv, stdin=True) as program:
        eventually(lambda: "up" in program.stdout, within=READY_WITHIN, what=program.report)
        yield program
