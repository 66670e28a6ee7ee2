"""The source `dns`: what it says of answers, of none, and of questions that fail apart from each other."""

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from epmdless.cluster.peers import MAX_NAMES, Known, LookError, Peer, Unknown
from epmdless.cluster.sources.build import build
from epmdless.cluster.sources.dns import MAX_QUESTIONS, UNANSWERED_SECONDS, DnsNames
from epmdless.cluster.sources.polling import LONGEST_PAUSE
from epmdless.config import Address, DnsSource, Duration
from epmdless.resolve.dns_client import AddressType, DnsError, SrvAnswer
from epmdless.resolve.srv_records import SrvRecord
from tests.cluster.sources.saying import AROUND, peers_in
from tests.support.scripted_dns import ScriptedDns, answer, nxdomain, rcode, truncated

A = "a.internal"
B = "b.internal"
SRV = "_app._tcp.internal"
DOWN = DnsError("timeout", "timed out")
POLL = 5.0


class Dns:
    """DNS in memory.

    :ivar says: what the question for a name and type is answered with: addresses, or SRV records; an
        exception; or what makes one of them. No such name, where there is nothing.
    """

    def __init__(self) -> None:
        self.says: dict[tuple[str, str], Any] = {}
        self.asked: list[tuple[str, str]] = []
        self.under_way = self.most_under_way = 0
        self.takes = 0.0

    async def ask_addresses(self, name: str, rdtype: AddressType) -> tuple[str, ...]:
        return tuple(await self._answer(name, rdtype))

    async def ask_srv(self, name: str) -> SrvAnswer:
        return SrvAnswer(tuple(await self._answer(name, "SRV")), 60)

    async def _answer(self, name: str, rdtype: str) -> Any:
        self.asked.append((name, rdtype))
        self.under_way += 1
        self.most_under_way = max(self.under_way, self.most_under_way)
        await trio.sleep(self.takes)
        self.under_way -= 1
        said = self.says.get((name, rdtype), ())
        said = said() if callable(said) else said
        if isinstance(said, Exception):
            raise said
        return said


@pytest.fixture
def dns() -> Dns:
    return Dns()


def source(dns: Dns, *addresses: str, **keys: Any) -> DnsNames:
    """A source of basename app that asks for addresses of IPv4."""
    whole = {"basename": "app", "addresses": addresses, "families": ("ipv4",), "poll": Duration(POLL), **keys}
    return DnsNames(DnsSource(**whole), dns)


async def names(source: DnsNames) -> set[str]:
    return {peer.name for peer in peers_in(await source.look())}


async def failure(source: DnsNames) -> LookError:
    with pytest.raises(LookError) as caught:
        await source.look()
    return caught.value


def record(target: str, port: int, priority: int = 0) -> SrvRecord:
    return SrvRecord(priority, 0, port, target)


# What names are made of.


async def test_addresses_of_both_families_are_host_parts(dns: Dns) -> None:
    dns.says = {(A, "A"): ["10.0.0.7"], (A, "AAAA"): ["fd00::7"], (B, "A"): ["10.0.0.8", "10.0.0.7"]}
    found = await source(dns, A, B, families=("ipv4", "ipv6")).look()
    assert sorted(peers_in(found)) == [Peer("app@10.0.0.7"), Peer("app@10.0.0.8"), Peer("app@fd00::7")]
    assert sorted(dns.asked) == [(A, "A"), (A, "AAAA"), (B, "A"), (B, "AAAA")]


@pytest.mark.parametrize(("family", "rdtype"), [("ipv4", "A"), ("ipv6", "AAAA")])
async def test_the_family_that_is_not_wanted_is_not_asked_for(dns: Dns, family: str, rdtype: str) -> None:
    await source(dns, A, families=(family,)).look()
    assert dns.asked == [(A, rdtype)]


@pytest.mark.parametrize(
    ("form", "names"),
    [("port", ["app-9001@b1.internal", "app-9002@b1.internal"]), ("plain", ["app@b1.internal", "app@b2.x"])],
)
async def test_services_are_names_and_ports(dns: Dns, form: str, names: list[str]) -> None:
    second = record("b1.internal", 9002) if form == "port" else record("b2.x", 9002)
    dns.says = {(SRV, "SRV"): [record("b1.internal", 9001), second]}
    assert await source(dns, srv=(SRV,), srv_names=form).look() == (
        Peer(names[0], 9001),
        Peer(names[1], 9002),
    )


