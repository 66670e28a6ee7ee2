"""What a look at a hop's gateways finds out, with real gateways and with proxies that a test makes up."""

import contextlib
import json
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
import trio

from epmdless.config import HostPort, decode
from epmdless.errors import LocalProtocolError
from epmdless.hop.gateway import Standing
from epmdless.hop.hops import prepare
from epmdless.hop.probe import Allowed, Report, probe_hop
from epmdless.net.tls.contexts import load_server_context
from tests.hop.answering import Heads, answering, http
from tests.net.tls_ends import files, only_tls12
from tests.support.certificates import Authority, Issued
from tests.support.hops import (
    ALLOW,
    CLIENT,
    GATEWAY,
    GATEWAY_ADDRESS,
    HOP,
    Certified,
    gateway_text,
    hop_text,
    tls_table,
)
from tests.support.ports import closed_port
from tests.support.relays import Hosts, RelayHere, Settings

PATIENCE = 0.3
"""Seconds for what never comes."""

NO_OPTIONS = http("400 Bad Request")
DENIED = http("403 Forbidden")


class Cas(NamedTuple):
    """The CA that both ends know with its certificates, and one that they do not."""

    usual: Certified
    stranger: Authority

    @property
    def authority(self) -> Authority:
        return self.usual.authority


@pytest.fixture(scope="module")
def cas(tmp_path_factory: pytest.TempPathFactory) -> Cas:
    folder = tmp_path_factory.mktemp("certificates")
    return Cas(Certified.in_folder(folder), Authority(folder, "stranger"))


def standing(tls: str, *gateways: str, **keys: object) -> Standing:
    return prepare(decode(hop_text(tls, *gateways, **keys), "test.toml").hop, "test.toml")[HOP]


def look(
    tls: str,
    *gateways: str,
    seconds: float | None = None,
    target: HostPort | None = None,
    names: dict[str, Sequence[str]] | None = None,
    **keys: object,
) -> list[Report]:
    """Look at gateways with this table of TLS."""
    found = standing(tls, *gateways, **keys)

    async def main() -> list[Report]:
        if names is not None:
            trio.socket.set_custom_hostname_resolver(Hosts(names))
        return await probe_hop(found, seconds=seconds, target=target)

    return trio.run(main)


def look_at(tls: str, gateway: str, **options: object) -> Report:
    (report,) = look(tls, gateway, **options)  # type: ignore[arg-type]
    return report


def hop_tls(cas: Cas, client: Issued | None = None, **more: object) -> str:
    return tls_table(
        f"hop.{HOP}", cas.authority, client or cas.usual.client, **{"server_name": GATEWAY, **more}
    )


def without_certificate(cas: Cas) -> str:
    return f'[hop.{HOP}.tls]\nca = "{cas.authority.ca}"\nserver_name = "{GATEWAY}"\n'


@contextlib.contextmanager
def gateway(tls: str, *allows: Settings) -> Iterator[str]:
    """A real gateway, and where it is."""
    with RelayHere(gateway_text(0, tls, *allows)) as far:
        yield f"{GATEWAY_ADDRESS}:{far.gateway_port}"


def assert_bad(report: Report, code: str, words: str) -> None:
    assert report.problem is not None
    assert report.problem.code == code
    assert words in str(report.problem)


# Good ones


def test_a_good_gateway_tells_all(cas: Cas) -> None:
    allow = {"client": CLIENT, "hosts": ["*.az-b.test", "10.0.2.0/24"], "ports": [4369, "9001-9010"]}
    with gateway(cas.usual.gateway_tls(), allow, {**ALLOW, "nodes": ["app-*"]}) as where:
        report = look_at(hop_tls(cas), where)
    assert report.problem is None
    assert (str(report.gateway), report.address) == (where, GATEWAY_ADDRESS)
    assert report.tls is not None
    assert report.tls.version == "1.3"
    assert report.tls.cipher.startswith("TLS_")
    assert report.tls.certificate.names == (GATEWAY,)
    assert 29 < (report.tls.certificate.not_after - time.time()) / 86_400 < 30
    assert report.round_trip is not None
    assert report.round_trip > 0
    assert report.told is not None
    assert report.told.client == (CLIENT,)
    assert report.told.allow == (
        Allowed(("*.az-b.test", "10.0.2.0/24"), ("4369", "9001-9010"), ("*",)),
        Allowed(("127.0.0.0/8",), ("1-65535",), ("app-*",)),
    )


def test_a_good_gateway_without_tls() -> None:
    with gateway("", {**ALLOW, "client": "127.*"}) as where:
        report = look_at("", where)
    assert (report.problem, report.tls, report.address) == (None, None, GATEWAY_ADDRESS)
    assert report.told is not None
    assert report.told.client == ("127.0.0.1",)


def test_all_gateways_are_reported_in_their_order(cas: Cas) -> None:
    with gateway(cas.usual.gateway_tls()) as good, closed_port() as closed:
        reports = look(hop_tls(cas), f"127.0.0.1:{closed}", good)
    assert [report.problem is None for report in reports] == [False, True]


