"""Targets that a client may not have, by every way round: the address that was judged is the one dialled."""

from __future__ import annotations

import itertools
import select
import socket
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import trio

from epmdless.wire.handshake import Status, StatusKind
from tests.gateway.clients import Client, context_of, gateway, tunnelled
from tests.support.hops import ALLOW, CLIENT, GATEWAY_ADDRESS, Certified
from tests.support.link_sides import (
    CHALLENGE,
    FAR_ADDRESS,
    NAME,
    OK,
    STAND_IN,
    FarHost,
    framed,
    passes,
)
from tests.support.relays import Hosts, Settings, config_text, route_to

NAMED = "b1.test"
FORBIDDEN = "127.0.9.9"
BOTH: Settings = {"client": CLIENT, "hosts": [NAMED, "127.0.1.0/24"], "ports": ["1-65535"]}
"""A name must fit, and lead into the network."""


class Rebinding(Hosts):
    """A name server whose answer is another one each time."""

    def __init__(self, *answers: Sequence[str]) -> None:
        super().__init__({})
        self._answers = itertools.cycle(answers)

    async def getaddrinfo(self, *arguments: Any, **more: Any) -> list[Any]:
        """Answer with the next one."""
        self._addresses: Mapping[str, Sequence[str]] = {NAMED: next(self._answers)}
        return await super().getaddrinfo(*arguments, **more)


def nobody_called(far_host: FarHost) -> bool:
    """Whether no connection waits there."""
    return not select.select([far_host.fileno()], [], [], 0)[0]


def test_a_name_is_resolved_once_and_the_judged_address_dialled(certified: Certified) -> None:
    """DNS rebinding: a good address for the judge, another for the dial."""
    with FarHost() as good, FarHost(FORBIDDEN, good.port) as forbidden, gateway(certified, BOTH) as here:
        here.call(trio.socket.set_custom_hostname_resolver, Rebinding([FAR_ADDRESS], [FORBIDDEN]))
        statuses = []
        for _ in range(4):
            with Client(here.gateway_port, context_of(certified)) as client:
                statuses.append(client.connect(NAMED, good.port).status)
                if statuses[-1] == 200:
                    good.accept().close()
        assert statuses == [200, 403, 200, 403]
        assert nobody_called(forbidden)
        here.wait_for_ends(4)


@pytest.mark.parametrize("answer", [[FORBIDDEN, FAR_ADDRESS], [FAR_ADDRESS, FORBIDDEN], ["::1", FAR_ADDRESS]])
def test_of_several_addresses_the_allowed_are_dialled(certified: Certified, answer: Sequence[str]) -> None:
    with FarHost() as good, FarHost(FORBIDDEN, good.port) as forbidden:
        with gateway(certified, BOTH, hosts={NAMED: answer}) as here:
            with Client(here.gateway_port, context_of(certified)) as client:
                far = tunnelled(client, good, NAMED)
                far.close()
                assert client.end() == (b"", "closed")
            assert here.wait_for_ends(1) == ["far_closed"]
        assert nobody_called(forbidden)


OPEN: Settings = {"client": CLIENT, "hosts": ["*", "0.0.0.0/0", "::/0"], "ports": ["1-65535"]}


