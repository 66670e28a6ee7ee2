"""A zone follows the registry through all that can go wrong between them, in virtual time."""

from itertools import pairwise

import dns.message
import pytest
import trio
from trio.testing import MockClock

from epmdless import metrics
from epmdless.publish import keeper as keeping_zone
from epmdless.publish.keeper import LOOK_SECONDS, WITHDRAW_SECONDS
from epmdless.publish.lease import SKEW
from epmdless.publish.zone import MAX_REFUSED, Zone
from tests.publish import fake_server
from tests.publish.fake_server import FakeServer
from tests.publish.keeping import BEGINNING, LEASE, ZONE, Clockwork, Host, prepared, world

SRV = "0 0 9001 b1.nodes.internal."
ALL_OF_SHOP = {"_shop-9001._tcp", "_shop._tcp", "_epmdless._tcp", "b1"}


def lease_of(node: str, port: int, until: float, *more: str) -> str:
    return " ".join(f'"{each}"' for each in (f"node={node}", f"port={port}", f"until={until:.0f}", *more))


async def settled(seconds: float = 2 * LOOK_SECONDS) -> None:
    """Let what has changed be seen and written."""
    await trio.sleep(seconds)


async def test_a_registration_appears_and_goes(autojump_clock: MockClock) -> None:
    async with world() as (nursery, server):
        host = Host(nursery, server)
        await host.start(prepared())
        assert server.names == set()
        number = host.register("shop-9001", 9001)
        await settled()
        assert server.names == ALL_OF_SHOP
        for owner in ("_shop-9001._tcp", "_shop._tcp", "_epmdless._tcp"):
            assert server.shown(owner, "SRV") == {SRV}
        assert server.shown("b1", "A") == {"10.0.1.23"}
        until = BEGINNING + LEASE + 1
        (text,) = server.shown("_shop._tcp", "TXT")
        assert server.shown("_epmdless._tcp", "TXT") == {text}
        assert text == lease_of(
            *("shop-9001@b1.nodes.internal", 9001, until, "address=10.0.1.23", "service=shop")
        )
        host.leave(number)
        await settled()
        assert server.names == set()
        assert host.log.events() == ["published"]


@pytest.mark.parametrize("none_yet", [None, "fe80::1", "127.0.0.1"])
async def test_the_address_of_the_default_route_is_waited_for_and_followed(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, none_yet: str | None
) -> None:
    """A host that boots has none yet; one that moves has another one."""
    own = none_yet
    monkeypatch.setattr(keeping_zone, "address_of_route", lambda: own)
    async with world() as (nursery, server):
        host = Host(nursery, server)
        await host.start(prepared(addresses=(), follows_route=True))
        host.register("shop-9001", 9001)
        await settled()
        view = host.keeper.view()
        assert view is not None
        assert (view["state"], view["reason"], server.names) == ("failing", "no_address", set())
        own = "10.0.1.23"
        await settled(3.0)
        assert server.shown("b1", "A") == {"10.0.1.23"}
        own = "10.0.1.24"
        await settled(LEASE / 3)
        assert server.shown("b1", "A") == {"10.0.1.24"}
        assert len(server.shown("_epmdless._tcp", "TXT")) == 1
        own = None
        await settled(LEASE)
        assert server.shown("b1", "A") == {"10.0.1.24"}
        assert host.log.events("warning") == ["publishing fails"]
        await host.keeper.withdraw()
        assert server.names == set()


