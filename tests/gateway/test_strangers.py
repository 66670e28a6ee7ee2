"""Clients that are nobody, or not what they should be: refused, told why, counted, and harmless."""

from __future__ import annotations

import random
import resource
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from epmdless import metrics
from tests.gateway.clients import (
    MANY,
    Client,
    answered,
    closed,
    connections,
    context_of,
    gateway,
    raw,
    stranger,
    tunnelled,
    wait_for,
    wait_for_closed,
    warnings,
)
from tests.net.tls_ends import client_context, only_tls12
from tests.support.certificates import Authority, Issued
from tests.support.deadline import eventually
from tests.support.hops import CLIENT, GATEWAY, Certified
from tests.support.link_sides import FAR_ADDRESS, NAME, Far, FarHost, framed, passes
from tests.support.relays import WITHIN, RelayHere

SHORT = {"request_timeout": "300ms"}
"""For clients that wait to be thrown out."""


class Going(NamedTuple):
    """A gateway with a tunnel that must go on, whatever strangers do."""

    here: RelayHere
    near: Client
    far: Far

    def goes_on(self) -> bool:
        """Whether the tunnel still carries in both directions."""
        return passes(self.near, self.far) and passes(self.far, self.near)


@pytest.fixture
def going(certified: Certified, far_host: FarHost) -> Iterator[Going]:
    with gateway(certified, keys=SHORT) as here:
        with Client(here.gateway_port, context_of(certified)) as near:
            far = tunnelled(near, far_host)
            yield Going(here, near, far)
            assert passes(near, far)
            assert passes(far, near)
            near.close()
            assert far.sees_the_end()
            far.close()
        assert here.code_of(near) == "near_closed"
        wait_for(here)
        assert here.counts.value(metrics.INTERNAL_ERRORS) == 0


def refusal(going: Going, context: ssl.SSLContext) -> str:
    """Shake hands and read; the reason that TLS gives the client."""
    with pytest.raises(ssl.SSLError) as refused, Client(going.here.gateway_port, context) as client:
        client.sock.recv(1)
    return str(refused.value.reason)


def other_ca(folder: Path) -> Authority:
    return Authority(folder, "other")


class Shown(NamedTuple):
    """A certificate that a client shows, and what comes of it on both ends."""

    issue: Callable[[Certified, Path], Issued | None]
    code: str
    alert: str


SHOWN = {
    "none": Shown(lambda *_: None, "no_certificate", "CERTIFICATE_REQUIRED"),
    "wrong CA": Shown(lambda _, folder: other_ca(folder).issue(CLIENT), "unknown_ca", "UNKNOWN_CA"),
    "expired": Shown(lambda c, _: c.authority.issue(CLIENT, expired=True), "expired", "CERTIFICATE_EXPIRED"),
    "not yet valid": Shown(
        lambda c, _: c.authority.issue(CLIENT, not_yet=True), "not_yet_valid", "BAD_CERTIFICATE"
    ),
    "wrong purpose": Shown(
        lambda c, _: c.authority.issue(CLIENT, usages=[ExtendedKeyUsageOID.SERVER_AUTH]),
        "wrong_purpose",
        "UNSUPPORTED_CERTIFICATE",
    ),
}


@pytest.mark.parametrize("shown", SHOWN.values(), ids=SHOWN.keys())
def test_a_certificate_that_is_not_good(
    going: Going, certified: Certified, tmp_path: Path, shown: Shown
) -> None:
    reason = refusal(going, stranger(certified, shown.issue(certified, tmp_path)))
    assert reason.endswith(shown.alert), reason
    wait_for_closed(going.here, shown.code)
    (line,) = warnings(going.here)
    assert line["reason"] == shown.code
    assert line["level"] == "warning"
    assert going.goes_on()


def test_tls_1_2(going: Going, certified: Certified) -> None:
    reason = refusal(going, only_tls12(client_context(certified.client, certified.authority, "1.2")))
    assert reason == "TLSV1_ALERT_PROTOCOL_VERSION"
    wait_for_closed(going.here, "wrong_version")
    assert going.goes_on()


def test_a_certificate_without_names_may_do_nothing(going: Going, certified: Certified) -> None:
    """The subject's common name is no name (RFC 9525)."""
    with Client(going.here.gateway_port, context_of(certified, certified.authority.issue())) as client:
        response = client.connect(FAR_ADDRESS, 9)
        assert response.status == 403
        assert "no entry is for this client" in response.body.decode()


def test_a_client_of_another_name_may_do_nothing(going: Going, certified: Certified) -> None:
    other = certified.authority.issue(f"not-{CLIENT}", f"spiffe://az-a/{CLIENT}")
    with Client(going.here.gateway_port, context_of(certified, other)) as client:
        assert client.connect(FAR_ADDRESS, 9).status == 403