def test_tls_1_2_where_both_ends_allow_it(cas: Cas) -> None:
    with answering({b"OPTIONS": http("200 OK", told([ALL]))}, tls12(cas)) as heads:
        report = look_at(hop_tls(cas, min_version="1.2"), at(heads))
    assert report.problem is None
    assert report.tls is not None
    assert report.tls.version == "1.2"


# Unreachable ones


def test_a_gateway_that_refuses(cas: Cas) -> None:
    with closed_port() as port:
        report = look_at(hop_tls(cas), f"127.0.0.1:{port}")
    assert_bad(report, "not_reached", f"127.0.0.1 port {port}: Connection refused")
    assert report.address is None


def test_a_gateway_whose_name_is_unknown(cas: Cas) -> None:
    report = look_at(hop_tls(cas), "gw9.test:4370", names={})
    assert_bad(report, "unknown_host", "gw9.test:4370: gw9.test: Name or service not known")


def test_a_gateway_behind_which_nobody_answers(cas: Cas) -> None:
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)  # the kernel keeps one that was not accepted, and drops what comes after it
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        port = listener.getsockname()[1]
        report = look_at(hop_tls(cas), f"127.0.0.1:{port}", seconds=PATIENCE)
    assert_bad(report, "no_answer", f"no answer from 127.0.0.1:{port} within 0.3 s")


def test_a_gateway_that_says_nothing(cas: Cas) -> None:
    with answering({b"OPTIONS": None}) as heads:
        plain = look_at("", at(heads), seconds=PATIENCE)
        assert_bad(plain, "no_answer", "did not answer OPTIONS within 0.3 s")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        secure = look_at(hop_tls(cas), f"127.0.0.1:{silent.getsockname()[1]}", seconds=PATIENCE)
    assert_bad(secure, "timed_out", "did not finish the TLS handshake in time")
    assert secure.address == "127.0.0.1"


# Certificates


def test_a_gateway_that_wants_a_certificate_of_ours(cas: Cas) -> None:
    with gateway(cas.usual.gateway_tls()) as where:
        report = look_at(without_certificate(cas), where)
    assert_bad(report, "no_certificate", "asks for a certificate of ours: set cert and key")


def test_a_gateway_that_does_not_know_our_ca(cas: Cas) -> None:
    with gateway(cas.usual.gateway_tls()) as where:
        report = look_at(hop_tls(cas, cas.stranger.issue(CLIENT)), where)
    assert_bad(report, "unknown_ca", "does not know the CA of our certificate")


def test_a_certificate_of_ours_that_has_ended(cas: Cas) -> None:
    with gateway(cas.usual.gateway_tls()) as where:
        report = look_at(hop_tls(cas, cas.authority.issue(CLIENT, expired=True)), where)
    assert_bad(report, "expired", "says that our certificate, or one above it, has expired")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("unknown_ca", "is from a CA that is not in our ca file"),
        ("expired", "has expired: renew it"),
        ("name_mismatch", "is not for the host asked for"),
    ],
)
def test_a_certificate_of_a_gateway_that_is_wrong(cas: Cas, code: str, words: str) -> None:
    issued = {
        "unknown_ca": lambda: cas.stranger.issue(GATEWAY),
        "expired": lambda: cas.authority.issue(GATEWAY, expired=True),
        "name_mismatch": lambda: cas.authority.issue("other.test"),
    }[code]()
    with gateway(tls_table("gateway", cas.authority, issued)) as where:
        report = look_at(hop_tls(cas), where)
    assert_bad(report, code, words)
    assert report.tls is None


def test_a_proxy_that_asks_for_no_certificate(cas: Cas) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cas.usual.gateway.cert, cas.usual.gateway.key)
    with answering({b"OPTIONS": NO_OPTIONS, b"CONNECT": DENIED}, context) as heads:
        assert_bad(look_at(hop_tls(cas), at(heads)), "not_asked", "asks for no certificate")
        assert look_at(without_certificate(cas), at(heads)).problem is None


def test_a_gateway_that_allows_nothing(cas: Cas) -> None:
    with gateway(cas.usual.gateway_tls(), {**ALLOW, "client": "relay.az-c.test"}) as where:
        report = look_at(hop_tls(cas), where)
    assert_bad(report, "nothing_allowed", f"no [[gateway.allow]] there is for {CLIENT}")


# TLS on one end alone, or of another version


def test_a_gateway_without_tls_is_no_gateway_for_a_hop_with_it(cas: Cas) -> None:
    with gateway("", {**ALLOW, "client": "127.*"}) as where:
        report = look_at(hop_tls(cas), where)
    assert_bad(report, "not_tls", "does not answer with TLS")


def test_a_gateway_with_tls_is_no_gateway_for_a_hop_without(cas: Cas) -> None:
    with gateway(cas.usual.gateway_tls()) as where:
        report = look_at("", where)
    assert_bad(report, "no_proxy", "it may want TLS: give the hop a tls table")


def test_a_gateway_of_tls_1_2_alone(cas: Cas) -> None:
    with answering({}, tls12(cas)) as heads:
        report = look_at(hop_tls(cas), at(heads))
    assert_bad(report, "wrong_version", "allows no version of TLS that we speak")


