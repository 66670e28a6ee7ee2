"""Questions for addresses and services to servers that answer as scripted; how they fail is in one word.

How servers fail and take turns is shown for SRV in test_srv_source.
"""

from collections.abc import Iterator

import pytest

from epmdless.addresses import Endpoint
from epmdless.resolve.dns_client import LONG_ANSWER, AddressType, DnsClient, DnsError
from epmdless.resolve.srv_records import SrvRecord
from tests.support.ports import closed_port
from tests.support.scripted_dns import (
    Behaviour,
    Question,
    ScriptedDns,
    answer,
    nodata,
    nxdomain,
    raw,
    rcode,
    silence,
    truncated,
)

NAME = "app.nodes.internal"
MANY = 4000
ADDRESSES = [f"10.0.{n >> 8}.{n & 255}" for n in range(MANY)]


@pytest.fixture
def server() -> Iterator[ScriptedDns]:
    with ScriptedDns() as server:
        yield server


@pytest.fixture
def second() -> Iterator[ScriptedDns]:
    with ScriptedDns() as server:
        yield server


def client(*servers: ScriptedDns, tcp: bool = False, timeout: float = 30, lifetime: float = 60) -> DnsClient:
    endpoints = [Endpoint(server.host, server.port) for server in servers]
    return DnsClient(endpoints, timeout=timeout, lifetime=lifetime, tcp=tcp)


def addresses(count: int) -> Behaviour:
    return answer(*(f"{NAME}. 60 IN A {address}" for address in ADDRESSES[:count]))


@pytest.mark.parametrize("tcp", [False, True])
@pytest.mark.parametrize(("rdtype", "address"), [("A", "10.0.0.7"), ("AAAA", "fd00::7")])
async def test_addresses(server: ScriptedDns, rdtype: AddressType, address: str, tcp: bool) -> None:
    server.script(NAME, rdtype, answer(f"{NAME}. 60 IN {rdtype} {address}"))
    assert await client(server, tcp=tcp).ask_addresses(NAME, rdtype) == (address,)
    assert server.asked == [(f"{NAME}.", rdtype, "tcp" if tcp else "udp")]


@pytest.mark.parametrize(
    "behaviour", [nxdomain("internal."), nodata("internal."), rcode("NXDOMAIN"), answer()]
)
async def test_no_such_name_and_no_such_record_are_empty(server: ScriptedDns, behaviour: Behaviour) -> None:
    server.script_all(behaviour)
    assert await client(server).ask_addresses(NAME, "A") == ()
    assert await client(server).ask_addresses(NAME, "AAAA") == ()
    assert (await client(server).ask_srv(NAME)).records == ()
    assert await client(server).ask_txt(NAME) == ()


@pytest.mark.parametrize("count", [1, LONG_ANSWER + 1])
async def test_texts_come_as_their_strings_however_many_they_are(server: ScriptedDns, count: int) -> None:
    server.script(NAME, "TXT", answer(*(f'{NAME}. 60 IN TXT "node={n}" "" "\\255"' for n in range(count))))
    found = await client(server, tcp=True).ask_txt(NAME)
    assert sorted(found) == sorted((b"node=%d" % n, b"", b"\xff") for n in range(count))


async def test_a_text_that_is_cut_short_is_malformed(server: ScriptedDns) -> None:
    """Its last string says that it is longer than its record."""
    whole = answer(*(f'{NAME}. 60 IN TXT "n{n}"' for n in range(LONG_ANSWER + 1)))
    server.script(NAME, "TXT", lambda question: (whole(question) or b"").replace(b"\x02n5", b"\x03n5"))
    with pytest.raises(DnsError) as caught:
        await client(server, tcp=True).ask_txt(NAME)
    assert caught.value.reason == "malformed"


@pytest.mark.parametrize("count", [LONG_ANSWER, LONG_ANSWER + 1, MANY])
async def test_a_long_answer_comes_whole_over_tcp(server: ScriptedDns, count: int) -> None:
    server.script(NAME, "A", truncated(addresses(count)))
    assert sorted(await client(server).ask_addresses(NAME, "A")) == sorted(ADDRESSES[:count])
    assert [transport for _, _, transport in server.asked] == ["udp", "tcp"]


