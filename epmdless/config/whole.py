"""The whole configuration: from a file's text, and back to plain tables."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import msgspec

from epmdless.addresses import Endpoint, ListenPlan, environment_port, epmd_plan
from epmdless.config import errors
from epmdless.config.checks import check_table_name
from epmdless.config.cluster import ClusterSection
from epmdless.config.errors import SectionError
from epmdless.config.gateway import GatewaySection
from epmdless.config.hop import HopSection
from epmdless.config.publish import PublishSection
from epmdless.config.relay import ControlSection, RelaySection
from epmdless.config.sections import EpmdSection, LogSection, MetricsSection, ResolverName, ResolveSection
from epmdless.config.values import (
    Address,
    Duration,
    GrantPorts,
    HostPattern,
    HostPort,
    PortRange,
    Section,
    Size,
)
from epmdless.errors import ConfigError
from epmdless.policy import Network

METRICS_PORT = 9568


class Config(Section, frozen=True):
    """The whole configuration. With no file at all it is that of a drop-in epmd."""

    epmd: EpmdSection = EpmdSection()
    resolve: ResolveSection = ResolveSection()
    relay: RelaySection = RelaySection()
    gateway: GatewaySection | None = None
    """Absent: this process is no gateway."""
    hop: dict[str, HopSection] = msgspec.field(default_factory=dict)
    cluster: ClusterSection = ClusterSection()
    publish: PublishSection | None = None
    """Absent: nothing is published."""
    control: ControlSection = ControlSection()
    metrics: MetricsSection = MetricsSection()
    log: LogSection = LogSection()

    def __post_init__(self) -> None:
        self._check_resolvers("srv", is_configured=self.resolve.srv is not None)
        self._check_resolvers("static", is_configured=bool(self.resolve.static))
        self._check_peers()
        self._check_stand_ins()
        self._check_hops()
        self._check_own_listeners()
        self._check_gateway_listener()

    def _check_resolvers(self, name: ResolverName, *, is_configured: bool) -> None:
        """A resolver's own table and those who ask the resolver need each other."""
        asking = self._routes_asking(name)
        if is_configured and not asking and name not in self.resolve.chain:
            nobody = f'neither chain nor a relay.route names "{name}"'
            raise SectionError("resolve", f"[resolve.{name}] is never asked: {nobody}")
        if asking and not is_configured:
            key = f"relay.route[{asking[0]}].resolve"
            raise SectionError(key, f'names "{name}", which needs a [resolve.{name}] table')

    def _check_peers(self) -> None:
        """Who asks for the ports that sources tell needs a source; sources are there for more than that."""
        asking = self._routes_asking("peers")
        if self.cluster.source or ("peers" not in self.resolve.chain and not asking):
            return
        key = f"relay.route[{asking[0]}].resolve" if asking else "resolve.chain"
        raise SectionError(key, 'names "peers", which needs a [cluster.source.NAME] table')

    def _routes_asking(self, name: ResolverName) -> list[int]:
        return [number for number, route in enumerate(self.relay.route) if name in route.resolve]

    def _check_stand_ins(self) -> None:
        """One address and port is the EPMD server's or a stand-in's face; all interfaces may be both's.

        What names no port is not looked at: its port is the environment's matter.
        """
        own = {address.endpoint(0) for address in self.epmd.listen or ()}
        for number, route in enumerate(self.relay.route):
            if route.listen and Endpoint(route.listen, self.relay.epmd_port) in own:
                problem = f"{route.listen} is an address of the EPMD server (epmd.listen)"
                raise SectionError(f"relay.route[{number}].listen", problem)

    def _check_hops(self) -> None:
        """Each route goes through a hop that there is; a hop without a route is well: it can be tried out."""
        for name in self.hop:
            check_table_name("hop", name, "a hop")
        for number, route in enumerate(self.relay.route):
            if route.via is not None and route.via not in self.hop:
                hops = ", ".join(self.hop) or "none, for want of a [hop.NAME] table"
                raise SectionError(f"relay.route[{number}].via", f"{route.via!r} is no hop; allowed: {hops}")

    def _check_own_listeners(self) -> None:
        """The EPMD server listens nowhere twice, and the metrics have a port of their own.

        Where no port is named it is the same one, whichever the environment says.
        """
        own = [(address.endpoint(0), f"epmd.listen[{n}]") for n, address in enumerate(self.epmd.listen or ())]
        if self.metrics.listen is not None:
            own.append((self.metrics.listen.endpoint(METRICS_PORT), "metrics.listen"))
        for number, (endpoint, key) in enumerate(own):
            for other, taken in own[:number]:
                if endpoint.port == other.port and _meet(endpoint.host, other.host):
                    raise SectionError(key, f"{_shown(endpoint)} is not free: {_shown(other)} is {taken}")

    def _check_gateway_listener(self) -> None:
        """The gateway shares its port with nobody, not even where one listens on all interfaces.

        What names no port is not looked at.
        """
        if self.gateway is None:
            return
        own = self.gateway.listen.endpoint(0)
        for host, key in self._listeners_at(own.port) if own.port else ():
            if _meet(host, own.host):
                raise SectionError(
                    "gateway.listen", f"{own} is not free: {Endpoint(host, own.port)} is {key}"
                )

    def _listeners_at(self, port: int) -> Iterator[tuple[str, str]]:
        """The address of everything else that listens on a port from the start, and the key that says so."""
        given = [(address, "epmd.listen") for address in self.epmd.listen or ()]
        if self.relay.transparent is not None:
            given.append((self.relay.transparent.listen, "relay.transparent.listen"))
        for address, key in given:
            if address.endpoint(0).port == port:
                yield address.endpoint(0).host, key
        if self.metrics.listen is not None and self.metrics.listen.endpoint(METRICS_PORT).port == port:
            yield self.metrics.listen.endpoint(METRICS_PORT).host, "metrics.listen"
        for number, route in enumerate(self.relay.route):
            is_open = port == self.relay.epmd_port or any(port in ports for ports in route.ports)
            if route.listen is not None and is_open:
                yield route.listen, f"a port of relay.route[{number}]"


