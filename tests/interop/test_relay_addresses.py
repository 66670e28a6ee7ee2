"""How near nodes come to a far one: by address files of their own, by shared addresses, with no lookup."""

import json
from collections.abc import Iterator
from functools import partial

import pytest

from tests.interop.relay_world import (
    RELEASES,
    Relay,
    configuration,
    inetrc,
    node,
    ping,
    relaying,
    stand_in,
)
from tests.support.beam import fixed_port
from tests.support.epmd_client import lookup, names
from tests.support.process import run
from tests.support.subnets import EPMD_PORT, World, subnets
from tests.support.tools import PYTHON, clean_env
from tests.support.trees import Otp

pytestmark = pytest.mark.interop

LISTED = 9001
TAKEN = 9005
"""The port of two far nodes whose hosts share a stand-in address."""

FIRST_OF_RANGE = 9300

PAIRS: list[tuple[Otp, Otp]] = [("otp25", "otp27"), ("otp27", "otp25")]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with subnets() as world:
        yield world


@pytest.fixture
def relay(world: World) -> Iterator[Relay]:
    """A relay where b1 and b2 share an address, and b3 has a port that is open from the start."""
    left, right, listed = world.far
    routes = [
        stand_in(left, names="left*"),
        {**stand_in(right), "listen": left.stand_in, "names": "right*"},
        stand_in(listed, ports=[str(LISTED)]),
    ]
    text = configuration(routes, relay={"port_range": f"{FIRST_OF_RANGE}-{FIRST_OF_RANGE + 9}"})
    with relaying(world, text, [(world.near[0], left.stand_in), (world.near[0], listed.stand_in)]) as relay:
        yield relay


@pytest.mark.parametrize(("near", "far"), PAIRS)
def test_two_far_hosts_at_one_address(world: World, relay: Relay, near: Otp, far: Otp) -> None:
    home, (left, right, _) = world.near[0], world.far
    resolved = {left.name: left.stand_in, right.name: left.stand_in}
    with (
        inetrc(near, resolved) as file,
        node(near, home, "asker", "-hidden", ERL_INETRC=file) as asker,
        node(far, left, "left1", *fixed_port(TAKEN)) as b,
        node(near, right, "right1", *fixed_port(TAKEN)) as c,
    ):
        assert ping(asker, b) == "pong"
        assert ping(asker, c) == "pong"
        assert asker.eval(f"erpc:call('{c.name}', erlang, node, []).") == f"'{c.name}'"
        seen = home.call(partial(names, EPMD_PORT, left.stand_in))
        assert seen == {"left1": TAKEN, "right1": FIRST_OF_RANGE}
        found = home.call(partial(lookup, EPMD_PORT, "right1", left.stand_in))
        assert found is not None
        assert found.port == FIRST_OF_RANGE


@pytest.mark.parametrize(("near", "far"), PAIRS)
def test_a_listed_port_needs_no_lookup(world: World, relay: Relay, near: Otp, far: Otp) -> None:
    host = world.far[2]
    no_lookup = ("-erl_epmd_port", str(LISTED))
    with node(near, world.near[0], "asker", *no_lookup) as a, node(far, host, "app", *no_lookup) as b:
        host.stop_epmd()  # so nobody could answer
        try:
            assert ping(a, b) == "pong"
        finally:
            host.start_epmd("c")


@pytest.mark.parametrize("far", RELEASES)
def test_what_the_relay_shows_of_a_link(world: World, relay: Relay, far: Otp) -> None:
    host = world.far[2]
    with node("otp25", world.near[1]) as a, node(far, host) as b:
        assert ping(a, b) == "pong"
        done = run([PYTHON, "-m", "epmdless", "links", "--json", "--socket", relay.socket], env=clean_env())
        assert done.status == 0, done.stderr
        (link,) = json.loads(done.stdout)["links"]
        assert (link["near"]["node"], link["far"]["node"]) == (a.name, b.name)
        assert link["near_to_far"]["bytes"] > 0
