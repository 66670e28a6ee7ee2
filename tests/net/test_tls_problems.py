"""What each end says when TLS fails: every fault made with real ends, in memory."""

import errno
import os
import ssl
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from epmdless.net.tls.contexts import Versions
from epmdless.net.tls.problems import CODES, Problem, Side, explain
from tests.net.tls_ends import GATEWAY, RELAY, End, client_context, only_tls12, server_context, shaken
from tests.support.certificates import Authority, Issued

PEER = {"client": "gw1.az-b.internal:4370", "server": "10.0.1.9"}
"""The other end, as each side calls it."""

TLS: list[Versions] = ["1.2", "1.3"]


class Zones(NamedTuple):
    """The zones' CA, what it gave the gateway and the relay, and a CA that they do not know."""

    ca: Authority
    gateway: Issued
    relay: Issued
    stranger: Authority


@pytest.fixture(scope="module")
def zones(tmp_path_factory: pytest.TempPathFactory) -> Zones:
    folder = tmp_path_factory.mktemp("zones")
    ca = Authority(folder)
    return Zones(ca, ca.issue(GATEWAY), ca.issue(RELAY), Authority(folder, "stranger"))


def near(issued: Issued | None, ca: Authority, version: Versions) -> ssl.SSLContext:
    return only_tls12(client_context(issued, ca, "1.2")) if version == "1.2" else client_context(issued, ca)


def far(issued: Issued, ca: Authority, version: Versions) -> ssl.SSLContext:
    return server_context(issued, ca, version)


def of(end: End) -> Problem:
    side: Side = "server" if end.tls.server_side else "client"
    problem = explain(end.failure(), peer=PEER[side], side=side)
    assert problem.code in CODES
    assert PEER[side] in problem.text
    return problem


class Said(NamedTuple):
    """A problem's code, and words of its text."""

    code: str
    words: str


def assert_said(ends: tuple[End, End], client: Said, server: Said) -> None:
    for end, said in zip(ends, (client, server), strict=True):
        problem = of(end)
        assert problem.code == said.code
        assert said.words in problem.text


# What the gateway finds in the client's certificate


@pytest.mark.parametrize("version", TLS)
def test_a_client_without_a_certificate(zones: Zones, version: Versions) -> None:
    ends = shaken(near(None, zones.ca, version), far(zones.gateway, zones.ca, version))
    unspoken = Said("handshake_failed", "it may want a certificate of ours")  # TLS 1.2 has no alert for it
    named = Said("no_certificate", "asks for a certificate of ours: set cert and key")
    client = unspoken if version == "1.2" else named
    assert_said(ends, client, Said("no_certificate", "showed no certificate: its hop needs cert and key"))


@pytest.mark.parametrize("version", TLS)
def test_a_client_of_an_unknown_ca(zones: Zones, version: Versions) -> None:
    relay = zones.stranger.issue(RELAY)
    assert_said(
        shaken(near(relay, zones.ca, version), far(zones.gateway, zones.ca, version)),
        Said("unknown_ca", "does not know the CA of our certificate: the ca file there must hold it"),
        Said("unknown_ca", "is from a CA that is not in our ca file"),
    )


@pytest.mark.parametrize("version", TLS)
def test_a_client_whose_certificate_has_expired(zones: Zones, version: Versions) -> None:
    relay = zones.ca.issue(RELAY, expired=True)
    assert_said(
        shaken(near(relay, zones.ca, version), far(zones.gateway, zones.ca, version)),
        Said("expired", "says that our certificate, or one above it, has expired"),
        Said("expired", "the certificate of 10.0.1.9, or one above it, has expired: renew it"),
    )


@pytest.mark.parametrize("version", TLS)
def test_a_client_whose_certificate_is_not_valid_yet(zones: Zones, version: Versions) -> None:
    relay = zones.ca.issue(RELAY, not_yet=True)
    assert_said(
        shaken(near(relay, zones.ca, version), far(zones.gateway, zones.ca, version)),
        Said("bad_certificate", "refused our certificate"),
        Said("not_yet_valid", "is not valid yet: compare the clocks"),
    )


