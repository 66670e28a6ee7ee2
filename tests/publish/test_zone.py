"""What dead hosts left in a zone, however much of it there is."""

from typing import Any

import trio
from trio.testing import MockClock

from epmdless.metrics import Metrics
from epmdless.publish.lease import Lease
from epmdless.publish.records import records_of
from epmdless.publish.zone import MAX_SWEPT, Zone
from epmdless.resolve.dns_records import RecordType
from epmdless.resolve.dns_update import MAX_MESSAGE
from tests.publish.fake_server import FakeServer
from tests.publish.keeping import BEGINNING, LEASE, ZONE, Clockwork, prepared, world


def clock() -> float:
    return BEGINNING + trio.current_time()


def of(server: FakeServer, key: Clockwork | None = None) -> Zone:
    """Signed updates, if only for show."""
    return Zone(prepared(key=key or Clockwork()), Metrics(), clock=clock, connect=server.connect)


def dead(number: int, *services: str, seconds: float = 5000) -> Lease:
    target = f"b9.{ZONE}"
    until = int(BEGINNING - seconds)
    return Lease(f"n{number:03}@{target}", 9000 + number, until, target, ("10.0.1.99",), services)


def leave(server: FakeServer, *leases: Lease) -> None:
    """Put the records of these into the zone."""
    for lease in leases:
        for record in records_of(lease, ZONE):
            server.put_record(record)


async def test_many_dead_are_swept_in_portions(autojump_clock: MockClock) -> None:
    async with world() as (_, server):
        leave(server, *(dead(number, "app") for number in range(2 * MAX_SWEPT + 5)))
        zone = of(server)
        await zone.look()
        swept = await zone.sweep({})
        zone.close()
        assert len(swept) == 2 * MAX_SWEPT + 5
        assert server.names == set()
        assert len(server.updates) == 3


async def test_one_that_fills_many_messages_goes_with_its_lease_last(autojump_clock: MockClock) -> None:
    """Each node in 40 services with long names: 2 KiB a lease, and 40 copies of it."""
    services = [f"s{number:02}" + "x" * 50 for number in range(40)]
    async with world() as (_, server):
        leave(server, *(dead(number, *services) for number in range(3)))
        zone = of(server)
        await zone.look()
        assert len(await zone.sweep({})) == 3
        zone.close()
        assert server.names == set()
        sizes = [len(message.to_wire(max_size=65535)) for message in server.updates]
        assert len(sizes) > 3
        assert max(sizes) < MAX_MESSAGE - 500


async def test_a_zone_that_is_nearly_too_full_is_swept(autojump_clock: MockClock) -> None:
    async with world() as (_, server):
        living = [Lease(f"m{n:03}@b8.{ZONE}", 9001, int(BEGINNING + 900), f"b8.{ZONE}") for n in range(880)]
        for lease in living:
            server.put_record(next(r for r in records_of(lease, ZONE) if r.rdtype is RecordType.TXT))
        leave(server, *(dead(number, "app") for number in range(8)))
        zone = of(server)
        await zone.look()
        assert len(await zone.sweep({})) == 8
        zone.close()
        assert len(server.shown("_epmdless._tcp", "TXT")) == 880
        assert server.shown("_app._tcp", "TXT") == set()


async def test_what_somebody_who_lives_shares_with_the_dead_stays(autojump_clock: MockClock) -> None:
    async with world() as (_, server):
        again = Lease("n001@other", 9001, int(BEGINNING + LEASE), f"b9.{ZONE}", ("10.0.1.99",))
        leave(server, dead(1, "app"), again)
        zone = of(server)
        await zone.look()
        assert await zone.sweep({}) == [f"n001@b9.{ZONE}"]
        zone.close()
        assert server.names == {"_n001._tcp", "_epmdless._tcp", "b9"}
        assert server.shown("_epmdless._tcp", "SRV") == {f"0 0 9001 b9.{ZONE}."}
        assert len(server.shown("_epmdless._tcp", "TXT")) == 1


async def test_strings_of_a_later_version_go_with_the_rest(autojump_clock: MockClock) -> None:
    async with world() as (_, server):
        for owner in ("_epmdless._tcp", "_app._tcp"):
            strings = f'"node=a@b9.{ZONE}" "colour=red" "until=5" "port=9001" "service=app"'
            server.put(owner, "TXT", strings)
            server.put(owner, "SRV", f"0 0 9001 b9.{ZONE}.")
        zone = of(server)
        await zone.look()
        assert await zone.sweep({}) == [f"a@b9.{ZONE}"]
        zone.close()
        assert server.names == set()


async def test_leases_are_counted_by_the_servers_clock(autojump_clock: MockClock) -> None:
    """Ours is behind: by it, the lease would count for an hour yet."""
    async with world() as (_, server):
        leave(server, dead(1, seconds=-3600))
        key = Clockwork()
        zone = of(server, key)
        await zone.look()
        assert await zone.sweep({}) == []
        key.ahead = 5000
        await zone.look()
        assert abs(zone.time() - clock() - 5000) <= 1
        assert await zone.sweep({}) == [f"n001@b9.{ZONE}"]
        zone.close()


async def test_what_is_no_lease_is_left_alone(autojump_clock: MockClock) -> None:
    async with world() as (_, server):
        texts = ['"v=spf1 -all"', '"node=a" "port=1" "until=1"', f'"node=a@{"h." * 120}h" "port=1" "until=1"']
        server.put("_epmdless._tcp", "TXT", *texts)
        leave(server, dead(1))
        zone = of(server)
        await zone.look()
        await zone.sweep({})
        zone.close()
        assert len(server.shown("_epmdless._tcp", "TXT")) >= 2


async def test_a_dead_lease_is_given_the_time_of_a_refresh(autojump_clock: MockClock) -> None:
    """It may be our clock that is wrong; a lease that was over long ago is nobody's."""
    async with world() as (_, server):
        leave(server, dead(1, seconds=10))
        zone = of(server)
        swept: list[Any] = []
        for _ in range(3):
            await zone.look()
            swept.append(await zone.sweep({}))
            await trio.sleep(LEASE / 4 + 1)
        zone.close()
        assert swept == [[], [], [f"n001@b9.{ZONE}"]]
