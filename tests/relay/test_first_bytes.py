"""What may come before a handshake, or in its place: a load balancer's header, and TLS."""

from collections.abc import Iterator
from typing import Any

import pytest

from epmdless.wire.proxy_protocol import MAX_HEADER, SIGNATURE, encode_header, encode_local_header
from tests.support.link_sides import (
    HANDSHAKE,
    HOST,
    NAME,
    STAND_IN,
    FarHost,
    Near,
    framed,
    linked,
    passes,
)
from tests.support.relays import RelayHere, Settings, config_text, dialling, relay_to, route_to
from tests.wire.test_client_hello import client_hello

TOLD = "192.0.2.7"
HEADER = encode_header(TOLD, 4711, STAND_IN, 9001)

OTHER_HOST = "b2.test"
OTHER_ADDRESS = "127.0.1.4"


@pytest.fixture
def far_host() -> Iterator[FarHost]:
    with FarHost() as far_host:
        yield far_host


# PROXY protocol.


@pytest.mark.parametrize(
    ("header", "address"),
    [
        (HEADER, f"{TOLD}:4711"),
        (encode_header("2001:db8::7", 4711, "2001:db8::1", 9001), "[2001:db8::7]:4711"),
        (encode_header("::ffff:192.0.2.7", 4711, "2001:db8::1", 9001), f"{TOLD}:4711"),
        (encode_header(TOLD, 4711, STAND_IN, 9001, bytes.fromhex("04 0003 616263")), f"{TOLD}:4711"),
    ],
)
def test_the_address_that_a_header_tells_is_the_near_side_s(
    far_host: FarHost, header: bytes, address: str
) -> None:
    with relay_to(far_host, proxy_protocol=True) as relay, dialling(far_host) as near:
        near.sock.sendall(header)
        far = linked(near, far_host)
        assert passes(near, far)
        assert passes(far, near)
        (view,) = relay.wait_for_links(1)
        assert view["near"]["address"] == address


@pytest.mark.parametrize("together", [True, False])
def test_a_balancer_s_own_connection_keeps_its_address(far_host: FarHost, together: bool) -> None:
    with relay_to(far_host, proxy_protocol=True) as relay, dialling(far_host) as near:
        if together:
            near.sock.sendall(encode_local_header() + framed(NAME))
        else:
            near.sock.sendall(encode_local_header())
            near.say(NAME)
        assert far_host.accept().hear() == NAME
        near.close()
        assert relay.code_of(near) == "near_closed"


def test_a_header_in_single_bytes_is_taken(far_host: FarHost) -> None:
    with relay_to(far_host, proxy_protocol=True), dialling(far_host) as near:
        for byte in HEADER:
            near.sock.sendall(bytes([byte]))
        assert passes(near, linked(near, far_host))


@pytest.mark.parametrize(
    "first",
    [
        framed(NAME),
        b"PROXY TCP4 192.0.2.7 127.0.1.2 4711 9001\r\n",
        SIGNATURE + b"\x31\x11" + HEADER[14:],
        SIGNATURE + b"\x21\x11\0\4abcd",
        SIGNATURE + b"\x21\x11" + (MAX_HEADER + 1).to_bytes(2, "big"),
        b"\x16\x03\x01",
    ],
)
def test_a_missing_or_malformed_header_is_refused(far_host: FarHost, first: bytes) -> None:
    with relay_to(far_host, proxy_protocol=True) as relay, dialling(far_host) as near:
        near.sock.sendall(first)
        assert near.sees_the_end()
        assert relay.code_of(near) == "handshake_malformed"
        assert far_host.drain() == 0


def test_a_header_where_none_is_configured_is_refused(far_host: FarHost) -> None:
    with relay_to(far_host) as relay, dialling(far_host) as near:
        near.sock.sendall(HEADER)
        assert near.sees_the_end()
        line = relay.end_of(near)
        assert line["end"] == "handshake_malformed"
        assert "PROXY" in line["detail"]


def test_rules_are_about_the_told_address(far_host: FarHost) -> None:
    rules = [{"action": "deny", "from": [TOLD]}]
    with relay_to(far_host, rules=rules, proxy_protocol=True) as relay, dialling(far_host) as near:
        near.sock.sendall(HEADER + framed(NAME))
        near.end()
        assert relay.wait_for_ends(1) == ["refused_by_policy"]


def test_the_limit_by_address_is_about_the_told_address(far_host: FarHost) -> None:
    text = config_text(route_to(far_host, proxy_protocol=True), max_links_per_address=2)
    with RelayHere(text) as relay, dialling(far_host) as one, dialling(far_host) as two:
        for number, near in enumerate((one, two), 1):
            near.sock.sendall(HEADER)
            linked(near, far_host)
            relay.wait_for_links(number)
        with dialling(far_host) as three:
            three.sock.sendall(HEADER)
            assert three.sees_the_end()
            assert relay.wait_for_ends(1) == ["refused_by_limit"]
        with dialling(far_host) as other:
            other.sock.sendall(encode_header("192.0.2.8", 1, STAND_IN, 9001))
            assert passes(other, linked(other, far_host))


