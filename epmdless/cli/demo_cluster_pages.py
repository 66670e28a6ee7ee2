"""The web server of ``epmdless demo cluster``: pages of random bytes, on a loopback address."""

from __future__ import annotations

import hashlib
import http
import http.server
import random
import threading
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"

PAGES = 64
PAGE_SIZES = (16 * 1024, 128 * 1024)
"""Bytes: 64 pages are 5 MB, and a page takes an interpreted fun a few milliseconds."""


class Pages:
    """Serves ``/0``, ``/1``, … from a thread of its own, as long as the context lasts.

    :ivar digests: SHA-256 of each page.
    :ivar port: where they are served.
    """

    def __init__(self) -> None:
        pages = [random.randbytes(random.randint(*PAGE_SIZES)) for _ in range(PAGES)]
        self.digests = tuple(hashlib.sha256(page).digest() for page in pages)
        by_path = {f"/{number}": page for number, page in enumerate(pages)}

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                page = by_path.get(self.path)
                if page is None:
                    self.send_error(http.HTTPStatus.NOT_FOUND)
                    return
                self.send_response(http.HTTPStatus.OK)
                self.send_header("Content-Length", str(len(page)))
                self.end_headers()
                self.wfile.write(page)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = _Server((HOST, 0), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(POLL_SECONDS,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


POLL_SECONDS = 0.1
"""In which the server's thread sees that it shall end."""


class _Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128
    """Connections that the kernel holds for it: each node of a round may come at once."""

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a node that ends in the middle of a page is how the demonstration ends."""
