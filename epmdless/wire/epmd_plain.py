"""The EPMD protocol's numbers, and the requests and replies that need no message types.

``epmdless-epmd`` imports this and not the codec: dataclasses alone take as long to import as the rest of
its start.
"""

from __future__ import annotations

from enum import IntEnum

from epmdless.errors import RemoteProtocolError

MAX_REQUEST = 3057
"""The longest payload in bytes: the reference's input buffer is 3 * 1020 bytes, and needs 3 spare."""

MAX_NAMES_REPLY = 64 * 1024 * 1024
"""What a client takes of a NAMES or DUMP reply, in bytes: 64,000 nodes with the longest names."""

KILL_OK = b"OK"
KILL_REFUSED = b"NO"
STOPPED = b"STOPPED"
NOT_STOPPED = b"NOEXISTSTOPPED"
"""The reference writes NOEXIST for an unknown name, and then goes on to write STOPPED."""


class Opcode(IntEnum):
    """First byte of a request."""

    ALIVE2 = 120
    PORT_PLEASE2 = 122
    NAMES = 110
    DUMP = 100
    KILL = 107
    STOP = 115


def encode_frame(opcode: Opcode, body: bytes = b"") -> bytes:
    """A request as it goes over the wire: ``length:16 opcode:8 body``."""
    return (1 + len(body)).to_bytes(2, "big") + bytes([opcode]) + body


def split_listing(data: bytes) -> tuple[int, bytes]:
    """Cut a NAMES or DUMP reply into the server's port and its text.

    :raises RemoteProtocolError: shorter than its port.
    """
    if len(data) < 4:
        raise RemoteProtocolError("short", "the connection was closed before a whole answer")
    return int.from_bytes(data[:4], "big"), data[4:]
