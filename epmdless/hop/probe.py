"""A look at the gateways of a hop from outside: what an operator wants to know before a node needs it.

Each is asked on a connection of its own what we may do there (``OPTIONS *``). That is more than a question
of rights: in TLS 1.3 a client's handshake is over before the server has looked at the client's certificate,
so only an answer shows that it is wanted. A CONNECT proxy that is no gateway of ours tells nothing; whether
it is one at all is found out by asking it for a host that does not exist.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import msgspec
import trio

from epmdless.addresses import is_address
from epmdless.config import HostPort
from epmdless.errors import EpmdlessError, RemoteProtocolError
from epmdless.hop.gateway import READ_SIZE, Connection, Standing
from epmdless.hop.trouble import trouble_of
from epmdless.net.dialing import DialError, dial
from epmdless.net.plain import PlainConnection, send_all
from epmdless.net.tls.connection import TlsConnection
from epmdless.net.tls.identity import peer_certificate, peer_names, peer_not_after
from epmdless.net.tls.problems import explain
from epmdless.wire.connect import Response, ResponseReader, encode_connect, encode_options

ANSWER_SECONDS = 10.0
"""For an answer: a gateway takes up to its ``dial_timeout``, 5 s by default, to reach a target."""

NOWHERE = HostPort("epmdless-check.invalid", 4369)
"""What a proxy is asked for that tells nothing of itself; it never resolves (RFC 2606 §2)."""

_NO_CONNECT = (400, 405, 501)
"""What a web server that is no proxy answers to CONNECT."""

_CERTIFICATE_REQUEST = 13
"""The handshake message by which a server asks for a certificate (RFC 8446 §4)."""


class Certificate(NamedTuple):
    """Whom a certificate is for, and when it ends, in seconds since the epoch."""

    names: tuple[str, ...]
    not_after: float


class Secured(NamedTuple):
    """What TLS came to: its version as ``1.3``, the cipher, the gateway's certificate."""

    version: str
    cipher: str
    certificate: Certificate


class Allowed(msgspec.Struct, frozen=True):
    """Targets that a gateway allows us, as its configuration has them."""

    hosts: tuple[str, ...]
    ports: tuple[str, ...]
    nodes: tuple[str, ...]


class Told(msgspec.Struct, frozen=True):
    """What a gateway of ours tells: by which names it knows us, and what it allows."""

    client: tuple[str, ...]
    allow: tuple[Allowed, ...]


class ProbeError(EpmdlessError):
    """Something is wrong with a gateway.

    :ivar code: one of problems.CODES where TLS failed, else a word of this module's.
    """

    def __init__(self, code: str, text: str) -> None:
        self.code = code
        super().__init__(text)


@dataclass(slots=True)
class Report:
    """What was found out about a gateway; None: nothing, mostly since something failed before.

    :ivar address: the IP address that answered.
    :ivar tls: None as well for a hop without TLS.
    :ivar round_trip: seconds, of a request on the connection that is up.
    :ivar told: None as well for a proxy that is no gateway of ours.
    :ivar answer: to the request for a tunnel to the target, if there was one.
    :ivar problem: what is wrong with it; None: it is good.
    """

    gateway: HostPort
    address: str | None = None
    tls: Secured | None = None
    round_trip: float | None = None
    told: Told | None = None
    answer: Response | None = None
    problem: ProbeError | None = None


async def probe_hop(
    standing: Standing, *, seconds: float | None = None, target: HostPort | None = None
) -> list[Report]:
    """Look at all gateways of a hop at once.

    :param seconds: for the connection, with TLS, and again for each answer; None: the hop's
        ``connect_timeout``, and `ANSWER_SECONDS`.
    :param target: what to ask each gateway for a tunnel to; None: nothing.
    :returns: a report on each, in the configuration's order.
    :raises LocalProtocolError: the target cannot be asked for.
    """
    asked_for = target or NOWHERE
    request = encode_connect(asked_for.host, asked_for.port, credentials=standing.credentials)
    asking = _Asking(standing)
    probes = [
        _Probe(standing, where, asking, seconds, request, has_target=target is not None)
        for where in standing.section.gateways
    ]
    async with trio.open_nursery() as nursery:
        for probe in probes:
            nursery.start_soon(probe.run)
    return [probe.report for probe in probes]


