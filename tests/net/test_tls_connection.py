"""TLS on a socket of trio's: what is read, what the end means, and what is given away."""

import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
import trio

from epmdless.net.plain import PlainConnection
from epmdless.net.tls.connection import RECORD_SIZE, TlsConnection, TunnelCutError
from tests.net.tls_ends import GATEWAY, RELAY, client_context, only_tls12, server_context
from tests.support.certificates import Authority

WITHIN: Final = 10.0
"""Seconds for what takes a few turns."""

DATA: Final = bytes(range(256)) * 400
"""Several records."""

Pair = tuple[TlsConnection, TlsConnection]


@asynccontextmanager
async def unshaken(folder: Path, *, old: bool = False) -> AsyncIterator[Pair]:
    """A client and a server on one TCP connection, nothing said yet."""
    authority = Authority(folder)
    client = client_context(authority.issue(RELAY), authority, "1.2" if old else "1.3")
    server = server_context(authority.issue(GATEWAY), authority, "1.2" if old else "1.3")
    if old:
        only_tls12(client)
    ours, theirs = socket.socketpair()
    ends = (
        TlsConnection(trio.socket.from_stdlib_socket(ours), client, server_hostname=GATEWAY),
        TlsConnection(trio.socket.from_stdlib_socket(theirs), server),
    )
    try:
        with trio.fail_after(WITHIN):
            yield ends
    finally:
        for end in ends:
            end.close()


@asynccontextmanager
async def shaken(folder: Path, *, old: bool = False) -> AsyncIterator[Pair]:
    """The same after the handshake."""
    async with unshaken(folder, old=old) as (client, server):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.handshake)
            nursery.start_soon(server.handshake)
        yield client, server


async def read(connection: TlsConnection, count: int, size: int = 1 << 16) -> bytes:
    """Read so many bytes."""
    data = b""
    while len(data) < count:
        data += await connection.recv(min(size, count - len(data)))
    return data


@pytest.mark.parametrize("old", [False, True], ids=["1.3", "1.2"])
@pytest.mark.parametrize("size", [1000, 16_384, 1 << 20])
async def test_both_ends_say_much_at_once(tmp_path: Path, old: bool, size: int) -> None:
    received = {}

    async def receive(connection: TlsConnection) -> None:
        received[connection] = await read(connection, len(DATA) * 10, size)

    async def send(connection: TlsConnection) -> None:
        for _ in range(10):
            assert await connection.send(DATA) == len(DATA)

    async with shaken(tmp_path, old=old) as ends:
        async with trio.open_nursery() as nursery:
            for end in ends:
                nursery.start_soon(receive, end)
                nursery.start_soon(send, end)
        assert list(received.values()) == [DATA * 10] * 2


async def test_a_goodbye_is_an_end_and_can_be_read_again_and_answered(tmp_path: Path) -> None:
    async with shaken(tmp_path) as (client, server):
        await client.send(b"last words")
        await client.say_goodbye()
        assert await server.recv(100) == b"last words"
        assert await server.recv(100) == b""
        assert await server.recv(100) == b""
        await server.send(b"the answer")
        await server.say_goodbye()
        assert await client.recv(100) == b"the answer"
        assert await client.recv(100) == b""


async def test_an_end_without_goodbye_is_a_cut(tmp_path: Path) -> None:
    async with shaken(tmp_path) as (client, server):
        await client.send(b"last words")
        client.sock.shutdown(socket.SHUT_WR)
        assert await server.recv(100) == b"last words"
        with pytest.raises(TunnelCutError):
            await server.recv(100)


@pytest.mark.parametrize("after", [0, 1, 100])
async def test_an_end_within_the_handshake_is_a_reset(tmp_path: Path, after: int) -> None:
    """Whoever hangs up before it is known who he is has cut no tunnel."""
    async with unshaken(tmp_path) as (client, server):
        with pytest.raises(ssl.SSLWantReadError):
            client.tls.do_handshake()
        await client.sock.send(client.layer.outgoing.read()[:after])
        client.close()
        with pytest.raises(ConnectionResetError):
            await server.handshake()


async def test_garbage_is_an_error_of_tls_and_an_os_error(tmp_path: Path) -> None:
    async with shaken(tmp_path) as (client, server):
        await client.sock.send(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises(ssl.SSLError) as raised:
            await server.recv(100)
        assert isinstance(raised.value, OSError)


async def test_what_is_put_back_comes_first(tmp_path: Path) -> None:
    async with shaken(tmp_path) as (client, server):
        await client.send(b"behind")
        server.put_back(b"second")
        server.put_back(b"first ")
        assert await server.recv(8) == b"first se"
        assert await server.recv(100) == b"cond"
        assert await server.recv(100) == b"behind"


@pytest.mark.parametrize("size", [10, RECORD_SIZE + 1, 40_000])
async def test_what_was_read_too_early_goes_with_the_socket(tmp_path: Path, size: int) -> None:
    """Whole records that no event would announce; the rest of one that is not whole stays in TLS."""
    async with shaken(tmp_path) as (client, server):
        client.tls.write(DATA[:size])
        records = client.layer.outgoing.read()
        server.layer.incoming.write(records[:-5])
        server.put_back(b"first ")
        sock, layer, rest = server.detach()
        assert layer is server.layer
        whole = (size - 1) // RECORD_SIZE * RECORD_SIZE
        assert rest == b"first " + DATA[:whole]
        layer.incoming.write(records[-5:])
        assert layer.read(size) == DATA[whole:size]
        sock.close()


async def test_a_goodbye_that_was_read_goes_with_the_socket(tmp_path: Path) -> None:
    async with shaken(tmp_path) as (client, server):
        client.tls.write(b"last words")
        server.layer.incoming.write(client.layer.outgoing.read() + client.layer.goodbye())
        sock, layer, rest = server.detach()
        assert rest == b"last words"
        assert layer is not None
        assert layer.closed
        sock.close()


async def test_garbage_that_was_read_is_told_and_the_socket_is_not_given_away(tmp_path: Path) -> None:
    async with shaken(tmp_path) as (_, server):
        server.layer.incoming.write(b"no record at all")
        with pytest.raises(ssl.SSLError):
            server.detach()
        assert server.sock.fileno() >= 0


@pytest.mark.parametrize("begun", [0, 3, 5, 20])
async def test_a_goodbye_leaves_a_record_that_is_not_whole_as_it_is(tmp_path: Path, begun: int) -> None:
    async with shaken(tmp_path) as (client, server):
        client.tls.write(b"a record")
        record = client.layer.outgoing.read()
        server.layer.incoming.write(record[:begun])
        assert server.layer.read(100) is None
        assert server.layer.goodbye()
        server.layer.incoming.write(record[begun:])
        assert server.layer.read(100) == b"a record"


async def test_the_plain_twin_gives_the_same_away() -> None:
    ours, theirs = socket.socketpair()
    connection = PlainConnection(trio.socket.from_stdlib_socket(ours))
    theirs.send(b"behind")
    connection.put_back(b"second")
    connection.put_back(b"first ")
    assert await connection.recv(3) == b"fir"
    sock, layer, rest = connection.detach()
    assert (layer, rest) == (None, b"st second")
    assert await sock.recv(100) == b"behind"
    sock.close()
    theirs.close()
