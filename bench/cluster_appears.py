"""The question about a node that appears: how long after its record is in DNS has it all others?

Where its host has an epmdless of its own, that one joins it, whatever the others have heard; so the time from
the record is measured where the host has the C epmd, and the others have to notice. Pairwise, as a node that
has one peer gets that one's peers from it, and the slowest of the others would not be seen.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial

from bench.cluster_bench import Bench, Question
from bench.cluster_cold import dns_source
from bench.cluster_dns import Zone
from bench.cluster_programs import (
    ALIVE,
    compile_node,
    events,
    joins,
    start_c_epmd,
    start_epmdless,
    start_node,
)
from bench.cluster_world import Host, World, at_once, wait_until
from bench.report import Row, failed
from bench.support import BenchError, median

BEYOND_POLL = 1.0
"""Seconds that joining may take once the record was seen."""
JOIN_LIMIT = 60.0
"""Seconds until a round is given up."""
RECORD_BEFORE_SECONDS = 5.0
"""That a record is there before its node starts."""
SETTLE_SECONDS = 2.0
"""Between two rounds, and a part of the poll at random: polls shall not fall in step with us."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How a node appears.

    :ivar has_target: the seconds count from its record, and have a target.
    """

    label: str
    about: str
    has_own: bool
    connects_all: bool
    record_first: bool = False
    has_target: bool = False

    def peers(self, members: int, host: Host) -> int:
        """The others that a new node is joined with: nobody connects two that have the C epmd both."""
        return host.number - 1 if self.connects_all or self.has_own else members


KINDS = (
    Kind("pairwise", "C epmd there, pairwise, from its record", False, False, has_target=True),
    Kind("as-usual", "C epmd there, from its record", False, True, has_target=True),
    Kind("record-first", "C epmd there, its record 5 s earlier, from up", False, False, record_first=True),
    Kind("own", "epmdless there, record and start at once, from up", True, False, record_first=True),
)


@dataclass(frozen=True, slots=True)
class Appearance:
    """One node that appeared; seconds from its record, or from when it was up."""

    record: float
    up: float
    joined: float
    attempts: int
    """Connections that nodes were told to make meanwhile."""
    peers: int
    """That it was joined with."""


def appears(bench: Bench) -> list[Row]:
    """One node after the other, in each way that it can appear."""
    compile_node()
    rows = []
    for kind in KINDS:
        try:
            rows.append(_row(bench, kind, _appearances(bench, kind)))
        except BenchError as error:
            rows.append(failed(f"a node appears: {kind.about}", "", str(error)))
    return rows


def _appearances(bench: Bench, kind: Kind) -> list[Appearance]:
    """One after the other; each stays, and may be one of the others for the next."""
    with bench.world(bench.members + bench.appearances, f"appears-{kind.label}") as world:
        members = world.hosts[: bench.members]
        zone = Zone(world, {ALIVE: [host.address for host in members]})
        at_once([partial(_boot, bench, kind, host, len(members) - 1, has_own=True) for host in members])
        wait_until(lambda: _joined(members), JOIN_LIMIT, "the first nodes are joined", world.check)
        found = []
        for number, host in enumerate(world.hosts[bench.members :]):
            bench.progress.say(f"{kind.about}: round {number + 1}")
            time.sleep(SETTLE_SECONDS + random.uniform(0, bench.poll))
            found.append(_appear(bench, kind, world, zone, host))
        return found


def _appear(bench: Bench, kind: Kind, world: World, zone: Zone, host: Host) -> Appearance:
    before = _attempts(world)
    others = kind.peers(bench.members, host)
    if kind.record_first:
        record = time.time()
        zone.add(ALIVE, host.address)
        time.sleep(0 if kind.has_own else RECORD_BEFORE_SECONDS)
        _boot(bench, kind, host, others, has_own=kind.has_own)
    else:
        _boot(bench, kind, host, others, has_own=kind.has_own)
        wait_until(lambda: events(host).up, JOIN_LIMIT, "the new node is up", world.check)
        record = time.time()
        zone.add(ALIVE, host.address)
    joined = wait_until(lambda: events(host).joined, JOIN_LIMIT, "the new node is joined", world.check)
    up = events(host).up
    assert up is not None, "it says so first"
    start = up if kind.record_first else record
    return Appearance(record - start, up - start, joined - start, _attempts(world) - before, others)


def _boot(bench: Bench, kind: Kind, host: Host, others: int, *, has_own: bool) -> None:
    if has_own:
        start_epmdless(host, dns_source(bench.poll))
    else:
        start_c_epmd(host)
    start_node(host, others, connects_all=kind.connects_all)


def _joined(hosts: Sequence[Host]) -> bool | None:
    return all(events(host).joined for host in hosts) or None


def _attempts(world: World) -> int:
    ours = [host for host in world.hosts if (host.folder / "epmdless.toml").exists()]
    return sum(sum(joins(host).values()) for host in ours)


def _row(bench: Bench, kind: Kind, found: Sequence[Appearance]) -> Row:
    seconds = [each.joined for each in found]
    limit = bench.poll + BEYOND_POLL
    attempts, pairs = (sum(getattr(each, name) for each in found) for name in ("attempts", "peers"))
    return Row(
        question=f"a node appears, poll {bench.poll:g} s: {kind.about}, to joined with all",
        target=f"≤ {limit:g} s" if kind.has_target else "",
        ours=f"{median(seconds):.2f} s, worst {max(seconds):.2f} s",
        against="",
        ratio=None,
        met=max(seconds) <= limit if kind.has_target else None,
        note=f"{len(found)} rounds; nodes were told to make {attempts} connections, for {pairs} pairs",
        details={"rounds": [asdict(each) for each in found], "poll": bench.poll},
    )


QUESTIONS: dict[str, Question] = {"appears": appears}
