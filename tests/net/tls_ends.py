"""Both ends of TLS in memory: what each says goes to the other, as far as they get."""

import ssl

from epmdless.net.tls.contexts import TlsFiles, Versions, load_client_context, load_server_context
from tests.support.certificates import Authority, Issued

GATEWAY = "gw.az-b.internal"
RELAY = "relay.az-a.internal"

ROUNDS = 8
"""More than any handshake takes, tickets and alerts included."""


class End:
    """One end: it shakes hands, then reads all that comes, until it fails.

    :ivar error: what it failed with.
    :ivar received: plain text that came.
    :ivar has_ended: the peer said its end.
    """

    def __init__(
        self, context: ssl.SSLContext, host: str | None = None, session: ssl.SSLSession | None = None
    ) -> None:
        """Begin as a client that asks for a host, or as a server."""
        self.incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self.incoming,
            self._outgoing,
            server_side=host is None,
            server_hostname=host,
            session=session,
        )
        self.is_ready = False
        self.error: ssl.SSLError | None = None
        self.received = b""
        self.has_ended = False

    def said(self) -> bytes:
        """Go on as far as it can; what it has to say."""
        if self.error is None and not self.has_ended:
            try:
                self._go_on()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError as error:
                self.error = error
        return self._outgoing.read()

    def _go_on(self) -> None:
        if not self.is_ready:
            self.tls.do_handshake()
            self.is_ready = True
        while data := self.tls.read(16384):
            self.received += data
        self.has_ended = True

    def failure(self) -> ssl.SSLError:
        assert self.error is not None, "it did not fail"
        return self.error


def shake(client: End, server: End) -> None:
    """Let them talk until they have nothing more to say."""
    for _ in range(ROUNDS):
        for end, other in ((client, server), (server, client)):
            other.incoming.write(end.said())


def shaken(
    client: ssl.SSLContext,
    server: ssl.SSLContext,
    host: str = GATEWAY,
    session: ssl.SSLSession | None = None,
) -> tuple[End, End]:
    """A client that asks for a host and a server, after all they had to say."""
    ends = End(client, host, session), End(server)
    shake(*ends)
    return ends


def both_ready(client: End, server: End) -> bool:
    return client.is_ready and server.is_ready and client.error is None and server.error is None


def files(issued: Issued | None, authority: Authority, min_version: Versions = "1.3") -> TlsFiles:
    """What an end is configured with that has this certificate and believes this CA."""
    cert, key = (str(issued.cert), str(issued.key)) if issued else (None, None)
    return TlsFiles(cert, key, str(authority.ca), min_version)


def server_context(
    issued: Issued | None, authority: Authority, min_version: Versions = "1.3"
) -> ssl.SSLContext:
    return load_server_context(files(issued, authority, min_version), "gateway.tls")


def client_context(
    issued: Issued | None, authority: Authority, min_version: Versions = "1.3"
) -> ssl.SSLContext:
    return load_client_context(files(issued, authority, min_version), "hop.az-b.tls")


def only_tls12(context: ssl.SSLContext) -> ssl.SSLContext:
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context
