"""What a source under test has around it, and what it says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

from epmdless.cluster.peers import Known, LookError, Source, Unknown
from epmdless.cluster.sources.build import Surroundings
from epmdless.metrics import Metrics
from tests.support.relays import Lines

RESTART_PAUSE = 1.0
"""Seconds until a source that failed is run again, as the supervisor does, but for its back-off."""


def surroundings(
    environ: Mapping[str, str] | None = None, local_nodes: Sequence[str] = (), log: Lines | None = None
) -> Surroundings:
    """Surroundings without a process; of `local_nodes` the list itself is looked at each time."""
    kept = Lines() if log is None else log
    return Surroundings(Metrics(), kept, environ or {}, "b1.internal", lambda: tuple(local_nodes))


PATIENCE = 600.0
"""Seconds that a test has, which are seldom real ones."""


@dataclass
class Said:
    """What a source said, in its order.

    :ivar taken: how much of it `next` has returned.
    """

    all: list[Known | Unknown] = field(default_factory=list)
    taken: int = 0
    _more: trio.Event = field(default_factory=trio.Event)

    def __call__(self, said: Known | Unknown) -> None:
        self.all.append(said)
        self._more.set()
        self._more = trio.Event()

    async def next(self) -> Known | Unknown:
        """The next thing that it says."""
        while self.taken == len(self.all):
            await self._more.wait()
        self.taken += 1
        return self.all[self.taken - 1]

    async def names(self) -> set[str]:
        """The names in the next thing that it says, which must be known."""
        said = await self.next()
        assert isinstance(said, Known), said
        return {peer.name for peer in said.peers}

    async def until(self, *names: str) -> None:
        """Wait until it says just these names."""
        while await self.names() != set(names):
            pass

    async def unknown(self) -> Unknown:
        """Wait until it says that it does not know."""
        while not isinstance(said := await self.next(), Unknown):
            pass
        return said


@asynccontextmanager
async def running(source: Source, within: float = PATIENCE) -> AsyncIterator[Said]:
    """Run a source, again whenever it fails, as the supervisor does.

    :param within: seconds, for all that is done with it.
    """
    said = Said()

    async def supervise() -> None:
        while True:
            try:
                await source.run(said)
            except LookError as error:
                said(Unknown(error.reason, error.detail))
            await trio.sleep(RESTART_PAUSE)

    with trio.fail_after(within):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervise)
            yield said
            nursery.cancel_scope.cancel()
