"""One gateway as the near side sees it: ready connections to it, and whether it can be relied on."""

from __future__ import annotations

import random
import ssl
from collections import deque
from collections.abc import Callable
from socket import IPPROTO_TCP, TCP_NODELAY
from typing import NamedTuple

import trio

from epmdless.config import HopSection, HostPort
from epmdless.errors import RemoteProtocolError
from epmdless.hop.trouble import HopError, Trouble, trouble_of
from epmdless.log import Log
from epmdless.net.dialing import DialError, dial
from epmdless.net.plain import PlainConnection
from epmdless.net.tls.connection import TlsConnection
from epmdless.net.tls.contexts import Certificates
from epmdless.net.tls.problems import explain
from epmdless.wire.connect import ResponseReader, encode_connect

FIRST_BACK_OFF = 0.5
"""Seconds for which a gateway is set aside after its first failure; each further one doubles it."""

LONGEST_BACK_OFF = 30.0
"""Seconds; a gateway that is back is found after so long at the latest."""

READ_SIZE = 16 * 1024

Connection = PlainConnection | TlsConnection


class Standing(NamedTuple):
    """What configuration and certificates are in force for a hop."""

    section: HopSection
    certificates: Certificates | None
    credentials: str | None


class _Ready:
    """A connection that waits for its request, and a task that notices its end."""

    __slots__ = ("at", "connection", "left", "scope", "taken", "until")

    def __init__(self, connection: Connection, until: float) -> None:
        self.connection = connection
        self.until = until
        self.scope = trio.CancelScope()
        self.left = trio.Event()
        self.taken = False


