"""The tables of an EPMD server's configuration: ``[epmd]``, ``[resolve]``, ``[metrics]``, ``[log]``."""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec

from epmdless.config.checks import check_host
from epmdless.config.regexes import repeats_repeats
from epmdless.config.values import Address, Duration, Port, Section
from epmdless.names import can_register
from epmdless.policy import Network
from epmdless.schemes import (
    HIGHEST_PORT,
    CaravanScheme,
    FixedScheme,
    OffsetScheme,
    PatternScheme,
    Scheme,
    SuffixScheme,
)

ResolverName = Literal["registered", "scheme", "static", "srv", "peers"]


class AccessSection(Section, frozen=True):
    """``[epmd.access]``: the networks from which a command is answered; absent = from everywhere."""

    lookup: tuple[Network, ...] | None = None
    names: tuple[Network, ...] | None = None


class EpmdSection(Section, frozen=True):
    """``[epmd]``: the EPMD server."""

    listen: tuple[Address, ...] | None = None
    """Absent: as epmd, all interfaces on 4369, or what ERL_EPMD_ADDRESS and ERL_EPMD_PORT say."""
    packet_timeout: Duration = Duration(60)
    relaxed_command_check: bool | None = None
    """Absent: whether ERL_EPMD_RELAXED_COMMAND_CHECK is set."""
    access: AccessSection = AccessSection()

    def __post_init__(self) -> None:
        if self.packet_timeout <= 0:
            raise ValueError("packet_timeout must be more than 0s")


class SuffixSection(Section, frozen=True, tag_field="kind", tag="suffix"):
    """``NAME-PORT``."""

    def build(self) -> Scheme:
        """The scheme that this section describes."""
        return SuffixScheme()


class CaravanSection(Section, frozen=True, tag_field="kind", tag="caravan"):
    """The digits that end the name, else `default`."""

    default: Port = 4370

    def build(self) -> Scheme:
        """The scheme that this section describes."""
        return CaravanScheme(self.default)


class OffsetSection(Section, frozen=True, tag_field="kind", tag="offset"):
    """``base + trailing integer mod modulo``."""

    base: Port = 4370
    modulo: Port = 60000

    def __post_init__(self) -> None:
        if self.base + self.modulo - 1 > HIGHEST_PORT:
            raise ValueError(f"base + modulo - 1 must not pass {HIGHEST_PORT}")

    def build(self) -> Scheme:
        """The scheme that this section describes."""
        return OffsetScheme(self.base, self.modulo)


class FixedSection(Section, frozen=True, tag_field="kind", tag="fixed"):
    """One port for every name."""

    port: Port

    def build(self) -> Scheme:
        """The scheme that this section describes."""
        return FixedScheme(self.port)


class PatternSection(Section, frozen=True, tag_field="kind", tag="pattern"):
    """A regular expression with a group ``port``, or a group ``index`` and a `base`."""

    regex: str
    base: Annotated[int, msgspec.Meta(ge=0, le=HIGHEST_PORT)] = 0
    default: Port | None = None

    def __post_init__(self) -> None:
        try:
            groups = re.compile(self.regex).groupindex
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"regex is not a regular expression: {error}") from None
        if not groups.keys() & {"port", "index"}:
            raise ValueError('regex needs a group named "port" or "index", as in "-(?P<port>[0-9]+)$"')
        if repeats_repeats(self.regex):
            raise ValueError(
                'regex repeats what repeats, as in "(a+)+": a stranger\'s name could take for ever'
            )

    def build(self) -> Scheme:
        """The scheme that this section describes."""
        return PatternScheme(re.compile(self.regex), self.base, self.default)


SchemeSection = SuffixSection | CaravanSection | OffsetSection | FixedSection | PatternSection


class SrvSection(Section, frozen=True):
    """``[resolve.srv]``: answers from DNS SRV records."""

    question: str
    """A template over ``{name}``, ``{host}`` and the host's labels ``{label1}``, ``{label2}`` …"""
    servers: tuple[Address, ...] = ()
    """Empty: the system's resolv.conf."""
    tcp: bool = False
    timeout: Duration = Duration(1)
    """Of one question to one server."""
    lifetime: Duration = Duration(3)
    """Of the whole search, all servers and tries together; the BEAM's set-up has 7 s in all."""
    max_ttl: Duration = Duration(3600)
    negative_ttl: Duration = Duration(60)
    """At most this long for "no such name", whatever the zone's SOA allows."""
    max_stale: Duration = Duration(86400)
    cache_entries: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 4096

    def __post_init__(self) -> None:
        if min(self.timeout, self.lifetime) <= 0:
            raise ValueError("timeout and lifetime must be more than 0s")
        known = {"name", "host"} | {f"label{n}" for n in range(1, 10)}
        for field in re.findall(r"\{([^{}]*)\}", self.question):
            if field not in known:
                raise ValueError(
                    f"question: {{{field}}} is unknown; allowed: {{name}}, {{host}}, {{label1}}…{{label9}}"
                )
        bare = re.sub(r"\{[^{}]*\}", "x", self.question)
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?", bare):
            raise ValueError(f"question: {self.question!r} is not a domain name")


class ResolveSection(Section, frozen=True):
    """``[resolve]``: the resolver chain."""

    chain: tuple[ResolverName, ...] = ("registered", "scheme")
    fallthrough: tuple[ResolverName, ...] = ()
    """Resolvers whose "no such node" does not end the search."""
    on_mismatch: Literal["warn", "reject", "ignore"] = "warn"
    host: str | None = None
    """The host part of this host's node names; absent: the system's host name."""
    scheme: SchemeSection = SuffixSection()
    static: dict[str, Port] = msgspec.field(default_factory=dict)
    srv: SrvSection | None = None

    def __post_init__(self) -> None:
        if self.host is not None:
            check_host("host", self.host)
        if len(set(self.chain)) != len(self.chain):
            raise ValueError("chain: each resolver may stand in it once")
        if "srv" in self.chain and self.srv is None:
            raise ValueError('chain names "srv", which needs a [resolve.srv] table with a question')
        for alive in self.static:
            if not can_register(alive):
                raise ValueError(f"static: {alive!r} is not a name that a node can have")
        for name in self.fallthrough:
            if name not in self.chain:
                raise ValueError(f'fallthrough names "{name}", which chain does not')


class MetricsSection(Section, frozen=True):
    """``[metrics]``: Prometheus text, ``/healthz`` and ``/readyz`` over HTTP; off unless it listens."""

    listen: Address | None = None


class LogSection(Section, frozen=True):
    """``[log]``: what is written to stderr, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"
    """``auto``: for people on a terminal, JSON elsewhere."""
