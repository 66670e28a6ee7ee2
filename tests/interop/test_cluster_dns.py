"""Nodes named by their addresses, joined by a DNS server's A records, whatever becomes of that server."""

from collections.abc import Iterator

import pytest

from tests.interop.cluster_world import (
    SOON,
    Host,
    Joining,
    NameServer,
    Servers,
    World,
    connected,
    joining,
    leave,
    machines,
    name_server,
    node,
    nodes_on,
    part,
    reload,
    wait_connected,
    wait_joined,
)
from tests.support.beam import Beam

pytestmark = pytest.mark.interop

Nodes = tuple[Beam, ...]

DOMAIN = "app.internal"


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with machines(3) as world:
        yield world


@pytest.fixture(scope="module")
def dns(world: World) -> Iterator[NameServer]:
    with name_server(world) as server:
        yield server


@pytest.fixture(scope="module")
def servers(world: World) -> Iterator[Servers]:
    with joining(world, "") as servers:
        yield servers


@pytest.fixture(scope="module")
def running(world: World, servers: Servers) -> Iterator[Nodes]:
    with nodes_on(world, by_address) as nodes:
        yield nodes


def by_address(host: Host) -> str:
    """The name of a node that DNS knows by its address alone."""
    return f"app@{host.address}"


@pytest.fixture
def nodes(servers: Servers, running: Nodes) -> Iterator[Nodes]:
    """The nodes, which nobody has joined yet, and which are apart again at the end."""
    part(running)
    yield running
    leave(servers, running)


def records(*hosts: Host) -> list[str]:
    return [f"app A {host.address}" for host in hosts]


def text(world: World, **keys: object) -> str:
    """A configuration by which the system's DNS servers are asked; an answer counts as it is."""
    source = {"kind": "dns", "basename": "app", "addresses": [DOMAIN], "poll": SOON, "gather": "0s"}
    return world.cluster({"names": {**source, "timeout": "200ms", "lifetime": "400ms"}}, **keys)


def test_addresses_name_them(world: World, servers: Servers, dns: NameServer, nodes: Nodes) -> None:
    dns.say(*records(*world.hosts))
    reload(servers, text(world))
    wait_joined(nodes)


def test_addresses_name_epmd_servers_that_name_them(
    world: World, servers: Servers, dns: NameServer, nodes: Nodes
) -> None:
    dns.say(*records(*world.hosts))
    reload(servers, world.cluster({"names": {"kind": "epmd", "dns": [DOMAIN], "poll": SOON}}))
    wait_joined(nodes)


def test_ipv6_addresses_name_them(world: World, servers: Servers, dns: NameServer, nodes: Nodes) -> None:
    addresses = [f"fd00::{number}" for number in (1, 2)]
    for host, address in zip(world.hosts, addresses, strict=False):
        host.run('ip -6 address add "$1/64" dev eth0 nodad', address)
    dns.say(*(f"app AAAA {address}" for address in addresses), *records(*world.hosts))
    first, second = world.hosts[:2]
    flags = ("-proto_dist", "inet6_tcp")
    with (
        node("otp25", first, f"app6@{addresses[0]}", *flags) as one,
        node("otp27", second, f"app6@{addresses[1]}", *flags) as other,
    ):
        source = {"kind": "dns", "basename": "app6", "addresses": [DOMAIN], "poll": SOON}
        families = {"families": ["ipv6"], "gather": "0s"}
        reload(servers, world.cluster({"names": {**source, **families}}, nodes=["app6"]))
        wait_joined([one, other])
        assert all(connected(beam, "connected") == set() for beam in nodes)


def test_an_address_comes_and_goes(world: World, servers: Servers, dns: NameServer, nodes: Nodes) -> None:
    dns.say(*records(*world.hosts[:2]))
    reload(servers[:2], text(world))
    wait_joined(nodes[:2])
    dns.say(*records(*world.hosts))
    wait_joined(nodes)
    dns.say(*records(*world.hosts[:2]))
    servers[0].wait(lambda: set(servers[0].peers(nodes[0].name)) == {nodes[1].name}, "its end")
    wait_joined(nodes)


def test_an_address_that_is_gone_is_disconnected_where_that_is_wanted(
    world: World, servers: Servers, dns: NameServer, nodes: Nodes
) -> None:
    dns.say(*records(*world.hosts))
    reload(servers, text(world, disconnect="gone", hold="500ms"))
    wait_joined(nodes)
    dns.say(*records(*world.hosts[:2]))
    wait_joined(nodes[:2])
    wait_connected(nodes[2], ())


def test_nobody_is_disconnected_while_dns_is_down(
    world: World, servers: Servers, dns: NameServer, nodes: Nodes
) -> None:
    keen = text(world, disconnect="gone", hold="100ms")
    dns.say(*records(*world.hosts[:2]))
    reload(servers[:2], keen)
    wait_joined(nodes[:2])
    before = [len(server.lines()) for server in servers]
    dns.stop()
    reload(servers[2:], keen)  # which never had an answer
    for server in servers:
        wait_not_known(server)
    assert connected(nodes[2]) == set()
    wait_joined(nodes[:2])
    dns.say(*records(*world.hosts))
    wait_joined(nodes)
    for server, count in zip(servers, before, strict=True):
        events = [line["event"] for line in server.lines()[count:]]
        assert not any(event.startswith("disconnected") for event in events)


def wait_not_known(server: Joining) -> None:
    """Wait until a server has had no answer for longer than it takes to notice that nodes are gone."""

    def look() -> bool:
        (source,) = server.sample.sources
        return source.state == "unknown" and (source.failing_for or 0) > 1

    server.wait(look, "a source that does not know")
