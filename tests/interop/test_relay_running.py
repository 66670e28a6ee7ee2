"""A relay at work: ticks under load, a new configuration and a stop while much is on its way."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest

from tests.interop.relay_world import (
    Relay,
    atoms,
    configuration,
    node,
    ping,
    relaying,
    stand_in,
    wait_value,
)
from tests.support.beam import Beam, Flavour
from tests.support.subnets import Host, World, subnets

pytestmark = pytest.mark.interop

PAIRS: list[tuple[Flavour, Flavour]] = [("otp25", "otp27"), ("otp27", "otp25")]

MEGABYTE: Final = 1_000_000
GIGABYTE: Final = 1000 * MEGABYTE

RATE = "800mbit"
"""Of the far host's cable while a gigabyte goes over it, which takes 10 s: ticks are due in that time."""

TICK_TIME = 8
TICKING = ("-kernel", "net_ticktime", str(TICK_TIME))

TRANSFER_WITHIN = 60.0

DRAIN = "2s"

# Counts the bytes that come until somebody asks, and digests them.
SINK = """
    register(sink, spawn(fun() ->
        Sink = fun Sink(Count, Digest) ->
            receive
                {bytes, Bytes} -> Sink(Count + byte_size(Bytes), crypto:hash_update(Digest, Bytes));
                {noise, _} -> Sink(Count, Digest);
                {total, From} -> From ! {total, Count, crypto:hash_final(Digest)}
            end
        end,
        Sink(0, crypto:hash_init(md5))
    end)).
"""

# Sends so many chunks to the other node's sink, then compares what came with what was sent.
SEND = """
    Sink = {{sink, '{to}'}},
    net_kernel:monitor_nodes(true),
    Send = fun
        Send(0, Digest) -> crypto:hash_final(Digest);
        Send(Left, Digest) ->
            Bytes = <<Left:64, (binary:copy(<<Left:8>>, {size} - 8))/binary>>,
            Sink ! {{bytes, Bytes}},
            Send(Left - 1, crypto:hash_update(Digest, Bytes))
    end,
    Sent = Send({chunks}, crypto:hash_init(md5)),
    Sink ! {{total, self()}},
    receive
        {{total, Count, Came}} -> {{Count, Came =:= Sent}};
        {{nodedown, Node}} -> {{nodedown, Node}}
    end.
"""

# Sends to the other node's sink for ever.
FLOOD = """
    Bytes = binary:copy(<<1>>, 100_000),
    spawn(fun() -> (fun Send() -> {{sink, '{to}'}} ! {{noise, Bytes}}, Send() end)() end),
    ok.
"""


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with subnets() as world:
        yield world


@pytest.fixture
def relay(world: World) -> Iterator[Relay]:
    with relaying(world, routes(world.far[0], world.far[1]), faces(world, *world.far[:2])) as relay:
        yield relay


def routes(*hosts: Host, max_links: int = 100) -> str:
    return configuration([stand_in(host) for host in hosts], relay={"drain": DRAIN, "max_links": max_links})


def faces(world: World, *hosts: Host) -> list[tuple[Host, str]]:
    return [(world.near[0], host.stand_in) for host in hosts]


@contextmanager
def slow(world: World, host: Host) -> Iterator[None]:
    """Give a host's cable a limited rate in both directions."""
    shape = f"tc qdisc add dev %s root tbf rate {RATE} burst 256kb latency 50ms"
    world.relay.run(shape % host.place.short)
    host.run(shape % "eth0")
    try:
        yield
    finally:
        world.relay.run(f"tc qdisc del dev {host.place.short} root")
        host.run("tc qdisc del dev eth0 root")


def send(to: Beam, *, chunks: int, size: int = MEGABYTE) -> str:
    """Write what sends so many bytes to the other node's sink, and the result that it must have."""
    return SEND.format(to=to.name, chunks=chunks, size=size)


@pytest.mark.parametrize(("near", "far"), PAIRS)
def test_a_gigabyte_does_not_cost_the_link(world: World, relay: Relay, near: Flavour, far: Flavour) -> None:
    before = len(relay.ended())
    with (
        node(near, world.near[0], "app", *TICKING) as a,
        node(far, world.far[0], "app", *TICKING) as b,
        slow(world, world.far[0]),
    ):
        assert ping(a, b) == "pong"
        sender, receiver = (a, b) if near == "otp25" else (b, a)
        receiver.eval(SINK)
        sent = sender.eval(send(receiver, chunks=GIGABYTE // MEGABYTE), TRANSFER_WITHIN)
        assert sent == f"{{{GIGABYTE},true}}"
        assert len(relay.ended()) == before
        assert a.eval("nodes().") == f"['{b.name}']"


def test_a_reload_touches_no_link_of_a_route_that_stays(world: World, relay: Relay) -> None:
    stays, leaves, comes = world.far
    before = len(relay.ended())
    with (
        node("otp25", world.near[0]) as a,
        node("otp27", stays) as b,
        node("otp27", leaves) as c,
        node("otp25", comes) as d,
        slow(world, stays),
    ):
        b.eval(SINK)
        assert [ping(a, b), ping(a, d)] == ["pong", "pang"]
        sent = a.begin(send(b, chunks=200))
        relay.reload(routes(stays, comes))
        relay.reload(routes(stays, comes, max_links=500))
        assert sent() == f"{{{200 * MEGABYTE},true}}"
        assert [ping(a, d), ping(a, c)] == ["pong", "pang"]
        assert {line["far"] for line in relay.ended()[before:]}.isdisjoint({b.name})


def test_links_end_as_drained_when_the_relay_stops(world: World, relay: Relay) -> None:
    with (
        node("otp25", world.near[0]) as a,
        node("otp27", world.near[1]) as b,
        node("otp27", world.far[0]) as c,
        node("otp25", world.far[1]) as d,
    ):
        for near, far in ((a, c), (b, d)):
            for one, other in ((near, far), (far, near)):
                one.eval(SINK)
                assert ping(near, far) == "pong"
                one.eval(FLOOD.format(to=other.name))
        relay.program.signal(signal.SIGTERM)
        assert relay.program.wait(10) == 0, relay.program.report()
        ends = {(line["near"], line["far"]): line["end"] for line in relay.ended()}
        assert ends
        assert set(ends.values()) == {"drained"}, relay.program.report()
        for one in (a, b):
            wait_value(one, f"nodes() -- {atoms([a.name, b.name])}.", "[]")
