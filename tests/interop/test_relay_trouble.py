"""What goes wrong beyond the relay is learned by the nodes as soon as they would learn it without one."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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
    wait_nodes,
    wait_value,
)
from tests.support.beam import COOKIE, Beam, Flavour
from tests.support.epmd_client import Registration, lookup
from tests.support.process import Program
from tests.support.subnets import EPMD_PORT, Host, World, subnets

pytestmark = pytest.mark.interop

PAIRS: list[tuple[Flavour, Flavour]] = [("otp25", "otp27"), ("otp27", "otp25")]

SETUP_TIMEOUT = "2s"
"""Of the relay here: the tests wait for it."""

TICK_TIME = 4
NODE_DOWN_WITHIN = TICK_TIME * 1.5 + 2
"""Seconds: a node notices after 0.75 to 1.25 tick times."""

TICKING = ("-kernel", "net_ticktime", str(TICK_TIME))

ROUNDS = 60
"""Simultaneous connects tried, at most."""

CREATION = """
    <<131, 88, _/binary>> = Pid = term_to_binary(erpc:call('{name}', erlang, whereis, [init])),
    binary:part(Pid, byte_size(Pid), -4).
"""

WATCH = """
    register(watch, spawn(fun() ->
        net_kernel:monitor_nodes(true, [nodedown_reason]),
        receive {{nodedown, '{name}', Info}} -> receive {{why, From}} -> From ! {{why, Info}} end end
    end)).
"""

WHY = "watch ! {why, self()}, receive {why, Info} -> proplists:get_value(nodedown_reason, Info) end."


HOSTILE = """
    chain input {{
        type filter hook input priority 0;
        tcp dport {port} accept
        tcp sport {port} accept
        meta l4proto tcp {verdict}
    }}
"""


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with subnets() as world:
        yield world


@pytest.fixture(scope="module")
def relay(world: World) -> Iterator[Relay]:
    with relaying(world, configuration(both_ways(world), relay={"setup_timeout": SETUP_TIMEOUT})) as relay:
        yield relay


@pytest.fixture(scope="module")
def near(world: World, relay: Relay) -> Iterator[Beam]:
    """A near node that connects to nobody unless it is told to."""
    with node("otp25", world.near[2], "asker") as beam:
        yield beam


@contextmanager
def answering(host: Host, alive: str, port: int) -> Iterator[None]:
    """Have a host's EPMD server say that a node of this name listens on this port."""
    with host.call(partial(Registration, EPMD_PORT, alive, port)):
        yield


@contextmanager
def bound(host: Host, *, listening: bool) -> Iterator[tuple[socket.socket, int]]:
    """Hold a port of a host that refuses connections, or that accepts them and says nothing."""

    def bind() -> socket.socket:
        sock = socket.socket()
        sock.bind((host.address, 0))
        if listening:
            sock.listen()
        return sock

    with host.call(bind) as sock:
        yield sock, sock.getsockname()[1]


@contextmanager
def all_but_lookups(host: Host, verdict: str) -> Iterator[None]:
    """Have a host drop, or reject, all that comes and is not EPMD's."""
    with host.rules("hostile", HOSTILE.format(port=EPMD_PORT, verdict=verdict)):
        yield


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_a_cut_is_noticed_within_the_tick_time(
    world: World, relay: Relay, first: Flavour, second: Flavour
) -> None:
    host, before = world.far[0], len(relay.ended())
    with node(first, world.near[0], "app", *TICKING) as a, node(second, host, "app", *TICKING) as b:
        assert ping(a, b) == "pong"
        a.eval(WATCH.format(name=b.name))
        b.eval(WATCH.format(name=a.name))
        world.cut(host)
        try:
            assert a.eval(WHY, NODE_DOWN_WITHIN) == "net_tick_timeout"
            assert b.eval(WHY, NODE_DOWN_WITHIN) == "net_tick_timeout"
        finally:
            world.mend(host)
        assert relay.wait_ended("near_closed", after=before)["far"] == b.name
        wait_value(a, f"net_adm:ping('{b.name}').", "pong")


def test_a_far_host_that_drops_packets(world: World, relay: Relay, near: Beam) -> None:
    host, before = world.far[0], len(relay.ended())
    with node("otp27", host) as far, node("otp25", world.far[1]) as sound:
        with all_but_lookups(host, "drop"):
            assert ping(near, far) == "pang"
            assert relay.wait_ended("dial_timed_out", after=before)["near"] == near.name
            assert ping(near, sound) == "pong"
        assert ping(near, far) == "pong"


def test_a_far_host_that_answers_nothing_at_all(world: World, relay: Relay, near: Beam) -> None:
    host = world.far[0]
    with node("otp27", host) as far, node("otp25", world.far[1]) as sound:
        world.cut(host)
        try:
            assert ping(near, far) == "pang"
            assert ping(near, sound) == "pong"
        finally:
            world.mend(host)
        wait_value(near, f"net_adm:ping('{far.name}').", "pong")


def test_a_far_port_that_refuses(world: World, relay: Relay, near: Beam) -> None:
    host, before = world.far[1], len(relay.ended())
    with bound(host, listening=False) as (_, port), answering(host, "ghost", port):
        assert ping(near, host.node("ghost")) == "pang"
        assert relay.wait_ended("dial_refused", after=before)["near"] == near.name


def test_a_far_host_that_rejects(world: World, relay: Relay, near: Beam) -> None:
    host, before = world.far[1], len(relay.ended())
    with node("otp27", host) as far, all_but_lookups(host, "reject"):
        assert ping(near, far) == "pang"
        assert relay.wait_ended("dial_refused", after=before)["near"] == near.name


