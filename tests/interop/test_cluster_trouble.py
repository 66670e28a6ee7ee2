"""What happens to real nodes when one of them, or epmdless itself, is not as it should be."""

import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.interop.cluster_world import (
    GONE_WITHIN,
    Host,
    Joining,
    Names,
    Servers,
    World,
    connected,
    joining,
    leave,
    machines,
    node,
    part,
    reload,
    serving,
    wait_connected,
    wait_joined,
)
from tests.interop.relay_world import wait_value
from tests.support.beam import Beam, Flavour

pytestmark = pytest.mark.interop

Nodes = tuple[Beam, ...]

NO_EPMD = "[epmd]\nlisten = []\n"
"""Of two programs on one machine only one can have the port."""

# What a node has that we could leave behind; and modules that are not the release's own.
STATE = "{lists:sort(processes()), lists:sort(registered())}."
FOREIGN_CODE = """
    [Module || {Module, File} <- code:all_loaded(), is_list(File), File =/= [],
               not lists:prefix(code:root_dir(), File)].
"""


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with machines(3) as world:
        yield world


@pytest.fixture(scope="module")
def servers(world: World) -> Iterator[Servers]:
    with joining(world, "") as servers:
        yield servers


@pytest.fixture(scope="module")
def running(servers: Servers, world: World) -> Iterator[Nodes]:
    """Nodes on the first two hosts; what is wrong is on the third."""
    with node("otp25", world.hosts[0]) as first, node("otp27", world.hosts[1]) as second:
        yield first, second


@pytest.fixture
def text(world: World, tmp_path: Path) -> str:
    """A configuration that names `app` on each host."""
    names = Names(tmp_path / "nodes")
    names.write(*(host.node() for host in world.hosts))
    return world.cluster({"names": names.source})


@pytest.fixture
def nodes(servers: Servers, running: Nodes) -> Iterator[Nodes]:
    """The two, whom nobody has joined yet, and which are apart again at the end."""
    part(running)
    yield running
    leave(servers, running)


def ours(*hosts: Host, number: int = 1) -> set[str]:
    """Our names of this number on hosts."""
    return {f"epmdless-{number}@{host.name}" for host in hosts}


def test_a_node_with_another_cookie_harms_nobody(
    world: World, servers: Servers, nodes: Nodes, text: str
) -> None:
    with node("otp27", world.hosts[2], cookie="sesame") as third:
        reload(servers, text)
        wait_joined(nodes)

        def refused() -> bool:
            return all(
                (peer := server.peers(beam.name).get(third.name)) is not None and peer.reason == "refused"
                for server, beam in zip(servers, nodes, strict=False)
            )

        servers[0].wait(refused, "that it refuses the others")
        servers[2].wait(lambda: bool(failing(servers[2])), "that it refuses us")
        assert failing(servers[2]) == [(third.name, "cookie")]
        assert connected(third, "connected") == set()
        wait_joined(nodes)
        for server in servers:
            assert "sesame" not in server.program.stderr
            assert "interop" not in server.program.stderr


def failing(server: Joining) -> list[tuple[str, str]]:
    """The local nodes that a server cannot talk to, and why, as it is shown to programs."""
    nodes = [node for group in server.told()["groups"] for node in group["nodes"]]
    return [(node["name"], node["reason"]) for node in nodes if node["state"] == "failing"]


def test_a_node_that_hangs_is_joined_once_it_does_not(
    world: World, servers: Servers, nodes: Nodes, text: str
) -> None:
    with node("elixir", world.hosts[2]) as third:
        third.program.signal(signal.SIGSTOP)
        reload(servers, text)
        wait_joined(nodes)
        shown = servers[0].peers(nodes[0].name)[third.name]
        assert shown.state != "connected"
        third.program.signal(signal.SIGCONT)
        wait_joined([*nodes, third])