@pytest.mark.parametrize("uri", ["spiffe://az-a/relay", "spiffe://az-a/other"])
def test_a_client_may_be_known_by_a_uri(certified: Certified, far_host: FarHost, uri: str) -> None:
    allow = {"client": "spiffe://az-a/re*", "hosts": ["127.0.0.0/8"], "ports": ["1-65535"]}
    with gateway(certified, allow) as here:
        with Client(here.gateway_port, context_of(certified, certified.authority.issue(uri))) as client:
            response = client.connect(FAR_ADDRESS, far_host.port)
            assert response.status == (200 if uri.endswith("relay") else 403)
            client.close()
        here.wait_for_ends(1)


WITHOUT_TLS = {
    "CONNECT": b"CONNECT b1.test:9001 HTTP/1.1\r\nHost: b1.test:9001\r\n\r\n",
    "GET": b"GET / HTTP/1.1\r\nHost: b1.test\r\n\r\n",
    "distribution": framed(NAME),
    "EPMD": b"\0\1n",
    "random": random.Random(4).randbytes(64 * 1024),  # the same in each run
    "a record of TLS, random inside": b"\x16\x03\x01\x40\x00" + random.Random(5).randbytes(16 * 1024),
    "zeros": bytes(64 * 1024),
    "an alert": b"\x15\x03\x03\x00\x02\x02\x28",
}


@pytest.mark.parametrize("said", WITHOUT_TLS.values(), ids=WITHOUT_TLS.keys())
def test_what_is_no_tls(going: Going, said: bytes) -> None:
    with raw(going.here.gateway_port) as sock:
        with suppress(OSError):
            sock.sendall(said)
        with suppress(ConnectionResetError):
            assert len(sock.recv(64)) <= 7  # an alert, or nothing
        (line,) = eventually(lambda: warnings(going.here), within=WITHIN, what="a line")
        assert closed(going.here, line["reason"]) == 1
        assert going.goes_on()


def test_an_alert_arrives(going: Going) -> None:
    """No reset destroys it: what was still under way is taken first."""
    with raw(going.here.gateway_port) as sock:
        sock.sendall(WITHOUT_TLS["a record of TLS, random inside"] + bytes(60_000))
        assert sock.recv(7, socket.MSG_WAITALL)[:2] == b"\x15\x03"
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""


@pytest.mark.parametrize("said", [b"", b"\x16\x03", b"\x16\x03\x01\x02\x00\x01"])
def test_a_handshake_that_does_not_go_on_is_timed_out(going: Going, said: bytes) -> None:
    with raw(going.here.gateway_port) as sock:
        sock.sendall(said)
        assert sock.recv(64) == b""
        wait_for_closed(going.here, "timed_out")
        assert len(warnings(going.here)) == 1


def drip(sock: socket.socket, data: bytes) -> bool:
    """Send byte by byte until the other end has had enough; whether it had."""
    sock.settimeout(0.02)
    for byte in data:
        try:
            sock.sendall(bytes([byte]))
            if sock.recv(4096) == b"":
                return True
        except TimeoutError:
            continue
        except OSError:
            return True
    return False


def test_a_head_that_drips(going: Going, certified: Certified) -> None:
    with Client(going.here.gateway_port, context_of(certified)) as client:
        assert drip(client.sock, b"CONNECT b1.test:9001 HTTP/1.1\r\nHost: " + b"x" * 1000)
    wait_for_closed(going.here, "timed_out")
    assert answered(going.here, 400) == 1


def test_a_handshake_that_drips(going: Going) -> None:
    with raw(going.here.gateway_port) as sock:
        assert drip(sock, b"\x16\x03\x01\x20\x00" + bytes(1000))
    eventually(lambda: warnings(going.here), within=WITHIN, what="a line")


def test_a_head_of_a_megabyte(going: Going, certified: Certified) -> None:
    """The client hears why, though it goes on sending."""
    with Client(going.here.gateway_port, context_of(certified)) as client:
        client.sock.sendall(b"CONNECT b1.test:9001 HTTP/1.1\r\nHost: " + b"x" * (1 << 20))
        response = client.answer()
        assert response.status == 400
        assert client.end() == (b"", "closed")
    wait_for_closed(going.here, "request_too_large")


def test_a_million_short_fields(going: Going, certified: Certified) -> None:
    with Client(going.here.gateway_port, context_of(certified)) as client:
        client.sock.sendall(b"CONNECT b1.test:9001 HTTP/1.1\r\n" + b"a:b\r\n" * 200_000)
        assert client.answer().status == 400


GOOD = b"CONNECT 198.51.100.1:9001 HTTP/1.1\r\nHost: 198.51.100.1:9001\r\nEpmdless-Link: a1-7\r\n\r\n"


def test_mutated_requests(going: Going, certified: Certified) -> None:
    """Whatever is in them, and wherever they stop: answered, or closed; no fault of ours, and no end without
    a goodbye."""
    rng = random.Random(7)
    for number in range(150):
        request = bytearray(GOOD * rng.randint(1, 2))
        for _ in range(rng.randint(0, 3)):
            request[rng.randrange(len(request))] = rng.choice(b"\0\r\n :\xff\x80aG0[]%")
        with Client(going.here.gateway_port, context_of(certified), f"127.0.5.{number + 1}") as client:
            client.sock.sendall(request[: rng.randint(1, len(request))])
            client.close()
    wait_for(going.here, tunnel=1)
    assert going.here.counts.value(metrics.INTERNAL_ERRORS) == 0