async def test_a_reload_keeps_the_address_of_a_route_that_is_away(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    own: str | None = "10.0.1.23"
    monkeypatch.setattr(keeping_zone, "address_of_route", lambda: own)
    async with world() as (nursery, server):
        host = Host(nursery, server)
        host.register("shop-9001", 9001)
        await host.start(prepared(addresses=(), follows_route=True))
        host.keeper.take_on(prepared(addresses=(), follows_route=True))
        await settled()
        assert len(server.updates) == 1  # nothing has changed
        own = None
        host.keeper.take_on(prepared(addresses=(), follows_route=True, ttl=20))
        await settled(2 * LEASE)
        (text,) = server.shown("_epmdless._tcp", "TXT")
        assert int(text.split("until=")[1].split('"')[0]) > host.clock()
        assert server.shown("b1", "A") == {"10.0.1.23"}
        own = "10.0.1.24"
        await settled(LEASE / 3)
        assert server.shown("b1", "A") == {"10.0.1.24"}


async def test_changes_of_a_moment_are_one_update(autojump_clock: MockClock) -> None:
    async with world() as (nursery, server):
        host = Host(nursery, server)
        await host.start(prepared())
        for port in range(9001, 9021):
            host.register(f"shop-{port}", port)
        await settled()
        assert len(server.shown("_shop._tcp", "SRV")) == 20
        assert len(server.updates) == 1


async def test_a_node_on_another_port_is_never_on_both(autojump_clock: MockClock) -> None:
    async with world() as (nursery, server):
        host = Host(nursery, server)
        await host.start(prepared())
        number = host.register("shop-9001", 9001)
        await settled()
        host.leave(number)
        host.register("shop-9001", 9002)
        await settled()
        assert server.shown("_shop-9001._tcp", "SRV") == {"0 0 9002 b1.nodes.internal."}
        assert len(server.updates) == 2


async def test_leases_are_refreshed_three_times_in_their_time(autojump_clock: MockClock) -> None:
    async with world() as (nursery, server):
        host = Host(nursery, server)
        host.register("shop-9001", 9001)
        await host.start(prepared())
        await trio.sleep(10 * LEASE)
        assert 30 <= len(server.updates) <= 31
        (text,) = server.shown("_epmdless._tcp", "TXT")
        until = int(text.split("until=")[1].split('"')[0])
        assert 2 / 3 * LEASE - 1 <= until - host.clock() <= LEASE + 1
        assert server.shown("_epmdless._tcp", "SRV") == {SRV}


@pytest.mark.parametrize("seconds", [3600, -3600, 200])
async def test_a_clock_that_is_set_makes_no_lease_wrong(autojump_clock: MockClock, seconds: float) -> None:
    """So it is when a machine has slept: its own time stood still."""
    async with world() as (nursery, server):
        host = Host(nursery, server)
        host.register("shop-9001", 9001)
        await host.start(prepared())
        await trio.sleep(5)
        host.skew += seconds
        host.register("shop-9002", 9002)
        await settled()
        untils = [int(t.split("until=")[1].split('"')[0]) for t in server.shown("_epmdless._tcp", "TXT")]
        assert len(untils) == 2
        assert all(LEASE - 2 <= until - host.clock() <= LEASE + 1 for until in untils)


async def test_what_others_took_out_is_put_in_again(autojump_clock: MockClock) -> None:
    async with world() as (nursery, server):
        host = Host(nursery, server)
        host.register("shop-9001", 9001)
        await host.start(prepared())
        server.records.clear()
        await trio.sleep(LEASE / 3 + 1)
        assert server.names == ALL_OF_SHOP


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (fake_server.hang, "timeout"),
        (fake_server.hang_after, "timeout"),
        (fake_server.cut_before, "unreachable"),
        (fake_server.cut_after, "unreachable"),
        (fake_server.refuse("REFUSED"), "refused"),
        (fake_server.refuse("SERVFAIL"), "failed"),
        (fake_server.refuse("NOTAUTH"), "refused"),
        (fake_server.refuse("NOTZONE"), "not_zone"),
        (fake_server.refuse("FORMERR"), "failed"),
        (fake_server.raw(lambda _: b""), "malformed"),
        (fake_server.raw(lambda _: bytes(4000)), "malformed"),
        (fake_server.raw(lambda _: b"\xff" * 65535), "malformed"),
        (fake_server.raw(lambda good: bytes([good[0] ^ 1]) + good[1:]), "malformed"),
        (fake_server.raw(lambda good: good[:2] + bytes([good[2] & 0x7F]) + good[3:]), "malformed"),
    ],
)
async def test_whatever_fails_is_seen_and_made_up_for(
    autojump_clock: MockClock, behaviour: fake_server.Behaviour, reason: str
) -> None:
    async with world() as (nursery, server):
        host = Host(nursery, server)
        await host.start(prepared())
        server.then(behaviour)
        number = host.register("shop-9001", 9001)
        host.register("stock-9002", 9002)
        await trio.sleep(5)
        view = host.view
        assert (view["state"], view["reason"]) == ("failing", reason)
        assert [node["published"] for node in view["nodes"]] == [False, False]
        assert host.counts.value(metrics.PUBLISH_UPDATES, reason) >= 1
        assert host.counts.value(metrics.PUBLISH_NODES, "pending") == 2
        host.leave(number)
        await trio.sleep(200)
        server.then(fake_server.ok)
        await trio.sleep(61)
        assert server.names == {"_stock-9002._tcp", "_epmdless._tcp", "b1"}
        assert len(server.shown("_epmdless._tcp", "TXT")) == 1
        assert host.view["state"] == "published"
        assert host.log.events("warning") == ["publishing fails"]
        assert host.log.events("info") == ["published", "publishing works again"]
        assert host.log.fields("publishing fails")["reason"] == reason


