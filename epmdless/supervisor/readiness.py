"""The server's word that it serves, as sd_notify(3) has it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct

LONGEST_NOTICE = 4096
"""Bytes that are read of a notice; the server's are a line."""

CREDENTIALS = struct.Struct("3i")
"""struct ucred: pid, uid, gid."""


class Readiness:
    """A socket that the server sends its notices to; the kernel raises SIGIO here when one is there.

    Its address is in the abstract namespace: the file system may be read-only. Any process of the host
    may write to it, so only what the server's own process sends counts.
    """

    def __init__(self) -> None:
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.setblocking(False)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._sock.bind("")
        self.address = "@" + self._sock.getsockname()[1:].decode()
        with contextlib.suppress(OSError):  # whoever waits looks now and then anyway
            fcntl.fcntl(self._sock, fcntl.F_SETOWN, os.getpid())
            flags = fcntl.fcntl(self._sock, fcntl.F_GETFL)
            fcntl.fcntl(self._sock, fcntl.F_SETFL, flags | os.O_ASYNC)

    def is_told(self, pid: int) -> bool:
        """Whether the process `pid` has said that it is ready."""
        while True:
            try:
                notice, ancillary, _, _ = self._sock.recvmsg(
                    LONGEST_NOTICE, socket.CMSG_SPACE(CREDENTIALS.size)
                )
            except OSError:
                return False
            if b"READY=1" in notice.split(b"\n") and _sender(ancillary) == pid:
                return True

    def close(self) -> None:
        """Hear no more: the server's further notices go nowhere."""
        self._sock.close()


def _sender(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS) and len(data) >= CREDENTIALS.size:
            return int(CREDENTIALS.unpack_from(data)[0])
    return None
