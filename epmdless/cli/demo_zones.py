"""``epmdless demo zones``: two zones with one port between them, and what happens there, step by step."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from contextlib import ExitStack, closing, suppress
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from epmdless.cli import links, show
from epmdless.cli.control import ControlClient, LinkView
from epmdless.cli.demo import TimeUpError, ended_by_signals, find_erl, ignore_signals, pause_until
from epmdless.cli.demo_zones_programs import (
    DESK,
    EDGE_A,
    FIRST_GATEWAY,
    SHOP,
    STOCK,
    TILL,
    ZonePrograms,
)
from epmdless.cli.demo_zones_world import (
    EDGE_NAME_A,
    EDGE_NAME_B,
    FIRST_B,
    GATEWAY_PORT,
    INSIDE_A,
    INSIDE_B,
    OUTSIDE_A,
    SECOND_B,
    A,
    B,
    dial,
    dialled,
    make_zones,
)
from epmdless.errors import EpmdlessError


def run(seconds: float | None, erl: str | None) -> None:
    """Show it, and then the links until Ctrl-C.

    :param seconds: how long the links are shown; None: for ever.
    :param erl: the path of ``erl``; None: the one in PATH, and no nodes if there is none.
    :raises EpmdlessError: no namespaces can be made, or a program did not do what it should.
    """
    if os.geteuid() != 0:
        raise EpmdlessError("the zones are network namespaces, which only root can make: try sudo")
    program = find_erl(erl) if erl or shutil.which("erl") else None
    console = show.console()
    with ended_by_signals(), ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="epmdless-demo-")))
        programs = ZonePrograms(make_zones(stack), folder, program)
        stack.enter_context(closing(programs))
        stack.callback(ignore_signals)
        with suppress(KeyboardInterrupt, TimeUpError):
            _Showing(programs, console, has_nodes=program is not None).run(seconds)


class _Showing:
    """The demonstration, step by step."""

    def __init__(self, programs: ZonePrograms, console: Console, *, has_nodes: bool) -> None:
        self._programs = programs
        self._zones = programs.zones
        self._running = programs.running
        self._console = console
        self._has_nodes = has_nodes
        self._number = 0

    def run(self, seconds: float | None) -> None:
        """Show everything, and then the links for so long."""
        self._say("Two zones with one port between them, as four network namespaces", "bold green")
        self._print(_map())
        self._certify()
        self._start()
        self._try_other_ports()
        self._step("what zone A's edge may do in zone B")
        self._command("hop", "check", "az-b", "--config", str(self._programs.edge_a))
        self._step("a stranger in zone A, with no certificate")
        self._command("hop", "check", "az-b", "--config", str(self._programs.stranger))
        self._kill_a_gateway()
        self._go_on(seconds)

    def _certify(self) -> None:
        self._step("a private CA, and a certificate for each edge, as made by")
        self._say(f"$ epmdless certs init DIR --zone az-a={EDGE_NAME_A} --zone az-b={EDGE_NAME_B}", "bold")
        self._programs.make_certificates()

    def _start(self) -> None:
        with self._console.status("starting edges and nodes"):
            self._programs.start()
        if not self._has_nodes:
            self._step("relays and gateways run; there is no `erl` here, so no nodes are linked")
            target = f"{B}:4369"
            self._say(f"zone B's EPMD server, {target}, through both gateways:")
            edge = str(self._programs.edge_a)
            self._command("hop", "check", "az-b", "--target", target, "--config", edge)
            return
        self._step("nodes of both zones are linked, each zone's through its own edge")
        for near, far in ((SHOP, STOCK), (DESK, TILL)):
            self._say(f"  {near.name} dialled {far.name}", "green")
        self._command("links", "--socket", str(self._programs.socket_a))

    def _try_other_ports(self) -> None:
        if self._zones.no_firewall is None:
            self._step(f"a firewall lets port {GATEWAY_PORT} pass between the edges, and no other")
        else:
            self._step(f"there is no firewall between the edges: {self._zones.no_firewall}")
        for host, port in dialled():
            said = dial(self._zones.edge_a, host, port)
            self._say(f"  zone A's edge -> {host} port {port}: {said}")

    def _kill_a_gateway(self) -> None:
        self._step(f"the first of zone B's two gateways, {FIRST_B}, is killed")
        before = {link.id for link in self._programs.links()}
        self._running.kill(FIRST_GATEWAY)
        if self._has_nodes:
            since = time.monotonic()
            self._running.wait(
                f"new link of {SHOP.name}", lambda: self._find_links(before, new=True), told_by=EDGE_A
            )
            took = time.monotonic() - since
            self._say(
                f"  {SHOP.name} has dialled {STOCK.name} again, and is linked through {SECOND_B}"
                f" after {took:.1f} s",
                "green",
            )
            if self._find_links(before, new=False):
                self._say(f"  {DESK.name} still has the link that it had", "green")
        self._command("hop", "check", "az-b", "--config", str(self._programs.edge_a))

    def _find_links(self, before: set[int], *, new: bool) -> list[LinkView]:
        """Links that came since then, or those that were there already."""
        return [link for link in self._programs.links() if (link.id not in before) == new]

    def _go_on(self, seconds: float | None) -> None:
        """Show the links until the time is up, and before that where to look."""
        heading = self._further()
        end = None if seconds is None else time.monotonic() + seconds
        pause = pause_until(end, self._running.check)
        if self._has_nodes and self._console.is_terminal:
            links.watch(ControlClient([self._programs.socket_a]), self._console, pause, lambda: heading)
            return
        self._print(heading)
        if self._has_nodes:
            links.watch(ControlClient([self._programs.socket_a]), self._console, pause)
        while True:
            pause(links.INTERVAL)

    def _further(self) -> RenderableType:
        programs = self._programs
        lines = (
            f"epmdless links --watch --socket {programs.socket_a}    # zone A's edge; zone B's: edge-b.sock",
            f"less {programs.edge_a}    # its configuration; the logs are beside it",
        )
        return Group(
            "",
            Text("this goes on until Ctrl-C; look further in another terminal:", style="bold"),
            *(Text(f"  {line}", style="dim") for line in lines),
            "",
        )

    # Words

    def _step(self, text: str) -> None:
        self._number += 1
        self._print(Group("", Text(f"{self._number}. {text}", style="bold cyan")))

    def _say(self, text: str, style: str = "") -> None:
        self._console.print(Text(text, style=style), soft_wrap=True)
        self._console.file.flush()

    def _print(self, what: RenderableType) -> None:
        self._console.print(what)
        self._console.file.flush()

    def _command(self, *words: str) -> None:
        """Run a command on zone A's edge, where we print."""
        self._running.check()
        self._say(f"$ epmdless {' '.join(words)}", "bold")
        status = self._running.show(self._zones.edge_a, words)
        if status:
            self._say(f"exit status {status}", "dim")


def _map() -> Table:
    """Who stands where."""
    grid = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("zone A", "edge A", "", "edge B", "zone B"):
        grid.add_column(title, no_wrap=True)
    grid.add_row("nodes", "relay, gateway", "", "relay, two gateways", "nodes", style="bold")
    grid.add_row(A, INSIDE_A, "", INSIDE_B, B)
    grid.add_row("", OUTSIDE_A, f"<-- {GATEWAY_PORT} -->", f"{FIRST_B}, {SECOND_B}", "")
    return grid