async def test_a_question_with_a_long_answer_goes_over_tcp_at_once_as_long_as_it_has(
    server: ScriptedDns,
) -> None:
    long, short = truncated(addresses(LONG_ANSWER + 1)), addresses(2)
    server.script(NAME, "A", long, long, rcode("SERVFAIL"), long, long, short, short)
    asker = client(server)
    transports = []
    for count in (LONG_ANSWER + 1, None, LONG_ANSWER + 1, 2, 2):
        before = len(server.asked)
        if count is None:
            with pytest.raises(DnsError):
                await asker.ask_addresses(NAME, "A")
        else:
            assert len(await asker.ask_addresses(NAME, "A")) == count
        transports.append([transport for _, _, transport in server.asked[before:]])
    assert transports == [["udp", "tcp"], ["tcp"], ["udp", "tcp"], ["tcp"], ["udp"]]


@pytest.mark.parametrize("count", [2, LONG_ANSWER + 1])
async def test_services_come_with_their_ttl_and_addresses_however_many_they_are(
    server: ScriptedDns, count: int
) -> None:
    records = [f"{NAME}. {60 + n} IN SRV 1 2 {n + 1} B{n}.internal." for n in range(count)]
    server.script(NAME, "SRV", answer(*records, additional=("b1.internal. 60 IN A 10.0.0.7",)))
    found = await client(server, tcp=True).ask_srv(NAME)
    assert found.ttl == 60
    assert sorted(found.records, key=lambda record: record.port)[:2] == [
        SrvRecord(1, 2, 1, "b0.internal"),
        SrvRecord(1, 2, 2, "b1.internal", ("10.0.0.7",)),
    ]
    assert len(found.records) == count


async def test_an_alias_before_a_long_answer_is_followed(server: ScriptedDns) -> None:
    records = [f"x.internal. 60 IN A {address}" for address in ADDRESSES]
    server.script(NAME, "A", answer(f"{NAME}. 60 IN CNAME x.internal.", *records))
    assert await client(server, tcp=True).ask_addresses(NAME, "A") == tuple(ADDRESSES)


def spoilt(question: Question) -> bytes:
    """A long answer whose last byte is missing."""
    return (addresses(MANY)(question) or b"")[:-1]


def of_another_question(question: Question) -> bytes:
    wire = bytearray(addresses(MANY)(question) or b"")
    wire[13] ^= 1
    return bytes(wire)


@pytest.mark.parametrize("behaviour", [spoilt, of_another_question, raw(lambda _: b"")])
async def test_after_a_bad_long_answer_the_next_server_is_asked(
    server: ScriptedDns, second: ScriptedDns, behaviour: Behaviour
) -> None:
    server.script(NAME, "A", behaviour)
    second.script(NAME, "A", addresses(LONG_ANSWER + 1))
    assert len(await client(server, second, tcp=True).ask_addresses(NAME, "A")) == LONG_ANSWER + 1
    with pytest.raises(DnsError) as caught:
        await client(server, tcp=True).ask_addresses(NAME, "A")
    assert caught.value.reason == "malformed"


@pytest.mark.parametrize("tcp", [False, True])
@pytest.mark.parametrize(
    ("code", "reason"), [("SERVFAIL", "failed"), ("REFUSED", "refused"), ("9", "refused")]
)
async def test_a_servers_own_error_has_a_reason_in_one_word(
    server: ScriptedDns, code: str, reason: str, tcp: bool
) -> None:
    server.script_all(rcode(code))
    with pytest.raises(DnsError) as caught:
        await client(server, tcp=tcp).ask_addresses(NAME, "AAAA")
    said = "NOTAUTH" if code == "9" else code
    assert (caught.value.reason, str(caught.value)) == (reason, f"AAAA {NAME}: no server answered, {said}")


async def test_silence_is_a_time_out(server: ScriptedDns) -> None:
    server.script_all(silence)
    with pytest.raises(DnsError) as caught:
        await client(server, timeout=0.1, lifetime=0.2).ask_addresses(NAME, "A")
    assert (caught.value.reason, str(caught.value)) == ("timeout", f"A {NAME}: timed out")


async def test_a_server_that_is_down_is_unreachable() -> None:
    with closed_port() as nobody, pytest.raises(DnsError) as caught:
        await DnsClient([Endpoint("127.0.0.1", nobody)], timeout=30, lifetime=60, tcp=True).ask_srv(NAME)
    assert caught.value.reason == "unreachable"


@pytest.mark.parametrize("name", ["x" * 64, "a..b", ".".join(["x" * 60] * 5)])
async def test_what_cannot_be_asked_for_is_a_failure(server: ScriptedDns, name: str) -> None:
    with pytest.raises(DnsError) as caught:
        await client(server).ask_addresses(name, "A")
    assert caught.value.reason == "malformed"
    assert server.count() == 0
