"""Gateways that do what a test says, and a hop to them, in the test's own trio run.

Their sockets are real, and time is the test's: what is ready to be done is done before the clock moves.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from socket import IPPROTO_TCP, TCP_NODELAY
from typing import Any

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from epmdless.config import HopSection, HostPort
from epmdless.config.hop import HopTlsSection
from epmdless.errors import RemoteProtocolError
from epmdless.hop.gateway import FIRST_BACK_OFF, REFILL_PAUSE, FarGateway, Standing
from epmdless.hop.hop import Hop
from epmdless.hop.hops import prepare
from epmdless.metrics import Metrics
from epmdless.net.plain import PlainConnection
from epmdless.net.tls.connection import TlsConnection
from epmdless.wire.connect import ConnectRequest, RequestReader
from epmdless.wire.proxy_status import ProxyStatus
from tests.net.tls_ends import server_context
from tests.support.certificates import Issued
from tests.support.hops import GATEWAY, GATEWAY_ADDRESS, HOP, Certified
from tests.support.relays import WITHIN, Lines

Connection = PlainConnection | TlsConnection
Act = Callable[["ScriptedGateway", Connection], Awaitable[None]]


CUSHION = 0.001
"""Real seconds without anything to do before the clock moves: the kernel may take a moment."""


class ScriptedGateway:
    """A gateway, or what is no good one.

    :param context: None: without TLS.
    :ivar does: what it does with each connection, TLS done.
    :ivar greets: what it does in place of TLS; None: TLS.
    :ivar asked: targets of which a tunnel was asked for, in their order.
    :ivar accepted: connections so far; of them, `handshakes` in TLS, and `resumed` by a ticket.
    :ivar open: those that are open on this side.
    """

    def __init__(self, context: ssl.SSLContext | None, address: str = GATEWAY_ADDRESS) -> None:
        self.context = context
        self.address = address
        self.port = 0
        self.does: Act = opens
        self.greets: Act | None = None
        self.asked: list[str] = []
        self.credentials: list[str] = []
        self.accepted = self.handshakes = self.resumed = 0
        self.open: list[Connection] = []
        self._listener: trio.socket.SocketType | None = None

    @property
    def where(self) -> HostPort:
        return HostPort(self.address, self.port)

    async def listen(self) -> None:
        """Listen, at the same port as before if there was one."""
        listener = trio.socket.socket()
        listener.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_REUSEADDR, 1)
        await listener.bind((self.address, self.port))
        listener.listen(512)
        self.port = listener.getsockname()[1]
        self._listener = listener

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until stopped."""
        await self.listen()
        assert self._listener is not None
        listener = self._listener
        with listener:
            async with trio.open_nursery() as nursery:
                task_status.started()
                with suppress(OSError, trio.ClosedResourceError):  # it was stopped
                    while True:
                        sock, _ = await listener.accept()
                        self.accepted += 1
                        nursery.start_soon(self._talk, sock)

    def stop(self) -> None:
        """Refuse connections from now on, and end those that are there."""
        assert self._listener is not None
        self._listener.close()
        for connection in list(self.open):
            connection.close()

    async def _talk(self, sock: trio.socket.SocketType) -> None:
        sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        connection: Connection = PlainConnection(sock)
        if self.context is not None:
            connection = TlsConnection(sock, self.context)
        self.open.append(connection)
        try:
            with suppress(OSError, RemoteProtocolError, trio.ClosedResourceError):
                if self.greets is not None:
                    await self.greets(self, PlainConnection(sock))
                    return
                if isinstance(connection, TlsConnection):
                    await connection.handshake()
                    self.handshakes += 1
                    self.resumed += bool(connection.tls.session_reused)
                await self.does(self, connection)
        finally:
            self.open.remove(connection)
            connection.close()

    async def next_request(self, reader: RequestReader, connection: Connection) -> ConnectRequest:
        """The next request for a tunnel, which is noted; others are answered with 200."""
        while True:
            while (request := reader.next()) is None:
                data = await connection.recv(65536)
                reader.receive(data)
                if not data and reader.next() is None:
                    raise OSError("the client left")
            if isinstance(request, ConnectRequest):
                self.asked.append(f"{request.host}:{request.port}")
                return request
            await connection.send(reader.respond(200))


async def opens(gateway: ScriptedGateway, connection: Connection) -> None:
    """Open a tunnel to an echo."""
    reader = RequestReader()
    await gateway.next_request(reader, connection)
    await connection.send(reader.respond(200))
    connection.put_back(reader.rest)
    while data := await connection.recv(65536):
        await connection.send(data)


async def is_silent(gateway: ScriptedGateway, connection: Connection) -> None:
    """Take what comes, and say nothing."""
    await trio.sleep_forever()


