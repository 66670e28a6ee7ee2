"""One local node kept joined: who connects when, and that nothing storms whatever goes wrong."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from epmdless import metrics
from epmdless.cluster import joiner as joiners
from epmdless.cluster.attempts import BLIND_AFTER, GRACE, LONGEST_PAUSE, LONGEST_PAUSE_REFUSED, SPREAD
from epmdless.cluster.groups import connects_first
from epmdless.cluster.joiner import Joiner
from epmdless.cluster.local_node import LocalNode
from epmdless.cluster.trouble import NodeError
from epmdless.metrics import Metrics
from epmdless.wire.terms import Atom
from tests.cluster.joining import NODE, FakeGuide, Joined, Nodes, joining
from tests.support.relays import Lines

B, C = "b@b1", "c@b1"
TURN = 2 * SPREAD + GRACE
"""Seconds after which the turn of each of a pair has come, where there are few."""

WELL = TURN + 0.5
"""After which whatever can be connected is."""

MINUTES = 60.0


def first_of_pair(node: str, *, is_first: bool) -> str:
    """A name of a peer with which the node goes first, or second."""
    names = (f"p{number}@b1" for number in range(100))
    return next(name for name in names if connects_first(node, name) == is_first)


EARLY, LATE = first_of_pair(NODE, is_first=True), first_of_pair(NODE, is_first=False)


async def test_peers_are_joined(autojump_clock: MockClock) -> None:
    async with joining(B, C) as joined:
        await trio.sleep(WELL)
        assert joined.nodes.connected(NODE) == [B, C]
        assert joined.states == {B: "connected", C: "connected"}
        assert (joined.joiner.connected, joined.joiner.name, joined.joiner.is_linked) == (2, NODE, True)
        assert joined.counts.value(metrics.CLUSTER_JOINS, "connected") == 2
        await trio.sleep(10 * MINUTES)
        assert len(joined.nodes.attempts) == 2


@pytest.mark.parametrize(("count", "seconds"), [(2, 1.5), (30, 3)])
async def test_each_pair_of_a_mesh_is_connected_once_by_whose_turn_it_is(
    autojump_clock: MockClock, count: int, seconds: float
) -> None:
    names = [f"app@10.0.0.{number}" for number in range(count)]
    guide, chance = FakeGuide(Nodes(*names), names), random.Random(5)
    async with trio.open_nursery() as nursery:
        for name in names:
            joiner = Joiner(LocalNode(name), guide, Metrics(), Lines, trio.current_time, chance.random)
            nursery.start_soon(joiner.run)
        await trio.sleep(seconds)
        pairs = count * (count - 1) // 2
        assert len(guide.nodes.pairs) == pairs
        await trio.sleep(20)
        assert pairs <= len(guide.nodes.attempts) <= 1.05 * pairs
        by_turn = [connects_first(attempt.node, attempt.peer) for attempt in guide.nodes.attempts]
        assert by_turn.count(True) >= pairs
        nursery.cancel_scope.cancel()


async def test_the_second_of_a_pair_waits_and_then_does_it(autojump_clock: MockClock) -> None:
    """The first may have no epmdless."""
    async with joining(EARLY, LATE) as joined:
        await trio.sleep(WELL)
        (early,), (late,) = map(joined.nodes.told_of, (EARLY, LATE))
        assert early <= SPREAD + 0.1
        assert late >= SPREAD + GRACE


async def test_who_was_connected_by_others_is_not_tried(autojump_clock: MockClock) -> None:
    async with joining(LATE, C) as joined:
        joined.nodes.connect(NODE, C)
        await trio.sleep(SPREAD)
        joined.nodes.connect(NODE, LATE)
        await trio.sleep(WELL)
        assert joined.joiner.connected == 2
        assert joined.nodes.attempts == []


async def test_the_node_itself_under_another_name_is_not_tried(autojump_clock: MockClock) -> None:
    """``app@10.0.0.1`` where the node is ``app@b1.internal``: it would look for a way to itself."""
    async with joining(B, C, up=[B, C]) as joined:
        joined.guide.here = {B: joined.joiner.local.port, C: joined.joiner.local.port + 1}
        await trio.sleep(600)
        assert joined.nodes.told_of(B) == []
        assert joined.states == {B: "failing", C: "connected"}
        (peer,) = (peer for peer in joined.joiner.peers if peer.name == B)
        assert peer.error is not None
        assert (peer.error.reason, peer.error.detail) == ("other_name", f"it is {NODE} itself")


async def test_hidden_peers_are_connected_as_such(autojump_clock: MockClock) -> None:
    async with joining(B, C) as joined:
        joined.guide.hidden = {C}
        await trio.sleep(WELL)
        assert {attempt.peer: attempt.hidden for attempt in joined.nodes.attempts} == {B: False, C: True}


async def test_a_peer_that_appears_is_joined_and_one_that_leaves_is_left_alone(
    autojump_clock: MockClock,
) -> None:
    async with joining(B, up=[B, C]) as joined:
        await trio.sleep(WELL)
        joined.want(C)
        await trio.sleep(WELL)
        assert joined.states == {C: "connected"}
        assert joined.nodes.connected(NODE) == [B, C]
        assert joined.nodes.disconnects == []
        joined.want(B, C)
        await trio.sleep(WELL)
        assert joined.states == {B: "connected", C: "connected"}
        assert len(joined.nodes.attempts) == 2


async def test_a_peer_that_flaps_is_no_reason_for_more_attempts_than_flaps(autojump_clock: MockClock) -> None:
    async with joining(B, C, up=[B]) as joined:
        joined.guide.unseen[C] = NodeError("not_registered"), 0
        await trio.sleep(WELL)
        for _ in range(100):
            joined.want(B)
            await trio.sleep(1)
            joined.want(B, C)
            await trio.sleep(1)
        assert joined.nodes.told_of(B) == joined.nodes.told_of(B)[:1]
        assert joined.nodes.told_of(C) == []


async def test_a_peer_that_flaps_while_it_hangs_has_one_attempt_at_a_time(autojump_clock: MockClock) -> None:
    names = [f"p{number}@b1" for number in range(30)]
    async with joining(*names) as joined:
        joined.nodes.hanging.update(names)
        for number in range(60):
            joined.want()
            await trio.sleep(0.5)
            joined.guide.hidden = set(names) if number % 2 else set()
            joined.want(*names)
            await trio.sleep(1)
        starts = sorted(attempt.at for attempt in joined.nodes.attempts)
        most = max(sum(start <= other < start + 7 for other in starts) for start in starts)
        assert most <= joiners.CONNECTS_AT_ONCE
        assert Counter(joined.states.values())["connecting"] <= joiners.CONNECTS_AT_ONCE


async def test_a_peer_that_is_lost_is_joined_again(autojump_clock: MockClock) -> None:
    async with joining(B, C) as joined:
        await trio.sleep(WELL)
        joined.nodes.part(NODE, B)
        await trio.sleep(joiners.WATCH_SECONDS + WELL)
        assert joined.joiner.connected == 2
        assert len(joined.nodes.told_of(B)) == 2


async def test_the_longer_the_list_of_peers_the_rarer_the_looks(autojump_clock: MockClock) -> None:
    async with joining() as joined:
        for number in range(20_000):
            joined.nodes.connect(NODE, f"n{number}@b1")
        await trio.sleep(WELL)
        before = joined.nodes.looks
        await trio.sleep(100)
        assert joined.nodes.looks - before <= 10


async def test_a_peer_that_restarts_is_joined_when_it_is_back(autojump_clock: MockClock) -> None:
    async with joining(B) as joined:
        await trio.sleep(WELL)
        joined.nodes.goes_down(B)
        await trio.sleep(5 * MINUTES)
        assert joined.states == {B: "failing"}
        assert joined.peer(B).error is not None
        in_the_dark = joined.nodes.told_of(B)[1:]
        assert len(in_the_dark) in (3, 4), "one after half a minute, then after one, two and four minutes"
        assert in_the_dark[0] >= BLIND_AFTER
        joined.nodes.up.add(B)
        await trio.sleep(61)
        assert joined.states == {B: "connected"}


async def test_all_that_are_lost_at_once_come_back_spread(autojump_clock: MockClock) -> None:
    names = [f"p{number}@b1" for number in range(200)]
    async with joining(*names, rng=random.Random(7).random) as joined:
        await trio.sleep(30)
        assert joined.joiner.connected == 200
        joined.nodes.pairs.clear()
        joined.nodes.attempts.clear()
        started = trio.current_time()
        await trio.sleep(30)
        assert joined.joiner.connected == 200
        times = sorted(attempt.at - started for attempt in joined.nodes.attempts)
        assert times[50] > 0.5
        assert times[-1] > 4


async def test_refused_attempts_become_rare_and_are_told_once(autojump_clock: MockClock) -> None:
    async with joining(B) as joined:
        joined.nodes.refusing.add(B)
        await trio.sleep(3600)
        times = joined.nodes.told_of(B)
        pauses = [later - earlier for earlier, later in pairwise(times)]
        assert pauses[0] < 2
        assert pauses == pytest.approx(sorted(pauses))
        assert pauses[-1] >= LONGEST_PAUSE_REFUSED * 0.75
        assert len(times) < 30
        assert joined.counts.value(metrics.CLUSTER_JOINS, "refused") == len(times)
        assert len(joined.events("not joined")) == 1
        joined.guide.reason = NodeError("port_unreachable", "10.0.0.7 port 9001: No route to host")
        await trio.sleep(600)
        assert [line["reason"] for line in joined.lines if line["event"] == "not joined"] == [
            "refused",
            "port_unreachable",
        ]
        error = joined.peer(B).error
        assert error is not None
        assert str(error) == str(joined.guide.reason)
        before = len(joined.nodes.attempts)
        await trio.sleep(3600)
        assert 50 <= len(joined.nodes.attempts) - before <= 3600 / (LONGEST_PAUSE / 2) + 1


async def test_a_refusal_that_ends_is_forgotten(autojump_clock: MockClock) -> None:
    async with joining(B) as joined:
        joined.nodes.refusing.add(B)
        await trio.sleep(60)
        joined.nodes.refusing.clear()
        await trio.sleep(LONGEST_PAUSE_REFUSED)
        assert joined.states == {B: "connected"}
        assert joined.peer(B).error is None
        assert len(joined.events("joined")) == 1


class TestTheNode:
    """Our connection to the node itself."""

    async def test_a_refused_cookie_is_tried_ever_more_rarely_and_told_once(
        self, autojump_clock: MockClock
    ) -> None:
        async with joining(B) as joined:
            joined.guide.problem = NodeError("cookie")
            await trio.sleep(24 * 3600)
            pauses = [later - earlier for earlier, later in pairwise(joined.guide.opens)]
            assert pauses[0] < 1
            assert pauses == pytest.approx(sorted(pauses))
            assert pauses[-1] >= joiners.LONGEST_PAUSE_REFUSED / 2
            assert len(joined.guide.opens) < 24 * 3600 / (joiners.LONGEST_PAUSE_REFUSED / 2) + 20
            (line,) = joined.lines
            assert (line["level"], line["reason"]) == ("warning", "cookie")
            assert joined.joiner.view()["state"] == "failing"
            assert joined.joiner.view()["reason"] == "cookie"

    async def test_a_new_configuration_is_tried_at_once(self, autojump_clock: MockClock) -> None:
        async with joining(B) as joined:
            joined.guide.problem = NodeError("cookie")
            await trio.sleep(3600)
            joined.guide.problem = None
            joined.joiner.try_again()
            await trio.sleep(WELL)
            assert joined.joiner.connected == 1

    async def test_a_node_that_is_down_is_found_soon_after_it_is_up(self, autojump_clock: MockClock) -> None:
        async with joining(B, up=[B]) as joined:
            joined.nodes.up.discard(NODE)
            await trio.sleep(3600)
            assert len(joined.guide.opens) < 3600 / (joiners.LONGEST_PAUSE / 2) + 20
            joined.nodes.up.add(NODE)
            await trio.sleep(joiners.LONGEST_PAUSE + WELL)
            assert joined.joiner.connected == 1

    async def test_a_node_that_ends_each_connection_is_not_connected_to_ever_again(
        self, autojump_clock: MockClock
    ) -> None:
        async with joining(B) as joined:

            async def end() -> None:
                while True:
                    await trio.sleep(0.05)
                    joined.nodes.goes_down(NODE)
                    joined.nodes.up.add(NODE)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(end)
                await trio.sleep(600)
                nursery.cancel_scope.cancel()
            assert 20 < len(joined.guide.opens) < 600 / (joiners.LONGEST_PAUSE / 2) + 20
            assert len(joined.lines) < 3 * len(joined.guide.opens)
            await trio.sleep(joiners.LONGEST_PAUSE + WELL)
            assert joined.joiner.connected == 1

    async def test_a_good_connection_that_breaks_is_made_again_at_once(
        self, autojump_clock: MockClock
    ) -> None:
        async with joining(B) as joined:
            for number in range(1, 4):
                await trio.sleep(60)
                assert len(joined.guide.opens) == number
                joined.nodes.goes_down(NODE)
                joined.nodes.up.add(NODE)
                await wait_all_tasks_blocked(0.001)
                assert (joined.joiner.is_linked, joined.joiner.connected) == (False, 0)
                assert joined.joiner.view()["since"] is None
                await trio.sleep(1)
                assert joined.joiner.is_linked

    async def test_a_node_that_dies_while_it_joins(self, autojump_clock: MockClock) -> None:
        async with joining(B, C) as joined:
            joined.nodes.hanging |= {B, C}
            await trio.sleep(1)
            assert joined.states == {B: "connecting", C: "connecting"}
            joined.nodes.goes_down(NODE)
            await trio.sleep(0.1)
            assert joined.joiner.is_linked is False
            assert joined.states == {B: "waiting", C: "waiting"}
            joined.nodes.hanging.clear()
            joined.nodes.up.add(NODE)
            await trio.sleep(3)
            assert joined.states == {B: "connected", C: "connected"}
            assert not joined.events("internal error")

    @pytest.mark.parametrize("said", [Atom("nonode"), 7, (Atom("badrpc"), Atom("nodedown"))])
    async def test_an_answer_that_is_no_list_ends_the_connection(
        self, autojump_clock: MockClock, said: Atom | int | tuple[Atom, Atom]
    ) -> None:
        async with joining(B) as joined:
            await trio.sleep(20)
            joined.guide.links[0].instead = said
            await trio.sleep(joiners.WATCH_SECONDS + 0.1)
            assert joined.counts.value(metrics.CLUSTER_NODE_LINKS, "protocol") == 1
            await trio.sleep(5)
            assert len(joined.guide.links) == 2
            assert joined.joiner.connected == 1

    async def test_what_the_node_is_connected_to_may_be_anything(self, autojump_clock: MockClock) -> None:
        async with joining(B) as joined:
            await trio.sleep(WELL)
            joined.guide.links[0].instead = [7, b"x", (), Atom(B), Atom("\x00"), []]
            await trio.sleep(5)
            assert joined.joiner.connected == 1

    async def test_a_node_that_is_left_out_is_let_go_and_not_asked_again(
        self, autojump_clock: MockClock
    ) -> None:
        async with joining(B) as joined:
            await trio.sleep(60)
            joined.guide.is_left_out = True
            joined.want(B)
            await trio.sleep(3600)
            assert (joined.joiner.is_linked, joined.joiner.is_left_out, joined.states) == (False, True, {})
            assert len(joined.guide.opens) == 1
            assert joined.nodes.connected(NODE) == [B], "its connections are its own"
            joined.guide.is_left_out = False
            joined.joiner.try_again()
            await trio.sleep(WELL)
            assert (joined.joiner.is_linked, joined.joiner.is_left_out) == (True, False)
            assert joined.joiner.connected == 1

    async def test_a_hidden_node_is_left_alone_and_asked_once(self, autojump_clock: MockClock) -> None:
        async with joining(B, is_hidden=True) as joined:
            await trio.sleep(24 * 3600)
            assert (joined.nodes.attempts, len(joined.guide.opens)) == ([], 1)
            assert joined.guide.links[0].is_closed
            assert joined.joiner.is_left_out
            assert joined.joiner.view()["detail"] == "it is hidden (erl -hidden)"
            assert [line["reason"] for line in joined.lines if "reason" in line] == ["left_out"]

    async def test_a_hidden_node_that_the_configuration_names_is_joined(
        self, autojump_clock: MockClock
    ) -> None:
        nodes = Nodes(NODE, B)
        nodes.hidden.add(NODE)
        async with trio.open_nursery() as nursery:
            joiner = Joiner(LocalNode(NODE), FakeGuide(nodes, [B]), Metrics(), Lines, trio.current_time)
            nursery.start_soon(joiner.run)
            await trio.sleep(WELL)
            assert joiner.connected == 1
            nursery.cancel_scope.cancel()

    async def test_a_cancellation_at_the_moment_of_its_end_is_one(self, autojump_clock: MockClock) -> None:
        """A group with both in it would end the whole process."""
        nodes = Nodes(NODE, B)
        guide = FakeGuide(nodes, [B])
        async with trio.open_nursery() as nursery:
            joiner = Joiner(LocalNode("a", 9001), guide, Metrics(), Lines, trio.current_time)
            nursery.start_soon(joiner.run)
            await trio.sleep(5)
            nodes.goes_down(NODE)
            nursery.cancel_scope.cancel()
        assert nursery.cancel_scope.cancelled_caught
        assert guide.links[0].is_closed


class TestManyPeers:
    """No crowd keeps a single one waiting, and no look costs more than it may."""

    async def test_dead_hosts_do_not_hold_up_a_new_peer(self, autojump_clock: MockClock) -> None:
        dead = [f"d{number}@b1" for number in range(500)]
        async with joining(*dead, up=[B]) as joined:
            joined.guide.unseen = dict.fromkeys(dead, (NodeError("epmd_unreachable"), 3.0))
            await trio.sleep(10 * MINUTES)
            before = trio.current_time()
            joined.want(*dead, B)
            await trio.sleep(5)
            (at,) = joined.nodes.told_of(B)
            assert at - before < 5

    async def test_connections_that_hang_do_not_hold_up_others(self, autojump_clock: MockClock) -> None:
        stuck = [f"d{number}@b1" for number in range(100)]
        async with joining(*stuck, up=[B, *stuck]) as joined:
            joined.nodes.hanging.update(stuck)
            await trio.sleep(5 * MINUTES)
            before = trio.current_time()
            joined.want(*stuck, B)
            await trio.sleep(10)
            assert joined.nodes.told_of(B)[0] - before < 5

    async def test_what_was_restarted_goes_before_what_has_been_gone_for_long(
        self, autojump_clock: MockClock
    ) -> None:
        dead = [f"d{number}@b1" for number in range(300)]
        async with joining(*dead, B, up=[B]) as joined:
            joined.guide.unseen = dict.fromkeys(dead, (NodeError("epmd_unreachable"), 3.0))
            await trio.sleep(20 * MINUTES)
            assert joined.states[B] == "connected"
            joined.nodes.goes_down(B)
            await trio.sleep(5)
            joined.nodes.up.add(B)
            await trio.sleep(20)
            assert joined.states[B] == "connected"

    async def test_no_more_than_so_many_connect_at_the_same_time(self, autojump_clock: MockClock) -> None:
        names = [f"p{number}@b1" for number in range(50)]
        async with joining(*names, rng=lambda: 0.0) as joined:
            joined.nodes.hanging.update(names)
            for _ in range(100):
                await trio.sleep(0.1)
                states = Counter(joined.states.values())
                assert states["connecting"] <= joiners.CONNECTS_AT_ONCE
            assert states["connecting"] > joiners.CONNECTS_AT_ONCE // 2

    async def test_a_thousand_peers_are_not_looked_at_a_thousand_times(
        self, autojump_clock: MockClock
    ) -> None:
        names = [f"p{number}@b1" for number in range(1000)]
        async with joining(*names, rng=random.Random(3).random) as joined:
            await trio.sleep(60)
            assert joined.joiner.connected == 1000
            assert joined.nodes.looks < 500
            before = joined.nodes.looks
            await trio.sleep(100)
            assert joined.nodes.looks - before <= 101

    async def test_a_node_is_told_only_so_many_names_in_its_life(
        self, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(joiners, "MAX_NAMES_TOLD", 3)
        names = [f"p{number}@b1" for number in range(5)]
        async with joining(*names) as joined:
            await trio.sleep(60)
            assert joined.joiner.connected == 3
            reasons = {peer.error.reason for peer in joined.joiner.peers if peer.error is not None}
            assert reasons == {"too_many"}
            for name in names:
                joined.nodes.part(NODE, name)
            await trio.sleep(300)
            assert joined.joiner.connected == 3, "those it knows already"
            assert len({attempt.peer for attempt in joined.nodes.attempts}) == 3


class TestOldLists:
    """Peers whom only sources name that have not known for too long."""

    async def test_they_are_neither_tried_nor_left_out(self, autojump_clock: MockClock) -> None:
        async with joining(B, C) as joined:
            joined.guide.names[C] = False
            joined.nodes.connect(NODE, C)
            await trio.sleep(WELL)
            assert joined.joiner.connected == 2
            joined.guide.names[B] = False
            joined.guide.changes += 1
            joined.nodes.part(NODE, B)
            await trio.sleep(600)
            assert joined.states == {B: "waiting", C: "connected"}
            assert len(joined.nodes.attempts) == 1

    async def test_when_their_sources_know_again_they_come_spread(self, autojump_clock: MockClock) -> None:
        names = [f"p{number}@b1" for number in range(100)]
        async with joining(*names, rng=random.Random(2).random) as joined:
            joined.guide.names = dict.fromkeys(names, False)
            await trio.sleep(600)
            assert joined.nodes.attempts == []
            started = trio.current_time()
            joined.want(*names)
            await trio.sleep(30)
            assert joined.joiner.connected == 100
            times = sorted(attempt.at - started for attempt in joined.nodes.attempts)
            assert times[50] > 0.5
            assert times[-1] > 2


class TestGone:
    """Peers that every source has stopped naming, where that is a reason to disconnect them."""

    async def dropped(self, joined: Joined) -> list[str]:
        await trio.sleep(5)
        return [attempt.peer for attempt in joined.nodes.disconnects]

    async def test_they_are_disconnected_once_a_departure(self, autojump_clock: MockClock) -> None:
        async with joining(B, C) as joined:
            await trio.sleep(WELL)
            joined.want(B)
            assert await self.dropped(joined) == []
            joined.guide.gone[C] = 100.0
            assert await self.dropped(joined) == [C]
            assert joined.nodes.connected(NODE) == [B]
            assert joined.counts.value(metrics.CLUSTER_DISCONNECTS) == 1
            joined.nodes.connect(NODE, C)
            assert await self.dropped(joined) == [C], "it came back by another's will"
            joined.guide.gone[C] = 200.0
            assert await self.dropped(joined) == [C, C], "it was named in between"

    async def test_a_node_that_is_gone_itself_goes_by_itself(self, autojump_clock: MockClock) -> None:
        """Its peers come to drop it too, at another moment; it must not connect to them again meanwhile."""
        async with joining(B, C, up=[B, C]) as joined:
            joined.nodes.connect(NODE, "by-hand@b1")
            await trio.sleep(WELL)
            joined.guide.gone[NODE] = 100.0
            assert sorted(await self.dropped(joined)) == [B, C]
            assert joined.nodes.connected(NODE) == ["by-hand@b1"]
            await trio.sleep(10 * MINUTES)
            assert len(joined.nodes.attempts) == 2
            assert len(joined.nodes.disconnects) == 2
            del joined.guide.gone[NODE]
            await trio.sleep(5)
            assert joined.joiner.connected == 2

    async def test_who_is_not_connected_is_not_disconnected(self, autojump_clock: MockClock) -> None:
        async with joining(B, up=[B]) as joined:
            await trio.sleep(WELL)
            joined.guide.gone["x@b1"] = 1.0
            assert await self.dropped(joined) == []

    async def test_what_was_dropped_is_remembered_within_bounds(
        self, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(joiners, "MAX_NAMES_TOLD", 3)
        async with joining(B) as joined:
            await trio.sleep(WELL)
            for number in range(20):
                name = f"x{number}@b1"
                joined.nodes.connect(NODE, name)
                joined.guide.gone[name] = 1.0
                await trio.sleep(joiners.WATCH_SECONDS + 0.5)
                assert len(joined.joiner._dropped) <= 3
            assert len(joined.nodes.disconnects) == 20