@pytest.mark.parametrize("version", TLS)
def test_a_client_with_a_certificate_for_servers(zones: Zones, version: Versions) -> None:
    relay = zones.ca.issue(RELAY, usages=[ExtendedKeyUsageOID.SERVER_AUTH])
    assert_said(
        shaken(near(relay, zones.ca, version), far(zones.gateway, zones.ca, version)),
        Said(
            "wrong_purpose", "our certificate is for another purpose: its extended key usage needs clientAuth"
        ),
        Said("wrong_purpose", "its extended key usage needs clientAuth"),
    )


# What the hop finds in the gateway's certificate


@pytest.mark.parametrize("version", TLS)
def test_a_gateway_of_an_unknown_ca(zones: Zones, version: Versions) -> None:
    gateway = zones.stranger.issue(GATEWAY)
    assert_said(
        shaken(near(zones.relay, zones.ca, version), far(gateway, zones.ca, version)),
        Said(
            "unknown_ca", "the certificate of gw1.az-b.internal:4370 is from a CA that is not in our ca file"
        ),
        Said("unknown_ca", "does not know the CA of our certificate"),
    )


def test_a_gateway_that_signed_its_certificate_itself(zones: Zones, tmp_path: Path) -> None:
    alone = Authority(tmp_path)
    own = Issued(alone.ca, alone.key)
    client, _ = shaken(near(zones.relay, zones.ca, "1.3"), far(own, zones.ca, "1.3"))
    assert of(client).code == "unknown_ca"


@pytest.mark.parametrize("version", TLS)
def test_a_gateway_whose_certificate_has_expired(zones: Zones, version: Versions) -> None:
    gateway = zones.ca.issue(GATEWAY, expired=True)
    assert_said(
        shaken(near(zones.relay, zones.ca, version), far(gateway, zones.ca, version)),
        Said("expired", "the certificate of gw1.az-b.internal:4370, or one above it, has expired"),
        Said("expired", "says that our certificate, or one above it, has expired: renew it"),
    )


@pytest.mark.parametrize("version", TLS)
def test_a_gateway_whose_certificate_is_not_valid_yet(zones: Zones, version: Versions) -> None:
    gateway = zones.ca.issue(GATEWAY, not_yet=True)
    assert_said(
        shaken(near(zones.relay, zones.ca, version), far(gateway, zones.ca, version)),
        Said("not_yet_valid", "is not valid yet: compare the clocks"),
        Said("bad_certificate", "or it is not valid there yet"),
    )


@pytest.mark.parametrize("version", TLS)
def test_a_gateway_with_a_certificate_for_clients(zones: Zones, version: Versions) -> None:
    gateway = zones.ca.issue(GATEWAY, usages=[ExtendedKeyUsageOID.CLIENT_AUTH])
    assert_said(
        shaken(near(zones.relay, zones.ca, version), far(gateway, zones.ca, version)),
        Said("wrong_purpose", "its extended key usage needs serverAuth"),
        Said(
            "wrong_purpose", "our certificate is for another purpose: its extended key usage needs serverAuth"
        ),
    )


@pytest.mark.parametrize("version", TLS)
@pytest.mark.parametrize("host", ["gw2.az-b.internal", "10.0.2.9"])
def test_a_gateway_of_another_name(zones: Zones, version: Versions, host: str) -> None:
    ends = shaken(near(zones.relay, zones.ca, version), far(zones.gateway, zones.ca, version), host)
    assert_said(
        ends,
        Said("name_mismatch", "is not for the host asked for: issue it for that name, or set server_name"),
        Said("bad_certificate", "refused our certificate: its names may be wrong"),
    )


# Versions, and what is no TLS


def test_a_client_with_tls_1_2_alone(zones: Zones) -> None:
    assert_said(
        shaken(near(zones.relay, zones.ca, "1.2"), far(zones.gateway, zones.ca, "1.3")),
        Said("wrong_version", 'allow TLS 1.3 on both ends, or set min_version = "1.2" there'),
        Said("wrong_version", 'allow TLS 1.3 on both ends, or set min_version = "1.2" here'),
    )


