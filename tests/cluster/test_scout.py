"""Looks at peers: where one listens, and why a node could not connect to it, as far as can be seen."""

from __future__ import annotations

import errno
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Literal

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from epmdless.cluster.scout import LOOK_SECONDS, LOOKS_AT_ONCE, Scout, Seen
from epmdless.cluster.trouble import NodeError
from epmdless.metrics import Metrics
from epmdless.wire.epmd import Node
from epmdless.wire.handshake import Challenge, Status, StatusKind
from tests.cluster.scripted_epmd import MISS, ScriptedEpmd
from tests.cluster.scripted_node import HTTP, TLS_ALERT, ScriptedNode, Step
from tests.support.ports import closed_port
from tests.support.relays import Hosts

HOST = "127.0.5.1"
NOBODY = "127.0.5.2"
PEER = f"app@{HOST}"


class World:
    """A host with an EPMD server and a node, and a scout that looks at it."""

    def __init__(self, epmd: ScriptedEpmd, node: ScriptedNode, port: int) -> None:
        self.epmd = epmd
        self.node = node
        self.port = port
        self.told: dict[str, int] = {}
        epmd.nodes["app"] = Node(port, "app")
        self.scout = Scout(Metrics(), epmd.port, "h1.test", self.told.get)

    async def problem(self, name: str = PEER) -> str:
        """Why a look finds nobody."""
        with pytest.raises(NodeError) as caught:
            await self.scout.look(name, again=False)
        assert self.scout.descriptors == 0
        return caught.value.reason

    async def reason(self, name: str = PEER) -> str:
        """Why a node could not connect to it."""
        reason = (await self.scout.reason_against(name)).reason
        assert self.scout.descriptors == 0
        return reason


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    async with trio.open_nursery() as nursery:
        epmd, node = ScriptedEpmd(), ScriptedNode(PEER)
        await nursery.start(epmd.listen, HOST)
        port = await nursery.start(node.listen, HOST)
        yield World(epmd, node, port)
        nursery.cancel_scope.cancel()


async def until(look: Callable[[], bool]) -> None:
    """Wait for what comes through the kernel; the clock of the test stands still meanwhile."""
    while not look():
        await wait_all_tasks_blocked(0.001)


@pytest.mark.parametrize(("highest", "is_old"), [(5, True), (6, False)])
async def test_a_peer_is_where_its_epmd_says(highest: int, is_old: bool) -> None:
    async with world() as here:
        here.epmd.nodes["app"] = Node(here.port, "app", highest=highest)
        assert await here.scout.look(PEER, again=False) == Seen(here.port, is_old, is_here=True)
        assert here.epmd.asked == ["app"]
        assert here.node.visits == [], "it is not disturbed"


async def test_what_a_source_told_is_not_asked_for() -> None:
    async with world() as here:
        here.told[PEER] = 9001
        assert await here.scout.look(PEER, again=False) == Seen(9001)
        assert here.epmd.asked == []


async def test_a_host_without_an_address() -> None:
    trio.socket.set_custom_hostname_resolver(Hosts({"b1.test": [HOST]}))
    async with world() as here:
        assert await here.problem("app@b2.test") == "no_address"
        assert await here.reason("app@b2.test") == "no_address"
        assert (await here.scout.look("app@b1.test", again=False)).port == here.port


async def test_a_host_that_no_resolver_takes() -> None:
    async with world() as here:
        assert await here.problem(f"app@{'x' * 64}.test") == "no_address"


async def test_a_host_without_epmd() -> None:
    async with world() as here:
        assert await here.problem(f"app@{NOBODY}") == "epmd_unreachable"
        assert await here.reason(f"app@{NOBODY}") == "epmd_unreachable"


@pytest.mark.parametrize("says", [b"", b"w", b"w\0", b"x" * 100, HTTP, b"w\0" + b"\xff" * 50])
async def test_an_epmd_that_answers_what_it_cannot(says: bytes) -> None:
    async with world() as here:
        here.epmd.says = says or b"\0"
        assert await here.problem() == "epmd_unreachable"


@pytest.mark.parametrize("says", [MISS, MISS + b"more"])
async def test_an_epmd_that_does_not_know_it(says: bytes) -> None:
    async with world() as here:
        here.epmd.says = says
        assert await here.problem() in ("not_registered", "epmd_unreachable")
        here.epmd.says = None
        assert await here.problem(f"other@{HOST}") == "not_registered"


async def test_an_epmd_that_hangs(mock_clock: MockClock) -> None:
    async with world() as here:
        here.epmd.gate = trio.Event()
        reasons: list[str] = []

        async def look() -> None:
            reasons.append(await here.problem())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            await until(lambda: here.epmd.asked == ["app"])
            mock_clock.jump(LOOK_SECONDS)
        assert reasons == ["epmd_unreachable"]


async def test_no_room_for_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    async with world() as here:
        monkeypatch.setattr(trio.socket, "socket", full)
        assert await here.problem() == "shortage"
        here.told[PEER] = here.port
        assert await here.reason() == "shortage"


async def test_many_who_ask_for_the_same_node_ask_once() -> None:
    async with world() as here:
        here.epmd.gate = trio.Event()
        seen: list[Seen] = []

        async def look() -> None:
            seen.append(await here.scout.look(PEER, again=False))

        async with trio.open_nursery() as nursery:
            for _ in range(30):
                nursery.start_soon(look)
            await until(lambda: here.epmd.asked == ["app"])
            here.epmd.gate.set()
        assert seen == [Seen(here.port, is_here=True)] * 30
        assert here.epmd.asked == ["app"]
        await here.scout.look(PEER, again=False)
        assert here.epmd.asked == ["app"] * 2, "nothing is remembered"


