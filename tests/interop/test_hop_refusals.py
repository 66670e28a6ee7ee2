"""Why a link through a hop does not come up: the near relay's log says it, and the gateway dials nothing."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from tests.interop.hop_world import (
    MIXED,
    Ends,
    Papers,
    gateway,
    hop,
    hop_name,
    joined,
    papers,
    through,
    wait_line,
    wait_tunnel_ended,
)
from tests.interop.relay_world import Settings, configuration, node, ping
from tests.support.beam import Beam, Flavour, fixed_port
from tests.support.certificates import Authority
from tests.support.epmd_client import Registration, lookup
from tests.support.machine import Machine
from tests.support.subnets import EPMD_PORT
from tests.support.zones import BORDER, INSIDE, Zones, zones

pytestmark = pytest.mark.interop

METADATA = "169.254.169.254"
"""Where most clouds tell a machine its secrets."""

OUTSIDE = BORDER["b"]
"""Beyond the zone's network; the far edge could dial it."""

ELSEWHERE = {
    "outside.az-b.internal": (OUTSIDE, "not in the networks"),
    "home.az-b.internal": ("127.0.0.1", "not in the networks"),
    "home.anywhere.internal": ("127.0.0.1", "loopback"),
    "metadata.anywhere.internal": (METADATA, "link-local"),
}
"""Allowed names that lead where no grant leads, and what is said of each."""

NAMELESS = "nowhere.az-b.internal"
FOREIGN = "app.az-c.internal"
LOOKED_UP = "db.az-c.internal"
"""Hosts of another zone; those who look for the second one ask its EPMD server."""

LIVE_PORT, REBOUND_PORT, GHOST_PORT, FORBIDDEN_PORT, PRIVATE_PORT = 9005, 9006, 9007, 20001, 9008


@pytest.fixture(scope="module")
def world() -> Iterator[Zones]:
    with zones() as world:
        world.far_edge.run(f"ip address add {METADATA}/32 dev lo")
        world.far_edge.know({name: address for name, (address, _) in ELSEWHERE.items()})
        third = world.far[2].stand_in
        world.near[0].know(
            stand_ins=True, also=dict.fromkeys([*ELSEWHERE, NAMELESS, FOREIGN, LOOKED_UP], third)
        )
        yield world


@pytest.fixture(scope="module")
def certificates(world: Zones, tmp_path_factory: pytest.TempPathFactory) -> tuple[Papers, Papers]:
    authority = Authority(tmp_path_factory.mktemp("certificates"))
    return papers(authority, world.near_edge), papers(authority, world.far_edge)


def texts(world: Zones, certificates: tuple[Papers, Papers]) -> tuple[str, str]:
    """The edges' configurations; nodes of b2, and those of the odd names, are found by the scheme."""
    here, there = certificates
    first, second, third = world.far
    routes: list[Settings] = [through(first), through(second, resolve=["scheme"])]
    for name in (*ELSEWHERE, NAMELESS, FOREIGN):
        shared = through(third, names=f"{name.replace('.', '-')}-*", resolve=["scheme"])
        routes.append({**shared, "host": name})
    routes.append({**through(third, names="db"), "host": LOOKED_UP})
    allows: list[Settings] = [
        {
            "client": world.near_edge.name,
            "hosts": ["*.az-b.internal", INSIDE["b"]],
            "ports": ["9000-9999", EPMD_PORT],
            "nodes": ["app*", "asker*", "ghost*", "*-internal-*"],
        },
        {"client": world.near_edge.name, "hosts": ["*.anywhere.internal"], "ports": ["9000-9999"]},
    ]
    near = configuration(routes) + hop(here, world.far_edge)
    return near, gateway(there, world.far_edge, *allows)


@pytest.fixture(scope="module")
def ends(world: Zones, certificates: tuple[Papers, Papers]) -> Iterator[Ends]:
    faces = [(world.near[0], world.far[0].stand_in)]
    with joined(world, *texts(world, certificates), faces) as ends:
        yield ends


@pytest.fixture(scope="module")
def asker(world: Zones, ends: Ends) -> Iterator[Beam]:
    with node("otp27", world.near[0], "asker", "-hidden") as beam:
        yield beam


def odd(name: str, port: int) -> str:
    """The name of a node on a host of an odd name, which says its port."""
    return f"{name.replace('.', '-')}-{port}@{name}"


@contextmanager
def watched(machine: Machine, address: str, port: int) -> Iterator[None]:
    """Listen on a machine; nobody may come."""
    with machine.call(partial(socket.create_server, (address, port))) as listener:
        listener.setblocking(False)
        machine.call(lambda: socket.create_connection((address, port), 1).close())
        listener.accept()[0].close()  # so it would be seen
        yield
        with pytest.raises(BlockingIOError):
            listener.accept()


def refused(ends: Ends, asker: Beam, target: str, code: str, detail: str) -> None:
    """Have the asker connect in vain, and look at what both logs say of that."""
    before = len(ends.near.ended())
    assert ping(asker, target) == "pang"
    line = ends.near.wait_ended(code, after=before)
    assert line["near"] == asker.name
    assert line["hop"] == hop_name("b")
    assert detail in line["detail"]
    there = wait_tunnel_ended(ends.far, line["tunnel"])
    assert detail in there["detail"]


