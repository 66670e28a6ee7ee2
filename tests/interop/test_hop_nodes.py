"""Six real nodes in two zones with one port open between them: two relays and two gateways make one mesh."""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.interop.hop_world import (
    Ends,
    both_zones,
    hop_name,
    joined,
    link_between,
    papers,
    wait_tunnel_ended,
)
from tests.interop.relay_world import CONNECTED_WITHIN, RELEASES, atoms, node, ping, wait_nodes, wait_value
from tests.support.beam import Beam
from tests.support.certificates import Authority
from tests.support.deadline import eventually
from tests.support.epmd_client import lookup, names
from tests.support.machine import Machine
from tests.support.subnets import EPMD_PORT, dropped
from tests.support.tools import PYTHON
from tests.support.zones import GATEWAY_PORT, Zones, reached, zones

pytestmark = pytest.mark.interop

Six = tuple[Beam, ...]
"""a1, a2 and a3, then b1, b2 and b3. OTP 25: a1, a3, b2. OTP 27: a2, b1, b3."""

PAIRS = [(0, 3), (1, 4), (3, 0), (5, 1)]
"""Who and whom: both releases at both ends, from either zone."""

GROUP = """
    case pg:start(pg) of {ok, Pid} -> unlink(Pid); _ -> ok end,
    pg:join(everybody, spawn(fun() -> receive after infinity -> ok end end)).
"""

MEMBERS = "lists:usort([node(Pid) || Pid <- pg:get_members(everybody)])."


@pytest.fixture(scope="module")
def world() -> Iterator[Zones]:
    with zones() as world:
        yield world


@pytest.fixture(scope="module")
def ends(world: Zones, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ends]:
    authority = Authority(tmp_path_factory.mktemp("certificates"))
    texts = both_zones(world, papers(authority, world.near_edge), papers(authority, world.far_edge))
    with joined(world, *texts) as ends:
        yield ends


@pytest.fixture(scope="module")
def six(world: Zones, ends: Ends) -> Iterator[Six]:
    with ExitStack() as stack:
        yield tuple(
            stack.enter_context(node(RELEASES[number % 2], host, f"app-{host.place.short}"))
            for number, host in enumerate(world.hosts)
        )


def test_one_port_passes_between_the_edges(world: Zones, ends: Ends) -> None:
    for here, there in ((world.near_edge, world.far_edge), (world.far_edge, world.near_edge)):
        before = dropped(world.border)
        ports = (EPMD_PORT, GATEWAY_PORT, GATEWAY_PORT + 1)
        found = reached(here, [(there.address, port) for port in ports])
        assert found == [(there.address, GATEWAY_PORT)]
        assert dropped(world.border) > before


def test_no_host_reaches_a_host_of_the_other_zone(world: Zones, ends: Ends) -> None:
    for host, edge in ((world.near[0], world.near_edge), (world.far[0], world.far_edge)):
        before = dropped(edge)
        abroad = [(other.address, port) for other in world.abroad(host) for port in (EPMD_PORT, GATEWAY_PORT)]
        assert reached(host, abroad) == []
        assert dropped(edge) > before


@pytest.mark.parametrize(("who", "whom"), PAIRS)
def test_two_nodes_find_each_other(world: Zones, ends: Ends, six: Six, who: int, whom: int) -> None:
    """And the link has the same id in the logs of both edges."""
    a, b = six[who], six[whom]
    assert ping(a, b) == "pong"
    assert a.eval(f"erpc:call('{b.name}', erlang, node, []).") == f"'{b.name}'"
    assert b.eval(f"lists:member('{a.name}', nodes()).") == "true"
    here, there = link_between(ends.near, a, b), link_between(ends.far, a, b)
    assert here["tunnel"] == there["tunnel"]
    dialler, answerer = (ends.near, ends.far) if "hop" in here else (ends.far, ends.near)
    ours, theirs = link_between(dialler, a, b), link_between(answerer, a, b)
    edge, other = world.near_edge, world.far_edge
    if dialler is ends.far:
        edge, other = other, edge
    assert ours["hop"] == hop_name(other.zone)
    assert theirs["client"] == edge.name


def test_two_meshes_become_one(six: Six) -> None:
    mesh_all(six)


def mesh_all(six: Six) -> None:
    """Connect the nodes of each zone, and then one of each; all must find each other by that."""
    for mesh in (six[:3], six[3:]):
        assert [ping(mesh[0], other) for other in mesh[1:]] == ["pong", "pong"]
    assert ping(six[0], six[3]) == "pong"
    for one in six:
        wait_nodes(one, [other for other in six if other is not one])


def test_names_are_known_to_all(six: Six) -> None:
    mesh_all(six)
    for number in (0, 4):
        assert six[number].eval(f"global:register_name(name_{number}, self()).") == "yes"
        for one in six:
            wait_value(one, f"node(global:whereis_name(name_{number})).", f"'{six[number].name}'")


@pytest.mark.parametrize(("asker", "asked"), [(1, 3), (5, 1)])
def test_the_relay_answers_for_the_other_zone(world: Zones, six: Six, asker: int, asked: int) -> None:
    here, host = world.hosts[asker], world.hosts[asked]
    alive = six[asked].name.partition("@")[0]
    real = host.call(partial(names, EPMD_PORT))
    assert list(real) == [alive]
    assert here.call(partial(names, EPMD_PORT, host.stand_in)) == real
    found = here.call(partial(lookup, EPMD_PORT, alive, host.stand_in))
    assert found is not None
    assert (found.alive, found.port) == (alive, real[alive])
    assert here.call(partial(lookup, EPMD_PORT, "nobody", host.stand_in)) is None
    assert six[asker].eval(f"net_adm:names('{host.name}').") == f'{{ok,[{{"{alive}",{real[alive]}}}]}}'


@pytest.mark.parametrize(("who", "whom"), [(0, 3), (4, 1)])
def test_a_link_that_an_operator_ends_heals(world: Zones, ends: Ends, six: Six, who: int, whom: int) -> None:
    a, b = six[who], six[whom]
    everybody = atoms([one.name for one in six])
    mesh_all(six)
    for one in six:
        one.eval(GROUP)
    line = link_between(ends.near, a, b)
    end_link(world.near_edge, ends.near.socket, line["link"])
    assert wait_tunnel_ended(ends.near, line["tunnel"])["end"] == "ended"
    assert wait_tunnel_ended(ends.far, line["tunnel"])["end"] in {"near_closed", "far_closed"}
    eventually(lambda: heals(six), within=CONNECTED_WITHIN, what="a whole mesh")
    assert link_between(ends.near, a, b)["tunnel"] != line["tunnel"]
    for one in six:
        wait_value(one, MEMBERS, everybody)


def heals(six: Six) -> bool:
    """Have each node connect to all others, as an application does again and again; tell if that is so now.

    `global` may take further links down, so that no two nodes see different meshes.
    """
    others = [[other.name for other in six if other is not one] for one in six]
    asked = [
        one.begin(f"[net_adm:ping(Node) || Node <- {list(names)}], length(nodes()).")
        for one, names in zip(six, others, strict=True)
    ]
    return [answer() for answer in asked] == ["5"] * len(six)


def end_link(edge: Machine, socket_path: Path, number: int) -> None:
    edge.run(f'"{PYTHON}" -m epmdless links --socket "$1" end "$2"', str(socket_path), str(number))
