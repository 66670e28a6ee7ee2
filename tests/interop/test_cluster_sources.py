"""Three nodes of different releases, on three hosts, are joined by each source that names them."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.cluster_world import (
    SOON,
    Servers,
    World,
    joining,
    machines,
    nodes_on,
    part,
    reload,
    wait_apart,
    wait_joined,
)
from tests.support.beam import Beam

pytestmark = pytest.mark.interop

Nodes = tuple[Beam, ...]


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
    with nodes_on(world) as nodes:
        yield nodes


@pytest.fixture
def nodes(servers: Servers, running: Nodes) -> Iterator[Nodes]:
    """The nodes, which nobody has joined yet, and which are apart again at the end."""
    wait_apart(running)
    yield running
    reload(servers, "")
    part(running)


def test_the_configuration_names_them(world: World, servers: Servers, nodes: Nodes) -> None:
    names = [host.node() for host in world.hosts]
    reload(servers, world.cluster({"names": {"kind": "static", "nodes": names}}))
    wait_joined(nodes)


def test_a_file_names_them(world: World, servers: Servers, nodes: Nodes, tmp_path: Path) -> None:
    path = tmp_path / "nodes"
    path.write_text("# every node\n" + "".join(f"{host.node()}\n" for host in world.hosts))
    reload(servers, world.cluster({"names": {"kind": "file", "path": str(path), "poll": SOON}}))
    wait_joined(nodes)


def test_a_program_names_them(world: World, servers: Servers, nodes: Nodes) -> None:
    shown = json.dumps([{"name": host.node()} for host in world.hosts])
    reload(servers, world.cluster({"names": {"kind": "command", "argv": ["echo", shown]}}))
    wait_joined(nodes)