async def test_many_who_ask_for_the_same_node_that_is_not_there_hear_so() -> None:
    async with world() as here:
        here.epmd.gate = trio.Event()
        reasons: list[str] = []

        async def look() -> None:
            with pytest.raises(NodeError) as caught:
                await here.scout.look(f"x@{HOST}", again=False)
            reasons.append(caught.value.reason)

        async with trio.open_nursery() as nursery:
            for _ in range(30):
                nursery.start_soon(look)
            await until(lambda: here.epmd.asked == ["x"])
            here.epmd.gate.set()
        assert reasons == ["not_registered"] * 30


async def test_those_who_wait_for_a_look_go_on_without_who_is_cancelled() -> None:
    async with world() as here:
        here.epmd.gate = trio.Event()
        seen: list[Seen] = []

        async def look(scope: trio.CancelScope) -> None:
            with scope:
                seen.append(await here.scout.look(PEER, again=False))

        scopes = [trio.CancelScope() for _ in range(10)]
        async with trio.open_nursery() as nursery:
            for scope in scopes:
                nursery.start_soon(look, scope)
                await until(lambda: here.epmd.asked == ["app"])
            scopes[0].cancel()
            await until(lambda: here.epmd.asked == ["app"] * 2)
            for scope in scopes[:-1]:
                scope.cancel()
                await wait_all_tasks_blocked()
            here.epmd.gate.set()
        assert seen == [Seen(here.port, is_here=True)]
        assert here.scout.descriptors == 0


async def test_dead_hosts_keep_no_new_peer_waiting() -> None:
    async with world() as here:
        here.epmd.gate = trio.Event()

        async def look(name: str) -> None:
            with pytest.raises(NodeError):
                await here.scout.look(name, again=True)

        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(look, f"d{number}@{HOST}")
            await until(lambda: len(here.epmd.asked) == LOOKS_AT_ONCE)
            assert here.scout.descriptors == LOOKS_AT_ONCE
            before, here.epmd.gate = here.epmd.gate, trio.Event()
            here.epmd.gate.set()
            assert (await here.scout.look(PEER, again=False)).port == here.port
            assert len(here.epmd.asked) == LOOKS_AT_ONCE + 1, "the others still wait"
            before.set()
        assert len(here.epmd.asked) == 101


class TestWhy:
    """Why a node could not connect to a peer."""

    async def test_nothing_is_wrong_that_can_be_seen_and_no_cookie_is_shown(self) -> None:
        async with world() as here:
            assert await here.reason() == "refused"
            (visit,) = here.node.visits
            assert (visit.name, visit.proofs) == ("epmdless-8@h1.test", 0)

    async def test_a_peer_where_all_our_names_are_taken(self) -> None:
        async with world() as here:
            here.node.taken.add("epmdless-8@h1.test")
            assert await here.reason() == "refused"

    async def test_an_old_peer(self) -> None:
        async with world() as here:
            here.epmd.nodes["app"] = Node(here.port, "app", highest=5)
            here.node.says_old_name = True
            assert await here.reason() == "refused"

    async def test_nobody_on_its_port(self) -> None:
        with closed_port() as port:
            async with world() as here:
                here.epmd.nodes["app"] = Node(port, "app")
                assert await here.reason() == "port_unreachable"

    @pytest.mark.parametrize("name", ["other@127.0.5.1", "app@127.0.5.9", "app@b1.test"])
    async def test_another_node_in_its_place(self, name: str) -> None:
        async with world() as here:
            here.node.name = name
            error = await here.scout.reason_against(PEER)
            assert (error.reason, error.detail) == ("other_name", f"{name} answers")

    @pytest.mark.parametrize(
        ("says", "reason"),
        [
            (Status(StatusKind.NOT_ALLOWED), "not_allowed"),
            (Status(StatusKind.NOK), "refused"),
            (TLS_ALERT, "tls"),
            (HTTP, "protocol"),
            (b"\0\0", "protocol"),
            (Challenge(0, 0, 0, PEER), "protocol"),
        ],
    )
    async def test_what_it_says_instead(self, says: Status | Challenge | bytes, reason: str) -> None:
        async with world() as here:
            here.node.instead_of[Status] = says
            assert await here.reason() == reason

    @pytest.mark.parametrize("step", [Step.ACCEPTED, Step.NAME, Step.STATUS])
    @pytest.mark.parametrize("how", ["close", "reset"])
    async def test_it_ends_the_connection(self, step: Step, how: Literal["close", "reset"]) -> None:
        async with world() as here:
            here.node.stops_at, here.node.stops_by = step, how
            assert await here.reason() == "closed"

    @pytest.mark.parametrize("step", [Step.ACCEPTED, Step.NAME, Step.STATUS])
    async def test_it_hangs(self, mock_clock: MockClock, step: Step) -> None:
        async with world() as here:
            here.node.stops_at = step
            reasons: list[str] = []

            async def look() -> None:
                reasons.append(await here.reason())

            async with trio.open_nursery() as nursery:
                nursery.start_soon(look)
                await until(lambda: len(here.node.visits) == 1)
                await wait_all_tasks_blocked(0.01)
                mock_clock.jump(LOOK_SECONDS)
            assert reasons == ["timeout"]

    async def test_a_port_that_a_source_told_is_where_it_is_met(self) -> None:
        with socket.socket() as listener:
            listener.bind((HOST, 0))
            async with world() as here:
                here.told[PEER] = listener.getsockname()[1]
                assert await here.reason() == "port_unreachable"
                here.told[PEER] = here.port
                assert await here.reason() == "refused"
                assert here.epmd.asked == []
