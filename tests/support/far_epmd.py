"""The EPMD server of a far host, which says what a test wants."""

import socketserver
import struct
import threading
from types import TracebackType
from typing import Final, Self

from tests.support.link_sides import FAR_ADDRESS

MISS: Final = b"w\x01"
EXTRA: Final = b"extra"


class FarEpmd:
    """A server in threads of its own; `port` is chosen by the kernel.

    :ivar nodes: alive name → port, for lookups and for the list.
    :ivar says: in place of all that, whatever is asked: these bytes; None: what `nodes` says.
    :ivar asked: the payloads of all questions.
    """

    def __init__(self, nodes: dict[str, int], address: str = FAR_ADDRESS, port: int = 0) -> None:
        self.nodes = nodes
        self.says: bytes | None = None
        self.asked: list[bytes] = []
        self._server = _Server((address, port), self)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def reply(self, payload: bytes) -> bytes:
        """Count a question and answer it."""
        self.asked.append(payload)
        if self.says is not None:
            return self.says
        if payload[:1] == b"n":
            lines = [f"name {name} at port {port}\n" for name, port in self.nodes.items()]
            return struct.pack(">I", self.port) + "".join(lines).encode()
        name = payload[1:].decode()
        port = self.nodes.get(name)
        return MISS if port is None else port_reply(name, port)

    def close(self) -> None:
        """Refuse connections from now on."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def port_reply(name: str, port: int) -> bytes:
    """A hidden node's entry, so that what is passed on can be told from what is made up."""
    raw = name.encode()
    head = struct.pack(">BBHBBHHH", ord("w"), 0, port, 72, 0, 6, 5, len(raw))
    return head + raw + struct.pack(">H", len(EXTRA)) + EXTRA


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], far: FarEpmd) -> None:
        self.far = far
        super().__init__(address, _Handler)


class _Handler(socketserver.StreamRequestHandler):
    server: _Server
    timeout = 5.0

    def handle(self) -> None:
        head = self.rfile.read(2)
        if len(head) == 2:
            payload = self.rfile.read(struct.unpack(">H", head)[0])
            self.wfile.write(self.server.far.reply(payload))
