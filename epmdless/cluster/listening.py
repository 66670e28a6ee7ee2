"""A source at work: run again whenever it fails, and everything that it says taken down."""

from __future__ import annotations

import random
from collections.abc import Callable

import trio

from epmdless import metrics
from epmdless.cluster.peers import MAX_NAMES, Known, LookError, Source, Unknown
from epmdless.cluster.sources.polling import LONGEST_PAUSE, pause
from epmdless.log import Log
from epmdless.metrics import Metrics
from epmdless.net.faults import first_of, note_fault

RESTART_SECONDS = 1.0
"""Before a source that ended is run again; doubled each time, up to LONGEST_PAUSE, unless it lasted longer
than that: one that says who is there and then falls over does so each time."""

Take = Callable[[Known | Unknown], None]


class Listener:
    """Runs one source.

    :param take: told everything that the source says, within bounds.
    :param rng: a number in [0, 1).
    """

    def __init__(
        self,
        name: str,
        source: Source,
        take: Take,
        counts: Metrics,
        log: Callable[[], Log],
        rng: Callable[[], float] = random.random,
    ) -> None:
        self.name = name
        self._source = source
        self._take = take
        self._counts = counts
        self._log = log
        self._rng = rng
        self._failures = 0
        self._trouble: tuple[str, str] | None = None

    async def run(self) -> None:
        """Run it until cancelled."""
        while True:
            began = trio.current_time()
            self._heard(await self._end())
            lasted = trio.current_time() - began
            self._failures = 1 if lasted >= LONGEST_PAUSE else self._failures + 1
            await trio.sleep(pause(RESTART_SECONDS, self._failures, self._rng()))

    async def _end(self) -> Unknown:
        """Run it up to its end, which is one more failure, and say how that came."""
        end = Unknown("failed", "it ended")
        try:
            await self._source.run(self._heard)
        except* LookError as errors:
            end = first_of(errors).unknown
        except* Exception as errors:  # noqa: BLE001 - a fault in one source must not end the others
            note_fault(self._counts, self._log(), errors)
            end = Unknown("internal", "a fault of epmdless")
        return end

    def _heard(self, said: Known | Unknown) -> None:
        if isinstance(said, Known) and len(said.peers) > MAX_NAMES:
            said = Unknown("too_many", f"more than {MAX_NAMES} names")
        if isinstance(said, Known):
            self._counts.count(metrics.CLUSTER_SOURCE_ANSWERS, self.name, "partly" if said.doubt else "known")
            self._note("a source of names does not know all", said.doubt)
        else:
            self._counts.count(metrics.CLUSTER_SOURCE_ANSWERS, self.name, said.reason)
            self._note("a source of names does not know", said)
        self._take(said)

    def _note(self, event: str, trouble: Unknown | None) -> None:
        """Say what is wrong, or that nothing is any more: once for each change."""
        now = trouble and (event, trouble.reason)
        if now != self._trouble and trouble is not None:
            self._log().warning(event, source=self.name, reason=trouble.reason, detail=trouble.detail)
        elif now != self._trouble:
            self._log().info("a source of names knows again", source=self.name)
        self._trouble = now
