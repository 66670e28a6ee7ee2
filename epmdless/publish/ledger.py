"""What is in the zone because of us, as far as anybody can know. Pure.

An update whose answer did not come may have been carried out, or be carried out yet. So two things are kept
apart: what may be there, which is taken out when it is not wanted, and what is there for certain, which is
not put in again. Both kinds of change may be made twice without harm (RFC 2136 §3.4.2).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from epmdless.resolve.dns_records import Record
from epmdless.resolve.dns_update import Update

MAX_CHANGES = 200
"""Records that one update changes: it is made and signed in a millisecond. A node's own are kept together
where they are fewer, so that none is there without its lease."""

MAX_BYTES = 40_000
"""Of those records: with their signature they are to fit a message (65,535)."""

MAX_KNOWN = 20_000
"""Records that may be there and are not wanted. A zone that was out of reach for days while nodes came and
went could make more; what is forgotten is found in the zone, or swept when its lease is over."""

RECORD_BYTES = 12
"""Of a record besides its owner and its data."""

Changes = tuple[list[Record], list[Record]]
"""Records of one node: what is taken out, and what is put in."""


class Ledger:
    """Records, each with the node that it belongs to.

    `_held` are nodes of which something was there, `_refusals` how often each was refused alone since.
    """

    def __init__(self) -> None:
        self._possible: dict[Record, str] = {}
        self._certain: set[Record] = set()
        self._held: set[str] = set()
        self._refusals: dict[str, int] = {}

    def __len__(self) -> int:
        """How many records are there for certain."""
        return len(self._certain)

    def __contains__(self, record: Record) -> bool:
        """Whether the record may be there because of us."""
        return record in self._possible

    @property
    def is_empty(self) -> bool:
        """Whether nothing can be there because of us."""
        return not self._possible

    def is_held(self, node: str) -> bool:
        """Whether something of the node was there."""
        return node in self._held

    def is_certain(self, records: Iterable[Record]) -> bool:
        """Whether all these are there."""
        return self._certain.issuperset(records)

    def adopt(self, records: Iterable[Record], node: str) -> None:
        """These may be there, and are ours."""
        for record in records:
            self._possible.setdefault(record, node)
        self._held.add(node)

    def doubt(self) -> None:
        """Nothing is certain: somebody may have taken it out."""
        self._certain.clear()

    def updates(self, wanted: Mapping[Record, str]) -> Iterator[Update]:
        """What is to be changed so that the zone holds all of this, and nothing else of ours."""
        self._forget_some(wanted)
        changes: dict[str, tuple[list[Record], list[Record]]] = {}
        for record, node in self._possible.items():
            if record not in wanted:
                changes.setdefault(node, ([], []))[0].append(record)
        for record, node in wanted.items():
            if record not in self._certain:
                changes.setdefault(node, ([], []))[1].append(record)
        self._held.intersection_update(self._possible.values())
        self._refusals = {node: times for node, times in self._refusals.items() if node in changes}
        return _packed(self._in_order(changes))

    def _in_order(self, changes: Mapping[str, Changes]) -> list[Changes]:
        """Those of nodes that are there already first, whose place in the zone nobody else is to take; those
        that were refused most often last, so that each has its turn."""
        order = sorted(changes, key=lambda node: (node not in self._held, self._refusals.get(node, 0)))
        return [changes[node] for node in order]

    def refused(self, update: Update, wanted: Mapping[Record, str]) -> Iterator[Update]:
        """The server does not take it: the same changes in two updates; none for the changes of one node.

        :param update: one of `updates`, or of these.
        """
        changes: dict[str, Changes] = {}
        for record in update.delete:
            changes.setdefault(self._possible[record], ([], []))[0].append(record)
        for record in update.add:
            changes.setdefault(wanted[record], ([], []))[1].append(record)
        if len(changes) == 1:
            (node,) = changes
            self._refusals[node] = self._refusals.get(node, 0) + 1
            return
        ordered = self._in_order(changes)
        middle = len(ordered) // 2
        for half in (ordered[:middle], ordered[middle:]):
            yield Update([each for old, _ in half for each in old], [each for _, new in half for each in new])

    def sending(self, update: Update, wanted: Mapping[Record, str]) -> None:
        """It is on its way: what becomes of it is not known."""
        self._certain.difference_update(update.delete)
        for record in update.add:
            self._possible.setdefault(record, wanted[record])

    def done(self, update: Update) -> None:
        """It was carried out."""
        for record in update.delete:
            self._possible.pop(record, None)
        self._certain.update(update.add)
        for record in update.add:
            self._held.add(self._possible[record])
            self._refusals.pop(self._possible[record], None)

    def _forget_some(self, wanted: Mapping[Record, str]) -> None:
        surplus = len(self._possible) - len(wanted) - MAX_KNOWN
        if surplus > 0:
            for record in [record for record in self._possible if record not in wanted][:surplus]:
                del self._possible[record]
                self._certain.discard(record)


def _packed(changes: Iterable[Changes]) -> Iterator[Update]:
    """Changes of nodes in as few updates as there may be."""
    delete: list[Record] = []
    add: list[Record] = []
    size = 0
    for removed, added in changes:
        own = sum(map(size_of, removed)) + sum(map(size_of, added))
        is_full = len(delete) + len(add) + len(removed) + len(added) > MAX_CHANGES or size + own > MAX_BYTES
        if is_full and (delete or add):
            yield Update(delete, add)
            delete, add, size = [], [], 0
        if own > MAX_BYTES:
            yield from _split(removed, added)
            continue
        delete, add, size = delete + removed, add + added, size + own
    if delete or add:
        yield Update(delete, add)


def _split(removed: list[Record], added: list[Record]) -> Iterator[Update]:
    """One node's, which no message could hold: one that belongs to very many services."""
    for delete in portions(removed, MAX_BYTES):
        yield Update(delete=delete)
    for add in portions(added, MAX_BYTES):
        yield Update(add=add)


def portions(records: Iterable[Record], most: int) -> Iterator[list[Record]]:
    """Records in lists of so many bytes at most; one that has more is in a list of its own."""
    portion: list[Record] = []
    size = 0
    for record in records:
        if portion and size + size_of(record) > most:
            yield portion
            portion, size = [], 0
        portion.append(record)
        size += size_of(record)
    if portion:
        yield portion


def size_of(record: Record) -> int:
    """How many bytes of a message it takes at most."""
    return len(record.owner) + RECORD_BYTES + len(record.rdata)
