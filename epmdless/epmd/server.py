"""The EPMD server's sockets.

The loop's epoll holds the listeners, the registrations and every connection that could not be served
at once. A lookup costs no task: when a listener is readable,
connections are accepted in a batch, read at once, and answered and closed in the same step. What needs
I/O (a DNS question) gets a task.

No socket is ever waited for: reads and writes say MSG_DONTWAIT, so that accepted sockets need no
system call to make them non-blocking.
"""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from socket import MSG_DONTWAIT, MSG_MORE, SocketType

import trio

from epmdless import metrics
from epmdless.addresses import Endpoint
from epmdless.epmd.backlog import Backlog
from epmdless.epmd.connections import Connection, ConnectionTable, Waits
from epmdless.epmd.desk import WAIT, Answer, Caller, Desk, Settings, Then
from epmdless.epmd.face import Face
from epmdless.epmd.holders import Holders
from epmdless.errors import RemoteProtocolError
from epmdless.log import Log
from epmdless.metrics import Metrics
from epmdless.net.accepting import Acceptor, Listener
from epmdless.net.faults import note_fault
from epmdless.net.listeners import usable_descriptors
from epmdless.net.rounds import Rounds
from epmdless.policy import is_local_peer, plain_address
from epmdless.registry import Registry
from epmdless.wire.epmd import READ_SIZE, PortPlease2Request, Request, decode_request

EVERYWHERE = ("0.0.0.0", "::")
"""Hosts of listeners that stand for all addresses."""

LOOKUP_DESCRIPTORS = 64
"""Descriptors that registrations leave to lookups: without any, nobody would find the registered. At
most an eighth of all."""

EVICTIONS_A_STEP = 200
"""Connections whose time is up that are closed before other tasks get their turn: some 5 ms of work."""

MAX_UNSENT = 64 * 1024 * 1024
"""Bytes of replies that wait for clients to read them. Replies are shared while the list of names stays
the same; a flood of registrations between slow readers could make it differ for each."""

HOUSEKEEPING = 1.0
"""Seconds between looks for connections whose time is up."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds: the idle time-out of a connection, and the reference's delays for tests."""

    packet_timeout: float = 60.0
    delay_accept: float = 0.0
    delay_write: float = 0.0


