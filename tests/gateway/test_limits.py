"""What is too much: connections, tunnels, requests, time. And clients that leave: nothing stays behind."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from contextlib import ExitStack, suppress
from types import SimpleNamespace
from typing import TypeVar

import pytest

from epmdless import metrics
from epmdless.gateway import server
from epmdless.links.carrier import Carrier
from epmdless.wire.connect import encode_connect
from tests.gateway.clients import (
    MANY,
    Client,
    answered,
    closed,
    connections,
    context_of,
    gateway,
    raw,
    tunnelled,
    wait_for,
    wait_for_closed,
    warnings,
)
from tests.gateway.test_requests import deaf_port
from tests.links.pumps import no_descriptors
from tests.support.deadline import eventually
from tests.support.hops import ALLOW, GATEWAY, GATEWAY_ADDRESS, Certified
from tests.support.link_sides import (
    ACK,
    CHALLENGE,
    FAR_ADDRESS,
    NAME,
    OK,
    REPLY,
    FarHost,
    framed,
    linked,
    passes,
)
from tests.support.relays import WITHIN, RelayHere

T = TypeVar("T")


def left_nothing(here: RelayHere) -> bool:
    """Whether no table, count or gauge knows of a client any more."""
    wait_for(here)

    def look() -> list[float]:
        links = [here.counts.value(metric) for metric in (metrics.LINKS, metrics.HANDSHAKES)]
        descriptors = [here.gateway.descriptors, here.carrier.descriptors]
        return [len(here.carrier), *links, *descriptors, len(here.gateway._tunnels._by_client)]

    return eventually(lambda: here.call(look) == [0] * 6, within=WITHIN, what=lambda: str(here.call(look)))


def test_tunnels_of_one_client(certified: Certified, far_host: FarHost) -> None:
    """Of one certificate, whatever its addresses; another client has its own."""
    other = certified.authority.issue("relay.az-c.test")
    allows = (ALLOW, {**ALLOW, "client": "relay.az-c.test"})
    with gateway(certified, *allows, keys={"max_tunnels_per_client": 2}) as here, ExitStack() as stack:
        context = context_of(certified)
        pairs = []
        for source in ("127.0.0.1", "127.0.0.2"):
            client = stack.enter_context(Client(here.gateway_port, context, source))
            pairs.append((client, tunnelled(client, far_host)))
        with Client(here.gateway_port, context, "127.0.0.3") as third:
            response = third.connect(FAR_ADDRESS, far_host.port)
            assert (response.status, response.body) == (503, b"max_tunnels_per_client\n")
            stranger = stack.enter_context(Client(here.gateway_port, context_of(certified, other)))
            assert passes(stranger, tunnelled(stranger, far_host))
            near, far = pairs.pop()
            near.close()
            assert far.sees_the_end()
            far.close()
            here.wait_for_links(2)
            assert passes(third, tunnelled(third, far_host))


def test_all_connections(certified: Certified, far_host: FarHost) -> None:
    """Tunnels that are up count as well, and a full gateway has room again once one has ended."""
    keys = {"max_connections": 3, "max_handshakes": 2, "request_timeout": "30s"}
    with gateway(certified, keys=keys) as here, ExitStack() as stack:
        pairs = []
        for _ in range(2):
            client = stack.enter_context(Client(here.gateway_port, context_of(certified)))
            pairs.append((client, tunnelled(client, far_host)))
        wait_for(here, tunnel=2)
        ready = stack.enter_context(Client(here.gateway_port, context_of(certified)))
        wait_for(here, tunnel=2, ready=1)
        with raw(here.gateway_port) as refused, suppress(ConnectionResetError):
            assert refused.recv(1) == b""
        wait_for_closed(here, "max_connections")
        near, far = pairs.pop()
        near.close()
        assert far.sees_the_end()
        far.close()
        wait_for(here, tunnel=1, ready=1)
        with Client(here.gateway_port, context_of(certified)) as client:
            assert client.options().status == 200
        assert ready.options().status == 200
        assert all(passes(near, far) for near, far in pairs)


def test_who_is_nobody_makes_room_for_somebody(certified: Certified) -> None:
    """Silent connections may not keep others out, be it all places that they hold."""
    keys = {"max_connections": 3, "max_handshakes": 3, "request_timeout": "30s"}
    with gateway(certified, keys=keys) as here, ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(raw(here.gateway_port))
        client = stack.enter_context(Client(here.gateway_port, context_of(certified)))
        assert client.options().status == 200
        assert closed(here, "max_connections") == 0
        assert closed(here, "shed") == 8


def test_descriptors(certified: Certified) -> None:
    """The process's limit is kept to, whoever holds them."""
    with gateway(certified, descriptor_limit=100) as here, ExitStack() as stack:
        here.others = 74
        with raw(here.gateway_port) as refused, suppress(ConnectionResetError):
            assert refused.recv(1) == b""
        wait_for_closed(here, "descriptors")
        here.others = 0
        assert stack.enter_context(Client(here.gateway_port, context_of(certified))).options().status == 200


