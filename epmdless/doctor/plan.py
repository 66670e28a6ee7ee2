"""What a walk is told beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from epmdless.config import ResolveSection, RouteSection
from epmdless.net.tls.contexts import TlsFiles


@dataclass(frozen=True, slots=True)
class Plan:
    """What to walk to, and with what.

    :ivar node: as it was given.
    :ivar own_host: the host part of our own names.
    :ivar tls: the certificates for nodes that speak TLS; None: they speak none.
    :ivar server_name: whom the node's certificate is for; None: the host part of its name.
    :ivar cookie: None: the walk ends where it would be needed.
    :ivar asks_epmd: False: nodes here know the port without asking.
    :ivar inetrc: what ``ERL_INETRC`` is set to.
    """

    node: str
    epmd_port: int
    resolve: ResolveSection
    own_host: str
    routes: Sequence[RouteSection] = ()
    tls: TlsFiles | None = None
    server_name: str | None = None
    cookie: bytes | None = field(default=None, repr=False)
    asks_epmd: bool = True
    inetrc: str | None = None
