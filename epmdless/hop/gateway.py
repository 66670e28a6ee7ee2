"""One gateway as the near side sees it: ready connections to it, and whether it can be relied on."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from socket import IPPROTO_TCP, TCP_NODELAY
from typing import NamedTuple

import trio

from epmdless.config import HopSection, HostPort
from epmdless.errors import LocalProtocolError, RemoteProtocolError
from epmdless.hop.tickets import Tickets
from epmdless.hop.trouble import HopError, Trouble, trouble_of
from epmdless.log import Log
from epmdless.net.dialing import DialError, dial
from epmdless.net.plain import PlainConnection, send_all
from epmdless.net.tls.connection import TlsConnection
from epmdless.net.tls.contexts import Certificates
from epmdless.net.tls.problems import explain
from epmdless.wire.connect import Response, ResponseReader, encode_connect, encode_options

FIRST_BACK_OFF = 0.5
"""Seconds for which a gateway is set aside after its first failure; each further one doubles it."""

LONGEST_BACK_OFF = 30.0
"""Seconds; a gateway that is back is found after so long at the latest."""

YOUNG = 5.0
"""Seconds within which the end of a connection that nobody used is the gateway's failure: one that closes
each at once, full or with nothing behind it, must not be dialled without a pause."""

REFILL_PAUSE = 0.02
"""Seconds between the taking of a ready connection and the making of the next: a TLS handshake takes both
ends a millisecond, which the link that is set up meanwhile would wait for."""

MOST_CONNECTING = 32
"""New connections to one gateway at a time: it has room for a few hundred handshakes, and gives up the oldest
when there are more; several relays may come at once, each with all its links to set up again."""

READ_SIZE = 16 * 1024

Connection = PlainConnection | TlsConnection


class Standing(NamedTuple):
    """What configuration and certificates are in force for a hop."""

    section: HopSection
    certificates: Certificates | None
    credentials: str | None


class _Ready:
    """A connection that waits for its request, and a task that notices its end."""

    __slots__ = ("connection", "left", "scope", "since", "taken", "until")

    def __init__(self, connection: Connection, since: float, until: float) -> None:
        self.connection = connection
        self.since = since
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
        self._connecting = trio.CapacityLimiter(MOST_CONNECTING)
        self._tickets = Tickets()

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

    def count_in(self) -> Callable[[], None]:
        """Count a tunnel; what counts it out, the first time that it is called."""
        self.tunnels += 1
        held = [self]

        def release() -> None:
            if held:
                held.pop().tunnels -= 1

        return release

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
                        await trio.sleep(REFILL_PAUSE)
        finally:
            self.drop_ready()

    def drop_ready(self) -> None:
        """Close the connections that wait, and open new ones: certificates may have changed."""
        for ready in list(self._ready):
            self._forget(ready)
        self._wanted.set()

    async def _refill(self, nursery: trio.Nursery) -> None:
        standing = self._standing()
        section = standing.section
        if self._ready:
            self._keep_ticket(self._ready[-1].connection)
        for ready in [each for each in self._ready if each.until <= trio.current_time()]:
            self._forget(ready)
        while len(self._ready) < section.ready or self.problem:
            if self.away_until > trio.current_time():
                return
            try:
                connection = await self.connect()
                if self.problem:
                    await self._probe(connection)
                    continue
            except HopError:
                return
            if self._standing() is not standing:  # made with certificates that were replaced meanwhile
                connection.close()
                standing = self._standing()
                continue
            now, age = trio.current_time(), section.ready_for * random.uniform(0.8, 1)  # not all at once
            ready = _Ready(connection, now, now + age)
            self._ready.append(ready)
            nursery.start_soon(self._watch, ready)

    async def _probe(self, connection: Connection) -> None:
        """See whether a gateway that was set aside answers at all, whatever it says.

        That it shakes hands proves little: in TLS 1.3 it has not looked at our certificate then.

        :raises HopError: it does not.
        """
        request = encode_options(str(self.where))
        try:
            with trio.move_on_after(self._standing().section.connect_timeout):
                await _exchange(connection, request, ResponseReader("OPTIONS"))
                self._set_back()
                return
        except (OSError, RemoteProtocolError) as error:
            raise self._broke(error) from None
        finally:
            connection.close()
        raise self._set_aside(f"{self.where} does not answer")

    def _seconds_until_needed(self) -> float:
        now = trio.current_time()
        times = [ready.until for ready in self._ready]
        if self.problem:
            times.append(self._away_until)
        return max(0.0, min(times, default=now + 3600) - now)

    async def _watch(self, ready: _Ready) -> None:
        """Notice when a connection that waits ends, or says what nobody asked for."""
        problem = f"{self.where} closed a connection that was just made"
        try:
            with ready.scope:
                if await ready.connection.recv(1):
                    problem = f"{self.where} is no CONNECT proxy: it speaks first"
        except OSError as error:
            # In TLS 1.3 so a client hears that it is not wanted.
            problem = explain(error, peer=str(self.where), side="client").text
        finally:
            ready.left.set()
        if ready.taken or ready not in self._ready:
            return
        self._forget(ready)
        if trio.current_time() - ready.since < YOUNG:
            self._set_aside(problem)
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
            try:
                await ready.left.wait()
            except BaseException:
                ready.connection.close()
                raise
            if not ready.scope.cancelled_caught:  # it ended in this very moment
                ready.connection.close()
                continue
            return ready.connection
        return None

    # Connecting.

    async def connect(self) -> Connection:
        """Make a new connection, up to the end of TLS.

        :raises HopError: it is down, and set aside for a while.
        """
        async with self._connecting:
            return await self._connect_now()

    async def _connect_now(self) -> Connection:
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
            return PlainConnection(sock)
        tls = section.tls_table
        assert tls is not None, "certificates come from there"
        context = certificates.context
        if self._ready:
            self._keep_ticket(self._ready[-1].connection)
        connection = TlsConnection(
            sock,
            context,
            server_hostname=(tls.server_name or self.where.host).removesuffix("."),
            session=self._tickets.session_of(context),
        )
        try:
            await connection.handshake()
        except OSError as error:
            sock.close()
            raise self._set_aside(explain(error, peer=str(self.where), side="client").text) from None
        except BaseException:
            sock.close()
            raise
        if not connection.tls.session_reused:
            self._tickets.forget()  # the gateway began anew, and so do we, by its next ticket
        return connection

    def _keep_ticket(self, connection: Connection) -> None:
        if isinstance(connection, TlsConnection):
            self._tickets.keep(connection.tls)

    def note_silent(self) -> None:
        """Hear that it did not answer while another gateway did."""
        self._set_aside(f"{self.where} does not answer")
        self.drop_ready()

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
            self._wanted.set()
        self.problem = ""

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
            except LocalProtocolError as error:
                connection.close()
                raise HopError(Trouble.UNKNOWN, str(error)) from None
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
        reader = ResponseReader("CONNECT")
        request = encode_connect(host, port, link=link, credentials=self._standing().credentials)
        response = await _exchange(connection, request, reader)
        self._keep_ticket(connection)
        if 200 <= response.status < 300:
            connection.put_back(reader.rest)
            self._answered()
            return
        error = trouble_of(response, str(self.where))
        if error.trouble is not Trouble.BUSY:
            self._answered()
        elif response.proxy_status is not None:  # else it may mean the target: squid has no other status
            self._set_aside(str(error))
        raise error

    def _answered(self) -> None:
        """Rely on it again, and forget how often it failed: it does what it is there for."""
        self._set_back()
        self._failures = 0


async def _exchange(connection: Connection, request: bytes, reader: ResponseReader) -> Response:
    """Send a request, and read its answer.

    :raises OSError: the connection broke.
    :raises RemoteProtocolError: what came is no answer.
    """
    await send_all(connection, request)
    while (response := reader.next()) is None:
        reader.receive(await connection.recv(READ_SIZE))
    return response
