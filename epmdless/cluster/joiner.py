"""One local node: our hidden connection to it, and the peers that it is told to connect to.

The node itself makes each connection, so whatever it does to find and to check a peer (its cookie for it,
TLS, its own way to look up names) is as ever. We only say when, and look at what came of it.

The file is a little longer than others here: how our connection ends decides what becomes of each peer, and
both are read side by side.
"""

from __future__ import annotations

import heapq
import random
import time
from collections.abc import Callable, Collection
from typing import Any

import trio

from epmdless import metrics
from epmdless.cluster.attempts import PeerState
from epmdless.cluster.groups import Group, connects_first
from epmdless.cluster.guide import Guide, Link, Wants
from epmdless.cluster.local_node import LocalNode
from epmdless.cluster.trouble import NodeError
from epmdless.links.views import otp_of
from epmdless.log import Log
from epmdless.metrics import Metrics
from epmdless.names import printable
from epmdless.net.faults import ended_by, note_fault
from epmdless.wire.terms import Atom

WATCH_SECONDS = 1.0
"""Between two looks at whom a node is connected to; also what keeps our connection from being silent."""

CALL_SECONDS = 5.0
"""For a call that only looks something up in the node."""

CONNECT_SECONDS = 20.0
"""For the node to connect to a peer: `net_setuptime` is 7 s by default, and some set it higher."""

CONNECTS_AT_ONCE = 8
"""Connections that one node is told to make at the same time: one that waits for a dead host must not hold up
the others, and a hundred at once would be a storm."""

MAX_NAMES_TOLD = 65_536
"""Different names that one node is told in its life. Each becomes an atom in it, for good, and an atom
table that is full (1,048,576 by default) ends the node: no source that makes up names may bring it about."""

SHORTEST_PAUSE = 0.25
LONGEST_PAUSE = 30.0
"""Seconds between attempts to connect to the node ourselves."""

LONGEST_PAUSE_REFUSED = 300.0
"""The same where it refused our cookie, certificate or name: each attempt is a warning in the node's log."""

STEADY_SECONDS = 10.0
"""A connection that lasted so long was a good one; after one that did not, the pause grows."""

PAUSE_A_NAME = 0.0005
"""Seconds between two looks for each name in the answer, up to LONGEST_WATCH: to take an answer in costs some
3 µs a name, of which a hundredth part of the time is enough for any node."""

LONGEST_WATCH = 15.0
"""Seconds between two looks, however many names there are."""

PAUSE_A_PEER = 0.0001
"""Seconds between two turns for each peer: a turn walks over all of them, at some 2 µs each, and each attempt
that ends asks for one."""

REFUSALS = frozenset({"cookie", "certificate", "not_allowed", "left_out", "user"})

HIDDEN = "it is hidden (erl -hidden)"

TRUE = [*b"true"]
"""As Erlang has a text: ``-hidden true`` is the same as ``-hidden``, and ``-hidden false`` is not."""

ABOUT_THE_CALL = frozenset({"timeout", "failed"})
"""Reasons that a call fails for while our connection to the node is well."""


