"""Updates of a zone: as real servers take them, and what comes of servers that are no good."""

import base64
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import dns.message
import dns.rcode
import dns.tsig
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from epmdless.addresses import Endpoint
from epmdless.resolve.dns_client import DnsClient
from epmdless.resolve.dns_records import Record, RecordType, address, domain, name, srv, txt
from epmdless.resolve.dns_tsig import TsigKey
from epmdless.resolve.dns_update import Update, UpdateError, Updater
from epmdless.resolve.update_reasons import REASONS, URGENCY
from tests.publish import fake_server
from tests.publish.fake_server import Behaviour, FakeServer
from tests.support.dns_servers import DnsServer, UpdateKey, bind, knot
from tests.support.ports import closed_port

KEY = UpdateKey()
SECRET = base64.b64decode(KEY.secret)
OUR_KEY = TsigKey(KEY.name, KEY.algorithm, SECRET)
ZONE = "nodes.internal"
HERE = "127.0.0.1"


def owner(*labels: str) -> bytes:
    return name((label.encode() for label in labels), domain(ZONE))


SHOP = owner("_shop", "_tcp")
TARGET = domain("b1.nodes.internal")


def updater(*ports: int, **changed: Any) -> closing[Updater]:
    usual: dict[str, Any] = {"zone": ZONE, "key": OUR_KEY, "ttl": 10, "timeout": 2.0}
    return closing(Updater(servers=[Endpoint(HERE, port) for port in ports], **usual | changed))


async def failure(update: Update, *ports: int, **changed: Any) -> UpdateError:
    """The error by which an update ends."""
    with updater(*ports, **changed) as server, pytest.raises(UpdateError) as caught:
        await server.update(update)
    assert KEY.secret not in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value


# Real servers


@pytest.fixture(scope="module", params=["knot", "bind"])
def server(request: pytest.FixtureRequest) -> Iterator[DnsServer]:
    """A real server whose zone holds nothing of anybody's; each test has names of its own."""
    with knot([], key=KEY) if request.param == "knot" else bind(KEY) as server:
        yield server


def client(server: DnsServer) -> DnsClient:
    return DnsClient([Endpoint(HERE, server.port)], timeout=2, lifetime=2)


pytest_real = pytest.mark.interop


@pytest_real
async def test_records_are_added_and_deleted(server: DnsServer) -> None:
    own = owner("_one", "_tcp")
    strings = [b"node=one@b1", b'quote " and \\ and \xc3\xa9', b""]
    records = [srv(own, 9001, TARGET), srv(own, 9002, TARGET), txt(own, strings)]
    with updater(server.port) as zone:
        await zone.update(Update(add=[*records, address(TARGET, "10.0.1.23"), address(TARGET, "fd00::23")]))
        assert await zone.ask_txt(own) == (records[2].rdata,)
        await zone.update(Update(delete=[records[0]], add=[records[1]]))
        await zone.update(Update(delete=[records[0]]))
    answer = await client(server).ask_srv("_ONE._tcp.nodes.internal")
    assert [(each.port, each.target, each.addresses) for each in answer.records] == [
        (9002, "b1.nodes.internal", ("10.0.1.23", "fd00::23"))
    ]
    assert answer.ttl == 10
    assert await client(server).ask_txt("_one._tcp.nodes.internal") == (tuple(strings),)
    with updater(server.port) as zone:
        await zone.update(Update(delete=records))
        assert await zone.ask_txt(own) == ()
    assert await client(server).ask_txt("_one._tcp.nodes.internal") == ()


@pytest_real
async def test_a_label_may_hold_anything(server: DnsServer) -> None:
    own = owner('_A.b\\c é"*', "_tcp")
    with updater(server.port) as zone:
        await zone.update(Update(add=[txt(own, [b"here"])]))
        assert await zone.ask_txt(own) == (b"\x04here",)
        await zone.update(Update(delete=[txt(own, [b"here"])]))
        assert await zone.ask_txt(own) == ()


@pytest_real
async def test_the_last_ttl_is_that_of_the_whole_set(server: DnsServer) -> None:
    """Two hosts may be configured with different ones; both go on being served."""
    own = owner("_ttl", "_tcp")
    with updater(server.port, ttl=60) as zone:
        await zone.update(Update(add=[srv(own, 9001, TARGET)]))
    with updater(server.port, ttl=5) as zone:
        await zone.update(Update(add=[srv(own, 9002, TARGET)]))
    answer = await client(server).ask_srv("_ttl._tcp.nodes.internal")
    assert (len(answer.records), answer.ttl) == (2, 5)
    with updater(server.port, ttl=60) as zone:
        await zone.update(Update(add=[srv(own, 9001, TARGET)]))
    answer = await client(server).ask_srv("_ttl._tcp.nodes.internal")
    assert len(answer.records) == 2


