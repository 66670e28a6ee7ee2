"""Containers as far as a start depends on them: a PID namespace with its /proc, and a network of its own.

In each runs the same release, started in one of three ways: by ``epmdless exec``; by a script as articles
have it, below Debian's ``tini``; or by itself, told its name beforehand. Processor and files are the
machine's.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.epmd_servers import LOG_TAIL, NAMES_REQUEST
from bench.platforms_metadata import ADDRESS, metadata
from bench.platforms_release import LOCALE, NAME
from bench.support import ROOT, BenchError, clean_environment, end, memory_of_one, process_tree
from epmdless.addresses import EPMD_PORT
from epmdless.cli.namespaces import Namespace, NamespaceError

PORT = 9001
"""The node's, of which its name tells: shop-9001."""

SCRIPT = f"""\
#!/bin/sh
set -eu
task="$(curl -fsS "$ECS_CONTAINER_METADATA_URI_V4/task")"
address="$(printf '%s' "$task" | jq -er '.Containers[0].Networks[0].IPv4Addresses[0]')"
export RELEASE_DISTRIBUTION=name
export RELEASE_NODE="{NAME}-{PORT}@$address"
export ERL_AFLAGS="-start_epmd false -kernel inet_dist_listen_min {PORT} inet_dist_listen_max {PORT}"
epmd -daemon
exec "$@"
"""
"""The home-made entry point."""

SAYS_UP = {"ERL_ZFLAGS": "-eval erlang:display(up).", "ERL_CRASH_DUMP_SECONDS": "0"}
"""A node takes SIGTERM from then on; while it boots it loses it."""

LOOK_SECONDS = 0.002
READY_LIMIT = 60.0
END_LIMIT = 30.0

NAMED = {
    "RELEASE_DISTRIBUTION": "name",
    "RELEASE_NODE": f"{NAME}-{PORT}@{ADDRESS}",
    "ERL_AFLAGS": f"-kernel inet_dist_listen_min {PORT} inet_dist_listen_max {PORT}",
}


@dataclass(frozen=True, slots=True)
class Way:
    """How the release comes to run.

    :ivar before: the words before the release's own.
    :ivar about: for people.
    :ivar environment: what it is told beforehand.
    """

    label: str
    about: str
    before: tuple[str, ...]
    environment: Mapping[str, str]


OURS, HOME_MADE, PLAIN = "epmdless", "script", "plain"
WAYS = {
    way.label: way
    for way in (
        Way(OURS, "epmdless exec", (sys.executable, "-m", "epmdless", "exec", "--app", NAME, "--"), {}),
        Way(HOME_MADE, "tini + curl | jq + epmd", ("tini", "--", "{folder}/entry"), {}),
        Way(PLAIN, f"bin/{NAME} alone, told its name", (), NAMED),
    )
}


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of a process."""

    resident: int
    proportional: int


@dataclass(frozen=True, slots=True)
class Started:
    """Seconds from the container's start.

    :ivar served: EPMD answers.
    :ivar registered: it knows the node.
    """

    served: float
    registered: float


@dataclass(frozen=True, slots=True)
class Stopped:
    """Seconds from SIGTERM to PID 1."""

    node: float
    all: float


class Container:
    """A container that runs."""

    def __init__(self, place: Namespace, process: subprocess.Popen[bytes], begun: float, log: Path) -> None:
        self._place = place
        self._process = process
        self._begun = begun
        self._log = log

    def wait_until_registered(self) -> Started:
        """Ask EPMD again and again for its names, which no scheme makes up. Raises BenchError."""
        return self._place.call(self._wait_inside)

    def _wait_inside(self) -> Started:
        served: float | None = None
        wanted = f"name {NAME}-{PORT} at port {PORT}\n".encode()
        while True:
            names = _names()
            passed = time.perf_counter() - self._begun
            if names is not None and served is None:
                served = passed
            if names is not None and served is not None and wanted in names:
                return Started(served, passed)
            self._check(passed, "registered")
            time.sleep(LOOK_SECONDS)

    def wait_until_booted(self) -> None:
        """Wait until the node has said so. Raises BenchError."""
        while "up" not in self._log.read_text(errors="replace").split():
            self._check(time.perf_counter() - self._begun, "booted")
            time.sleep(LOOK_SECONDS)

    def _check(self, passed: float, what: str) -> None:
        status = self._process.poll()
        if status is not None:
            raise BenchError(f"the container ended with status {status}: {self._said()}")
        if passed > READY_LIMIT:
            raise BenchError(f"the node is not {what} after {READY_LIMIT:g} s: {self._said()}")

    def _said(self) -> str:
        return self._log.read_text(errors="replace")[-LOG_TAIL:].strip() or "it said nothing"

    def memory_of_init(self) -> Memory:
        """PID 1's."""
        return _memory(self._init)

    def memory_of_epmd(self) -> Memory:
        """The EPMD server's, ours or C."""
        _, _, *others = process_tree(self._process.pid)
        return _memory(_find(others, lambda words: "serve" in words or words[0].endswith("epmd")))

    def stop(self) -> Stopped:
        """Tell PID 1 to end, and wait until all has ended. Raises BenchError."""
        running = process_tree(self._process.pid)
        node = os.pidfd_open(_find(running, lambda words: words[0].endswith("beam.smp")))
        try:
            begun = time.perf_counter()
            os.kill(self._init, signal.SIGTERM)
            node_ended = select.select([node], [], [], END_LIMIT)[0]
            node_seconds = time.perf_counter() - begun
        finally:
            os.close(node)
        try:
            status = self._process.wait(END_LIMIT)
        except subprocess.TimeoutExpired:
            status = None
        if status != 0 or not node_ended:
            raise BenchError(f"it does not end cleanly ({status}): {self._said()}")
        return Stopped(node_seconds, time.perf_counter() - begun)

    @property
    def _init(self) -> int:
        return process_tree(self._process.pid)[1]