def test_a_gateway_with_tls_1_2_alone(zones: Zones) -> None:
    old = only_tls12(far(zones.gateway, zones.ca, "1.2"))
    ends = shaken(near(zones.relay, zones.ca, "1.3"), old)
    assert [of(end).code for end in ends] == ["wrong_version", "wrong_version"]


def test_no_cipher_in_common(zones: Zones) -> None:
    client, server = near(zones.relay, zones.ca, "1.2"), far(zones.gateway, zones.ca, "1.2")
    client.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    server.set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384")
    assert_said(
        shaken(client, server),
        Said("handshake_failed", "refused the handshake"),
        Said("handshake_failed", "TLS with 10.0.1.9 failed: no shared cipher"),
    )


HTTP = b"GET / HTTP/1.1\r\nHost: gw\r\n\r\n"
CONNECT = b"CONNECT b1.az-b.internal:4369 HTTP/1.1\r\n\r\n"
REFUSAL = b"HTTP/1.1 400 Bad Request\r\n\r\n"
DISTRIBUTION = b"\x00\x18N\x00\x00\x00\x0d\x07\xdf\x7f\xbd\x00\x00\x00\x01\x00\x09app@a.net"
"""A node's ``send_name``: what a node sends that dials the gateway by itself."""

LOOKUP = b"\x00\x05zapp1" + bytes(8)
"""A question for an EPMD server."""


def fed(context: ssl.SSLContext, data: bytes, host: str | None = None) -> End:
    """An end that gets these bytes, and then the end of the connection."""
    end = End(context, host)
    end.said()
    end.incoming.write(data)
    end.said()
    end.incoming.write_eof()
    end.said()
    return end


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (HTTP, "speaks HTTP without TLS"),
        (CONNECT, "sent CONNECT without TLS, and TLS is needed: its hop must not have tls = false"),
        (DISTRIBUTION, "does not speak TLS"),
        (LOOKUP, "does not speak TLS"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "does not speak TLS"),
        (bytes(64), "does not speak TLS"),
    ],
)
def test_a_client_that_does_not_speak_tls(zones: Zones, data: bytes, words: str) -> None:
    problem = of(fed(far(zones.gateway, zones.ca, "1.3"), data))
    assert problem.code == "not_tls"
    assert words in problem.text


@pytest.mark.parametrize("data", [REFUSAL, DISTRIBUTION, b"\x00\x00\x00\x00" * 4])
def test_a_gateway_that_does_not_speak_tls(zones: Zones, data: bytes) -> None:
    problem = of(fed(near(zones.relay, zones.ca, "1.3"), data, GATEWAY))
    assert problem.code == "not_tls"
    assert "does not answer with TLS: is a gateway there?" in problem.text


@pytest.mark.parametrize("data", [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01"])
@pytest.mark.parametrize("host", [None, GATEWAY])
def test_a_connection_that_ends_in_the_handshake(zones: Zones, data: bytes, host: str | None) -> None:
    context = near(zones.relay, zones.ca, "1.3") if host else far(zones.gateway, zones.ca, "1.3")
    problem = of(fed(context, data, host))
    assert problem.code == "reset"
    assert "ended the connection in the middle of TLS" in problem.text


@given(data=st.binary(min_size=1, max_size=600))
def test_any_bytes_are_a_problem_of_the_set(zones: Zones, data: bytes) -> None:
    for context, host in (
        (far(zones.gateway, zones.ca, "1.2"), None),
        (near(zones.relay, zones.ca, "1.2"), GATEWAY),
    ):
        assert of(fed(context, data, host)).code in CODES


@given(data=st.binary(max_size=600), size=st.integers(0, 600))
def test_any_bytes_in_a_record_of_the_handshake_are_a_problem_of_the_set(
    zones: Zones, data: bytes, size: int
) -> None:
    record = b"\x16\x03\x01" + size.to_bytes(2, "big") + data
    assert of(fed(far(zones.gateway, zones.ca, "1.3"), record)).code in CODES


# What the connection says, and other versions of OpenSSL


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (TimeoutError(), "timed_out", "did not finish the TLS handshake in time"),
        (OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)), "timed_out", "in time"),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), "reset", "Connection reset"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), "reset", "Broken pipe"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "reset", "No route to host"),
        (ConnectionResetError("closed"), "reset", "in the middle of TLS"),
        (ssl.SSLZeroReturnError(), "reset", "in the middle of TLS"),
        (ssl.SSLSyscallError(), "reset", "in the middle of TLS"),
        (ssl.SSLError(), "handshake_failed", "no reason given"),
    ],
)
@pytest.mark.parametrize("side", ["client", "server"])
def test_what_is_no_fault_of_tls(error: OSError, code: str, words: str, side: Side) -> None:
    problem = explain(error, peer="gw1:4370", side=side)
    assert problem.code == code
    assert "gw1:4370" in problem.text
    assert words in problem.text


