"""``epmdless demo relay``: two Erlang nodes that reach each other through a relay only, and their link."""

from __future__ import annotations

import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from epmdless.cli import links, show
from epmdless.cli.ask import NoServerError
from epmdless.cli.control import ControlClient
from epmdless.cli.demo_programs import Programs
from epmdless.cli.demo_world import Plan, World, make_world
from epmdless.errors import EpmdlessError

ENDING_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
"""These end the demonstration as Ctrl-C does."""


REAPING_SECONDS = 0.3
"""From a dying process's sockets being closed to its being seen to have ended."""


class TimeUpError(Exception):
    """The demonstration has lasted as long as it should."""


def run(seconds: float | None, erl: str | None, *, loopback: bool) -> None:
    """Show it until Ctrl-C.

    :param seconds: how long the link is shown; None: for ever.
    :param erl: the path of ``erl``; None: the one in PATH.
    :param loopback: use loopback addresses even where network namespaces can be made.
    :raises EpmdlessError: there is no ``erl``, or a program did not do what it should.
    """
    program = find_erl(erl)
    console = show.console()
    with ended_by_signals(), ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="epmdless-demo-")))
        world = make_world(stack, loopback=loopback)
        programs = stack.enter_context(closing(Programs(world, folder, program)))
        stack.callback(ignore_signals)
        with suppress(KeyboardInterrupt, TimeUpError):
            _show(world, programs, console, seconds)


def _show(world: World, programs: Programs, console: Console, seconds: float | None) -> None:
    with console.status("starting a relay and two Erlang nodes"):
        programs.start()
        heading = explanation(world, programs.control_path)
    if not console.is_terminal:
        console.print(heading)
        console.file.flush()
    pause = pause_until(None if seconds is None else time.monotonic() + seconds, programs.check)
    try:
        links.watch(ControlClient([programs.control_path]), console, pause, lambda: heading)
    except NoServerError:
        time.sleep(REAPING_SECONDS)
        programs.check()
        raise


def pause_until(end: float | None, check: Callable[[], None]) -> Callable[[float], None]:
    """Sleep, as long as the time is not up and all goes well."""

    def pause(seconds: float) -> None:
        check()
        if end is not None and time.monotonic() >= end:
            raise TimeUpError
        time.sleep(seconds)

    return pause


def find_erl(named: str | None) -> str:
    """The path of an ``erl``: the one that was named, or the one in PATH. Raises EpmdlessError."""
    found = shutil.which(named or "erl")
    if found is not None:
        return str(Path(found).absolute())
    if named:
        raise EpmdlessError(f"{named} is no program")
    raise EpmdlessError(
        "there is no `erl` here: install Erlang/OTP (Debian package erlang-base), or say --otp-erl PATH"
    )


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Make other signals end us as Ctrl-C does, so that everything is put away."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in ENDING_SIGNALS}
    before[signal.SIGINT] = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ignore_signals() -> None:
    """From here on everything is put away, which takes seconds at most."""
    for number in (signal.SIGINT, *ENDING_SIGNALS):
        signal.signal(number, signal.SIG_IGN)


# The explanation


def explanation(world: World, control_path: Path) -> RenderableType:
    """What stands where, what a firewall between the two would have to allow, and what to try next."""
    plan = world.plan
    parts: list[RenderableType] = [
        Text(f"linked: {plan.near_node} <-> {plan.far_node} through the relay", style="bold green"),
        Text(f"on {world.description}", style="dim"),
        "",
        _map(plan),
        "",
        Text("firewalls would have to allow, TCP:"),
        Text(f"  {plan.near} -> {plan.stand_in} ports {plan.epmd_port} and {plan.far_port}"),
        Text(f"  {plan.relay} -> {plan.far} port {plan.far_port}"),
    ]
    if world.is_apart:
        said = world.dial_directly()
        parts.append(Text(f"  and no more: {plan.near} -> {plan.far} port {plan.far_port}: {said}"))
    parts.append(Text(f"in another terminal: epmdless links end 1 --socket {control_path}", style="dim"))
    return Group(*parts, "")


def _map(plan: Plan) -> Table:
    """Who dials whom, a column a place."""
    grid = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("near node", "", "relay", "", "far node"):
        grid.add_column(title, no_wrap=True)
    epmd, link = (f"{plan.stand_in}:{port}" for port in (plan.epmd_port, plan.far_port))
    grid.add_row(plan.near_node, "", "", "", plan.far_node, style="bold")
    grid.add_row(plan.near, "-->", f"{epmd}  EPMD", "", "")
    grid.add_row("", "-->", f"{link}  link", "-->", f"{plan.far}:{plan.far_port}")
    return grid