@pytest.mark.parametrize(
    ("lease", "expected"),
    [(300.0, [1, 2, 4, 8, 16, 32, 60, 60]), (15.0, [1, 2, 4, 5, 5, 5, 5, 5])],
    ids=["a minute", "a third of the lease"],
)
async def test_pauses_between_attempts_grow_to(
    autojump_clock: MockClock, lease: float, expected: list[int]
) -> None:
    async with world() as (nursery, server):
        server.then(fake_server.refuse("REFUSED"))
        host = Host(nursery, server)
        times: list[float] = []
        await host.start(prepared(lease=lease))
        seen = 0
        for _ in range(4 * 400):
            await trio.sleep(0.25)
            if len(server.messages) != seen:
                seen = len(server.messages)
                times.append(trio.current_time())
        pauses = [round(later - earlier) for earlier, later in pairwise(times)]
        assert pauses[:8] == expected


async def test_changes_do_not_hurry_what_fails(autojump_clock: MockClock) -> None:
    async with world() as (nursery, server):
        server.then(fake_server.refuse("REFUSED"))
        host = Host(nursery, server)
        await host.start(prepared())
        await trio.sleep(100)
        before = len(server.messages)
        for port in range(9001, 9011):
            host.register(f"shop-{port}", port)
            await trio.sleep(1)
        assert len(server.messages) - before <= 2


def live_leases(host: Host, server: FakeServer) -> int:
    """How many nodes count as being there."""
    texts = server.shown("_epmdless._tcp", "TXT")
    return sum(int(text.split("until=")[1].split('"')[0]) > host.clock() for text in texts)


@pytest.mark.parametrize("more", [1, 40])
async def test_in_a_zone_that_is_full_nobody_who_is_there_loses_a_lease(
    autojump_clock: MockClock, more: int
) -> None:
    async with world() as (nursery, server):
        server.then(fake_server.full_at(100))
        host = Host(nursery, server)
        numbers = [host.register(f"shop-{port}", port) for port in range(9001, 9101)]
        await host.start(prepared())
        for port in range(9501, 9501 + more):
            host.register(f"stock-{port}", port)
        for _ in range(8):
            await trio.sleep(LEASE / 2)
            assert live_leases(host, server) == 100
            assert sum(node["published"] for node in host.view["nodes"]) == 100
            assert (host.view["state"], host.view["reason"]) == ("failing", "failed")
        for number in numbers[50 : 50 + more]:
            host.leave(number)
        await trio.sleep(2 * LEASE)
        assert live_leases(host, server) == 100
        assert sum(name.startswith("_stock-") for name in server.names) == more
        assert host.view["state"] == "published"


