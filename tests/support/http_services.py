"""HTTP servers on machines of a test: what a platform answers to those who run on it.

def answer(asked: Asked) -> Iterator[bytes] | bytes | None: ...

with http_service(machine, ("169.254.169.254", 80), answer) as service: ...
"""

import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.support.machine import Machine


@dataclass(frozen=True, slots=True)
class Asked:
    """A request.

    :ivar client: the address of who asks.
    :ivar headers: by their names in small letters.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    client: str


Answer = Callable[[Asked], bytes | Iterator[bytes] | int]
"""The body of an answer; pieces of one that goes on; or a status that is no success."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    answer: Answer

    def do_GET(self) -> None:
        target = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        query = dict(parse_qsl(target.query))
        asked = Asked(self.command, target.path, query, headers, self.client_address[0])
        said = type(self).answer(asked)
        if isinstance(said, int):
            self._whole(said, b"")
        elif isinstance(said, bytes):
            self._whole(200, said)
        else:
            self._pieces(said)

    def do_PUT(self) -> None:
        self.do_GET()

    def _whole(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _pieces(self, pieces: Iterator[bytes]) -> None:
        self.close_connection = True
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        for piece in pieces:
            self.wfile.write(piece)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Who went away is no matter."""


@contextmanager
def http_service(
    machine: Machine, address: tuple[str, int], answer: Answer, tls: ssl.SSLContext | None = None
) -> Iterator[None]:
    """Serve at an address of a machine until the context ends.

    :param answer: called in a thread for each connection.
    """
    handler = type("Handler", (_Handler,), {"answer": staticmethod(answer)})
    server = machine.call(lambda: _Server(address, handler))
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