async def test_a_service_that_is_decidedly_not_there_is_no_node(dns: Dns) -> None:
    dns.says = {(SRV, "SRV"): [record("", 9001), record("b1.internal", 0), record("b2.internal", 9002)]}
    assert await names(source(dns, srv=(SRV,))) == {"app-9002@b2.internal"}


async def test_a_port_that_changed_is_the_new_one_at_once(dns: Dns) -> None:
    plain = source(dns, srv=(SRV,), srv_names="plain")
    for port in (9001, 9002, 9001):
        dns.says = {(SRV, "SRV"): [record("b1.internal", port)]}
        assert await plain.look() == (Peer("app@b1.internal", port),)


# Nobody, and not known.


async def test_no_such_name_is_nobody(dns: Dns) -> None:
    assert await source(dns, A, B, srv=(SRV,)).look() == ()


@pytest.mark.parametrize("reason", ["timeout", "refused", "unreachable", "failed", "malformed"])
async def test_where_all_questions_fail_nothing_is_known(dns: Dns, reason: str) -> None:
    both = source(dns, A, srv=(SRV,))
    dns.says = {(A, "A"): ["10.0.0.7"], (SRV, "SRV"): [record("b1.internal", 9001)]}
    assert await names(both) == {"app@10.0.0.7", "app-9001@b1.internal"}
    dns.says = dict.fromkeys([(A, "A"), (SRV, "SRV")], DnsError(reason, "A a.internal: no server answered"))
    error = await failure(both)
    assert (error.reason, error.detail) == (reason, "A a.internal: no server answered, and 1 more")


async def test_a_question_that_fails_stands_by_its_last_answer(dns: Dns) -> None:
    two = source(dns, A, B)
    dns.says = {(A, "A"): ["10.0.0.7"], (B, "A"): ["10.0.0.8"]}
    assert await names(two) == {"app@10.0.0.7", "app@10.0.0.8"}
    dns.says = {(A, "A"): DOWN, (B, "A"): ["10.0.0.8", "10.0.0.9"]}
    for _ in range(10):
        assert await names(two) == {"app@10.0.0.7", "app@10.0.0.8", "app@10.0.0.9"}


async def test_nobody_is_a_last_answer_too(dns: Dns) -> None:
    two = source(dns, A, B)
    dns.says = {(A, "A"): ["10.0.0.7"]}
    assert await names(two) == {"app@10.0.0.7"}
    dns.says[B, "A"] = DOWN
    assert await names(two) == {"app@10.0.0.7"}


async def test_a_question_that_never_had_an_answer_holds_the_others_up_for_a_while(
    dns: Dns, autojump_clock: MockClock
) -> None:
    two = source(dns, A, B)
    dns.says = {(A, "A"): ["10.0.0.7"], (B, "A"): DOWN}
    assert (await failure(two)).reason == "timeout"
    await trio.sleep(UNANSWERED_SECONDS - 0.1)
    assert (await failure(two)).reason == "timeout"
    await trio.sleep(0.1)
    assert await names(two) == {"app@10.0.0.7"}
    dns.says[B, "A"] = ["10.0.0.8"]
    assert await names(two) == {"app@10.0.0.7", "app@10.0.0.8"}


async def test_it_is_never_nobody_while_a_question_has_no_answer(dns: Dns, autojump_clock: MockClock) -> None:
    two = source(dns, A, B)
    dns.says = {(B, "A"): DOWN}
    for _ in range(3):
        assert (await failure(two)).reason == "timeout"
        await trio.sleep(UNANSWERED_SECONDS)


async def test_servers_that_fail_at_one_type_of_address_hold_nothing_up(dns: Dns) -> None:
    both = source(dns, A, families=("ipv4", "ipv6"))
    dns.says = {(A, "A"): ["10.0.0.7"], (A, "AAAA"): DOWN}
    assert await names(both) == {"app@10.0.0.7"}


