"""The small HTTP server by itself; test_status.py shows how it bears slow and odd clients."""

from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from epmdless.net.http import HttpServer, Page, text_page

Answer = Callable[[bytes, bytes], Page]


async def exchange(nursery: trio.Nursery, page: Answer, *requests: bytes) -> list[bytes]:
    """All that comes back for each request, on a connection of its own, until the server closes."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    (listener,) = await nursery.start(HttpServer(page).serve, listeners)
    answers = []
    for request in requests:
        async with await trio.open_tcp_stream(*listener.socket.getsockname()) as stream:
            await stream.send_all(request)
            answers.append(b"".join([data async for data in stream]))
    nursery.cancel_scope.cancel()
    return answers


@pytest.mark.parametrize("method", ["GET", "DELETE", "BREW"])
async def test_the_page_is_made_from_method_and_target_as_they_came(
    nursery: trio.Nursery, method: str
) -> None:
    asked = []

    def page(method: bytes, target: bytes) -> Page:
        asked.append((method, target))
        return Page(200, "text/x-odd", b"\x00body")

    request = f"{method} /%41?b=c HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    (answer,) = await exchange(nursery, page, request)
    assert asked == [(method.encode(), b"/%41?b=c")]
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[0] == b"HTTP/1.1 200 OK"
    assert b"Content-Type: text/x-odd" in head.split(b"\r\n")
    assert body == b"\x00body"


async def test_a_page_that_raises_is_an_error_and_the_next_is_served(nursery: trio.Nursery) -> None:
    def page(method: bytes, target: bytes) -> Page:
        if target == b"/bad":
            raise KeyError("a secret")
        return text_page(200, "fine\n")

    bad, good = await exchange(
        nursery,
        page,
        b"GET /bad HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /good HTTP/1.1\r\nHost: x\r\n\r\n",
    )
    assert bad.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert bad.endswith(b"\r\n\r\ninternal error: KeyError\n")
    assert good.endswith(b"\r\n\r\nfine\n")


async def test_a_unix_socket_serves_as_well(nursery: trio.Nursery, tmp_path: Path) -> None:
    listener = trio.socket.socket(trio.socket.AF_UNIX)
    await listener.bind(str(tmp_path / "s"))
    listener.listen()
    server = HttpServer(lambda method, target: text_page(200, "here\n"))
    await nursery.start(server.serve, [trio.SocketListener(listener)])
    async with await trio.open_unix_socket(str(tmp_path / "s")) as stream:
        await stream.send_all(b"GET / HTTP/1.0\r\n\r\n")
        answer = b"".join([data async for data in stream])
    assert answer.endswith(b"\r\n\r\nhere\n")
    nursery.cancel_scope.cancel()


async def test_the_listeners_are_closed_at_the_end(nursery: trio.Nursery) -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    address = listeners[0].socket.getsockname()
    async with trio.open_nursery() as inner:
        await inner.start(HttpServer(lambda method, target: text_page(200, "")).serve, listeners)
        inner.cancel_scope.cancel()
    with pytest.raises(OSError, match="connect"):
        await trio.open_tcp_stream(*address)