@pytest.mark.parametrize(("flavour", "flags"), [("otp25", ["-hidden"]), ("otp27", ["-hidden", "true"])])
def test_a_hidden_node_is_left_alone(
    world: World, servers: Servers, nodes: Nodes, text: str, flavour: Flavour, flags: list[str]
) -> None:
    """EPMD takes it for any other node: Erlang's own say nothing of that there."""
    with node(flavour, world.hosts[2], "unseen", *flags) as unseen:
        reload(servers, text)
        servers[2].wait(lambda: bool(failing(servers[2])), "that it is left alone")
        assert failing(servers[2]) == [(unseen.name, "left_out")]
        wait_joined(nodes)
        wait_connected(unseen, (), "connected")


def test_a_node_that_is_expressly_not_hidden(world: World, servers: Servers, nodes: Nodes, text: str) -> None:
    with node("otp25", world.hosts[2], "app", "-hidden", "false") as third:
        reload(servers, text)
        wait_joined([*nodes, third])


def test_two_for_one_node(world: World, servers: Servers, nodes: Nodes, text: str) -> None:
    first, second = world.hosts[:2]
    reload(servers, text)
    wait_connected(nodes[0], ours(first), "hidden")
    with serving(first, named(text, nodes)) as another, serving(second, named(text, nodes)) as elsewhere:
        wait_connected(nodes[0], ours(first) | ours(first, number=2) | ours(second), "hidden")
        wait_joined(nodes)
        for server in (servers[0], another, elsewhere):
            server.wait(partial(sees, server, nodes), "the same peer")
    wait_connected(nodes[0], ours(first), "hidden")
    assert connected(nodes[0]) == {nodes[1].name}


def sees(server: Joining, nodes: Nodes) -> bool:
    """Whether a server has seen that the first node is connected to the second."""
    peer = server.peers(nodes[0].name).get(nodes[1].name)
    return peer is not None and peer.state == "connected"


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_what_epmdless_joined_stays_so_without_it(
    world: World, nodes: Nodes, text: str, ending: signal.Signals
) -> None:
    with serving(world.hosts[0], named(text, nodes)) as server:
        wait_joined(nodes)
        wait_connected(nodes[0], ours(world.hosts[0]), "hidden")
        server.program.signal(ending)
        server.program.wait(GONE_WITHIN)
        wait_connected(nodes[0], (), "hidden")
        wait_joined(nodes)


def named(text: str, nodes: Nodes) -> str:
    """A configuration for a second server, which joins the first node, wherever that is registered."""
    return NO_EPMD + text.replace("[cluster]", f'[cluster]\nnodes = []\nnamed = ["{nodes[0].name}"]', 1)


def test_epmdless_leaves_nothing_in_a_node(world: World, servers: Servers, nodes: Nodes) -> None:
    alone = {"names": {"kind": "static", "nodes": ["nobody@c3.internal"]}}
    for number, (server, beam) in enumerate(zip(servers, nodes, strict=False)):
        before = beam.eval(STATE)
        server.reload(world.cluster(alone))
        wait_connected(beam, ours(world.hosts[number]), "hidden")
        server.wait(lambda: server.peers(beam.name), "a look at its peers")  # noqa: B023 - called at once
        assert beam.eval(FOREIGN_CODE) == "[]"
        server.reload("")
        wait_value(beam, STATE, before)


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_epmdless_comes_back(tmp_path: Path, ending: signal.Signals) -> None:
    """It is the EPMD server too: nodes register again by themselves, within 2 s."""
    names = Names(tmp_path / "nodes")
    with machines(2) as world:
        first, second = world.hosts
        text = world.cluster({"names": names.source})
        with (
            serving(first, text) as server,
            serving(second, text),
            node("otp25", first) as here,
            node("otp27", second) as there,
        ):
            names.write(here.name, there.name)
            wait_joined([here, there])
            server.program.signal(ending)
            server.program.wait(GONE_WITHIN)
            wait_connected(here, (), "hidden")
            assert connected(here) == {there.name}
            with serving(first, text), node("elixir", first, "another") as another:
                wait_connected(here, ours(first), "hidden")
                names.write(here.name, there.name, another.name)
                wait_joined([here, there, another])
