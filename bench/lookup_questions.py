"""The questions of the lookup benchmark, each a function that gives its rows of the table."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from bench import srv_responder
from bench.epmd_servers import DEFAULT_CHAIN, Program, Server, serving
from bench.lookup_generator import Generator, Nodes
from bench.lookup_rounds import GENERATOR_LIMIT, OTHERS_LIMIT, Alternation, Measured, Side, failure_text
from bench.report import Row
from bench.support import BenchError, Cores, Progress, cpu_seconds, median, resident_bytes

DESCRIPTOR_RESERVE = 256
"""Descriptors that a full server keeps for lookups and its own use: names = limit - reserve at most."""
PEER_FALLBACKS = (950, 900)
"""Names for the C epmd when it fails with 1,000: it holds 1,019 connections, lookups included."""
SILENT_TIMEOUT = "600s"
"""Packet timeout while silent connections are to stay open: longer than the rounds take."""
START_ROUNDS = 5
"""Starts of a server at least, for its memory and its time to be ready."""
SETTLE_SECONDS = 0.5
"""From the last registration to the reading of the memory."""
SCHEME_NODES = Nodes(1000, "app-{port}", 9001)
SRV_NODES = Nodes(1000, srv_responder.PATTERN, srv_responder.BASE_PORT)

P99_LIMIT_MS = 25.0
NODE_BYTES_LIMIT = 3 * 1024
EMPTY_BYTES_LIMIT = 45_000_000
READY_LIMIT_SECONDS = 0.6


@dataclass(frozen=True, slots=True)
class Bench:
    """What every question needs."""

    ours: Program
    peer: Program
    cores: Cores
    generator: Generator
    alternation: Alternation
    progress: Progress
    many: int
    """Names in place of "20,000"."""
    silent: int
    """Connections in place of "10,000"."""
    descriptor_limit: int

    @contextmanager
    def populated(
        self, program: Program, nodes: Nodes, label: str = "", *, packet_timeout: str = "60s"
    ) -> Iterator[Side]:
        """A server of `program` with `nodes` registered, until the block ends."""
        self.progress.say(f"{label or program.label}: registering {nodes.count:,} names")
        with (
            serving(program, self.cores.server, packet_timeout=packet_timeout) as server,
            self.generator.registered(server.port, nodes),
        ):
            yield Side(label or program.label, server, nodes)

    @property
    def many_names(self) -> int:
        """As many names as asked for, or as one server can hold."""
        return min(self.many, self.descriptor_limit - DESCRIPTOR_RESERVE)

    @property
    def many_notes(self) -> list[str]:
        """Why there are fewer names than asked for, if so."""
        if self.many_names == self.many:
            return []
        limit = f"{self.descriptor_limit:,} descriptors less {DESCRIPTOR_RESERVE}"
        return [f"{self.many_names:,} names, not {self.many:,}: the limit of {limit}"]


def ten(bench: Bench) -> list[Row]:
    """Ten names, against the C epmd."""
    return [_against_peer(bench, 10, concurrency, 1.0) for concurrency in (1, 64)]


def thousand(bench: Bench) -> list[Row]:
    """1,000 names, against the C epmd."""
    return [
        _against_peer(bench, 1000, concurrency, target)
        for concurrency, target in ((8, 2.5), (64, 2.5), (1, 4.0))
    ]


def _against_peer(bench: Bench, count: int, concurrency: int, target: float) -> Row:
    question = f"lookups/s, {count:,} names, {concurrency} at a time"
    notes: list[str] = []
    for peer_count in (count, *(fewer for fewer in PEER_FALLBACKS if fewer < count)):
        results = _measure_pair(bench, count, peer_count, concurrency)
        if peer_count < count:
            notes.append(f"{bench.peer.label} had {peer_count:,} names only")
        if not results[1].failures:
            break
        notes.append(f"with {peer_count:,} names, {failure_text(results[1:])}")
    return _compared(question, target, results[0], results[1], notes)


def _measure_pair(bench: Bench, count: int, peer_count: int, concurrency: int) -> list[Measured]:
    """Ours and the peer; a peer that loses registrations has failures, and does not end the question."""
    with bench.populated(bench.ours, Nodes(count)) as ours:
        results = []
        try:
            with bench.populated(bench.peer, Nodes(peer_count)) as peer:
                results = bench.alternation.measure([ours, peer], concurrency)
        except BenchError:
            if not results or not results[1].failures:
                raise
    return results


def _compared(
    question: str,
    target: float,
    ours: Measured,
    base: Measured,
    notes: Sequence[str] = (),
    *,
    p99_ms: float | None = None,
) -> Row:
    """A row for `ours` against `base`; met: `target` times its rate, and a p99 below `p99_ms`."""
    ratio = ours.rate / base.rate if base.rate else float("nan")
    error = failure_text([ours, base])
    fast_enough = p99_ms is None or ours.p99_ms < p99_ms
    return Row(
        question=question,
        target=f"≥ {target} ×" + (f", p99 < {p99_ms:.0f} ms" if p99_ms is not None else ""),
        ours=f"{ours.rate:,.0f}/s",
        against=f"{base.rate:,.0f}/s {base.side.label}",
        ratio=ratio,
        met=None if error else ratio >= target and fast_enough,
        note="\n".join([_cost_note(ours, base), *notes]),
        error=error,
        details={
            "target_ratio": target,
            "target_p99_ms": p99_ms,
            "ours": ours.as_json(),
            "against": base.as_json(),
        },
    )


def _cost_note(ours: Measured, base: Measured) -> str:
    pairs = zip(ours.runs, base.runs, strict=True)
    ratios = [mine.lookups.rate / theirs.lookups.rate for mine, theirs in pairs if theirs.lookups.rate]
    costs = (
        f"p99 {ours.p99_ms:.2f} / {base.p99_ms:.2f} ms; "
        f"server CPU {ours.server_us:.0f} / {base.server_us:.0f} µs a lookup; "
        f"generator busy {ours.generator_busy:.0%} / {base.generator_busy:.0%}"
    )
    spread = f"rounds {min(ratios):.2f} to {max(ratios):.2f} ×" if ratios else ""
    return "\n".join(
        text for text in (costs, spread, _limit_note(ours, base), _disturbance_note(ours, base)) if text
    )


def _limit_note(ours: Measured, base: Measured) -> str:
    """Where the generator may be what was measured: the CPU time of the servers then says more."""
    limited = [each.side.label for each in (ours, base) if each.generator_busy > GENERATOR_LIMIT]
    return f"generator at its limit against {' and '.join(limited)}" if limited else ""


def _disturbance_note(ours: Measured, base: Measured) -> str:
    worst = max(ours.others_busy, base.others_busy)
    return f"disturbed: other work used {worst:.0%} of a core" if worst > OTHERS_LIMIT else ""


def many(bench: Bench) -> list[Row]:
    """20,000 names against ten, both ours: the C epmd cannot hold them."""
    count = bench.many_names
    rows = []
    with (
        bench.populated(bench.ours, Nodes(count), f"ours, {count:,} names") as full,
        bench.populated(bench.ours, Nodes(10), "ours, 10 names") as small,
    ):
        for concurrency in (64, 1):
            results = bench.alternation.measure([full, small], concurrency)
            question = f"lookups/s, {bench.many:,} names, {concurrency} at a time"
            rows.append(_compared(question, 0.85, results[0], results[1], bench.many_notes))
    return rows


def resolvers(bench: Bench) -> list[Row]:
    """Answers of the scheme, and of SRV from the cache, against registered ones; one server of ours."""
    rows = []
    with srv_responder.responder(bench.cores.generator) as (dns_port, dns_questions):
        chain = (*DEFAULT_CHAIN, "srv")
        with (
            serving(bench.ours, bench.cores.server, chain=chain, dns_port=dns_port) as server,
            bench.generator.registered(server.port, Nodes(1000)),
        ):
            sides = _resolver_sides(bench, server)
            asked_before = dns_questions()
            for concurrency in (64, 1):
                results = bench.alternation.measure(sides, concurrency)
                for result in results[1:]:
                    question = f"lookups/s, answered by {result.side.label}, {concurrency} at a time"
                    rows.append(_compared(question, 0.8, result, results[0]))
            asked = dns_questions() - asked_before
    if asked:
        raise BenchError(
            f"{asked} questions reached the DNS server while only its cached answers were measured"
        )
    return rows


def _resolver_sides(bench: Bench, server: Server) -> list[Side]:
    """Registered, scheme and SRV; every SRV answer is in the cache afterwards."""
    bench.progress.say("SRV: filling the cache")
    filled = bench.generator.sweep(server.port, SRV_NODES, concurrency=8)
    if filled.failures:
        raise BenchError(f"SRV lookups failed while the cache was filled: {filled.failures}")
    return [
        Side("registered", server, Nodes(1000)),
        Side("scheme", server, SCHEME_NODES),
        Side("SRV from the cache", server, SRV_NODES),
    ]


def silent(bench: Bench) -> list[Row]:
    """Lookups while many connections stand open and silent, against a server of ours without them."""
    rows = []
    own = partial(bench.populated, bench.ours, Nodes(10), packet_timeout=SILENT_TIMEOUT)
    with own("ours, silent clients") as crowded, own("ours, no silent clients") as free:
        bench.progress.say(f"opening {bench.silent:,} silent connections")
        with bench.generator.silent(crowded.server.port, bench.silent):
            for concurrency in (64, 1):
                results = bench.alternation.measure([crowded, free], concurrency)
                question = f"lookups/s, {bench.silent:,} silent connections, {concurrency} at a time"
                rows.append(_compared(question, 0.8, results[0], results[1], p99_ms=P99_LIMIT_MS))
    return rows


def memory(bench: Bench) -> list[Row]:
    """Resident memory of a registered node, beyond the empty server; the C epmd's for comparison."""
    count = bench.many_names
    ours, peer = [], []
    for number in range(bench.alternation.rounds):
        bench.progress.say(f"memory of {count:,} nodes: round {number + 1} of {bench.alternation.rounds}")
        ours.append(_bytes_for_each_node(bench, bench.ours, count))
        peer.append(_bytes_for_each_node(bench, bench.peer, min(count, PEER_FALLBACKS[-1])))
    each, peer_each = median(ours), median(peer)
    row = Row(
        question=f"memory (RSS) for a registered node, at {bench.many:,}",
        target=f"≤ {NODE_BYTES_LIMIT:,} bytes",
        ours=f"{each:,.0f} bytes",
        against=f"{peer_each:,.0f} bytes {bench.peer.label}, at {PEER_FALLBACKS[-1]}",
        ratio=each / peer_each if peer_each else None,
        met=each <= NODE_BYTES_LIMIT,
        note="\n".join(bench.many_notes),
        details={"names": count, "target_bytes": NODE_BYTES_LIMIT, "ours_bytes": ours, "against_bytes": peer},
    )
    return [row]


