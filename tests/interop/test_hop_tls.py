"""TLS distribution goes through a hop as it is: certificates checked end to end, inside the hop's own TLS."""

from collections.abc import Iterator

import pytest

from tests.interop.hop_world import Ends, Papers, faces_of_far, gateway, joined, one_way, papers, zone_of
from tests.interop.relay_world import ping, wait_nodes
from tests.interop.tls_world import Folders, certificate_folders, tls_node
from tests.support.certificates import Authority
from tests.support.trees import Otp
from tests.support.zones import Zones, zones

pytestmark = pytest.mark.interop

PAIRS: list[tuple[Otp, Otp]] = [("otp25", "otp27"), ("otp27", "otp25")]


@pytest.fixture(scope="module")
def world() -> Iterator[Zones]:
    with zones() as world:
        yield world


@pytest.fixture(scope="module")
def folders(world: Zones) -> Iterator[Folders]:
    with certificate_folders(world.hosts) as folders:
        yield folders


@pytest.fixture(scope="module")
def certificates(world: Zones, tmp_path_factory: pytest.TempPathFactory) -> tuple[Papers, Papers]:
    authority = Authority(tmp_path_factory.mktemp("certificates"))
    return papers(authority, world.near_edge), papers(authority, world.far_edge)


@pytest.fixture(scope="module")
def ends(world: Zones, certificates: tuple[Papers, Papers]) -> Iterator[Ends]:
    with joined(world, *one_way(world, *certificates), faces_of_far(world)) as ends:
        yield ends


@pytest.mark.parametrize(("near", "far"), PAIRS)
def test_tls_passes_through(world: Zones, ends: Ends, folders: Folders, near: Otp, far: Otp) -> None:
    with tls_node(near, world.near[0], folders) as a, tls_node(far, world.far[0], folders) as b:
        before = len(ends.near.ended())
        assert ping(a, b) == "pong"
        assert a.eval(f"rpc:call('{b.name}', erlang, node, []).") == f"'{b.name}'"
        wait_nodes(b, [a])
        size = b.eval(f"erpc:call('{a.name}', erlang, byte_size, [binary:copy(<<1>>, 10_000_000)]).")
        assert size == "10000000"
        assert len(ends.near.ended()) == before  # one link, which is still up


def test_tls_is_refused_where_certain_nodes_alone_are_allowed(
    world: Zones, ends: Ends, folders: Folders, certificates: tuple[Papers, Papers]
) -> None:
    edge = world.far_edge
    with tls_node("otp25", world.near[0], folders) as a, tls_node("otp27", world.far[0], folders) as b:
        before = len(ends.far.ended())
        ends.far.reload(gateway(certificates[1], edge, {**zone_of(edge), "nodes": ["app"]}))
        assert ping(a, b) == "pang"
        assert "inside TLS" in ends.far.wait_ended("refused_by_policy", after=before)["detail"]
        ends.far.reload(gateway(certificates[1], edge))
        assert ping(a, b) == "pong"
