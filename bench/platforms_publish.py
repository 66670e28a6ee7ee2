"""The questions about publishing: how soon a node is in the zone and out of it, and what lookups feel."""

from __future__ import annotations

import random
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from bench.epmd_servers import Program, Server, serving
from bench.lookup_generator import Generator, Lookups, Nodes
from bench.platforms_bench import Bench, Question, own_folder, seconds_text
from bench.platforms_zone import ORIGIN, Zone, serving_zone
from bench.report import Row, failed
from bench.support import BenchError, median

TARGET_NAME = f"b1.{ORIGIN}"
ADDRESS = "10.77.1.1"
"""What the zone says of this host; nobody goes there."""
LIMIT = 30.0
"""Seconds until a record is given up."""
STEP_SECONDS = 0.5
"""In which epmdless looks at its registrations more than once: we shall not fall in step with it."""

ALL = "_epmdless._tcp"
"""Has a record of each node that is published."""

LOOKED_UP = Nodes(10)
QUIET_SECONDS = 1.0
"""Of lookups before the others register."""
SHORT_LEASE = 15
"""Seconds; a third of it is the refresh. The shortest that there is."""


@dataclass(frozen=True, slots=True)
class Appearance:
    """Seconds from a node's registration to its record, and from its end to that one's."""

    there: float
    gone: float


@dataclass(frozen=True, slots=True)
class Crowd:
    """Seconds from when the first of many nodes was to register, and from when they were to end.

    :ivar registered: all are.
    """

    registered: float
    there: float
    gone: float


def zone(bench: Bench) -> list[Row]:
    """At each DNS server: nodes one after the other, and many at once."""
    generator = Generator.compiled(bench.cores.generator)
    rows = []
    for label in bench.servers:
        try:
            with _publishing(bench, label) as (server, served):
                single = [_appear(bench, number, server, served) for number in range(bench.appearances)]
                bare = [_bare_update(number, served) for number in range(2 * bench.appearances)]
                crowds = [_crowd(bench, number, generator, server, served) for number in range(bench.rounds)]
            rows += [_appearance_row(label, single, bare), _crowd_row(bench, label, crowds)]
        except BenchError as error:
            rows.append(failed(f"a node is published, {label}", "", str(error)))
    return rows


@contextmanager
def _publishing(bench: Bench, label: str, lease: int = 90) -> Iterator[tuple[Server, Zone]]:
    """A server that publishes to a zone at the DNS server of this label.

    :param lease: in seconds.
    """
    with own_folder() as folder, serving_zone(label, folder, bench.cores.generator) as served:
        tables = f"""\
[publish]
zone = "{ORIGIN}"
servers = ["127.0.0.1:{served.port}"]
key_file = "{served.key_file}"
target = "{TARGET_NAME}"
addresses = ["{ADDRESS}"]
lease = "{lease}s"
"""
        with serving(Program.ours(None), bench.cores.server, tables=tables) as server:
            yield server, served


def _bare_update(number: int, served: Zone) -> float:
    """Seconds of an update that had nothing to wait for, as often as ours come."""
    time.sleep(random.uniform(0, 2 * STEP_SECONDS))
    return served.update("bare", is_there=number % 2 == 0)


def _appear(bench: Bench, number: int, server: Server, served: Zone) -> Appearance:
    bench.progress.say(f"one node: round {number + 1}")
    time.sleep(random.uniform(0, STEP_SECONDS))
    name = f"one{number}-9001"
    with _registered(server.port, name):
        begun = time.perf_counter()
        there = served.wait_for(f"_{name}._tcp", 1, LIMIT) - begun
        time.sleep(random.uniform(0, STEP_SECONDS))
        begun = time.perf_counter()
    return Appearance(there, served.wait_for(f"_{name}._tcp", 0, LIMIT) - begun)


@contextmanager
def _registered(port: int, name: str) -> Iterator[None]:
    """A registration until the block ends, as a node makes it (ALIVE2_REQ)."""
    alive = name.encode()
    request = struct.pack(">cHBBHHH", b"x", 9001, 77, 0, 6, 5, len(alive)) + alive + bytes(2)
    with socket.create_connection(("127.0.0.1", port), timeout=LIMIT) as connection:
        connection.sendall(struct.pack(">H", len(request)) + request)
        if connection.recv(6)[:2] != b"v\0":
            raise BenchError(f"{name} is not registered")
        yield


def _crowd(bench: Bench, number: int, generator: Generator, server: Server, served: Zone) -> Crowd:
    bench.progress.say(f"{bench.nodes} nodes: round {number + 1}")
    time.sleep(random.uniform(0, STEP_SECONDS))
    begun = time.perf_counter()
    with generator.registered(server.port, Nodes(bench.nodes)):
        registered = time.perf_counter() - begun
        there = served.wait_for(ALL, bench.nodes, LIMIT, is_long=True) - begun
        begun = time.perf_counter()
    return Crowd(registered, there, served.wait_for(ALL, 0, LIMIT, is_long=True) - begun)