async def test_no_node_is_added_to_more_leases_than_one_answer_can_hold(autojump_clock: MockClock) -> None:
    """Knot says SERVFAIL to whoever asks for more, BIND cuts the answer: nobody could list any node."""
    async with world() as (nursery, server):
        until = int(BEGINNING + 100 * LEASE)
        others = [
            f'"node=a-node-with-a-long-name-{n:03}@b9.{ZONE}" "port=9001" "until={until}"' for n in range(500)
        ]
        server.put("_epmdless._tcp", "TXT", *others)
        host = Host(nursery, server)
        numbers = [host.register(f"a-node-of-this-host-{n:03}", 9000 + n) for n in range(300)]
        await host.start(prepared(services=()))
        await trio.sleep(2 * LEASE)
        question = dns.message.make_query(f"_epmdless._tcp.{ZONE}", "TXT")
        size = len(server.answer(question).to_wire(max_size=65535))
        assert 59_000 < size < 62_000
        view = host.view
        assert view["state"] == "published"
        assert all(node["published"] for node in view["nodes"])
        assert len(view["nodes"]) + view["left_out_count"] == 300
        assert {each["reason"] for each in view["left_out"]} == {"zone_full"}
        names = {node["name"] for node in view["nodes"]}
        host.register("shop-9001", 9001)
        for number in numbers[10:20]:
            host.leave(number)
        await trio.sleep(LEASE / 2)
        assert len(host.view["nodes"]) == len(names)
        server.records[next(key for key in server.records if str(key[0]).startswith("_epmdless"))].clear()
        await trio.sleep(LEASE)
        assert len(host.view["nodes"]) == 291
        assert len(server.shown("_epmdless._tcp", "TXT")) == 291


async def test_names_that_may_not_be_written_keep_no_other_one_out(autojump_clock: MockClock) -> None:
    def allow(server: FakeServer, message: dns.message.Message) -> bytes | None:
        is_forbidden = "_stock-" in message.to_text()
        return (fake_server.refuse("REFUSED") if is_forbidden else fake_server.ok)(server, message)

    async with world() as (nursery, server):
        server.then(allow)
        host = Host(nursery, server)
        host.register("shop-9000", 9000)
        for port in range(9001, 9031):
            host.register(f"stock-{port}", port)
        for port in range(9101, 9121):
            host.register(f"shop-{port}", port)
        await host.start(prepared())
        await trio.sleep(3 * LEASE)
        for _ in range(10):
            assert live_leases(host, server) == 21
            await trio.sleep(LEASE / 2)
        assert (host.view["state"], host.view["reason"]) == ("failing", "refused")
        host.register("shop-9131", 9131)
        await trio.sleep(LEASE / 3)
        assert live_leases(host, server) == 22


@pytest.mark.parametrize("code", ["SERVFAIL", "REFUSED"])
async def test_a_server_that_refuses_everything_is_not_told_every_node(
    autojump_clock: MockClock, code: str
) -> None:
    async with world() as (nursery, server):
        server.then(fake_server.refuse(code))
        host = Host(nursery, server)
        for port in range(9001, 9401):
            host.register(f"shop-{port}", port)
        await host.start(prepared())
        assert len(server.updates) == MAX_REFUSED


async def test_an_update_that_came_late_leaves_nothing_behind(autojump_clock: MockClock) -> None:
    """The connection is cut after the message was sent, the node leaves, and the zone has it all the same."""
    async with world() as (nursery, server):
        host = Host(nursery, server)
        await host.start(prepared())
        server.then(fake_server.cut_after, fake_server.ok)
        number = host.register("shop-9001", 9001)
        await settled()
        assert server.names == ALL_OF_SHOP
        host.leave(number)
        await trio.sleep(3)
        assert server.names == set()


async def test_a_restart_takes_out_what_the_life_before_left(autojump_clock: MockClock) -> None:
    async with world() as (nursery, server):
        first = Host(nursery, server)
        first.register("shop-9001", 9001)
        first.register("stock-9002", 9002)
        await first.start(prepared())
        first.crash()
        assert len(server.shown("_epmdless._tcp", "TXT")) == 2
        second = Host(nursery, server)
        second.register("stock-9002", 9002)
        await second.start(prepared(services=()))
        assert server.names == {"_stock-9002._tcp", "_epmdless._tcp", "b1"}
        assert len(server.shown("_epmdless._tcp", "TXT")) == 1
        assert second.log.events() == ["published"]


