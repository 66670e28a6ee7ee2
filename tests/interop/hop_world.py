"""What the tests of hops among real nodes share: `epmdless serve` on the edges of two zones."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.interop.relay_world import (
    ENDED_WITHIN,
    READY_WITHIN,
    Relay,
    Settings,
    all_faces,
    configuration,
    serving,
    wait_ready,
)
from tests.support.beam import Beam, Flavour
from tests.support.certificates import Authority, Issued
from tests.support.deadline import DeadlineError, eventually
from tests.support.hops import gateway_text, tables
from tests.support.subnets import Host
from tests.support.zones import GATEWAY_PORT, INSIDE, Edge, Zones

MIXED: list[tuple[Flavour, Flavour]] = [("otp25", "otp27"), ("otp27", "otp25")]
"""Releases of the near node and of the far one."""

METRICS_PORT = 9568

ANY_PORT = ["1024-65535", 4369]

# Counts the bytes that come, and digests them, until somebody asks for both.
SINK = """
    register(sink, spawn(fun() ->
        Sink = fun Sink(Count, Digest) ->
            receive
                {bytes, Bytes} -> Sink(Count + byte_size(Bytes), crypto:hash_update(Digest, Bytes));
                {count, From} -> From ! {count, Count}, Sink(Count, Digest);
                {total, From} -> From ! {total, Count, crypto:hash_final(Digest)}
            end
        end,
        Sink(0, crypto:hash_init(md5))
    end)).
"""

COUNT = "sink ! {count, self()}, receive {count, Count} -> Count end."

CHUNK = 1_000_000
"""Bytes of one message to the sink."""

# Sends so many chunks to the other node's sink, then compares what came with what was sent. It stops when the
# link is gone, and does not make it again.
SEND = """
    Sink = {{sink, '{to}'}},
    net_kernel:monitor_nodes(true),
    Tell = fun(Message) -> erlang:send(Sink, Message, [noconnect]) end,
    Send = fun
        Send(0, Digest) ->
            Tell({{total, self()}}),
            receive
                {{total, Count, Came}} -> {{Count, Came =:= crypto:hash_final(Digest)}};
                {{nodedown, Node}} -> {{nodedown, Node}}
            end;
        Send(Left, Digest) ->
            receive
                {{nodedown, Node}} -> {{nodedown, Node}}
            after 0 ->
                Bytes = <<Left:64, (binary:copy(<<Left:8>>, {chunk} - 8))/binary>>,
                Tell({{bytes, Bytes}}),
                Send(Left - 1, crypto:hash_update(Digest, Bytes))
            end
    end,
    Said = Send({chunks}, crypto:hash_init(md5)),
    net_kernel:monitor_nodes(false),
    Said.
"""


class Papers(NamedTuple):
    """What an edge proves itself with, and whom it trusts; the files may be written anew."""

    issued: Issued
    ca: Path

    def tls(self, table: str) -> str:
        """A table of TLS with them."""
        files = {"cert": str(self.issued.cert), "key": str(self.issued.key), "ca": str(self.ca)}
        return tables(f"{table}.tls", files)


def papers(authority: Authority, edge: Edge) -> Papers:
    """Make what an edge needs, by its name."""
    return Papers(authority.issue(edge.name), authority.ca)


def hop_name(zone: str) -> str:
    """The name of the hop to a zone."""
    return f"az-{zone}"


def through(host: Host, **more: object) -> Settings:
    """Make a route to a host by its stand-in address, through the hop to its zone."""
    return {"host": host.name, "listen": host.stand_in, "via": hop_name(host.place.subnet), **more}


def hop(papers: Papers, edge: Edge, *gateways: str, **keys: object) -> str:
    """Write the hop to an edge's zone: through its one gateway, unless several are named.

    It keeps no EPMD answers: from one test to the next, nodes come back on other ports sooner than that.
    """
    own = {"gateways": list(gateways or [f"{edge.name}:{GATEWAY_PORT}"]), "lookup_ttl": "0s", **keys}
    return tables(f"hop.{hop_name(edge.zone)}", own) + papers.tls(f"hop.{hop_name(edge.zone)}")


def zone_of(edge: Edge) -> Settings:
    """Allow all of an edge's zone to every relay of ours."""
    hosts = [f"*.az-{edge.zone}.internal", INSIDE[edge.zone]]
    return {"client": "edge.az-*.internal", "hosts": hosts, "ports": ANY_PORT}


