"""``epmdless demo cluster``: plain Erlang nodes that are joined from a source, and share some work then.

Exit statuses: 0 each node was joined, and each digest was right; 1 not, or a program did not do what it
should.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, nullcontext
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from epmdless.cli import show
from epmdless.cli.ask import NoServerError
from epmdless.cli.demo import REAPING_SECONDS, ended_by_signals, find_erl, ignore_signals
from epmdless.cli.demo_cluster_pages import HOST, Pages
from epmdless.cli.demo_cluster_programs import ClusterPrograms, Kind
from epmdless.cli.demo_cluster_progress import Cluster
from epmdless.cli.links import Pause
from epmdless.errors import EpmdlessError

LOOK_SECONDS = 0.25
"""Between two pictures."""

JOIN_SECONDS = 30.0
"""For the next node to come up, or for the last one to be joined: either takes one or two."""


def run(seconds: float | None, erl: str | None, count: int, source: Kind) -> None:
    """Show it until Ctrl-C.

    :param seconds: how long it goes on once all nodes are joined and at work; None: for ever.
    :param erl: the path of ``erl``; None: the one in PATH.
    :param count: how many nodes.
    :param source: what names them.
    :raises EpmdlessError: there is no ``erl``, a program did not do what it should, a node was not joined,
        or a digest was wrong.
    """
    program = find_erl(erl)
    console = show.console()
    with ended_by_signals(), ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="epmdless-demo-")))
        pages = stack.enter_context(Pages())
        programs = ClusterPrograms(folder, program, count, source, pages.port)
        stack.enter_context(closing(programs))
        stack.callback(ignore_signals)
        Showing(programs, Cluster(programs.nodes, pages.digests), console, pages.port).run(seconds)


class Showing:
    """The demonstration.

    :param port: where pages are served.
    """

    def __init__(
        self,
        programs: ClusterPrograms,
        cluster: Cluster,
        console: Console,
        port: int,
        clock: Callable[[], float] = time.monotonic,
        pause: Pause = time.sleep,
    ) -> None:
        self._programs = programs
        self._cluster = cluster
        self._console = console
        self._clock = clock
        self._pause = pause
        self._heading = _explanation(programs, port)
        self._whole_since: float | None = None
        self._grown_at = clock()

    def run(self, seconds: float | None) -> None:
        """Show everything, to its end. Raises EpmdlessError, see the function."""
        had_time = True
        try:
            with self._console.status("starting a server"):
                self._programs.start()
            self._watch(seconds)
        except KeyboardInterrupt:
            had_time = self._whole_since is not None
        if not self._console.is_terminal:
            self._console.print(self._picture())
            self._console.file.flush()
        problems = [*self._cluster.wrong(), *(self._cluster.apart() if had_time else ())]
        if problems:
            raise EpmdlessError("; ".join(problems))

    def _watch(self, seconds: float | None) -> None:
        """Look and show, until the time is up."""
        start = self._clock()
        live = Live(console=self._console, auto_refresh=False) if self._console.is_terminal else nullcontext()
        with live as shown:
            while True:
                if self._programs.grow():
                    self._grown_at = self._clock()
                self._look(self._clock() - start)
                if shown is not None:
                    shown.update(self._picture(), refresh=True)
                if self._is_over(seconds, self._clock()):
                    return
                self._pause(LOOK_SECONDS)

    def _look(self, passed: float) -> None:
        try:
            self._cluster.take_sample(self._programs.cluster(), passed)
        except NoServerError:
            self._pause(REAPING_SECONDS)
            self._programs.running.check()
            raise
        for line in self._programs.lines():
            self._cluster.take_line(line)

    def _is_over(self, seconds: float | None, now: float) -> bool:
        """Whether the time is up: that for showing, or that for joining."""
        if self._whole_since is None and self._cluster.is_whole:
            self._whole_since = now
        if self._whole_since is None:
            return now - self._grown_at >= JOIN_SECONDS
        return seconds is not None and now - self._whole_since >= seconds

    def _picture(self) -> RenderableType:
        return Group(self._heading, self._cluster.table())


def _explanation(programs: ClusterPrograms, port: int) -> RenderableType:
    """What runs here, and what to try next."""
    named = {"file": "a file that names them", "epmd": "what EPMD lists"}[programs.source]
    joined = f"{len(programs.nodes)} plain Erlang nodes, joined from outside by {named}"
    worked = f"all fetch pages of http://{HOST}:{port}/ and hash them: rpc:pmap on {programs.nodes[0]}"
    further = f"in another terminal: epmdless cluster --watch --socket {programs.control_path}"
    return Group(Text(joined, style="bold green"), Text(worked), Text(further, style="dim"), "")
