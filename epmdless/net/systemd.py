"""systemd's two small protocols: sockets handed over (sd_listen_fds) and notices (sd_notify)."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import MutableMapping
from typing import NamedTuple

FIRST_DESCRIPTOR = 3
"""SD_LISTEN_FDS_START."""


class InheritedSocket(NamedTuple):
    """A listening socket that systemd opened, and the name that its unit gives it."""

    name: str
    listener: socket.socket


def inherited_sockets(environ: MutableMapping[str, str]) -> list[InheritedSocket]:
    """Take over the sockets that systemd opened for this process, and clear its variables.

    Descriptors that are no listening TCP sockets are closed.
    """
    pid = environ.pop("LISTEN_PID", "")
    count = environ.pop("LISTEN_FDS", "")
    names = environ.pop("LISTEN_FDNAMES", "").split(":")
    if pid != str(os.getpid()) or not count.isdigit():
        return []
    inherited = []
    for index in range(int(count)):
        listener = _tcp_listener(FIRST_DESCRIPTOR + index)
        if listener is not None:
            inherited.append(InheritedSocket(names[index] if index < len(names) else "", listener))
    return inherited


def _tcp_listener(descriptor: int) -> socket.socket | None:
    """Take a descriptor over; one that is something else is closed, one that is not open is passed by."""
    try:
        listener = socket.socket(fileno=descriptor)
    except OSError:
        with contextlib.suppress(OSError):
            os.close(descriptor)
        return None
    os.set_inheritable(descriptor, False)
    if _is_tcp_listener(listener):
        return listener
    listener.close()
    return None


def _is_tcp_listener(sock: socket.socket) -> bool:
    return (
        sock.family in (socket.AF_INET, socket.AF_INET6)
        and sock.type == socket.SOCK_STREAM
        and bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    )


class Notifier:
    """Notices to the service manager; without one, they go nowhere.

    `watchdog_seconds` is how long the manager waits for a sign of life, None where it does not.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        self._sock: socket.socket | None = None
        address = environ.pop("NOTIFY_SOCKET", "")
        if address:
            self._sock = _connected("\0" + address[1:] if address.startswith("@") else address)
        microseconds = environ.pop("WATCHDOG_USEC", "")
        pid = environ.pop("WATCHDOG_PID", str(os.getpid()))
        watched = microseconds.isdigit() and int(microseconds) > 0 and pid == str(os.getpid())
        self.watchdog_seconds = int(microseconds) / 1_000_000 if watched else None

    def ready(self, status: str) -> None:
        """The service serves."""
        self._send(f"READY=1\nSTATUS={status}")

    def status(self, status: str) -> None:
        """A line for ``systemctl status``."""
        self._send(f"STATUS={status}")

    def reloading(self) -> None:
        """The configuration is being read again; :meth:`ready` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The service is about to end."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """The sign of life that the watchdog waits for."""
        self._send("WATCHDOG=1")

    def _send(self, state: str) -> None:
        if self._sock is not None:
            with contextlib.suppress(OSError):
                self._sock.send(state.encode())

    def close(self) -> None:
        """Let go of the manager's socket."""
        if self._sock is not None:
            self._sock.close()


def _connected(address: str) -> socket.socket | None:
    """A datagram socket to the manager, opened once: a shortage of descriptors must not stop the signs
    of life. None if nobody is there."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        sock.connect(address)
        sock.setblocking(False)
    except OSError:
        sock.close()
        return None
    return sock
