"""A zone that is written to: what of it is ours, and what dead hosts left there."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import trio

from epmdless import metrics
from epmdless.config import ALL_NODES
from epmdless.errors import RemoteProtocolError
from epmdless.metrics import Metrics
from epmdless.publish.lease import Lease, read_lease_untrusted
from epmdless.publish.ledger import RECORD_BYTES, Ledger, portions, size_of
from epmdless.publish.prepared import Prepared
from epmdless.publish.records import records_of, service_owner
from epmdless.resolve.dns_records import Record, RecordType, strings_of
from epmdless.resolve.dns_tsig import FUDGE
from epmdless.resolve.dns_update import MAX_MESSAGE, Connect, Update, UpdateError, Updater, connect

MAX_SWEPT = 20
"""Nodes that one update takes out: their records and all leases of the zone are to fit a message."""

OF_ITS_CONTENT = frozenset({"failed", "refused"})
"""Reasons that may lie in one record of many: BIND says SERVFAIL where a set of records is full, and REFUSED
for a name that its policy does not allow."""

MAX_REFUSED = 10
"""Updates that are refused in a row until the reason is not one node of many: halving those of one update
finds that one in 9 at most."""

HEAD_BYTES = 1024
"""Of a message besides its records: the zone's name, and more than any key's signature has."""

SPARE_BYTES = 4096
"""Of an answer with all leases, beyond which no node is added: for those that several hosts add at a time,
and for what a message that sweeps has besides. A set that no answer holds can be read by nobody."""

LONG_OVER = 2.0 * FUDGE
"""Seconds after its end when a signed lease is over whatever the clocks are: nobody signs updates whose clock
is further off the server's than half of that."""

READ_AT_ONCE = 200
"""Leases that are read before others have a turn: 2 ms."""


class Found(NamedTuple):
    """A lease in the zone, and its record's data as they were read."""

    rdata: bytes
    lease: Lease


