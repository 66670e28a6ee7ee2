"""The gateway's server: its port, the limits that its clients meet, and what becomes of their requests."""

from __future__ import annotations

import socket
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from socket import SocketType
from typing import NamedTuple

import trio

from epmdless import metrics
from epmdless.addresses import Endpoint, ListenPlan
from epmdless.gateway.prepared import Prepared
from epmdless.gateway.refusal import RefusalError
from epmdless.gateway.session import Session, State, Tunnel
from epmdless.gateway.tunnels import Tunnels
from epmdless.grants import Allowance
from epmdless.links.carrier import Carrier
from epmdless.log import Log
from epmdless.metrics import Metrics
from epmdless.net.accepting import Acceptor, Listener
from epmdless.net.faults import note_fault
from epmdless.net.listener_set import ListenerSet
from epmdless.net.listeners import endpoint_of, has_address, usable_descriptors
from epmdless.net.plain import PlainConnection, trio_socket
from epmdless.net.rounds import Rounds
from epmdless.net.tls.connection import TlsConnection
from epmdless.net.tls.contexts import Certificates
from epmdless.net.tls.keeper import CertificateKeeper
from epmdless.net.turns import Turns
from epmdless.policy import plain_address
from epmdless.wire.connect import ConnectRequest
from epmdless.wire.proxy_status import ProxyError

HOUSEKEEPING = 5.0
"""Seconds between looks at the listener, if a shortage made the accepting stop: the next end of a connection,
which is a sooner sign of room, may never come."""

MAX_ADDRESSES = 4096
"""Client addresses whose rate is remembered; the one that was silent for longest is forgotten."""


