"""An HTTP server that answers as a test says: well, badly, slowly or for ever; over TLS or not.

async with serving(answer, tls) as server: ... f"https://127.0.0.1:{server.port}"
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

import h11
import trio


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: its target in two parts, and its header fields by their names in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


class Reply:
    """The answer to one request, which a test's function makes."""

    def __init__(self, stream: trio.abc.Stream, connection: h11.Connection) -> None:
        self._stream = stream
        self._connection = connection

    async def whole(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        """Answer at once, and with all there is to say."""
        await self.start(status, {"Content-Length": str(len(body)), **(headers or {})})
        if body:
            await self.send(body)
        await self.end()

    async def start(self, status: int, headers: Mapping[str, str] | None = None) -> None:
        """Begin an answer; without a length it goes on until its end is sent."""
        await self._send(h11.Response(status_code=status, headers=list((headers or {}).items())))

    async def send(self, data: bytes) -> None:
        """Send some of the body."""
        await self._send(h11.Data(data=data))

    async def end(self) -> None:
        """End the answer."""
        await self._send(h11.EndOfMessage())

    async def raw(self, data: bytes) -> None:
        """Send what need not be HTTP."""
        await self._stream.send_all(data)

    async def until_left(self) -> None:
        """Wait until the other end has closed the connection."""
        try:
            while await self._stream.receive_some():
                pass
        except (trio.BrokenResourceError, ssl.SSLError):
            pass

    async def _send(self, event: h11.Event) -> None:
        data = self._connection.send(event)
        if data:
            await self._stream.send_all(data)


Answer = Callable[[Asked, Reply], Awaitable[None]]


@dataclass
class HttpServer:
    """A running server.

    :ivar port: on 127.0.0.1.
    :ivar asked: all requests, in their order.
    :ivar connections: that were accepted.
    :ivar open: connections that are open now.
    """

    port: int
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    _left: trio.Event = field(default_factory=trio.Event)

    async def is_left(self) -> None:
        """Wait until no connection is open."""
        while self.open:
            self._left = trio.Event()
            await self._left.wait()

    def count(self, step: int) -> None:
        """One connection more or less is open."""
        self.open += step
        self.connections += max(step, 0)
        self._left.set()


@asynccontextmanager
async def serving(answer: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[HttpServer]:
    """Run a server for as long as the context lasts."""
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        server = HttpServer(listeners[0].socket.getsockname()[1])

        async def serve(stream: trio.SocketStream) -> None:
            server.count(+1)
            try:
                await _serve(stream, answer, tls, server.asked)
            finally:
                server.count(-1)

        nursery.start_soon(trio.serve_listeners, serve, listeners)
        yield server
        nursery.cancel_scope.cancel()


async def _serve(
    socket: trio.SocketStream, answer: Answer, tls: ssl.SSLContext | None, asked: list[Asked]
) -> None:
    stream: trio.abc.Stream = socket
    if tls is not None:
        stream = trio.SSLStream(socket, tls, server_side=True, https_compatible=True)
    connection = h11.Connection(h11.SERVER)
    try:
        while (request := await _request(stream, connection)) is not None:
            asked.append(request)
            await answer(request, Reply(stream, connection))
            if connection.our_state is not h11.DONE:
                return
            connection.start_next_cycle()
    except (trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError, ssl.SSLError):
        pass  # the client went away, as some tests have it
    finally:
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(stream)


async def _request(stream: trio.abc.Stream, connection: h11.Connection) -> Asked | None:
    """Read a request; None: there is none any more."""
    head: h11.Request | None = None
    body = b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(bytes(await stream.receive_some()))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            assert head is not None
            return _asked(head, body)
        else:
            return None


def _asked(head: h11.Request, body: bytes) -> Asked:
    target = urlsplit(head.target.decode())
    headers = {name.decode(): value.decode() for name, value in head.headers}
    return Asked(head.method.decode(), target.path, dict(parse_qsl(target.query)), headers, body)
