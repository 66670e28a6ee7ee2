"""Asking an EPMD server, with blocking sockets and nothing but the standard library.

``epmdless-epmd -names`` runs in scripts and at each boot of ``erl``: it must not wait for imports.
"""

from __future__ import annotations

import socket

from epmdless.errors import EpmdlessError, RemoteProtocolError
from epmdless.wire.epmd_plain import MAX_NAMES_REPLY

LOOPBACK = ("::1", "127.0.0.1")
"""Where the reference's client looks for "the local epmd", in its order."""

PATIENCE = 5.0
"""Seconds for a connection, and for each further piece of an answer."""

READ_SIZE = 65536


class NoServerError(EpmdlessError):
    """Nobody answers at that address."""


def connect(hosts: tuple[str, ...], port: int) -> socket.socket:
    """Connect to the first of these hosts that lets us.

    :raises NoServerError: none does; the message says why for the last one.
    """
    reason = ""
    for host in hosts:
        try:
            return socket.create_connection((host, port), timeout=PATIENCE)
        except (OSError, UnicodeError) as error:
            reason = f"{host} port {port}: {getattr(error, 'strerror', None) or error}"
    raise NoServerError(reason)


def converse(connection: socket.socket, request: bytes) -> bytes:
    """Send an encoded request and take everything up to the server's close.

    :raises RemoteProtocolError: the answer is longer than any can be.
    :raises NoServerError: the connection broke, or nothing came in time.
    """
    pieces, total = [], 0
    try:
        connection.sendall(request)
        while piece := connection.recv(READ_SIZE):
            pieces.append(piece)
            total += len(piece)
            if total > MAX_NAMES_REPLY:
                raise RemoteProtocolError("length", f"an answer of more than {MAX_NAMES_REPLY} bytes")
    except OSError as error:
        raise NoServerError(f"no whole answer: {error.strerror or error}") from None
    return b"".join(pieces)


def ask(hosts: tuple[str, ...], port: int, request: bytes) -> bytes:
    """Connect, send an encoded request, take the whole answer.

    :raises NoServerError: nobody answers.
    :raises RemoteProtocolError: the answer is longer than any can be.
    """
    with connect(hosts, port) as connection:
        return converse(connection, request)