def memory() -> int:
    """Bytes that this process has in memory."""
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()


CROWD = 5_000
"""Silent connections, each of which costs two of the 20,000 descriptors that the test may have, as both of
its ends are in one process."""


def test_a_crowd_that_says_nothing(certified: Certified, far_host: FarHost) -> None:
    """The oldest are shed; memory and descriptors stay bounded, and who has something to say gets in."""
    keys = {"max_handshakes": 64, "request_timeout": "30s", **MANY}
    with gateway(certified, keys=keys) as here, ExitStack() as stack:
        near = stack.enter_context(Client(here.gateway_port, context_of(certified)))
        far = tunnelled(near, far_host)
        before = memory()
        most = 0
        for number in range(CROWD):
            stack.enter_context(raw(here.gateway_port, f"127.0.3.{number % 250 + 1}"))
            if number % 500 == 0:
                most = max(most, connections(here)["handshake"])
                assert passes(near, far)
        wait_for_closed(here, "shed", CROWD - 64)
        assert most <= 64
        assert here.call(lambda: here.gateway.descriptors) <= 64
        assert memory() - before < 64 << 20
        assert warnings(here) == []
        other = stack.enter_context(Client(here.gateway_port, context_of(certified)))
        assert other.options().status == 200
        assert passes(near, far)
        assert passes(far, near)
        near.close()
        assert far.sees_the_end()
        far.close()


def test_connections_that_come_at_once_are_bounded_too(certified: Certified) -> None:
    """A whole batch is accepted before any of its tasks begins."""
    keys = {"max_handshakes": 4, "max_connections": 4, "request_timeout": "30s", **MANY}
    with gateway(certified, keys=keys) as here, ExitStack() as stack:
        held: list[int] = []
        original = here.gateway._accepted

        def accept_and_look(*arguments: object) -> None:
            original(*arguments)  # type: ignore[arg-type]
            held.append(here.gateway.descriptors)

        here.call(setattr, here.gateway._acceptor, "_take", accept_and_look)
        here.call(lambda: [stack.enter_context(raw(here.gateway_port)) for _ in range(50)])
        eventually(lambda: len(held) == 50, within=WITHIN, what=lambda: str(held))
        assert max(held) == 4
        wait_for(here, handshake=4)
        assert closed(here, "shed") == 46


def test_the_newest_of_too_many_handshakes_gets_in(certified: Certified, far_host: FarHost) -> None:
    keys = {"max_handshakes": 2, "request_timeout": "30s", **MANY}
    with gateway(certified, keys=keys) as here, ExitStack() as stack:
        first, second = (stack.enter_context(raw(here.gateway_port)) for _ in range(2))
        wait_for(here, handshake=2)
        client = stack.enter_context(Client(here.gateway_port, context_of(certified)))
        assert first.recv(1) == b""
        wait_for(here, handshake=1, ready=1)
        assert closed(here, "shed") == 1
        assert client.options().status == 200
        second.settimeout(0)
        with pytest.raises(BlockingIOError):
            second.recv(1)


def test_a_crowd_from_one_address_sheds_its_own(certified: Certified) -> None:
    """A relay that came before the crowd, and is slow to shake hands, keeps its place."""
    keys = {"max_handshakes": 4, "request_timeout": "30s", **MANY}
    with gateway(certified, keys=keys) as here, ExitStack() as stack:
        slow = stack.enter_context(raw(here.gateway_port, "127.0.0.9"))
        wait_for(here, handshake=1)
        for _ in range(20):
            stack.enter_context(raw(here.gateway_port, "127.0.0.10"))
        wait_for_closed(here, "shed", 17)
        wait_for(here, handshake=4)
        with context_of(certified).wrap_socket(slow, server_hostname=GATEWAY) as client:
            wait_for(here, handshake=3, ready=1)
            assert client.version() == "TLSv1.3"


def test_a_peer_that_is_no_gateways_client_leaves_at_once(going: Going) -> None:
    """A port scan: nothing is said, and a reset follows."""
    for _ in range(50):
        with raw(going.here.gateway_port) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert going.goes_on()


def test_mutated_client_hellos(going: Going, certified: Certified) -> None:
    """Each ends with at most one line."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context_of(certified).wrap_bio(incoming, outgoing, server_hostname=GATEWAY)
    with suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    hello = outgoing.read()
    rng = random.Random(6)
    for _ in range(100):
        mutated = bytearray(hello)
        for _ in range(rng.randint(1, 4)):
            mutated[rng.randrange(len(mutated))] = rng.randrange(256)
        with raw(going.here.gateway_port) as sock:
            sock.sendall(mutated[: rng.randint(1, len(mutated))])
            sock.shutdown(socket.SHUT_WR)
            with suppress(ConnectionResetError):
                while sock.recv(4096):
                    pass
    wait_for(going.here, tunnel=1)
    assert len(warnings(going.here)) <= 100
    assert going.goes_on()
