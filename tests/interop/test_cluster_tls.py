"""Nodes that speak TLS distribution, each with a certificate for its host, are joined as others are."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.cluster_world import (
    Joining,
    Names,
    Servers,
    World,
    connected,
    joining,
    leave,
    machines,
    node,
    reload,
    wait_connected,
    wait_joined,
)
from tests.interop.tls_world import Folders, certificate_folders, tls_words
from tests.support.beam import Beam
from tests.support.hops import tables

pytestmark = pytest.mark.interop

Nodes = tuple[Beam, ...]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with machines(3) as world:
        yield world


@pytest.fixture(scope="module")
def folders(world: World) -> Iterator[Folders]:
    with certificate_folders(world.hosts) as folders:
        yield folders


@pytest.fixture(scope="module")
def servers(world: World) -> Iterator[Servers]:
    with joining(world, "") as servers:
        yield servers


@pytest.fixture(scope="module")
def running(servers: Servers, world: World, folders: Folders) -> Iterator[Nodes]:
    """Nodes on the first two hosts; what is wrong is on the third."""
    first, second = world.hosts[:2]
    with (
        node("otp25", first, "app", *tls_words("otp25", first, folders)) as one,
        node("otp27", second, "app", *tls_words("otp27", second, folders)) as two,
    ):
        yield one, two


@pytest.fixture
def nodes(servers: Servers, running: Nodes) -> Iterator[Nodes]:
    """The two, which are apart again at the end."""
    yield running
    leave(servers, running)


@pytest.fixture
def plain(world: World, tmp_path: Path) -> str:
    """A configuration that names `app` on each host, and is without TLS."""
    names = Names(tmp_path / "nodes")
    names.write(*(host.node() for host in world.hosts))
    return world.cluster({"names": names.source})


@pytest.fixture
def text(plain: str, world: World, folders: Folders) -> str:
    """The same with TLS; what nodes see of epmdless is the first host's certificate."""
    folder = folders["otp25"]
    own = folder / "own"
    own.touch(mode=0o600)
    own.write_bytes((folder / world.hosts[0].name).read_bytes())
    return plain + tables("cluster.tls", {"ca": str(folder / "ca"), "cert": str(own), "key": str(own)})


def reason(server: Joining, local: str, peer: str | None = None) -> str | None:
    """Why a local node, or a peer of it, is not joined."""
    if peer is None:  # who never came as far as to say its whole name is shown by its alive name
        view = server.local(local) or server.local(local.partition("@")[0])
        return None if view is None else view.reason
    shown = server.peers(local).get(peer)
    return None if shown is None else shown.reason


def wait_reason(server: Joining, wanted: str, local: str, peer: str | None = None) -> None:
    server.wait(lambda: reason(server, local, peer) == wanted, f"that the reason is {wanted}")


def our_names(beam: Beam) -> set[str]:
    return {name for name in connected(beam, "hidden") if name.startswith("epmdless-")}


def test_nodes_of_two_releases_are_joined(servers: Servers, nodes: Nodes, text: str) -> None:
    reload(servers, text)
    wait_joined(nodes)
    for beam, server in zip(nodes, servers, strict=False):
        server.wait(lambda: our_names(beam), "our connection")  # noqa: B023 - called at once
        assert reason(server, beam.name) is None


def test_a_node_whose_certificate_is_for_another_host_is_not_spoken_to(
    world: World, servers: Servers, nodes: Nodes, folders: Folders, text: str
) -> None:
    words = tls_words("otp27", world.hosts[1], folders)
    with node("otp27", world.hosts[2], "app", *words) as third:
        reload(servers, text)
        wait_joined(nodes)
        wait_reason(servers[2], "certificate", third.name)
        wait_reason(servers[0], "certificate", nodes[0].name, third.name)
        assert connected(third, "connected") == set()


def test_nodes_that_do_not_trust_our_certificate(
    world: World, servers: Servers, nodes: Nodes, text: str
) -> None:
    """They let nobody in without one of their authority."""
    without = "".join(line for line in text.splitlines(True) if not line.startswith(("cert =", "key =")))
    assert without != text
    reload(servers, without)
    for beam, server in zip(nodes, servers, strict=False):
        server.wait(lambda: reason(server, beam.name) in ("certificate", "tls"), "a refusal")  # noqa: B023
        wait_connected(beam, (), "connected")
    reload(servers, text)
    wait_joined(nodes)


def test_one_side_alone_speaks_tls(
    world: World, servers: Servers, nodes: Nodes, plain: str, text: str
) -> None:
    with node("otp27", world.hosts[2]) as third:
        reload(servers, text)
        wait_joined(nodes)
        wait_reason(servers[2], "tls", third.name)
        wait_reason(servers[0], "tls", nodes[0].name, third.name)
        reload(servers, plain)
        wait_connected(third, {"epmdless-1@c3.internal"}, "connected")
        wait_reason(servers[2], "tls", third.name, nodes[0].name)


def test_epmdless_comes_without_tls_where_nodes_speak_it(
    servers: Servers, nodes: Nodes, plain: str, text: str
) -> None:
    reload(servers, plain)
    for beam, server in zip(nodes, servers, strict=False):
        wait_reason(server, "tls", beam.name)
    reload(servers, text)
    wait_joined(nodes)
