"""Environments: the one that we were given, and what children of ours get of it. In bytes, to change none."""

from __future__ import annotations

import os
from collections.abc import Mapping

OF_THE_MANAGER = (
    *(b"NOTIFY_SOCKET", b"WATCHDOG_USEC", b"WATCHDOG_PID"),
    *(b"LISTEN_PID", b"LISTEN_FDS", b"LISTEN_FDNAMES"),
)
"""What a service manager means for its service, which is the command, and not for our server."""


def given(initial: bytes | None = None) -> dict[bytes, bytes]:
    """The environment that this process was started with.

    Where no locale is set, the interpreter sets LC_CTYPE for itself and for its children (PEP 538); the
    command is to have no locale then either.

    :param initial: the environment as the kernel handed it over; None: read it.
    """
    environ = dict(os.environb)
    if b"LC_CTYPE" in environ and not any(
        entry.startswith(b"LC_CTYPE=") for entry in (_initial() if initial is None else initial).split(b"\0")
    ):
        del environ[b"LC_CTYPE"]
    return environ


def _initial() -> bytes:
    try:
        with open("/proc/self/environ", "rb") as file:  # noqa: PTH123 - pathlib is a megabyte
            return file.read()
    except OSError:
        return b"LC_CTYPE="  # nobody can tell: leave it


def for_ours(environ: Mapping[bytes, bytes], **more: str) -> dict[bytes, bytes]:
    """What a program of ours gets: all, but for the service manager's, and with `more`."""
    kept = {name: value for name, value in environ.items() if name not in OF_THE_MANAGER}
    return kept | encoded(more)


def encoded(variables: Mapping[str, str]) -> dict[bytes, bytes]:
    """Variables as bytes."""
    return {os.fsencode(name): os.fsencode(value) for name, value in variables.items()}