def gateway(papers: Papers, edge: Edge, *allows: Settings, address: str = "0.0.0.0", **keys: object) -> str:
    """Write an edge's gateway, which allows all of its zone unless something else is said."""
    tls = papers.tls("gateway")
    return gateway_text(GATEWAY_PORT, tls, *(allows or (zone_of(edge),)), keys=keys, address=address)


def metrics() -> str:
    """Have counters served."""
    return tables("metrics", {"listen": f"127.0.0.1:{METRICS_PORT}"})


class Ends(NamedTuple):
    """`epmdless serve` on both edges."""

    near: Relay
    far: Relay


@contextmanager
def joined(
    world: Zones, near: str, far: str, faces: Sequence[tuple[Host, str]] | None = None
) -> Iterator[Ends]:
    """Run both edges' programs until the context ends.

    They are ready when each host of `faces` gets an answer to NAMES at the address beside it: at all stand-in
    addresses where this is None.
    """
    with started(world.far_edge, far) as there, started(world.near_edge, near) as here:
        for asker, address in all_faces(world) if faces is None else faces:
            wait_ready(here if asker in world.near else there, asker, address)
        yield Ends(here, there)


@contextmanager
def started(edge: Edge, text: str) -> Iterator[Relay]:
    """Run a program on an edge until the context ends, and wait until it serves."""
    with serving(edge, text) as relay:
        wait_line(relay, lambda line: line["event"] == "started", "its start")
        yield relay


def wait_line(
    relay: Relay, wanted: Callable[[dict[str, Any]], bool], what: str, within: float = READY_WITHIN
) -> dict[str, Any]:
    """Wait until a program has logged such a line, and return the first of them."""

    def look() -> dict[str, Any] | None:
        assert not relay.program.ended, relay.program.report()
        return next(filter(wanted, relay.lines()), None)

    try:
        return eventually(look, within=within, what=what)
    except DeadlineError as error:
        raise AssertionError(f"{error}\n{relay.program.report()}") from None


def wait_tunnel_ended(relay: Relay, tunnel: str) -> dict[str, Any]:
    """Wait until the link with this tunnel has ended."""
    return wait_line(
        relay,
        lambda line: "end" in line and line.get("tunnel") == tunnel,
        f"the end of tunnel {tunnel}",
        ENDED_WITHIN,
    )


def link_between(relay: Relay, one: Beam, other: Beam) -> dict[str, Any]:
    """Return the log line of the last link that came up between two nodes, whoever dialled."""
    names = {one.name, other.name}
    return [line for line in relay.linked() if {line["near"], line["far"]} == names][-1]


def both_zones(world: Zones, near: Papers, far: Papers) -> tuple[str, str]:
    """Write both edges' configurations: each is the relay of its zone, and the gateway to it."""
    here, there = world.near_edge, world.far_edge
    return (
        configuration([through(host) for host in world.far]) + hop(near, there) + gateway(near, here),
        configuration([through(host) for host in world.near]) + hop(far, here) + gateway(far, there),
    )


def one_way(world: Zones, near: Papers, far: Papers) -> tuple[str, str]:
    """Write both edges' configurations: the near one is a relay, and the far one a gateway."""
    there = world.far_edge
    return configuration([through(host) for host in world.far]) + hop(near, there), gateway(far, there)


def faces_of_far(world: Zones) -> list[tuple[Host, str]]:
    """Return the stand-in addresses of the far hosts, behind a host that may ask there."""
    return [(world.near[0], host.stand_in) for host in world.far]


def send(to: Beam, *, chunks: int) -> str:
    """Write what sends so many chunks to the other node's sink, and tells what came of that."""
    return SEND.format(to=to.name, chunks=chunks, chunk=CHUNK)
