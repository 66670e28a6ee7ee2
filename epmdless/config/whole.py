"""The whole configuration: from a file's text, and back to plain tables."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

import msgspec

from epmdless.addresses import Endpoint, ListenPlan, environment_port, epmd_plan
from epmdless.config import errors
from epmdless.config.errors import SectionError
from epmdless.config.relay import ControlSection, RelaySection
from epmdless.config.sections import EpmdSection, LogSection, MetricsSection, ResolverName, ResolveSection
from epmdless.config.values import Address, Duration, PortRange, Section
from epmdless.errors import ConfigError
from epmdless.policy import Network


class Config(Section, frozen=True):
    """The whole configuration. With no file at all it is that of a drop-in epmd."""

    epmd: EpmdSection = EpmdSection()
    resolve: ResolveSection = ResolveSection()
    relay: RelaySection = RelaySection()
    control: ControlSection = ControlSection()
    metrics: MetricsSection = MetricsSection()
    log: LogSection = LogSection()

    def __post_init__(self) -> None:
        self._check_resolvers("srv", is_configured=self.resolve.srv is not None)
        self._check_resolvers("static", is_configured=bool(self.resolve.static))
        self._check_stand_ins()

    def _check_resolvers(self, name: ResolverName, *, is_configured: bool) -> None:
        """A resolver's own table and those who ask the resolver need each other."""
        asking = [number for number, route in enumerate(self.relay.route) if name in route.resolve]
        if is_configured and not asking and name not in self.resolve.chain:
            nobody = f'neither chain nor a relay.route names "{name}"'
            raise SectionError("resolve", f"[resolve.{name}] is never asked: {nobody}")
        if asking and not is_configured:
            key = f"relay.route[{asking[0]}].resolve"
            raise SectionError(key, f'names "{name}", which needs a [resolve.{name}] table')

    def _check_stand_ins(self) -> None:
        """One address and port is the EPMD server's or a stand-in's face; all interfaces may be both's.

        What names no port is not looked at: its port is the environment's matter.
        """
        own = {address.endpoint(0) for address in self.epmd.listen or ()}
        for number, route in enumerate(self.relay.route):
            if route.listen and Endpoint(route.listen, self.relay.epmd_port) in own:
                problem = f"{route.listen} is an address of the EPMD server (epmd.listen)"
                raise SectionError(f"relay.route[{number}].listen", problem)


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
        key, problem = errors.explain(error, Config, tables)
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


def _decode_hook(wanted: type[Address | Duration | Network | PortRange], value: object) -> object:
    return wanted.parse(value)


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_without_none(item) for item in value]
    return value
