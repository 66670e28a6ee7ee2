"""``epmdless-epmd``: the command line of the reference ``epmd``, flag for flag, text for text.

``erl`` runs it at each distributed boot, and scripts poll it: until it is clear that a server is to be
started, nothing is imported but the standard library.

A configuration file (``$EPMDLESS_CONFIG``, ``/etc/epmdless/epmdless.toml``) says how lookups are
answered; where to listen is said by the flags and by ``ERL_EPMD_PORT`` and ``ERL_EPMD_ADDRESS`` alone,
as with the reference.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, NoReturn

from epmdless import addresses
from epmdless.cli import ask
from epmdless.cli.epmd_usage import USAGE
from epmdless.errors import EpmdlessError, ListenError
from epmdless.net import stdio
from epmdless.wire.epmd_plain import KILL_OK, Opcode, encode_frame, split_listing

LONGEST_STOP_NAME = 1000
"""Bytes; the reference's buffer."""

STOP_REPLY = 7
"""Bytes that the reference reads of a STOP reply: of NOEXISTSTOPPED it shows NOEXIST."""


class UsageError(Exception):
    """The flags are not such as the reference takes."""


class Flags(NamedTuple):
    """What the flags say. `listed` is -address; seconds are whole, as the reference has them."""

    port: int
    listed: str | None = None
    debug: int = 0
    daemon: bool = False
    systemd: bool = False
    relaxed: bool = False
    packet_timeout: int | None = None
    delay_accept: int = 0
    delay_write: int = 0


def main() -> None:
    """Run the command line and exit with its status.

    Ctrl-C ends it as it ends the reference, without a word; a server takes it for an order to stop.
    """
    stdio.leave_interrupts_to_the_system()
    stdio.hold_standard_descriptors()
    status = 1
    try:
        status = run(sys.argv[1:])
    except UsageError:
        stdio.complain(USAGE)
    except EpmdlessError as error:
        stdio.complain(f"epmd: {error}\n")
    except OSError as error:
        stdio.complain(f"epmd: {error.strerror or error}\n")
    sys.exit(stdio.flush(status))


def run(arguments: Sequence[str]) -> int:
    """Do what the arguments say.

    A client flag is the last of the arguments, as the reference wants it.

    :returns: the exit status.
    :raises UsageError: the flags are wrong.
    """
    flags = Flags(addresses.environment_port(os.environ))
    rest = list(arguments)
    while rest:
        flag = rest.pop(0)
        if flag in _CLIENT_FLAGS:
            if len(rest) != _CLIENT_FLAGS[flag]:
                raise UsageError
            return _client(flag, rest, flags.port)
        flags = _server_flag(flags, flag, rest)
    return _serve(flags)


_CLIENT_FLAGS = {"-names": 0, "-kill": 0, "-started": 0, "-dump": 0, "-stop": 1}
"""Flag to the number of its arguments. -dump is the reference's too, undocumented."""

MAX_SECONDS = 86400
"""The longest of the reference's time-outs and delays that is taken for meant."""


def _server_flag(flags: Flags, flag: str, rest: list[str]) -> Flags:
    """Take a flag in, with its value from `rest`; :raises UsageError: either is wrong."""
    match flag:
        case "-d" | "-debug":
            return flags._replace(debug=flags.debug + 1)
        case "-daemon":
            return flags._replace(daemon=True)
        case "-systemd":
            return flags._replace(systemd=True)
        case "-relaxed_command_check":
            return flags._replace(relaxed=True)
    if not rest:
        raise UsageError
    value = rest.pop(0)
    match flag:
        case "-address":
            return flags._replace(listed=value)
        case "-port":
            return flags._replace(port=_number(value, 65535))
        case "-packet_timeout":
            return flags._replace(packet_timeout=_number(value, MAX_SECONDS))
        case "-delay_accept":
            return flags._replace(delay_accept=_number(value, MAX_SECONDS))
        case "-delay_write":
            return flags._replace(delay_write=_number(value, MAX_SECONDS))
    raise UsageError


def _number(text: str, highest: int) -> int:
    """A number from 1; the reference takes 70000 for port 4464, and ``5x`` for 5."""
    if text.isascii() and text.isdigit() and len(text) <= 6 and 0 < int(text) <= highest:
        return int(text)
    raise UsageError


# The client's side.


def _client(flag: str, arguments: list[str], port: int) -> int:
    try:
        if flag == "-kill":
            return _kill(port)
        if flag == "-stop":
            return _stop(port, arguments[0])
        return _list(port, Opcode.DUMP if flag == "-dump" else Opcode.NAMES, silent=flag == "-started")
    except _NotRunningError:
        if flag != "-started":
            stdio.complain("epmd: Cannot connect to local epmd\n")
        return 1


class _NotRunningError(Exception):
    """No server on this host's loopback addresses."""


def _exchange(port: int, request: bytes) -> bytes | None:
    """Everything that the local server answers; None if the conversation broke."""
    try:
        connection = ask.connect(ask.LOOPBACK, port)
    except ask.NoServerError:
        raise _NotRunningError from None
    with connection:
        try:
            return ask.converse(connection, request)
        except EpmdlessError:
            return None


