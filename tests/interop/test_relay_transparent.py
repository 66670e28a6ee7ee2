"""nftables redirects what nodes send to the other subnet's real addresses: nobody need know of a relay."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Literal

import pytest

from tests.interop.relay_world import (
    RELEASES,
    Relay,
    Settings,
    configuration,
    node,
    ping,
    relaying,
    wait_nodes,
)
from tests.support.beam import COOKIE, Beam, Flavour
from tests.support.epmd_client import lookup, names
from tests.support.old_node import HandshakeError, OldNode
from tests.support.subnets import EPMD_PORT, Host, World, subnets

pytestmark = pytest.mark.interop

Mode = Literal["redirect", "tproxy"]

LISTEN = "0.0.0.0:4400"

PAIRS = [("otp25", "otp27"), ("otp27", "otp25")]

REDIRECT = """
    chain prerouting {
        type nat hook prerouting priority dstnat;
        iifname "bridge-a" ip daddr 10.0.2.0/24 meta l4proto tcp redirect to :4400
        iifname "bridge-b" ip daddr 10.0.1.0/24 meta l4proto tcp redirect to :4400
    }
"""

TPROXY = """
    chain prerouting {
        type filter hook prerouting priority mangle;
        iifname "bridge-a" ip daddr 10.0.2.0/24 meta l4proto tcp tproxy ip to :4400 meta mark set 1 accept
        iifname "bridge-b" ip daddr 10.0.1.0/24 meta l4proto tcp tproxy ip to :4400 meta mark set 1 accept
    }
"""

# What carries the mark is for this machine, whatever address it was sent to.
MARKED_IS_LOCAL = "ip rule add fwmark 1 lookup 100; ip route add local default dev lo table 100"
MARKED_IS_NOTHING = "ip rule del fwmark 1 lookup 100; ip route flush table 100"


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with subnets() as world:
        world.know(stand_ins=False)
        yield world


@contextmanager
def redirecting(world: World, mode: Mode) -> Iterator[None]:
    """Have nftables send what goes to the other subnet to the relay's one listener."""
    with ExitStack() as stack:
        if mode == "tproxy":
            world.relay.run(MARKED_IS_LOCAL)
            stack.callback(world.relay.run, MARKED_IS_NOTHING)
        stack.enter_context(world.relay.rules("redirecting", REDIRECT if mode == "redirect" else TPROXY))
        yield


@pytest.fixture(scope="module", params=["redirect", "tproxy"])
def relay(world: World, request: pytest.FixtureRequest) -> Iterator[Relay]:
    """A relay for all hosts but b2; b3 is answered for by the naming convention."""
    routes: list[Settings] = [
        {"net": "10.0.1.0/24"},
        {"net": f"{world.far[0].address}/32"},
        {"net": f"{world.far[2].address}/32", "resolve": ["scheme"]},
    ]
    text = configuration(routes, transparent={"listen": LISTEN})
    faces = [(world.near[0], world.far[0].address), (world.far[0], world.near[0].address)]
    with redirecting(world, request.param), relaying(world, text, faces) as relay:
        yield relay


@pytest.mark.parametrize(("near", "far"), PAIRS)
def test_nodes_find_each_other_at_their_real_addresses(
    world: World, relay: Relay, near: Flavour, far: Flavour
) -> None:
    with node(near, world.near[0]) as a, node(far, world.far[0]) as b, node(near, world.far[0], "c") as c:
        assert ping(a, b) == "pong"
        assert ping(c, a) == "pong"
        assert a.eval(f"rpc:call('{b.name}', erlang, node, []).") == f"'{b.name}'"
        for one, others in ((a, (b, c)), (b, (a, c)), (c, (a, b))):
            wait_nodes(one, others)
        size = a.eval(f"erpc:call('{b.name}', erlang, byte_size, [binary:copy(<<1>>, 10_000_000)]).")
        assert size == "10000000"


def test_lookups_are_redirected_too(world: World, relay: Relay) -> None:
    near, far = world.near[1], world.far[0]
    with node("otp25", far, "listed"):
        there = far.call(partial(names, EPMD_PORT))
        assert list(there) == ["listed"]
        assert near.call(partial(names, EPMD_PORT, far.address)) == there
        found = near.call(partial(lookup, EPMD_PORT, "listed", far.address))
        assert found is not None
        assert found.port == there["listed"]
        assert near.call(partial(lookup, EPMD_PORT, "nobody", far.address)) is None


@pytest.mark.parametrize("far", RELEASES)
def test_a_far_host_needs_no_epmd_server_where_names_say_the_port(
    world: World, relay: Relay, far: Flavour
) -> None:
    host = world.far[2]
    host.stop_epmd()
    try:
        with node("otp25", world.near[0]) as a, without_epmd(far, host, 9003) as b:
            assert ping(a, b) == "pong"
            assert a.eval("nodes(connected).") == f"['{b.name}']"
    finally:
        host.start_epmd("c")


@contextmanager
def without_epmd(flavour: Flavour, host: Host, port: int) -> Iterator[Beam]:
    """Run a node that listens on a port, says so in its name, and registers nowhere."""
    with node(flavour, host, f"app-{port}", "-erl_epmd_port", str(port)) as beam:
        yield beam


def test_an_address_without_a_route_is_refused(world: World, relay: Relay) -> None:
    near, unrouted = world.near[0], (world.far[1].address, 9001)
    before = len(relay.ended())
    with pytest.raises((HandshakeError, ConnectionError)):
        near.call(lambda: OldNode(near.node("lost"), COOKIE, unrouted))
    line = relay.wait_ended("target_unknown", after=before)
    assert line["near_address"].startswith(near.address)


def test_a_port_where_nobody_listens(world: World, relay: Relay) -> None:
    near, closed = world.near[0], (world.far[0].address, 9)
    before = len(relay.ended())
    with pytest.raises((HandshakeError, ConnectionError)):
        near.call(lambda: OldNode(near.node("lost"), COOKIE, closed))
    assert relay.wait_ended("dial_refused", after=before)["near"] == near.node("lost")


def test_the_listener_itself_is_no_target(world: World, relay: Relay) -> None:
    near, ours = world.near[0], ("10.0.1.9", 4400)
    before = len(relay.ended())
    with pytest.raises((HandshakeError, ConnectionError, socket.timeout)):
        near.call(lambda: OldNode(near.node("lost"), COOKIE, ours))
    assert relay.wait_ended("target_unknown", after=before)["near_address"].startswith(near.address)