def lookups(bench: Bench) -> list[Row]:
    """What one client sees who asks for registered names all the time, with publishing and without."""
    generator = Generator.compiled(bench.cores.generator)
    rows = []
    for question, seconds_of in (
        (f"{bench.nodes} nodes register at once, and are published: lookups meanwhile", _while_they_register),
        (f"{bench.nodes} published nodes, refreshed every {SHORT_LEASE // 3} s: lookups", _while_refreshed),
    ):
        found: dict[bool, list[Lookups]] = {True: [], False: []}
        try:
            for number in range(bench.rounds):
                for publishes in found:
                    bench.progress.say(
                        f"{question}: round {number + 1}, {'with' if publishes else 'without'}"
                    )
                    found[publishes].append(seconds_of(bench, generator, publishes=publishes))
            rows.append(_lookups_row(question, found[True], found[False]))
        except BenchError as error:
            rows.append(failed(question, "", str(error)))
    return rows


def _while_they_register(bench: Bench, generator: Generator, *, publishes: bool) -> Lookups:
    with (
        _serving(bench, publishes=publishes) as (server, served),
        generator.registered(server.port, LOOKED_UP),
        ThreadPoolExecutor(1) as thread,
    ):
        asking = thread.submit(_load, bench, generator, server)
        time.sleep(QUIET_SECONDS)
        with generator.registered(server.port, _others(bench)):
            found = asking.result()
            _check(bench, served)
        return found


def _while_refreshed(bench: Bench, generator: Generator, *, publishes: bool) -> Lookups:
    with (
        _serving(bench, publishes=publishes) as (server, served),
        generator.registered(server.port, LOOKED_UP),
        generator.registered(server.port, _others(bench)),
    ):
        _check(bench, served)
        found = _load(bench, generator, server)
        _check(bench, served)
        return found


@contextmanager
def _serving(bench: Bench, *, publishes: bool) -> Iterator[tuple[Server, Zone | None]]:
    if publishes:
        with _publishing(bench, bench.servers[0], SHORT_LEASE) as both:
            yield both
    else:
        with serving(Program.ours(None), bench.cores.server) as server:
            yield server, None


def _others(bench: Bench) -> Nodes:
    """All but those that are looked up: 500 is the most that is published of a host."""
    return Nodes(bench.nodes - LOOKED_UP.count, "p{i}-{port}", 30_000)


def _check(bench: Bench, served: Zone | None) -> None:
    """See that all are published. Raises BenchError."""
    if served is not None:
        served.wait_for(ALL, bench.nodes, LIMIT, is_long=True)


def _load(bench: Bench, generator: Generator, server: Server) -> Lookups:
    found = generator.load(server.port, LOOKED_UP, concurrency=1, seconds=bench.seconds, warm=0)
    if found.failures:
        raise BenchError(f"lookups failed: {found.failures}")
    return found


def _appearance_row(label: str, found: Sequence[Appearance], bare: Sequence[float]) -> Row:
    return Row(
        question=f"a node registers: its SRV record is at {label}",
        target="",
        ours=seconds_text([each.there for each in found]),
        against=f"{seconds_text(bare)}: a bare update there",
        ratio=None,
        met=None,
        note=f"its end: gone after {seconds_text([each.gone for each in found])}; {len(found)} rounds",
        details={"rounds": list(map(asdict, found)), "bare": list(bare)},
    )


def _crowd_row(bench: Bench, label: str, found: Sequence[Crowd]) -> Row:
    gone = seconds_text([each.gone for each in found])
    return Row(
        question=f"{bench.nodes} nodes register at once: all are at {label}",
        target="",
        ours=seconds_text([each.there for each in found]),
        against="",
        ratio=None,
        met=None,
        note=f"registered: {seconds_text([each.registered for each in found])}; all end: gone after {gone}",
        details={"rounds": list(map(asdict, found))},
    )


def _lookups_row(question: str, ours: Sequence[Lookups], without: Sequence[Lookups]) -> Row:
    return Row(
        question=question,
        target="",
        ours=_latency(ours),
        against=f"{_latency(without)}: without publishing",
        ratio=None,
        met=None,
        note=f"{_rate(ours)} lookups/s by one client, without {_rate(without)}",
        details={"with": list(map(asdict, ours)), "without": list(map(asdict, without))},
    )


def _latency(found: Sequence[Lookups]) -> str:
    longest = [each.max_us / 1000 for each in found]
    p99 = median([each.p99_us for each in found]) / 1000
    return f"p99 {p99:.2f} ms, longest {median(longest):.1f} ms, worst {max(longest):.1f} ms"


def _rate(found: Sequence[Lookups]) -> str:
    return f"{median([each.rate for each in found]):,.0f}"


QUESTIONS: dict[str, Question] = {"zone": zone, "lookups": lookups}