class _Asking:
    """Notices which servers ask for our certificate: one that does not cannot know who we are.

    No public function tells. CPython has shown messages to a callback since 3.8, for its own tests; where
    it does not, every server is taken for one that asked.
    """

    def __init__(self, standing: Standing) -> None:
        certificates = standing.certificates
        self._matters = (
            certificates is not None
            and certificates.files.cert is not None
            and hasattr(certificates.context, "_msg_callback")
        )
        self._seen: set[object] = set()
        if certificates is not None and self._matters:
            context: Any = certificates.context
            context._msg_callback = self._look

    def has_asked(self, tls: ssl.SSLObject) -> bool:
        return not self._matters or tls in self._seen

    def _look(self, tls: object, direction: str, *message: Any) -> None:
        if direction == "read" and message[2] == _CERTIFICATE_REQUEST:
            self._seen.add(tls)


class _Probe:
    """The look at one gateway.

    :param request: for a tunnel.
    :param has_target: whether that leads to a target of somebody's, and not nowhere.
    """

    def __init__(
        self,
        standing: Standing,
        where: HostPort,
        asking: _Asking,
        seconds: float | None,
        request: bytes,
        *,
        has_target: bool,
    ) -> None:
        self.report = Report(where)
        self._standing = standing
        self._where = where
        self._peer = str(where)
        self._asking = asking
        self._connect_seconds = seconds or float(standing.section.connect_timeout)
        self._answer_seconds = seconds or ANSWER_SECONDS
        self._request = request
        self._has_target = has_target

    async def run(self) -> None:
        """Find out what can be; nothing is raised."""
        try:
            await self._ask_what_is_allowed()
            if self._has_target:
                await self._ask_for_target()
            elif self.report.told is None:
                await self._ask_for_nowhere()
        except ProbeError as error:
            self.report.problem = error

    # Questions

    async def _ask_what_is_allowed(self) -> None:
        connection = await self._connect()
        try:
            self.report.told = _told(await self._ask_and_time(connection))
            if self.report.told is not None:  # once more: within the first the gateway looked at who we are
                await self._ask_and_time(connection)
        except RemoteProtocolError:  # many a proxy does not know the question, and some hang up on it
            pass
        finally:
            connection.close()
        told = self.report.told
        if isinstance(connection, TlsConnection) and not self._asking.has_asked(connection.tls):
            text = f"{self._peer} asks for no certificate: it cannot know that it is us, and lets others in"
            raise ProbeError("not_asked", text)
        if told is not None and not told.allow:
            names = ", ".join(told.client) or "nobody: our certificate has no names"
            text = f"{self._peer} allows us nothing: no [[gateway.allow]] there is for {names}"
            raise ProbeError("nothing_allowed", text)

    async def _ask_and_time(self, connection: Connection) -> Response:
        """Ask what is allowed. Raises as `_exchange` does."""
        started = trio.current_time()
        response = await self._exchange(connection, encode_options(self._peer), "OPTIONS")
        self.report.round_trip = trio.current_time() - started
        return response

    async def _ask_for_target(self) -> None:
        response = self.report.answer = await self._ask_for_tunnel()
        if not 200 <= response.status < 300:
            error = trouble_of(response, self._peer)
            raise ProbeError(f"target_{error.trouble}", str(error))

    async def _ask_for_nowhere(self) -> None:
        try:
            response = await self._ask_for_tunnel()
        except ProbeError as error:
            if error.code == "no_answer":  # it looks for the name, as a proxy does
                return
            raise
        if response.status in _NO_CONNECT:
            text = f"{self._peer} answered {response.status} {response.reason}".rstrip()
            raise ProbeError("no_proxy", f"{text} to CONNECT: it is no proxy, or not for us")

    async def _ask_for_tunnel(self) -> Response:
        connection = await self._connect()
        try:
            response = await self._exchange(connection, self._request, "CONNECT")
        except RemoteProtocolError as error:
            raise self._is_no_http(error) from None
        finally:
            connection.close()
        if response.status == 407:
            wants = "does not take the user and password of auth"
            if self._standing.credentials is None:
                wants = "wants a user and a password: set auth"
            raise ProbeError("auth", f"{self._peer} {wants}")
        return response

    def _is_no_http(self, error: RemoteProtocolError) -> ProbeError:
        text = f"{self._peer} is no CONNECT proxy: {error.detail}"
        if self._standing.certificates is None:
            text += "; if a gateway is there, it may want TLS: give the hop a tls table"
        return ProbeError("no_proxy", text)

    async def _exchange(
        self, connection: Connection, request: bytes, method: Literal["CONNECT", "OPTIONS"]
    ) -> Response:
        """Ask, and take the answer.

        :raises RemoteProtocolError: it is no answer.
        :raises ProbeError: there is none.
        """
        with trio.move_on_after(self._answer_seconds):
            try:
                return await _converse(connection, request, ResponseReader(method))
            except OSError as error:
                raise self._failed(error) from None
        text = f"{self._peer} did not answer {method} within {self._answer_seconds:g} s"
        raise ProbeError("no_answer", text)

    # Connecting

    async def _connect(self) -> Connection:
        """Make a connection, up to the end of TLS. Raises ProbeError."""
        with trio.move_on_after(self._connect_seconds):
            try:
                sock = await dial(self._where.host, self._where.port, lambda host, port: False)
            except DialError as error:
                text = str(error) if is_address(self._where.host) else f"{self._peer}: {error}"
                raise ProbeError("unknown_host" if error.unknown else "not_reached", text) from None
            try:
                return await self._secure(sock)
            except BaseException:
                sock.close()
                raise
        if self.report.address is not None:
            raise self._failed(TimeoutError())
        text = f"no answer from {self._peer} within {self._connect_seconds:g} s: a firewall may drop it"
        raise ProbeError("no_answer", text)

    async def _secure(self, sock: trio.socket.SocketType) -> Connection:
        with suppress(OSError):  # reset already: the first read says so
            self.report.address = sock.getpeername()[0]
        certificates, table = self._standing.certificates, self._standing.section.tls_table
        if certificates is None or table is None:
            return PlainConnection(sock)
        host = (table.server_name or self._where.host).removesuffix(".")
        connection = TlsConnection(sock, certificates.context, server_hostname=host)
        try:
            await connection.handshake()
        except OSError as error:
            raise self._failed(error) from None
        self.report.tls = _secured(connection.tls)
        return connection

    def _failed(self, error: OSError) -> ProbeError:
        code, text = explain(error, peer=self._peer, side="client")
        return ProbeError(code, text)


async def _converse(connection: Connection, request: bytes, reader: ResponseReader) -> Response:
    """Ask, and take the answer. Raises OSError, RemoteProtocolError."""
    with suppress(OSError):  # it has closed already: the read tells why
        await send_all(connection, request)
    while (response := reader.next()) is None:
        reader.receive(await connection.recv(READ_SIZE))
    return response


def _secured(tls: ssl.SSLObject) -> Secured:
    certificate = peer_certificate(tls)
    cipher = tls.cipher()
    return Secured(
        (tls.version() or "").removeprefix("TLSv"),
        cipher[0] if cipher else "",
        Certificate(peer_names(certificate), peer_not_after(certificate)),
    )


def _told(response: Response) -> Told | None:
    """What a gateway of ours tells; None: it is none."""
    if response.status != 200:
        return None
    try:
        return msgspec.json.decode(response.body, type=Told)
    except (msgspec.MsgspecError, RecursionError):
        return None