async def test_where_one_type_is_empty_and_the_other_fails_nothing_is_known(
    dns: Dns, autojump_clock: MockClock
) -> None:
    both = source(dns, A, families=("ipv4", "ipv6"))
    dns.says = {(A, "A"): DOWN, (A, "AAAA"): []}
    assert (await failure(both)).reason == "timeout"
    await trio.sleep(UNANSWERED_SECONDS)
    assert (await failure(both)).reason == "timeout"


async def test_there_is_doubt_while_a_question_fails_that_named_somebody(
    dns: Dns, autojump_clock: MockClock
) -> None:
    both = source(dns, A, B)
    dns.says = {(A, "A"): ["10.0.0.7"], (B, "A"): ["10.0.0.9"]}
    assert not isinstance(await both.look(), Known)
    dns.says[B, "A"] = DOWN
    found = await both.look()
    assert isinstance(found, Known)
    assert {peer.name for peer in found.peers} == {"app@10.0.0.7", "app@10.0.0.9"}
    assert found.doubt is not None
    assert found.doubt.reason == "timeout"
    dns.says[B, "A"] = []
    assert not isinstance(await both.look(), Known)


# Answers over several polls, in virtual time.


async def said(source: DnsNames, seconds: float, at: Callable[[float], None]) -> list[set[str] | Unknown]:
    """What a source says in this time; told each time just before it asks."""
    heard = list[set[str] | Unknown]()
    started = trio.current_time()

    def say(what: Known | Unknown) -> None:
        heard.append({peer.name for peer in what.peers} if isinstance(what, Known) else what)
        at(trio.current_time() - started)

    at(0)
    with trio.move_on_after(seconds):
        await source.run(say)
    return heard


async def test_an_answer_of_eight_out_of_forty_finds_everybody(dns: Dns, autojump_clock: MockClock) -> None:
    rng, everybody = random.Random(7), [f"10.0.0.{n}" for n in range(40)]
    dns.says[A, "A"] = lambda: rng.sample(everybody, 8)
    heard = await said(source(dns, A, gather=Duration(300)), 1200, lambda _: None)
    wanted = {f"app@{address}" for address in everybody}
    assert heard[60:] == [wanted] * len(heard[60:])
    assert len(heard) > 200


async def test_a_record_that_is_gone_is_named_for_as_long_as_gather_says(
    dns: Dns, autojump_clock: MockClock
) -> None:
    last = 0.0

    def at(now: float) -> None:
        nonlocal last
        dns.says[A, "A"] = ["10.0.0.7", "10.0.0.8"] if now < 20 else ["10.0.0.8"]
        last = now

    heard = await said(source(dns, A, gather=Duration(30)), 70, at)
    named = [index for index, names in enumerate(heard) if "app@10.0.0.7" in names]
    assert named == list(range(len(named))), "it does not come back"
    assert 45 <= len(named) * POLL <= 60
    assert heard[-1] == {"app@10.0.0.8"}


async def test_ten_minutes_without_dns_take_nobody_away(dns: Dns, autojump_clock: MockClock) -> None:
    """Not even where the first answer after that has eight of forty: gather is half a minute."""
    rng, everybody = random.Random(7), [f"10.0.0.{n}" for n in range(40)]
    capped = source(dns, A, gather=Duration(300))

    def at(now: float) -> None:
        dns.says[A, "A"] = DOWN if 600 <= now < 1200 else rng.sample(everybody, 8)

    heard = await said(capped, 1300, at)
    down = [index for index, what in enumerate(heard) if isinstance(what, Unknown)]
    assert down == list(range(down[0], down[-1] + 1))
    assert len(down) <= 3 + 600 / (LONGEST_PAUSE / 2), "it is asked less often while it fails"
    wanted = {f"app@{address}" for address in everybody}
    assert heard[down[0] - 1] == heard[down[-1] + 1] == wanted


async def test_a_server_that_flaps_takes_nobody_away(dns: Dns, autojump_clock: MockClock) -> None:
    rng = random.Random(3)
    dns.says[B, "A"] = ["10.0.0.9"]

    def at(_: float) -> None:
        dns.says[A, "A"] = DOWN if dns.asked and rng.random() < 0.7 else ["10.0.0.7"]

    heard = await said(source(dns, A, B, gather=Duration(0)), 3600, at)
    known = [each for each in heard if not isinstance(each, Unknown)]
    assert known == [{"app@10.0.0.7", "app@10.0.0.9"}] * len(known)
    assert len(known) > 300