# TLS.

HELLO = client_hello(HOST)


def hello_passes(near: Near, far_host: FarHost, hello: bytes = HELLO) -> bool:
    """Whether a hello, and what follows it on both sides, get through unchanged."""
    near.sock.sendall(hello)
    far = far_host.accept()
    assert far.read(len(hello)) == hello
    return passes(near, far, bytes(range(256))) and passes(far, near, bytes(range(255, -1, -1)))


@pytest.mark.parametrize("name", [HOST, HOST.upper(), None])
def test_tls_is_passed_through(far_host: FarHost, name: str | None) -> None:
    with relay_to(far_host) as relay, dialling(far_host) as near:
        assert hello_passes(near, far_host, client_hello(name))
        (view,) = relay.wait_for_links(1)
        assert (view["tls"], view["near"]["node"]) == (True, None)
        assert view["near_to_far"]["frames"] is None
        assert view["near_to_far"]["bytes"] == len(client_hello(name)) + 256


def test_a_hello_in_single_bytes_is_passed_through(far_host: FarHost) -> None:
    with relay_to(far_host), dialling(far_host) as near:
        for byte in HELLO[:-1]:
            near.sock.sendall(bytes([byte]))
        near.sock.sendall(HELLO[-1:])
        assert far_host.accept().read(len(HELLO)) == HELLO


def test_a_hello_cut_at_any_byte_ends_as_near_closed(far_host: FarHost) -> None:
    with relay_to(far_host) as relay:
        for cut in range(1, len(HELLO), 7):
            with dialling(far_host) as near:
                near.sock.sendall(HELLO[:cut])
                near.close()
                assert relay.code_of(near) == "near_closed"
        assert far_host.drain() == 0


def test_tls_is_routed_by_the_host_that_it_names(far_host: FarHost) -> None:
    with FarHost(OTHER_ADDRESS, far_host.port) as other_host:
        routes: list[Settings] = [
            route_to(far_host, names="b*"),
            {"host": OTHER_HOST, "listen": STAND_IN, "dial": OTHER_ADDRESS, "names": "c*"},
        ]
        with RelayHere(config_text(*routes)) as relay:
            with dialling(far_host) as near:
                assert hello_passes(near, far_host)
            with dialling(far_host) as near:
                assert hello_passes(near, other_host, client_hello(OTHER_HOST))
                views = relay.wait_for_links(1)
                assert views[0]["route"] == OTHER_HOST
            with dialling(far_host) as near:
                near.sock.sendall(client_hello("b3.test"))
                assert near.sees_the_end()
                assert relay.code_of(near) == "target_unknown"


@pytest.mark.parametrize("name", [HOST, None])
@pytest.mark.parametrize("keys", [{"hidden": True}, {"tls": False}])
def test_a_route_that_changes_handshakes_or_says_so_refuses_tls(
    far_host: FarHost, keys: dict[str, Any], name: str | None
) -> None:
    with relay_to(far_host, **keys) as relay, dialling(far_host) as near:
        near.sock.sendall(client_hello(name))
        assert near.sees_the_end()
        assert relay.code_of(near) == "refused_by_policy"
        assert far_host.drain() == 0


@pytest.mark.parametrize(
    ("rule", "allowed"),
    [
        ({"action": "deny", "near": "a@*"}, False),  # it could be that node
        ({"action": "deny", "far": "secret"}, False),  # whatever name was looked up before
        ({"action": "deny", "from": ["127.0.0.9"]}, True),
        ({"action": "deny", "host": "b1.*"}, False),
        ({"action": "deny", "host": "b2.*"}, True),
    ],
)
def test_rules_fail_closed_on_what_tls_hides(
    far_host: FarHost, rule: dict[str, object], allowed: bool
) -> None:
    with relay_to(far_host, rules=[rule]) as relay, dialling(far_host) as near:
        if allowed:
            assert hello_passes(near, far_host)
        else:
            near.sock.sendall(HELLO)
            assert near.sees_the_end()
            assert relay.code_of(near) == "refused_by_policy"


def test_what_only_begins_like_tls_is_malformed(far_host: FarHost) -> None:
    with relay_to(far_host) as relay, dialling(far_host) as near:
        near.sock.sendall(b"\x16\x02")
        assert near.sees_the_end()
        assert relay.code_of(near) == "handshake_malformed"


def test_a_header_before_tls_is_taken_off(far_host: FarHost) -> None:
    with relay_to(far_host, proxy_protocol=True), dialling(far_host) as near:
        near.sock.sendall(HEADER)
        assert hello_passes(near, far_host)


def test_a_plain_handshake_beside_tls_on_one_port(far_host: FarHost) -> None:
    with relay_to(far_host), dialling(far_host) as near, dialling(far_host) as tls:
        assert hello_passes(tls, far_host)
        assert passes(near, linked(near, far_host, HANDSHAKE))
