"""The question about a cold start: all hosts start at once, and every node is to have all others.

Beside our sources runs the home-made way, of the same nodes with the C epmd: each reads the same list, and
calls ``net_kernel:connect_node`` every five seconds for whom it misses. Nodes that have a peer in common
connect by themselves (``global`` does that); the ways called pairwise turn it off, so that each pair has to
be connected on its own.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial

from bench.cluster_bench import Bench, Question
from bench.cluster_dns import DOMAIN, Zone
from bench.cluster_programs import (
    ALIVE,
    EPMD,
    NODE,
    Events,
    Script,
    compile_node,
    cpu,
    events,
    joins,
    node_name,
    start_c_epmd,
    start_epmdless,
    start_node,
)
from bench.cluster_world import BRIDGE_ADDRESS, Host, World, at_once, wait_until
from bench.report import Row, failed
from bench.support import BenchError, machine_busy_seconds, median, resident_bytes

JOIN_TARGET = 10.0
"""Seconds, from the moment that the last node was up."""
ATTEMPTS_TARGET = 1.2
"""Times the connections that a full mesh has."""
JOIN_LIMIT = 120.0
"""Seconds until a round is given up."""


@dataclass(frozen=True, slots=True)
class Way:
    """How nodes are joined.

    :ivar source: the kind of our source; None: by a script in the nodes, with the C epmd.
    """

    label: str
    source: str | None
    connects_all: bool = True

    @property
    def peer(self) -> str:
        """The label of the home-made way for the same nodes."""
        return SCRIPT if self.connects_all else SCRIPT_PAIRWISE


SCRIPT, SCRIPT_PAIRWISE = "script", "script-pairwise"
WAYS = {
    way.label: way
    for way in (
        Way("dns", "dns"),
        Way("static", "static"),
        Way(SCRIPT, None),
        Way("static-pairwise", "static", connects_all=False),
        Way("dns-pairwise", "dns", connects_all=False),
        Way(SCRIPT_PAIRWISE, None, connects_all=False),
    )
}


@dataclass(frozen=True, slots=True)
class Round:
    """One cold start; times in seconds from the first program's start."""

    first_up: float
    last_up: float
    joined: float
    attempts: int
    """Connections that nodes were told to make, by us or by a script."""
    results: dict[str, int]
    """What came of them; of a script's: those that were needless, as there was a connection by then."""
    dialled: int
    """Connections to nodes of other hosts that were begun, by whomever."""
    down: int
    """Connections between nodes that were lost again, as both ends saw it."""
    epmd_cpu: float
    """CPU seconds of all EPMD servers, ours or C, from their start until all nodes were joined."""
    node_cpu: float
    epmd_resident: int
    """Bytes, of the median EPMD server."""
    others_cpu: float
    """CPU seconds that the machine spent on anything else, the kernel's part of the network included."""

    @property
    def after_last_up(self) -> float:
        return self.joined - self.last_up


def cold(bench: Bench) -> list[Row]:
    """All hosts at once, in alternating rounds."""
    compile_node()
    rounds: dict[str, list[Round]] = {label: [] for label in bench.ways}
    errors: dict[str, str] = {}
    for number in range(bench.rounds):
        for label in bench.ways:
            bench.progress.say(f"{label}, {bench.hosts} hosts: round {number + 1}")
            try:
                rounds[label].append(_round(bench, WAYS[label], number))
            except BenchError as error:
                errors[label] = str(error)
    rows: list[Row] = []
    for label in bench.ways:
        way = WAYS[label]
        if label in errors:
            rows.append(failed(f"{bench.hosts} nodes cold, {label}", "", errors[label]))
        elif way.source is not None:
            rows += _rows(bench, label, rounds[label], way.peer, rounds.get(way.peer, []))
    return rows


def _round(bench: Bench, way: Way, number: int) -> Round:
    with bench.world(bench.hosts, f"{way.label}-{number + 1}") as world:
        if way.source == "dns":
            Zone(world, {ALIVE: [host.address for host in world.hosts]})
        busy, begun = machine_busy_seconds(), time.time()
        at_once([partial(_boot, way, host, world) for host in world.hosts])

        def joined() -> list[Events] | None:
            found = [events(host) for host in world.hosts]
            return found if all(each.up and each.joined for each in found) else None

        def lagging() -> str:
            found = [events(host) for host in world.hosts]
            up, whole = (sum(getattr(each, name) is not None for each in found) for name in ("up", "joined"))
            return f"{way.label}: of {len(found)} nodes {up} are up and {whole} have all others"

        found = wait_until(joined, JOIN_LIMIT, lagging, world.check)
        return _figures(way, world, found, begun, busy)


def _boot(way: Way, host: Host, world: World) -> None:
    """Start a host as its service manager would: the EPMD server, and the node once that answers."""
    peers = len(world.hosts) - 1
    if way.source is not None:
        start_epmdless(host, SOURCES[way.source](world))
        start_node(host, peers, connects_all=way.connects_all)
        return
    names = host.folder / "names"
    names.write_text("\n".join(map(node_name, world.hosts)) + "\n")
    start_c_epmd(host)
    start_node(host, peers, connects_all=way.connects_all, script=Script(names))


