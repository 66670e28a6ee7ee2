"""The question about `epmdless doctor`: how long it takes to a node that is well, with its cookie.

Beside it run the ways to ask a node whether it can be reached that come with Erlang.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.epmd_servers import Program, Server, serving
from bench.platforms_bench import Bench, Question, own_folder, seconds_text
from bench.report import Row
from bench.support import ROOT, BenchError, clean_environment, free_port, median, running

COOKIE = "platformsbench"
ALIVE, HOST = "app", "127.0.0.1"
READY_LIMIT = 30.0
LOOK_SECONDS = 0.05
COMMAND_LIMIT = 30.0

OURS, PING, ERL_CALL = "epmdless doctor", "erl, net_adm:ping", "erl_call"


@dataclass(frozen=True, slots=True)
class Target:
    """A node that runs, and how it is reached."""

    node: str
    cookie_file: Path
    epmd_port: int


def doctor(bench: Bench) -> list[Row]:
    """Ours and theirs in turn, against one node."""
    taken: dict[str, list[float]] = {}
    walks: list[dict[str, float]] = []
    with own_folder() as folder, serving(Program.ours(None), None) as epmd, _node(folder, epmd) as target:
        commands = _commands(target)
        for number in range(bench.rounds):
            bench.progress.say(f"round {number + 1}")
            for label, command in commands.items():
                seconds, said = _run(command, target)
                taken.setdefault(label, []).append(seconds)
                if label == OURS:
                    walks.append(_walk(said))
    return [_command_row(taken), _walk_row(walks)]


def _commands(target: Target) -> dict[str, list[str]]:
    asked = f"halt(case net_adm:ping('{target.node}') of pong -> 0; pang -> 1 end)."
    own = ("-hidden", "-name", f"asker@{HOST}", "-setcookie", COOKIE)
    ours = [sys.executable, "-m", "epmdless", "doctor", target.node, "--json"]
    return {
        OURS: [*ours, "--cookie-file", str(target.cookie_file), "--epmd-port", str(target.epmd_port)],
        PING: ["erl", "-noinput", "-start_epmd", "false", *own, "-eval", asked],
        ERL_CALL: ["erl_call", "-c", COOKIE, "-name", target.node, "-a", "erlang node"],
    }


def _run(command: Sequence[str], target: Target) -> tuple[float, str]:
    """How long it took, and what it said. Raises BenchError."""
    begun = time.perf_counter()
    done = _ask(command, target)
    seconds = time.perf_counter() - begun
    if done.returncode != 0:
        raise BenchError(f"{command[0]} ended with status {done.returncode}: {done.stdout}{done.stderr}")
    return seconds, done.stdout


def _ask(command: Sequence[str], target: Target) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=ROOT,
        env=clean_environment() | {"ERL_EPMD_PORT": str(target.epmd_port)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_LIMIT,
        check=False,
    )


def _walk(said: str) -> dict[str, float]:
    """Seconds of each step."""
    steps = json.loads(said)["steps"]
    return {step["step"]: step["milliseconds"] / 1000 for step in steps if step["milliseconds"] is not None}


@contextmanager
def _node(folder: Path, epmd: Server) -> Iterator[Target]:
    """A node that is registered there, until the block ends."""
    erl = shutil.which("erl")
    if erl is None or shutil.which("erl_call") is None:
        raise BenchError("erl and erl_call are needed (Debian package erlang-base)")
    port = free_port()
    target = Target(f"{ALIVE}-{port}@{HOST}", folder / "cookie", epmd.port)
    target.cookie_file.touch(0o600)
    target.cookie_file.write_text(COOKIE)
    flags = ["-noinput", "-start_epmd", "false", "-epmd_port", str(epmd.port), "-setcookie", COOKIE]
    listening = ["-kernel", "inet_dist_listen_min", str(port), "inet_dist_listen_max", str(port)]
    with running([erl, *flags, "-name", target.node, *listening], core=None) as process:
        limit = time.monotonic() + READY_LIMIT
        while _ask(_commands(target)[ERL_CALL], target).returncode != 0:
            if process.poll() is not None or time.monotonic() > limit:
                raise BenchError("the node does not answer")
            time.sleep(LOOK_SECONDS)
        yield target


def _command_row(taken: dict[str, list[float]]) -> Row:
    others = [label for label in taken if label != OURS]
    return Row(
        question="`epmdless doctor`, a node that is well, with its cookie: the whole command",
        target="",
        ours=seconds_text(taken[OURS]),
        against="\n".join(f"{seconds_text(taken[label])}: {label}" for label in others),
        ratio=None,
        met=None,
        note="those say yes or no",
        details=dict(taken),
    )


def _walk_row(walks: Sequence[dict[str, float]]) -> Row:
    slowest = {step: median([walk[step] for walk in walks]) for step in walks[0]}
    return Row(
        question="the same: the walk itself",
        target="",
        ours=seconds_text([sum(walk.values()) for walk in walks]),
        against="",
        ratio=None,
        met=None,
        note=", ".join(f"{step} {1000 * each:.1f} ms" for step, each in slowest.items()),
        details={"walks": list(walks)},
    )


QUESTIONS: dict[str, Question] = {"doctor": doctor}
