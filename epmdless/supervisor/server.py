"""The EPMD server beside the command: started, restarted, watched where it is somebody else's, stopped.

::

    asking ──► running ──► pausing ──► asking …      it ended: asked again, and started, after a pause
       │          └──────► asking ──► failed         its first start failed, and nobody else was faster
       └─────► elsewhere ──► asking …                somebody else serves the port: looked at now and then
"""

from __future__ import annotations

import signal

from epmdless.supervisor.hands import Hands

START_SECONDS = 60.0
"""Until its first word that it serves. A small container takes seconds for a start that takes 0.3 s here."""

FIRST_PAUSE = 0.25
"""Seconds to the first restart. Nodes try to register again every 2 s; and a service manager that ends
every process at once has told us too by then."""

LONGEST_PAUSE = 30.0
STEADY_SECONDS = 60.0
"""A server that has run for so long did not end for the reason that the one before it had."""

ELSEWHERE_SECONDS = 5.0
ELSEWHERE_MISSES = 2
"""How often somebody else's server is looked at, and how often in a row it has to be missing before we take
its place. Its own supervisor, which needs less than a second, comes first."""

DRAIN_SECONDS = 2.0
"""From SIGTERM to a second one, which ends the time that links of others have to end (30 s by default): the
command's own links ended with it."""

STOP_SECONDS = 5.0
"""From then to SIGKILL. Withdrawing its DNS records takes the server 3 s at most, and its own end some
tenths, more where the processor is shared."""

EXIT_CONFIG = 2
EXIT_FAILURE = 1


class Server:
    """Keeps an EPMD server beside the command.

    :ivar is_settled: the port is served, by ours or by somebody else's: the command can start.
    :ivar failed: an exit status, if it could not be served at first; None: nothing is wrong.
    :ivar may_end: we were told to end; a server that ends cleanly may have been told so too, and is wanted
        again only by a command that goes on for long.
    :ivar due: when :meth:`passed` wants to be called, in the clock of the hands; None: never.
    """

    def __init__(self, hands: Hands) -> None:
        self.is_settled = False
        self.failed: int | None = None
        self.may_end = False
        self.due: float | None = None
        self.pid: int | None = None
        self._hands = hands
        self._host = ""
        self._question: int | None = None
        self._is_elsewhere = False
        self._misses = 0
        self._pause = FIRST_PAUSE
        self._started = 0.0
        self._first_end: int | None = None
        self._stops: list[tuple[float, signal.Signals]] | None = None

    def begin(self, host: str) -> None:
        """Look who serves the port, and have it served.

        :param host: the host part of this host's node names, for the server.
        """
        self._host = host
        self._ask()

    def told_ready(self) -> None:
        """The server has said that it serves."""
        if not self.is_settled:
            self.is_settled = True
            self.due = None

    def ended(self, pid: int, status: int) -> None:
        """A child ended, perhaps one of ours.

        :param status: the exit status, or minus the signal.
        """
        if pid == self._question:
            self._question = None
            if self._stops is None and self.failed is None:
                self._answered(is_served=status == 0)
        elif pid == self.pid:
            self.pid = None
            if self._stops is None and self.failed is None:
                self._lost(status)

    def passed(self) -> None:
        """The time `due` has come."""
        self.due = None
        if self._stops is not None:
            self._stop_further()
        elif self.failed is not None:
            return
        elif self.pid is not None and not self.is_settled:
            self._fail(f"the EPMD server is not ready after {START_SECONDS:g} s")
        else:
            self._ask()

    def stop(self, *, is_told: bool = False) -> None:
        """Have it end: SIGTERM, a second one, SIGKILL. :attr:`is_gone` tells when it has.

        :param is_told: it has got the first SIGTERM already.
        """
        if self._stops is not None:
            return
        now = self._hands.now()
        if self._question is not None:
            self._hands.kill(self._question, signal.SIGKILL)
        self._stops = [
            (now, signal.SIGTERM),
            (now + DRAIN_SECONDS, signal.SIGTERM),
            (now + DRAIN_SECONDS + STOP_SECONDS, signal.SIGKILL),
        ][1 if is_told else 0 :]
        self._stop_further()

    def hurry(self) -> None:
        """We were told to end once more: links have had their time."""
        if self._stops and self.pid is not None and self._stops[0][1] == signal.SIGTERM:
            self._stops[0] = (self._hands.now(), signal.SIGTERM)
            self._stop_further()

    @property
    def is_gone(self) -> bool:
        """Whether no process of this is left."""
        return self.pid is None and self._question is None

    def _stop_further(self) -> None:
        assert self._stops is not None, "only while it is stopped"
        while self._stops and self._stops[0][0] <= self._hands.now():
            _, number = self._stops.pop(0)
            if self.pid is not None:
                self._hands.kill(self.pid, number)
        self.due = self._stops[0][0] if self._stops else None

    def _ask(self) -> None:
        try:
            self._question = self._hands.start_question()
        except OSError as error:
            self._cannot(error)

    def _answered(self, *, is_served: bool) -> None:
        if is_served:
            self._watch(misses=0)
        elif self._first_end is not None and not self.is_settled:
            self._fail("", self._first_end)
        elif self._is_elsewhere and self._misses + 1 < ELSEWHERE_MISSES:
            self._watch(misses=self._misses + 1)
        else:
            self._start()

    def _watch(self, misses: int) -> None:
        """Leave the port to somebody else, and look again."""
        self._is_elsewhere = True
        self._misses = misses
        self.is_settled = True
        self.due = self._hands.now() + ELSEWHERE_SECONDS

    def _start(self) -> None:
        if self._is_elsewhere:
            self._hands.say("the EPMD server that answered is gone: one is started")
            self._is_elsewhere = False
        self._started = self._hands.now()
        try:
            self.pid = self._hands.start_server(self._host)
        except OSError as error:
            self._cannot(error)
            return
        if not self.is_settled:
            self.due = self._started + START_SECONDS

    def _cannot(self, error: OSError) -> None:
        """No process can be made."""
        what = f"the EPMD server cannot be started: {error.strerror or error}"
        if self.is_settled:
            self._rest(what)
        else:
            self._fail(what)

    def _lost(self, status: int) -> None:
        """Our server has ended, and nobody of us told it to."""
        if not self.is_settled and status > 0 and status != EXIT_CONFIG:
            # Perhaps another container of the pod was faster, and it cannot listen for that.
            self._first_end = status
            self.due = self._hands.now() + FIRST_PAUSE
        elif not self.is_settled:
            self._fail("" if status > 0 else f"the EPMD server {_end(status)} before it was ready", status)
        elif self.may_end and status == 0:
            self.due = self._hands.now() + LONGEST_PAUSE
        else:
            if self._hands.now() - self._started >= STEADY_SECONDS:
                self._pause = FIRST_PAUSE
            self._rest(f"the EPMD server {_end(status)}")

    def _rest(self, what: str) -> None:
        self._hands.say(f"{what}; it is started again in {self._pause:g} s")
        self.due = self._hands.now() + self._pause
        self._pause = min(self._pause * 2, LONGEST_PAUSE)

    def _fail(self, what: str, status: int = EXIT_FAILURE) -> None:
        """It cannot be served at first; what ended with a status has said why by itself."""
        if what:
            self._hands.say(what)
        self.due = None
        self.failed = EXIT_CONFIG if status == EXIT_CONFIG else EXIT_FAILURE


def _end(status: int) -> str:
    return f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