async def test_a_server_that_is_down_at_the_restart_loses_nothing_of_that(autojump_clock: MockClock) -> None:
    async with world() as (nursery, server):
        first = Host(nursery, server)
        first.register("shop-9001", 9001)
        await first.start(prepared())
        first.crash()
        server.is_up = False
        second = Host(nursery, server)
        await second.start(prepared())
        await trio.sleep(20)
        assert second.view["reason"] == "unreachable"
        server.is_up = True
        await trio.sleep(40)
        assert server.names == set()


async def test_what_a_dead_host_left_is_swept_when_its_lease_is_over(autojump_clock: MockClock) -> None:
    async with world() as (nursery, server):
        first = Host(nursery, server)
        first.register("shop-9001", 9001)
        await first.start(prepared())
        other = Host(nursery, server)
        other.register("stock-9002", 9002)
        await other.start(
            prepared(
                host="b2.nodes.internal", target="b2.nodes.internal", addresses=("10.0.1.24",), services=()
            )
        )
        first.crash()
        await trio.sleep(LEASE - 5)
        assert server.names == ALL_OF_SHOP | {"_stock-9002._tcp", "b2"}
        await trio.sleep(5 + SKEW + LEASE / 3 + 1)
        assert server.names == {"_stock-9002._tcp", "_epmdless._tcp", "b2"}
        assert server.shown("_epmdless._tcp", "SRV") == {"0 0 9002 b2.nodes.internal."}
        assert other.counts.value(metrics.PUBLISH_SWEPT) == 1
        assert other.log.fields("records of dead hosts removed")["nodes"] == 1


@pytest.mark.parametrize("skew", [-86_400.0, 80.0, 250.0, 86_400.0])
async def test_nobody_who_lives_is_swept_by_a_clock_that_is_wrong(
    autojump_clock: MockClock, skew: float
) -> None:
    async with world() as (nursery, server):
        right, wrong = Host(nursery, server), Host(nursery, server, skew=skew)
        right.register("shop-9001", 9001)
        wrong.register("stock-9002", 9002)
        await right.start(prepared())
        await wrong.start(
            prepared(host="b2.nodes.internal", target="b2.nodes.internal", addresses=("10.0.1.24",))
        )
        for _ in range(100):
            await trio.sleep(9)
            assert server.shown("_shop-9001._tcp", "SRV")
            assert server.shown("_stock-9002._tcp", "SRV")
        assert right.counts.value(metrics.PUBLISH_SWEPT) == wrong.counts.value(metrics.PUBLISH_SWEPT) == 0


async def test_a_node_that_lives_again_meanwhile_is_not_swept(autojump_clock: MockClock) -> None:
    """Between the look and the update, the host refreshes its lease: the zone is not what was looked at."""
    async with world() as (nursery, server):
        node = "shop-9001@b1.nodes.internal"
        server.put("_epmdless._tcp", "TXT", lease_of(node, 9001, BEGINNING - 5000))
        server.put("_epmdless._tcp", "SRV", SRV)
        refreshed = lease_of(node, 9001, BEGINNING + 80)

        def refresh_first(server: FakeServer, message: dns.message.Message) -> bytes:
            answer = fake_server.ok(server, message)
            server.put("_epmdless._tcp", "TXT", refreshed)
            return answer

        server.then(refresh_first, fake_server.ok)
        other = Host(nursery, server)
        await other.start(prepared(host="b2.nodes.internal", target="b2.nodes.internal", key=Clockwork()))
        assert len(server.updates) == 1
        assert server.shown("_epmdless._tcp", "SRV") == {SRV}
        assert other.view["state"] == "published"
        await trio.sleep(LEASE / 3 + 1)
        assert server.shown("_epmdless._tcp", "TXT") == {refreshed}
        assert server.shown("_epmdless._tcp", "SRV") == {SRV}


