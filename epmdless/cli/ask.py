"""Asking an EPMD server, with blocking sockets and nothing but the standard library.

``epmdless-epmd -names`` runs in scripts and at each boot of ``erl``: it must not wait for imports.
"""

from __future__ import annotations

import socket

from epmdless.errors import EpmdlessError, RemoteProtocolError
from epmdless.wire.epmd import NamesRequest, PortPlease2Request, Request, encode_request
from epmdless.wire.epmd_replies import (
    MAX_NAMES_REPLY,
    NamesReply,
    PortReply,
    decode_names_reply,
    decode_port_reply,
)

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


def ask(hosts: tuple[str, ...], port: int, request: Request) -> bytes:
    """Connect, ask, close.

    :raises NoServerError: nobody answers.
    :raises RemoteProtocolError: the answer is longer than any can be.
    """
    with connect(hosts, port) as connection:
        return converse(connection, encode_request(request))


def ask_names(hosts: tuple[str, ...], port: int) -> NamesReply:
    """Who is registered there?

    :raises NoServerError: nobody answers.
    :raises RemoteProtocolError: the answer cannot be read.
    """
    return decode_names_reply(ask(hosts, port, NamesRequest()))


def ask_port(hosts: tuple[str, ...], port: int, alive: str) -> PortReply:
    """Where does this node listen?

    :raises NoServerError: nobody answers.
    :raises RemoteProtocolError: the answer cannot be read.
    """
    reply = decode_port_reply(ask(hosts, port, PortPlease2Request(alive)), closed=True)
    assert reply is not None, "a closed connection leaves nothing to wait for"
    return reply
