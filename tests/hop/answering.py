"""Proxies that a test makes up: each request gets an answer by its method, in the clear or in TLS."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

HEAD_END = b"\r\n\r\n"

WITHIN = 10.0
"""Seconds after which a connection is given up."""


def http(status: str, body: bytes = b"", **fields: str) -> bytes:
    """An answer of HTTP; ``_`` in a field's name stands for a hyphen."""
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


class Heads(list[bytes]):
    """The heads of requests that came, and where the server listens.

    :ivar port: on 127.0.0.1.
    """

    port = 0


@contextmanager
def answering(
    answers: Mapping[bytes, bytes | None], context: ssl.SSLContext | None = None
) -> Iterator[Heads]:
    """Answer each request by its method, and hang up.

    :param answers: by method; b"": hang up without one; None: never answer.
    :param context: of TLS; None: in the clear.
    """
    heads = Heads()
    over = threading.Event()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.settimeout(WITHIN)
            with contextlib.suppress(OSError):
                if context is None:
                    self.answer(self.request)
                else:
                    with context.wrap_socket(self.request, server_side=True) as sock:
                        self.answer(sock)
                        sock.unwrap()

        def answer(self, sock: socket.socket) -> None:
            head = b""
            while HEAD_END not in head and (data := sock.recv(4096)):
                head += data
            heads.append(head)
            answer = answers[head.partition(b" ")[0]]
            if answer is None:
                over.wait(WITHIN)
            else:
                sock.sendall(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        heads.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield heads
        finally:
            over.set()
            server.shutdown()
            thread.join()
