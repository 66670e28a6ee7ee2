"""The demonstration's programs: servers of ours and Erlang nodes, started, watched and ended."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import epmdless
from epmdless.cli import queries
from epmdless.cli.control import ControlClient
from epmdless.cli.demo_world import Place, World
from epmdless.errors import EpmdlessError

READY_SECONDS = 30.0
"""For each program to be ready: a BEAM boots in 0.5 s on an idle machine."""

END_SECONDS = 5.0
"""For a program to end by itself after it was asked to."""

LOOK_SECONDS = 0.05
"""Between two looks whether something is ready."""

LOG_TAIL = 2000
"""Characters of a program's output that an error shows."""

RELAY_CONFIG = """\
[epmd]
listen = ["127.0.0.1:{epmd_port}"]

[relay]
epmd_port = {epmd_port}
drain     = "1s"

[[relay.route]]
host    = "{stand_in}"
listen  = "{stand_in}"
dial    = "{far}"
ports   = ["{far_port}"]
resolve = ["scheme"]

[control]
socket = {socket}
"""

FAR_CODE = """
register(echo, spawn(fun Echo() -> receive {From, Data} -> From ! Data, Echo() end end)),
io:put_chars("ready\\n"), io:get_line(""), halt().
"""
"""The far node echoes. Both nodes end when their standard input does."""

NEAR_CODE = """
Far = '{far_node}',
Link = fun Link() ->
    case net_adm:ping(Far) of pong -> io:put_chars("ready\\n"); pang -> timer:sleep(200), Link() end
end,
Data = binary:copy(<<"epmdless">>, 128),
Talk = fun Talk(0) -> timer:sleep(50), Talk(20);
           Talk(N) -> {{echo, Far}} ! {{self(), Data}}, receive Data -> ok after 1000 -> ok end, Talk(N - 1)
end,
spawn(fun() -> Link(), Talk(20) end),
io:get_line(""), halt().
"""
"""The near node pings, and then sends 1 KiB and waits for it to come back: 20 times, 20 times a second."""


class Programs:
    """All programs of the demonstration; leaving the context ends them, the last one first.

    :param folder: for their files, of ours alone.
    :param erl: the path of ``erl``.
    """

    def __init__(self, world: World, folder: Path, erl: str) -> None:
        self._world = world
        self._folder = folder
        self._erl = erl
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []
        self.control_path = folder / "control.sock"

    def start(self) -> None:
        """Start everything, and wait until the nodes are linked.

        :raises EpmdlessError: a program ended, or is too slow.
        """
        cookie = self._folder / ".erlang.cookie"  # a file: arguments can be read by everybody
        cookie.write_text(secrets.token_hex(16))
        cookie.chmod(0o400)
        self._start_relay()
        if self._world.is_apart:
            self._start_epmd_server()
        self._start_nodes()

    def check(self) -> None:
        """See that every program lives.

        :raises EpmdlessError: one ended.
        """
        for name, process in self._running:
            if process.poll() is not None:
                raise EpmdlessError(f"the {name} ended with status {process.returncode}{self._tail(name)}")

    def close(self) -> None:
        """End them all."""
        while self._running:
            _end(self._running.pop()[1])

    def _start_relay(self) -> None:
        plan = self._world.plan
        config = self._folder / "relay.toml"
        socket = json.dumps(str(self.control_path))  # TOML's basic strings are JSON's
        config.write_text(
            RELAY_CONFIG.format(
                epmd_port=plan.epmd_port,
                stand_in=plan.stand_in,
                far=plan.far,
                far_port=plan.far_port,
                socket=socket,
            )
        )
        self._run("relay", self._world.relay, [*_OURS, "serve", "--config", str(config)])
        self._wait("relay", lambda: ControlClient([self.control_path]).links())

    def _start_epmd_server(self) -> None:
        port = self._world.plan.epmd_port
        argv = [*_OURS, "serve", "--address", "127.0.0.1", "--port", str(port)]
        self._run("EPMD server", self._world.near, argv)
        self._wait(
            "EPMD server",
            lambda: self._world.near.call(lambda: queries.ask_names(("127.0.0.1",), port)),
        )

    def _start_nodes(self) -> None:
        plan = self._world.plan
        far_code, near_code = FAR_CODE, NEAR_CODE.format(far_node=plan.far_node)
        # The far node needs no EPMD server: it is dialled by the port in its name.
        far = ["-erl_epmd_port", str(plan.far_port), *_listening_at(plan.far), "-eval", far_code]
        self._run("far node", self._world.far, self._node(plan.far_node, far))
        self._wait("far node", lambda: self._said_ready("far node"))
        near = [*_listening_at(plan.near), "-eval", near_code]
        self._run("near node", self._world.near, self._node(plan.near_node, near))
        self._wait("near node", lambda: self._said_ready("near node"))

    def _node(self, name: str, flags: Sequence[str]) -> list[str]:
        return [self._erl, "-noshell", "-name", name, "-start_epmd", "false", *flags]

    def _run(self, name: str, place: Place, argv: Sequence[str]) -> None:
        """Start a program; its output goes to a file. Its session is its own: Ctrl-C is for us alone."""

        def start() -> None:
            with self._log(name).open("wb") as log:
                process = subprocess.Popen(  # noqa: S603 - this interpreter, or the `erl` that was asked for
                    argv,
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    cwd=self._folder,
                    env=self._environment(),
                    start_new_session=True,
                )
            self._running.append((name, process))

        place.call(start)

    def _environment(self) -> Mapping[str, str]:
        """Nothing of ours that changes what the programs do: ERL_FLAGS, EPMDLESS_CONFIG, LISTEN_FDS."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
        return kept | {
            "HOME": str(self._folder),
            "ERL_EPMD_PORT": str(self._world.plan.epmd_port),
            "PYTHONPATH": str(Path(epmdless.__file__).parent.parent),
        }

    def _wait(self, name: str, is_ready: Callable[[], object]) -> None:
        end = time.monotonic() + READY_SECONDS
        while True:
            self.check()
            with contextlib.suppress(EpmdlessError):
                if is_ready():
                    return
            if time.monotonic() > end:
                raise EpmdlessError(f"the {name} was not ready within {READY_SECONDS:g} s{self._tail(name)}")
            time.sleep(LOOK_SECONDS)

    def _said_ready(self, name: str) -> bool:
        return "ready\n" in self._log(name).read_text(errors="replace")

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def _tail(self, name: str) -> str:
        said = self._log(name).read_text(errors="replace")[-LOG_TAIL:].strip()
        return f"; it said:\n{said}" if said else ""


_OURS = (sys.executable, "-m", "epmdless")


def _listening_at(address: str) -> list[str]:
    octets = address.replace(".", ",")
    return ["-kernel", "inet_dist_use_interface", f"{{{octets}}}"]


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program and what it started: gently at first, and not for long."""
    assert process.stdin is not None, "each was started with a pipe"
    process.stdin.close()
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
