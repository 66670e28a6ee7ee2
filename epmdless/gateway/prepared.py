"""A configuration of the gateway with all that belongs to it."""

from __future__ import annotations

from dataclasses import dataclass

from epmdless.config import GatewaySection, RelaySection
from epmdless.grants import Grants
from epmdless.links.sockets import SocketOptions
from epmdless.net.tls.contexts import Certificates, TlsFiles, load_server_context
from epmdless.net.tls.keeper import load_certificates


@dataclass(frozen=True, slots=True)
class Prepared:
    """A configuration of the gateway that was checked, and is not in force yet.

    :ivar certificates: None: without TLS.
    :ivar options: what its sockets are told.
    :ivar frames: whether frames are counted.
    """

    section: GatewaySection
    grants: Grants
    certificates: Certificates | None
    options: SocketOptions
    frames: bool


def prepare(section: GatewaySection | None, relay: RelaySection, source: str) -> Prepared | None:
    """Load what a configuration names. Blocks as long as reading small files takes.

    :param section: None: there is no gateway.
    :param relay: says how all links of the process are carried.
    :param source: the configuration's file, for errors.
    :raises ConfigError: a file is not what it must be.
    """
    if section is None:
        return None
    certificates = None
    if (tls := section.tls_table) is not None:
        files = TlsFiles(tls.cert, tls.key, tls.ca, tls.min_version)
        certificates = load_certificates(files, "gateway.tls", load_server_context, source)
    options = SocketOptions(relay.keepalive, relay.user_timeout)
    return Prepared(section, section.build_grants(), certificates, options, relay.frames)
