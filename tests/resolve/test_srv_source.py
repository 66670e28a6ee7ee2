"""Questions to a DNS server that answers as scripted: well, badly, late or not at all."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from epmdless.addresses import Endpoint
from epmdless.errors import ResolveError
from epmdless.resolve.dns_client import SrvAnswer
from epmdless.resolve.srv_records import SrvRecord
from epmdless.resolve.srv_source import MAX_RECORDS, DnsSource
from tests.support.ports import closed_port
from tests.support.scripted_dns import (
    Behaviour,
    Question,
    ScriptedDns,
    answer,
    consul,
    nodata,
    nxdomain,
    raw,
    rcode,
    silence,
    slow,
    truncated,
    wrong_id,
)

NAME: Final = "_app._tcp.nodes.internal"
ONE: Final = f"{NAME}. 60 IN SRV 1 2 9001 B1.Internal."
FIVE: Final = [f"{NAME}. 60 IN SRV 0 0 {9001 + n} b{n}.internal." for n in range(5)]
FOUND: Final = SrvAnswer((SrvRecord(1, 2, 9001, "b1.internal"),), 60)

TIMEOUT: Final = 0.1
"""Seconds until the next server is asked."""

LIFETIME: Final = 0.4
"""Seconds after which a question that nobody answers fails."""


@pytest.fixture
def servers() -> Iterator[list[ScriptedDns]]:
    """Two servers; the first is asked first."""
    with ExitStack() as stack:
        yield [stack.enter_context(ScriptedDns()) for _ in range(2)]


@pytest.fixture
def server() -> Iterator[ScriptedDns]:
    with ScriptedDns() as server:
        yield server


async def ask(
    *servers: ScriptedDns, tcp: bool = False, patience: float = TIMEOUT, lifetime: float = 30
) -> SrvAnswer:
    """Ask for NAME; with a long lifetime a slow machine tries until an answer is in time."""
    endpoints = [Endpoint(server.host, server.port) for server in servers]
    return await DnsSource(endpoints, timeout=patience, lifetime=lifetime, tcp=tcp).ask(NAME)


async def failure(*servers: ScriptedDns, patience: float = TIMEOUT, lifetime: float = LIFETIME) -> str:
    """The message of a question that fails; it starts with the name that was asked for."""
    with pytest.raises(ResolveError) as caught:
        await ask(*servers, patience=patience, lifetime=lifetime)
    message = str(caught.value)
    assert message.startswith(f"SRV {NAME}: ")
    return message


# Answers.


async def test_an_answer_has_its_records_and_its_ttl(server: ScriptedDns) -> None:
    server.script(NAME, "SRV", answer(ONE))
    assert await ask(server) == FOUND
    assert server.asked == [(f"{NAME}.", "SRV", "udp")]


async def test_over_tcp_alone_no_datagram_is_sent(server: ScriptedDns) -> None:
    server.script(NAME, "SRV", answer(ONE))
    assert await ask(server, tcp=True) == FOUND
    assert server.asked == [(f"{NAME}.", "SRV", "tcp")]


async def test_the_addresses_that_came_along_are_kept_with_their_target(server: ScriptedDns) -> None:
    additional = (
        "b0.internal. 60 IN A 10.0.0.7",
        "B0.Internal. 60 IN AAAA fd00::7",
        "b9.internal. 60 IN A 10.0.0.9",
    )
    server.script(NAME, "SRV", answer(*FIVE[:2], additional=additional))
    records = (await ask(server)).records
    assert [each.addresses for each in records] == [("10.0.0.7", "fd00::7"), ()]


async def test_the_lowest_ttl_of_the_records_counts(server: ScriptedDns) -> None:
    server.script(NAME, "SRV", answer(FIVE[0], FIVE[1].replace(" 60 ", " 7 ")))
    assert (await ask(server)).ttl == 7


async def test_ttl_0_is_kept_as_it_is(server: ScriptedDns) -> None:
    server.script(NAME, "SRV", answer(ONE.replace(" 60 ", " 0 ")))
    assert await ask(server) == FOUND._replace(ttl=0)


async def test_port_0_and_target_root_are_told_as_they_are(server: ScriptedDns) -> None:
    server.script(
        NAME, "SRV", answer(f"{NAME}. 60 IN SRV 0 0 0 b1.internal.", f"{NAME}. 60 IN SRV 0 0 9001 .")
    )
    records = (await ask(server)).records
    assert [(each.port, each.target) for each in records] == [(0, "b1.internal"), (9001, "")]


async def test_an_alias_is_followed_and_its_ttl_counts(server: ScriptedDns) -> None:
    chain = (f"{NAME}. 60 IN CNAME x.internal.", "x.internal. 5 IN CNAME y.internal.")
    server.script(NAME, "SRV", answer(*chain, "y.internal. 60 IN SRV 1 2 9001 b1.internal."))
    assert await ask(server) == FOUND._replace(ttl=5)


async def test_an_alias_of_nothing_is_no_record(server: ScriptedDns) -> None:
    server.script(NAME, "SRV", answer(f"{NAME}. 60 IN CNAME x.internal."))
    assert await ask(server) == SrvAnswer((), 0)


async def test_very_many_records_are_cut(server: ScriptedDns) -> None:
    records = [f"{NAME}. 60 IN SRV 0 0 {n + 1} b1.internal." for n in range(MAX_RECORDS + 100)]
    server.script(NAME, "SRV", answer(*records))
    assert len((await ask(server, tcp=True, patience=5)).records) == MAX_RECORDS


async def test_nothing_is_remembered_from_one_question_to_the_next(server: ScriptedDns) -> None:
    server.script(NAME, "SRV", answer(ONE), answer(*FIVE))
    source = DnsSource([Endpoint(server.host, server.port)], timeout=TIMEOUT, lifetime=30)
    assert [len((await source.ask(NAME)).records) for _ in range(2)] == [1, 5]


# No such name, no such records.


@pytest.mark.parametrize(
    "behaviour", [nxdomain("internal.", negative_ttl=7), nodata("internal.", negative_ttl=7)]
)
async def test_no_such_name_and_no_such_record_are_empty_for_as_long_as_the_zone_says(
    server: ScriptedDns, behaviour: Behaviour
) -> None:
    server.script(NAME, "SRV", behaviour)
    assert await ask(server) == SrvAnswer((), 7)
    assert server.count() == 1


def denial(ttl: int, minimum: int) -> Behaviour:
    """NXDOMAIN with a SOA record whose TTL and minimum field differ."""

    def behave(question: Question) -> bytes:
        response = dns.message.make_response(question.message)
        response.set_rcode(dns.rcode.NXDOMAIN)
        soa = f"ns.internal. hostmaster.internal. 1 3600 600 86400 {minimum}"
        response.authority.append(dns.rrset.from_text("internal.", ttl, "IN", "SOA", soa))
        return response.to_wire()

    return behave


@pytest.mark.parametrize(("ttl", "minimum"), [(9, 300), (300, 9)])
async def test_the_negative_ttl_is_the_lesser_of_the_two(server: ScriptedDns, ttl: int, minimum: int) -> None:
    server.script(NAME, "SRV", denial(ttl, minimum))
    assert await ask(server) == SrvAnswer((), 9)


@pytest.mark.parametrize("code", ["NXDOMAIN", "NOERROR"])
async def test_a_denial_without_a_soa_record_is_not_to_be_kept(server: ScriptedDns, code: str) -> None:
    server.script(NAME, "SRV", rcode(code))
    assert await ask(server) == SrvAnswer((), 0)


# Truncation.


async def test_a_truncated_answer_is_asked_for_again_over_tcp(server: ScriptedDns) -> None:
    server.script(NAME, "SRV", truncated(answer(*FIVE)))
    assert len((await ask(server)).records) == 5
    assert [transport for _, _, transport in server.asked] == ["udp", "tcp"]


def cut_everywhere(question: Question) -> bytes:
    """No records, and the TC bit: over UDP and over TCP."""
    wire = bytearray(answer()(question) or b"")
    wire[2] |= dns.flags.TC >> 8
    return bytes(wire)


async def test_an_answer_cut_short_even_over_tcp_is_a_failure(server: ScriptedDns) -> None:
    server.script(NAME, "SRV", cut_everywhere)
    assert await failure(server) == f"SRV {NAME}: cut short even over TCP"


@pytest.mark.parametrize("tcp", [False, True])
async def test_consul_gives_all_its_records(server: ScriptedDns, tcp: bool) -> None:
    server.script(NAME, "SRV", consul(*FIVE))
    assert len((await ask(server, tcp=tcp)).records) == 5
    assert server.count() == 1


# Servers that fail.


def another_name(question: Question) -> bytes:
    """An answer to another question, under the right id."""
    response = dns.message.make_response(dns.message.make_query("other.internal.", "SRV"))
    response.id = question.message.id
    response.answer.append(dns.rrset.from_text("other.internal.", 60, "IN", "SRV", "0 0 1 evil."))
    return response.to_wire()


LOOP = (f"{NAME}. 60 IN CNAME x.internal.", f"x.internal. 60 IN CNAME {NAME}.")
FAILURES: Final[dict[str, Behaviour]] = {
    "SERVFAIL": rcode("SERVFAIL"),
    "REFUSED": rcode("REFUSED"),
    "NOTIMP": rcode("NOTIMP"),
    "silence": silence,
    "slow": slow(60, answer(ONE)),
    "wrong id": wrong_id(answer(ONE)),
    "another name": another_name,
    "an echo": raw(lambda wire: wire),
    "empty": raw(lambda _: b""),
    "cut": raw(lambda wire: wire[:5]),
    "rubbish": raw(lambda wire: wire[:2] + b"\xff" * 50),
    "alias loop": answer(*LOOP),
}


@pytest.mark.parametrize("behaviour", FAILURES.values(), ids=FAILURES)
async def test_the_second_server_answers_when_the_first_fails(
    servers: list[ScriptedDns], behaviour: Behaviour
) -> None:
    servers[0].script(NAME, "SRV", behaviour)
    servers[1].script(NAME, "SRV", answer(ONE))
    assert await ask(*servers) == FOUND
    assert servers[0].count() > 0


@pytest.mark.parametrize("behaviour", FAILURES.values(), ids=FAILURES)
async def test_a_failure_of_all_servers_is_one_line(server: ScriptedDns, behaviour: Behaviour) -> None:
    server.script(NAME, "SRV", behaviour)
    message = await failure(server)
    assert message.splitlines() == [message]
    assert len(message) < 200


@pytest.mark.parametrize("code", ["SERVFAIL", "REFUSED"])
async def test_a_servers_own_error_is_told(server: ScriptedDns, code: str) -> None:
    server.script(NAME, "SRV", rcode(code))
    assert code in await failure(server, patience=10, lifetime=30)


async def test_silence_is_a_time_out(server: ScriptedDns) -> None:
    server.script(NAME, "SRV", silence)
    assert await failure(server) == f"SRV {NAME}: timed out"


@pytest.mark.parametrize("tcp", [False, True])
async def test_the_second_server_answers_when_the_first_is_down(server: ScriptedDns, tcp: bool) -> None:
    server.script(NAME, "SRV", answer(ONE))
    with closed_port() as nobody:
        endpoints = [Endpoint("127.0.0.1", nobody), Endpoint(server.host, server.port)]
        assert await DnsSource(endpoints, timeout=TIMEOUT, lifetime=30, tcp=tcp).ask(NAME) == FOUND


@pytest.mark.parametrize("tcp", [False, True])
async def test_no_server_at_all_is_a_failure(tcp: bool) -> None:
    with closed_port() as nobody, pytest.raises(ResolveError, match=f"SRV {NAME}: "):
        await DnsSource([Endpoint("127.0.0.1", nobody)], timeout=TIMEOUT, lifetime=LIFETIME, tcp=tcp).ask(
            NAME
        )


async def test_an_answer_within_the_time_out_is_taken(server: ScriptedDns) -> None:
    server.script(NAME, "SRV", slow(0.05, answer(ONE)))
    assert await ask(server, patience=10) == FOUND
    assert server.count() == 1


async def test_the_second_server_is_left_alone_while_the_first_answers(servers: list[ScriptedDns]) -> None:
    servers[0].script(NAME, "SRV", answer(ONE))
    assert await ask(*servers, patience=10) == FOUND
    assert servers[1].count() == 0
