"""The programs of ``epmdless demo relay``: a relay, an EPMD server and two Erlang nodes."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

from epmdless.cli import queries
from epmdless.cli.control import ControlClient
from epmdless.cli.demo_running import FAR_CODE, NEAR_CODE, OURS, Running, node_command
from epmdless.cli.demo_world import World

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


class Programs:
    """All programs of the demonstration; :meth:`close` ends them, the last one first.

    :param folder: for their files, of ours alone.
    :param erl: the path of ``erl``.
    """

    def __init__(self, world: World, folder: Path, erl: str) -> None:
        self._world = world
        self._folder = folder
        self._erl = erl
        self._running = Running(folder, world.plan.epmd_port)
        self.control_path = folder / "control.sock"

    def start(self) -> None:
        """Start everything, and wait until the nodes are linked.

        :raises EpmdlessError: a program ended, or is too slow.
        """
        write_cookie(self._folder)
        self._start_relay()
        if self._world.is_apart:
            self._start_epmd_server()
        self._start_nodes()

    def check(self) -> None:
        """See that every program lives.

        :raises EpmdlessError: one ended.
        """
        self._running.check()

    def close(self) -> None:
        """End them all."""
        self._running.close()

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
        self._running.start("relay", self._world.relay, [*OURS, "serve", "--config", str(config)])
        self._running.wait("relay", lambda: ControlClient([self.control_path]).links())

    def _start_epmd_server(self) -> None:
        port = self._world.plan.epmd_port
        argv = [*OURS, "serve", "--address", "127.0.0.1", "--port", str(port)]
        self._running.start("EPMD server", self._world.near, argv)
        self._running.wait(
            "EPMD server",
            lambda: self._world.near.call(lambda: queries.ask_names(("127.0.0.1",), port)),
        )

    def _start_nodes(self) -> None:
        plan, running = self._world.plan, self._running
        far_code, near_code = FAR_CODE, NEAR_CODE.format(far_node=plan.far_node)
        # The far node needs no EPMD server: it is dialled by the port in its name.
        flags = ("-erl_epmd_port", str(plan.far_port), "-eval", far_code)
        running.start("far node", self._world.far, node_command(self._erl, plan.far_node, plan.far, *flags))
        running.wait("far node", lambda: running.said_ready("far node"))
        near = node_command(self._erl, plan.near_node, plan.near, "-eval", near_code)
        running.start("near node", self._world.near, near)
        running.wait("near node", lambda: running.said_ready("near node"))


def write_cookie(folder: Path) -> None:
    """Put a cookie where nodes with this home find it: a file, as arguments can be read by everybody."""
    cookie = folder / ".erlang.cookie"
    cookie.write_text(secrets.token_hex(16))
    cookie.chmod(0o400)
