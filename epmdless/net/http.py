"""A small HTTP/1.1 server (RFC 9110, RFC 9112) for those who watch and steer the process: a request a
connection, no bodies taken, bounded in clients and in time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from http import HTTPStatus
from typing import NamedTuple

import h11
import trio

MAX_CLIENTS = 32
"""Connections at once; a scraper uses one. One more, and the oldest is closed: silent connections must
neither use up descriptors nor keep a probe waiting."""

ACCEPT_PAUSE = 0.1
"""Seconds without accepting after descriptors ran out."""

REQUEST_SECONDS = 5.0
"""For a whole request and its answer; a client that is slower is closed."""

READ_SIZE = 4096


class Page(NamedTuple):
    """An answer: HTTP status, content type and body."""

    status: int
    content_type: str
    body: bytes


def text_page(status: int, body: str) -> Page:
    """An answer in plain text."""
    return Page(status, "text/plain; charset=utf-8", body.encode())


class HttpServer:
    """Answers each request with the page that a function makes for it.

    :param page: called with the method and the target, as they came; what it raises is answered with
        500: a question must never end the process.
    """

    def __init__(self, page: Callable[[bytes, bytes], Page]) -> None:
        self._page = page
        self._clients: dict[trio.CancelScope, None] = {}

    async def serve(
        self,
        listeners: list[trio.SocketListener],
        *,
        task_status: trio.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until cancelled; the listeners are closed at the end."""
        async with AsyncExitStack() as stack:
            for listener in listeners:
                await stack.enter_async_context(listener)
            async with trio.open_nursery() as nursery:
                for listener in listeners:
                    nursery.start_soon(self._accept, listener, nursery)
                task_status.started(listeners)

    async def _accept(self, listener: trio.SocketListener, nursery: trio.Nursery) -> None:
        while True:
            try:
                stream = await listener.accept()
            except OSError:
                await trio.sleep(ACCEPT_PAUSE)
                continue
            if len(self._clients) >= MAX_CLIENTS:
                oldest = next(iter(self._clients))
                oldest.cancel()
                del self._clients[oldest]
            scope = trio.CancelScope(deadline=trio.current_time() + REQUEST_SECONDS)
            self._clients[scope] = None
            nursery.start_soon(self._handle, stream, scope)

    async def _handle(self, stream: trio.SocketStream, scope: trio.CancelScope) -> None:
        """Answer a request, until its time is up or the client says something else than HTTP."""
        try:
            with scope, suppress(h11.ProtocolError, trio.BrokenResourceError):
                await self._converse(stream)
        finally:
            self._clients.pop(scope, None)
            stream.socket.close()

    async def _converse(self, stream: trio.SocketStream) -> None:
        connection = h11.Connection(h11.SERVER)
        request = None
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await stream.receive_some(READ_SIZE))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.EndOfMessage) and request is not None:
                page = self._page_or_error(request.method, request.target)
                await _respond(connection, stream, page, head=request.method == b"HEAD")
                return
            elif isinstance(event, h11.ConnectionClosed):
                return

    def _page_or_error(self, method: bytes, target: bytes) -> Page:
        try:
            return self._page(method, target)
        except Exception as error:  # noqa: BLE001 - see the class
            return text_page(500, f"internal error: {type(error).__name__}\n")


async def _respond(connection: h11.Connection, stream: trio.SocketStream, page: Page, *, head: bool) -> None:
    headers = [
        ("Content-Type", page.content_type),
        ("Content-Length", str(len(page.body))),
        ("Connection", "close"),
    ]
    response = (
        connection.send(
            h11.Response(status_code=page.status, headers=headers, reason=HTTPStatus(page.status).phrase)
        )
        or b""
    )
    await stream.send_all(response if head else response + page.body)
    await stream.send_eof()
