"""What is measured in the middle: epmdless, HAProxy, nginx and socat, each with the settings written here.

Every one of them has one thread, on the same core, and carries 127.0.0.2:PORT to 127.0.0.3:PORT. None is
tuned down: where a setting is not the default, it is the one that was faster here, and the line says what
it is for.
"""

from __future__ import annotations

import random
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.relay_generator import FAR, NEAR, Way
from bench.support import BenchError, Cores, running

READY_LIMIT = 20.0
"""Seconds that a program has to listen."""
LOWEST_PORT = 10_000
"""Below are the usual ports of services."""
POLL_INTERVAL = 0.01
LOG_TAIL = 2000
"""Bytes of a program's output that an error message quotes."""

NGINX_STREAM = "/usr/lib/nginx/modules/ngx_stream_module.so"
"""Debian's place for it (package libnginx-mod-stream)."""

EPMDLESS = """\
[epmd]
listen = []

[relay]
epmd_port = {epmd_port}
frames = {frames}
max_links = 20000
max_links_per_address = 20000

[[relay.route]]
host = "{near}"
listen = "{near}"
dial = "{far}"
ports = ["{port}"]

[control]
socket = "{folder}/control.sock"
"""
"""The limits are raised because all near nodes have one address here; all else is as installed."""

FAR_EPMD = """\
[epmd]
listen = ["{far}:{epmd_port}"]
[resolve]
chain = ["scheme"]
"""

SERVE = (sys.executable, "-m", "epmdless", "serve", "--config")

HAPROXY = """\
global
    nbthread 1
    maxconn 5000
    tune.bufsize 262144
    tune.pipesize 1048576
defaults
    mode tcp
    {options}
    timeout connect 5s
    timeout client 1h
    timeout server 1h
frontend near
    bind {near}:{port} backlog 4096
    default_backend far
backend far
    server far {far}:{port}
"""
"""TCP_NODELAY is HAProxy's default. maxconn: what 20,000 descriptors allow with splicing. The larger buffers
and pipes (16 and 64 KiB by default) made bulk two to three times as fast here, and cost
small messages nothing."""

SPLICE = "option splice-request\n    option splice-response"
"""Always splices. `splice-auto` leaves it to a guess, which copies small messages and most bulk here too."""

NGINX = """\
load_module {module};
daemon off;
pid {folder}/nginx.pid;
error_log stderr error;
worker_processes 1;
events {{
    worker_connections 9000;
}}
stream {{
    tcp_nodelay on;
    proxy_buffer_size 256k;
    proxy_half_close on;
    proxy_timeout 1h;
    server {{
        listen {near}:{port} backlog=4096;
        proxy_pass {far}:{port};
    }}
}}
"""
"""proxy_buffer_size: 16k (the default) and 64k were slower for bulk, and no faster for small messages.
proxy_half_close: without it nginx drops what it has taken in when the near side shuts down its output."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a program runs: its own folder, and ports that were free on both addresses."""

    folder: Path
    port: int
    epmd_port: int

    def filled(self, template: str, **more: str) -> str:
        """`template` with this place's ports and addresses in it."""
        facts = {"near": NEAR, "far": FAR, "port": str(self.port), "epmd_port": str(self.epmd_port)}
        return template.format(folder=self.folder, **facts, **more)

    def written(self, name: str, text: str) -> str:
        """The path of the new file `name`."""
        path = self.folder / name
        path.write_text(text)
        return str(path)


def _epmdless(place: Place, frames: bool) -> list[str]:
    config = place.filled(EPMDLESS, frames=str(frames).lower())
    return [*SERVE, place.written("epmdless.toml", config)]


def _haproxy(place: Place, options: str) -> list[str]:
    config = place.filled(HAPROXY, options=options)
    return [found("haproxy"), "-db", "-f", place.written("haproxy.cfg", config)]


def _nginx(place: Place) -> list[str]:
    if not Path(NGINX_STREAM).exists():
        raise BenchError("nginx's stream module is needed (Debian package libnginx-mod-stream)")
    config = place.written("nginx.conf", place.filled(NGINX, module=NGINX_STREAM))
    return [found("nginx"), "-e", "stderr", "-p", str(place.folder), "-c", config]


