"""TLS distribution goes through the relay as it is: routed by SNI, certificates checked end to end."""

from collections.abc import Iterator

import pytest

from tests.interop.relay_world import Relay, configuration, inetrc, node, ping, relaying, stand_in, wait_nodes
from tests.interop.tls_world import Folders, certificate_folders, tls_node
from tests.support.beam import Flavour
from tests.support.subnets import World, subnets
from tests.support.trees import Otp

pytestmark = pytest.mark.interop

LISTED = 9001
"""A port of b1's stand-in address that is open from the start."""

PAIRS: list[tuple[Otp, Otp]] = [
    ("otp25", "otp27"),
    ("otp27", "otp25"),
    ("otp25", "otp25"),
    ("otp27", "otp27"),
]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with subnets() as world:
        yield world


@pytest.fixture(scope="module")
def relay(world: World) -> Iterator[Relay]:
    """A relay where b3 is found at the address that stands in for b1, for nodes of other names."""
    near, (first, second, third) = world.near, world.far
    routes = [
        *map(stand_in, (*near, second)),
        stand_in(first, names="app*", ports=[str(LISTED)]),
        {**stand_in(third), "listen": first.stand_in, "names": "shared*"},
    ]
    faces = [(near[0], first.stand_in), (near[0], second.stand_in), (first, near[0].stand_in)]
    with relaying(world, configuration(routes), faces) as relay:
        yield relay


@pytest.fixture(scope="module")
def folders(world: World) -> Iterator[Folders]:
    with certificate_folders(world.hosts) as folders:
        yield folders


@pytest.mark.parametrize(("near", "far"), PAIRS)
def test_tls_passes_through(world: World, relay: Relay, folders: Folders, near: Otp, far: Otp) -> None:
    with tls_node(near, world.near[0], folders) as a, tls_node(far, world.far[0], folders) as b:
        before = len(relay.ended())
        assert ping(a, b) == "pong"
        assert a.eval(f"rpc:call('{b.name}', erlang, node, []).") == f"'{b.name}'"
        wait_nodes(b, [a])
        size = b.eval(f"erpc:call('{a.name}', erlang, byte_size, [binary:copy(<<1>>, 10_000_000)]).")
        assert size == "10000000"
        assert len(relay.ended()) == before  # one link, which is still up


@pytest.mark.parametrize(("near", "far"), PAIRS[:2])
def test_the_host_that_tls_names_is_the_one_that_is_reached(
    world: World, relay: Relay, folders: Folders, near: Otp, far: Otp
) -> None:
    """All dial the same port of one address, and ask nobody for it."""
    first, _, third = world.far
    no_lookup = ("-erl_epmd_port", str(LISTED), "-start_epmd", "false")
    resolved = {first.name: first.stand_in, third.name: first.stand_in, world.near[0].name: "10.0.1.1"}
    with (
        inetrc(near, resolved) as file,
        tls_node(near, world.near[0], folders, "asker", *no_lookup, "-hidden", ERL_INETRC=file) as a,
        tls_node(far, first, folders, "app", *no_lookup) as b,
        tls_node(far, third, folders, "shared", *no_lookup) as c,
    ):
        assert ping(a, b) == "pong"
        assert ping(a, c) == "pong"
        assert a.eval(f"erpc:call('{c.name}', inet, gethostname, []).") == f'{{ok,"{third.place.short}"}}'


def test_a_node_without_tls_is_not_let_in(world: World, relay: Relay, folders: Folders) -> None:
    plain: Flavour = "otp25"
    with node(plain, world.near[1]) as a, tls_node("otp27", world.far[1], folders) as b:
        assert ping(a, b) == "pang"
        assert b.eval("nodes(connected).") == "[]"
