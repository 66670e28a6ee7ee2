"""Whether an EPMD server answers on this host. It may block: a child runs it."""

from __future__ import annotations

import socket

from epmdless.wire.epmd_plain import Opcode, encode_frame

LIMIT_SECONDS = 4
"""For all of it; then its process is ended. A server at work answers in less than one second; what is no
EPMD server may never answer, or a byte a minute."""

PROBE_SECONDS = 1.5
"""For a connection, and for each piece of an answer: both addresses have their turn."""

LOOPBACK = ("127.0.0.1", "::1")
"""Where a node registers."""

PORT_BYTES = 4
"""What a NAMES reply begins with: the server's own port."""


def is_served(port: int) -> bool:
    """Ask NAMES on the loopback addresses."""
    return any(_answers(host, port) for host in LOOPBACK)


def _answers(host: str, port: int) -> bool:
    """Whether an EPMD server answers, and says that this is its port."""
    try:
        with socket.create_connection((host, port), timeout=PROBE_SECONDS) as connection:
            connection.sendall(encode_frame(Opcode.NAMES))
            said = b""
            while len(said) < PORT_BYTES and (piece := connection.recv(PORT_BYTES - len(said))):
                said += piece
    except OSError:
        return False
    return said == port.to_bytes(PORT_BYTES, "big")
