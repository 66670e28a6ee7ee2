"""A scripted node that opens a link as nodes before OTP 23 did: its first message is the old `'n'`.

Blocking, on raw bytes, written apart from the package, which it checks.
"""

import hashlib
import socket
import struct
from types import TracebackType
from typing import Final, Self

DEADLINE = 10.0
"""Seconds that a message may take."""

VERSION: Final = 5
FLAGS: Final = 0x4_0307_0F94
"""What OTP 25 demands, and no more: it is hidden (no 0x1) and uses neither atom cache nor fragments."""

CREATION: Final = 4
CHALLENGE: Final = 0x01020304


class HandshakeError(AssertionError):
    """The other side said something else than the handshake goes on with."""


class OldNode:
    """An established link of a node with this name."""

    def __init__(self, name: str, cookie: str, address: tuple[str, int]) -> None:
        """Dial, and follow the handshake to its end; raises HandshakeError when it goes another way."""
        self.socket = socket.create_connection(address, DEADLINE)
        try:
            self.peer = self._shake(name.encode(), cookie.encode())
        except BaseException:
            self.socket.close()
            raise

    def _shake(self, name: bytes, cookie: bytes) -> str:
        """Return the name that the other side gives for itself."""
        self._send(b"n" + struct.pack(">HI", VERSION, FLAGS & 0xFFFFFFFF) + name)
        self._expect(self._receive() == b"sok", "no ok")
        challenge = self._receive()
        self._expect(challenge[:1] == b"N", f"challenge {challenge!r}")
        _flags, number, _creation, length = struct.unpack(">QIIH", challenge[1:19])
        self._send(b"c" + struct.pack(">II", FLAGS >> 32, CREATION))
        self._send(b"r" + struct.pack(">I", CHALLENGE) + digest(cookie, number))
        self._expect(self._receive() == b"a" + digest(cookie, CHALLENGE), "another digest")
        return challenge[19 : 19 + length].decode()

    def _expect(self, condition: bool, what: str) -> None:
        if not condition:
            raise HandshakeError(what)

    def _send(self, message: bytes) -> None:
        self.socket.sendall(struct.pack(">H", len(message)) + message)

    def _receive(self) -> bytes:
        return self._exactly(struct.unpack(">H", self._exactly(2))[0])

    def _exactly(self, size: int) -> bytes:
        parts = b""
        while len(parts) < size:
            part = self.socket.recv(size - len(parts))
            if not part:
                raise HandshakeError(f"closed after {parts!r}")
            parts += part
        return parts

    def close(self) -> None:
        """End the link."""
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def digest(cookie: bytes, challenge: int) -> bytes:
    """Prove knowledge of a cookie: MD5 of it and the challenge in decimal."""
    return hashlib.md5(cookie + str(challenge).encode()).digest()
