"""Zones of earlier configurations, until nothing of ours is in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import trio

from epmdless.log import Log
from epmdless.metrics import Metrics
from epmdless.net.faults import note_fault
from epmdless.publish.progress import SHORTEST_PAUSE
from epmdless.publish.zone import Zone
from epmdless.resolve.dns_update import UpdateError

MAX_FORMER = 8
"""Of which the last are kept; what is in the others is swept when its lease is over."""


@dataclass
class _Former:
    zone: Zone
    failures: int = 0
    retry_at: float = float("-inf")
    give_up_at: float | None = None


class FormerZones:
    """Zones that are not ours to write to any more, but for taking out what we wrote.

    :param log: gives the log; it may change.
    """

    def __init__(self, counts: Metrics, log: Callable[[], Log]) -> None:
        self._counts = counts
        self._log = log
        self._all: list[_Former] = []

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Zone]:
        return iter([former.zone for former in self._all])

    def add(self, zone: Zone) -> None:
        """This one is of an earlier configuration now."""
        self._all = [*self._all, _Former(zone)][-MAX_FORMER:]

    def take_back(self, name: str) -> Zone | None:
        """The zone of this name, which is written to again; None: it is not among these."""
        found = next((former for former in self._all if former.zone.name == name), None)
        if found is None:
            return None
        self._all.remove(found)
        return found.zone

    async def clear(self) -> None:
        """Take everything out of each, as far as it is time to try."""
        for former in tuple(self._all):
            await self._clear(former)

    async def _clear(self, former: _Former) -> None:
        now = trio.current_time()
        if former.give_up_at is None:
            former.give_up_at = now + former.zone.prepared.lease
        if former.retry_at > now:
            return
        try:
            await former.zone.bring({})
        except UpdateError as error:
            former.retry_at = now + SHORTEST_PAUSE * 2**former.failures
            former.failures += 1
            if now < former.give_up_at:
                return
            note_remains(self._log(), former.zone, error)
        except Exception as error:  # noqa: BLE001 - a fault of ours must not end what else is served
            note_fault(self._counts, self._log(), error)
        finally:
            former.zone.close()
        self._all.remove(former)


def note_remains(log: Log, zone: Zone, error: UpdateError) -> None:
    """Say that something of ours is left in a zone, for others to sweep."""
    log.warning("not all is withdrawn", zone=zone.name, reason=error.reason, detail=str(error))
