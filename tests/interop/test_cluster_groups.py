"""Groups of real nodes: each node sees those of its group, and nobody else but by a hidden link."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.interop.cluster_world import (
    SOON,
    Servers,
    World,
    connected,
    joining,
    leave,
    machines,
    node,
    reload,
    wait_connected,
)
from tests.support.beam import Beam, Flavour
from tests.support.hops import tables

pytestmark = pytest.mark.interop

Nodes = dict[str, Beam]
"""By alive name."""

PLACES: dict[str, tuple[int, Flavour]] = {
    "web-1": (0, "otp25"),
    "jobs-1": (0, "otp27"),
    "spare-1": (0, "otp25"),
    "web-2": (1, "otp27"),
    "jobs-2": (1, "elixir"),
}
"""Each node's host and release; `spare-1` belongs to no group."""

GROUPS = tables("cluster.group.web", {"nodes": ["web-*"]}) + tables(
    "cluster.group.jobs", {"nodes": ["jobs-*"]}
)

LINK = '[[cluster.link]]\ngroups = ["web", "jobs"]\nnodes = ["web-1", "jobs-*"]\n'

OURS = "epmdless-1"


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with machines(2) as world:
        yield world


@pytest.fixture(scope="module")
def servers(world: World) -> Iterator[Servers]:
    with joining(world, "") as servers:
        yield servers


@pytest.fixture(scope="module")
def nodes(world: World, servers: Servers) -> Iterator[Nodes]:
    with ExitStack() as stack:
        yield {
            alive: stack.enter_context(node(flavour, world.hosts[number], alive))
            for alive, (number, flavour) in PLACES.items()
        }


@pytest.fixture
def text(world: World, servers: Servers, nodes: Nodes, tmp_path: Path) -> Iterator[str]:
    """A configuration without groups whose one source names all nodes; all are apart again at the end."""
    path = tmp_path / "nodes"
    path.write_text("".join(f"{beam.name}\n" for beam in nodes.values()))
    yield world.cluster({"all": {"kind": "file", "path": str(path), "poll": SOON}})
    leave(servers, list(nodes.values()))


def whole(*names: str) -> set[str]:
    """Whole names of nodes, and of ours on the hosts of those that are named `+ALIVE`."""
    found = set()
    for name in names:
        alive = name.removeprefix("+")
        host = f"c{PLACES[alive][0] + 1}.internal"
        found.add(f"{OURS if name.startswith('+') else alive}@{host}")
    return found


def wait_wanted(servers: Servers, node: str, peers: set[str]) -> None:
    """Wait until a node's server shows just these peers, and has connected it to all of them."""
    server = servers[PLACES[node][0]]
    (name,) = whole(node)

    def look() -> bool:
        shown = server.local(name)
        return shown is not None and {(peer.name, peer.state) for peer in shown.peers} == {
            (peer, "connected") for peer in peers
        }

    server.wait(look, f"{node} with {peers}")


def test_groups_are_kept_apart(servers: Servers, nodes: Nodes, text: str) -> None:
    reload(servers, text + GROUPS)
    for alive in ("web-1", "web-2", "jobs-1", "jobs-2"):
        others = whole(*(other for other in PLACES if other[:-1] == alive[:-1] and other != alive))
        wait_wanted(servers, alive, others)
        assert connected(nodes[alive]) == others
        assert connected(nodes[alive], "hidden") == whole(f"+{alive}")
    assert connected(nodes["spare-1"], "connected") == set()


def test_a_link_joins_chosen_nodes_hidden(servers: Servers, nodes: Nodes, text: str) -> None:
    reload(servers, text + GROUPS + LINK)
    hidden = {
        "web-1": whole("jobs-1", "jobs-2"),
        "web-2": set[str](),
        "jobs-1": whole("web-1"),
        "jobs-2": whole("web-1"),
    }
    for alive, linked in hidden.items():
        others = whole(*(other for other in PLACES if other[:-1] == alive[:-1] and other != alive))
        wait_wanted(servers, alive, others | linked)
        assert connected(nodes[alive]) == others
        assert connected(nodes[alive], "hidden") == linked | whole(f"+{alive}")
    assert connected(nodes["spare-1"], "connected") == set()
    across = f"rpc:call('{nodes['jobs-1'].name}', erlang, nodes, [visible])."
    assert nodes["web-1"].eval(across) == f"['{nodes['jobs-2'].name}']"


def test_a_node_that_comes_into_a_group_is_joined(servers: Servers, nodes: Nodes, text: str) -> None:
    reload(servers, text + GROUPS)
    wait_wanted(servers, "web-1", whole("web-2"))
    reload(servers, text + GROUPS.replace('["web-*"]', '["web-*", "spare-1"]'))
    wait_connected(nodes["spare-1"], whole("web-1", "web-2"))
    assert connected(nodes["jobs-1"]) == whole("jobs-2")
