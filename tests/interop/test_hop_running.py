"""Hops at work: a gateway of two dies, certificates change, a gateway stops, all while nodes talk."""

import signal
import ssl
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.interop.hop_world import (
    MIXED,
    SINK,
    Ends,
    Papers,
    faces_of_far,
    gateway,
    hop,
    joined,
    link_between,
    one_way,
    papers,
    started,
    through,
    wait_line,
    wait_tunnel_ended,
)
from tests.interop.relay_world import RELEASES, Relay, configuration, node, ping, wait_ready
from tests.support.beam import Beam, Flavour
from tests.support.certificates import Authority, Issued
from tests.support.epmd_client import connect
from tests.support.zones import GATEWAY_PORT, Zones, zones

pytestmark = pytest.mark.interop

GATEWAYS = ("gw1.az-b.internal", "gw2.az-b.internal")

NO_EPMD = "[epmd]\nlisten = []\n"
"""Of two programs on one machine only one can have the port."""

SHORT_DRAIN = "1s"

LOOKS_WITHIN = 15.0
"""Seconds until changed files are noticed; the program looks at them every 5 s."""

CUT_CODES = {"tunnel_cut", "far_reset"}

# Sends to the other node's sink until it is told to stop; then compares what came with what was sent.
STREAM = """
    Sink = {{sink, '{to}'}},
    register(stream, spawn(fun() ->
        Bytes = crypto:strong_rand_bytes(100_000),
        Send = fun Send(Count, Digest) ->
            erlang:send(Sink, {{bytes, Bytes}}, [noconnect]),
            Next = crypto:hash_update(Digest, Bytes),
            receive
                {{stop, From}} ->
                    erlang:send(Sink, {{total, self()}}, [noconnect]),
                    receive {{total, Came, Result}} ->
                        Sent = {{Count + byte_size(Bytes), crypto:hash_final(Next)}},
                        From ! {{streamed, {{Came, Result}} =:= Sent}}
                    end
            after 1 -> Send(Count + byte_size(Bytes), Next)
            end
        end,
        Send(0, crypto:hash_init(md5))
    end)),
    ok.
"""

STOP = "stream ! {stop, self()}, receive {streamed, Same} -> Same end."


@pytest.fixture(scope="module")
def world() -> Iterator[Zones]:
    with zones() as world:
        world.near_edge.know(dict(zip(GATEWAYS, world.far_edge.addresses, strict=True)))
        yield world


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def certificates(world: Zones, authority: Authority) -> tuple[Papers, Papers]:
    return papers(authority, world.near_edge), papers(authority, world.far_edge)


@contextmanager
def streaming(sender: Beam, receiver: Beam) -> Iterator[None]:
    """Have a node send to another for as long as the context lasts; all of it must arrive."""
    receiver.eval(SINK)
    sender.eval(STREAM.format(to=receiver.name))
    yield
    assert sender.eval(STOP) == "true"


# Several gateways.


@pytest.fixture
def three(world: Zones, authority: Authority) -> Iterator[tuple[Relay, Relay, Relay]]:
    """The near relay, and two gateways to choose from; a program each."""
    here = papers(authority, world.near_edge)
    there = Papers(authority.issue(*GATEWAYS), authority.ca)
    targets = [f"{name}:{GATEWAY_PORT}" for name in GATEWAYS]
    near = configuration([through(host) for host in world.far])
    near += hop(here, world.far_edge, *targets, balance="least_loaded")
    with ExitStack() as stack:
        first, second = (stack.enter_context(one_of_two(world, there, number)) for number in (0, 1))
        relay = stack.enter_context(started(world.near_edge, near))
        for host, address in faces_of_far(world):
            wait_ready(relay, host, address)
        yield relay, first, second


def one_of_two(world: Zones, there: Papers, number: int) -> AbstractContextManager[Relay]:
    """Run a gateway on one of the far edge's addresses."""
    edge = world.far_edge
    return started(edge, NO_EPMD + gateway(there, edge, address=edge.addresses[number]))


