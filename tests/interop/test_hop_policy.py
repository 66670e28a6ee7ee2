"""What routes ask for holds through a hop: cookies bridged, meshes kept apart, nodes found by their names."""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.interop.hop_world import MIXED, Ends, gateway, hop, joined, papers, through
from tests.interop.relay_world import (
    RELEASES,
    Settings,
    atoms,
    configuration,
    node,
    ping,
    wait_nodes,
)
from tests.support.beam import Beam, Flavour, fixed_port
from tests.support.certificates import Authority
from tests.support.epmd_client import names
from tests.support.subnets import EPMD_PORT
from tests.support.zones import Zones, zones

pytestmark = pytest.mark.interop

NEAR_COOKIE, FAR_COOKIE = "near-secret", "far-secret"

ALL_NODES = "{lists:sort(nodes()), lists:sort(nodes(hidden))}."

PORT = 9005
"""Of a node whose name says so."""

NO_EPMD = ("-erl_epmd_port", str(PORT))
"""Such a node asks nobody, and registers nowhere."""


@pytest.fixture(scope="module")
def world() -> Iterator[Zones]:
    with zones() as world:
        yield world


@pytest.fixture(scope="module")
def ends(world: Zones, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ends]:
    """Edges where b1 is hidden, b2 has another cookie, and nodes of b3 are found by the scheme."""
    folder = tmp_path_factory.mktemp("certificates")
    authority = Authority(folder)
    here, there = papers(authority, world.near_edge), papers(authority, world.far_edge)
    hidden, bridged, named = world.far
    routes = [
        through(hidden, hidden=True),
        through(bridged, **cookie_files(folder)),
        through(named, resolve=["scheme"]),
    ]
    back: list[Settings] = [through(host, hidden=True) for host in world.near]
    with joined(
        world,
        configuration(routes) + hop(here, world.far_edge) + gateway(here, world.near_edge),
        configuration(back) + hop(there, world.near_edge) + gateway(there, world.far_edge),
    ) as ends:
        yield ends


def cookie_files(folder: Path) -> dict[str, str]:
    """Write cookies as operators must: for nobody else to read."""
    files = {"cookie_near": (folder / "near", NEAR_COOKIE), "cookie_far": (folder / "far", FAR_COOKIE)}
    for file, cookie in files.values():
        file.touch(0o600)
        file.write_text(cookie)
    return {key: str(file) for key, (file, _) in files.items()}


@pytest.mark.parametrize(("near", "far"), MIXED)
def test_two_cookies_are_bridged(world: Zones, ends: Ends, near: Flavour, far: Flavour) -> None:
    with (
        node(near, world.near[0], cookie=NEAR_COOKIE) as a,
        node(far, world.far[1], cookie=FAR_COOKIE) as b,
    ):
        assert ping(a, b) == "pong"
        assert a.eval(f"erpc:call('{b.name}', erlang, get_cookie, []).") == f"'{FAR_COOKIE}'"
        wait_nodes(b, [a])


@pytest.mark.parametrize(("near_cookie", "far_cookie"), [("wrong", FAR_COOKIE), (NEAR_COOKIE, "wrong")])
def test_a_wrong_cookie_is_refused_on_either_side(
    world: Zones, ends: Ends, near_cookie: str, far_cookie: str
) -> None:
    before = len(ends.near.ended())
    with (
        node("otp25", world.near[0], cookie=near_cookie) as a,
        node("otp27", world.far[1], cookie=far_cookie) as b,
    ):
        assert ping(a, b) == "pang"
        line = ends.near.wait_ended("wrong_cookie", after=before)
        assert (line["near"], line["far"]) == (a.name, b.name)
        assert seen_by(a) == seen_by(b) == "{[],[]}"
    for relay in ends:
        assert NEAR_COOKIE not in relay.program.stderr
        assert FAR_COOKIE not in relay.program.stderr


def test_hidden_links_keep_two_meshes_apart(world: Zones, ends: Ends) -> None:
    with ExitStack() as stack:
        near = [
            stack.enter_context(node(flavour, host, "mesh"))
            for flavour, host in zip(RELEASES, world.near, strict=False)
        ]
        far = [stack.enter_context(node(RELEASES[number], world.far[0], f"far{number}")) for number in (1, 0)]
        assert [ping(near[0], near[1]), ping(far[0], far[1])] == ["pong", "pong"]
        assert ping(near[0], far[0]) == "pong"
        assert seen_by(near[0]) == both([near[1]], [far[0]])
        assert seen_by(far[0]) == both([far[1]], [near[0]])
        # `global` would have told the other two of each other by the time that it has synchronized.
        assert near[0].eval(f"rpc:call('{far[0].name}', global, sync, []).") == "ok"
        assert seen_by(near[1]) == both([near[0]], [])
        assert seen_by(far[1]) == both([far[0]], [])
        assert ping(far[1], near[1]) == "pong"
        assert seen_by(near[1]) == both([near[0]], [far[1]])


def seen_by(beam: Beam) -> str:
    return beam.eval(ALL_NODES)


def both(visible: list[Beam], hidden: list[Beam]) -> str:
    return f"{{{atoms([beam.name for beam in visible])},{atoms([beam.name for beam in hidden])}}}"


@pytest.mark.parametrize(("near", "far"), MIXED)
def test_a_node_is_found_by_its_name(world: Zones, ends: Ends, near: Flavour, far: Flavour) -> None:
    """Its own host has no EPMD server, and nobody is asked for one."""
    host = world.far[2]
    host.stop_epmd()
    try:
        with (
            node(near, world.near[0], "asker", "-hidden") as a,
            node(far, host, f"app-{PORT}", *fixed_port(PORT), *NO_EPMD) as b,
        ):
            assert ping(a, b) == "pong"
            assert a.eval(f"erpc:call('{b.name}', erlang, node, []).") == f"'{b.name}'"
            assert ping(a, host.node(f"nobody-{PORT + 1}")) == "pang"
    finally:
        host.start_epmd("c")


def test_the_nodes_of_a_host_are_listed(world: Zones, ends: Ends) -> None:
    host = world.far[0]
    with node("otp25", host, "one") as one, node("otp27", host, "two") as two:
        listed = world.near[0].call(partial(names, EPMD_PORT, host.stand_in))
        assert listed == host.call(partial(names, EPMD_PORT))
        assert sorted(map(host.node, listed)) == [one.name, two.name]