def _meet(host: str, other: str) -> bool:
    """Whether one port cannot be listened on at both; families never meet: ``::`` is for IPv6 alone."""
    everything = "::" if ":" in host else "0.0.0.0"
    return (":" in host) == (":" in other) and (host == other or everything in (host, other))


def _shown(endpoint: Endpoint) -> str:
    """An address as it was written, without a port if it had none."""
    return str(endpoint) if endpoint.port else endpoint.host


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
        return _convert(tables, Config)
    except msgspec.ValidationError as error:
        key, problem = errors.explain(error, Config, tables, _convert)
        raise ConfigError(source, key, problem) from None


def to_plain(config: Config) -> dict[str, Any]:
    """The effective configuration as plain TOML types; keys without a value are left out."""
    built: dict[str, Any] = _without_none(msgspec.to_builtins(config, enc_hook=str))
    return built


def listen_plan(config: Config, environ: Mapping[str, str]) -> ListenPlan:
    """Where the EPMD server listens: what the configuration says, else as epmd does.

    :raises ConfigError: a variable is not what it must be.
    """
    if config.epmd.listen is None:
        return epmd_plan(environ)
    port = environment_port(environ)
    return ListenPlan(tuple(address.endpoint(port) for address in config.epmd.listen))


_T = TypeVar("_T")


def _convert(value: Any, wanted: type[_T]) -> _T:
    return msgspec.convert(value, wanted, dec_hook=_decode_hook)


Value = Address | Duration | GrantPorts | HostPattern | HostPort | Network | PortRange | Size


def _decode_hook(wanted: type[Value], value: object) -> object:
    return wanted.parse(value)


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_without_none(item) for item in value]
    return value
