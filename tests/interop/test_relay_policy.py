"""What routes and rules ask for, seen by real nodes: meshes kept apart, cookies bridged, links denied."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.interop.relay_world import (
    CONNECTED_WITHIN,
    RELEASES,
    Relay,
    Settings,
    atoms,
    configuration,
    node,
    ping,
    relaying,
    stand_in,
    wait_value,
)
from tests.support.beam import Beam, Flavour
from tests.support.subnets import World, subnets

pytestmark = pytest.mark.interop

NEAR_COOKIE, FAR_COOKIE = "near-secret", "far-secret"

MIXED = [("otp25", "otp27"), ("otp27", "otp25")]
"""Releases of the near node and of the far one."""

ALL_NODES = "{lists:sort(nodes()), lists:sort(nodes(hidden))}."


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with subnets() as world:
        yield world


def cookie_file(folder: Path, cookie: str) -> str:
    """Write a cookie as operators must: for nobody else to read."""
    file = folder / cookie
    file.touch(0o600)
    file.write_text(cookie)
    return str(file)


@pytest.fixture(scope="module")
def relay(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    """A relay whose b1 is hidden, b2 has another cookie, and b3 has rules; a3 is plain."""
    folder = tmp_path_factory.mktemp("cookies")
    cookies = {
        "cookie_near": cookie_file(folder, NEAR_COOKIE),
        "cookie_far": cookie_file(folder, FAR_COOKIE),
    }
    hidden, bridged, ruled = world.far
    rules: list[Settings] = [
        {"action": "allow", "near": "trusted@*", "host": ruled.name},
        {"action": "deny", "far": "private*", "host": ruled.name},
        {"action": "deny", "from": [f"{world.near[1].address}/32"], "host": ruled.name},
    ]
    routes = [
        stand_in(hidden, hidden=True),
        stand_in(bridged, **cookies),
        stand_in(ruled),
        *(stand_in(host, hidden=True) for host in world.near),
    ]
    with relaying(world, configuration(routes, rules=rules)) as relay:
        yield relay


def test_hidden_links_keep_two_meshes_apart(world: World, relay: Relay) -> None:
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
def test_two_cookies_are_bridged(world: World, relay: Relay, near: Flavour, far: Flavour) -> None:
    with (
        node(near, world.near[0], cookie=NEAR_COOKIE) as a,
        node(far, world.far[1], cookie=FAR_COOKIE) as b,
    ):
        assert ping(a, b) == "pong"
        assert a.eval(f"rpc:call('{b.name}', erlang, get_cookie, []).") == f"'{FAR_COOKIE}'"
        wait_value(b, "nodes().", atoms([a.name]), CONNECTED_WITHIN)


@pytest.mark.parametrize(("near_cookie", "far_cookie"), [("wrong", FAR_COOKIE), (NEAR_COOKIE, "wrong")])
@pytest.mark.parametrize(("near", "far"), MIXED)
def test_a_wrong_cookie_is_refused_on_either_side(
    world: World, relay: Relay, near: Flavour, far: Flavour, near_cookie: str, far_cookie: str
) -> None:
    before = len(relay.ended())
    with (
        node(near, world.near[0], cookie=near_cookie) as a,
        node(far, world.far[1], cookie=far_cookie) as b,
    ):
        assert ping(a, b) == "pang"
        line = relay.wait_ended("wrong_cookie", after=before)
        assert (line["near"], line["far"]) == (a.name, b.name)
        assert seen_by(a) == seen_by(b) == "{[],[]}"
    logged = relay.program.stderr
    assert NEAR_COOKIE not in logged
    assert FAR_COOKIE not in logged


@pytest.mark.parametrize(("near", "far"), MIXED)
def test_rules_decide_in_their_order(world: World, relay: Relay, near: Flavour, far: Flavour) -> None:
    with (
        node(near, world.near[0], "anybody") as anybody,
        node(near, world.near[0], "trusted") as trusted,
        node(far, world.near[1], "elsewhere") as elsewhere,
        node(far, world.far[2], "public", "-kernel", "dist_auto_connect", "never") as public,
        node(far, world.far[2], "private1", "-kernel", "dist_auto_connect", "never") as private,
    ):
        before = len(relay.ended())
        for refused, target in ((anybody, private), (elsewhere, public)):
            assert ping(refused, target) == "pang"
            line = relay.wait_ended("refused_by_policy", after=before)
            assert line["near"] == refused.name
            before = len(relay.ended())
        assert ping(trusted, private) == "pong"
        assert ping(anybody, public) == "pong"
