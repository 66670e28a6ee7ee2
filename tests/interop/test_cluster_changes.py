"""Real nodes that come, die, come back, are renamed, or are no longer named, while others stay joined."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from epmdless.cli.cluster_views import PeerView
from tests.interop.cluster_world import (
    FLAVOURS,
    Joining,
    Names,
    Servers,
    World,
    connected,
    joining,
    kill,
    leave,
    machines,
    node,
    reload,
    wait_connected,
    wait_joined,
)
from tests.support.beam import Beam

pytestmark = pytest.mark.interop

Nodes = tuple[Beam, ...]

KEPT = "1s"


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
    """Nodes on the first two hosts; the third is for those that come and go."""
    with ExitStack() as stack:
        yield tuple(
            stack.enter_context(node(flavour, host))
            for flavour, host in zip(FLAVOURS, world.hosts[:2], strict=False)
        )


@pytest.fixture
def names(tmp_path: Path) -> Names:
    return Names(tmp_path / "nodes")


@pytest.fixture
def text(world: World, names: Names) -> str:
    """A configuration with the file as its source."""
    return world.cluster({"names": names.source}, hold=KEPT)


@pytest.fixture
def nodes(servers: Servers, running: Nodes, names: Names, text: str) -> Iterator[Nodes]:
    """The two, joined; they are apart again at the end."""
    names.write(*(beam.name for beam in running))
    reload(servers, text)
    wait_joined(running)
    yield running
    leave(servers, running)


def named(beams: Sequence[Beam]) -> list[str]:
    return [beam.name for beam in beams]


def test_a_node_comes(world: World, names: Names, nodes: Nodes) -> None:
    with node("elixir", world.hosts[2]) as third:
        names.write(*named([*nodes, third]))
        wait_joined([*nodes, third])


def test_a_node_that_is_named_before_it_is_up(
    world: World, servers: Servers, names: Names, nodes: Nodes
) -> None:
    name = world.hosts[2].node()
    names.write(*named(nodes), name)

    def missed() -> PeerView | None:
        peer = servers[0].peers(nodes[0].name).get(name)
        return peer if peer and (peer.state, peer.reason) == ("failing", "not_registered") else None

    peer = servers[0].wait(missed, "a peer that is not there")
    assert peer.attempts == 0, "the node was sent to a host that is not up"
    with node("otp27", world.hosts[2]) as third:
        wait_joined([*nodes, third])


def test_a_node_is_killed_and_comes_back(world: World, names: Names, nodes: Nodes) -> None:
    with node("otp27", world.hosts[2]) as third:
        names.write(*named([*nodes, third]))
        wait_joined([*nodes, third])
        kill(third)
        wait_joined(nodes)
    with node("otp27", world.hosts[2]) as third:
        wait_joined([*nodes, third])


def test_a_node_is_renamed(world: World, servers: Servers, names: Names, nodes: Nodes) -> None:
    with node("elixir", world.hosts[2], "old") as old:
        names.write(*named([*nodes, old]))
        wait_joined([*nodes, old])
    with node("elixir", world.hosts[2], "new") as new:
        names.write(*named([*nodes, new]))
        wait_joined([*nodes, new])
        wanted = {nodes[1].name, new.name}
        servers[0].wait(lambda: set(servers[0].peers(nodes[0].name)) == wanted, "the old name's end")


def test_who_is_named_no_longer_is_left_alone(
    world: World, servers: Servers, names: Names, nodes: Nodes
) -> None:
    with node("otp25", world.hosts[2]) as third:
        names.write(*named([*nodes, third]))
        wait_joined([*nodes, third])
        names.write(*named(nodes))
        servers[0].wait(lambda: third.name not in servers[0].peers(nodes[0].name), "its end")
        wait_joined([*nodes, third])


def test_who_is_named_no_longer_is_disconnected(
    world: World, servers: Servers, names: Names, nodes: Nodes
) -> None:
    reload(servers, world.cluster({"names": names.source}, hold=KEPT, disconnect="gone"))
    with node("otp27", world.hosts[2]) as third:
        names.write(*named([*nodes, third]))
        wait_joined([*nodes, third])
        names.write(*named(nodes))
        wait_joined(nodes)
        wait_connected(third, ())
        names.write(*named([*nodes, third]))
        wait_joined([*nodes, third])


def test_what_is_shown_is_what_the_nodes_see(
    world: World, servers: Servers, names: Names, nodes: Nodes
) -> None:
    with node("elixir", world.hosts[2]) as third:
        names.write(*named([*nodes, third]), "dead@c3.internal")
        wait_joined([*nodes, third])
        for server, beam in zip(servers, [*nodes, third], strict=True):
            wait_shown(server, beam.name, 2)
            shown = states(server.told(), beam.name)
            assert {name for name, state in shown.items() if state == "connected"} == connected(beam)
            assert shown["dead@c3.internal"] in ("waiting", "failing", "connecting")


def wait_shown(server: Joining, node: str, peers: int) -> None:
    """Wait until a server has seen that its node is connected to so many peers."""

    def look() -> bool:
        local = server.local(node)
        return local is not None and local.connected == peers

    server.wait(look, f"{peers} peers of {node}")


def states(document: dict[str, Any], node: str) -> dict[str, str]:
    """The state of each peer of a node, as it is shown to programs."""
    nodes = {shown["name"]: shown for group in document["groups"] for shown in group["nodes"]}
    return {peer["name"]: peer["state"] for peer in nodes[node]["peers"]}