def _bytes_for_each_node(bench: Bench, program: Program, count: int) -> float:
    with serving(program, bench.cores.server) as server:
        empty = _settled_bytes(server)
        with bench.generator.registered(server.port, Nodes(count)):
            return (_settled_bytes(server) - empty) / count


def _settled_bytes(server: Server) -> int:
    """Resident bytes once the server has come to rest."""
    used = cpu_seconds(server.process_id)
    while True:
        time.sleep(SETTLE_SECONDS)
        now = cpu_seconds(server.process_id)
        if now - used < SETTLE_SECONDS / 10:
            return resident_bytes(server.process_id)
        used = now


def start(bench: Bench) -> list[Row]:
    """Memory of the empty server, and the time from exec to its first answer."""
    programs = (bench.ours, bench.peer)
    ready: dict[str, list[float]] = {program.label: [] for program in programs}
    empty: dict[str, list[float]] = {program.label: [] for program in programs}
    rounds = max(START_ROUNDS, bench.alternation.rounds)
    for number in range(rounds):
        for program in programs if number % 2 == 0 else programs[::-1]:
            bench.progress.say(f"{program.label}: start {number + 1} of {rounds}")
            with serving(program, bench.cores.server) as server:
                ready[program.label].append(server.ready_seconds)
                empty[program.label].append(_settled_bytes(server))
    return [
        _absolute_row(bench, "empty server, RSS", empty, EMPTY_BYTES_LIMIT, 1e6, "MB"),
        _absolute_row(bench, "exec to first answer", ready, READY_LIMIT_SECONDS, 1e-3, "ms"),
    ]


def _absolute_row(
    bench: Bench, question: str, values: dict[str, list[float]], limit: float, unit: float, unit_name: str
) -> Row:
    own = [value / unit for value in values[bench.ours.label]]
    ours, peer = median(own), median(values[bench.peer.label]) / unit
    return Row(
        question=question,
        target=f"≤ {limit / unit:.0f} {unit_name}",
        ours=f"{ours:.1f} {unit_name}",
        against=f"{peer:.1f} {unit_name} {bench.peer.label}",
        ratio=None,
        met=ours <= limit / unit,
        note=f"{min(own):.1f} to {max(own):.1f} {unit_name}",
        details={"limit": limit, "ours": values[bench.ours.label], "against": values[bench.peer.label]},
    )


QUESTIONS: dict[str, Callable[[Bench], list[Row]]] = {
    "ten": ten,
    "thousand": thousand,
    "many": many,
    "resolvers": resolvers,
    "silent": silent,
    "memory": memory,
    "start": start,
}