class EpmdServer:
    """An EPMD server on listening sockets that the caller opened.

    :param rounds: the loop, which the caller runs; descriptors of nobody else's are this server's.
    :param descriptor_limit: the process's limit on file descriptors.
    :param others: descriptors that others in the process hold now.

    :ivar faces: what answers on an address and port that stand in for far hosts.
    """

    def __init__(
        self,
        registry: Registry,
        settings: Settings,
        timing: Timing,
        counts: Metrics,
        log: Log,
        rounds: Rounds,
        *,
        descriptor_limit: int,
        others: Callable[[], int] = lambda: 0,
    ) -> None:
        self._timing = timing
        self._counts = counts
        self._log = log
        self._clock = rounds.clock
        self._capacity = usable_descriptors(descriptor_limit)
        self._others = others
        self._rounds = rounds
        self._epoll = rounds.epoll
        self.faces: Mapping[Endpoint, Face] = {}
        rounds.otherwise = self._event
        rounds.failed = self._contain
        self._holders = Holders(registry, self._epoll, log)
        self._desk = Desk(
            registry,
            settings,
            counts,
            log,
            max_registrations=self._capacity - min(LOOKUP_DESCRIPTORS, descriptor_limit // 8),
            has_ended=self._holders.has_ended,
            end=self._holders.end,
        )
        self._table = ConnectionTable()
        self._backlog = Backlog()
        self._acceptor = Acceptor(
            rounds, counts, log, is_full=self._is_full, make_room=self._make_room, take=self._accepted
        )
        self._killed = trio.Event()
        self._seconds = counts.histogram(metrics.LOOKUP_SECONDS)
        counts.gauge(metrics.REGISTERED, lambda: len(registry))
        counts.gauge(metrics.CONNECTIONS, lambda: len(self._table))
        counts.gauge(metrics.DESCRIPTOR_LIMIT, lambda: descriptor_limit)

    async def serve(
        self,
        listeners: Sequence[socket.socket],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until cancelled, or until a KILL request is granted: then it returns.

        The sockets stay the caller's to close; connections and registrations are closed at the end.
        `task_status.started()` is called once lookups are answered.
        """
        try:
            async with trio.open_nursery() as self._handlers:
                self._handlers.start_soon(self._housekeep)
                self.listen_on(listeners)
                task_status.started()
                await self._killed.wait()
                self._handlers.cancel_scope.cancel()
        finally:
            self._close_everything()

    def listen_on(self, listeners: Sequence[socket.socket]) -> None:
        """Accept on exactly these sockets from now on; they stay the caller's to close."""
        self._acceptor.listen_on(listeners)

    def reconfigure(self, settings: Settings, timing: Timing) -> None:
        """Answer by other settings from the next request on; registrations stay."""
        self._desk.settings = settings
        self._timing = timing

    # The loop.

    @property
    def descriptors(self) -> int:
        """Descriptors that connections and registrations hold now."""
        return len(self._table) + len(self._holders)

    def delay(self) -> float:
        """Seconds that the loop waits before each turn, for tests of a slow server."""
        return self._timing.delay_accept

    def _event(self, fd: int, _events: int) -> None:
        if fd in self._holders:
            self._holders.stirred(fd)
        elif (connection := self._table.get(fd)) is not None:
            self._connection_stirred(connection)

    def _contain(self, fd: int, error: Exception) -> None:
        """A fault of ours: close the connection that met it, say so once, and go on."""
        note_fault(self._counts, self._log, error)
        if (connection := self._table.get(fd)) is not None:
            self._drop(connection)

    async def _housekeep(self) -> None:
        while True:
            await trio.sleep(HOUSEKEEPING)
            self._acceptor.resume()
            late = self._table.expired(self._clock(), self._timing.packet_timeout)
            for number, connection in enumerate(late, 1):
                if self._is_open(connection):
                    self._evict(connection, "timeout")
                if number % EVICTIONS_A_STEP == 0:
                    await trio.lowlevel.checkpoint()

    # Room for the next connection.

    def _is_full(self) -> bool:
        return len(self._table) + len(self._holders) + self._others() >= self._capacity

    def _make_room(self) -> bool:
        """Close the connection that has been silent for longest; False if there is none."""
        connection = self._table.longest_idle()
        if connection is None:
            return False
        self._evict(connection, "descriptors")
        return True

    # Reading requests.

    def _accepted(self, sock: SocketType, address: tuple[str, int], listener: Listener) -> None:
        face = self._face_of(sock, listener) if self.faces else None
        self._first_read(sock, address[0], listener.port, face)

    def _face_of(self, sock: SocketType, listener: Listener) -> Face | None:
        """The face of the address that was dialled, if it stands in for far hosts."""
        own = listener.host
        if own in EVERYWHERE:
            try:
                own = str(plain_address(sock.getsockname()[0]))
            except OSError:
                return None
        return self.faces.get(Endpoint(own, listener.port))

    def adopt(self, sock: SocketType, peer: str, own_port: int, face: Face | None = None) -> None:
        """Take over a connection that somebody else accepted; it counts as one of ours.

        :param own_port: the port that the client dialled.
        :param face: what answers there in place of the registry.
        """
        if self._is_full():
            self._make_room()
        self._first_read(sock, peer, own_port, face)

    def _first_read(self, sock: SocketType, peer: str, own_port: int, face: Face | None) -> None:
        """Serve a new connection at once if its whole request is there, or have it wait."""
        now = self._clock()
        try:
            data = sock.recv(READ_SIZE, MSG_DONTWAIT)
        except BlockingIOError:
            self._park(Connection(sock, peer, own_port, now, face), select.EPOLLIN)
            return
        except OSError:
            self._malformed("reset", peer)
            sock.close()
            return
        if data and not face and not self._timing.delay_write and self._serve_lookup(sock, peer, data):
            self._seconds.observe(self._clock() - now)
            return
        connection = Connection(sock, peer, own_port, now, face)
        self._park(connection, select.EPOLLIN)
        self._received(connection, data)

    def _serve_lookup(self, sock: SocketType, peer: str, data: bytes) -> bool:
        """The short way: a whole lookup whose answer is at hand and goes out in one write.

        :returns: False if the connection needs the long way; nothing has happened to it then.
        """
        try:
            request = decode_request(data)
        except RemoteProtocolError:
            return False
        if type(request) is not PortPlease2Request:
            return False
        answer = self._desk.look_up_now(request.name, peer)
        if answer is WAIT:
            return False
        if answer.reply:
            # 2 KiB at most into an empty send buffer: it fits, or the connection is broken.
            with contextlib.suppress(OSError):
                sock.send(answer.reply, MSG_DONTWAIT | MSG_MORE)
        sock.close()
        return True

    def _connection_stirred(self, connection: Connection) -> None:
        if connection.waits is Waits.WRITE:
            self._write(connection)
            return
        try:
            data = connection.sock.recv(READ_SIZE, MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if connection.waits is Waits.REQUEST:
            self._received(connection, data)
        else:
            self._drop(connection)  # it was told "no", or it gave up or spoke while DNS is asked

    def _received(self, connection: Connection, data: bytes) -> None:
        """Take in what a connection sent; nothing means that it has ended its side."""
        if not data:
            if connection.received:
                self._malformed("truncated", connection.peer)
            self._drop(connection)
            return
        connection.received += data
        self._table.touch(connection, self._clock())
        try:
            request = decode_request(connection.received)
        except RemoteProtocolError as error:
            self._malformed(error.reason, connection.peer)
            self._drop(connection)
            return
        if request is not None:
            self._serve(connection, request)

    def _malformed(self, reason: str, peer: str) -> None:
        self._counts.count(metrics.MALFORMED, reason)
        self._log.warning("malformed request", reason=reason, peer=peer)

    # Answering.

    def _serve(self, connection: Connection, request: Request) -> None:
        if self._timing.delay_write or connection.face is not None:
            self._answer_later(connection, request)
            return
        answer = self._desk.answer(request, self._caller(connection))
        if answer is WAIT:
            self._answer_later(connection, request)
            return
        if isinstance(request, PortPlease2Request):
            self._seconds.observe(self._clock() - connection.active)
        self._carry_out(connection, answer)

    def _answer_later(self, connection: Connection, request: Request) -> None:
        """Have a connection wait for us, and a task answer it; only its end is looked for meanwhile."""
        connection.waits = Waits.ANSWER
        connection.scope = trio.CancelScope()
        self._epoll.modify(connection.sock.fileno(), 0)
        self._rounds.hurry()
        self._handlers.start_soon(self._work_for, connection, request)

    async def _work_for(self, connection: Connection, request: Request) -> None:
        with connection.scope or trio.CancelScope():
            try:
                if self._timing.delay_write:
                    await trio.sleep(self._timing.delay_write)
                if connection.face is not None:
                    answer = await self._desk.answer_for(connection.face, request, self._caller(connection))
                else:
                    answer = self._desk.answer(request, self._caller(connection))
                if answer is WAIT:
                    assert isinstance(request, PortPlease2Request)
                    answer = await self._desk.look_up(request.name)
                    self._seconds.observe(self._clock() - connection.active)
                connection.scope = None
                if self._is_open(connection):  # not cut off in the very tick in which the answer came
                    self._carry_out(connection, answer)
            except Exception as error:  # noqa: BLE001 - one request's fault must not end the server
                connection.scope = None
                self._contain(connection.sock.fileno(), error)

    def _caller(self, connection: Connection) -> Caller:
        sock = connection.sock
        try:
            local = is_local_peer(connection.peer, sock.getsockname()[0])
        except OSError:
            local = False
        return Caller(sock.fileno(), connection.peer, local, connection.own_port)

    def _carry_out(self, connection: Connection, answer: Answer) -> None:
        match answer.then:
            case Then.REGISTERED:
                self._table.remove(connection)
                self._holders.add(connection.sock, answer.reply)
                return
            case Then.END_SERVER:
                self._log.info("ended by request", peer=connection.peer)
                self._killed.set()
            case Then.LINGER:
                connection.waits = Waits.CLOSE
        connection.unsent = memoryview(answer.reply)
        self._write(connection)

    def _write(self, connection: Connection) -> None:
        """Send what is unsent; close after the last byte, unless the client is to close."""
        sock = connection.sock
        try:
            sent = sock.send(connection.unsent, MSG_DONTWAIT) if connection.unsent else 0
        except BlockingIOError:
            sent = 0
        except OSError:
            self._drop(connection)
            return
        connection.unsent = connection.unsent[sent:]
        if connection.unsent:
            self._wait_for_reader(connection, sent)
        elif connection.waits is Waits.CLOSE:
            self._epoll.modify(sock.fileno(), select.EPOLLIN)
        else:
            self._drop(connection)

    def _wait_for_reader(self, connection: Connection, sent: int) -> None:
        if sent:
            self._table.touch(connection, self._clock())
        if connection.waits is not Waits.WRITE:
            connection.waits = Waits.WRITE
            self._epoll.modify(connection.sock.fileno(), select.EPOLLOUT)
        if sent or connection not in self._backlog:
            self._backlog.put_last(connection)
        while self._backlog.size > MAX_UNSENT:
            self._evict(self._backlog.first(), "unread")

    # Ends of connections.

    def _park(self, connection: Connection, events: int) -> None:
        self._epoll.register(connection.sock.fileno(), events)
        self._table.add(connection)

    def _is_open(self, connection: Connection) -> bool:
        return connection.sock.fileno() >= 0

    def _evict(self, connection: Connection, reason: str) -> None:
        self._counts.count(metrics.EVICTIONS, reason)
        self._log.warning("connection closed", reason=reason, peer=connection.peer)
        self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        """Forget and close a connection, and end the task that works for it, if any."""
        if not self._is_open(connection):
            return
        if connection.scope is not None:
            connection.scope.cancel()
        self._backlog.discard(connection)
        self._epoll.unregister(connection.sock.fileno())
        self._table.remove(connection)
        connection.sock.close()

    def _close_everything(self) -> None:
        for connection in self._table:
            self._table.remove(connection)
            connection.sock.close()
        self._holders.close()
