"""``[hop.NAME]``: the near end of a hop: which gateways carry its links, and how they are asked."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from epmdless.config.checks import check_path, is_wildcard
from epmdless.config.client_tls import ClientTlsSection
from epmdless.config.errors import SectionError
from epmdless.config.gateway import TlsVersion
from epmdless.config.values import Duration, HostPort, Section, Size

MAX_GATEWAYS = 64
"""Of one hop; each is probed, and has its own ready connections."""

MIN_RATE = Size(4096)
"""Bytes per second; with less, a tick could wait behind other bytes for longer than the BEAM waits for it."""


class HopTlsSection(ClientTlsSection, frozen=True):
    """``[hop.NAME.tls]``.

    Without `cert` and `key` the other end knows us by `auth`, or not at all. A gateway's certificate must be
    for `server_name`; absent: for each gateway's own host.
    """

    min_version: TlsVersion = "1.3"


class HopSection(Section, frozen=True):
    """``[hop.NAME]``: gateways that lead to the same far subnet."""

    gateways: tuple[HostPort, ...]
    balance: Literal["order", "least_loaded"] = "order"
    """Which gateway a new link takes, of those that work: the first, or the one with the fewest links."""
    ready: Annotated[int, msgspec.Meta(ge=0, le=256)] = 4
    """Ready connections that are kept to each gateway."""
    ready_for: Duration = Duration(120)
    """A ready connection is replaced at this age."""
    connect_timeout: Duration = Duration(2)
    """For TCP and TLS to one gateway."""
    auth: str | None = None
    """Path of a file with ``user:password``, for another CONNECT proxy; absent: none is sent."""
    lookup_ttl: Duration = Duration(1)
    """How long EPMD answers that came through the hop are kept; 0s: not at all."""
    rate: Size | None = None
    """Bytes per second of all links of the hop, in each direction; absent: no limit."""
    link_rate: Size | None = None
    """The same for each link."""
    tls: HopTlsSection | bool = True
    """Its own table, or false: for a hop that is private already."""

    def __post_init__(self) -> None:
        self._check_gateways()
        if self.tls is True:
            raise SectionError("tls", "needs a [hop.NAME.tls] table with cert, key and ca, or tls = false")
        for key, duration in (("ready_for", self.ready_for), ("connect_timeout", self.connect_timeout)):
            if duration <= 0:
                raise SectionError(key, "must be more than 0s")
        if self.auth is not None:
            check_path("auth", self.auth, of_secret=True)
        self._check_rates()

    @property
    def tls_table(self) -> HopTlsSection | None:
        """The table of TLS; None: without TLS."""
        return None if isinstance(self.tls, bool) else self.tls

    def _check_gateways(self) -> None:
        if not 1 <= len(self.gateways) <= MAX_GATEWAYS:
            raise SectionError("gateways", f"a hop has 1 to {MAX_GATEWAYS} gateways")
        seen = dict[tuple[str, int], int]()
        for number, gateway in enumerate(self.gateways):
            if is_wildcard(gateway.host):
                raise SectionError(f"gateways[{number}]", f"{gateway.host} is no host's address")
            same = seen.setdefault((gateway.host.casefold().removesuffix("."), gateway.port), number)
            if same != number:
                raise SectionError(f"gateways[{number}]", f"{gateway} is gateways[{same}] again")

    def _check_rates(self) -> None:
        for key, rate in (("rate", self.rate), ("link_rate", self.link_rate)):
            if rate is not None and rate < MIN_RATE:
                raise SectionError(key, f"must be at least {MIN_RATE}, or a tick would wait too long")
        if self.rate is not None and self.link_rate is not None and self.link_rate > self.rate:
            raise SectionError("link_rate", f"{self.link_rate} is more than the {self.rate} of rate")