@pytest_real
async def test_a_whole_set_can_be_demanded(server: DnsServer) -> None:
    own = owner("_set", "_tcp")
    leases = [txt(own, [b"a"]), txt(own, [b"b"])]
    kept = srv(own, 9001, TARGET)
    with updater(server.port) as zone:
        await zone.update(Update(add=[*leases, kept]))
        for others in ([leases[0]], [*leases, txt(own, [b"c"])], [leases[0], txt(own, [b"B"])]):
            with pytest.raises(UpdateError) as caught:
                await zone.update(Update(delete=[kept], exactly=others))
            assert caught.value.reason == "changed"
        assert len((await client(server).ask_srv("_set._tcp.nodes.internal")).records) == 1
        await zone.update(Update(delete=[kept, leases[0]], exactly=leases[::-1]))
        assert await zone.ask_txt(own) == (leases[1].rdata,)
    assert (await client(server).ask_srv("_set._tcp.nodes.internal")).records == ()


@pytest_real
@pytest.mark.parametrize(
    ("changed", "reason", "said"),
    [
        ({"key": TsigKey("nobody", KEY.algorithm, SECRET)}, "bad_key", "does not know a key of this name"),
        ({"key": TsigKey(KEY.name, KEY.algorithm, b"wrong" * 6)}, "bad_key", "another secret for this key"),
        ({"key": TsigKey(KEY.name, "hmac-sha512", SECRET)}, "bad_key", "does not know a key of this name"),
        ({"clock": lambda: time.time() - 4000}, "bad_time", " s ahead of ours"),
        ({"clock": lambda: time.time() + 4000}, "bad_time", " s behind ours"),
        ({"zone": "other.internal"}, "not_zone", "NOTAUTH"),
        ({"key": None}, "refused", ""),
    ],
)
async def test_servers_say_what_is_wrong(
    server: DnsServer, changed: dict[str, Any], reason: str, said: str
) -> None:
    error = await failure(Update(add=[srv(owner("_no", "_tcp"), 1, TARGET)]), server.port, **changed)
    assert error.reason == reason
    assert said in str(error)
    assert str(error).startswith(f"{HERE}:{server.port}: ")
    assert await client(server).ask_txt("_no._tcp.nodes.internal") == ()


@pytest_real
@pytest.mark.parametrize("skew", [-200, 0, 200])
async def test_an_answer_tells_the_servers_time(server: DnsServer, skew: int) -> None:
    with updater(server.port, clock=lambda: time.time() + skew) as zone:
        assert abs(zone.server_time() - time.time() - skew) < 1
        await zone.ask_txt(SHOP)
        assert abs(zone.server_time() - time.time()) < 2


@pytest_real
async def test_a_name_outside_the_zone_is_refused(server: DnsServer) -> None:
    error = await failure(Update(add=[srv(domain("a.other"), 1, TARGET)]), server.port)
    assert error.reason == "not_zone"


@pytest_real
async def test_a_long_set_is_read_whole(server: DnsServer) -> None:
    """BIND takes a hundred records of a type, unless max-records-per-type says otherwise."""
    own = owner("_long", "_tcp")
    records = [txt(own, [b"%03d" % number]) for number in range(100)]
    with updater(server.port) as zone:
        await zone.update(Update(add=records))
        assert sorted(await zone.ask_txt(own)) == [record.rdata for record in records]
        await zone.update(Update(delete=records[:50], exactly=records))
        assert len(await zone.ask_txt(own)) == 50
    found = await client(server).ask_txt("_long._tcp.nodes.internal")
    assert sorted(found) == [(b"%03d" % number,) for number in range(50, 100)]


# Servers that are no good


def in_memory(nursery: trio.Nursery, *behaviours: Behaviour) -> tuple[FakeServer, dict[str, Any]]:
    """A server that has our key, and what leads to it."""
    key = dns.tsig.Key(KEY.name, KEY.secret, KEY.algorithm)
    server = FakeServer(nursery, ZONE, key)
    if behaviours:
        server.then(*behaviours)
    return server, {"connect": server.connect}