def test_a_shortage_of_descriptors_that_passes_is_over(
    certified: Certified, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With no client and no tunnel whose end would tell that there is room again."""
    monkeypatch.setattr(server, "HOUSEKEEPING", 0.05)
    with gateway(certified, keys={"request_timeout": "30s"}) as here, socket.socket() as sock:
        with no_descriptors():
            sock.connect((GATEWAY_ADDRESS, here.gateway_port))
            (line,) = eventually(
                lambda: [line for line in list(here.lines) if line["event"] == "cannot accept"][:1],
                within=WITHIN,
                what="an accept that fails",
            )
        assert line["error"] == "EMFILE"
        wait_for(here, handshake=1)


def slow_clock(here: RelayHere, seconds: list[float]) -> None:
    """Give the gateway a clock that a test moves."""
    here.call(setattr, here.gateway, "_rounds", SimpleNamespace(clock=lambda: seconds[0]))


def test_connections_and_requests_of_one_address(certified: Certified) -> None:
    with gateway(certified, keys={"max_requests_per_second": 3}) as here, ExitStack() as stack:
        seconds = [1000.0]
        slow_clock(here, seconds)
        context = context_of(certified)
        first = stack.enter_context(Client(here.gateway_port, context))
        for _ in range(3):
            assert first.options().status == 200
        for refused in (first.options(), first.connect("198.51.100.1", 9)):
            assert (refused.status, refused.body) == (503, b"max_requests_per_second\n")
        for _ in range(2):
            stack.enter_context(Client(here.gateway_port, context))
        with raw(here.gateway_port) as sock, suppress(ConnectionResetError):
            assert sock.recv(1) == b""
        wait_for_closed(here, "rate")
        other = stack.enter_context(Client(here.gateway_port, context, "127.0.0.2"))
        assert other.options().status == 200
        seconds[0] += 0.4
        assert first.options().status == 200
        assert first.options().status == 503


def test_who_asks_too_often_still_gets_the_rate(certified: Certified) -> None:
    """Twice as many requests as may be: every other one is answered."""
    with gateway(certified, keys={"max_requests_per_second": 4}) as here:
        seconds = [1000.0]
        slow_clock(here, seconds)
        with Client(here.gateway_port, context_of(certified)) as client:
            statuses = []
            for _ in range(40):
                seconds[0] += 0.125
                statuses.append(client.options().status)
        assert statuses[-20:].count(200) == 10


def test_the_table_of_rates_is_bounded(certified: Certified, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_ADDRESSES", 5)
    with gateway(certified) as here:
        for number in range(1, 20):
            with raw(here.gateway_port, f"127.0.4.{number}"):
                pass
        wait_for(here)
        assert here.call(lambda: len(here.gateway._rates)) == 5


def test_a_ready_connection_does_not_wait_for_ever(certified: Certified) -> None:
    with gateway(certified, keys={"ready_timeout": "200ms"}) as here:
        with Client(here.gateway_port, context_of(certified)) as client:
            assert client.end() == (b"", "closed")
            client.close()
        wait_for(here)


def test_a_client_that_may_do_nothing_waits_as_short_as_a_stranger(certified: Certified) -> None:
    """Else who is not known, where there is no TLS, could fill the gateway."""
    allow = {**ALLOW, "client": "127.0.0.9"}
    with gateway(None, allow, keys={"request_timeout": "200ms", "ready_timeout": "1h"}) as here:
        with Client(here.gateway_port, None) as nobody, Client(here.gateway_port, None, "127.0.0.9") as known:
            assert nobody.end() == (b"", "closed")
            assert known.options().status == 200
        wait_for(here)


# Clients that leave.

Leave = Callable[[Client], None]


def reset(client: Client) -> None:
    """Leave with a reset."""
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.sock.close()


def cut(client: Client) -> None:
    """Leave without the end of TLS."""
    client.sock.close()


def goodbye(client: Client) -> None:
    """Leave politely."""
    client.close()


leaves = pytest.mark.parametrize("leave", [reset, cut, goodbye])


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01\x02\x00", b"C"])
@pytest.mark.parametrize("how", [b"\1\0\0\0\0\0\0\0", None])
def test_leaving_in_the_handshake(certified: Certified, said: bytes, how: bytes | None) -> None:
    with gateway(certified) as here:
        for _ in range(5):
            with raw(here.gateway_port) as sock:
                sock.sendall(said)
                if how:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, how)
        eventually(lambda: len(warnings(here)) == 5, within=WITHIN, what=lambda: str(here.lines))
        assert left_nothing(here)


@leaves
def test_leaving_while_ready(certified: Certified, leave: Leave) -> None:
    with gateway(certified) as here:
        client = Client(here.gateway_port, context_of(certified))
        assert client.options().status == 200
        wait_for(here, ready=1)
        leave(client)
        assert left_nothing(here)


@leaves
def test_leaving_within_a_request(certified: Certified, leave: Leave) -> None:
    with gateway(certified) as here:
        client = Client(here.gateway_port, context_of(certified))
        assert client.options().status == 200
        client.sock.sendall(b"CONNECT b1.test")
        leave(client)
        assert left_nothing(here)


@leaves
def test_leaving_before_the_answer(certified: Certified, far_host: FarHost, leave: Leave) -> None:
    with gateway(certified) as here:
        client = Client(here.gateway_port, context_of(certified))
        assert client.options().status == 200  # what the gateway sends after its handshake was taken
        client.sock.sendall(encode_connect(FAR_ADDRESS, far_host.port))
        leave(client)
        far = far_host.accept()
        assert far.sees_the_end()
        far.close()
        assert here.code_of(client) in ("near_closed", "near_reset", "tunnel_cut")
        assert left_nothing(here)


@leaves
def test_leaving_during_the_dial(certified: Certified, leave: Leave) -> None:
    with gateway(certified, keys={"dial_timeout": "300ms"}) as here, deaf_port() as port:
        client = Client(here.gateway_port, context_of(certified))
        client.sock.sendall(encode_connect(FAR_ADDRESS, port))
        here.wait_for_links(1, "handshake")
        leave(client)
        assert here.code_of(client) == "dial_timed_out"
        assert left_nothing(here)


@leaves
@pytest.mark.parametrize("at", range(4))
def test_leaving_in_the_nodes_handshake(
    certified: Certified, far_host: FarHost, leave: Leave, at: int
) -> None:
    with gateway(certified) as here:
        client = Client(here.gateway_port, context_of(certified))
        assert client.connect(FAR_ADDRESS, far_host.port).status == 200
        far = far_host.accept()
        if at > 0:
            client.sock.sendall(framed(NAME)[:3])
        if at > 1:
            client.sock.sendall(framed(NAME)[3:])
            assert far.hear() == NAME
        if at > 2:
            far.say(OK, CHALLENGE)
            assert client.hear() == OK
        leave(client)
        assert far.sees_the_end()
        far.close()
        assert here.code_of(client) in ("near_closed", "near_reset", "tunnel_cut")
        assert left_nothing(here)


@pytest.mark.parametrize("at", range(3))
def test_a_far_node_that_leaves_in_the_handshake(certified: Certified, far_host: FarHost, at: int) -> None:
    with gateway(certified) as here, Client(here.gateway_port, context_of(certified)) as client:
        assert client.connect(FAR_ADDRESS, far_host.port).status == 200
        far = far_host.accept()
        if at > 0:
            client.say(NAME)
            assert far.hear() == NAME
        if at > 1:
            far.say(OK)
        far.close()
        if at == 0:
            client.say(NAME)
        assert client.end()[0] == b""
        assert here.code_of(client) in ("far_closed", "far_reset")
        client.close()
        assert left_nothing(here)


def test_garbage_behind_the_handshake(certified: Certified, far_host: FarHost) -> None:
    """What is no TLS, sent with the last message: the end of that link, and no fault of ours."""
    with gateway(certified) as here:
        for _ in range(5):
            client = Client(here.gateway_port, context_of(certified))
            assert client.connect(FAR_ADDRESS, far_host.port).status == 200
            far = far_host.accept()
            client.say(NAME)
            assert far.hear() == NAME
            far.say(OK, CHALLENGE)
            assert client.hear() == OK
            plain = socket.socket(fileno=client.sock.detach())
            with plain:
                plain.sendall(b"\x17\x03\x03\x00\x20" + b"x" * 32)
                assert far.sees_the_end()
                far.close()
        codes = here.wait_for_ends(5)
        assert set(codes) <= {"near_reset", "tunnel_cut"}
        assert left_nothing(here)


def test_garbage_in_one_segment_with_the_last_message(certified: Certified, far_host: FarHost) -> None:
    """The pump may get what was read too early, and it is no TLS."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context_of(certified).wrap_bio(incoming, outgoing, server_hostname=GATEWAY)
    with gateway(certified) as here, raw(here.gateway_port) as sock:

        def step(act: Callable[[], T]) -> T:
            while True:
                try:
                    done = act()
                except ssl.SSLWantReadError:
                    sock.sendall(outgoing.read())
                    incoming.write(sock.recv(65536))
                else:
                    sock.sendall(outgoing.read())
                    return done

        step(tls.do_handshake)
        step(lambda: tls.write(encode_connect(FAR_ADDRESS, far_host.port)))
        assert b" 200 " in step(lambda: tls.read(65536))
        step(lambda: tls.write(framed(NAME)))
        far = far_host.accept()
        assert far.hear() == NAME
        far.say(OK, CHALLENGE)
        assert step(lambda: tls.read(65536))
        tls.write(framed(REPLY))
        sock.sendall(outgoing.read() + b"\x17\x03\x03\x00\x20" + b"x" * 32)
        with suppress(AssertionError):
            far.hear()
            far.say(ACK)
        assert far.end()[0] == b""
        far.close()
        (code,) = here.wait_for_ends(1)
        assert code in ("near_reset", "tunnel_cut")
        assert left_nothing(here)
        assert here.counts.value(metrics.INTERNAL_ERRORS) == 0


def test_what_cannot_be_handed_over_ends_once(
    certified: Certified, far_host: FarHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("what was read already is not what TLS allows")

    with gateway(certified) as here:
        monkeypatch.setattr(Carrier, "carry", fail)
        with Client(here.gateway_port, context_of(certified)) as client:
            assert client.connect(FAR_ADDRESS, far_host.port).status == 200
            linked(client, far_host)  # type: ignore[arg-type]
            assert here.code_of(client) == "tunnel_cut"
        assert left_nothing(here)
        assert here.counts.value(metrics.INTERNAL_ERRORS) == 0


def test_a_fault_of_ours_ends_one_tunnel_and_no_other(
    certified: Certified, far_host: FarHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("secret")

    with gateway(certified) as here, Client(here.gateway_port, context_of(certified)) as near:
        far = tunnelled(near, far_host)
        here.wait_for_links(1)
        with monkeypatch.context() as patched:
            patched.setattr(Carrier, "carry", fail)
            with Client(here.gateway_port, context_of(certified)) as client:
                assert client.connect(FAR_ADDRESS, far_host.port).status == 200
                linked(client, far_host)  # type: ignore[arg-type]
                assert here.code_of(client) == "internal"
        assert passes(near, far)
        far.close()
        near.close()
        assert left_nothing(here)
        assert here.counts.value(metrics.INTERNAL_ERRORS) == 1
        assert "secret" not in str(here.lines)
        here.lines[:] = [line for line in here.lines if line["event"] != "internal error"]


def test_an_operator_ends_a_tunnel_that_is_dialled(certified: Certified) -> None:
    with gateway(certified) as here, deaf_port() as port:
        with Client(here.gateway_port, context_of(certified)) as client:
            client.sock.sendall(encode_connect(FAR_ADDRESS, port))
            (view,) = here.wait_for_links(1, "handshake")
            assert here.call(here.carrier.end, view["id"])
            assert client.answer().status == 503
            assert here.code_of(client) == "ended"
        assert left_nothing(here)


def test_the_gateway_stops_with_work_under_way(certified: Certified, far_host: FarHost) -> None:
    """A handshake, a ready connection, a dial, the nodes' handshake, a link: each has its end."""
    with ExitStack() as stack, deaf_port() as port, gateway(certified) as here:
        stack.enter_context(raw(here.gateway_port))
        ready, dialling, begun, up = (
            stack.enter_context(Client(here.gateway_port, context_of(certified))) for _ in range(4)
        )
        assert ready.options().status == 200
        dialling.sock.sendall(encode_connect(FAR_ADDRESS, port))
        assert begun.connect(FAR_ADDRESS, far_host.port).status == 200
        far_host.accept()
        tunnelled(up, far_host)
        wait_for(here, handshake=1, ready=2, tunnel=2)
    assert sorted(here.wait_for_ends(3)) == ["drained"] * 3


def test_many_tunnels_come_and_go(certified: Certified, far_host: FarHost) -> None:
    with gateway(certified, keys=MANY) as here:
        for _ in range(40):
            with Client(here.gateway_port, context_of(certified)) as client:
                far = tunnelled(client, far_host)
                client.close()
                assert far.sees_the_end()
                far.close()
        here.wait_for_ends(40)
        assert left_nothing(here)
        assert answered(here, 200) == 40
        assert connections(here) == {"handshake": 0, "ready": 0, "tunnel": 0}