async def opens_later(gateway: ScriptedGateway, connection: Connection) -> None:
    """Open a tunnel after three seconds."""
    reader = RequestReader()
    await gateway.next_request(reader, connection)
    await trio.sleep(3)
    await connection.send(reader.respond(200))
    await trio.sleep_forever()


async def hangs_up(gateway: ScriptedGateway, connection: Connection) -> None:
    """Close, whatever is asked."""
    await connection.recv(65536)


async def hangs_up_at_once(gateway: ScriptedGateway, connection: Connection) -> None:
    """Close, before anything is asked."""


async def speaks_another_language(gateway: ScriptedGateway, connection: Connection) -> None:
    """Answer what is no HTTP."""
    await connection.recv(65536)
    await connection.send(b"220 mail.test ESMTP\r\n")
    await trio.sleep_forever()


async def speaks_first(gateway: ScriptedGateway, connection: Connection) -> None:
    """Greet, as SSH does."""
    await connection.send(b"SSH-2.0-test\r\n")
    await trio.sleep_forever()


async def drips(gateway: ScriptedGateway, connection: Connection) -> None:
    """Send an answer's head that does not come to its end."""
    await connection.recv(65536)
    await connection.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await connection.send(b"x-more: 1\r\n")
        await trio.sleep(0.5)


def answers(status: int, error: str | None, details: str = "") -> Act:
    """Refuse a tunnel.

    :param error: of Proxy-Status; None: no such field.
    """

    async def act(gateway: ScriptedGateway, connection: Connection) -> None:
        reader = RequestReader()
        while True:
            await gateway.next_request(reader, connection)
            said = None if error is None else ProxyStatus(error, details)
            await connection.send(reader.respond(status, proxy_status=said))

    return act


class World:
    """A hop and its gateways.

    :ivar lines: the hop's log.
    """

    def __init__(self, hop: Hop, gateways: list[ScriptedGateway], counts: Metrics, lines: Lines) -> None:
        self.hop = hop
        self.gateways = gateways
        self.counts = counts
        self.lines = lines

    @property
    def near(self) -> tuple[FarGateway, ...]:
        """The gateways as the hop sees them."""
        return self.hop.gateways

    def events(self) -> list[str]:
        """The kinds of lines so far."""
        return [str(line["event"]) for line in self.lines]


def section_to(*gateways: ScriptedGateway, certified: Certified | None, **keys: Any) -> HopSection:
    """A hop's configuration: `keys` are its own."""
    tls: HopTlsSection | bool = False
    if certified is not None:
        client = certified.client
        ca, cert, key = map(str, (certified.authority.ca, client.cert, client.key))
        tls = HopTlsSection(ca=ca, cert=cert, key=key, server_name=GATEWAY)
    where = tuple(gateway.where for gateway in gateways)
    return HopSection(**{"gateways": where, "tls": tls, "ready": 0, **keys})


def standing_of(section: HopSection) -> Standing:
    """It loaded."""
    return prepare({HOP: section}, "test.toml")[HOP]


def nobody(host: str, port: int) -> bool:
    """Nothing is ours."""
    return False


def scripted(certified: Certified | None, issued: Issued | None = None) -> ScriptedGateway:
    """A gateway.

    :param issued: its certificate, where that is another than the usual one.
    """
    if certified is None:
        return ScriptedGateway(None)
    return ScriptedGateway(server_context(issued or certified.gateway, certified.authority))


@asynccontextmanager
async def hop_to_scripted(
    *gateways: ScriptedGateway, certified: Certified | None = None, **keys: Any
) -> AsyncIterator[World]:
    """A hop that serves, to gateways that do. The end checks that no tunnel is counted."""
    counts, lines = Metrics(), Lines()
    async with trio.open_nursery() as nursery:
        for gateway in gateways:
            await nursery.start(gateway.serve)
        standing = standing_of(section_to(*gateways, certified=certified, **keys))
        hop = Hop(HOP, standing, nobody, counts, lines)
        await nursery.start(hop.keep_ready)
        await wait_all_tasks_blocked()
        yield World(hop, list(gateways), counts, lines)
        nursery.cancel_scope.cancel()
    assert [gateway.ready for gateway in hop.gateways] == [0] * len(gateways)
    assert [gateway.tunnels for gateway in hop.gateways] == [0] * len(gateways)


async def until(look: Callable[[], object], what: str = "it") -> None:
    """Let all tasks go on until something is so.

    The clock moves by what a pool waits before a refill, and no further than a first back-off needs.
    """
    end, clock = time.monotonic() + WITHIN, trio.lowlevel.current_clock()
    moves = int(2 * FIRST_BACK_OFF / REFILL_PAUSE)
    assert isinstance(clock, MockClock), "the test asks for mock_clock"
    await wait_all_tasks_blocked()
    while not look():
        assert time.monotonic() < end, f"waited in vain for {what}"
        clock.jump(REFILL_PAUSE if moves > 0 else 0)
        moves -= 1
        await wait_all_tasks_blocked(CUSHION)