def _list(port: int, opcode: Opcode, *, silent: bool) -> int:
    data = _exchange(port, encode_frame(opcode)) or b""
    if len(data) < 4:
        if not silent:
            print("epmd: no response from local epmd")
        return 1
    if not silent:
        own_port, text = split_listing(data)
        heading = f"epmd: up and running on port {own_port} with data:\n"
        sys.stdout.buffer.write(heading.encode() + text)
        sys.stdout.buffer.flush()
    return 0


def _kill(port: int) -> int:
    data = _exchange(port, encode_frame(Opcode.KILL))
    if data is not None and len(data) >= len(KILL_OK):
        killed = data.startswith(KILL_OK)
        print("Killed" if killed else "Killing not allowed - living nodes in database.")
        return 0 if killed else 1
    return _odd_answer(data)


def _stop(port: int, name: str) -> int:
    raw = os.fsencode(name)
    if len(raw) > LONGEST_STOP_NAME:
        sys.stdout.write("epmd: Name too long!")
        return 1
    data = _exchange(port, encode_frame(Opcode.STOP, raw))
    if data is not None and len(data) >= STOP_REPLY:
        print(data[:STOP_REPLY].decode(errors="replace"))
        return 0
    return _odd_answer(data)


def _odd_answer(data: bytes | None) -> int:
    if data is None:
        print("epmd: failed to read answer from local epmd")
    else:
        print("epmd: local epmd responded with <>")
    return 1


# The server's side.


def _serve(flags: Flags) -> int:
    listeners = None if flags.systemd else _open(flags)
    if listeners == []:
        return 0
    if flags.systemd and not _sockets_handed_over():
        _debug_line("systemd provides no sockets")
        return 1
    if flags.daemon and not flags.systemd:
        return _daemonize(lambda on_ready: _run_server(flags, listeners, on_ready), listeners or [])
    return _run_server(flags, listeners, lambda: None)


def _sockets_handed_over() -> bool:
    """Whether systemd says that it opened sockets for this very process, as sd_listen_fds(3) asks."""
    count = os.environ.get("LISTEN_FDS", "")
    return os.environ.get("LISTEN_PID") == str(os.getpid()) and count.isdigit() and int(count) > 0


def _open(flags: Flags) -> list[socket.socket]:
    """The listening sockets; none if somebody listens there already: the reference ends silently."""
    from epmdless.net.listeners import open_listeners

    if flags.listed is not None:
        plan = addresses.address_list(flags.listed, flags.port, "-address")
    else:
        plan = addresses.epmd_plan({**os.environ, "ERL_EPMD_PORT": str(flags.port)})
    try:
        return open_listeners(plan.required, plan.optional)
    except ListenError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        if flags.debug and not flags.daemon:
            _debug_line(f"there is already a epmd running at port {flags.port}")
        return []


def _debug_line(text: str) -> None:
    """A line as the reference writes it while it has a terminal."""
    stdio.complain(f"epmd: {time.ctime()}: {text}\r\n")


def _run_server(flags: Flags, listeners: Sequence[socket.socket] | None, on_ready: Callable[[], None]) -> int:
    from epmdless import app, launch
    from epmdless.cli.configuration import load_for_epmd

    def load() -> launch.Loaded:
        return load_for_epmd(flags.packet_timeout, relaxed=flags.relaxed)

    levels = ("warning", "info", "debug")  # on a terminal: the reference says nothing there without -d
    call = launch.Launch(
        load=load,
        listeners=listeners,
        level=None if flags.daemon or flags.systemd else levels[min(flags.debug, 2)],
        syslog=flags.daemon,
        delays=(flags.delay_accept, flags.delay_write),
        on_ready=on_ready,
    )
    return 1 if app.run(call) else 0  # the reference knows no more of them


def _daemonize(serve: Callable[[Callable[[], None]], int], listeners: Sequence[socket.socket]) -> int:
    """Serve in a detached process; return once it serves, or has failed.

    The reference's parent ends before its child listens, so that the next command may find nobody. Until
    the child serves it keeps stderr, to say what is wrong.
    """
    if named := os.environ.get("EPMDLESS_CONFIG"):  # the child leaves the folder that it may be relative to
        os.environ["EPMDLESS_CONFIG"] = os.path.abspath(named)  # noqa: PTH100 - pathlib is a megabyte
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.close(reader)
        _detached(serve, listeners, writer)
    os.close(writer)
    for listener in listeners:
        listener.close()
    with os.fdopen(reader, "rb") as ready:
        said = ready.read(1)
    return 0 if said else 1


def _detached(
    serve: Callable[[Callable[[], None]], int], listeners: Sequence[socket.socket], writer: int
) -> NoReturn:
    """The child: leave the session, and have init as parent; never returns."""
    status = 1
    try:
        os.setsid()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to reload
        if os.fork() == 0:
            os.chdir("/")
            # What the caller left open: a lock, or a pipe whose reader waits for its end.
            stdio.close_others({writer, *(listener.fileno() for listener in listeners)})
            status = serve(lambda: _let_go(writer))
    except (EpmdlessError, OSError) as error:
        stdio.complain(f"epmd: {error}\n")
    except BaseException:
        sys.excepthook(*sys.exc_info())
        raise
    finally:
        os._exit(status)


def _let_go(writer: int) -> None:
    """Leave the terminal, and tell the parent that lookups are answered."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)
    os.write(writer, b"\n")
    os.close(writer)


if __name__ == "__main__":
    main()