class Joiner:
    """Keeps one local node joined.

    :ivar error: why we cannot talk to it now; None: we can, or have not tried.
    """

    def __init__(
        self,
        local: LocalNode,
        guide: Guide,
        counts: Metrics,
        log: Callable[[], Log],
        clock: Callable[[], float] = time.monotonic,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self.local = local
        self.error: NodeError | None = None
        self._guide = guide
        self._counts = counts
        self._log = log
        self._clock = clock
        self._rng = rng
        self._link: Link | None = None
        self._linked_at: float | None = None
        self._name: str | None = local.name if "@" in local.name else None
        self._peers: dict[str, PeerState] = {}
        self._connected: frozenset[str] = frozenset()
        self._is_hidden = False
        self._seen_version: object = None
        self._wants = Wants(None, ())
        self._under_way: dict[str, PeerState] = {}
        self._told: set[str] = set()
        self._dropped: dict[str, float] = {}
        self._next_look = 0.0
        self._stir = trio.Event()
        self._again = trio.Event()

    @property
    def name(self) -> str | None:
        """The node's whole name; None: not known yet."""
        return self._name

    @property
    def is_linked(self) -> bool:
        """Whether we can talk to it."""
        return self._link is not None

    @property
    def is_left_out(self) -> bool:
        """Whether it is none of those that are to be joined, as its whole name shows."""
        return self.error is not None and self.error.reason == "left_out"

    @property
    def group(self) -> Group | None:
        """The group that it belongs to, as far as is known."""
        return self._wants.group

    @property
    def peers(self) -> Collection[PeerState]:
        """Those that it shall be connected to."""
        return self._peers.values()

    @property
    def connected(self) -> int:
        """How many of them it is connected to; none, as long as we cannot ask."""
        return sum(peer.connected for peer in self._peers.values()) if self.is_linked else 0

    def stir(self) -> None:
        """Something may have changed: look at once."""
        self._stir.set()

    def try_again(self) -> None:
        """What kept us from the node may have been mended: do not wait for the next attempt's time."""
        self._again.set()

    async def run(self) -> None:
        """Keep it joined until cancelled."""
        failures = 0
        while True:
            try:
                await self._join()
            except NodeError as error:
                self._note_error(error)
            except Exception as error:  # noqa: BLE001 - one node's trouble is no other's
                note_fault(self._counts, self._log(), error)
                self._note_error(NodeError("internal"))
            finally:
                self._unlinked()
            failures = 0 if self._was_steady else failures + 1
            await self._pause(failures)

    async def _pause(self, failures: int) -> None:
        assert self.error is not None, "it ends by an error only"
        longest = LONGEST_PAUSE_REFUSED if self.error.reason in REFUSALS else LONGEST_PAUSE
        pause = min(SHORTEST_PAUSE * 2 ** min(failures, 16), longest)
        self._again = trio.Event()
        with trio.move_on_after(pause * (1 - self._rng() / 2)):
            await self._again.wait()

    @property
    def _was_steady(self) -> bool:
        return self._linked_at is not None and self._clock() - self._linked_at >= STEADY_SECONDS

    def _note_error(self, error: NodeError) -> None:
        self._counts.count(metrics.CLUSTER_NODE_LINKS, error.reason)
        if self.error is None or self.error.reason != error.reason:
            say = self._log().warning if self._linked_at is None else self._log().info
            say("no connection to a local node", node=self._shown, reason=error.reason, detail=error.detail)
        self.error = error.kept()

    def _unlinked(self) -> None:
        if self._link is not None:
            self._link.close()
        self._link = None
        self._connected = frozenset()

    @property
    def _shown(self) -> str:
        return printable(self._name or self.local.name)

    async def _join(self) -> None:
        """Connect, and keep the node joined as long as the connection lasts; it ends by a NodeError."""
        self._linked_at = None
        if self._name is not None and self._guide.wants(self._name).group is None:
            raise NodeError("left_out")
        if self._is_hidden:
            raise NodeError("left_out", HIDDEN)
        self._link = link = await self._guide.open(self.local, self._meet)
        self._linked_at = self._clock()
        self._seen_version = None
        self._next_look = 0.0
        if self.error is not None or not self._told:
            self._log().info("connected to a local node", node=self._shown)
        self.error = None
        self._counts.count(metrics.CLUSTER_NODE_LINKS, "linked")
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(link.serve)
                await self._tend(link, nursery)
        except BaseExceptionGroup as errors:
            raise ended_by(errors, NodeError) from None

    def _meet(self, name: str) -> None:
        self._name = name

    async def _tend(self, link: Link, nursery: trio.Nursery) -> None:
        await self._see_if_hidden(link)
        while True:
            self._stir = trio.Event()
            self._take_wants()
            await self._look(link)
            for peer in self._whose_turn_it_is():
                peer.busy = True
                self._under_way[peer.name] = peer
                nursery.start_soon(self._attempt, link, peer)
            await self._drop_gone(link)
            with trio.move_on_after(self._seconds_to_next()):
                await self._stir.wait()
            await trio.sleep(max(self._next_look - self._clock(), PAUSE_A_PEER * len(self._peers)))

    async def _see_if_hidden(self, link: Link) -> None:
        """Leave a node alone that was started as a hidden one, unless the configuration names it.

        A node of Erlang's tells that neither its EPMD nor, in the handshake, who is hidden himself.
        """
        if not self.local.port:
            return
        match await link.call("init", "get_argument", [Atom("hidden")], CALL_SECONDS):
            case (Atom("ok"), [first, *_]) if first in ([], [TRUE]):
                self._is_hidden = True
                raise NodeError("left_out", HIDDEN)

    def _whose_turn_it_is(self) -> list[PeerState]:
        """The peers to try now: the new ones first, and those that failed before in half of the places."""
        if self._gone_since is not None:
            return []
        now = self._clock()
        busy = [peer.failures > 0 for peer in self._under_way.values()]
        due = [peer for peer in self._peers.values() if peer.is_due(now) and peer.name not in self._under_way]
        fresh = heapq.nsmallest(CONNECTS_AT_ONCE, (peer for peer in due if not peer.failures), key=_by_due)
        again = heapq.nsmallest(CONNECTS_AT_ONCE, (peer for peer in due if peer.failures), key=_by_failures)
        again = again[: max(CONNECTS_AT_ONCE // 2 - sum(busy), 0)]
        return (fresh + again)[: max(CONNECTS_AT_ONCE - len(busy), 0)]

    def _seconds_to_next(self) -> float:
        """Until the next peer's time comes; those whose time it is already wait for a place."""
        now = self._clock()
        times = (peer.due for peer in self._peers.values() if not peer.connected and peer.due > now)
        return min(min(times, default=float("inf")) - now, WATCH_SECONDS)

    def _take_wants(self) -> None:
        """See who is wanted now; what is known of those who were wanted before stays."""
        version = self._guide.version
        if version == self._seen_version or self._name is None:
            return
        self._seen_version = version
        self._wants = self._guide.wants(self._name)
        now, before = self._clock(), self._peers
        self._peers = {}
        if self._wants.group is None:
            raise NodeError("left_out")
        fresh = []
        for want in self._wants.peers:
            # One that comes back before its last attempt has ended would have two, and soon many.
            peer = before.get(want.name) or self._under_way.get(want.name)
            if peer is None or peer.hidden != want.hidden:
                peer = PeerState(want, now)
                fresh.append(peer)
            elif want.is_current and not peer.is_current and not peer.connected:
                fresh.append(peer)  # its time came long ago, as that of many others did
            peer.is_current = want.is_current
            self._peers[want.name] = peer
        for peer in fresh:
            self._wait_for_turn(peer, len(fresh))

    def _wait_for_turn(self, peer: PeerState, peers: int) -> None:
        peer.wait_for_turn(self._clock(), peers, self._rng(), is_first=self._is_first(peer))

    def _is_first(self, peer: PeerState) -> bool:
        return connects_first(self._name or "", peer.name)

    async def _look(self, link: Link) -> None:
        """See whom the node is connected to."""
        self._next_look = self._clock() + min(PAUSE_A_NAME * len(self._connected), LONGEST_WATCH)
        before = [peer for peer in self._peers.values() if peer.connected]
        said = await link.call("erlang", "nodes", [Atom("connected")], CALL_SECONDS)
        if not isinstance(said, list):
            raise NodeError("protocol", "erlang:nodes/1 returned no list")
        self._connected = frozenset(str(name) for name in said if isinstance(name, Atom))
        for peer in self._peers.values():
            if peer.name in self._connected:
                peer.joined()
        # Who was joined while the node answered may be missing in its answer, and is not lost.
        lost = [peer for peer in before if peer.name not in self._connected]
        for peer in lost:
            peer.lost(self._clock())
        apart = sum(not peer.connected for peer in self._peers.values())
        for peer in lost:
            self._wait_for_turn(peer, apart)

    async def _attempt(self, link: Link, peer: PeerState) -> None:
        """Have the node connect to a peer, unless it is, by now."""
        try:
            if await self._is_worth_it(peer):
                if self._next_look <= self._clock():
                    await self._look(link)
                if not peer.connected and self._peers.get(peer.name) is peer:
                    await self._connect(link, peer)
        finally:
            peer.busy = False
            del self._under_way[peer.name]
            self._stir.set()

    async def _is_worth_it(self, peer: PeerState) -> bool:
        """Whether the node is told to connect to a peer: it is there, or has not been seen for long."""
        if peer.name not in self._told and len(self._told) >= MAX_NAMES_TOLD:
            peer.failed(NodeError("too_many"), self._clock(), self._rng())
            return False
        try:
            port = await self._guide.look(peer.name, again=peer.failures > 0)
        except NodeError as error:
            return peer.unseen(error, self._clock(), self._rng())
        if self.local.port and port == self.local.port:
            peer.failed(NodeError("other_name", f"it is {self._shown} itself"), self._clock(), self._rng())
            return False
        return True

    async def _connect(self, link: Link, peer: PeerState) -> None:
        self._told.add(peer.name)
        peer.attempts += 1
        function = "hidden_connect_node" if peer.hidden else "connect_node"
        try:
            said = await link.call("net_kernel", function, [Atom(peer.name)], CONNECT_SECONDS)
        except NodeError as error:
            self._counts.count(metrics.CLUSTER_JOINS, "failed")
            if error.reason not in ABOUT_THE_CALL:
                raise
            peer.failed(error, self._clock(), self._rng())
            return
        if said == Atom("true"):
            self._counts.count(metrics.CLUSTER_JOINS, "connected")
            peer.joined()
            self._log().info("joined", node=self._shown, peer=printable(peer.name), hidden=peer.hidden)
            return
        self._counts.count(metrics.CLUSTER_JOINS, "refused")
        why = await self._guide.reason_against(peer.name)
        if peer.error is None or peer.error.reason != why.reason:
            self._log().warning(
                "not joined",
                node=self._shown,
                peer=printable(peer.name),
                reason=why.reason,
                detail=why.detail,
            )
        peer.failed(why, self._clock(), self._rng())

    @property
    def _gone_since(self) -> float | None:
        """Since when no source names the node itself, so that its peers disconnect it; None: they do not."""
        return None if self._name is None else self._guide.gone_since(self._name)

    async def _drop_gone(self, link: Link) -> None:
        """Disconnect what nobody names any more: once, since both ends may have a will of their own.

        Where that is the node itself, its peers come to do the same, at another moment: it goes by itself, or
        it would be connected again before it knows.
        """
        own = self._gone_since
        for name in self._connected:
            since = own if own is not None and name in self._peers else self._guide.gone_since(name)
            if since is None or self._dropped.get(name) == since:
                continue
            if len(self._dropped) >= MAX_NAMES_TOLD:
                self._dropped.clear()
            self._dropped[name] = since
            self._counts.count(metrics.CLUSTER_DISCONNECTS)
            whom = "it" if own is None else "the node"
            self._log().info(
                f"disconnected, as no source names {whom}", node=self._shown, peer=printable(name)
            )
            await link.call("erlang", "disconnect_node", [Atom(name)], CALL_SECONDS)

    def view(self) -> dict[str, Any]:
        """What there is to see of the node itself, in terms of JSON; its peers come from elsewhere."""
        state = "linked" if self.is_linked else "waiting" if self.error is None else "failing"
        return {
            "name": self._name or self.local.name,
            "alive": (self._name or self.local.name).partition("@")[0],
            "state": state,
            "reason": self.error.reason if self.error else None,
            "detail": self.error.more if self.error else None,
            "otp": None if self._link is None else otp_of(self._link.flags),
            "since": self._linked_at if self.is_linked else None,
        }


def _by_due(peer: PeerState) -> float:
    return peer.due


def _by_failures(peer: PeerState) -> tuple[int, float]:
    """What has been gone for days must not keep what was restarted waiting."""
    return peer.failures, peer.due
