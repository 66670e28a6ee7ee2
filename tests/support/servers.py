"""EPMD servers as subprocesses: ours under both command lines, and the C epmd as the reference.

with running("serve") as server:
    names(server.port)
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.support.deadline import DeadlineError, eventually
from tests.support.epmd_client import KILL, NAMES, ask
from tests.support.ports import free_port
from tests.support.process import Program
from tests.support.tools import PYTHON, clean_env, require

Kind = Literal["c", "epmd", "serve"]
"""The C epmd; our program with its command line; our `epmdless serve`."""

OUR_EPMD = (PYTHON, "-m", "epmdless.cli.epmd")
OUR_SERVE = (PYTHON, "-m", "epmdless", "serve")

READY_WITHIN = 10.0


def command(kind: Kind) -> tuple[str, ...]:
    """Return the words that start a server of this kind, `-port` and all other flags left out."""
    if kind == "c":
        return (require("epmd", "erlang-base"),)
    return OUR_EPMD if kind == "epmd" else OUR_SERVE


def port_flags(kind: Kind, port: int) -> tuple[str, str]:
    """Return the flag that moves the server to a port."""
    return ("--port" if kind == "serve" else "-port", str(port))


@dataclass
class Server:
    """A server that answers on `port`, and its process."""

    kind: Kind
    port: int
    program: Program


class NotReadyError(AssertionError):
    """A server did not come to answer on its port."""


def answers(port: int) -> bool:
    """Tell whether an EPMD server answers on the port, and says that it is this one."""
    try:
        return ask(port, NAMES)[:4] == port.to_bytes(4, "big")
    except OSError:
        return False


def wait_ready(program: Program, port: int, within: float = READY_WITHIN) -> None:
    """Wait until the program answers on the port; raises NotReadyError when it ends or is too slow."""
    try:
        eventually(lambda: program.ended or answers(port), within=within, what="an answer to NAMES")
    except DeadlineError as error:
        raise NotReadyError(f"{error}\n{program.report()}") from error
    if program.ended:
        raise NotReadyError(f"ended before it answered: {program.report()}")


@contextmanager
def running(
    kind: Kind,
    *flags: str | Path,
    port: int | None = None,
    env: dict[str, str] | None = None,
    within: float = READY_WITHIN,
) -> Iterator[Server]:
    """Run a server until the context ends: on `port`, or on one that the kernel chooses.

    `env` is added to a clean environment; `within` is the limit for its first answer, in seconds.
    """
    chosen = free_port() if port is None else port
    with start(kind, *flags, port=chosen, env=env, within=within) as program:
        yield Server(kind, chosen, program)


def start(
    kind: Kind,
    *flags: str | Path,
    port: int,
    env: dict[str, str] | None = None,
    within: float = READY_WITHIN,
) -> Program:
    """Start a server and wait until it answers; the caller ends it."""
    argv = [*command(kind), *port_flags(kind, port), *flags]
    program = Program(argv, env=clean_env(**(env or {})))
    try:
        wait_ready(program, port, within)
    except BaseException:
        program.close()
        raise
    return program


def end_daemon(port: int) -> None:
    """End a daemon that serves the port, if one does: nobody here is its parent. It must allow KILL."""
    if answers(port):
        assert ask(port, KILL) == b"OK"
        eventually(lambda: not answers(port), within=5, what="the daemon's end")
