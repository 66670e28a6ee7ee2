"""Clustering: sources say which nodes there are, and local nodes are told to connect to them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import trio

from epmdless import metrics
from epmdless.cluster.encryption import Encryption
from epmdless.cluster.gauges import Gauges
from epmdless.cluster.guide import Wants
from epmdless.cluster.joiner import Joiner
from epmdless.cluster.listening import Listener
from epmdless.cluster.local_dialing import LocalDialer
from epmdless.cluster.local_node import LocalNode, local_nodes
from epmdless.cluster.node_link import NodeLink
from epmdless.cluster.peers import Known, Source, Unknown
from epmdless.cluster.prepared import Prepared
from epmdless.cluster.roster import Roster
from epmdless.cluster.scout import OLD_HIGHEST, Scout, Seen
from epmdless.cluster.shaking import OwnedConnection
from epmdless.cluster.trouble import NodeError
from epmdless.cluster.views import View
from epmdless.cluster.wanted import Wanted
from epmdless.config import SourceSection
from epmdless.errors import ConfigError
from epmdless.log import Log
from epmdless.metrics import Metrics
from epmdless.net.faults import note_fault
from epmdless.net.tls.contexts import Certificates
from epmdless.net.tls.keeper import CertificateKeeper
from epmdless.registry import Registration

LOCAL_LOOK_SECONDS = 0.25
"""Between two looks at who is registered here."""

MAX_LOCAL_NODES = 1000
"""Local nodes that are joined, each with a connection and a task of ours. Whoever registers more names than
that has no nodes behind them."""

TLS_SECONDS = 5.0
"""For TLS with a local node, of the 7 that the whole connection has."""

ROLE = "cluster"
"""Of our certificates, among all that are kept."""

FORGET_SECONDS = 3600.0
"""For which a name that is gone is remembered beyond `hold`: so long it can be seen that it is."""


class Cluster:
    """Sources, and a joiner for each local node.

    :param registrations: who is registered here.
    :param own_host: the host part of our own node names.
    :param epmd_port: where the EPMD servers of peers are asked.
    :param is_ours: whether a listener is one of ours: a relay's stand-in for a node of another host may have
        the port of a local node.
    :param keeper: looks after our certificates; None: nobody does.
    """

    def __init__(
        self,
        counts: Metrics,
        log: Log,
        registrations: Callable[[], Iterable[Registration]],
        *,
        own_host: str,
        epmd_port: int,
        is_ours: Callable[[str, int], bool] = lambda _address, _port: False,
        keeper: CertificateKeeper | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.log = log
        self._counts = counts
        self._registrations = registrations
        self._own_host = own_host
        self._local = LocalDialer(is_ours)
        self._clock = clock
        self._roster = Roster()
        self._keeper = keeper
        self._encryption = Encryption()
        self._scout = Scout(
            counts, epmd_port, own_host, self._roster.port_of, lambda: self._encryption, is_ours
        )
        self._prepared: Prepared | None = None
        self._listeners: dict[str, tuple[Source, trio.CancelScope]] = {}
        self._joiners: dict[LocalNode, tuple[Joiner, trio.CancelScope]] = {}
        self._wanted: Wanted | None = None
        self._cut: set[str] = set()
        self._is_full = False
        self._changed = trio.Event()
        self._gauges = Gauges(counts, self._roster, lambda: self.joiners, clock)

    @property
    def is_on(self) -> bool:
        """Whether there is anything to do."""
        return self._prepared is not None

    @property
    def descriptors(self) -> int:
        """Sockets that it holds now, those of sources left out: they are few."""
        return len(self._joiners) + self._scout.descriptors

    @property
    def is_ready(self) -> bool:
        """Whether each local node, of which there is one, is connected to as many peers as `ready` says."""
        if self._prepared is None or not self._prepared.section.ready.peers:
            return True
        wanted = self._prepared.section.ready.peers
        joiners = [joiner for joiner in self.joiners if not joiner.is_left_out]
        return bool(joiners) and all(joiner.is_linked and joiner.connected >= wanted for joiner in joiners)

    @property
    def joiners(self) -> list[Joiner]:
        """Of every local node that is to be joined."""
        return [joiner for joiner, _ in self._joiners.values()]

    @property
    def running(self) -> Mapping[str, tuple[SourceSection, Source]]:
        """The sources that run."""
        return self._prepared.sources if self._prepared else {}

    def local_names(self) -> list[str]:
        """The whole names of the local nodes that are joined now."""
        return [joiner.name for joiner in self.joiners if joiner.is_linked and joiner.name and joiner.group]

    def port_of(self, alive: str, host: str) -> int | None:
        """The port that a source told for a node."""
        return self._roster.port_of(f"{alive}@{host}")

    def take_on(self, prepared: Prepared | None) -> None:
        """Make a configuration the running one; sources that it leaves as they were go on."""
        before = self.running
        self._prepared = prepared
        self._wanted = None if prepared is None else Wanted(self._roster, prepared, self._clock)
        self._cut.clear()
        after = self.running
        self._roster.have(
            [(name, _kind(section)) for name, (section, _) in after.items()],
            keep=frozenset(name for name, pair in after.items() if before.get(name) == pair),
        )
        if prepared is None:
            for _, scope in self._joiners.values():
                scope.cancel()  # now, or each says first that its node is left out
        self._take_certificates(None if prepared is None else prepared.certificates)
        self._note_change()
        for joiner in self.joiners:
            joiner.try_again()
        self._gauges.show(prepared)

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; our connections to nodes are closed at the end."""
        async with trio.open_nursery() as nursery:
            task_status.started()
            while True:
                self._changed = trio.Event()
                self._keep_sources(nursery)
                self._keep_joiners(nursery)
                self._forget_the_long_gone()
                with trio.move_on_after(LOCAL_LOOK_SECONDS if self.is_on else float("inf")):
                    await self._changed.wait()

    def view(self) -> dict[str, Any] | None:
        """What there is to see, in terms of JSON; None where there is no cluster."""
        if self._prepared is None or self._wanted is None:
            return None
        view = View(self._roster, self._prepared, self._clock())
        namings = {group.name: self._wanted.namings(group) for group in self._prepared.groups.all}
        return view.whole(self.joiners, lambda group: namings[group.name], is_ready=self.is_ready)

    # What runs.

    def _keep_sources(self, nursery: trio.Nursery) -> None:
        wanted = self.running
        for name, (source, scope) in list(self._listeners.items()):
            if name not in wanted or wanted[name][1] is not source:
                scope.cancel()
                del self._listeners[name]
        for name, (_, source) in wanted.items():
            if name not in self._listeners:
                scope = trio.CancelScope()
                self._listeners[name] = source, scope
                listener = Listener(name, source, self._taker(name, source), self._counts, lambda: self.log)
                nursery.start_soon(self._within, scope, listener.run)

    def _keep_joiners(self, nursery: trio.Nursery) -> None:
        wanted = dict.fromkeys(self._local_nodes())
        for local, (_, scope) in list(self._joiners.items()):
            if local not in wanted:
                scope.cancel()
                del self._joiners[local]
        for local in wanted:
            if local not in self._joiners and self._has_room():
                scope = trio.CancelScope()
                joiner = Joiner(local, self, self._counts, lambda: self.log, self._clock)
                self._joiners[local] = joiner, scope
                nursery.start_soon(self._within, scope, joiner.run)

    def _has_room(self) -> bool:
        """Whether one more local node can be joined; the first that cannot is told."""
        has_room = len(self._joiners) < MAX_LOCAL_NODES
        if not has_room and not self._is_full:
            self._counts.count(metrics.CLUSTER_LEFT_OUT, "max_nodes")
            self.log.warning("more nodes are registered than are joined", most=MAX_LOCAL_NODES)
        self._is_full = not has_room
        return has_room

    def _local_nodes(self) -> Iterable[LocalNode]:
        if self._prepared is None:
            return ()
        return local_nodes(self._registrations(), self._prepared.nodes, self._prepared.section.named)

    async def _within(self, scope: trio.CancelScope, run: Callable[[], Any]) -> None:
        """Run a task that ends with its scope; a fault of ours costs a pause, not the process."""
        with scope:
            while True:
                try:
                    await run()
                except* Exception as errors:  # noqa: BLE001 - one node's trouble is no other's
                    note_fault(self._counts, self.log, errors)
                await trio.sleep(1)

    def _taker(self, name: str, source: Source) -> Callable[[Known | Unknown], None]:
        def left_out(reason: str) -> None:
            self._counts.count(metrics.CLUSTER_LEFT_OUT, reason)

        def take(said: Known | Unknown) -> None:
            if name not in self.running or self.running[name][1] is not source:
                return  # another one has its place already
            version = self._roster.version
            self._roster.take(name, said, self._clock(), left_out)
            if self._roster.version != version:
                self._note_change()

        return take

    def _note_change(self) -> None:
        self._changed.set()
        for joiner in self.joiners:
            joiner.stir()

    def _forget_the_long_gone(self) -> None:
        if self._prepared is not None:
            hold = float(self._prepared.section.hold)
            self._roster.forget(self._clock(), hold + FORGET_SECONDS)

    def _take_certificates(self, certificates: Certificates | None) -> None:
        self._encryption = Encryption(certificates)
        if self._keeper is None:
            return
        if certificates is None:
            self._keeper.forget(ROLE)
        else:
            self._keeper.keep(ROLE, certificates, self._renew)

    def _renew(self, certificates: Certificates) -> None:
        """Have new connections use certificates whose files have changed; try again what failed."""
        self._encryption = Encryption(certificates)
        for joiner in self.joiners:
            joiner.try_again()

    # What joiners ask.

    @property
    def version(self) -> object:
        """Changes when somebody may be wanted who was not, or the other way round."""
        return None if self._wanted is None else (self._wanted, self._wanted.version)

    def wants(self, node: str) -> Wants:
        """What a node is joined with."""
        if self._wanted is None:
            return Wants(None, ())
        wants, cut = self._wanted.of(node)
        if not cut:
            self._cut.discard(node)
        elif node not in self._cut:
            self._cut.add(node)
            self._counts.count(metrics.CLUSTER_LEFT_OUT, "max_peers")
            self.log.warning("more peers are named than a node is joined with", node=node, left_out=cut)
        return wants

    def gone_since(self, name: str) -> float | None:
        """Since when no source names a node that is to be disconnected for that; None: it is not."""
        if self._prepared is None or self._prepared.section.disconnect != "gone":
            return None
        return self._roster.gone_since(name, self._clock(), self._prepared.section.hold)

    async def open(self, local: LocalNode, met: Callable[[str], None]) -> NodeLink:
        """Connect to a local node, and tell its whole name. Raises NodeError."""
        seen = Seen(local.port, is_old=local.highest <= OLD_HIGHEST)
        if not local.port:
            seen = await self._scout.look(local.name, again=False)

        encryption = self._encryption
        if self._prepared is None:  # it was taken away a moment ago
            raise NodeError("left_out")
        users, dialled = self._prepared.users, None

        async def dial() -> OwnedConnection:
            nonlocal dialled
            if not local.port:
                sock = await self._scout.dial(local.name, seen)
            else:
                sock = dialled = await self._local.dial(local.port, users)
            return await encryption.begin(sock, self._certified_host(local), TLS_SECONDS)

        def cookie(name: str) -> bytes:
            met(name)
            if dialled is not None:
                self._local.check(dialled, users)
            return self._cookie_for(name)

        return await NodeLink.open(
            dial, self._own_host, cookie, local.name, is_old=seen.is_old, framing=encryption.framing
        )

    def _certified_host(self, local: LocalNode) -> str:
        """Whom a local node's certificate must be for."""
        if not local.port:
            return local.name.partition("@")[2]
        tls = None if self._prepared is None else self._prepared.section.tls
        return (tls and tls.server_name) or self._own_host

    async def look(self, name: str, *, again: bool) -> int | None:
        """See whether a peer is there; its port if that is on this machine. Raises NodeError."""
        seen = await self._scout.look(name, again=again)
        return seen.port if seen.is_here else None

    async def reason_against(self, name: str) -> NodeError:
        """Say why a node could not connect to a peer."""
        return await self._scout.reason_against(name)

    def _cookie_for(self, node: str) -> bytes:
        """The cookie of a node's group, read anew: it may have been changed."""
        group = None if self._prepared is None else self._prepared.group_of(node)
        if group is None:
            raise NodeError("left_out")
        try:
            return group.cookie.read(os.environ, "cluster.")
        except ConfigError as error:
            raise NodeError("cookie_file", str(error)) from None


def _kind(section: SourceSection) -> str:
    kind = section.__struct_config__.tag
    assert isinstance(kind, str), "each kind has a tag"
    return kind
