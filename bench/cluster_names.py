"""The question about long lists: what a poll of 10,000 names costs, and what they take of memory.

Nobody is where the names say: they are loopback addresses of which each refuses at once. So the server also
tries to join a local node with as many of them as ``max_peers`` allows, again and again; that goes on
beside the polls, and is a row of its own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.cluster_bench import Bench, Question
from bench.cluster_dns import DOMAIN, Zone
from bench.cluster_programs import ALIVE, EPMD, NODE, compile_node, metrics, start_epmdless, start_node
from bench.cluster_world import BRIDGE_ADDRESS, Host, World, wait_until
from bench.report import Row, failed
from bench.support import BenchError, resident_bytes

POLL_TARGET = 0.050
"""CPU seconds."""
MEMORY_TARGET = 20_000_000
"""Bytes."""
POLL_SECONDS = 0.5
"""Between two polls. Shorter than anybody sets it: what goes on between them weighs less in the figures."""
BASE_SECONDS = 10.0
"""For which a server without names is watched, at most."""
READY_LIMIT = 30.0
QUESTIONS_ASKED = 5
"""Domain names that the addresses are spread over: an answer of DNS has 64 KiB at most."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A source of the long list.

    :ivar changes: one name of the list is another one at each poll.
    """

    label: str
    source: str
    changes: bool = False


FILE, CHANGING_FILE = Kind("file", "file"), Kind("file, changing", "file", changes=True)
KINDS = (
    FILE,
    CHANGING_FILE,
    Kind("command", "command"),
    Kind("command, changing", "command", changes=True),
    Kind("dns", "dns"),
)


@dataclass(frozen=True, slots=True)
class Watched:
    """What a server did in a time.

    :ivar cpu: seconds, of the process itself.
    :ivar children_cpu: seconds, of the programs that it started and that ended.
    :ivar polls: answers of the source.
    """

    seconds: float
    cpu: float
    children_cpu: float
    polls: int


def names(bench: Bench) -> list[Row]:
    """Each source with a long list, and what its attempts cost beside."""
    compile_node()
    rows: list[Row] = []
    costs: dict[Kind, float] = {}
    with bench.world(1, "names") as world:
        (host,) = world.hosts
        with _serving(host, _static_source()):
            idle = _watch(host, min(bench.polls * POLL_SECONDS, BASE_SECONDS))
        for kind in KINDS:
            try:
                found = _polls(bench, world, kind)
                costs[kind] = _cost(found, idle)
                rows.append(_poll_row(bench, kind, found, idle))
            except BenchError as error:
                rows.append(failed(f"{bench.names:,} names, {kind.label}: CPU of a poll", "", str(error)))
        try:
            rows += _with_node(bench, host, costs.get(FILE, 0.0))
        except BenchError as error:
            rows.append(failed(f"{bench.names:,} names and a local node", "", str(error)))
    return rows


class List:
    """A file of names, on which nobody else is: it is replaced in one step."""

    def __init__(self, path: Path, count: int) -> None:
        self._path = path
        self._names = [f"{ALIVE}@{_nowhere(number)}" for number in range(count)]
        self._next = count

    def write(self) -> None:
        """Write it."""
        fresh = self._path.with_suffix(".new")
        fresh.write_text("".join(f"{name}\n" for name in self._names))
        fresh.replace(self._path)

    def change(self) -> None:
        """Write it with the first name gone, and another one at its end."""
        self._names = [*self._names[1:], f"{ALIVE}@{_nowhere(self._next)}"]
        self._next += 1
        self.write()


def _nowhere(number: int) -> str:
    """An address of the host itself where nobody listens."""
    return f"127.{1 + number // 62500}.{number // 250 % 250}.{1 + number % 250}"


def _polls(bench: Bench, world: World, kind: Kind) -> Watched:
    """A server polls; there is no local node, so nothing else happens."""
    (host,) = world.hosts
    bench.progress.say(f"{bench.names:,} names, {kind.label}")
    listed = List(host.folder / "names", bench.names)
    listed.write()
    if kind.source == "dns":
        addresses = [_nowhere(number) for number in range(bench.names)]
        Zone(world, {f"{ALIVE}{part}": addresses[part::QUESTIONS_ASKED] for part in range(QUESTIONS_ASKED)})
    sources = {"file": _file_source, "command": _command_source, "dns": _dns_source}
    with _serving(host, sources[kind.source](host)):
        wait_until(lambda: _knows(host, bench.names), READY_LIMIT, "all names are known", world.check)
        return _watch(host, bench.polls * POLL_SECONDS, listed.change if kind.changes else None)


def _static_source() -> str:
    return f'[cluster.source.names]\nkind = "static"\nnodes = ["{ALIVE}@{_nowhere(0)}"]\n'


def _file_source(host: Host) -> str:
    return _source("file", f'path = "{host.folder}/names"')


def _command_source(host: Host) -> str:
    return _source("command", f'argv = ["cat", "{host.folder}/names"]')


def _dns_source(_: Host) -> str:
    asked = ", ".join(f'"{ALIVE}{part}.{DOMAIN}"' for part in range(QUESTIONS_ASKED))
    more = f'basename = "{ALIVE}"\naddresses = [{asked}]\nservers = ["{BRIDGE_ADDRESS}:53"]'
    return _source("dns", more)


def _source(kind: str, more: str) -> str:
    return f'[cluster.source.names]\nkind = "{kind}"\npoll = "{POLL_SECONDS:g}s"\n{more}\n'


@contextmanager
def _serving(host: Host, source: str) -> Iterator[None]:
    """An epmdless on the addresses of the host that no name has."""
    start_epmdless(host, source, (host.address, "127.0.0.1"))
    try:
        yield
    finally:
        host.stop(EPMD)


def _knows(host: Host, count: int) -> bool | None:
    return metrics(host)[("epmdless_cluster_source_names", ("names",))] == count or None


def _watch(host: Host, seconds: float, change: Callable[[], None] | None = None) -> Watched:
    """Let a server work for a time.

    :param change: called as often as there is a poll.
    """
    before = _figures(host)
    begun = time.monotonic()
    while (passed := time.monotonic() - begun) < seconds:
        if change is not None:
            change()
        time.sleep(max(min(POLL_SECONDS, seconds - passed), 0))
    host.check()
    after = _figures(host)
    spent = time.monotonic() - begun
    cpu, children, polls = (new - old for new, old in zip(after, before, strict=True))
    return Watched(spent, cpu, children, int(polls))


def _figures(host: Host) -> tuple[float, float, float]:
    """CPU seconds of the server so far, those of its children that ended, and its polls."""
    process = host.programs[EPMD].process_id
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:15]
    user, system, children_user, children_system = (int(each) / os.sysconf("SC_CLK_TCK") for each in fields)
    polls = metrics(host).get(("epmdless_cluster_source_answers_total", ("known", "names")), 0)
    return user + system, children_user + children_system, polls


def _with_node(bench: Bench, host: Host, unchanged: float) -> list[Row]:
    """Memory, the cost of attempts, and that of a poll, all with a local node.

    :param unchanged: CPU seconds of a poll that finds the file as it was.
    """
    window = bench.attempt_seconds
    bench.progress.say("no names, with a local node")
    List(host.folder / "names", 0).write()
    with _serving(host, _file_source(host)), _node(host):
        base = _watch(host, min(window, BASE_SECONDS))
        base_memory = resident_bytes(host.programs[EPMD].process_id)
    bench.progress.say(f"{bench.names:,} names, with a local node")
    listed = List(host.folder / "names", bench.names)
    listed.write()
    with _serving(host, _file_source(host)), _node(host):
        attempts = _watch(host, window)
        wanted = int(metrics(host)[("epmdless_cluster_peers", ("default", "wanted"))])
        same = _watch(host, bench.polls * POLL_SECONDS)
        changing = _watch(host, bench.polls * POLL_SECONDS, listed.change)
        memory = resident_bytes(host.programs[EPMD].process_id)
    return [
        _node_poll_row(bench, changing, same, unchanged),
        _memory_row(bench, memory, base_memory, wanted),
        _attempts_row(attempts, same, base, wanted),
    ]


@contextmanager
def _node(host: Host) -> Iterator[None]:
    start_node(host, 1, connects_all=True)
    try:
        linked = ("epmdless_cluster_nodes", ("linked",))
        wait_until(lambda: metrics(host)[linked] == 1 or None, READY_LIMIT, "the node is known", host.check)
        yield
    finally:
        host.stop(NODE)


def _poll_row(bench: Bench, kind: Kind, found: Watched, idle: Watched) -> Row:
    note = f"{found.polls} polls"
    if found.children_cpu:
        note += f"; the program itself {1000 * found.children_cpu / max(found.polls, 1):.1f} ms"
    question = f"{bench.names:,} names, {kind.label}: CPU of a poll"
    details: dict[str, object] = {"polled": asdict(found), "idle": asdict(idle)}
    return _cost_row(question, _cost(found, idle), found, note, details)


def _cost(found: Watched, base: Watched) -> float:
    """CPU seconds of a poll, beyond what is spent without."""
    return (found.cpu - base.cpu / base.seconds * found.seconds) / max(found.polls, 1)


def _node_poll_row(bench: Bench, changing: Watched, same: Watched, unchanged: float) -> Row:
    """A poll that changed the list, with a local node: what it takes beyond one that changed nothing."""
    cost = _cost(changing, same) + unchanged
    question = f"{bench.names:,} names and a local node, {CHANGING_FILE.label}: CPU of a poll"
    details: dict[str, object] = {"changing": asdict(changing), "same": asdict(same)}
    return _cost_row(question, cost, changing, f"{changing.polls} polls, attempts left out", details)


def _cost_row(question: str, cost: float, found: Watched, note: str, details: dict[str, object]) -> Row:
    return Row(
        question=question,
        target=f"≤ {1000 * POLL_TARGET:.0f} ms",
        ours=f"{1000 * cost:.1f} ms",
        against="",
        ratio=None,
        met=cost <= POLL_TARGET,
        note=note,
        error=None if found.polls else "there was no poll",
        details=details,
    )


def _memory_row(bench: Bench, full: int, empty: int, wanted: int) -> Row:
    return Row(
        question=f"{bench.names:,} names and a local node: memory (RSS) more than with none",
        target=f"≤ {MEMORY_TARGET // 1_000_000} MB",
        ours=f"{(full - empty) / 1e6:.1f} MB",
        against=f"{empty / 1e6:.1f} MB in all with none",
        ratio=None,
        met=full - empty <= MEMORY_TARGET,
        note=f"{wanted:,} of them are wanted (max_peers); after attempts and changes",
        details={"bytes": full, "bytes_without_names": empty, "wanted": wanted},
    )


def _attempts_row(first: Watched, later: Watched, base: Watched, wanted: int) -> Row:
    def share(watched: Watched) -> float:
        return watched.cpu / watched.seconds - base.cpu / base.seconds

    return Row(
        question=f"{wanted:,} peers that are not there: CPU of the attempts to join them",
        target="",
        ours=f"{share(first):.1%} of a core in the first {first.seconds:.0f} s",
        against="",
        ratio=None,
        met=None,
        note=f"{share(later):.1%} in the {later.seconds:.0f} s after that",
        details={"first": asdict(first), "later": asdict(later), "without_names": asdict(base)},
    )


QUESTIONS: dict[str, Question] = {"names": names}
