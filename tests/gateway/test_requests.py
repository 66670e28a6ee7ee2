"""What is asked of a gateway, and its answers: each status with the reason that Proxy-Status gives."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from epmdless.wire.connect import encode_connect
from tests.gateway.clients import Client, answered, closed, context_of, gateway, tunnelled, warnings
from tests.support.hops import ALLOW, CLIENT, GATEWAY_ADDRESS, Certified
from tests.support.link_sides import FAR_ADDRESS, HANDSHAKE, FarHost, framed, linked, passes
from tests.support.ports import closed_port

PROXY = "epmdless"

HOSTS = [f"b{number}.az-b.internal" for number in range(1000)]


@contextmanager
def deaf_port() -> Iterator[int]:
    """A port that takes no connection and refuses none: its queue is full."""
    with socket.socket() as listener:
        listener.bind((FAR_ADDRESS, 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
        for sock in waiting:
            sock.close()


def test_a_tunnel(certified: Certified, far_host: FarHost) -> None:
    with gateway(certified) as here, Client(here.gateway_port, context_of(certified)) as client:
        response = client.connect(FAR_ADDRESS, far_host.port, link="a1-7")
        assert (response.status, response.body) == (200, b"")
        far = linked(client, far_host)  # type: ignore[arg-type]
        assert passes(client, far)
        assert passes(far, client)
        client.close()
        assert far.sees_the_end()
        far.close()
        line = here.end_of(client)
        assert (line["tunnel"], line["client"]) == ("a1-7", CLIENT)
        assert answered(here, 200) == 1


@pytest.mark.parametrize(
    "allows",
    [
        [{**ALLOW, "hosts": HOSTS}],
        [{**ALLOW, "hosts": [host], "nodes": ["app-*", f"db@{host}"]} for host in HOSTS],
        [{**ALLOW, "hosts": HOSTS[:200], "nodes": [f"db@{host}" for host in HOSTS]}] * 20,
    ],
)
def test_a_list_is_no_longer_than_a_client_takes(
    certified: Certified, allows: list[dict[str, object]]
) -> None:
    """A relay asks for it to see whether a gateway works; what is left out of it is told."""
    with (
        gateway(certified, *allows) as here,
        Client(here.gateway_port, context_of(certified)) as client,
    ):
        response = client.options()
        assert response.status == 200
        told = json.loads(response.body)
        assert told["client"] == [CLIENT]
        (first, *_) = told["allow"]
        assert first["hosts"][0] == HOSTS[0]
        assert told.get("left_out", 0) == len(allows) - len(told["allow"])
        hosts, whole = first["hosts"], allows[0]["hosts"]
        assert isinstance(whole, list)
        assert hosts == whole or hosts == [
            *whole[: len(hosts) - 1],
            f"and {len(whole) - len(hosts) + 1} more",
        ]


def test_what_comes_behind_connect_is_the_tunnels(certified: Certified, far_host: FarHost) -> None:
    """A client need not wait for the answer."""
    with gateway(certified) as here, Client(here.gateway_port, context_of(certified)) as client:
        name = HANDSHAKE[0][1]
        assert client.ask(encode_connect(FAR_ADDRESS, far_host.port) + framed(name)).status == 200
        far = far_host.accept()
        assert far.hear() == name
        client.close()
        assert far.sees_the_end()
        assert here.wait_for_ends(1) == ["near_closed"]


@pytest.mark.parametrize(
    ("request_", "detail"),
    [
        (b"GET / HTTP/1.1\r\nHost: gw\r\n\r\n", "neither CONNECT nor OPTIONS"),
        (b"CONNECT b1.test HTTP/1.1\r\nHost: b1.test\r\n\r\n", "not host:port"),
        (b"CONNECT b1.test:0 HTTP/1.1\r\nHost: b1.test\r\n\r\n", "1 to 65535"),
        (b"CONNECT b1.test:99999 HTTP/1.1\r\nHost: b1.test\r\n\r\n", "1 to 65535"),
        (b"CONNECT [::1%lo]:9 HTTP/1.1\r\nHost: b1.test\r\n\r\n", "not host:port"),
        (b"CONNECT a@b:9 HTTP/1.1\r\nHost: b1.test\r\n\r\n", "not host:port"),
        (b"CONNECT b1.test:9 HTTP/1.1\r\n\r\n", "Host"),
        (b"CONNECT b1.test:9 HTTP/1.1\r\nHost: b1.test\r\nContent-Length: 3\r\n\r\nabc", "body"),
        (b"\x00\x15n" + b"\0" * 20, "no request begins so"),
        (b"\r\n\r\n\r\n\r\nx", "no request begins so"),
        (b"CONNECT b1.test:9 HTTP/1.1\r\nHost: " + b"x" * 9000, ""),
    ],
)
def test_400(certified: Certified, request_: bytes, detail: str) -> None:
    with gateway(certified) as here, Client(here.gateway_port, context_of(certified)) as client:
        response = client.ask(request_)
        assert response.status == 400
        assert response.proxy_status is not None
        assert (response.proxy_status.proxy, response.proxy_status.error) == (PROXY, "http_request_error")
        assert detail in response.proxy_status.details
        assert client.end() == (b"", "closed")
        (line,) = warnings(here)
        assert closed(here, line["reason"]) == answered(here, 400) == 1


@pytest.mark.parametrize(
    ("host", "port", "status", "error", "detail"),
    [
        (
            "b9.test",
            9001,
            403,
            "http_request_denied",
            "allow[0].hosts: b9.test is not among the names",
        ),
        (
            "b1.test",
            9002,
            403,
            "http_request_denied",
            "allow[0].ports: port 9002 is not in the ports",
        ),
        ("b9.test", 80, 403, "http_request_denied", "gateway.allow: no entry is for b9.test and port 80"),
        ("b2.test", 9001, 404, "dns_error", "b2.test: Name or service not known"),
        ("b3.test", 9001, 403, "destination_ip_prohibited", "b3.test leads, is not in the networks"),
    ],
)
def test_refused(certified: Certified, host: str, port: int, status: int, error: str, detail: str) -> None:
    allow = {
        "client": CLIENT,
        "hosts": ["b1.test", "b2.test", "b3.test", "127.0.1.0/24"],
        "ports": [9001],
    }
    names = {"b1.test": [FAR_ADDRESS], "b3.test": ["127.0.9.9"]}
    with (
        gateway(certified, allow, hosts=names) as here,
        Client(here.gateway_port, context_of(certified)) as client,
    ):
        response = client.connect(host, port)
        assert response.status == status
        assert response.proxy_status is not None
        assert (response.proxy_status.proxy, response.proxy_status.error) == (PROXY, error)
        assert detail in response.proxy_status.details
        assert detail in response.body.decode()
        assert detail in here.end_of(client)["detail"]
        assert answered(here, status) == 1


def test_502_nobody_listens(certified: Certified) -> None:
    with (
        closed_port() as port,
        gateway(certified) as here,
        Client(here.gateway_port, context_of(certified)) as client,
    ):
        response = client.connect("127.0.0.1", port)
        assert response.status == 502
        assert response.proxy_status is not None
        assert response.proxy_status.error == "connection_refused"
        assert here.code_of(client) == "dial_refused"


def test_502_the_gateway_itself(certified: Certified) -> None:
    with gateway(certified) as here, Client(here.gateway_port, context_of(certified)) as client:
        response = client.connect(GATEWAY_ADDRESS, here.gateway_port)
        assert response.status == 502
        assert response.proxy_status is not None
        assert response.proxy_status.error == "proxy_loop_detected"
        assert here.code_of(client) == "target_unknown"


def test_503_and_504(certified: Certified) -> None:
    keys = {"dial_timeout": "300ms", "max_tunnels_per_client": 1}
    with gateway(certified, keys=keys) as here, deaf_port() as port:
        context = context_of(certified)
        with Client(here.gateway_port, context) as first, Client(here.gateway_port, context) as second:
            first.sock.sendall(encode_connect(FAR_ADDRESS, port))
            here.wait_for_links(1, "handshake")
            full = second.connect(FAR_ADDRESS, port)
            late = first.answer()
            assert (full.status, late.status) == (503, 504)
            assert full.proxy_status is not None
            assert late.proxy_status is not None
            assert (full.proxy_status.error, late.proxy_status.error) == (
                "connection_limit_reached",
                "connection_timeout",
            )
            assert full.proxy_status.details == "max_tunnels_per_client"
            assert (here.code_of(second), here.code_of(first)) == ("refused_by_limit", "dial_timed_out")


def test_options(certified: Certified) -> None:
    allow = {"client": "*.az-a.test", "hosts": ["*.az-b.test", "127.0.1.0/24"], "ports": [4369, "9001-9010"]}
    other = {"client": "spiffe://az-c/*", "hosts": ["b9.test"], "ports": [1]}
    with (
        gateway(certified, allow, other) as here,
        Client(here.gateway_port, context_of(certified)) as client,
    ):
        response = client.options()
        assert response.status == 200
        assert json.loads(response.body) == {
            "client": [CLIENT],
            "allow": [
                {"hosts": ["*.az-b.test", "127.0.1.0/24"], "ports": ["4369", "9001-9010"], "nodes": ["*"]}
            ],
        }


def test_several_requests_on_one_connection(certified: Certified, far_host: FarHost) -> None:
    """A refusal costs the client nothing but the answer."""
    with gateway(certified) as here, Client(here.gateway_port, context_of(certified)) as client:
        assert client.connect("198.51.100.2", far_host.port).status == 403
        assert client.options().status == 200
        assert client.connect("198.51.100.1", far_host.port).status == 403
        far = tunnelled(client, far_host)
        assert passes(client, far)
        far.close()
        assert client.end() == (b"", "closed")
        client.close()
        assert here.wait_for_ends(3) == ["refused_by_policy", "refused_by_policy", "far_closed"]


def test_bytes_behind_a_refused_connect_are_no_request(certified: Certified) -> None:
    """They were meant for the tunnel: what a node sends must not ask the gateway for something."""
    with gateway(certified) as here, Client(here.gateway_port, context_of(certified)) as client:
        smuggled = b"OPTIONS * HTTP/1.1\r\nHost: gw\r\n\r\n"
        assert client.ask(encode_connect("198.51.100.1", 9) + smuggled).status == 403
        assert client.end() == (b"", "closed")
        assert answered(here, 200) == 0


def test_requests_in_pieces(certified: Certified, far_host: FarHost) -> None:
    with gateway(certified) as here, Client(here.gateway_port, context_of(certified)) as client:
        for byte in encode_connect(FAR_ADDRESS, far_host.port):
            client.sock.sendall(bytes([byte]))
        assert client.answer().status == 200
        assert passes(client, linked(client, far_host))  # type: ignore[arg-type]


def test_http_1_0_and_close(certified: Certified) -> None:
    with gateway(certified) as here:
        for request in (
            b"CONNECT 198.51.100.1:9 HTTP/1.0\r\n\r\n",
            b"CONNECT 198.51.100.1:9 HTTP/1.1\r\nHost: b1.test:9\r\nConnection: close\r\n\r\n",
        ):
            with Client(here.gateway_port, context_of(certified)) as client:
                assert client.ask(request).status == 403
                assert client.end() == (b"", "closed")


def test_without_tls_a_client_is_its_address(far_host: FarHost) -> None:
    allow = {"client": "127.0.0.7", "hosts": ["127.0.0.0/8"], "ports": ["1-65535"]}
    with gateway(None, allow) as here:
        with Client(here.gateway_port, None, "127.0.0.7") as client:
            far = tunnelled(client, far_host)
            assert passes(client, far)
            far.close()
            assert client.end() == (b"", "closed")
            client.close()
            assert here.end_of(client)["client"] == "127.0.0.7"
        with Client(here.gateway_port, None, "127.0.0.8") as client:
            response = client.connect(FAR_ADDRESS, far_host.port)
            assert response.status == 403
            assert "no entry is for this client" in response.body.decode()


def test_the_links_log_names_what_was_asked_for(certified: Certified, far_host: FarHost) -> None:
    names = {"b1.test": [FAR_ADDRESS]}
    allow = {"client": CLIENT, "hosts": ["b1.test", "127.0.1.0/24"], "ports": ["1-65535"]}
    with (
        gateway(certified, allow, hosts=names) as here,
        Client(here.gateway_port, context_of(certified)) as client,
    ):
        far = tunnelled(client, far_host, "b1.test")
        far.close()
        assert client.end() == (b"", "closed")
        client.close()
        line = here.end_of(client)
        assert (line["far_address"], line["end"]) == (f"b1.test:{far_host.port}", "far_closed")