def test_one_gateway_of_two_is_killed(
    world: Zones, authority: Authority, three: tuple[Relay, Relay, Relay]
) -> None:
    relay, first, second = three
    with ExitStack() as stack:
        # Hidden: else `global` takes sound links down, so that no two nodes see different meshes.
        near = [
            stack.enter_context(node(RELEASES[number % 2], host, "asker", "-hidden"))
            for number, host in enumerate(world.near[:2])
        ]
        far = [
            stack.enter_context(node(RELEASES[number % 2], host, "app"))
            for number, host in enumerate(world.far)
        ]
        pairs = [(a, b) for a in near for b in far]
        assert {ping(a, b) for a, b in pairs} == {"pong"}
        lost, kept = tunnels(first), tunnels(second)
        assert lost
        assert kept
        first.program.kill()
        for tunnel in lost:
            assert wait_tunnel_ended(relay, tunnel)["end"] in CUT_CODES
        assert {ping(a, b) for a, b in pairs} == {"pong"}
        another = stack.enter_context(node("otp25", world.near[0], "another", "-hidden"))
        assert {ping(another, b) for b in far} == {"pong"}
        assert len(tunnels(second) - kept) == len(lost) + len(far)
        assert {line["tunnel"] for line in relay.ended()} == lost
        there = Papers(authority.issue(*GATEWAYS), authority.ca)
        with one_of_two(world, there, 0) as back:
            wait_line(relay, lambda line: line["event"] == "gateway back", "the gateway's return")
            last = stack.enter_context(node("otp27", world.near[1], "last", "-hidden"))
            assert ping(last, far[0]) == "pong"
            assert tunnels(back) == {link_between(relay, last, far[0])["tunnel"]}


def tunnels(relay: Relay) -> set[str]:
    """Return the ids of the tunnels for which links have come up."""
    return {line["tunnel"] for line in relay.linked()}


# Certificates.


def test_certificates_change_under_traffic(
    world: Zones, authority: Authority, certificates: tuple[Papers, Papers]
) -> None:
    """First the files alone, which are noticed; then a wholly new CA, by way of trust in both."""
    here, there = certificates
    texts = one_way(world, here, there)
    with (
        joined(world, *texts, faces_of_far(world)) as ends,
        node("otp25", world.near[0], "app", "-hidden") as a,
        node("otp27", world.far[0], "app") as b,
        node("otp27", world.near[1], "app", "-hidden") as c,
        node("otp25", world.far[1], "app") as d,
    ):
        assert ping(a, b) == "pong"
        old = link_between(ends.near, a, b)["tunnel"]
        with streaming(a, b):
            renew(authority.issue("edge.az-a.renewed.internal"), here.issued)
            renew(authority.issue(world.far_edge.name), there.issued)
            for relay in ends:
                wait_line(
                    relay,
                    lambda line: line["event"] == "certificates reloaded",
                    "new certificates",
                    LOOKS_WITHIN,
                )
            assert shown(world, here) == there.issued.cert.read_text()
            assert client_of_new_link(ends, c, d) == "edge.az-a.renewed.internal"

            successor = Authority(authority.folder, "successor")
            old_ca = authority.ca.read_bytes()
            rewrite(authority.ca, old_ca + successor.ca.read_bytes())
            reload(ends, texts)
            assert client_of_new_link(ends, c, d) == "edge.az-a.renewed.internal"
            renew(successor.issue("edge.az-a.successor.internal"), here.issued)
            reload(ends, texts)
            assert client_of_new_link(ends, c, d) == "edge.az-a.successor.internal"
            renew(successor.issue(world.far_edge.name), there.issued)
            rewrite(authority.ca, successor.ca.read_bytes())
            reload(ends, texts)
            assert client_of_new_link(ends, c, d) == "edge.az-a.successor.internal"
            with pytest.raises(ssl.SSLError):
                shown(world, Papers(authority.issue(world.near_edge.name), authority.ca))
        assert old not in {line["tunnel"] for relay in ends for line in relay.ended()}


