"""One connection to the gateway: TLS, requests, and at last a tunnel, or its end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from functools import partial
from socket import SHUT_WR
from typing import Protocol

import trio

from epmdless.errors import RemoteProtocolError
from epmdless.gateway.refusal import RefusalError
from epmdless.gateway.telling import tell
from epmdless.grants import Allowance
from epmdless.net.plain import PlainConnection, send_all
from epmdless.net.tls.connection import TlsConnection
from epmdless.net.tls.identity import peer_certificate, peer_names, peer_not_after
from epmdless.net.tls.problems import explain
from epmdless.net.turns import Turns
from epmdless.wire.connect import ConnectRequest, OptionsRequest, RequestReader
from epmdless.wire.proxy_status import ProxyError, ProxyStatus

READ_SIZE = 16 * 1024

GOODBYE_SECONDS = 1.0
"""For the last words to a client that is closed."""


LAST_READS = 128
"""Reads from a client that is closed for what it said, before it is: 2 MiB, more than what is under way."""


class State(StrEnum):
    """What a connection is at; a label of a gauge."""

    HANDSHAKE = "handshake"
    READY = "ready"
    TUNNEL = "tunnel"
    LEAVING = "leaving"


class Host(Protocol):
    """What a session asks of the gateway.

    :ivar turns: one for each step of a TLS handshake.
    """

    turns: Turns

    @property
    def request_timeout(self) -> float:
        """Seconds for the TLS handshake, and for a request."""

    @property
    def ready_timeout(self) -> float:
        """Seconds for which a client may wait before it asks."""

    def allowance(self, names: tuple[str, ...]) -> Allowance:
        """What a client of these names may do, now."""

    def count_request(self, status: int) -> None:
        """Count an answer."""

    def note_refused(self, session: Session, reason: str, detail: str) -> None:
        """Count and log a connection that is closed for what it did, or did not."""

    def admit(self, session: Session) -> None:
        """Take one more request. Raises RefusalError."""

    async def open_tunnel(self, session: Session, request: ConnectRequest) -> Tunnel:
        """Connect to what a request asks for. Raises RefusalError."""


class Tunnel(Protocol):
    """A target that was reached."""

    async def run(self, rest: bytes) -> None:
        """Use the session's connection from now on, which is this object's to close.

        :param rest: what the client has sent ahead.
        """

    def give_up(self) -> None:
        """The client is not there any more."""


class Session:
    """A client's connection. The session closes it, unless a tunnel takes it over.

    :ivar names: of the client: those in its certificate, or else its address.
    :ivar address: where it comes from, with its port.
    """

    def __init__(
        self,
        connection: PlainConnection | TlsConnection,
        host: str,
        address: str,
        gateway: Host,
        moved: Callable[[Session], None],
    ) -> None:
        self.connection = connection
        self.host = host
        self.address = address
        self.names: tuple[str, ...] = ()
        self.state = State.HANDSHAKE
        self.scope = trio.CancelScope()
        self._gateway = gateway
        self._moved = moved
        self._until = math.inf

    async def run(self) -> None:
        """Serve the client until its connection is closed, or a tunnel has it."""
        tunnel: Tunnel | None = None
        rest = b""
        with self.scope:
            try:
                if await self._greet():
                    self._move(State.READY)
                    tunnel, rest = await self._converse()
            finally:
                if tunnel is None:
                    self.connection.close()
        if tunnel is not None:
            await tunnel.run(rest)

    def _move(self, state: State) -> None:
        self.state = state
        self._moved(self)

    # Who it is.

    async def _greet(self) -> bool:
        """Shake hands; whether it is somebody."""
        if isinstance(self.connection, PlainConnection):
            self.names = (self.host,)
            return True
        problem: OSError = TimeoutError()
        with trio.move_on_after(self._gateway.request_timeout):
            try:
                await self.connection.handshake(partial(self._gateway.turns.turn, self.host))
            except OSError as error:
                problem = error
            else:
                certificate = peer_certificate(self.connection.tls)
                self.names = peer_names(certificate)
                self._until = peer_not_after(certificate)
                return True
        if self.scope.cancel_called:
            return False  # it was shed, and counted so
        code, text = explain(problem, peer=self.address, side="server")
        self._gateway.note_refused(self, code, text)
        await self._linger()
        return False

    async def _linger(self) -> None:
        """Take what is still under way: to close on it would be a reset, which destroys the alert, or the
        answer, that tells the client why."""
        self._move(State.LEAVING)
        sock = self.connection.sock
        with suppress(OSError), trio.move_on_after(GOODBYE_SECONDS):
            sock.shutdown(SHUT_WR)
            for _ in range(LAST_READS):
                if not await sock.recv(READ_SIZE):
                    return

    # What it wants.

    async def _converse(self) -> tuple[Tunnel | None, bytes]:
        """Answer requests, until one opens a tunnel or there are no more."""
        reader = RequestReader()
        while True:
            try:
                request = await self._next_request(reader)
            except RemoteProtocolError as error:
                await self._answer_malformed(reader, error)
                return None, b""
            except OSError:
                return None, b""
            try:
                if request is not None:
                    tunnel = await self._answer(reader, request)
                    if tunnel is not None:
                        return tunnel, reader.rest
                if request is None or reader.must_close:
                    await self._part()
                    return None, b""
            except OSError:
                return None, b""

    async def _answer(self, reader: RequestReader, request: ConnectRequest | OptionsRequest) -> Tunnel | None:
        """Answer a request; the tunnel that it opens. Raises OSError."""
        try:
            self._gateway.admit(self)
            if isinstance(request, ConnectRequest):
                return await self._connect(reader, request)
            await self._send(self._list(reader))
        except RefusalError as error:
            self._gateway.count_request(error.status)
            body = f"{error.detail}\n".encode("ascii", "replace")
            await self._send(reader.respond(error.status, proxy_status=error.proxy_status, body=body))
        return None

    async def _next_request(self, reader: RequestReader) -> ConnectRequest | OptionsRequest | None:
        """The next request; None: there is no more.

        :raises RemoteProtocolError: what comes is none, or comes too slowly.
        :raises OSError: the connection broke.
        """
        deadline, begun = trio.current_time() + self._patience, False
        while (request := reader.next()) is None:
            if reader.ended:
                return None
            if reader.begun and not begun:
                deadline, begun = trio.current_time() + self._gateway.request_timeout, True
            with trio.move_on_at(deadline) as scope:
                reader.receive(await self.connection.recv(READ_SIZE))
            if scope.cancelled_caught:
                if begun:
                    raise RemoteProtocolError("timed_out", "a request that does not come to its end")
                return None
        return request

    @property
    def _patience(self) -> float:
        """Seconds to wait for a request: long for those who may ask for something."""
        is_nobody = self._gateway.allowance(self.names).is_empty
        return self._gateway.request_timeout if is_nobody else self._gateway.ready_timeout

    async def _connect(self, reader: RequestReader, request: ConnectRequest) -> Tunnel:
        """Open a tunnel, and say so.

        :raises RefusalError: it may not be opened, or cannot.
        :raises OSError: the client has left.
        """
        self._check_certificate()
        tunnel = await self._gateway.open_tunnel(self, request)
        try:
            self._gateway.count_request(200)
            await self._send(reader.respond(200, proxy_status=ProxyStatus(None)))
        except BaseException:
            tunnel.give_up()
            raise
        self._move(State.TUNNEL)
        return tunnel

    def _check_certificate(self) -> None:
        if self._until < time.time():
            raise RefusalError(ProxyError.HTTP_REQUEST_DENIED, "your certificate has ended meanwhile")

    def _list(self, reader: RequestReader) -> bytes:
        """What this client may do, as JSON."""
        self._gateway.count_request(200)
        body = tell(self.names, self._gateway.allowance(self.names).plain())
        return reader.respond(200, body=body, content_type="application/json")

    async def _answer_malformed(self, reader: RequestReader, error: RemoteProtocolError) -> None:
        self._gateway.note_refused(self, error.reason, f"{self.address}: {error.detail}")
        self._gateway.count_request(400)
        status = ProxyStatus(ProxyError.HTTP_REQUEST_ERROR.value, error.detail)
        try:
            await self._send(reader.respond(400, proxy_status=status, close=True))
            await self._part()
        except OSError:
            return

    async def _send(self, data: bytes) -> None:
        """Send an answer; a client that does not take it in time is closed. Raises OSError."""
        with trio.move_on_after(self._gateway.request_timeout) as scope:
            await send_all(self.connection, data)
        if scope.cancelled_caught:
            raise TimeoutError("the client takes no answer")

    async def _part(self) -> None:
        """End politely. Raises OSError."""
        with trio.move_on_after(GOODBYE_SECONDS):
            await self.connection.say_goodbye()
        await self._linger()