async def test_two_hosts_of_one_target_are_told_once_and_do_not_fight(autojump_clock: MockClock) -> None:
    async with world() as (nursery, server):
        first, second = Host(nursery, server), Host(nursery, server)
        first.register("shop-9001", 9001)
        await first.start(prepared())
        await trio.sleep(5)
        second.register("stock-9002", 9002)
        await second.start(prepared())
        await trio.sleep(LEASE)
        assert server.names == ALL_OF_SHOP | {"_stock-9002._tcp"}
        changes = len(server.updates)
        await trio.sleep(10 * LEASE)
        assert len(server.updates) - changes <= 62
        assert server.names == ALL_OF_SHOP | {"_stock-9002._tcp"}
        told = "another host publishes nodes under our target"
        for host, twin in ((first, "stock-9002"), (second, "shop-9001")):
            assert host.log.events("warning") == [told]
            assert host.view["twin"] == f"{twin}@b1.nodes.internal"
        second.crash()
        await trio.sleep(2 * LEASE)
        assert first.view["twin"] is None


async def test_withdrawing_takes_out_all_of_ours_alone(autojump_clock: MockClock) -> None:
    async with world() as (nursery, server):
        server.put(
            "_epmdless._tcp", "TXT", lease_of("a@b2", 9001, BEGINNING + 60, "target=b2.nodes.internal")
        )
        host = Host(nursery, server)
        host.register("shop-9001", 9001)
        await host.start(prepared())
        assert server.names == ALL_OF_SHOP
        await host.keeper.withdraw()
        assert server.names == {"_epmdless._tcp"}
        host.register("stock-9002", 9002)
        await trio.sleep(LEASE)
        assert server.names == {"_epmdless._tcp"}
        assert host.view["state"] == "withdrawing"


@pytest.mark.parametrize("is_hanging", [True, False])
async def test_withdrawing_is_bounded(autojump_clock: MockClock, is_hanging: bool) -> None:
    async with world() as (nursery, server):
        host = Host(nursery, server)
        host.register("shop-9001", 9001)
        await host.start(prepared(timeout=20.0))
        server.then(fake_server.hang if is_hanging else fake_server.refuse("REFUSED"))
        before = trio.current_time()
        await host.keeper.withdraw()
        assert trio.current_time() - before <= WITHDRAW_SECONDS
        assert host.log.events("warning") == ["not all is withdrawn"]


async def test_withdrawing_does_not_wait_for_an_update_under_way(autojump_clock: MockClock) -> None:
    async with world() as (nursery, server):
        host = Host(nursery, server)
        await host.start(prepared())
        server.then(fake_server.hang_after, fake_server.ok)
        host.register("shop-9001", 9001)
        await settled()
        assert server.names == ALL_OF_SHOP
        before = trio.current_time()
        await host.keeper.withdraw()
        assert trio.current_time() - before < 0.1
        assert server.names == set()


async def test_without_anything_published_there_is_nothing_to_withdraw(autojump_clock: MockClock) -> None:
    async with world() as (nursery, server):
        host = Host(nursery, server)
        await host.start(prepared())
        asked = len(server.messages)
        await host.keeper.withdraw()
        assert len(server.messages) == asked
        assert host.log.events("warning") == []


async def test_a_reload_moves_what_is_published(autojump_clock: MockClock) -> None:
    async with world() as (nursery, server):
        host = Host(nursery, server)
        host.register("shop-9001", 9001)
        await host.start(prepared())
        host.keeper.take_on(prepared(services=(), target="other.nodes.internal"))
        await settled()
        assert server.names == {"_shop-9001._tcp", "_epmdless._tcp", "other"}
        assert server.shown("_epmdless._tcp", "SRV") == {"0 0 9001 other.nodes.internal."}
        (text,) = server.shown("_epmdless._tcp", "TXT")
        assert '"target=other.nodes.internal"' in text
        host.keeper.take_on(None)
        await settled()
        assert server.names == set()
        assert host.keeper.view() is None
        assert list(host.counts.samples(metrics.PUBLISH_NODES)) == []


