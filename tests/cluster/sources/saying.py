"""What the tests of sources share: their surroundings, and what one of them says."""

from collections.abc import Sequence
from typing import Any

import structlog
import trio

from epmdless.cluster.peers import Known, Peer, Source, Unknown
from epmdless.cluster.sources.build import Surroundings
from epmdless.metrics import Metrics

OWN_HOST = "b1.internal"


def around(counts: Metrics | None = None, own_host: str = OWN_HOST) -> Surroundings:
    """The surroundings of a source: of no process."""
    log: Any = structlog.testing.CapturingLogger()
    return Surroundings(counts or Metrics(), log, {}, own_host, tuple)


AROUND = around()


async def heard(source: Source, *, seconds: float) -> list[Known | Unknown]:
    """All that a source says within this time."""
    said = list[Known | Unknown]()
    with trio.move_on_after(seconds):
        await source.run(said.append)
    return said


def peers_in(found: Sequence[Peer] | Known) -> tuple[Peer, ...]:
    """The nodes that a look found, be there doubt or not."""
    return found.peers if isinstance(found, Known) else tuple(found)
