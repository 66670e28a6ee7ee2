"""Ready connections: kept, used, refilled, replaced; and what becomes of those that end."""

import gc
import ssl

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from epmdless import metrics
from epmdless.hop.gateway import FIRST_BACK_OFF, REFILL_PAUSE, YOUNG
from epmdless.hop.race import Tunnel
from epmdless.hop.tickets import LOOK_SECONDS, MOST_LOOKS
from tests.hop.scripted import (
    World,
    hangs_up_at_once,
    hop_to_scripted,
    opens,
    scripted,
    speaks_first,
    until,
)
from tests.support.hops import HOP, Certified

HOST = "b1.test"


async def echoes(tunnel: Tunnel) -> bool:
    """Whether a tunnel leads to an echo."""
    await tunnel.connection.send(b"hello")
    return await tunnel.connection.recv(100) == b"hello"


def end(tunnel: Tunnel) -> None:
    tunnel.connection.close()
    tunnel.release()


async def filled(world: World, count: int) -> None:
    await until(lambda: [gateway.ready for gateway in world.near] == [count] * len(world.near), "a pool")


@pytest.mark.parametrize("ready", [0, 1, 4, 32])
async def test_as_many_as_configured_are_kept_to_each_gateway(
    mock_clock: MockClock, certified: Certified, ready: int
) -> None:
    first, second = scripted(certified), scripted(certified)
    async with hop_to_scripted(first, second, certified=certified, ready=ready) as world:
        await filled(world, ready)
        assert (first.accepted, second.accepted) == (ready, ready)
        for gateway in world.near:
            assert world.counts.value(metrics.HOP_READY, HOP, str(gateway.where)) == ready
        assert world.hop.descriptors == 2 * ready


async def test_a_tunnel_costs_no_handshake_and_the_pool_is_refilled(
    mock_clock: MockClock, certified: Certified
) -> None:
    gateway = scripted(certified)
    async with hop_to_scripted(gateway, certified=certified, ready=2) as world:
        await filled(world, 2)
        assert gateway.handshakes == 2
        gateway.context = None  # no new connection comes to its end from here on
        tunnel = await world.hop.tunnel(HOST, 9001)
        assert await echoes(tunnel)
        assert (gateway.asked, gateway.handshakes) == ([f"{HOST}:9001"], 2)
        assert world.counts.value(metrics.HOP_TUNNELS, HOP, str(gateway.where)) == 1
        end(tunnel)


async def test_what_was_taken_is_refilled(mock_clock: MockClock, certified: Certified) -> None:
    gateway = scripted(certified)
    async with hop_to_scripted(gateway, certified=certified, ready=3) as world:
        await filled(world, 3)
        tunnels = [await world.hop.tunnel(HOST, 9001) for _ in range(3)]
        await filled(world, 3)
        assert gateway.accepted == 6
        for tunnel in tunnels:
            end(tunnel)


async def test_old_ones_are_replaced_before_they_are_too_old(
    mock_clock: MockClock, certified: Certified
) -> None:
    gateway = scripted(certified)
    async with hop_to_scripted(gateway, certified=certified, ready=4, ready_for=100) as world:
        await filled(world, 4)
        mock_clock.jump(79)
        await wait_all_tasks_blocked()
        assert gateway.accepted == 4
        mock_clock.jump(21)
        await until(lambda: gateway.accepted == 8, "new ones")
        await filled(world, 4)
        await until(lambda: len(gateway.open) == 4, "the end of the old ones")
        assert world.events() == []


async def test_ends_are_noticed_and_made_good(mock_clock: MockClock, certified: Certified) -> None:
    gateway = scripted(certified)
    async with hop_to_scripted(gateway, certified=certified, ready=4) as world:
        await filled(world, 4)
        mock_clock.jump(YOUNG)
        for connection in gateway.open[:2]:
            connection.close()
        await until(lambda: gateway.accepted == 6, "new ones")
        await filled(world, 4)
        assert world.events() == []
        tunnel = await world.hop.tunnel(HOST, 9001)
        assert await echoes(tunnel)
        end(tunnel)


@pytest.mark.parametrize("secure", [True, False])
@pytest.mark.parametrize(
    ("does", "word"),
    [(hangs_up_at_once, "just made|end of TLS|middle of TLS"), (speaks_first, "speaks first")],
)
async def test_one_that_ends_connections_at_once_is_not_dialled_without_pause(
    mock_clock: MockClock, certified: Certified, secure: bool, does: object, word: str
) -> None:
    gateway = scripted(certified if secure else None)
    gateway.does = does  # type: ignore[assignment]
    async with hop_to_scripted(gateway, certified=certified if secure else None, ready=2) as world:
        await until(lambda: world.near[0].problem, "a problem")
        await wait_all_tasks_blocked(0.05)
        assert gateway.accepted <= 2
        assert any(each in world.near[0].problem for each in word.split("|"))
        for _ in range(20):
            mock_clock.jump(FIRST_BACK_OFF)
            await wait_all_tasks_blocked()
        assert gateway.accepted <= 8, "the pauses grow"
        assert world.events() == ["gateway set aside"]
        gateway.does = opens
        mock_clock.jump(60)
        await filled(world, 2)
        assert world.events() == ["gateway set aside", "gateway back"]


