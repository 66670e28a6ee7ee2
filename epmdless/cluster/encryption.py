"""Whether nodes are spoken to by TLS, as those that run with ``-proto_dist inet_tls`` want it.

Such a node is connected to by TLS first; then all is as over TCP, but for the length word of the handshake's
messages, which has four bytes.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass

import trio

from epmdless.cluster.shaking import OwnedConnection
from epmdless.cluster.trouble import NodeError
from epmdless.net.tls.connection import TlsConnection
from epmdless.net.tls.contexts import Certificates, TlsFiles, load_client_context
from epmdless.net.tls.problems import Code, explain
from epmdless.wire.handshake import Framing

ABOUT_CERTIFICATES: frozenset[Code] = frozenset(
    {
        "no_certificate",
        "unknown_ca",
        "expired",
        "not_yet_valid",
        "name_mismatch",
        "wrong_purpose",
        "revoked",
        "bad_certificate",
    }
)

SILENT = "it does not answer with TLS in time: does it speak TLS?"

NO_TLS = "it does not answer with TLS"


@dataclass(frozen=True, slots=True)
class Encryption:
    """How nodes are spoken to.

    :ivar certificates: ours, and whom we trust; None: without TLS.
    """

    certificates: Certificates | None = None

    @property
    def framing(self) -> Framing:
        """Of the handshake's messages."""
        return Framing.TCP if self.certificates is None else Framing.TLS

    async def begin(self, sock: trio.socket.SocketType, host: str, seconds: float) -> OwnedConnection:
        """Make a connection that is up what the node expects. It owns the socket, which an error closes.

        :param host: whom the node's certificate must be for.
        :param seconds: for TLS. A node that does not speak it takes what we say for the beginning of a long
            message and waits for the rest, so it must be less than the whole set-up has.
        :raises NodeError: TLS does not come about.
        """
        if self.certificates is None:
            return sock
        try:
            connection = TlsConnection(sock, self.certificates.context, server_hostname=host)
            with trio.fail_after(seconds):
                await connection.handshake()
        except trio.TooSlowError:
            sock.close()
            raise NodeError("tls", SILENT) from None
        except OSError as error:
            sock.close()
            raise _refused(error, host) from None
        except ValueError:  # no name that TLS could ask for, such as one that begins with a dot
            sock.close()
            raise NodeError("certificate", "no certificate can be for its host") from None
        except BaseException:
            sock.close()
            raise
        return connection


def load_node_context(files: TlsFiles, key: str) -> ssl.SSLContext:
    """Whom nodes see, and which nodes we trust: as a hop, and without its protocol inside.

    :raises ConfigError: a file is not what it must be.
    """
    context = load_client_context(files, key)
    context.set_alpn_protocols([])
    return context


def broken(error: OSError, host: str) -> NodeError:
    """What it means that a connection broke in the handshake of the nodes.

    With TLS 1.3 what the node says of our certificate comes only then.

    :param host: of the node, or its name.
    """
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
        return _refused(error, host)
    return NodeError("closed", error.strerror or "")


def _refused(error: OSError, host: str) -> NodeError:
    problem = explain(error, peer=host, side="client")
    if problem.code in ABOUT_CERTIFICATES:
        return NodeError("certificate", problem.text)
    return NodeError("tls", NO_TLS if problem.code == "not_tls" else problem.text)