def made_up(reason: str | None) -> ssl.SSLError:
    error = ssl.SSLError(1, "made up")
    error.reason = reason  # type: ignore[assignment]
    return error


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("ssl/tls alert bad certificate", "bad_certificate"),  # the text of OpenSSL 3.2 and later
        ("sslv3 alert certificate expired", "expired"),
        ("tlsv13 alert certificate required", "no_certificate"),
        ("TLSV1_ALERT_UNKNOWN_CA", "unknown_ca"),
        ("SSL/TLS_ALERT_UNSUPPORTED_CERTIFICATE", "wrong_purpose"),
        ("SSLV3_ALERT_CERTIFICATE_REVOKED", "revoked"),
        ("SSLV3_ALERT_CERTIFICATE_UNKNOWN", "bad_certificate"),
        ("TLSV1_ALERT_INAPPROPRIATE_FALLBACK", "wrong_version"),
        ("TLSV1_ALERT_INTERNAL_ERROR", "handshake_failed"),
        ("record layer failure", "not_tls"),  # after "wrong version number", since OpenSSL 3.2
        ("RECORD_LAYER_FAILURE", "not_tls"),
        ("packet length too long", "not_tls"),
        ("unsupported protocol", "wrong_version"),
        ("DECRYPTION_FAILED_OR_BAD_RECORD_MAC", "handshake_failed"),
        ("a reason {of tomorrow}", "handshake_failed"),
        ("", "handshake_failed"),
        (None, "handshake_failed"),
    ],
)
@pytest.mark.parametrize("side", ["client", "server"])
def test_reasons_in_the_words_of_other_versions(reason: str | None, code: str, side: Side) -> None:
    assert explain(made_up(reason), peer="gw1", side=side).code == code


def test_an_unknown_reason_is_passed_on() -> None:
    problem = explain(made_up("A_REASON_{OF_TOMORROW}"), peer="gw1", side="client")
    assert problem.text == "TLS with gw1 failed: a reason {of tomorrow}"
    problem = explain(made_up("TLSV1_ALERT_ACCESS_DENIED"), peer="gw1", side="client")
    assert problem.text == "gw1 ended TLS: tlsv1 alert access denied"


@pytest.mark.parametrize(("number", "code"), [(23, "revoked"), (68, "bad_certificate")])
def test_other_results_of_verification(number: int, code: str) -> None:
    error = ssl.SSLCertVerificationError(1, "made up")
    error.verify_code = number
    error.verify_message = "CA signature {digest} algorithm too weak"
    problem = explain(error, peer="gw1", side="client")
    assert problem.code == code
    if code == "bad_certificate":
        assert problem.text.endswith("does not verify: CA signature {digest} algorithm too weak")


def test_a_peer_is_shown_without_what_a_terminal_obeys() -> None:
    problem = explain(TimeoutError(), peer="evil\x1b[2J{peer}", side="server")
    assert problem.text == r"evil\x1b[2J{peer} did not finish the TLS handshake in time"