def _socat(place: Place) -> list[str]:
    """socat with a process for each link; -b: bytes that one read takes (the default, 8192, is slower)."""
    near = f"TCP-LISTEN:{place.port},bind={NEAR},reuseaddr,fork,nodelay,backlog=4096"
    return [found("socat"), "-b", "262144", near, f"TCP:{FAR}:{place.port},nodelay"]


def found(program: str) -> str:
    """The program's path; administration programs are often missing from an ordinary user's PATH."""
    path = shutil.which(program) or shutil.which(program, path="/usr/local/sbin:/usr/sbin:/sbin")
    if path is None:
        raise BenchError(f"{program} is needed, and not installed")
    return path


OURS = "epmdless"
DIRECT = "direct"

COMMANDS: dict[str, Callable[[Place], list[str]]] = {
    OURS: lambda place: _epmdless(place, frames=True),
    "epmdless-plain": lambda place: _epmdless(place, frames=False),
    "haproxy-splice": lambda place: _haproxy(place, SPLICE),
    "haproxy": lambda place: _haproxy(place, "# no splicing"),
    "nginx": _nginx,
    "socat": _socat,
}
"""How each is started; in the order of the tables."""

PEERS = ("haproxy-splice", "haproxy", "nginx", "socat")
"""Those that epmdless is compared with."""


@contextmanager
def way(label: str, cores: Cores, *, lookups: bool = False) -> Iterator[Way]:
    """The way called `label`: "direct", or one of COMMANDS, listening already, on `cores.server`.

    `lookups`: the far host has an EPMD server, on `cores.generator` as all that is the far side's, and the
    load asks it, or the relay that stands in for it, before it dials.
    """
    with tempfile.TemporaryDirectory(prefix="epmdless-bench-") as name, ExitStack() as stack:
        port, epmd_port = free_ports(2)
        place = Place(Path(name), port, epmd_port)
        if lookups:
            stack.enter_context(_far_epmd(place, cores.generator))
        middle: tuple[int, ...] = ()
        if label != DIRECT:
            command, log = COMMANDS[label](place), place.folder / "log"
            middle = (stack.enter_context(started(label, command, (NEAR, port), cores.server, log)),)
        yield Way(label, port, middle, epmd_port if lookups else None)


@contextmanager
def _far_epmd(place: Place, core: int | None) -> Iterator[None]:
    """The far host's EPMD server: it answers for the far node by the node's name."""
    command = [*SERVE, place.written("far.toml", place.filled(FAR_EPMD))]
    with started("the far EPMD server", command, (FAR, place.epmd_port), core, place.folder / "far.log"):
        yield


@contextmanager
def started(
    label: str, command: Sequence[str], listens: tuple[str, int], core: int | None, log: Path
) -> Iterator[int]:
    """Run `command` until the block ends, which starts once it listens at `listens`; yields its id."""
    with log.open("wb") as output, running(command, core=core, stdout=output, stderr=output) as process:
        deadline = time.monotonic() + READY_LIMIT
        while not is_listening(*listens):
            if process.poll() is not None or time.monotonic() > deadline:
                said = log.read_bytes()[-LOG_TAIL:].decode(errors="replace").strip() or "it said nothing"
                raise BenchError(f"{label} does not listen (status {process.poll()}): {said}")
            time.sleep(POLL_INTERVAL)
        yield process.pid


def free_ports(count: int, hosts: Sequence[str] = (NEAR, FAR)) -> list[int]:
    """Ports that were free on all of `hosts` just now, for listening.

    None that the kernel would give to a connection that is made before somebody listens there.
    """
    ports: list[int] = []
    choices = range(LOWEST_PORT, max(_lowest_of_the_kernel(), 2 * LOWEST_PORT))
    with ExitStack() as stack:
        while len(ports) < count:
            port = random.choice(choices)
            try:
                for host in hosts:
                    stack.enter_context(socket.socket()).bind((host, port))
            except OSError:
                continue
            ports.append(port)
    return ports


def _lowest_of_the_kernel() -> int:
    """The lowest port that connections get by themselves."""
    return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])


def is_listening(host: str, port: int) -> bool:
    """Whether a socket listens there, as the kernel lists it: a connection would be carried on."""
    wanted = f"{int.from_bytes(socket.inet_aton(host), sys.byteorder):08X}:{port:04X}"
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return any(row[1] == wanted and row[3] == "0A" for row in rows)