@contextmanager
def container(way: Way, release: Path, folder: Path) -> Iterator[Container]:
    """A container that starts, until the block ends; what runs in it then is killed.

    :param release: its script.
    :param folder: for files.
    :raises BenchError: no such container can be made here.
    """
    unshare = _needed("unshare", "util-linux")
    for program, package in (("tini", "tini"), ("curl", "curl"), ("jq", "jq"), ("epmd", "erlang-base")):
        _needed(program, package)
    entry = folder / "entry"
    entry.write_text(SCRIPT)
    entry.chmod(0o755)
    own = (unshare, "--pid", "--fork", "--kill-child", "--mount-proc")
    argv = [*own, *(word.format(folder=folder) for word in way.before), os.fspath(release), "start"]
    try:
        with closing(Namespace()) as place, metadata("answers", place) as url:
            place.ip("link", "add", "eth0", "type", "bridge")
            place.ip("address", "add", f"{ADDRESS}/24", "dev", "eth0")
            place.ip("link", "set", "eth0", "up")
            environment = clean_environment() | _environment(folder, url) | dict(way.environment)
            log = folder / "log"
            begun = time.perf_counter()
            process = place.call(lambda: _start(argv, environment, log))
            try:
                yield Container(place, process, begun, log)
            finally:
                end(process)
    except NamespaceError as error:
        raise BenchError(f"no container: {error}") from None


def _environment(folder: Path, url: str) -> dict[str, str]:
    configuration = f"[control]\nsocket = {json.dumps(str(folder / 'control.sock'))}\n"
    own = {"HOME": os.fspath(folder), "EPMDLESS_CONFIG_TOML": configuration}
    return {**LOCALE, **SAYS_UP, **own, "ECS_CONTAINER_METADATA_URI_V4": url}


def _start(argv: Sequence[str], environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=output, stderr=output, cwd=ROOT, env=environment
        )


def _needed(program: str, package: str) -> str:
    found = shutil.which(program)
    if found is None:
        raise BenchError(f"{program} is needed (Debian package {package})")
    return found


def _names() -> bytes | None:
    """What EPMD has registered; None: nobody answers."""
    try:
        with socket.create_connection(("127.0.0.1", EPMD_PORT), timeout=READY_LIMIT) as connection:
            connection.sendall(NAMES_REQUEST)
            reply = b""
            while data := connection.recv(65536):
                reply += data
    except OSError:
        return None
    return reply[4:]


def _find(processes: Sequence[int], is_wanted: Callable[[Sequence[str]], bool]) -> int:
    for process in processes:
        if is_wanted(Path(f"/proc/{process}/cmdline").read_text(errors="replace").split("\0")):
            return process
    raise BenchError("a process of the container is missing")


def _memory(process: int) -> Memory:
    return Memory(memory_of_one(process, "Rss"), memory_of_one(process, "Pss"))
