"""The configuration's shape, and how text becomes it.

TOML is decoded into frozen structures that reject unknown keys; everything is checked before any
socket is bound. A mistake is one :class:`ConfigError` that names the file, the dotted key and what is
allowed. Nothing here opens a file: the caller hands over text.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec

from epmdless import config_errors
from epmdless.addresses import Endpoint, ListenPlan, environment_port, epmd_plan
from epmdless.errors import ConfigError, EpmdlessError
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

Port = Annotated[int, msgspec.Meta(ge=1, le=HIGHEST_PORT)]
ResolverName = Literal["registered", "scheme", "static", "srv"]

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_UNIT_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
MAX_DURATION = 366 * 86400


class Duration(float):
    """Seconds; written as text with a unit: ``500ms``, ``7s``, ``5m``, ``2h``, ``1d``."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: object) -> Duration:
        """Read a duration.

        :raises ValueError: not such text, or more than a year.
        """
        match = _DURATION.fullmatch(text) if isinstance(text, str) else None
        seconds = float(match[1]) * _UNIT_SECONDS[match[2]] if match else MAX_DURATION + 1
        if seconds > MAX_DURATION:
            raise ValueError(f'{text!r} is not a duration: a number with ms, s, m, h or d, as in "7s"')
        return cls(seconds)

    def __str__(self) -> str:
        for unit in ("d", "h", "m", "s"):
            count = self / _UNIT_SECONDS[unit]
            if count >= 1 and count.is_integer():
                return f"{int(count)}{unit}"
        milliseconds = self * 1000
        if milliseconds.is_integer():
            return f"{int(milliseconds)}ms"
        return f"{Decimal(float.__repr__(self)):f}s"


class Address:
    """An IP address with or without a port, as the operator wrote it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    @classmethod
    def parse(cls, text: object) -> Address:
        """Read an address.

        :raises ValueError: not ``ADDRESS`` or ``ADDRESS:PORT``.
        """
        try:
            Endpoint.parse(str(text), 0)
        except EpmdlessError as error:
            raise ValueError(str(error)) from None
        return cls(str(text))

    def endpoint(self, default_port: int) -> Endpoint:
        """The address with its port, or this one where it names none."""
        return Endpoint.parse(self._text, default_port)

    def __str__(self) -> str:
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Address) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=False):
    """A table of the configuration; its fields are its keys."""


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
    static: dict[str, Port] = {}
    srv: SrvSection | None = None

    def __post_init__(self) -> None:
        if len(set(self.chain)) != len(self.chain):
            raise ValueError("chain: each resolver may stand in it once")
        if "srv" in self.chain and self.srv is None:
            raise ValueError('chain names "srv", which needs a [resolve.srv] table with a question')
        for name, configured in (("srv", self.srv is not None), ("static", bool(self.static))):
            if configured and name not in self.chain:
                raise ValueError(f'[resolve.{name}] is never asked: chain does not name "{name}"')
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


class Config(Section, frozen=True):
    """The whole configuration. With no file at all it is that of a drop-in epmd."""

    epmd: EpmdSection = EpmdSection()
    resolve: ResolveSection = ResolveSection()
    metrics: MetricsSection = MetricsSection()
    log: LogSection = LogSection()


METRICS_PORT = 9568


def decode(text: str, source: str) -> Config:
    """Read a configuration file's text.

    :param source: the file's name, for the error.
    :raises ConfigError: not TOML, an unknown key, a value that is not allowed.
    """
    try:
        tables = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(source, "", f"not valid TOML: {error}") from None
    try:
        return msgspec.convert(tables, Config, dec_hook=_decode_hook)
    except msgspec.ValidationError as error:
        key, problem = config_errors.explain(str(error), Config, tables)
        raise ConfigError(source, key, problem) from None


def to_plain(config: Config) -> dict[str, Any]:
    """The effective configuration as plain TOML types; keys without a value are left out."""
    built: dict[str, Any] = msgspec.to_builtins(config, enc_hook=str)
    return _without_none(built)


def listen_plan(config: Config, environ: Mapping[str, str]) -> ListenPlan:
    """Where the EPMD server listens: what the configuration says, else as epmd does.

    :raises ConfigError: a variable is not what it must be.
    """
    if config.epmd.listen is None:
        return epmd_plan(environ)
    port = environment_port(environ)
    return ListenPlan(tuple(address.endpoint(port) for address in config.epmd.listen))


def _decode_hook(wanted: type[Address | Duration | Network], value: object) -> object:
    return wanted.parse(value)


def _without_none(table: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, dict) else value
        for key, value in table.items()
        if value is not None
    }
