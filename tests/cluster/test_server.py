"""The whole cluster: sources, local nodes, reloads, groups, and what there is to see and to measure of it."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from epmdless import metrics
from epmdless.cluster.server import LOCAL_LOOK_SECONDS
from epmdless.cluster.trouble import REASONS
from epmdless.metrics import TABLE, Kind, Metric
from epmdless.wire.handshake import Status, StatusKind
from tests.cluster.clusters import HOST, World
from tests.cluster.scripted_node import COOKIE

A, B, C = (f"{alive}@{HOST}" for alive in "abc")
WELL = 1.5
"""Seconds after which what can be joined is."""


async def test_without_a_configuration_there_is_nothing(autojump_clock: MockClock, world: World) -> None:
    world.start("a")
    await trio.sleep(10)
    assert (world.cluster.is_on, world.is_ready(), world.cluster.view()) == (False, True, None)
    assert (world.cluster.opens, world.cluster.descriptors) == (0, 0)


async def test_a_local_node_is_joined_with_whom_the_sources_name(
    autojump_clock: MockClock, world: World
) -> None:
    node = world.start("a")
    world.take_on("", "dns", "file")
    await trio.sleep(WELL)
    assert node.connects == {}
    world.sources["dns"].knows(A, B)
    await trio.sleep(WELL)
    world.sources["file"].knows(B, C)
    await trio.sleep(WELL)
    assert node.connects == {B: 1, C: 1}
    assert world.cluster.local_names() == [A]
    assert world.cluster.descriptors == 1
    peers = world.peers(A)
    assert {name: peer.sources for name, peer in peers.items()} == {B: ("dns", "file"), C: ("file",)}


async def test_local_nodes_come_and_go(autojump_clock: MockClock, world: World) -> None:
    world.take_on("", "dns")
    world.sources["dns"].knows(A, B, C)
    nodes = [world.start(alive) for alive in "ab"]
    await trio.sleep(LOCAL_LOOK_SECONDS + WELL)
    assert [node.connects for node in nodes] == [{B: 1, C: 1}, {A: 1, C: 1}]
    world.unregister("a")
    await trio.sleep(LOCAL_LOOK_SECONDS + 0.1)
    assert (nodes[0].links, len(nodes[1].links)) == ([], 1)
    assert world.cluster.local_names() == [B]
    assert world.cluster.descriptors == 1
    world.register("a")
    await trio.sleep(LOCAL_LOOK_SECONDS + 0.1)
    assert [visit.name for visit in nodes[0].links] == [f"epmdless-1@{HOST}"]


async def test_nodes_that_the_configuration_names_are_joined(autojump_clock: MockClock, world: World) -> None:
    node = world.start("far", "b2.test")
    world.unregister("far")
    world.take_on("", "dns", keys='nodes = []\nnamed = ["far@b2.test"]')
    world.start("a")
    world.sources["dns"].knows(A, B)
    await trio.sleep(WELL)
    assert node.connects == {A: 1, B: 1}
    assert [each.name for each in world.cluster.joiners] == ["far@b2.test"]


class TestReload:
    """A new configuration."""

    async def test_what_it_leaves_as_it_was_goes_on(self, autojump_clock: MockClock, world: World) -> None:
        node = world.start("a")
        world.take_on("", "dns", "file")
        before = dict(world.sources)
        before["dns"].knows(B)
        before["file"].knows(C)
        await trio.sleep(WELL)
        world.take_on("", "dns", "epmd", keys='hold = "5s"')
        await trio.sleep(WELL)
        assert world.sources["dns"] is before["dns"]
        assert [(each.runs, each.ends) for each in world.made] == [(1, 0), (1, 1), (1, 0)]
        assert len(node.visits) == 1
        assert world.peers(A).keys() == {B}
        assert node.connects == {B: 1, C: 1}
        assert node.disconnects == []

    async def test_a_source_that_is_changed_starts_anew(
        self, autojump_clock: MockClock, world: World
    ) -> None:
        node = world.start("a")
        world.take_on("", "dns")
        old = world.sources["dns"]
        old.knows(B)
        await trio.sleep(WELL)
        changed = '[cluster.source.dns]\nkind = "static"\nnodes = ["another@one"]\n'
        world.take_on(changed, "file")
        assert world.peers(A).keys() <= {B}
        assert world.sources["dns"] is not old
        old.knows(C)
        await trio.sleep(WELL)
        assert (old.runs, old.ends) == (1, 1)
        old.knows(C)
        await trio.sleep(WELL)
        assert world.peers(A) == {}, "what the old one says is not heard"
        assert [(view.name, view.state) for view in world.view().sources] == [
            ("file", "starting"),
            ("dns", "starting"),
        ]
        world.sources["dns"].knows(C)
        await trio.sleep(WELL)
        assert node.connects == {B: 1, C: 1}

    async def test_without_a_source_all_ends(self, autojump_clock: MockClock, world: World) -> None:
        node = world.start("a")
        world.take_on("", "dns", keys="[cluster.ready]\npeers = 3")
        world.sources["dns"].knows(B)
        await trio.sleep(WELL)
        assert not world.is_ready()
        world.take_on()
        await trio.sleep(WELL)
        assert (node.links, world.cluster.descriptors, world.cluster.joiners) == ([], 0, [])
        assert [(each.runs, each.ends) for each in world.made] == [(1, 1)]
        assert world.cluster.view() is None
        assert world.is_ready()
        assert node.nodes == {B}, "its connections are its own"
        assert world.events("no connection to a local node") == []
        world.take_on("", "dns")
        world.sources["dns"].knows(B, C)
        await trio.sleep(WELL)
        assert node.nodes == {B, C}

    async def test_a_node_that_is_left_out_from_now_on_is_let_go(
        self, autojump_clock: MockClock, world: World
    ) -> None:
        node = world.start("a")
        world.take_on("", "dns", keys="[cluster.ready]\npeers = 1")
        world.sources["dns"].knows(B)
        await trio.sleep(WELL)
        assert world.is_ready()
        world.take_on("", "dns", keys='nodes = ["*@b2.test"]\n[cluster.ready]\npeers = 1')
        await trio.sleep(WELL)
        assert node.links == []
        assert not world.is_ready(), "there is no node to be ready"
        assert world.node(A).reason == "left_out"
        world.take_on("", "dns", keys="[cluster.ready]\npeers = 1")
        await trio.sleep(WELL)
        assert (len(node.links), world.is_ready()) == (1, True)

    async def test_a_mended_cookie_is_tried_at_once(self, autojump_clock: MockClock, world: World) -> None:
        node = world.start("a", cookie=b"another")
        world.take_on("", "dns")
        world.sources["dns"].knows(B)
        await trio.sleep(3600)
        assert world.node(A).reason == "cookie"
        world.cookie("cookie", b"another")
        world.take_on("", "dns")
        await trio.sleep(WELL)
        assert node.connects == {B: 1}


GROUPS = """
[cluster.group.web]
nodes = ["web*"]
[cluster.group.work]
nodes = ["work*"]
cookie_file = "{}/work-cookie"
[[cluster.link]]
groups = ["web", "work"]
nodes = ["web-1", "work-1", "work-2"]
"""


class TestGroups:
    """Nodes that are joined inside their group only."""

    async def test_each_has_its_cookie_and_its_nodes(self, autojump_clock: MockClock, world: World) -> None:
        world.cookie("work-cookie", b"of the workers")
        web, work = world.start("web-3"), world.start("work-3", cookie=b"of the workers")
        other = world.start("other")
        world.take_on(GROUPS.format(world.folder), "dns")
        names = [f"{kind}-{number}@{HOST}" for kind in ("web", "work") for number in range(1, 4)]
        world.sources["dns"].knows(*names, f"other2@{HOST}")
        await trio.sleep(WELL)
        assert web.connects.keys() == {f"web-1@{HOST}", f"web-2@{HOST}"}
        assert work.connects.keys() == {f"work-1@{HOST}", f"work-2@{HOST}"}
        assert other.connects == {}
        assert [visit.proofs for visit in other.visits] == [0], "it is shown no cookie, and asked once"
        assert [(group.name, [node.name for node in group.nodes]) for group in world.view().groups] == [
            ("web", [web.name]),
            ("work", [work.name]),
            (None, [other.name]),
        ]

    async def test_chosen_nodes_of_two_are_linked_hidden(
        self, autojump_clock: MockClock, world: World
    ) -> None:
        world.cookie("work-cookie", COOKIE)
        node = world.start("web-1")
        world.take_on(GROUPS.format(world.folder), "dns")
        world.sources["dns"].knows(*(f"{name}@{HOST}" for name in ("web-2", "work-1", "work-2", "work-3")))
        await trio.sleep(WELL)
        assert node.connects.keys() == {f"{name}@{HOST}" for name in ("web-2", "work-1", "work-2")}
        hidden = [call.arguments for call in node.calls if call.function == "hidden_connect_node"]
        assert sorted(map(str, hidden)) == [f"[Atom('work-{number}@{HOST}')]" for number in (1, 2)]
        assert {peer.name: peer.hidden for peer in world.node(node.name).peers} == {
            f"web-2@{HOST}": False,
            f"work-1@{HOST}": True,
            f"work-2@{HOST}": True,
        }

    async def test_a_group_may_have_sources_of_its_own(self, autojump_clock: MockClock, world: World) -> None:
        world.cookie("work-cookie", COOKIE)
        node = world.start("web-1")
        text = GROUPS.format(world.folder).replace('["web*"]', '["web*"]\nsources = ["file"]', 1)
        world.take_on(text, "dns", "file")
        world.sources["dns"].knows(f"web-2@{HOST}")
        world.sources["file"].knows(f"web-3@{HOST}")
        await trio.sleep(WELL)
        assert node.connects == {f"web-3@{HOST}": 1}

    async def test_a_node_of_which_only_half_the_name_is_known_is_shown_apart(
        self, autojump_clock: MockClock, world: World
    ) -> None:
        world.register("web-1")
        world.take_on(GROUPS.format(world.folder).replace('cookie_file = "', '# "'), "dns")
        await trio.sleep(WELL)
        assert [(group.name, len(group.nodes)) for group in world.view().groups] == [
            ("web", 0),
            ("work", 0),
            (None, 1),
        ]
        world.take_on("", "dns")
        assert [(group.name, len(group.nodes)) for group in world.view().groups] == [("default", 1)]


class TestReady:
    """``cluster.ready.peers``: what ``/readyz`` waits for."""

    async def test_it_takes_a_node_and_its_peers(self, autojump_clock: MockClock, world: World) -> None:
        world.take_on("", "dns", keys="[cluster.ready]\npeers = 2")
        world.sources["dns"].knows(A, B, C)
        await trio.sleep(WELL)
        assert not world.is_ready()
        node = world.start("a")
        world.cluster.absent.add(C)
        await trio.sleep(WELL)
        assert (world.node(A).connected, world.is_ready()) == (1, False)
        world.cluster.absent.clear()
        await trio.sleep(10)
        assert world.is_ready()
        assert (world.view().ready, world.view().wanted_ready) == (True, 2)
        node.nodes.clear()
        node.reachable = lambda _: False
        await trio.sleep(2)
        assert not world.is_ready()

    async def test_each_local_node_counts(self, autojump_clock: MockClock, world: World) -> None:
        world.take_on("", "dns", keys="[cluster.ready]\npeers = 1")
        world.sources["dns"].knows(A, B, C)
        world.start("a")
        await trio.sleep(WELL)
        assert world.is_ready()
        world.start("b").reachable = lambda _: False
        await trio.sleep(WELL)
        assert not world.is_ready()
        world.unregister("b")
        await trio.sleep(1)
        assert world.is_ready()
        world.register("c")
        await trio.sleep(1)
        assert not world.is_ready(), "we cannot talk to it"

    async def test_a_node_that_dies_is_not_ready(self, autojump_clock: MockClock, world: World) -> None:
        node = world.start("a")
        world.take_on("", "dns", keys="[cluster.ready]\npeers = 1")
        world.cluster.absent.add(C)
        world.sources["dns"].knows(B, C)
        await trio.sleep(WELL)
        assert world.is_ready()
        node.status = Status(StatusKind.NOT_ALLOWED)
        node.hang_up()
        await trio.sleep(0.05)
        assert not world.is_ready()
        view = world.node(A)
        assert (view.state, view.connected, view.since) == ("failing", 0, None)
        assert {(peer.state, peer.next_attempt) for peer in view.peers} == {("waiting", None)}

    async def test_a_list_that_is_too_old_takes_nobody_out(
        self, autojump_clock: MockClock, world: World
    ) -> None:
        world.start("a")
        world.take_on("", "dns", keys='max_age = "2m"\n[cluster.ready]\npeers = 1')
        world.sources["dns"].knows(B)
        await trio.sleep(WELL)
        world.sources["dns"].fails()
        await trio.sleep(600)
        assert world.view().sources[0].expired
        assert world.is_ready()
        assert world.peers(A)[B].state == "connected"


class TestTrouble:
    """Sources that fail or lie, nodes that do."""

    async def test_dns_is_down_for_ten_minutes(self, autojump_clock: MockClock, world: World) -> None:
        names = [f"p{number}@{HOST}" for number in range(30)]
        node = world.start("a")
        world.take_on("", "dns", keys='disconnect = "gone"\nhold = "5s"')
        world.sources["dns"].knows(*names)
        await trio.sleep(10)
        assert len(node.connects) == 30
        for _ in range(20):
            world.sources["dns"].fails()
            await trio.sleep(30)
        (source,) = world.view().sources
        assert (source.state, source.reason, source.names) == ("unknown", "timeout", 30)
        assert source.failing_for == pytest.approx(600, abs=1)
        world.sources["dns"].knows(*reversed(names))
        await trio.sleep(60)
        assert sum(node.connects.values()) == 30
        assert node.disconnects == []
        assert len(node.visits) == 1

    async def test_a_peer_that_is_gone_is_disconnected_after_hold_if_all_know(
        self, autojump_clock: MockClock, world: World
    ) -> None:
        node = world.start("a")
        world.take_on("", "dns", "file", keys='disconnect = "gone"\nhold = "30s"')
        world.sources["dns"].knows(B, C)
        world.sources["file"].knows(B)
        await trio.sleep(WELL)
        world.sources["dns"].knows(B)
        await trio.sleep(20)
        assert node.disconnects == []
        world.sources["file"].fails()
        await trio.sleep(600)
        assert node.disconnects == [], "it may name it"
        world.sources["file"].knows(B)
        await trio.sleep(5)
        assert node.disconnects == [], "that time does not count"
        await trio.sleep(10)
        assert node.disconnects == [C]
        assert node.nodes == {B}
        world.sources["dns"].knows(B, C)
        await trio.sleep(WELL)
        assert node.nodes == {B, C}

    async def test_nobody_is_disconnected_by_default(self, autojump_clock: MockClock, world: World) -> None:
        node = world.start("a")
        world.take_on("", "dns")
        world.sources["dns"].knows(B, C)
        await trio.sleep(WELL)
        world.sources["dns"].knows()
        await trio.sleep(600)
        assert (node.disconnects, node.nodes) == ([], {B, C})

    async def test_more_names_than_a_node_is_joined_with(
        self, autojump_clock: MockClock, world: World
    ) -> None:
        names = [f"p{number:02}@{HOST}" for number in range(40)]
        node = world.start("a")
        world.take_on("", "dns", keys="max_peers = 10")
        for shift in range(5):
            world.sources["dns"].knows(f"z{shift}@{HOST}", *names[shift * 8 :], *names[: shift * 8])
            await trio.sleep(5)
        assert set(node.connects) == set(names[:10]), "the same in whatever order they come"
        (line,) = world.events("more peers are named than a node is joined with")
        assert (line["node"], line["left_out"]) == (A, 31)
        assert world.counts.value(metrics.CLUSTER_LEFT_OUT, "max_peers") == 1
        world.sources["dns"].knows(*names[30:])
        await trio.sleep(5)
        assert set(node.connects) == {*names[:10], *names[30:]}
        world.sources["dns"].knows(*names)
        await trio.sleep(5)
        assert len(world.events("more peers are named than a node is joined with")) == 2

    async def test_names_that_no_node_has_reach_none(self, autojump_clock: MockClock, world: World) -> None:
        node = world.start("a")
        world.take_on("", "dns")
        world.sources["dns"].knows(B, "no name", "x@", "remsh-1@b1.test", "\x1b[31m@b1.test")
        await trio.sleep(WELL)
        assert node.connects == {B: 1}
        assert world.counts.value(metrics.CLUSTER_LEFT_OUT, "invalid") == 3
        assert world.counts.value(metrics.CLUSTER_LEFT_OUT, "transient") == 1

    async def test_two_of_us_on_one_node(self, autojump_clock: MockClock, world: World) -> None:
        node = world.start("a")
        world.take_on("", "dns")
        world.sources["dns"].knows(B)
        another = World(world.folder, world.cluster._nursery)
        another.cluster.nodes = world.cluster.nodes
        another.register("a")
        async with trio.open_nursery() as nursery:
            await nursery.start(another.cluster.serve)
            another.cluster.take_on(world.cluster._prepared)
            await trio.sleep(5)
            assert [visit.name for visit in node.links] == [f"epmdless-{number}@{HOST}" for number in (1, 2)]
            assert node.connects == {B: 1}
            nursery.cancel_scope.cancel()

    async def test_a_cookie_file_that_cannot_be_read_any_more(
        self, autojump_clock: MockClock, world: World
    ) -> None:
        node = world.start("a")
        world.take_on("", "dns")
        world.sources["dns"].knows(B)
        (world.folder / "cookie").chmod(0o644)
        await trio.sleep(WELL)
        assert (world.node(A).state, world.node(A).reason) == ("failing", "cookie_file")
        assert all(visit.proofs == 0 for visit in node.visits)
        (world.folder / "cookie").chmod(0o600)
        await trio.sleep(30)
        assert world.node(A).state == "linked"

    async def test_a_fault_of_ours_costs_one_node_a_pause(
        self, autojump_clock: MockClock, world: World
    ) -> None:
        node = world.start("a")
        world.take_on("", "dns")
        world.sources["dns"].knows(B)
        world.cluster.is_faulty = True
        await trio.sleep(600)
        assert 20 <= world.counts.value(metrics.INTERNAL_ERRORS) <= 50
        assert (world.node("a").state, world.node("a").reason) == ("failing", "internal")
        world.cluster.is_faulty = False
        await trio.sleep(30 + WELL)
        assert node.connects == {B: 1}
        world.cluster.is_faulty = True  # it was

    @pytest.mark.parametrize("is_faulty", [False, True])
    async def test_a_node_that_ends_when_it_is_let_go_ends_nobody_else(
        self, autojump_clock: MockClock, world: World, monkeypatch: pytest.MonkeyPatch, is_faulty: bool
    ) -> None:
        """Its end and the cancellation come in one group, out of which nobody could take both."""
        world.take_on("", "dns")
        world.sources["dns"].knows(C)
        nodes = [world.start(alive) for alive in "ab"]
        await trio.sleep(WELL)
        end = trio.Event()

        async def receive() -> bytes:
            await end.wait()
            if is_faulty:
                raise ZeroDivisionError
            return b""

        joiner = next(each for each in world.cluster.joiners if each.name == A)
        monkeypatch.setattr(joiner._link, "_receive", receive)
        await trio.sleep(1.5)  # the next answer is the last that is heard
        end.set()
        for running, scope in world.cluster._joiners.values():
            if running is joiner:
                scope.cancel()
        await wait_all_tasks_blocked()
        world.unregister("a")
        await trio.sleep(60)
        assert (len(nodes[0].links), len(nodes[1].links)) == (0, 1)
        assert world.counts.value(metrics.INTERNAL_ERRORS) == is_faulty
        world.cluster.is_faulty = is_faulty


class TestToSee:
    """What the command line gets, and what is measured."""

    async def test_a_linked_node_and_its_peers(self, autojump_clock: MockClock, world: World) -> None:
        node = world.start("a")
        world.take_on("", "dns", keys="[cluster.ready]\npeers = 1")
        world.cluster.absent.add(C)
        world.sources["dns"].knows(A, B, C)
        await trio.sleep(20)
        sample = world.view()
        assert sample.now == trio.current_time()
        (source,), (group,) = sample.sources, sample.groups
        assert (source.name, source.kind, source.state, source.names) == ("dns", "static", "known", 3)
        assert source.age == pytest.approx(20, abs=0.1)
        assert (source.failing_for, source.expired) == (None, False)
        assert group.name == "default"
        (seen,) = group.nodes
        assert (seen.name, seen.state, seen.otp, seen.reason) == (A, "linked", "25+", None)
        assert (seen.connected, seen.wanted) == (1, 2)
        assert seen.since == pytest.approx(20, abs=0.1)
        b, c = seen.peers
        assert (b.name, b.state, b.attempts, b.next_attempt) == (B, "connected", 1, None)
        assert (c.name, c.state, c.reason, c.detail, c.attempts) == (C, "failing", "not_registered", None, 0)
        assert c.next_attempt is not None
        assert 0 <= c.next_attempt <= 10
        node.hang_up()

    async def test_a_node_that_cannot_be_talked_to(self, autojump_clock: MockClock, world: World) -> None:
        world.start("a", cookie=b"another")
        world.register("b")
        world.take_on("", "dns")
        await trio.sleep(WELL)
        world.sources["dns"].fails("denied")
        nodes = {node.name: node for node in world.view().groups[0].nodes}
        assert {name: (node.state, node.reason, node.otp) for name, node in nodes.items()} == {
            A: ("failing", "cookie", None),
            "b": ("failing", "unreachable", None),
        }
        (source,) = world.view().sources
        assert (source.state, source.reason, source.detail) == ("unknown", "denied", "no answer")
        assert (source.age, source.names) == (None, 0)

    async def test_gauges_are_those_of_the_running_configuration(
        self, autojump_clock: MockClock, world: World
    ) -> None:
        world.start("a")
        world.register("b")
        world.take_on("", "dns", "file")
        world.cluster.absent.add(C)
        world.sources["dns"].knows(A, B, C)
        await trio.sleep(5)
        value = world.counts.value
        assert (value(metrics.CLUSTER_NODES, "linked"), value(metrics.CLUSTER_NODES, "waiting")) == (1, 1)
        assert value(metrics.CLUSTER_PEERS, "default", "wanted") == 2
        assert value(metrics.CLUSTER_PEERS, "default", "connected") == 1
        assert value(metrics.CLUSTER_SOURCE_NAMES, "dns") == 3
        assert value(metrics.CLUSTER_SOURCE_AGE, "dns") == pytest.approx(5)
        assert value(metrics.CLUSTER_SOURCE_AGE, "file") == float("inf")
        failing = {reason: value(metrics.CLUSTER_FAILING, reason) for reason in REASONS}
        assert {reason: count for reason, count in failing.items() if count} == {"not_registered": 1}
        world.cluster.absent.clear()
        await trio.sleep(20)
        assert value(metrics.CLUSTER_FAILING, "not_registered") == 0
        world.take_on("", "dns")
        assert shown(world) != set()
        assert not {labels for _, labels in shown(world) if "file" in labels}
        world.take_on()
        assert shown(world) == set()


def shown(world: World) -> set[tuple[Metric, tuple[str, ...]]]:
    """The gauges of the cluster that there are."""
    gauges = [each for each in TABLE if each.kind is Kind.GAUGE and each.name.startswith("epmdless_cluster")]
    return {(metric, labels) for metric in gauges for labels, _ in world.counts.samples(metric)}
