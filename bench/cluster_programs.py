"""What runs on the hosts of the cluster benchmark: EPMD servers, ours and the C one, and BEAM nodes."""

from __future__ import annotations

import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from bench.cluster_world import NODE_PORT, Host, wait_until
from bench.epmd_servers import answers_names
from bench.support import BENCH, BUILD, BenchError, cpu_seconds, fresh_build
from epmdless.addresses import EPMD_PORT

EPMD, NODE = "epmd", "node"
"""What the programs of a host are called."""

ALIVE = "app"
COOKIE = "clusterbench"
METRICS_PORT = 9568

READY_LIMIT = 60.0
"""Seconds that a program has to be ready: thirty of each start at once."""

NODE_FLAGS = (
    *("-noshell", "-start_epmd", "false", "-setcookie", COOKIE),
    *("-kernel", "inet_dist_listen_min", str(NODE_PORT), "inet_dist_listen_max", str(NODE_PORT)),
    *("+S", "1:1", "+SDcpu", "1:1", "+SDio", "1", "+A", "1"),
    *("+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none"),
)
"""Small nodes: one thread of each kind, and none that spins while it waits."""

CONFIGURATION = """\
[epmd]
listen = [{listen}]
[resolve]
host = "{address}"
[control]
socket = "{folder}/control.sock"
[metrics]
listen = "127.0.0.1:{metrics_port}"
"""

CLUSTER = """\
[cluster]
cookie_file = "{folder}/cookie"
"""


@dataclass(frozen=True, slots=True)
class Script:
    """The home-made way: each node reads a list and connects to whom it misses, again and again."""

    names: Path
    seconds: int = 5
    """Between two rounds: libcluster's `polling_interval`."""


@dataclass(frozen=True, slots=True)
class Events:
    """What a node wrote down; times in seconds of the system clock."""

    up: float | None
    joined: float | None
    """When it first had all its peers."""
    down: int
    """Connections that it lost."""
    called: int
    """Connections that a script told it to make."""
    needless: int
    """The same, where there was one by then."""


def node_name(host: Host) -> str:
    """The name of the node of a host."""
    return f"{ALIVE}@{host.address}"


def start_epmdless(host: Host, cluster: str | None, listen: Sequence[str] = ("0.0.0.0",)) -> None:
    """Start an EPMD server of ours, and wait until it answers.

    :param cluster: more lines of ``[cluster]``, and its tables; None: there is no such table.
    """
    own = host.folder
    listening = ", ".join(f'"{address}:{EPMD_PORT}"' for address in listen)
    text = CONFIGURATION.format(listen=listening, address=host.address, folder=own, metrics_port=METRICS_PORT)
    if cluster is not None:
        text += CLUSTER.format(folder=own) + cluster
    (own / "epmdless.toml").write_text(text)
    cookie = own / "cookie"
    cookie.touch(0o600)
    cookie.write_text(COOKIE)
    _start_epmd(host, [sys.executable, "-m", "epmdless", "serve", "--config", own / "epmdless.toml"])


def start_c_epmd(host: Host) -> None:
    """Start the host's C epmd, and wait until it answers."""
    _start_epmd(host, [_program("epmd"), "-port", str(EPMD_PORT)])


def _start_epmd(host: Host, argv: Sequence[str | Path]) -> None:
    host.start(EPMD, argv)

    def answers() -> bool | None:
        return host.place.call(lambda: answers_names(EPMD_PORT)) or None

    wait_until(answers, READY_LIMIT, f"the EPMD server of {host.address} answers", host.check)


def start_node(host: Host, peers: int, *, connects_all: bool, script: Script | None = None) -> None:
    """Start a node.

    :param peers: how many it needs to be joined.
    :param connects_all: nodes connect to their peers' peers by themselves, as Erlang's do by default.
    """
    more = [] if connects_all else ["-connect_all", "false"]
    run = ["-run", "cluster_node", "start", str(_events_file(host)), str(peers)]
    if script is not None:
        run += [str(script.names), str(script.seconds)]
    argv = [_program("erl"), *NODE_FLAGS, *more, "-name", node_name(host), "-pa", str(BUILD), *run]
    host.start(NODE, argv, {"ERL_CRASH_DUMP_SECONDS": "0"})


def events(host: Host) -> Events:
    """What the node of a host wrote down so far."""
    file = _events_file(host)
    lines = file.read_text().splitlines() if file.exists() else []
    found: dict[str, list[float]] = {}
    for line in lines:
        what, _, microseconds = line.partition(" ")
        found.setdefault(what, []).append(int(microseconds) / 1e6)
    called, needless = (len(found.get(what, ())) for what in ("called", "needless"))
    up, joined = (found.get(what, [None])[0] for what in ("up", "joined"))
    return Events(up, joined, len(found.get("down", ())), called + needless, needless)


def metrics(host: Host) -> dict[tuple[str, tuple[str, ...]], float]:
    """The metrics of the host's EPMD server of ours, by name and values of labels, these in their order."""

    def read() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{METRICS_PORT}/metrics", timeout=10) as page:
            text: str = page.read().decode()
            return text

    try:
        text = host.place.call(read)
    except OSError as error:
        raise BenchError(f"no metrics of {host.address}: {error}") from None
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def joins(host: Host) -> dict[str, int]:
    """Connections that the host's node was told to make by our EPMD server, by result."""
    wanted = "epmdless_cluster_joins_total"
    return {labels[0]: int(value) for (name, labels), value in metrics(host).items() if name == wanted}


def cpu(hosts: Sequence[Host], name: str) -> float:
    """CPU seconds so far of the programs of that name, on all hosts together."""
    return sum(cpu_seconds(host.programs[name].process_id) for host in hosts)


def compile_node() -> None:
    """Compile cluster_node.erl into ``bench/build``."""
    with fresh_build("cluster_node.beam") as made:
        command = [_program("erlc"), "-o", str(made.parent), str(BENCH / "cluster_node.erl")]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise BenchError(f"cluster_node.erl does not compile:\n{result.stdout}{result.stderr}")


def _events_file(host: Host) -> Path:
    return host.folder / "events"


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise BenchError(f"{name} is needed (Debian package erlang-base)")
    return found