def dns_source(poll: float | None = None) -> str:
    """A table of a source that asks the benchmark's DNS server; `poll` in seconds, None: the default."""
    lines = [
        "[cluster.source.names]",
        'kind = "dns"',
        f'basename = "{ALIVE}"',
        f'addresses = ["{ALIVE}.{DOMAIN}"]',
        f'servers = ["{BRIDGE_ADDRESS}:53"]',
        *([] if poll is None else [f'poll = "{poll:g}s"']),
    ]
    return "\n".join(lines) + "\n"


def _static_source(world: World) -> str:
    names = ", ".join(f'"{node_name(host)}"' for host in world.hosts)
    return f'[cluster.source.names]\nkind = "static"\nnodes = [{names}]\n'


SOURCES = {"dns": lambda _: dns_source(), "static": _static_source}


def _figures(way: Way, world: World, found: Sequence[Events], begun: float, busy: float) -> Round:
    epmd_cpu, node_cpu = cpu(world.hosts, EPMD), cpu(world.hosts, NODE)
    others = machine_busy_seconds() - busy - epmd_cpu - node_cpu
    ups = [each.up - begun for each in found if each.up is not None]
    joined = max(each.joined - begun for each in found if each.joined is not None)
    dialled = world.dialled()
    results: dict[str, int] = {}
    if way.source is None:
        results = {
            "called": sum(each.called for each in found),
            "needless": sum(each.needless for each in found),
        }
        attempts = results["called"]
    else:
        for host in world.hosts:
            for result, count in joins(host).items():
                results[result] = results.get(result, 0) + count
        attempts = sum(results.values())
    resident = [resident_bytes(host.programs[EPMD].process_id) for host in world.hosts]
    return Round(
        first_up=min(ups),
        last_up=max(ups),
        joined=joined,
        attempts=attempts,
        results=results,
        dialled=dialled,
        down=sum(each.down for each in found),
        epmd_cpu=epmd_cpu,
        node_cpu=node_cpu,
        epmd_resident=int(median(resident)),
        others_cpu=others,
    )


def _rows(bench: Bench, label: str, ours: Sequence[Round], peer: str, theirs: Sequence[Round]) -> list[Row]:
    pairs = bench.hosts * (bench.hosts - 1) // 2
    allowed = int(ATTEMPTS_TARGET * pairs)
    subject = f"{bench.hosts} nodes cold, {label}"
    details: dict[str, object] = {"ours": list(map(asdict, ours)), peer: list(map(asdict, theirs))}
    worst = max(each.after_last_up for each in ours)
    most = max(each.attempts for each in ours)

    def against(show: object) -> str:
        assert callable(show)
        return f"{show(theirs)} {peer}" if theirs else ""

    return [
        Row(
            question=f"{subject}: all joined, from the last one up",
            target=f"≤ {JOIN_TARGET:g} s",
            ours=_seconds(ours),
            against=against(_seconds),
            ratio=None,
            met=worst <= JOIN_TARGET,
            note=_timeline(ours),
            details=details,
        ),
        Row(
            question=f"{subject}: connections that nodes were told to make",
            target=f"≤ {allowed} ({ATTEMPTS_TARGET:g} × {pairs})",
            ours=_attempts(ours, pairs),
            against=against(partial(_attempts, pairs=pairs)),
            ratio=None,
            met=most <= allowed,
            note=_connections(ours) + (f"; {peer}: {_connections(theirs)}" if theirs else ""),
            details=details,
        ),
        Row(
            question=f"{subject}: CPU of all EPMD servers until then; memory (RSS) of one",
            target="",
            ours=_cost(ours),
            against=against(_cost),
            ratio=None,
            met=None,
            note=_node_cost(ours) + (f"; {peer}: {_node_cost(theirs)}" if theirs else ""),
            details=details,
        ),
    ]


def _seconds(rounds: Sequence[Round]) -> str:
    values = [each.after_last_up for each in rounds]
    return f"{median(values):.2f} s, worst {max(values):.2f} s"


def _attempts(rounds: Sequence[Round], pairs: int) -> str:
    values = [each.attempts for each in rounds]
    return f"{median(values):.0f}, most {max(values)} ({max(values) / pairs:.2f} ×)"


def _cost(rounds: Sequence[Round]) -> str:
    seconds = median([each.epmd_cpu for each in rounds])
    return f"{seconds:.2f} s; {median([each.epmd_resident for each in rounds]) / 2**20:.1f} MiB"


def _timeline(rounds: Sequence[Round]) -> str:
    first, last, joined = (
        median([getattr(each, name) for each in rounds]) for name in ("first_up", "last_up", "joined")
    )
    return (
        f"from the first start: nodes up after {first:.1f} to {last:.1f} s, all joined after {joined:.1f} s"
    )


def _connections(rounds: Sequence[Round]) -> str:
    dialled, down = (median([getattr(each, name) for each in rounds]) for name in ("dialled", "down"))
    text = f"{dialled:.0f} TCP connections begun between hosts, {down / 2:.0f} lost again"
    needless = median([each.results.get("needless", 0) for each in rounds])
    return f"{text}, {needless:.0f} calls were needless" if needless else text


def _node_cost(rounds: Sequence[Round]) -> str:
    nodes, others = (median([getattr(each, name) for each in rounds]) for name in ("node_cpu", "others_cpu"))
    return f"nodes {nodes:.1f} s, the rest of the machine {others:.1f} s"


QUESTIONS: dict[str, Question] = {"cold": cold}