# Sources that lie.


async def test_ever_new_names_are_a_mistake_and_cost_no_memory(dns: Dns, autojump_clock: MockClock) -> None:
    number = 0

    def lies() -> list[str]:
        nonlocal number
        number += 1
        return [f"10.{number}.{n >> 8}.{n & 255}" for n in range(4000)]

    dns.says[A, "A"] = lies
    liar = source(dns, A)
    reasons = set()
    for _ in range(20):
        await trio.sleep(POLL)
        try:
            found = await liar.look()
        except LookError as error:
            reasons.add(error.reason)
        else:
            assert 4000 <= len(found) <= MAX_NAMES
    assert reasons == {"too_many"}
    dns.says[A, "A"] = ["10.0.0.7"]
    heard = await said(liar, 60, lambda _: None)
    assert heard[-1] == {"app@10.0.0.7"}


async def test_a_whole_fleet_that_is_replaced_at_once_is_known_at_the_second_look(dns: Dns) -> None:
    many = [f"{n}.internal" for n in range(4)]
    fleet = source(dns, *many)
    for generation in (1, 2):
        for number, name in enumerate(many):
            dns.says[name, "A"] = [f"10.{generation}{number}.{n >> 8}.{n & 255}" for n in range(4000)]
        if generation == 1:
            assert len(await fleet.look()) == 16_000
    assert (await failure(fleet)).reason == "too_many"
    assert len(await fleet.look()) == 16_000


async def test_questions_are_asked_together_and_within_a_bound(dns: Dns, autojump_clock: MockClock) -> None:
    dns.takes = 1.0
    many = source(dns, *(f"{n}.internal" for n in range(MAX_QUESTIONS * 2)))
    started = trio.current_time()
    assert await many.look() == ()
    assert trio.current_time() - started == pytest.approx(2.0)
    assert dns.most_under_way == MAX_QUESTIONS


# Over real sockets.


@pytest.fixture
def servers() -> Iterator[list[ScriptedDns]]:
    with ExitStack() as stack:
        yield [stack.enter_context(ScriptedDns()) for _ in range(2)]


def asking(servers: list[ScriptedDns], **keys: Any) -> DnsNames:
    """The source that a configuration makes; with a long lifetime a slow machine is no matter."""
    addresses = tuple(Address(f"{server.host}:{server.port}") for server in servers)
    patient = {"basename": "app", "servers": addresses, "timeout": Duration(20), "lifetime": Duration(60)}
    made = build("d", DnsSource(**{**patient, **keys}), AROUND, "epmdless.toml")
    assert isinstance(made, DnsNames)
    return made


async def test_the_servers_of_the_configuration_are_asked(servers: list[ScriptedDns]) -> None:
    servers[0].script_all(rcode("SERVFAIL"))
    servers[1].script_all(nxdomain("internal."))
    many = [f"{A}. 60 IN A 10.0.{n >> 8}.{n & 255}" for n in range(1000)]
    servers[1].script(A, "A", truncated(answer(*many)))
    servers[1].script(SRV, "SRV", answer(f"{SRV}. 60 IN SRV 0 0 9001 B1.Internal."))
    found = await asking(servers, addresses=(A,), srv=(SRV,)).look()
    assert len(found) == 1001
    assert {Peer("app@10.0.3.231"), Peer("app-9001@b1.internal", 9001)} <= set(found)
    assert servers[1].count(transport="tcp") == 1


async def test_what_servers_say_becomes_the_reason(servers: list[ScriptedDns]) -> None:
    for code, reason in (("SERVFAIL", "failed"), ("REFUSED", "refused")):
        servers[0].script_all(rcode(code))
        error = await failure(asking(servers[:1], addresses=(A,), families=("ipv4",)))
        assert (error.reason, error.detail) == (reason, f"A {A}: no server answered, {code}")


async def test_over_tcp_alone_no_datagram_is_sent(servers: list[ScriptedDns]) -> None:
    servers[0].script_all(answer(f"{A}. 60 IN A 10.0.0.7"))
    found = await asking(servers[:1], addresses=(A,), families=("ipv4",), tcp=True).look()
    assert found == (Peer("app@10.0.0.7"),)
    assert servers[0].asked == [(f"{A}.", "A", "tcp")]
