"""Hosts on this machine: network namespaces on a bridge, and the programs that run in them.

```
10.77.0.1   10.77.0.2   10.77.0.3  ...   10.77.0.30    hosts
     |           |           |                |
     +-----------+-----------+-- 10.77.0.254 -+        the bridge: DNS
```

The hosts know each other's hardware addresses from the start. Thirty of them would fill the kernel's table
of neighbours, which all namespaces of a machine share (``net.ipv4.neigh.default.gc_thresh3``, 1024): a
bound of this arrangement, not of thirty real hosts.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from shutil import copytree
from typing import TypeVar

from bench.support import ROOT, BenchError, clean_environment
from epmdless.cli.namespaces import Namespace, NamespaceError

T = TypeVar("T")

NETWORK = "10.77.0"
BRIDGE_NUMBER = 254
BRIDGE_ADDRESS = f"{NETWORK}.{BRIDGE_NUMBER}"
MAX_HOSTS = BRIDGE_NUMBER - 1

NODE_PORT = 9100
"""Where every node listens, so that what is dialled there can be counted."""

LOOK_SECONDS = 0.05
"""Between two looks whether something is ready, or has happened."""
LOG_TAIL = 2000
"""Characters of a program's output that an error message quotes."""

COUNTER = f"""
table bridge bench {{
    counter dialled {{ }}
    chain forward {{
        type filter hook forward priority 0; policy accept;
        tcp dport {NODE_PORT} tcp flags & (syn|ack) == syn counter name dialled
    }}
}}
"""
"""Counts what goes from one host to another's node: first packets of connections, repeated ones too."""


@dataclass(frozen=True, slots=True)
class Program:
    """A program that runs, and leads a session of its own."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def process_id(self) -> int:
        return self.process.pid

    def said(self) -> str:
        """The end of what it wrote."""
        return self.log.read_text(errors="replace")[-LOG_TAIL:].strip() or "it said nothing"

    def kill(self) -> None:
        """End it and what it started, as a crash does."""
        assert self.process.stdin is not None, "each was started with a pipe"
        self.process.stdin.close()
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@dataclass(slots=True)
class Host:
    """A machine.

    :ivar folder: for its programs' files.
    """

    number: int
    place: Namespace
    folder: Path
    programs: dict[str, Program] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return address_of(self.number)

    def start(
        self, name: str, argv: Sequence[str | Path], environment: Mapping[str, str] | None = None
    ) -> Program:
        """Start a program there; what it writes goes to a file."""
        log = self.folder / f"{name}.log"
        variables = clean_environment() | {"HOME": str(self.folder)} | dict(environment or {})

        def start() -> subprocess.Popen[bytes]:
            with log.open("wb") as output:
                return subprocess.Popen(
                    argv,
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=output,
                    cwd=ROOT,
                    env=variables,
                    start_new_session=True,
                )

        self.programs[name] = program = Program(name, self.place.call(start), log)
        return program

    def stop(self, name: str) -> None:
        """End a program, as a crash does."""
        self.programs.pop(name).kill()

    def check(self) -> None:
        """See that its programs live.

        :raises BenchError: one ended.
        """
        for program in self.programs.values():
            status = program.process.poll()
            if status is not None:
                raise BenchError(
                    f"{program.name} at {self.address} ended with status {status}: {program.said()}"
                )


@dataclass(frozen=True, slots=True)
class World:
    """All hosts.

    :ivar bridge: what connects them, a host of its own.
    """

    hosts: Sequence[Host]
    bridge: Host

    def check(self) -> None:
        """See that all programs live. Raises BenchError."""
        for host in (self.bridge, *self.hosts):
            host.check()

    def dialled(self) -> int:
        """Connections that one host tried to another's node so far."""
        argv = ("nft", "-j", "list", "counters")
        listed = self.bridge.place.call(lambda: subprocess.run(argv, capture_output=True, check=True))
        counters = [each["counter"] for each in json.loads(listed.stdout)["nftables"] if "counter" in each]
        return sum(counter["packets"] for counter in counters)


def address_of(number: int) -> str:
    """The address of a host."""
    return f"{NETWORK}.{number}"


@contextmanager
def world(count: int, keep: Path | None = None) -> Iterator[World]:
    """Hosts 1 to `count`, until the block ends; whatever runs in them then is killed.

    :param keep: a folder that gets a copy of the programs' files; None: they are gone.
    :raises BenchError: no such hosts can be made here.
    """
    if os.geteuid() != 0:
        raise BenchError("needs root: each host is a network namespace")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="epmdless-bench-")))
        if keep is not None:
            stack.callback(copytree, folder, keep, dirs_exist_ok=True, ignore=_no_sockets)
        try:
            made = _make(stack, folder, count)
        except NamespaceError as error:
            raise BenchError(f"no hosts: {error}") from None
        for host in (made.bridge, *made.hosts):
            stack.callback(_kill_all, host)
        yield made


def _make(stack: ExitStack, folder: Path, count: int) -> World:
    bridge = _host(stack, folder, BRIDGE_NUMBER)
    bridge.place.ip("link", "add", "hosts", "type", "bridge")
    _furnish(bridge, "hosts", range(1, count + 1))
    bridge.place.nft(COUNTER)
    hosts = []
    for number in range(1, count + 1):
        host = _host(stack, folder, number)
        bridge.place.join(f"host{number}", host.place, "uplink")
        bridge.place.ip("link", "set", f"host{number}", "master", "hosts")
        _furnish(
            host, "uplink", [other for other in (*range(1, count + 1), BRIDGE_NUMBER) if other != number]
        )
        hosts.append(host)
    return World(hosts, bridge)


def _host(stack: ExitStack, folder: Path, number: int) -> Host:
    own = folder / address_of(number)
    own.mkdir()
    return Host(number, stack.enter_context(closing(Namespace())), own)


def _furnish(host: Host, interface: str, others: Sequence[int]) -> None:
    """Give an interface its addresses, and those of the others."""
    lines = [
        f"link set {interface} address {_hardware_address(host.number)} up",
        f"address add {host.address}/24 dev {interface}",
    ]
    for other in others:
        known = f"{address_of(other)} lladdr {_hardware_address(other)}"
        lines.append(f"neighbour add {known} dev {interface} nud permanent")
    batch = host.folder / "ip"
    batch.write_text("\n".join(lines) + "\n")
    host.place.ip("-batch", str(batch))


def _hardware_address(number: int) -> str:
    return f"02:00:0a:4d:00:{number:02x}"


def _kill_all(host: Host) -> None:
    while host.programs:
        _, program = host.programs.popitem()
        program.kill()


def _no_sockets(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if Path(folder, name).is_socket()]


def wait_until(
    happened: Callable[[], T | None], limit: float, what: str | Callable[[], str], check: Callable[[], object]
) -> T:
    """What `happened` returns once that is not None.

    :param limit: seconds.
    :param what: shall happen, for the error.
    :param check: raises BenchError where it cannot happen any more.
    :raises BenchError: it does not happen.
    """
    end = time.monotonic() + limit
    while (result := happened()) is None:
        check()
        if time.monotonic() > end:
            raise BenchError(f"{what if isinstance(what, str) else what()}: not within {limit:g} s")
        time.sleep(LOOK_SECONDS)
    return result


def at_once(jobs: Sequence[Callable[[], object]]) -> None:
    """Do all jobs, each in a thread of its own, to the end; an error of one is raised then."""
    with ThreadPoolExecutor(len(jobs)) as threads:
        for done in [threads.submit(job) for job in jobs]:
            done.result()