@pytest.mark.parametrize(
    ("address", "meaning"),
    [
        ("127.0.0.1", "loopback"),
        ("127.1.2.3", "loopback"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("64:ff9b::7f00:1", "loopback"),
        ("169.254.169.254", "link-local"),
        ("::ffff:169.254.169.254", "link-local"),
        ("fe80::1", "link-local"),
        ("fd00:ec2::254", "metadata"),
        ("0.0.0.0", "unspecified"),
        ("::", "unspecified"),
        ("224.0.0.1", "multicast"),
        ("255.255.255.255", "broadcast"),
    ],
)
def test_special_addresses_must_be_named(certified: Certified, address: str, meaning: str) -> None:
    """Neither by themselves nor behind a name that is allowed."""
    with (
        gateway(certified, OPEN, hosts={NAMED: [address]}) as here,
        Client(here.gateway_port, context_of(certified)) as client,
    ):
        for host in (address, NAMED):
            response = client.connect(host, 9)
            assert response.status == 403, response
            assert response.proxy_status is not None
            assert f"a {meaning} address" in response.proxy_status.details
            assert response.proxy_status.details.startswith("gateway.allow[0].hosts: ")


@pytest.mark.parametrize("spelling", ["127.1", "2130706433", "0x7f000001", "0177.0.0.1", "localhost.1"])
def test_other_spellings_of_an_address_are_no_hosts(certified: Certified, spelling: str) -> None:
    with gateway(certified, OPEN) as here, Client(here.gateway_port, context_of(certified)) as client:
        assert client.connect(spelling, 9).status in (400, 403)


def test_with_names_alone_an_address_is_refused(certified: Certified) -> None:
    allow = {"client": CLIENT, "hosts": ["*.test"], "ports": ["1-65535"]}
    with gateway(certified, allow) as here, Client(here.gateway_port, context_of(certified)) as client:
        response = client.connect("198.51.100.1", 9)
        assert response.status == 403
        assert "an address, where only names are allowed" in response.body.decode()


def test_the_name_of_the_gateway_itself_is_a_loop(certified: Certified) -> None:
    """Also behind a name, and by another address of a listener that has all of them."""
    names = {NAMED: [GATEWAY_ADDRESS]}
    with gateway(certified, hosts=names) as here, Client(here.gateway_port, context_of(certified)) as client:
        for host in (NAMED, GATEWAY_ADDRESS):
            response = client.connect(host, here.gateway_port)
            assert response.status == 502
            assert response.proxy_status is not None
            assert response.proxy_status.error == "proxy_loop_detected"


def test_a_stand_in_address_of_the_same_process_is_a_loop(certified: Certified, far_host: FarHost) -> None:
    text = config_text(route_to(far_host))
    with gateway(certified, before=text) as here, Client(here.gateway_port, context_of(certified)) as client:
        response = client.connect(STAND_IN, far_host.port)
        assert response.status == 502
        assert here.code_of(client) == "target_unknown"


ONLY_C = {**ALLOW, "nodes": ["c", "*@b9.test"]}


def test_a_node_that_is_not_allowed(certified: Certified, far_host: FarHost) -> None:
    """It is said inside the tunnel, in the nodes' own words, and neither node hears the other's challenge."""
    with (
        gateway(certified, ONLY_C) as here,
        Client(here.gateway_port, context_of(certified)) as client,
    ):
        assert client.connect(FAR_ADDRESS, far_host.port).status == 200
        client.say(NAME)
        far = far_host.accept()
        assert far.hear() == NAME
        far.say(OK, CHALLENGE)
        assert client.hear() == Status(StatusKind.NOT_ALLOWED)
        assert client.end()[0] == b""
        assert far.sees_the_end()
        line = here.end_of(client)
        assert line["end"] == "refused_by_policy"
        assert line["detail"] == "gateway.allow[0].nodes: b@b1.test is not among the nodes"


@pytest.mark.parametrize("nodes", [["b"], ["*@b1.test"], ["*"], ["c", "?"]])
def test_a_node_that_is_allowed(certified: Certified, far_host: FarHost, nodes: Sequence[str]) -> None:
    with (
        gateway(certified, {**ALLOW, "nodes": nodes}) as here,
        Client(here.gateway_port, context_of(certified)) as client,
    ):
        far = tunnelled(client, far_host)
        assert passes(client, far)
        far.close()
        assert client.end() == (b"", "closed")
        client.close()
        assert here.code_of(client) == "far_closed"


HELLO = b"\x16\x03\x01\x00\x05hello"


def test_tls_of_the_nodes_hides_their_names(certified: Certified, far_host: FarHost) -> None:
    with (
        gateway(certified, ONLY_C) as here,
        Client(here.gateway_port, context_of(certified)) as client,
    ):
        assert client.connect(FAR_ADDRESS, far_host.port).status == 200
        client.sock.sendall(HELLO)
        assert client.end()[0] == b""
        assert far_host.accept().sees_the_end()
        line = here.end_of(client)
        assert (line["end"], line["detail"]) == (
            "refused_by_policy",
            "gateway.allow[0].nodes: no node's name can be seen inside TLS",
        )


def test_tls_of_the_nodes_passes_where_any_node_may(certified: Certified, far_host: FarHost) -> None:
    with gateway(certified) as here, Client(here.gateway_port, context_of(certified)) as client:
        assert client.connect(FAR_ADDRESS, far_host.port).status == 200
        client.sock.sendall(HELLO)
        far = far_host.accept()
        assert far.read(len(HELLO)) == HELLO
        assert passes(far, client)
        far.close()
        assert client.end() == (b"", "closed")
        client.close()
        assert here.code_of(client) == "far_closed"


def test_what_is_no_handshake_gets_nowhere(certified: Certified, far_host: FarHost) -> None:
    """The tunnel is for nodes: neither HTTP nor EPMD's own questions pass."""
    with gateway(certified) as here:
        for said in (b"GET / HTTP/1.1\r\n\r\n", b"\0\1n", b"\0\x02xx" + bytes(60)):
            with Client(here.gateway_port, context_of(certified)) as client:
                assert client.connect(FAR_ADDRESS, far_host.port).status == 200
                client.sock.sendall(said)
                far = far_host.accept()
                assert far.sees_the_end()
                assert client.end()[0] == b""
                assert here.code_of(client) == "handshake_malformed"


@pytest.mark.parametrize("spelling", ["::1", "0:0:0:0:0:0:0:1", "::0001", "0::0.0.0.1"])
def test_an_address_may_be_written_in_many_ways(certified: Certified, spelling: str) -> None:
    """What allowed it is found again when its nodes are judged."""
    allow = {"client": CLIENT, "hosts": ["::1/128"], "ports": ["1-65535"], "nodes": ["b"]}
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        with gateway(certified, allow) as here, Client(here.gateway_port, context_of(certified)) as client:
            assert client.connect(spelling, listener.getsockname()[1]).status == 200
            client.say(NAME)
            with listener.accept()[0] as far:
                assert far.recv(4096)
                far.sendall(framed(OK) + framed(CHALLENGE))
                assert client.hear() == OK
                assert client.hear() == CHALLENGE
            client.close()
        here_ends = here.wait_for_ends(1)
    assert here_ends != ["refused_by_policy"]
