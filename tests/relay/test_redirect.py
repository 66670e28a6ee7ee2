"""Redirected connections, as far as they go without netfilter: its rules are tested among real nodes."""

import os
import socket
from collections.abc import Iterator

import pytest

from epmdless.addresses import Endpoint
from epmdless.relay.redirect import make_transparent, original_destination
from tests.support.link_sides import NAME, STAND_IN, FarHost, Near
from tests.support.ports import free_port
from tests.support.relays import RelayHere, config_text, route_to


@pytest.fixture(params=[(socket.AF_INET, STAND_IN), (socket.AF_INET6, "::1")], ids=["IPv4", "IPv6"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket, Endpoint]]:
    """A connection that nothing redirected: both ends, and what was dialled."""
    family, host = request.param
    with socket.socket(family) as listener, socket.socket(family) as client:
        listener.bind((host, 0))
        listener.listen()
        port = listener.getsockname()[1]
        client.connect((host, port))
        accepted, _ = listener.accept()
        with accepted:
            yield client, accepted, Endpoint(host, port)


def test_without_redirection_the_destination_is_what_was_dialled(
    pair: tuple[socket.socket, socket.socket, Endpoint],
) -> None:
    _, accepted, where = pair
    assert original_destination(accepted) == where


def test_a_closed_connection_has_no_destination() -> None:
    sock = socket.socket()
    sock.close()
    assert original_destination(sock) is None


def test_an_address_of_ipv4_in_ipv6_is_told_as_it_is() -> None:
    with socket.socket(socket.AF_INET6) as listener, socket.socket() as client:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(("::", 0))
        listener.listen()
        port = listener.getsockname()[1]
        client.connect((STAND_IN, port))
        accepted, _ = listener.accept()
        with accepted:
            assert original_destination(accepted) == Endpoint(STAND_IN, port)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_listener_is_made_transparent_by_who_may(family: socket.AddressFamily) -> None:
    with socket.socket(family) as listener:
        assert make_transparent(listener) in ((True,) if os.geteuid() == 0 else (True, False))


def test_the_one_listener_itself_leads_nowhere() -> None:
    """A connection that nothing redirected was dialled at our own listener: to dial that would be a loop."""
    port = free_port()
    with FarHost() as far_host:
        text = config_text(
            route_to(far_host), {"net": "127.0.0.0/8"}, transparent={"listen": f"127.0.0.1:{port}"}
        )
        with RelayHere(text) as relay, Near("127.0.0.1", port) as near:
            near.say(NAME)
            assert near.sees_the_end()
            line = relay.end_of(near)
            assert (line["end"], line["route"]) == ("target_unknown", f"127.0.0.1:{port}")


def test_a_destination_without_a_route_is_refused() -> None:
    port = free_port()
    text = config_text({"net": "192.0.2.0/24"}, transparent={"listen": f"127.0.0.1:{port}"})
    with RelayHere(text) as relay, Near("127.0.0.1", port) as near:
        assert near.sees_the_end()
        assert relay.code_of(near) == "target_unknown"