def unsigned(code: str) -> Behaviour:
    def behave(_server: FakeServer, message: dns.message.Message) -> bytes:
        response = dns.message.make_response(message)
        response.tsig = None
        response.set_rcode(dns.rcode.from_text(code))
        return response.to_wire()

    return behave


def signed_by_another(server: FakeServer, message: dns.message.Message) -> bytes:
    response = server.answer(message)
    response.use_tsig(dns.tsig.Key(KEY.name, base64.b64encode(b"x" * 32).decode(), KEY.algorithm))
    response.request_mac = message.mac or b""
    return response.to_wire()


def signed_for_another(server: FakeServer, message: dns.message.Message) -> bytes:
    response = server.answer(message)
    response.request_mac = b"x" * 32
    return response.to_wire()


def flipped(place: int) -> Behaviour:
    def make(good: bytes) -> bytes:
        at = place % len(good)
        return good[:at] + bytes([good[at] ^ 0x01]) + good[at + 1 :]

    return fake_server.raw(make)


ADD = Update(add=[srv(SHOP, 9001, TARGET)])


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (unsigned("NOERROR"), "forged"),
        (unsigned("REFUSED"), "refused"),
        (unsigned("NOTAUTH"), "not_zone"),
        (unsigned("SERVFAIL"), "failed"),
        (signed_by_another, "forged"),
        (signed_for_another, "forged"),
        (flipped(2), "forged"),
        (flipped(3), "forged"),
        (flipped(20), "forged"),
        (flipped(-20), "forged"),
        (fake_server.raw(lambda good: good[:-1]), "malformed"),
        (fake_server.raw(lambda good: good[:12]), "malformed"),
        (fake_server.raw(lambda good: good + b"x"), "malformed"),
        (fake_server.raw(lambda good: good[:11] + b"\xff" + good[12:]), "malformed"),
        (fake_server.raw(lambda good: good[:2] + bytes([good[2] | 2]) + good[3:]), "malformed"),
        (fake_server.raw(lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n"), "malformed"),
        (fake_server.raw(lambda good: good + bytes(5000)), "malformed"),
        (fake_server.cut_before, "unreachable"),
        (fake_server.cut_after, "unreachable"),
    ],
)
async def test_an_answer_that_is_not_what_it_must_be_is_none(behaviour: Behaviour, reason: str) -> None:
    async with trio.open_nursery() as nursery:
        _, leading = in_memory(nursery, behaviour)
        assert (await failure(ADD, 53, **leading)).reason == reason
        nursery.cancel_scope.cancel()


@given(data=st.data())
def test_nothing_that_a_server_says_raises_anything_else(data: st.DataObject) -> None:
    answer = data.draw(st.binary(max_size=300))
    at = data.draw(st.integers(min_value=0, max_value=200))

    def make(good: bytes) -> bytes:
        return good[:at] + answer if data.draw(st.booleans()) else good[:2] + answer

    reasons = []

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            _, leading = in_memory(nursery, fake_server.raw(make))
            with updater(53, **leading) as zone:
                for ask in (zone.update(ADD), zone.ask_txt(SHOP)):
                    try:
                        await ask
                    except UpdateError as error:
                        reasons.append(error.reason)
            nursery.cancel_scope.cancel()

    trio.run(main)
    assert set(reasons) <= set(REASONS)


async def test_a_server_that_hangs_is_waited_for_no_longer_than_agreed(autojump_clock: Any) -> None:
    async with trio.open_nursery() as nursery:
        server, _ = in_memory(nursery, fake_server.hang)
        began = trio.current_time()
        error = await failure(ADD, 53, connect=server.connect, key=None)
        assert (error.reason, str(error)) == ("timeout", f"{HERE}:53: no answer in 2 s")
        assert 2.0 <= trio.current_time() - began < 2.1
        nursery.cancel_scope.cancel()


async def test_a_connection_that_never_comes_is_given_up(autojump_clock: Any) -> None:
    async def connect(_: Endpoint) -> Any:
        await trio.sleep_forever()

    assert (await failure(ADD, 53, connect=connect)).reason == "timeout"