# Other proxies


ALL = {"hosts": ["*"], "ports": ["1-65535"], "nodes": ["*"]}


def told(allow: list[object]) -> bytes:
    return json.dumps({"client": [CLIENT], "allow": allow}).encode()


def at(heads: Heads) -> str:
    return f"127.0.0.1:{heads.port}"


def tls12(cas: Cas) -> ssl.SSLContext:
    """The context of a server that speaks nothing newer."""
    return only_tls12(load_server_context(files(cas.usual.gateway, cas.authority, "1.2"), "gateway.tls"))


@pytest.mark.parametrize(
    "options",
    [
        NO_OPTIONS,
        b"",
        http("200 OK"),
        http("200 OK", b"<html>"),
        http("200 OK", b"[" * 10_000),
        http("200 OK", b'{"client": ["a"]}'),
        http("407 Proxy Authentication Required"),
    ],
)
@pytest.mark.parametrize("connect", [DENIED, http("503 Service Unavailable"), http("200 OK")])
def test_another_proxy_does_not_tell(options: bytes, connect: bytes) -> None:
    with answering({b"OPTIONS": options, b"CONNECT": connect}) as heads:
        report = look_at("", at(heads))
    assert (report.problem, report.told) == (None, None)
    assert heads[1].startswith(b"CONNECT epmdless-check.invalid:4369 HTTP/1.1\r\n")


def test_another_proxy_may_look_for_a_name_for_long() -> None:
    with answering({b"OPTIONS": NO_OPTIONS, b"CONNECT": None}) as heads:
        assert look_at("", at(heads), seconds=PATIENCE).problem is None


@pytest.mark.parametrize("status", ["405 Method Not Allowed", "400 Bad Request", "501 Not Implemented"])
def test_a_web_server_is_no_proxy(status: str) -> None:
    with answering({b"OPTIONS": http("204 No Content"), b"CONNECT": http(status)}) as heads:
        report = look_at("", at(heads))
    assert_bad(report, "no_proxy", f"answered {status} to CONNECT")


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH\r\n", b"\x00\x11rubbish\n" * 100])
def test_what_speaks_no_http_is_no_proxy(answer: bytes) -> None:
    with answering({b"OPTIONS": answer, b"CONNECT": answer}) as heads:
        report = look_at("", at(heads))
    assert_bad(report, "no_proxy", "is no CONNECT proxy")


def test_a_proxy_that_wants_a_password(tmp_path: Path) -> None:
    auth = tmp_path / "auth"
    auth.write_text("somebody:secret\n")
    auth.chmod(0o600)
    wanted = http("407 Proxy Authentication Required", Proxy_Authenticate="Basic")
    with answering({b"OPTIONS": wanted, b"CONNECT": wanted}) as heads:
        assert_bad(look_at("", at(heads)), "auth", "wants a user and a password: set auth")
        report = look_at("", at(heads), auth=str(auth))
    assert_bad(report, "auth", "does not take the user and password of auth")
    assert "secret" not in str(report.problem)
    assert b"Proxy-Authorization: Basic c29tZWJvZHk6c2VjcmV0" in heads[-1]


# Targets


def test_a_target_that_is_reached(cas: Cas) -> None:
    with gateway(cas.usual.gateway_tls()) as where, socket.create_server(("127.0.0.1", 0)) as far:
        report = look_at(hop_tls(cas), where, target=HostPort("127.0.0.1", far.getsockname()[1]))
    assert report.problem is None
    assert report.answer is not None
    assert report.answer.status == 200


def test_a_target_that_is_not_allowed(cas: Cas) -> None:
    with gateway(cas.usual.gateway_tls(), {**ALLOW, "ports": [4369]}) as where:
        report = look_at(hop_tls(cas), where, target=HostPort("127.0.0.1", 9001))
    assert_bad(report, "target_refused", "403 Forbidden: gateway.allow[0].ports: port 9001 is not in the")
    assert report.answer is not None
    assert report.answer.proxy_status is not None
    assert report.answer.proxy_status.error == "http_request_denied"
    assert report.told is not None


def test_a_target_at_which_nobody_listens(cas: Cas) -> None:
    with gateway(cas.usual.gateway_tls()) as where, closed_port() as port:
        report = look_at(hop_tls(cas), where, target=HostPort("127.0.0.1", port))
    assert_bad(report, "target_dial_refused", "502 Bad Gateway")


def test_a_target_of_another_proxy_stands_in_for_nowhere() -> None:
    with answering({b"OPTIONS": NO_OPTIONS, b"CONNECT": http("200 Fine")}) as heads:
        report = look_at("", at(heads), target=HostPort("b1.test", 9001))
    assert report.problem is None
    assert [head.partition(b"\r\n")[0] for head in heads[1:]] == [b"CONNECT b1.test:9001 HTTP/1.1"]


def test_a_target_that_cannot_be_asked_for_is_an_error_at_once() -> None:
    with pytest.raises(LocalProtocolError):
        trio.run(partial(probe_hop, standing("", "127.0.0.1:1"), target=HostPort("a b", 1)))
