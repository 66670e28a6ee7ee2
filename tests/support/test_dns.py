"""The DNS servers that other tests rely on do what they say."""

import dns.exception
import dns.message
import dns.query
import dns.rcode
import pytest

from tests.support.dns_servers import HOST, dnsmasq, knot
from tests.support.scripted_dns import (
    Behaviour,
    ScriptedDns,
    answer,
    consul,
    nxdomain,
    raw,
    rcode,
    silence,
    slow,
    truncated,
    wrong_id,
)

NAME = "_app._tcp.nodes.internal."
ONE = f"{NAME} 60 IN SRV 0 0 9001 b1.internal."
FIVE = [f"{NAME} 60 IN SRV 0 0 {9001 + n} b{n}.internal." for n in range(5)]
TIMEOUT = 0.3


def udp(port: int, *, edns: bool = False) -> dns.message.Message:
    """Ask for NAME over UDP."""
    query = dns.message.make_query(NAME, "SRV", use_edns=edns)
    return dns.query.udp(query, HOST, port=port, timeout=TIMEOUT)


def tcp(port: int) -> dns.message.Message:
    """Ask for NAME over TCP."""
    return dns.query.tcp(dns.message.make_query(NAME, "SRV"), HOST, port=port, timeout=TIMEOUT)


def ports(message: dns.message.Message) -> list[int]:
    """The ports of all SRV records of an answer."""
    return sorted(record.port for rrset in message.answer for record in rrset)


@pytest.mark.interop
def test_knot_serves_its_zone() -> None:
    with knot(["_app._tcp SRV 0 0 9001 b1"]) as server:
        assert ports(udp(server.port)) == [9001]
        assert ports(tcp(server.port)) == [9001]


@pytest.mark.interop
def test_dnsmasq_serves_its_records() -> None:
    with dnsmasq(f"--srv-host={NAME.rstrip('.')},b1.internal,9001") as server:
        assert ports(udp(server.port)) == [9001]


def test_scripted_behaviours_follow_one_another_and_the_last_stays() -> None:
    with ScriptedDns() as server:
        server.script(NAME, "SRV", rcode("SERVFAIL"), nxdomain("internal.", negative_ttl=7), answer(ONE))
        assert udp(server.port).rcode() == dns.rcode.SERVFAIL
        denial = udp(server.port)
        assert (denial.rcode(), denial.authority[0].ttl) == (dns.rcode.NXDOMAIN, 7)
        assert ports(udp(server.port)) == ports(tcp(server.port)) == [9001]
        assert (server.count(), server.count(NAME, "SRV", "tcp"), server.count("b.")) == (4, 1, 0)


def test_an_unscripted_question_is_refused() -> None:
    with ScriptedDns() as server:
        assert udp(server.port).rcode() == dns.rcode.REFUSED
        server.script_all(answer(ONE))
        assert ports(udp(server.port)) == [9001]


@pytest.mark.parametrize("behaviour", [silence, slow(30, answer(ONE))], ids=["silence", "slow"])
def test_no_answer_in_time(behaviour: Behaviour) -> None:
    with ScriptedDns() as server:
        server.script(NAME, "SRV", behaviour)
        with pytest.raises(dns.exception.Timeout):
            udp(server.port)


@pytest.mark.parametrize("behaviour", [wrong_id(answer(ONE)), raw(lambda wire: wire[:5])], ids=["id", "raw"])
def test_an_answer_that_is_none(behaviour: Behaviour) -> None:
    with ScriptedDns() as server:
        server.script(NAME, "SRV", behaviour)
        with pytest.raises((dns.query.BadResponse, dns.exception.FormError)):
            udp(server.port)


def test_truncated_over_udp_whole_over_tcp() -> None:
    with ScriptedDns() as server:
        server.script(NAME, "SRV", truncated(answer(*FIVE)))
        with pytest.raises(dns.message.Truncated):
            dns.query.udp(dns.message.make_query(NAME, "SRV"), HOST, 1, server.port, raise_on_truncation=True)
        assert len(ports(tcp(server.port))) == 5


def test_consul_cuts_plain_udp_without_saying_so() -> None:
    with ScriptedDns() as server:
        server.script(NAME, "SRV", consul(*FIVE))
        assert len(ports(udp(server.port))) == 3
        assert len(ports(udp(server.port, edns=True))) == 5
        assert len(ports(tcp(server.port))) == 5