def test_a_far_port_that_says_nothing(world: World, relay: Relay, near: Beam) -> None:
    host, before = world.far[1], len(relay.ended())
    with bound(host, listening=True) as (listener, port), answering(host, "mute", port):
        assert ping(near, host.node("mute")) == "pang"
        assert relay.wait_ended("handshake_timed_out", after=before)["near"] == near.name
        accepted, _ = listener.accept()
        with accepted:
            accepted.settimeout(5)
            while accepted.recv(4096):
                pass  # until the relay has closed it


def test_a_far_node_with_another_alive_name(world: World, relay: Relay, near: Beam) -> None:
    host = world.far[2]
    with node("otp27", host) as real:
        found = host.call(partial(lookup, EPMD_PORT, "app"))
        assert found is not None
        with answering(host, "liar", found.port):
            assert ping(near, host.node("liar")) == "pang"
        assert ping(near, real) == "pong"


def test_a_far_node_with_another_host_part(world: World, relay: Relay, near: Beam) -> None:
    host, before = world.far[2], len(relay.ended())
    with Beam("otp27", "app@127.0.0.1", epmd_port=EPMD_PORT, cookie=COOKIE, prefix=host.prefix):
        assert ping(near, host.node("app")) == "pang"
        assert relay.wait_ended("wrong_node", after=before)["far"] == "app@127.0.0.1"


def test_a_far_epmd_server_comes_and_goes(world: World, relay: Relay, near: Beam) -> None:
    host = world.far[2]
    with node("otp25", host) as far:
        host.stop_epmd()
        try:
            assert ping(near, far) == "pang"
            assert near.eval('erl_epmd:port_please("app", \'' + host.name + "').") == "noport"
        finally:
            host.start_epmd("c")
        wait_value(near, f"net_adm:ping('{far.name}').", "pong")  # it registers again within 2 s


@pytest.mark.parametrize("far", RELEASES)
def test_another_cookie_is_refused_by_the_far_node(
    world: World, relay: Relay, near: Beam, far: Flavour
) -> None:
    before = len(relay.ended())
    with node(far, world.far[0], cookie="another") as other:
        assert ping(near, other) == "pang"
        assert relay.wait_ended("wrong_cookie", after=before)["far"] == other.name


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_both_connect_at_once(world: World, relay: Relay, first: Flavour, second: Flavour) -> None:
    """Until the far node has said `nok` to one of two that crossed: then they did meet half-way."""
    before = len(relay.ended())
    with node(first, world.near[0]) as a, node(second, world.far[0]) as b:
        for _ in range(ROUNDS):
            assert at_once(a, b) == ("true", "true")
            assert a.eval(f"erpc:call('{b.name}', erlang, node, []).") == f"'{b.name}'"
            if any(line["end"] == "far_nok" for line in relay.ended()[before:]):
                break
            a.eval(f"erlang:disconnect_node('{b.name}').")
            wait_nodes(a, [])
            wait_nodes(b, [])
        else:
            pytest.fail(f"in {ROUNDS} rounds no two connections crossed")
        wait_nodes(a, [b])
        wait_nodes(b, [a])


def at_once(a: Beam, b: Beam) -> tuple[str, str]:
    """Let two nodes connect to each other at the same moment of their clock, which is one."""
    moment = int(a.eval("erlang:system_time(microsecond).")) + 50_000
    connect = """
        Now = fun() -> erlang:system_time(microsecond) end,
        Wait = fun Wait() -> case Now() < {moment} of true -> Wait(); false -> ok end end,
        Wait(),
        net_kernel:connect_node('{name}').
    """
    first = a.begin(connect.format(moment=moment, name=b.name))
    second = b.begin(connect.format(moment=moment, name=a.name))
    return first(), second()


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_a_node_that_crashed_comes_back_before_its_link_is_missed(
    world: World, relay: Relay, first: Flavour, second: Flavour
) -> None:
    home = world.near[0]
    with node(second, world.far[0]) as b:
        with ExitStack() as silence:
            with node(first, home) as a:
                assert ping(a, b) == "pong"
                creation = b.eval(CREATION.format(name=a.name))
                old = relay.linked()[-1]["link"]
                silence.enter_context(silenced(home, a.program))
                a.program.kill()
            assert b.eval("nodes().") == f"['{a.name}']"  # nobody has told it
            with node(first, home) as again:
                assert ping(again, b) == "pong"
                assert b.eval(f"erpc:call('{again.name}', os, getpid, []).") == again.eval("os:getpid().")
                wait_nodes(b, [again])
                assert b.eval(CREATION.format(name=again.name)) != creation
        ended = relay.wait_link_ended(old)
        assert ended["end"] in {"far_closed", "far_reset", "near_reset"}  # near: its host knows it no more


@contextmanager
def silenced(host: Host, program: Program) -> Iterator[None]:
    """Lose all packets of a program's connections from now on, even after it has ended."""
    connections = host.run("ss -Htnp state established").splitlines()
    own = [line.split()[2].rpartition(":")[2] for line in connections if f"pid={program.pid}," in line]
    assert own
    listed = ", ".join(own)
    rules = f"""
        chain output {{ type filter hook output priority 0; oif eth0 tcp sport {{ {listed} }} drop; }}
        chain input {{ type filter hook input priority 0; iif eth0 tcp dport {{ {listed} }} drop; }}
    """
    with host.rules("silence", rules):
        yield