def renew(issued: Issued, place: Issued) -> None:
    """Put another certificate with its key in the place of one."""
    rewrite(place.key, issued.key.read_bytes())
    rewrite(place.cert, issued.cert.read_bytes())


def rewrite(file: Path, content: bytes) -> None:
    """Replace a file at once, as careful tools do."""
    new = file.with_suffix(".new")
    new.touch(0o600)
    new.write_bytes(content)
    new.replace(file)


def reload(ends: Ends, texts: tuple[str, str]) -> None:
    for relay, text in zip(ends, texts, strict=True):
        relay.reload(text)


def shown(world: Zones, own: Papers) -> str:
    """Return the gateway's certificate, as a client sees it that the gateway accepts. Raises SSLError."""
    context = ssl.create_default_context(cafile=str(own.ca))
    context.load_cert_chain(own.issued.cert, own.issued.key)
    edge = world.far_edge
    with (
        world.near_edge.call(lambda: connect(GATEWAY_PORT, edge.address)) as plain,
        context.wrap_socket(plain, server_hostname=edge.name) as secure,
    ):
        secure.sendall(b"OPTIONS * HTTP/1.1\r\nHost: gateway\r\n\r\n")
        assert secure.recv(4096).startswith(b"HTTP/1.1 200")
        certificate = secure.getpeercert(binary_form=True)
    assert certificate is not None
    return ssl.DER_cert_to_PEM_cert(certificate)


def client_of_new_link(ends: Ends, near: Beam, far: Beam) -> str:
    """Make a link, and end it; return the near relay's name as the gateway knows it now."""
    assert ping(near, far) == "pong"
    line = link_between(ends.far, near, far)
    near.eval(f"erlang:disconnect_node('{far.name}').")
    assert wait_tunnel_ended(ends.far, line["tunnel"])["end"] == "near_closed"
    return str(line["client"])


# Stops.


@pytest.mark.parametrize(("near", "far"), MIXED)
def test_a_gateway_stops_and_lets_links_go_on(
    world: Zones, certificates: tuple[Papers, Papers], near: Flavour, far: Flavour
) -> None:
    with (
        joined(world, *one_way(world, *certificates), faces_of_far(world)) as ends,
        node(near, world.near[0], "app", "-hidden") as a,
    ):
        with node(far, world.far[0]) as b, node(far, world.far[1]) as other:
            assert ping(a, b) == "pong"
            tunnel = link_between(ends.near, a, b)["tunnel"]
            with streaming(a, b):
                ends.far.program.signal(signal.SIGTERM)
                wait_line(ends.far, lambda line: line["event"] == "draining", "its last minute")
                assert ping(a, other) == "pang"
            assert a.eval(f"nodes(connected) =:= ['{b.name}'].") == "true"
        assert ends.far.program.wait(10) == 0, ends.far.program.report()
        assert wait_tunnel_ended(ends.near, tunnel)["end"] == "far_closed"


def test_a_gateway_that_stops_delivers_what_it_has(world: Zones, certificates: tuple[Papers, Papers]) -> None:
    near, _ = one_way(world, *certificates)
    far = gateway(certificates[1], world.far_edge, drain=SHORT_DRAIN)
    far += configuration([], relay={"drain": SHORT_DRAIN})  # the longer of both counts
    with (
        joined(world, near, far, faces_of_far(world)) as ends,
        node("otp25", world.near[0], "app", "-hidden") as a,
        node("otp27", world.far[0]) as b,
    ):
        assert ping(a, b) == "pong"
        for one, other in ((a, b), (b, a)):
            one.eval(SINK)
            one.eval(STREAM.format(to=other.name))
        ends.far.program.signal(signal.SIGTERM)
        assert ends.far.program.wait(10) == 0, ends.far.program.report()
        (there_ended,) = ends.far.ended()
        ended = wait_tunnel_ended(ends.near, there_ended["tunnel"])
        assert (there_ended["end"], ended["end"]) == ("drained", "far_closed")
        assert ended["far_to_near_bytes"] == there_ended["far_to_near_bytes"] > 0