@pytest.mark.parametrize(("near", "far"), MIXED)
def test_what_is_allowed_passes(world: Zones, ends: Ends, near: Flavour, far: Flavour) -> None:
    with (
        node(near, world.near[1], "app", "-hidden") as a,
        node(far, world.far[0], "app", *fixed_port(LIVE_PORT)) as b,
        node(far, world.far[1], f"app-{LIVE_PORT}", *fixed_port(LIVE_PORT)) as c,
    ):
        assert [ping(a, b), ping(a, c)] == ["pong", "pong"]


def test_a_host_that_is_not_allowed(ends: Ends, asker: Beam) -> None:
    refused(ends, asker, odd(FOREIGN, LIVE_PORT), "refused_by_gateway", f"{FOREIGN} is not among the names")


def test_a_lookup_that_is_not_allowed(ends: Ends, asker: Beam) -> None:
    assert ping(asker, f"db@{LOOKED_UP}") == "pang"
    line = wait_line(ends.near, lambda line: line["event"] == "source failed", "a lookup that failed")
    assert f"{LOOKED_UP} is not among the names" in line["error"]


def test_a_port_that_is_not_allowed(world: Zones, ends: Ends, asker: Beam) -> None:
    with node("otp25", world.far[0], "app", *fixed_port(FORBIDDEN_PORT)) as far:
        refused(ends, asker, far.name, "refused_by_gateway", f"port {FORBIDDEN_PORT} is not in the ports")


def test_a_node_that_is_not_allowed_is_not_told_of(world: Zones, ends: Ends, asker: Beam) -> None:
    near, host = world.near[0], world.far[0]
    with node("otp25", host, "private") as far:
        assert host.call(partial(lookup, EPMD_PORT, "private")) is not None
        assert near.call(partial(lookup, EPMD_PORT, "private", host.stand_in)) is None
        assert ping(asker, far) == "pang"


def test_a_node_that_is_not_allowed_and_known_all_the_same(world: Zones, ends: Ends, asker: Beam) -> None:
    """It is in the handshake that the gateway learns its name; the near relay hears what a node would say."""
    host, before = world.far[1], len(ends.near.ended())
    with node("otp25", host, f"private-{PRIVATE_PORT}", *fixed_port(PRIVATE_PORT)) as far:
        assert ping(asker, far) == "pang"
        line = ends.near.wait_ended("far_not_allowed", after=before)
        there = wait_tunnel_ended(ends.far, line["tunnel"])
        assert there["end"] == "refused_by_policy"
        assert there["far"] == far.name
        assert f"{far.name} is not among the nodes" in there["detail"]
        assert far.eval("nodes(connected).") == "[]"


def test_a_node_that_is_not_there(world: Zones, ends: Ends, asker: Beam) -> None:
    host = world.far[1]
    refused(ends, asker, host.node(f"ghost-{GHOST_PORT}"), "dial_refused", "Connection refused")


def test_a_node_that_has_left_its_name_behind(world: Zones, ends: Ends, asker: Beam) -> None:
    host = world.far[0]
    with host.call(partial(Registration, EPMD_PORT, "ghost", GHOST_PORT)):
        refused(ends, asker, host.node("ghost"), "dial_refused", "Connection refused")


def test_a_host_that_the_gateway_does_not_know(ends: Ends, asker: Beam) -> None:
    refused(ends, asker, odd(NAMELESS, LIVE_PORT), "target_unknown", NAMELESS)


@pytest.mark.parametrize("name", ELSEWHERE)
def test_an_allowed_name_that_leads_elsewhere(world: Zones, ends: Ends, asker: Beam, name: str) -> None:
    address, said = ELSEWHERE[name]
    machine = world.border if address == OUTSIDE else world.far_edge
    with watched(machine, address, LIVE_PORT):
        refused(ends, asker, odd(name, LIVE_PORT), "refused_by_gateway", said)


@pytest.mark.parametrize("address", ["127.0.0.1", METADATA, OUTSIDE])
def test_a_name_that_leads_elsewhere_all_at_once(world: Zones, ends: Ends, asker: Beam, address: str) -> None:
    host = world.far[1]
    machine = world.border if address == OUTSIDE else world.far_edge
    names = {name: where for name, (where, _) in ELSEWHERE.items()}
    with node("otp25", host, f"app-{REBOUND_PORT}", *fixed_port(REBOUND_PORT)) as far:
        assert ping(asker, far) == "pong"
        asker.eval(f"erlang:disconnect_node('{far.name}').")
        world.far_edge.know({**names, host.name: address})
        try:
            with watched(machine, address, REBOUND_PORT):
                refused(ends, asker, far.name, "refused_by_gateway", "not in the networks")
        finally:
            world.far_edge.know(names)
        assert ping(asker, far) == "pong"


def test_a_gateway_that_is_down(
    world: Zones, certificates: tuple[Papers, Papers], ends: Ends, asker: Beam
) -> None:
    """The last one here: it ends the gateway."""
    before = len(ends.near.ended())
    ends.far.program.kill()
    assert ping(asker, world.far[1].node(f"app-{LIVE_PORT}")) == "pang"
    line = ends.near.wait_ended("gateway_down", after=before)
    assert f"{world.far_edge.name}:4370" in line["detail"]