async def test_a_reload_to_another_zone_empties_the_old_one(autojump_clock: MockClock) -> None:
    async with world() as (nursery, server):
        host = Host(nursery, server)
        host.register("shop-9001", 9001)
        await host.start(prepared())
        server.then(fake_server.cut_before, fake_server.cut_before, fake_server.ok)
        host.keeper.take_on(prepared(zone="other.internal"))
        await trio.sleep(5)
        assert server.names == set()
        assert host.view["zone"] == "other.internal"
        assert host.view["state"] == "failing"  # the server has no such zone
        host.keeper.take_on(prepared())
        await settled()
        assert server.names == ALL_OF_SHOP
        assert host.view["state"] == "published"


async def test_a_reload_that_changes_nothing_writes_nothing(autojump_clock: MockClock) -> None:
    async with world() as (nursery, server):
        host = Host(nursery, server)
        host.register("shop-9001", 9001)
        await host.start(prepared())
        asked = len(server.messages)
        host.keeper.take_on(prepared())
        await settled()
        assert len(server.messages) == asked


async def test_a_fault_of_ours_ends_nothing(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world() as (nursery, server):
        host = Host(nursery, server)
        host.register("shop-9001", 9001)
        with monkeypatch.context() as patch:
            patch.setattr(Zone, "bring", lambda *_: 1 / 0)
            await host.start(prepared())
            assert (host.view["state"], host.view["detail"]) == ("failing", "internal error")
            assert host.counts.value(metrics.INTERNAL_ERRORS) == 1
            host.keeper.take_on(prepared(zone="other.internal"))
            await settled()
            await host.keeper.withdraw()
        assert "internal error" in host.log.events("error")


async def test_who_waits_is_shown_while_it_fails(autojump_clock: MockClock) -> None:
    async with world() as (nursery, server):
        host = Host(nursery, server)
        number = host.register("shop-9001", 9001)
        await host.start(prepared())
        server.then(fake_server.refuse("REFUSED"))
        host.leave(number)
        host.register("shop-9001", 9002)
        host.register("stock-9003", 9003)
        await trio.sleep(2)
        assert [(node["port"], node["published"]) for node in host.view["nodes"]] == [
            (9002, False),
            (9003, False),
        ]


async def test_what_is_left_out_is_shown_with_its_reason(autojump_clock: MockClock) -> None:
    async with world() as (nursery, server):
        host = Host(nursery, server)
        host.register("shop-9001", 9001)
        host.register("Shop-9001", 9002)
        host.register("rem-1a2b-shop", 40001)
        host.register("x" * 63, 9003)
        host.register("silent", 0)
        await host.start(prepared())
        reasons = {each["name"].partition("@")[0]: each["reason"] for each in host.view["left_out"]}
        assert reasons == {
            "Shop-9001": "same_name",
            "rem-1a2b-shop": "transient",
            "x" * 63: "name_too_long",
            "silent": "no_port",
        }
        assert [node["name"] for node in host.view["nodes"]] == ["shop-9001@b1.nodes.internal"]
        assert host.counts.value(metrics.PUBLISH_NODES, "left_out") == 4
        assert host.counts.value(metrics.PUBLISH_NODES, "published") == 1
        assert host.counts.value(metrics.PUBLISH_RECORDS) == 6


async def test_the_view_says_how_it_goes(autojump_clock: MockClock) -> None:
    async with world() as (nursery, server):
        host = Host(nursery, server)
        host.register("shop-9001", 9001)
        host.keeper.take_on(prepared())
        assert host.view["state"] == "starting"
        assert (host.view["age"], host.view["next"], host.view["failing_for"]) == (None, None, None)
        await host.start(prepared())
        await trio.sleep(10)
        view = host.view
        assert (view["zone"], view["servers"]) == ("nodes.internal", ["10.0.0.2:53"])
        assert (view["target"], view["records"], view["left_out"]) == ("b1.nodes.internal", 6, [])
        assert view["nodes"] == [
            {
                "name": "shop-9001@b1.nodes.internal",
                "port": 9001,
                "services": ["epmdless", "shop"],
                "published": True,
            }
        ]
        assert 9.5 <= view["age"] <= 10.5
        assert 19 <= view["next"] <= 21
