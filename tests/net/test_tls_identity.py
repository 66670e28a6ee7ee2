"""The names in certificates: what counts as one, on both ends, and what does not."""

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import NameOID, ObjectIdentifier

from epmdless.net.tls.contexts import Certificates, load_client_context
from epmdless.net.tls.identity import PeerCertificate, peer_certificate, peer_names, peer_not_after
from tests.net.tls_ends import GATEWAY, End, client_context, files, server_context, shaken
from tests.support.certificates import Authority, Issued

SUBJECT_ALT_NAME = ObjectIdentifier("2.5.29.17")

DNS, URI, IP, DIRECTORY = 0x82, 0x86, 0x87, 0xA4
"""Tags of a GeneralName (RFC 5280, §4.2.1.6)."""

COMMON_NAME_X = bytes.fromhex("300c 310a 3008 0603 550403 0c01 78")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def peer_of(issued: Issued, authority: Authority) -> End:
    """The gateway's end of a connection with the client that has this certificate."""
    server = server_context(authority.issue(GATEWAY), authority)
    client, gateway = shaken(client_context(issued, authority), server)
    assert client.error is gateway.error is None
    return gateway


def seen(issued: Issued, authority: Authority) -> tuple[str, ...]:
    """The client's names; those that it finds in its own file are the same."""
    own = Certificates(files(issued, authority), "hop.a.tls", load_client_context).names
    names = peer_names(peer_certificate(peer_of(issued, authority).tls))
    assert names == own
    return names


@pytest.mark.parametrize(
    ("issued", "names"),
    [
        (("relay.az-a.internal",), ("relay.az-a.internal",)),
        (("RELAY.az-a.internal", "*.az-a.internal"), ("relay.az-a.internal", "*.az-a.internal")),
        (("spiffe://az-a/Relay",), ("spiffe://az-a/Relay",)),
        (("10.0.1.9", "2001:DB8:0::1", "::1"), ("10.0.1.9", "2001:db8::1", "::1")),
        (("b", "a", "b", "B"), ("b", "a")),
        ((), ()),
    ],
)
def test_names_are_dns_names_uris_and_addresses(
    authority: Authority, issued: tuple[str, ...], names: tuple[str, ...]
) -> None:
    """A certificate without any has a common name all the same."""
    assert seen(authority.issue(*issued), authority) == names


def test_so_many_names_are_looked_at(authority: Authority) -> None:
    listed = [f"h{number}.internal" for number in range(70)]
    assert seen(authority.issue(*listed), authority) == tuple(listed[:64])


def test_a_name_that_is_too_long_is_left_out_whole(authority: Authority) -> None:
    longest = "spiffe://" + "a" * (2048 - len("spiffe://"))
    assert seen(authority.issue(longest + "b", longest, "c"), authority) == (longest, "c")


def with_names(authority: Authority, *names: tuple[int, bytes]) -> Issued:
    """A certificate whose names are these bytes: nobody checks what a CA signs."""
    issued = authority.issue("base.internal")
    key = load_pem_private_key(issued.key.read_bytes(), None)
    assert isinstance(key, EllipticCurvePrivateKey)
    body = b"".join(bytes([tag, len(name)]) + name for tag, name in names)
    raw = x509.UnrecognizedExtension(SUBJECT_ALT_NAME, bytes([0x30, len(body)]) + body)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "raw")])
    issued.cert.write_bytes(authority.sign(subject, key.public_key(), raw))
    return issued


@pytest.mark.parametrize(
    ("raw", "names"),
    [
        ([(DNS, b"relay.az-a.internal\0.evil.example")], ()),
        ([(DNS, b"a\nb"), (DNS, b"good.internal")], ("good.internal",)),
        ([(DNS, b"a\x1b[2J")], ()),
        ([(DNS, b""), (URI, b"")], ()),
        ([(IP, b"\x0a\x00\x01")], ()),
        ([(DNS, b"good.internal"), (DIRECTORY, COMMON_NAME_X)], ("good.internal",)),
        ([(DNS, b"relay.\xff\xfe")], ()),
        ([(URI, b"spiffe://\xff")], ()),
    ],
)
def test_what_is_no_name_is_left_out(
    authority: Authority, raw: list[tuple[int, bytes]], names: tuple[str, ...]
) -> None:
    issued = with_names(authority, *raw)
    assert peer_names(peer_certificate(peer_of(issued, authority).tls)) == names


@pytest.mark.parametrize("nobody", [None, {}])
def test_nobody_has_no_names_and_no_end(nobody: PeerCertificate | None) -> None:
    assert peer_names(nobody) == ()
    assert peer_not_after(nobody) == float("inf")


def test_the_end_of_the_peers_certificate(authority: Authority) -> None:
    issued = authority.issue("relay", days=20)
    end = x509.load_pem_x509_certificate(issued.cert.read_bytes()).not_valid_after_utc
    assert peer_not_after(peer_certificate(peer_of(issued, authority).tls)) == end.timestamp()


@pytest.mark.parametrize("text", ["", "tomorrow", "Nov 31 00:00:00 2026 UTC"])
def test_an_end_that_cannot_be_read_is_none(text: str) -> None:
    assert peer_not_after({"notAfter": text}) == float("inf")
