"""The EPMD servers that are measured: epmdless and its peer, each on a port of 127.0.0.1 of its own."""

from __future__ import annotations

import shlex
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from bench.support import BenchError, free_port, running

READY_LIMIT = 30.0
"""Seconds that a server has to answer its first request."""
POLL_INTERVAL = 0.001
"""Seconds between two attempts to reach a server that starts."""
NAMES_REQUEST = b"\x00\x01n"
LOG_TAIL = 2000
"""Bytes of a server's output that an error message quotes."""

DEFAULT_CHAIN = ("registered", "scheme")


@dataclass(frozen=True, slots=True)
class Program:
    """How a server is started: an argument list, in which {port} and {config} are filled in."""

    label: str
    command: tuple[str, ...]

    @classmethod
    def ours(cls, override: str | None) -> Program:
        """epmdless from this Python, or the command line `override`."""
        command = (sys.executable, "-m", "epmdless", "serve", "--config", "{config}")
        return cls("epmdless", tuple(shlex.split(override)) if override else command)

    @classmethod
    def peer(cls, override: str | None) -> Program:
        """The host's C epmd, or the command line `override`."""
        command = (shutil.which("epmd") or "/usr/bin/epmd", "-port", "{port}", "-address", "127.0.0.1")
        return cls("C epmd", tuple(shlex.split(override)) if override else command)

    def arguments(self, port: int, config: Path) -> list[str]:
        """The command for one start."""
        return [part.replace("{port}", str(port)).replace("{config}", str(config)) for part in self.command]


@dataclass(frozen=True, slots=True)
class Server:
    """A server that has answered its first request."""

    label: str
    port: int
    process_id: int
    ready_seconds: float
    """From just before fork and exec to the end of the first answer."""


def configuration(
    port: int,
    chain: Sequence[str],
    *,
    dns_port: int | None = None,
    packet_timeout: str = "60s",
    tables: str = "",
) -> str:
    """epmdless's configuration: `chain` on `port`, SRV questions to `dns_port` of 127.0.0.1, and `tables`."""
    quoted = ", ".join(f'"{name}"' for name in chain)
    lines = [
        "[epmd]",
        f'listen = ["127.0.0.1:{port}"]',
        f'packet_timeout = "{packet_timeout}"',
        "[resolve]",
        f"chain = [{quoted}]",
    ]
    if dns_port is not None:
        lines += [
            "[resolve.srv]",
            'question = "_{name}._tcp.nodes.test"',
            f'servers = ["127.0.0.1:{dns_port}"]',
        ]
    return "\n".join(lines) + "\n" + tables


@contextmanager
def serving(
    program: Program,
    core: int | None,
    *,
    chain: Sequence[str] = DEFAULT_CHAIN,
    dns_port: int | None = None,
    packet_timeout: str = "60s",
    tables: str = "",
) -> Iterator[Server]:
    """Run `program` until the block ends; the block starts when it has answered.

    The keyword arguments are as for `configuration`; a program that takes no {config} ignores them.
    """
    with tempfile.TemporaryDirectory(prefix="epmdless-bench-") as folder:
        port = free_port()
        config = Path(folder, "epmdless.toml")
        config.write_text(
            configuration(port, chain, dns_port=dns_port, packet_timeout=packet_timeout, tables=tables)
        )
        with Path(folder, "log").open("w+b") as log:
            start = time.perf_counter()
            with running(program.arguments(port, config), core=core, stdout=log, stderr=log) as process:
                _wait_until_ready(program, process, port, log)
                yield Server(program.label, port, process.pid, time.perf_counter() - start)


def _wait_until_ready(program: Program, process: subprocess.Popen[bytes], port: int, log: IO[bytes]) -> None:
    deadline = time.monotonic() + READY_LIMIT
    while not answers_names(port):
        if process.poll() is not None:
            raise BenchError(f"{program.label} ended with status {process.returncode}: {_tail(log)}")
        if time.monotonic() > deadline:
            raise BenchError(f"{program.label} is not ready after {READY_LIMIT:.0f} s: {_tail(log)}")
        time.sleep(POLL_INTERVAL)


def answers_names(port: int) -> bool:
    """Whether the server on `port` gives a whole answer to NAMES."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5.0) as connection:
            connection.sendall(NAMES_REQUEST)
            reply = b""
            while data := connection.recv(65536):
                reply += data
    except OSError:
        return False
    return reply[:4] == struct.pack(">I", port)


def _tail(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read()[-LOG_TAIL:].decode(errors="replace").strip() or "it said nothing"
