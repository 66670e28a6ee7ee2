"""Plain or TLS, found out without a name; certificates that hold and that do not."""

from __future__ import annotations

import contextlib
import ssl
from pathlib import Path
from typing import Any

import pytest
import trio
from cryptography import x509
from cryptography.x509.oid import NameOID
from trio.testing import MockClock

from epmdless.doctor.certificate import MOST_CHARACTERS, first_certificate, shown_by
from epmdless.doctor.encrypting import HELLO_SECONDS, PLAIN_MESSAGE, PROTOCOLS
from epmdless.net.tls.contexts import TlsFiles, load_server_context
from tests.cluster.scripted_node import COOKIE
from tests.doctor.world import HOST, NAME, Server, Walked, World
from tests.support.certificates import Authority

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


class Certified:
    """A world whose node has a certificate, and we another."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self.folder = folder
        self.authority = Authority(folder)
        self.own = self.authority.issue("h1.test")

    def certify(
        self,
        *names: str,
        by: Authority | None = None,
        version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
        **how: Any,
    ) -> None:
        issued = (by or self.authority).issue(*names, **how)
        files = TlsFiles(str(issued.cert), str(issued.key), str(self.authority.ca), "1.2")
        context = load_server_context(files, "node")
        context.set_alpn_protocols([])  # as nodes: they look at no protocol
        context.minimum_version = context.maximum_version = version
        self.world.node.tls = context

    async def walk(self, *, has_files: bool = True, ca: Path | None = None, **keys: Any) -> Walked:
        own = self.own
        files = TlsFiles(str(own.cert), str(own.key), str(ca or self.authority.ca), "1.2")
        return await self.world.walk(tls=files if has_files else None, **keys)


@pytest.fixture
def certified(world: World, tmp_path: Path) -> Certified:
    return Certified(world, tmp_path)


def test_what_we_claim_to_speak_fills_a_message_of_a_plain_node() -> None:
    """A node without TLS would otherwise wait for the rest of it."""
    assert sum(1 + len(name) for name in PROTOCOLS) > PLAIN_MESSAGE
    assert all(len(name) <= 255 for name in PROTOCOLS)


async def test_a_plain_node_is_told_no_name_by_that(world: World) -> None:
    walked = await world.walk()
    assert walked["tls"].finding.details["speaks"] == "plain"
    assert len(world.node.named) == 1, "in the handshake, and not before"


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_node_with_tls_and_us_without_certificates(
    version: ssl.TLSVersion, certified: Certified
) -> None:
    certified.certify("b1.internal", HOST, version=version)
    walked = await certified.walk(has_files=False, cookie=COOKIE)
    assert (walked.ended_at, walked.report.status) == ("tls", 14)
    said = walked.said("tls")
    assert "it speaks TLS" in said
    assert "b1.internal" in said
    assert "epmdless tests ca" in said
    assert "(unverified, good until " in said
    assert "[cluster.tls]" in walked.advice
    assert certified.world.node.named == []


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_node_with_tls_and_us_with_certificates(
    version: ssl.TLSVersion, certified: Certified
) -> None:
    certified.certify(HOST, version=version)
    walked = await certified.walk(cookie=COOKIE)
    assert (walked.verdicts, walked.report.status) == ("o" * 9, 0)
    shown = walked["tls"].finding.details
    assert (shown["certificate"]["verified"], shown["certificate"]["names"]) == (True, [HOST])
    assert shown["version"] == version.name.replace("TLSv1_", "TLSv1.")


async def test_names_that_are_taken_take_a_connection_each(certified: Certified) -> None:
    certified.certify(HOST)
    certified.world.node.taken.add("epmdless-8@h1.test")
    walked = await certified.walk()
    assert walked.report.status == 0
    assert walked["handshake"].finding.details["own_name"] == "epmdless-7@h1.test"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("how", "names", "problem"),
    [
        ({"expired": True}, (HOST,), "expired"),
        ({"not_yet": True}, (HOST,), "not_yet_valid"),
        ({}, ("another.host",), "name_mismatch"),
    ],
)
async def test_a_certificate_that_does_not_hold(
    how: dict[str, bool], names: tuple[str, ...], problem: str, version: ssl.TLSVersion, certified: Certified
) -> None:
    certified.certify(*names, version=version, **dict[str, Any](how))
    walked = await certified.walk(cookie=COOKIE)
    assert (walked.ended_at, walked.report.status) == ("tls", 14)
    assert walked["tls"].finding.details["problem"] == problem
    assert walked["tls"].finding.details["certificate"]["names"] == list(names)
    if how:
        assert "the clocks of both hosts" in walked.advice
    assert certified.world.node.named == []


async def test_a_certificate_of_a_foreign_ca(certified: Certified) -> None:
    certified.certify(HOST, by=Authority(certified.folder, "foreign"))
    walked = await certified.walk()
    assert walked.ended_at == "tls"
    assert walked["tls"].finding.details["problem"] == "unknown_ca"
    assert "epmdless tests foreign" in walked.said("tls")


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_node_that_refuses_our_certificate(version: ssl.TLSVersion, certified: Certified) -> None:
    """With TLS 1.3 it says so only after TLS is up; it is this step all the same."""
    certified.certify(HOST, version=version)
    certified.own = Authority(certified.folder, "foreign").issue("h1.test")
    walked = await certified.walk()
    assert (walked.ended_at, walked.report.status) == ("tls", 14)
    assert walked["tls"].finding.details["problem"] == "unknown_ca"
    assert "does not know the CA of our certificate" in walked.said("tls")
    assert walked["handshake"].finding.verdict in ("skipped", "failed")


async def test_a_plain_node_where_tls_is_configured(certified: Certified) -> None:
    walked = await certified.walk(cookie=COOKIE)
    assert (walked.ended_at, walked.report.status) == ("tls", 14)
    assert "[cluster.tls] says that nodes speak TLS, and it speaks none" in walked.said("tls")
    assert certified.world.node.named == [], "not even a name goes there without TLS"


async def test_a_web_server_with_tls(certified: Certified) -> None:
    certified.certify("www.example", HOST)
    assert certified.world.node.tls is not None
    certified.world.node.tls.set_alpn_protocols(["h2", "http/1.1"])
    walked = await certified.walk(has_files=False)
    assert walked.ended_at == "tls"
    assert "a web server with TLS (h2), and no node" in walked.said("tls")


async def test_a_tls_server_that_stops_in_the_middle(world: World, patient_clock: MockClock) -> None:
    half = Server()
    half.says, half.then = bytes.fromhex("1603030057020000530303"), "hang"
    world.register("app", await world.nursery.start(half.listen, HOST))
    began = trio.current_time()
    walked = await world.walk()
    assert walked.ended_at == "tls"
    assert trio.current_time() - began <= HELLO_SECONDS


@pytest.mark.parametrize("alert", ["15030300020228", "150303000202" + "78", "15030100020246"])
async def test_a_tls_server_that_wants_nothing_of_us(alert: str, world: World) -> None:
    refusing = Server()
    refusing.says = bytes.fromhex(alert)
    world.register("app", await world.nursery.start(refusing.listen, HOST))
    walked = await world.walk(NAME)
    assert walked.ended_at == "tls"
    assert walked["tls"].finding.details["speaks"] == "tls"


# The certificate that was shown


def test_what_is_no_certificate_is_not_shown() -> None:
    assert shown_by(b"\x30\x03\x02\x01\x01") is None
    assert shown_by(b"") is None


class Verbose(Authority):
    """A CA with a name of 64 KiB."""

    @property
    def _subject(self) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "x" * 64)] * 1024)


def test_an_issuer_without_end_is_cut(tmp_path: Path) -> None:
    issued = Verbose(tmp_path).issue("b1.internal")
    shown = shown_by(ssl.PEM_cert_to_DER_cert(issued.cert.read_text()))
    assert shown is not None
    assert len(shown.issuer) == MOST_CHARACTERS + 1


@pytest.mark.parametrize("is_tls13", [True, False])
def test_a_certificate_message_cut_anywhere(is_tls13: bool, tmp_path: Path) -> None:
    der = ssl.PEM_cert_to_DER_cert(Authority(tmp_path).issue("b1.internal").cert.read_text())
    entry = len(der).to_bytes(3, "big") + der + (b"\0\0" if is_tls13 else b"")
    body = (b"\0" if is_tls13 else b"") + len(entry).to_bytes(3, "big") + entry
    message = b"\x0b" + len(body).to_bytes(3, "big") + body
    assert first_certificate(message, is_tls13=is_tls13) == der
    shown = shown_by(der)
    assert shown is not None
    assert shown.names == ("b1.internal",)
    needed = message.index(der) + len(der)
    for size in range(needed):
        assert first_certificate(message[:size], is_tls13=is_tls13) is None
    with contextlib.suppress(ValueError):
        first_certificate(bytes(range(256)), is_tls13=is_tls13)