@pytest.mark.parametrize(
    ("first", "reason"),
    [(fake_server.refuse("REFUSED"), None), (fake_server.cut_before, None), (unsigned("NOTAUTH"), None)],
)
async def test_the_next_server_is_asked(first: Behaviour, reason: None) -> None:
    async with trio.open_nursery() as nursery:
        servers = [in_memory(nursery, first)[0], in_memory(nursery)[0]]

        async def connect(endpoint: Endpoint) -> Any:
            return await servers[endpoint.port].connect(endpoint)

        with updater(0, 1, connect=connect) as zone:
            await zone.update(ADD)
            await zone.update(ADD)
        assert [len(server.messages) for server in servers] == [1, 2]
        assert [server.connections for server in servers] == [1, 1]
        assert servers[1].shown("_shop._tcp", "SRV") == {"0 0 9001 b1.nodes.internal."}
        nursery.cancel_scope.cancel()


async def test_where_no_server_takes_it_the_most_telling_reason_counts() -> None:
    async with trio.open_nursery() as nursery:
        behaviours = [fake_server.cut_before, fake_server.refuse("REFUSED"), fake_server.refuse("SERVFAIL")]
        servers = [in_memory(nursery, behaviour)[0] for behaviour in behaviours]

        async def connect(endpoint: Endpoint) -> Any:
            return await servers[endpoint.port].connect(endpoint)

        error = await failure(ADD, 0, 1, 2, connect=connect)
        assert error.reason == "refused"
        assert str(error) == (f"{HERE}:0: the connection was cut; {HERE}:1: REFUSED; {HERE}:2: SERVFAIL")
        nursery.cancel_scope.cancel()


async def test_a_prerequisite_that_fails_is_not_tried_elsewhere() -> None:
    async with trio.open_nursery() as nursery:
        server, leading = in_memory(nursery)
        demanding = Update(delete=[srv(SHOP, 1, TARGET)], exactly=[txt(SHOP, [b"gone"])])
        assert (await failure(demanding, 0, 1, **leading)).reason == "changed"
        assert len(server.messages) == 1
        nursery.cancel_scope.cancel()


async def test_nobody_there_is_unreachable() -> None:
    with closed_port() as port:
        error = await failure(ADD, port)
    assert (error.reason, str(error)) == ("unreachable", f"{HERE}:{port}: Connection refused")


async def test_who_is_cancelled_leaves_no_answer_for_the_next_question(autojump_clock: Any) -> None:
    async with trio.open_nursery() as nursery:
        server, leading = in_memory(nursery, fake_server.hang, fake_server.ok)
        with updater(53, key=None, **leading) as zone:
            with trio.move_on_after(0.1):
                await zone.update(ADD)
            await zone.update(ADD)
        assert server.connections == 2
        nursery.cancel_scope.cancel()


def test_every_reason_has_its_place() -> None:
    of_no_server = {"changed", "no_address"}
    assert {*URGENCY, *of_no_server} == set(REASONS)


# Messages


LABELS = st.lists(st.binary(min_size=1, max_size=63), min_size=1, max_size=2)


@st.composite
def records(draw: st.DrawFn) -> Record:
    own = name(draw(LABELS), domain(ZONE) if draw(st.booleans()) else domain("b2.other"))
    make: Callable[[], Record] = draw(
        st.sampled_from(
            [
                lambda: srv(own, draw(st.integers(1, 65535)), TARGET),
                lambda: txt(own, draw(st.lists(st.binary(max_size=255), min_size=1, max_size=4))),
                lambda: address(own, draw(st.ip_addresses()).compressed),
            ]
        )
    )
    return make()


@given(st.lists(records(), max_size=20), st.lists(records(), max_size=20), st.lists(records(), max_size=5))
def test_dnspython_reads_what_we_write(
    delete: list[Record], add: list[Record], exactly: list[Record]
) -> None:
    wire = Update(delete, add, exactly).encode(domain(ZONE), 4711, 10)
    message: Any = dns.message.from_wire(wire)
    assert (message.id, str(message.zone[0].name)) == (4711, "nodes.internal.")

    def plain(section: list[Any]) -> list[Record]:
        return [
            Record(
                rrset.name.to_wire(),
                RecordType(rrset.rdtype),
                rdata.to_wire(origin=None),
            )
            for rrset in section
            for rdata in rrset
        ]

    assert plain(message.prerequisite) == exactly
    assert plain(message.update) == [*delete, *add]
    assert [rrset.ttl for rrset in message.update] == [0] * len(delete) + [10] * len(add)
    assert [bool(rrset.deleting) for rrset in message.update] == [True] * len(delete) + [False] * len(add)
