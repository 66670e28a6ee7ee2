"""Log lines: one an event that an operator cares about, to stderr or syslog, limited by kind.

On a terminal they are for people, elsewhere JSON, one object a line. A kind of line (its event text)
that comes too often is held back, and the next one that passes says how many were: what strangers on
the network do must not fill a disk.
"""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import os
import select
import socket
import stat
import time
from collections.abc import Callable, MutableMapping
from functools import cache, partial
from typing import Any, Protocol

import structlog

from epmdless.names import printable

BURST = 200
"""Lines of one kind that pass at once: enough for all nodes of a large host at its boot."""

STDERR = 2

LONGEST_LINE = select.PIPE_BUF
"""Bytes; of longer lines the longest fields are cut. A pipe takes that much whole or not at all."""

SHORTEST_CUT = 64
"""Characters of a field; what is shorter is not what makes a line too long."""

LINES_A_SECOND = 5.0
"""Lines of one kind a second that pass after the burst."""


class Log(Protocol):
    """What epmdless needs of a logger; structlog's has it."""

    def debug(self, event: str, **fields: Any) -> Any:
        """For those who look for a fault."""

    def info(self, event: str, **fields: Any) -> Any:
        """Something that an operator may want to have seen."""

    def warning(self, event: str, **fields: Any) -> Any:
        """Something that an operator should look at."""

    def error(self, event: str, **fields: Any) -> Any:
        """Something that does not work."""


class RateLimit:
    """A structlog processor: a token bucket for each kind of line.

    Kinds are the event texts in the code, so their number is bounded.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[str, tuple[float, float, int]] = {}

    def __call__(
        self, _logger: Any, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        kind, now = str(event.get("event")), self._clock()
        tokens, last, held = self._buckets.get(kind, (BURST, now, 0))
        tokens = min(BURST, tokens + (now - last) * LINES_A_SECOND)
        if tokens < 1:
            self._buckets[kind] = (tokens, now, held + 1)
            raise structlog.DropEvent
        self._buckets[kind] = (tokens - 1, now, 0)
        if held:
            event["held_back"] = held
        return event


def configure(
    level: str, style: str, *, syslog: bool = False, lost: Callable[[], None] = lambda: None
) -> Log:
    """Set the process's logging up.

    :param level: ``debug``, ``info``, ``warning`` or ``error``.
    :param style: ``console`` for people, ``json`` for programs, ``auto`` to look at stderr.
    :param syslog: write to the system's log instead, as a daemon does.
    :param lost: called for each line that stderr did not take.
    """
    people = style == "console" or (style == "auto" and not syslog and os.isatty(STDERR))
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            RateLimit(),
            structlog.processors.TimeStamper(fmt="iso", utc=not people),
            _in_order,
            *([_escape] if people else []),
            _renderer(people) if syslog else _fitting(_renderer(people)),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_syslog_factory(lost) if syslog else _StderrFactory(lost),
        cache_logger_on_first_use=False,
    )
    log: Log = structlog.get_logger()
    return log


def _in_order(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """When, how bad and what come first."""
    first = {key: event.pop(key) for key in ("timestamp", "level", "event") if key in event}
    return {**first, **event}


def _escape(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Names in a line come from the network; JSON escapes them by itself."""
    return {key: printable(value) if isinstance(value, str) else value for key, value in event.items()}


def _renderer(people: bool) -> structlog.typing.Processor:
    if people:
        return structlog.dev.ConsoleRenderer(colors=os.isatty(STDERR))
    return structlog.processors.JSONRenderer(ensure_ascii=False)


def _fitting(render: structlog.typing.Processor) -> structlog.typing.Processor:
    """A renderer whose lines are not too long, and are still whole: a JSON line that is cut is no JSON."""

    def rendered(logger: Any, method: str, event: MutableMapping[str, Any]) -> Any:
        line = render(logger, method, {**event})
        while len(_encoded(line)) >= LONGEST_LINE:
            longest = max(event, key=lambda key: len(str(event[key])))
            if len(str(event[longest])) < SHORTEST_CUT:
                break
            event = {**event, longest: _halved(event[longest])}
            line = render(logger, method, {**event})
        return line

    return rendered


def _halved(value: Any) -> Any:
    """The first half of a list, or of a text; a sign that there was more."""
    if isinstance(value, list | tuple):
        return [*value[: (len(value) - 1) // 2], "…"]
    text = str(value)
    return text[: len(text) // 2] + "…"


def _encoded(line: Any) -> bytes:
    return str(line).encode(errors="backslashreplace")


class _StderrFactory:
    """Makes structlog's innermost logger: it writes to stderr what stderr takes at once.

    A log that nobody reads, a closed pipe or a full disk must neither stop nor end the server: a line
    that does not go out is lost, and counted.
    """

    def __init__(self, lost: Callable[[], None]) -> None:
        self._lost = lost
        stderr = os.fstat(STDERR)
        self._write_now = _writer(stderr.st_dev, stderr.st_ino, stderr.st_mode)

    def __call__(self, *_: Any) -> Any:
        return self

    def _write(self, line: str) -> None:
        data = _encoded(line)[: LONGEST_LINE - 1] + b"\n"
        try:
            if self._write_now(data) != len(data):
                self._lost()
        except OSError:
            self._lost()

    debug = info = warning = error = _write


@cache
def _writer(_device: int, _inode: int, mode: int) -> Callable[[bytes], int]:
    """How to write to this stderr without waiting; raises OSError if it takes nothing now.

    Stderr itself is not made non-blocking, since it is shared with whoever started us: a pipe or a
    terminal is opened anew, and a socket can be told at each send.
    """
    if stat.S_ISSOCK(mode):
        return partial(_send, socket.socket(fileno=os.dup(STDERR)))
    if stat.S_ISFIFO(mode) or os.isatty(STDERR):
        with contextlib.suppress(OSError):
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            return partial(os.write, os.open(f"/proc/self/fd/{STDERR}", flags))
    return partial(os.write, STDERR)


def _send(sock: socket.socket, data: bytes) -> int:
    return sock.send(data, socket.MSG_DONTWAIT)


class _SilentSysLogHandler(logging.handlers.SysLogHandler):
    """A host without a system log (a container) is no fault of a line's, and nobody to complain to; one
    that does not read must not hold the server up."""

    lost: Callable[[], None] = staticmethod(lambda: None)

    def _connect_unixsocket(self, address: str) -> None:
        super()._connect_unixsocket(address)  # type: ignore[misc]
        self.socket.setblocking(False)  # type: ignore[attr-defined]

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Drop the line, as epmd's syslog(3) does, and count it."""
        self.lost()


def _syslog_factory(lost: Callable[[], None]) -> Callable[..., Any]:
    """A logger for ``/dev/log``."""
    logger = logging.Logger("epmdless")
    handler = _SilentSysLogHandler("/dev/log", facility=logging.handlers.SysLogHandler.LOG_DAEMON)
    handler.lost = lost
    handler.setFormatter(logging.Formatter("epmdless: %(message)s"))
    logger.addHandler(handler)
    return lambda *_: logger