class FarGateway:
    """A gateway, or another CONNECT proxy.

    :ivar where: host and port.
    :ivar tunnels: how many go through it now.
    :ivar problem: why it is set aside; empty: it is not.
    """

    def __init__(
        self,
        hop: str,
        where: HostPort,
        standing: Callable[[], Standing],
        is_ours: Callable[[str, int], bool],
        log: Log,
    ) -> None:
        self.hop = hop
        self.where = where
        self.tunnels = 0
        self.problem = ""
        self.log = log
        self._standing = standing
        self._is_ours = is_ours
        self._failures = 0
        self._away_until = 0.0
        self._ready: deque[_Ready] = deque()
        self._wanted = trio.Event()
        self._session: ssl.SSLSession | None = None
        self._session_of: ssl.SSLContext | None = None

    @property
    def ready(self) -> int:
        """How many connections wait."""
        return len(self._ready)

    def count_ready(self) -> float:
        """The same, for a gauge."""
        return len(self._ready)

    def count_tunnels(self) -> float:
        """How many tunnels go through it, for a gauge."""
        return self.tunnels

    def is_up(self) -> float:
        """1 unless it is set aside, for a gauge."""
        return float(not self.problem)

    @property
    def away_until(self) -> float:
        """Until when, on trio's clock, it is set aside."""
        return self._away_until if self.problem else 0.0

    # Ready connections.

    async def keep_ready(self) -> None:
        """Keep connections ready until cancelled: as many as the configuration says, and none that is old.

        These attempts are the probe of its health as well: one that was set aside is tried again, also where
        none is to be kept ready.
        """
        try:
            async with trio.open_nursery() as nursery:
                while True:
                    self._wanted = trio.Event()
                    await self._refill(nursery)
                    with trio.move_on_after(self._seconds_until_needed()):
                        await self._wanted.wait()
        finally:
            self.drop_ready()

    def drop_ready(self) -> None:
        """Close the connections that wait, and open new ones: certificates may have changed."""
        for ready in list(self._ready):
            self._forget(ready)
        self._wanted.set()

    async def _refill(self, nursery: trio.Nursery) -> None:
        section = self._standing().section
        for ready in [each for each in self._ready if each.until <= trio.current_time()]:
            self._forget(ready)
        while len(self._ready) < section.ready or self.problem:
            if self._away_until > trio.current_time():
                return
            try:
                connection = await self.connect()
            except HopError:
                return
            if len(self._ready) >= section.ready:
                connection.close()
                return
            age = section.ready_for * random.uniform(0.8, 1)  # not all at once
            ready = _Ready(connection, trio.current_time() + age)
            self._ready.append(ready)
            nursery.start_soon(self._watch, ready)

    def _seconds_until_needed(self) -> float:
        now = trio.current_time()
        times = [ready.until for ready in self._ready]
        if self.problem:
            times.append(self._away_until)
        return max(0.0, min(times, default=now + 3600) - now)

    async def _watch(self, ready: _Ready) -> None:
        """Notice when a connection that waits ends, or says what nobody asked for."""
        problem: OSError | None = None
        with ready.scope:
            try:
                await ready.connection.recv(1)
            except OSError as error:
                problem = error
        ready.left.set()
        if ready.taken or ready not in self._ready:
            return
        self._forget(ready)
        if isinstance(problem, ssl.SSLError):  # in TLS 1.3 so a client hears that it is not wanted
            self._set_aside(explain(problem, peer=str(self.where), side="client").text)
        self._wanted.set()

    def _forget(self, ready: _Ready) -> None:
        if ready in self._ready:
            self._ready.remove(ready)
        ready.scope.cancel()
        ready.connection.close()

    async def _take(self) -> Connection | None:
        """A ready connection, the youngest; None if there is none."""
        while self._ready:
            ready = self._ready.pop()
            self._wanted.set()
            ready.taken = True
            ready.scope.cancel()
            await ready.left.wait()
            if not ready.scope.cancelled_caught:  # it ended in this very moment
                ready.connection.close()
                continue
            return ready.connection
        return None

    # Connecting.

    async def connect(self) -> Connection:
        """Make a new connection, up to the end of TLS.

        :raises HopError: it is down; it is set aside for a while.
        """
        section = self._standing().section
        where = str(self.where)
        with trio.move_on_after(section.connect_timeout):
            try:
                sock = await dial(self.where.host, self.where.port, self._is_ours)
            except DialError as error:
                raise self._set_aside(f"{where}: {error}") from None
            sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
            return await self._secure(sock)
        raise self._set_aside(f"{where}: no answer within {section.connect_timeout}")

    async def _secure(self, sock: trio.socket.SocketType) -> Connection:
        _, certificates, _ = self._standing()
        section = self._standing().section
        if certificates is None:
            self._set_back()
            return PlainConnection(sock)
        tls = section.tls_table
        assert tls is not None, "certificates come from there"
        context = certificates.context
        connection = TlsConnection(
            sock,
            context,
            server_hostname=(tls.server_name or self.where.host).removesuffix("."),
            session=self._session if self._session_of is context else None,
        )
        try:
            await connection.handshake()
        except OSError as error:
            sock.close()
            raise self._set_aside(explain(error, peer=str(self.where), side="client").text) from None
        except BaseException:
            sock.close()
            raise
        self._set_back()
        return connection

    def _set_aside(self, problem: str) -> HopError:
        """Rely on it no more for a while; the error to raise for that."""
        if not self.problem:
            self.log.warning("gateway set aside", hop=self.hop, gateway=str(self.where), error=problem)
        if self.problem and trio.current_time() < self._away_until:
            return HopError(Trouble.DOWN, problem)  # of many that fail together, one counts
        self.problem = problem
        pause = min(FIRST_BACK_OFF * 2**self._failures, LONGEST_BACK_OFF) * random.uniform(0.5, 1)
        self._failures = min(self._failures + 1, 16)
        self._away_until = trio.current_time() + pause
        self._wanted.set()
        return HopError(Trouble.DOWN, problem)

    def _set_back(self) -> None:
        if self.problem:
            self.log.info("gateway back", hop=self.hop, gateway=str(self.where))
        self.problem = ""
        self._failures = 0

    # Asking.

    async def ask(self, host: str, port: int, link: str | None, *, fresh: bool) -> Connection:
        """Have it connect us to a target.

        A ready connection may have died unseen: then the next one is taken, and in the end a new one.

        :param link: the link's id, None for none.
        :param fresh: whether to leave the ready ones alone.
        :raises HopError: it refuses, or is not to be had.
        """
        while True:
            connection = None if fresh else await self._take()
            was_ready = connection is not None
            if connection is None:
                connection = await self.connect()
            try:
                await self._request(connection, host, port, link)
            except HopError:
                connection.close()
                raise
            except (OSError, RemoteProtocolError) as error:
                connection.close()
                if not was_ready:
                    raise self._broke(error) from None
            except BaseException:
                connection.close()
                raise
            else:
                return connection

    def _broke(self, error: OSError | RemoteProtocolError) -> HopError:
        if isinstance(error, RemoteProtocolError):
            return self._set_aside(f"{self.where} is no CONNECT proxy: {error}")
        return self._set_aside(explain(error, peer=str(self.where), side="client").text)

    async def _request(self, connection: Connection, host: str, port: int, link: str | None) -> None:
        if (
            isinstance(connection, TlsConnection)
            and (session := connection.tls.session) is not None
            and session.has_ticket
        ):
            self._session, self._session_of = session, connection.tls.context
        reader = ResponseReader("CONNECT")
        request = encode_connect(host, port, link=link, credentials=self._standing().credentials)
        while request:
            request = request[await connection.send(request) :]
        while (response := reader.next()) is None:
            reader.receive(await connection.recv(READ_SIZE))
        if 200 <= response.status < 300:
            connection.put_back(reader.rest)
            return
        error = trouble_of(response, str(self.where))
        if error.trouble is Trouble.BUSY:
            self._set_aside(str(error))
        raise error
