"""The task that keeps a zone as it should be: who registers is published, who leaves is withdrawn.

Nothing that registers or asks ever waits for it. It looks at the registry a few times a second; what changed
meanwhile goes into one update.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import trio

from epmdless import metrics
from epmdless.log import Log
from epmdless.metrics import Metrics
from epmdless.net.faults import note_fault
from epmdless.platforms.default_route import address_of_route
from epmdless.platforms.facts import PlatformError, checked_address
from epmdless.publish.former import FormerZones, note_remains
from epmdless.publish.lease import SKEW, Lease
from epmdless.publish.prepared import Prepared
from epmdless.publish.progress import Progress
from epmdless.publish.records import Choice, Terms, choose
from epmdless.publish.views import view_of_nodes, view_of_terms
from epmdless.publish.zone import Found, Zone
from epmdless.registry import Registration, Registry
from epmdless.resolve.dns_records import Record
from epmdless.resolve.dns_update import Connect, UpdateError, connect

LOOK_SECONDS = 0.25
"""Between two looks at who is registered: what changes in that time is written at once."""

WITHDRAW_SECONDS = 3.0
"""For taking everything out at the end. A service manager gives a process more; what is left is swept by
others when its lease is over."""

WORK_AT_ONCE = 50
"""Registrations, or nodes, that are looked at before others have a turn: at most 2 ms."""


class ZoneKeeper:
    """Publishes the registrations of this process.

    :param registry: gives the registry; it may change.
    :param clock: seconds since 1970.
    :param chance: a number in [0, 1).
    """

    def __init__(
        self,
        counts: Metrics,
        log: Log,
        registry: Callable[[], Registry],
        *,
        clock: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
        connect: Connect = connect,
    ) -> None:
        self.log = log
        self._counts = counts
        self._registry = registry
        self._clock = clock
        self._chance = chance
        self._connect = connect
        self._zone: Zone | None = None
        self._progress = self._new_progress("", 0)
        self._former = FormerZones(counts, lambda: self.log)
        self._changed = trio.Event()
        self._turn_scope: trio.CancelScope | None = None
        self._lock = trio.Lock()
        self._is_withdrawing = False
        self._offset: float | None = None
        self._forget()

    def _forget(self) -> None:
        """What was known of a zone is of no use for another one."""
        self._has_looked = False
        self._twin: str | None = None
        self._seen = -1
        self._is_behind = False
        self._verdicts: dict[tuple[str, int], Lease | str | None] = {}
        self._choice = Choice({}, {})
        self._leases: dict[str, Lease] = {}
        self._records: dict[str, list[Record]] = {}

    def take_on(self, prepared: Prepared | None) -> None:
        """Make a configuration the running one; what it does not want any more is withdrawn.

        :param prepared: None: nothing is to be published.
        """
        before = self._zone
        if before is not None and prepared is not None:
            prepared = prepared.after(before.prepared)
        if before is not None and before.prepared == prepared:
            return
        if self._turn_scope is not None:
            self._turn_scope.cancel()
        if before is not None and (prepared is None or prepared.terms.zone != before.name):
            self._leave(before)
        if prepared is not None:
            self._go_to(prepared)
        self._show_gauges()
        self._changed.set()

    def _leave(self, zone: Zone) -> None:
        self._former.add(zone)
        self._zone = None
        self._forget()

    def _go_to(self, prepared: Prepared) -> None:
        if self._zone is None:
            self._zone = self._former.take_back(prepared.terms.zone) or self._new_zone(prepared)
            self._progress = self._new_progress(prepared.terms.zone, prepared.lease)
        elif prepared.terms.target != self._zone.prepared.terms.target:
            self._has_looked = False
        self._zone.take_on(prepared)
        self._progress.hurry(prepared.lease)
        self._verdicts.clear()
        self._seen = -1
        self._twin = None

    def _new_zone(self, prepared: Prepared) -> Zone:
        return Zone(prepared, self._counts, clock=self._clock, connect=self._connect)

    def _new_progress(self, zone: str, lease: float) -> Progress:
        return Progress(lambda: self.log, zone, lease, self._chance)

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Publish until cancelled; nothing is withdrawn by that, see `withdraw`."""
        task_status.started()
        while True:
            self._changed = trio.Event()
            await self._turn()
            is_idle = self._zone is None and not self._former
            with trio.move_on_after(float("inf") if is_idle else LOOK_SECONDS):
                await self._changed.wait()

    async def withdraw(self) -> None:
        """Take everything out, in `WITHDRAW_SECONDS` at most; nothing is published after that."""
        self._is_withdrawing = True
        if self._turn_scope is not None:
            self._turn_scope.cancel()
        zones = [*self._former, *([self._zone] if self._zone else [])]
        zones = [zone for zone in zones if not zone.ledger.is_empty]
        with trio.move_on_after(WITHDRAW_SECONDS) as scope:
            async with self._lock, trio.open_nursery() as nursery:
                for zone in zones:
                    nursery.start_soon(self._take_out, zone)
        if scope.cancelled_caught:
            self.log.warning("not all is withdrawn", reason="timeout", within=WITHDRAW_SECONDS)

    async def _take_out(self, zone: Zone) -> None:
        """As often as a server is only slow: what it was told before it carries out meanwhile."""
        while True:
            try:
                await zone.bring({})
            except UpdateError as error:
                if error.reason == "timeout":
                    continue
                note_remains(self.log, zone, error)
            except Exception as error:  # noqa: BLE001 - a fault of ours must not hold the end up
                note_fault(self._counts, self.log, error)
            else:
                self.log.info("withdrawn", zone=zone.name)
            finally:
                zone.close()
            return

    def view(self) -> dict[str, Any] | None:
        """What is published, in terms of JSON; None where nothing is to be."""
        if self._zone is None:
            return None
        progress = self._progress.view(trio.current_time())
        if self._is_withdrawing:
            progress["state"] = "withdrawing"
        return {
            **view_of_terms(self._zone.prepared),
            **progress,
            "records": len(self._zone.ledger),
            "twin": self._twin,
            **view_of_nodes(self._choice, self._is_published),
        }

    # What runs.

    async def _turn(self) -> None:
        """One look, and what it brings."""
        async with self._lock:
            with trio.CancelScope() as self._turn_scope:
                await self._attempt()
                if not self._is_withdrawing:
                    await self._former.clear()
            self._turn_scope = None

    async def _attempt(self) -> None:
        zone, progress = self._zone, self._progress
        if zone is None or self._is_withdrawing:
            return
        if self._is_clock_set():
            progress.refresh_at = float("-inf")
        try:
            await self._look_at_registry(zone.prepared.terms)
            if not progress.is_due(trio.current_time(), is_changed=self._is_behind):
                return
            self._is_behind = False
            await self._publish(zone)
        except UpdateError as error:
            progress.failed(error, trio.current_time())
        except Exception as error:  # noqa: BLE001 - a fault of ours must not end what else is served
            note_fault(self._counts, self.log, error)
            progress.failed(UpdateError("failed", "internal error"), trio.current_time())
        else:
            progress.succeeded(trio.current_time(), len(self._choice.leases))
        finally:
            zone.close()

    def _is_clock_set(self) -> bool:
        """Whether the clock that leases are counted by was set since the last look, or the machine has slept:
        what was written counts for more or less time than it should."""
        before, self._offset = self._offset, self._clock() - trio.current_time()
        return before is not None and abs(self._offset - before) > SKEW

    async def _look_at_registry(self, terms: Terms) -> None:
        """See who is registered, if that has changed: it is shown even where nothing can be written."""
        registry = self._registry()
        if registry.changes != self._seen:
            self._seen = registry.changes
            self._is_behind = True
            self._choice = await self._choose(registry, terms)

    async def _publish(self, zone: Zone) -> None:
        """Bring the zone up to date, and all of it where that is due; raises UpdateError."""
        is_refresh = trio.current_time() >= self._progress.refresh_at
        if zone.prepared.follows_route and (is_refresh or not zone.prepared.terms.addresses):
            await self._follow_route(zone)
        failure = await self._look(zone) if is_refresh else None
        if is_refresh and "zone_full" in self._choice.left_out.values():  # there may be room now
            self._choice = await self._choose(self._registry(), zone.prepared.terms)
        self._lease(zone, is_refresh=is_refresh)
        await trio.lowlevel.checkpoint()
        wanted = await self._wanted(zone)
        if is_refresh:
            if failure is None:  # now: what we write changes what was looked at
                failure = await self._sweep(zone, wanted)
            zone.ledger.doubt()
            await trio.lowlevel.checkpoint()
        await zone.bring(wanted)
        if failure is not None:
            raise failure
        if is_refresh:
            self._progress.refreshed(trio.current_time())

    async def _follow_route(self, zone: Zone) -> None:
        """Take the address of the default route for the target's. While there is no route the last one stays;
        raises UpdateError where there never was any."""
        own = address_of_route()
        try:
            address = None if own is None else checked_address(own, "the default route")
        except PlatformError:
            address = None
        if address is None and zone.prepared.terms.addresses:
            return
        if address is None:
            raise UpdateError(
                "no_address", "no default route tells this host's address: set publish.addresses"
            )
        if zone.prepared.terms.addresses != (address,):
            zone.take_on(zone.prepared.at(address))
            self._verdicts.clear()
            self._choice = await self._choose(self._registry(), zone.prepared.terms)

    async def _choose(self, registry: Registry, terms: Terms) -> Choice:
        verdicts: dict[tuple[str, int], Lease | str | None] = {}
        oldest_first: list[Registration] = list(registry)[::-1]
        for number, registration in enumerate(oldest_first, 1):
            key = registration.node.name, registration.node.port
            verdicts[key] = self._verdicts[key] if key in self._verdicts else terms.judge(*key)
            if number % WORK_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
        self._verdicts = verdicts
        await trio.lowlevel.checkpoint()
        choice = choose(((alive, verdict) for (alive, _), verdict in verdicts.items()), terms.host)
        await trio.lowlevel.checkpoint()
        return choice

    def _lease(self, zone: Zone, *, is_refresh: bool) -> None:
        """Set until when each node counts. While refreshing fails, one time serves several attempts: each
        may have reached the zone, and is remembered."""
        seconds = zone.prepared.lease
        until = math.ceil(zone.time() + seconds)
        leases = {}
        for node, chosen in self._choice.leases.items():
            before = self._leases.get(node)
            is_kept = before is not None and (not is_refresh or abs(until - before.until) <= seconds / 6)
            leases[node] = replace(chosen, until=before.until if is_kept and before else until)
        self._leases = leases

    async def _look(self, zone: Zone) -> UpdateError | None:
        """Look at what is in the zone, and take what is ours; returns the error by which that failed, which
        is no reason not to write."""
        try:
            found = await zone.look()
        except UpdateError as error:
            return error
        target = zone.prepared.terms.target
        bearing = [each for each in found if each.lease.target == target and not zone.is_known(each)]
        self._note_twin(target, [each for each in bearing if not self._is_taken(zone, each)])
        zone.measure()
        self._has_looked = True
        return None

    def _is_taken(self, zone: Zone, found: Found) -> bool:
        """Take what bears our target: an earlier life's, our own, or, if we live for a while already, that of
        another host which calls itself as we do. That one's is left alone, or two would fight for ever."""
        if not self._has_looked or found.lease.node in self._choice.leases:
            zone.adopt(found)
            return True
        return found.lease.is_over(zone.time())

    def _note_twin(self, target: str, twins: Sequence[Found]) -> None:
        """Tell of the other host when it comes, and forget it when it has gone."""
        before, self._twin = self._twin, twins[0].lease.node if twins else None
        if before is None and self._twin is not None:
            self.log.warning("another host publishes nodes under our target", target=target, node=self._twin)

    async def _wanted(self, zone: Zone) -> dict[Record, str]:
        """All records that are to be there. A node that the zone has no room for is left out; none that is
        there already."""
        wanted: dict[Record, str] = {}
        self._records = {}
        room = zone.room_for_ours()
        there_first = sorted(self._leases.items(), key=lambda item: not zone.ledger.is_held(item[0]))
        for number, (node, lease) in enumerate(there_first, 1):
            records = zone.records(lease)
            size = zone.size_of_lease(records)
            if size > room and not zone.ledger.is_held(node):
                self._leave_out(node, "zone_full")
                continue
            room -= size
            self._records[node] = records
            for record in records:
                wanted.setdefault(record, node)
            if number % WORK_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
        return wanted

    def _leave_out(self, node: str, reason: str) -> None:
        del self._leases[node], self._choice.leases[node]
        self._choice.left_out[node] = reason

    async def _sweep(self, zone: Zone, wanted: Mapping[Record, str]) -> UpdateError | None:
        """Take out what dead hosts left; returns the error by which that failed, as `_look`."""
        try:
            swept = await zone.sweep(wanted)
        except UpdateError as error:
            return error
        for _ in swept:
            self._counts.count(metrics.PUBLISH_SWEPT)
        if swept:
            self.log.info("records of dead hosts removed", zone=zone.name, nodes=len(swept), first=swept[0])
        return None

    # What can be seen.

    def _is_published(self, node: str) -> bool:
        """Whether all records of a node are there, as it is registered now."""
        lease, records = self._leases.get(node), self._records.get(node)
        if lease is None or records is None or self._zone is None:
            return False
        chosen = self._choice.leases[node]
        return replace(lease, until=chosen.until) == chosen and self._zone.ledger.is_certain(records)

    def _show_gauges(self) -> None:
        states = {
            "published": lambda: sum(map(self._is_published, self._choice.leases)),
            "pending": lambda: sum(not self._is_published(node) for node in self._choice.leases),
            "left_out": lambda: len(self._choice.left_out),
        }
        if self._zone is None:
            for state in states:
                self._counts.forget(metrics.PUBLISH_NODES, (state,))
            self._counts.forget(metrics.PUBLISH_RECORDS, ())
            self._counts.forget(metrics.PUBLISH_AGE, ())
            return
        for state, read in states.items():
            self._counts.gauge(metrics.PUBLISH_NODES, read, (state,))
        self._counts.gauge(metrics.PUBLISH_RECORDS, lambda: len(self._zone.ledger) if self._zone else 0)
        self._counts.gauge(metrics.PUBLISH_AGE, self._age)

    def _age(self) -> float:
        last = self._progress.last_success
        return float("inf") if last is None else trio.current_time() - last