class Zone:
    """What we know of a zone, and how it is changed.

    :ivar ledger: what is ours.
    :ivar prepared: the terms on which it is written to; may be changed, but for the zone's name.
    """

    def __init__(
        self,
        prepared: Prepared,
        counts: Metrics,
        *,
        clock: Callable[[], float] = time.time,
        connect: Connect = connect,
    ) -> None:
        self.prepared = prepared
        self.ledger = Ledger()
        self._owner = service_owner(ALL_NODES, prepared.terms.zone)
        self._counts = counts
        self._clock = clock
        self._connect = connect
        self._updater = self._make_updater()
        self._first_seen: dict[bytes, float] = {}
        self._texts: tuple[bytes, ...] = ()
        self._others_bytes = 0
        self._found: list[Found] = []

    @property
    def name(self) -> str:
        """Of the zone, in lower case, without its last dot."""
        return self.prepared.terms.zone

    def take_on(self, prepared: Prepared) -> None:
        """Go on with other terms, of the same zone."""
        self.close()
        self.prepared = prepared
        self._updater = self._make_updater()

    def _make_updater(self) -> Updater:
        prepared = self.prepared
        return Updater(
            prepared.terms.zone,
            prepared.servers,
            prepared.key,
            ttl=prepared.ttl,
            timeout=prepared.timeout,
            connect=self._connect,
            clock=self._clock,
        )

    def time(self) -> float:
        """Seconds since 1970 by the clock that leases are counted by: the server's."""
        return self._updater.server_time()

    def close(self) -> None:
        """Close the connection to the server, if there is one."""
        self._updater.close()

    async def bring(self, wanted: Mapping[Record, str]) -> None:
        """Have the zone hold all these, and nothing else that is ours.

        What the server does not take of one node, since the zone is full, or its policy does not allow the
        name, is no harm to the others: an update that it refuses is made again in halves.

        :param wanted: records, and the nodes that they belong to.
        :raises UpdateError: part of it is not done, or may not be.
        """
        waiting = deque(self.ledger.updates(wanted))
        refusal: UpdateError | None = None
        in_a_row, until = 0, float("inf")
        while waiting:
            update = waiting.popleft()
            self.ledger.sending(update, wanted)
            try:
                await self._update(update)
            except UpdateError as error:
                in_a_row += 1
                until = min(until, trio.current_time() + self.prepared.timeout)
                is_over = in_a_row == MAX_REFUSED or trio.current_time() > until
                if error.reason not in OF_ITS_CONTENT or is_over:
                    raise
                refusal = refusal or error
                waiting.extendleft(reversed(list(self.ledger.refused(update, wanted))))
            else:
                in_a_row = 0
                self.ledger.done(update)
            await trio.lowlevel.checkpoint()
        if refusal is not None:
            raise refusal

    async def look(self) -> Sequence[Found]:
        """Read all leases in the zone; raises UpdateError."""
        try:
            texts = await self._updater.ask_txt(self._owner)
        except UpdateError as error:
            raise UpdateError(error.reason, f"the question for what is there: {error}") from None
        found = []
        for number, rdata in enumerate(texts):
            lease = _read(rdata)
            if lease is not None:
                found.append(Found(rdata, lease))
            if number % READ_AT_ONCE == READ_AT_ONCE - 1:
                await trio.lowlevel.checkpoint()
        now = trio.current_time()
        self._first_seen = {each.rdata: self._first_seen.get(each.rdata, now) for each in found}
        self._texts = texts
        self._found = found
        return found

    async def sweep(self, wanted: Mapping[Record, str]) -> list[str]:
        """Take out what dead hosts left, of what the last look found; our own is not among it.

        :param wanted: our records.
        :returns: the names of the nodes that were taken out. Where the zone has changed since the look, so
            that one of them could live again, nothing is: the next look finds it.
        :raises UpdateError: part of it is not done, or may not be.
        """
        dead = [each for each in self._found if self._is_dead(each)]
        if not dead:
            return []
        gone = {each.rdata for each in dead}
        spared = set(wanted)
        for number, each in enumerate(self._found):
            if each.rdata not in gone:
                spared |= self._records(each)
            if number % READ_AT_ONCE == READ_AT_ONCE - 1:
                await trio.lowlevel.checkpoint()
        swept: list[str] = []
        for portion in self._portions(dead):
            try:
                for update in self._sweeping(portion, spared):
                    await self._update(update)
            except UpdateError as error:
                if error.reason == "changed":
                    break
                raise
            taken = {each.rdata for each in portion}
            self._texts = tuple(rdata for rdata in self._texts if rdata not in taken)
            self._found = [each for each in self._found if each.rdata not in taken]
            swept += [each.lease.node for each in portion]
        return swept

    def _portions(self, dead: Sequence[Found]) -> Iterator[Sequence[Found]]:
        """Those that are taken out together: their leases fit one message, with all of the zone's. What alone
        would not fit stays until others have gone."""
        start = 0
        while start < len(dead):
            room = self._room()
            end = start
            while end < min(len(dead), start + MAX_SWEPT):
                room -= len(self._owner) + RECORD_BYTES + len(dead[end].rdata)
                if room < 0:
                    break
                end += 1
            if end == start:
                return
            yield dead[start:end]
            start = end

    def _room(self) -> int:
        """Bytes of a message that are left beside all leases of the zone."""
        leases = sum(RECORD_BYTES + len(rdata) for rdata in self._texts)
        return MAX_MESSAGE - HEAD_BYTES - leases

    def measure(self) -> None:
        """Note how much of what the last look found is others', once it is known what is ours."""
        others = [Record(self._owner, RecordType.TXT, rdata) for rdata in self._texts]
        self._others_bytes = sum(RECORD_BYTES + len(each.rdata) for each in others if each not in self.ledger)

    def room_for_ours(self) -> int:
        """Bytes that our leases may have, beside those of others."""
        return MAX_MESSAGE - HEAD_BYTES - SPARE_BYTES - self._others_bytes

    def size_of_lease(self, records: Iterable[Record]) -> int:
        """Bytes by which one of our nodes makes an answer with all leases longer."""
        return sum(
            RECORD_BYTES + len(record.rdata)
            for record in records
            if record.owner == self._owner and record.rdtype == RecordType.TXT
        )

    def records(self, lease: Lease) -> list[Record]:
        """The records of one of our nodes."""
        return list(records_of(lease, self.name))

    def adopt(self, found: Found) -> None:
        """What was found is ours: of an earlier life, or of an update whose answer did not come."""
        self.ledger.adopt(self._records(found), found.lease.node)

    def is_known(self, found: Found) -> bool:
        """Whether what was found is of our own making."""
        return Record(self._owner, RecordType.TXT, found.rdata) in self.ledger

    def _is_dead(self, found: Found) -> bool:
        """Whether a lease is over, and its host dead rather than our clock ahead: it had the time to refresh
        it since we first saw it, as hosts that have the same `lease` do three times in that. Unsigned, our
        clock is compared with no other, and may be off by anything: that time alone counts."""
        now = self.time()
        if self.is_known(found) or not found.lease.is_over(now):
            return False
        if self.prepared.key is not None and found.lease.is_over(now, LONG_OVER):
            return True
        return trio.current_time() - self._first_seen[found.rdata] >= self.prepared.lease / 2

    def _sweeping(self, dead: Sequence[Found], spared: set[Record]) -> Iterator[Update]:
        """One update; where it would be too long, their records first, and then the leases, which say where
        they are."""
        exactly = [Record(self._owner, RecordType.TXT, rdata) for rdata in self._texts]
        leases = [Record(self._owner, RecordType.TXT, each.rdata) for each in dead]
        others: set[Record] = set()
        for each in dead:
            others |= self._records(each)
        others -= spared | set(leases)
        room = self._room()
        if sum(map(size_of, others)) + sum(map(size_of, leases)) <= room:
            yield Update([*others, *leases], exactly=exactly)
            return
        fitting = (record for record in others if size_of(record) <= room)
        yield from (Update(delete, exactly=exactly) for delete in portions(fitting, room))
        yield Update(leases, exactly=exactly)

    def _records(self, found: Found) -> set[Record]:
        """The records of a lease that was read; its TXT records as they are, since they may say more than we
        know."""
        try:
            records = list(records_of(found.lease, self.name))
        except ValueError:  # names that DNS cannot hold together: nobody has published those
            records = [Record(self._owner, RecordType.TXT, b"")]
        return {
            record._replace(rdata=found.rdata) if record.rdtype == RecordType.TXT else record
            for record in records
        }

    async def _update(self, update: Update) -> None:
        try:
            await self._updater.update(update)
        except UpdateError as error:
            self._counts.count(metrics.PUBLISH_UPDATES, error.reason)
            raise
        self._counts.count(metrics.PUBLISH_UPDATES, "done")


def _read(rdata: bytes) -> Lease | None:
    try:
        return read_lease_untrusted(strings_of(rdata))
    except RemoteProtocolError:
        return None
