"""A gateway in a thread of its own, and clients of it that say what a test wants, on blocking sockets."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Literal

from epmdless import metrics
from epmdless.config import decode
from epmdless.gateway.prepared import Prepared, prepare
from epmdless.wire.connect import Response, ResponseReader, encode_connect, encode_options
from epmdless.wire.handshake import Side
from tests.net.tls_ends import client_context
from tests.support.certificates import Issued
from tests.support.deadline import eventually
from tests.support.hops import ALLOW, GATEWAY, GATEWAY_ADDRESS, Certified, gateway_text
from tests.support.link_sides import DEADLINE, FAR_ADDRESS, End, Far, FarHost, Peer, linked
from tests.support.relays import WITHIN, RelayHere, Settings

MANY: Settings = {"max_requests_per_second": 1_000_000}
"""For tests that ask more than a relay would."""

FROM_LOOPBACK: Settings = {**ALLOW, "client": "127.*"}
"""The same without TLS, where a client is its address."""


class Client(Peer):
    """A client of the gateway, its handshake done; later the near end of a tunnel.

    :param context: None: without TLS.
    """

    side = Side.NEAR

    def __init__(
        self, port: int, context: ssl.SSLContext | None, source: str = "127.0.0.1", name: str = GATEWAY
    ) -> None:
        sock = raw(port, source)
        if context is not None:
            try:
                sock = context.wrap_socket(sock, server_hostname=name, suppress_ragged_eofs=False)
            except BaseException:
                sock.close()
                raise
        super().__init__(sock)
        self.rest = b""

    def ask(self, request: bytes, method: Literal["CONNECT", "OPTIONS"] = "CONNECT") -> Response:
        """Send a request, and read its answer."""
        self.sock.sendall(request)
        return self.answer(method)

    def answer(self, method: Literal["CONNECT", "OPTIONS"] = "CONNECT") -> Response:
        """Read an answer; what comes behind it is kept for `read`."""
        reader = ResponseReader(method)
        while (response := reader.next()) is None:
            data = self.rest or self.sock.recv(65536)
            assert data, "no answer"
            self.rest = b""
            reader.receive(data)
        self.rest = reader.rest
        return response

    def connect(self, host: str, port: int, link: str | None = None) -> Response:
        """Ask for a tunnel."""
        return self.ask(encode_connect(host, port, link=link))

    def options(self) -> Response:
        """Ask what it may do."""
        return self.ask(encode_options(GATEWAY), "OPTIONS")

    def read(self, count: int) -> bytes:
        """Read exactly so many bytes."""
        kept, self.rest = self.rest[:count], self.rest[count:]
        return kept + super().read(count - len(kept))

    def close(self) -> None:
        """Say the end of TLS, and close."""
        if isinstance(self.sock, ssl.SSLSocket) and self.sock.fileno() >= 0:
            self.sock.settimeout(0)
            with suppress(OSError):  # the gateway's own end is not waited for
                self.sock.unwrap()
        self.sock.close()

    def end(self) -> tuple[bytes, End]:
        """As a peer's; an end without the end of TLS is a reset."""
        try:
            data, end = super().end()
        except ssl.SSLEOFError:
            return b"", "reset"
        return self.rest + data, end


def raw(port: int, source: str = "127.0.0.1") -> socket.socket:
    """A TCP connection with the gateway, on which nothing was said."""
    return socket.create_connection((GATEWAY_ADDRESS, port), DEADLINE, (source, 0))


def context_of(certified: Certified, issued: Issued | None = None) -> ssl.SSLContext:
    """What the hop's end has, or one with another certificate."""
    return client_context(issued or certified.client, certified.authority)


def stranger(certified: Certified, issued: Issued | None) -> ssl.SSLContext:
    """What a client has that shows this certificate, or none, and believes the gateway."""
    context = client_context(None, certified.authority)
    if issued is not None:
        context.load_cert_chain(issued.cert, issued.key)
    return context


@contextmanager
def gateway(
    certified: Certified | None,
    *allows: Settings,
    keys: Settings | None = None,
    before: str = "",
    hosts: Mapping[str, Sequence[str]] | None = None,
    **more: Any,
) -> Iterator[RelayHere]:
    """A gateway alone.

    :param certified: None: without TLS.
    :param keys: of ``[gateway]``.
    :param before: tables of other sections.
    :param hosts: the names that it can resolve; None: as the system does.
    """
    with RelayHere(before + text(certified, *allows, keys=keys), hosts=hosts, **more) as here:
        yield here


def text(certified: Certified | None, *allows: Settings, keys: Settings | None = None, port: int = 0) -> str:
    """A gateway's configuration."""
    if certified is None:
        return gateway_text(port, "", *(allows or (FROM_LOOPBACK,)), keys=keys or {})
    return gateway_text(port, certified.gateway_tls(), *allows, keys=keys or {})


def prepared(configuration: str) -> Prepared | None:
    """What a reload with this configuration takes on."""
    config = decode(configuration, "test.toml")
    return prepare(config.gateway, config.relay, "test.toml")


def reload(here: RelayHere, configuration: str) -> None:
    """Have a gateway that runs take on another configuration."""
    here.call(here.gateway.take_on, prepared(configuration), here.lines)


def tunnelled(client: Client, far_host: FarHost, address: str = FAR_ADDRESS) -> Far:
    """Open a tunnel and link two nodes through it."""
    assert client.connect(address, far_host.port).status == 200
    return linked(client, far_host)  # type: ignore[arg-type]


def closed(here: RelayHere, reason: str) -> float:
    """How many connections were closed for a reason."""
    return here.counts.value(metrics.GATEWAY_CLOSED, reason)


def answered(here: RelayHere, status: int) -> float:
    """How many requests were answered so."""
    return here.counts.value(metrics.GATEWAY_REQUESTS, str(status))


def connections(here: RelayHere) -> dict[str, int]:
    """The gauge of connections, by state."""
    return {
        state: int(here.call(here.counts.value, metrics.GATEWAY_CONNECTIONS, state))
        for state in ("handshake", "ready", "tunnel")
    }


def wait_for(here: RelayHere, **states: int) -> None:
    """Wait until the gateway has so many connections in each state, and none in others."""
    wanted = {"handshake": 0, "ready": 0, "tunnel": 0, **states}
    eventually(
        lambda: connections(here) == wanted, within=WITHIN, what=lambda: f"{wanted}, not {connections(here)}"
    )


def warnings(here: RelayHere, event: str = "client refused") -> list[Mapping[str, Any]]:
    """The log's lines of one kind."""
    return [line for line in list(here.lines) if line["event"] == event]


def wait_for_closed(here: RelayHere, reason: str, count: int = 1) -> None:
    """Wait until so many connections were closed for a reason."""
    eventually(
        lambda: closed(here, reason) >= count, within=WITHIN, what=lambda: f"{reason} among {here.lines[-5:]}"
    )