async def test_a_link_that_finds_it_well_has_the_pool_filled(
    mock_clock: MockClock, certified: Certified
) -> None:
    """However long it was set aside for."""
    gateway = scripted(certified)
    async with hop_to_scripted(gateway, certified=certified, ready=2) as world:
        await filled(world, 2)
        (near,) = world.near
        gateway.greets = hangs_up_at_once
        near._failures = 16
        mock_clock.jump(YOUNG)
        for connection in list(gateway.open):
            connection.close()
        await until(lambda: near.away_until > trio.current_time() + FIRST_BACK_OFF, "a long pause")
        mock_clock.jump(REFILL_PAUSE)
        await wait_all_tasks_blocked()
        gateway.greets = None
        until_then = near.away_until
        tunnel = await world.hop.tunnel(HOST, 9001)
        await filled(world, 2)
        assert trio.current_time() < until_then
        end(tunnel)


async def test_later_handshakes_resume(mock_clock: MockClock, certified: Certified) -> None:
    gateway = scripted(certified)
    async with hop_to_scripted(gateway, certified=certified, ready=0) as world:
        for count in range(3):
            end(await world.hop.tunnel(HOST, 9001))
            assert (gateway.handshakes, gateway.resumed) == (count + 1, count)


async def test_the_pool_itself_resumes(mock_clock: MockClock, certified: Certified) -> None:
    gateway = scripted(certified)
    async with hop_to_scripted(gateway, certified=certified, ready=4, ready_for=100) as world:
        await filled(world, 4)
        await until(lambda: gateway.handshakes == 4)
        mock_clock.jump(100)
        await until(lambda: gateway.handshakes == 8)
        assert gateway.resumed >= 4


async def test_a_gateway_that_knows_its_old_tickets_no_more_gives_new_ones(
    mock_clock: MockClock, certified: Certified
) -> None:
    gateway = scripted(certified)
    async with hop_to_scripted(gateway, certified=certified, ready=0) as world:
        end(await world.hop.tunnel(HOST, 9001))
        gateway.context = scripted(certified).context
        end(await world.hop.tunnel(HOST, 9001))
        assert gateway.resumed == 0
        end(await world.hop.tunnel(HOST, 9001))
        assert gateway.resumed == 1


async def test_looks_at_tickets_are_few_where_there_are_none(
    mock_clock: MockClock, certified: Certified, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0

    def look(tls: ssl.SSLObject) -> None:
        nonlocal looks
        looks += 1

    monkeypatch.setattr(ssl.SSLObject, "session", property(look))
    gateway = scripted(certified)
    async with hop_to_scripted(gateway, certified=certified, ready=0) as world:
        for _ in range(2 * MOST_LOOKS):
            end(await world.hop.tunnel(HOST, 9001))
        assert looks == MOST_LOOKS
        mock_clock.jump(LOOK_SECONDS + 1)
        for _ in range(2):
            end(await world.hop.tunnel(HOST, 9001))
        assert looks == MOST_LOOKS + 1


async def test_a_ticket_is_of_its_own_certificates(mock_clock: MockClock, certified: Certified) -> None:
    gateway = scripted(certified)
    async with hop_to_scripted(gateway, certified=certified, ready=0) as world:
        end(await world.hop.tunnel(HOST, 9001))
        certificates = world.hop.standing.certificates
        assert certificates is not None
        world.hop.take_on(world.hop.standing._replace(certificates=certificates.reload()), world.lines)
        end(await world.hop.tunnel(HOST, 9001))
        assert (gateway.handshakes, gateway.resumed) == (2, 0)


async def test_an_asker_who_leaves_takes_no_connection_along(
    mock_clock: MockClock, certified: Certified
) -> None:
    """Whenever it leaves: a connection that is neither used nor closed would be a warning of the collector,
    which is an error here."""
    gateway = scripted(certified)
    async with hop_to_scripted(gateway, certified=certified, ready=4) as world:
        await filled(world, 4)
        for turns in range(40):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_ask_and_end, world)
                for _ in range(turns):
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
            assert world.near[0].tunnels == 0
        assert gateway.asked, "the last ones got through"
        await filled(world, 4)
        await until(lambda: len(gateway.open) == 4, "the end of all others")
    gc.collect()


async def _ask_and_end(world: World) -> None:
    end(await world.hop.tunnel(HOST, 9001))