class Gateway:
    """Serves CONNECT for the configuration in force; without one, nothing.

    :param carrier: carries the tunnels.
    :param is_ours: whether dialling an address and port would lead back to another part of this process.
    :param descriptor_limit: the process's limit on file descriptors.
    :param others: descriptors that others in the process hold now, links aside.
    """

    def __init__(
        self,
        rounds: Rounds,
        counts: Metrics,
        log: Log,
        carrier: Carrier,
        keeper: CertificateKeeper,
        is_ours: Callable[[str, int], bool],
        *,
        descriptor_limit: int,
        others: Callable[[], int],
    ) -> None:
        self.turns = Turns()
        self._rounds = rounds
        self._counts = counts
        self._log = log
        self._carrier = carrier
        self._keeper = keeper
        self._is_ours = is_ours
        self._capacity = usable_descriptors(descriptor_limit)
        self._others = others
        self._in_force: Prepared | None = None
        self._certificates: Certificates | None = None
        self._listening = ListenerSet([], log)
        self._acceptor = Acceptor(
            rounds, counts, log, is_full=lambda: False, make_room=self._shed, take=self._accepted
        )
        self._sessions: dict[State, dict[Session, None]] = {state: {} for state in State}
        self._tunnels = Tunnels(rounds, counts, carrier, lambda: self.in_force, self._leads_back, self)
        self._rates: OrderedDict[str, _Allowed] = OrderedDict()
        self._draining = False
        carrier.freed.append(self._acceptor.resume)
        for state in State:
            counts.gauge(metrics.GATEWAY_CONNECTIONS, partial(self._count, state), (state.value,))

    # Configuration.

    def take_on(self, prepared: Prepared | None, log: Log) -> None:
        """Make a configuration the one in force. Tunnels are not touched.

        :raises ListenError: the address cannot be had; then all is as it was.
        """
        listen = () if prepared is None else (prepared.section.listen.endpoint(0),)
        self._listening.change(ListenPlan(listen), self._acceptor.listen_on)
        if self._knows_clients_otherwise(prepared):
            self._end_waiting()
        self._in_force = prepared or self._in_force  # for tunnels that are being set up
        self._log = log
        if prepared is None or prepared.certificates is None:
            self._keeper.forget("gateway")
            self._certificates = None
        else:
            self._renew(prepared.certificates)
            self._keeper.keep("gateway", prepared.certificates, self._renew)

    def _knows_clients_otherwise(self, prepared: Prepared | None) -> bool:
        """Whether those who wait have no right to it any more: nobody asked them for a certificate."""
        return prepared is None or (prepared.certificates is None) is not (self._certificates is None)

    def _renew(self, certificates: Certificates) -> None:
        """Take on new certificates; with other CAs, who waits and was let in by the old must come again."""
        if self._certificates is not None and certificates.trusted != self._certificates.trusted:
            self._end_waiting()
        self._certificates = certificates

    @property
    def in_force(self) -> Prepared:
        """The configuration in force, or the last one that was. Nobody asks where there was none."""
        assert self._in_force is not None, "a connection came in through it"
        return self._in_force

    def _leads_back(self, host: str, port: int) -> bool:
        return self.is_ours(host, port) or self._is_ours(host, port)

    @property
    def listeners(self) -> Sequence[socket.socket]:
        """The sockets that it listens on."""
        return self._listening.listeners

    @property
    def descriptors(self) -> int:
        """Descriptors that the gateway holds now, but for those of links."""
        waiting = (State.HANDSHAKE, State.READY, State.LEAVING)
        return sum(len(self._sessions[state]) for state in waiting) + 2 * self._tunnels.questions

    def is_ours(self, host: str, port: int) -> bool:
        """Whether dialling there would lead back here."""
        ip = plain_address(host)
        for listener in self._listening.listeners:
            own = endpoint_of(listener)
            if port == own.port and (
                ip.is_unspecified or own.host == str(ip) or _is_covered(own.host, str(ip))
            ):
                return True
        return False

    # Running.

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        try:
            async with trio.open_nursery() as self._nursery:
                task_status.started()
                while True:
                    await trio.sleep(HOUSEKEEPING)
                    self._acceptor.resume()
        finally:
            self.close()

    def close(self) -> None:
        """Accept no more, and refuse what is asked; connections that wait are closed."""
        self._draining = True
        self._acceptor.listen_on([])
        self._listening.close()
        self._end_waiting()

    def _end_waiting(self) -> None:
        """Close the connections that have no tunnel."""
        for state in (State.HANDSHAKE, State.READY):
            for session in list(self._sessions[state]):
                session.scope.cancel()

    # Accepting.

    def _accepted(self, sock: SocketType, address: tuple[str, int], listener: Listener) -> None:
        host = str(plain_address(address[0]))
        reason = self._reason_to_close(host)
        if reason in ("max_connections", "descriptors") and self._shed():
            reason = None
        if reason is not None:
            sock.close()
            self._counts.count(metrics.GATEWAY_CLOSED, reason)
            self._log.warning("connection refused", client=str(Endpoint(host, address[1])), reason=reason)
            return
        if len(self._sessions[State.HANDSHAKE]) >= self.in_force.section.max_handshakes:
            self._shed()
        session = self._session(sock, host, str(Endpoint(host, address[1])))
        # Now: the tasks of a batch begin after it, in any order.
        self._sessions[State.HANDSHAKE][session] = None
        self._nursery.start_soon(self._serve_client, session)

    def _reason_to_close(self, host: str) -> str | None:
        """Which limit a new connection would pass."""
        if not self._may(host, "connections"):
            return "rate"
        if sum(map(self._count, State)) >= self.in_force.section.max_connections:
            return "max_connections"
        if self._carrier.descriptors + self.descriptors + 2 + self._others() > self._capacity:
            return "descriptors"
        return None

    def _shed(self) -> bool:
        """Give up a connection that has not proved who it is; False: there is none.

        The oldest one of the address that has most of them: strangers crowd out themselves first.
        """
        waiting = self._sessions[State.HANDSHAKE]
        if not waiting:
            return False
        ((crowd, _),) = Counter(session.host for session in waiting).most_common(1)
        oldest = next(session for session in waiting if session.host == crowd)
        del waiting[oldest]
        oldest.scope.cancel()  # first: its task must not meet a closed socket
        oldest.connection.close()
        self._counts.count(metrics.GATEWAY_CLOSED, "shed")
        return True

    def _may(self, host: str, what: str) -> bool:
        """Whether an address may do one more of something in this second."""
        rate, now = self.in_force.section.max_requests_per_second, self._rounds.clock()
        allowed = self._rates.pop(f"{what} {host}", None) or _Allowed(float(rate), now)
        level = min(allowed.level + (now - allowed.at) * rate, float(rate))
        # What is refused costs nothing: else who asks too often would get nothing at all.
        self._rates[f"{what} {host}"] = _Allowed(level - 1 if level >= 1 else level, now)
        if len(self._rates) > MAX_ADDRESSES:
            self._rates.popitem(last=False)
        return level >= 1

    def _session(self, sock: SocketType, host: str, address: str) -> Session:
        self.in_force.options.apply(sock)
        trio_sock = trio_socket(sock)
        certificates = self._certificates
        connection = (
            PlainConnection(trio_sock)
            if certificates is None
            else TlsConnection(trio_sock, certificates.context)
        )
        return Session(connection, host, address, self, self._move)

    async def _serve_client(self, session: Session) -> None:
        try:
            await session.run()
        except Exception as error:  # noqa: BLE001 - one client's fault must not end the others
            note_fault(self._counts, self._log, error)
            session.connection.close()
        finally:
            for sessions in self._sessions.values():
                sessions.pop(session, None)
            self._acceptor.resume()

    def _count(self, state: State) -> int:
        """How many connections are at something; those of tunnels are the pump's once they are up."""
        return len(self._sessions[state]) + (self._tunnels.carried if state is State.TUNNEL else 0)

    def _move(self, session: Session) -> None:
        for sessions in self._sessions.values():
            sessions.pop(session, None)
        self._sessions[session.state][session] = None
        leaving = self._sessions[State.LEAVING]
        if len(leaving) > self.in_force.section.max_handshakes:
            next(iter(leaving)).scope.cancel()

    # What sessions ask.

    @property
    def request_timeout(self) -> float:
        """Seconds for the TLS handshake, and for a request."""
        return self.in_force.section.request_timeout

    @property
    def ready_timeout(self) -> float:
        """Seconds for which a client may wait before it asks."""
        return self.in_force.section.ready_timeout

    def allowance(self, names: tuple[str, ...]) -> Allowance:
        """What a client of these names may do, now."""
        return self.in_force.grants.for_client(names)

    def count_request(self, status: int) -> None:
        """Count an answer."""
        self._counts.count(metrics.GATEWAY_REQUESTS, str(status))

    def note_refused(self, session: Session, reason: str, detail: str) -> None:
        """Count and log a connection that is closed for what it did, or did not."""
        self._counts.count(metrics.GATEWAY_CLOSED, reason)
        self._log_refused(session, reason, detail)

    def note_denied(self, session: Session, request: ConnectRequest, error: RefusalError) -> None:
        """Log a lookup that is refused: one that is for a link has that link's own line."""
        target = str(Endpoint(request.host, request.port))
        self._log_refused(session, str(error.status), f"lookup at {target}: {error.detail}")

    def _log_refused(self, session: Session, reason: str, detail: str) -> None:
        names = {} if session.names in ((), (session.host,)) else {"name": session.names[0]}
        self._log.warning("client refused", client=session.address, **names, reason=reason, error=detail)

    def admit(self, session: Session) -> None:
        """Take one more request. Raises RefusalError."""
        if self._draining:
            raise RefusalError(ProxyError.CONNECTION_LIMIT_REACHED, "the gateway stops")
        if not self._may(session.host, "requests"):
            raise RefusalError(ProxyError.CONNECTION_LIMIT_REACHED, "max_requests_per_second")

    async def open_tunnel(self, session: Session, request: ConnectRequest) -> Tunnel:
        """Connect to what a request asks for. Raises RefusalError."""
        return await self._tunnels.open(session, request, self.allowance(session.names))


class _Allowed(NamedTuple):
    """What is left of an address's rate, at a time in seconds."""

    level: float
    at: float


def _is_covered(own: str, address: str) -> bool:
    """Whether a socket that listens on all addresses of a family has this one."""
    wildcard = "::" if ":" in address else "0.0.0.0"
    return own == wildcard and has_address(address)
