"""Nodes of other kinds come through the relay: remote shells, nodes that have no name yet, old ones."""

import shlex
from collections.abc import Iterator
from functools import partial

import pytest

from tests.interop.relay_world import (
    RELEASES,
    Relay,
    both_ways,
    configuration,
    node,
    ping,
    relaying,
    wait_value,
)
from tests.support.beam import COOKIE, Beam, Flavour
from tests.support.deadline import eventually
from tests.support.epmd_client import lookup
from tests.support.old_node import OldNode
from tests.support.process import Program
from tests.support.subnets import EPMD_PORT, Host, World, subnets
from tests.support.tools import require

pytestmark = pytest.mark.interop

SHELL_WITHIN = 20.0
"""Seconds for an Elixir shell to start, connect and answer."""


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with subnets() as world:
        yield world


@pytest.fixture(scope="module")
def relay(world: World) -> Iterator[Relay]:
    with relaying(world, configuration(both_ways(world))) as relay:
        yield relay


@pytest.fixture(scope="module")
def elixir(world: World, relay: Relay) -> Iterator[Beam]:
    with node("elixir", world.far[0], "iex") as beam:
        yield beam


def shell(host: Host, *argv: str, terminal: bool = False) -> Program:
    """Start an Elixir program with a name and the cookie on a host; the test types what it reads.

    terminal: give it one, without which `--remsh` is ignored.
    """
    words = [require(argv[0], "elixir"), "--name", host.node("shell"), "--cookie", COOKIE, *argv[1:]]
    if terminal:
        words = [require("script", "bsdutils"), "--quiet", "--command", shlex.join(words), "/dev/null"]
    return host.start(words, stdin=True, ERL_EPMD_PORT=str(EPMD_PORT), TERM="xterm")


def wait_said(program: Program, text: str) -> None:
    """Wait until a program has printed this."""
    eventually(
        lambda: text in program.stdout, within=SHELL_WITHIN, what=lambda: f"{text}: {program.report()}"
    )


def test_an_elixir_remote_shell(world: World, elixir: Beam) -> None:
    with shell(world.near[0], "iex", "--remsh", elixir.name, terminal=True) as iex:
        assert iex.process.stdin is not None
        wait_said(iex, f"iex({elixir.name})1>")  # what is typed before that may be lost
        iex.process.stdin.write(b'IO.puts("here: #{node()} #{6 * 7}")\n')
        wait_said(iex, f"here: {elixir.name} 42")
        assert world.near[0].node("shell") in elixir.eval("Node.list(:connected)")


def test_an_elixir_remote_evaluation(world: World, elixir: Beam) -> None:
    with shell(world.near[1], "elixir", "--rpc-eval", elixir.name, "IO.puts(node())") as evaluation:
        assert evaluation.wait(SHELL_WITHIN) == 0, evaluation.report()
        assert evaluation.stdout.strip() == elixir.name


def test_an_elixir_node_and_an_erlang_node(world: World, elixir: Beam) -> None:
    with node("otp27", world.near[2]) as erlang:
        assert ping(erlang, elixir) == "pong"
        assert elixir.eval(f':rpc.call(:"{erlang.name}", :erlang, :node, [])') == f':"{erlang.name}"'


@pytest.mark.parametrize("far", RELEASES)
@pytest.mark.parametrize("near", RELEASES)
def test_a_node_is_named_by_the_one_it_connects_to(
    world: World, relay: Relay, near: Flavour, far: Flavour
) -> None:
    with node(near, world.near[0], "undefined") as nameless, node(far, world.far[1]) as giver:
        assert nameless.name == "nonode@nohost"
        assert nameless.eval(f"net_kernel:connect_node('{giver.name}').") == "true"
        given = nameless.eval("node().")
        assert given.endswith(f"@{world.near[0].name}'")
        assert nameless.eval(f"rpc:call('{giver.name}', erlang, nodes, [hidden]).") == f"[{given}]"
        assert giver.eval(f"rpc:call({given}, erlang, node, []).") == given


def test_a_node_with_the_old_first_message(world: World, relay: Relay) -> None:
    near, host = world.near[0], world.far[2]
    with node("otp27", host, "modern") as modern:  # OTP 25.0 to 25.2 do not know the old message
        found = near.call(partial(lookup, EPMD_PORT, "modern", host.stand_in))
        assert found is not None
        address = (host.stand_in, found.port)
        with near.call(lambda: OldNode(near.node("old"), COOKIE, address)) as old:
            assert old.peer == modern.name
            wait_value(modern, "nodes(hidden).", f"['{near.node('old')}']")
        wait_value(modern, "nodes(hidden).", "[]")
