"""The options of ``epmdless env``, which ``epmdless exec`` has too, and what is made of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from epmdless.cli.options import CONFIG_OPTION
from epmdless.errors import ConfigError, EpmdlessError

if TYPE_CHECKING:
    from epmdless.platforms.facts import Facts
    from epmdless.releases import Plan

AUTO = "auto"
PLATFORM_NAMES = (AUTO, "ecs", "kubernetes", "ec2", "fly", "compose", "host")

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class EnvOptions:
    """What was asked for; see the options' own help.

    :ivar host: None: the configuration's, else the address.
    """

    platform: str = AUTO
    app: str | None = None
    port: int | None = None
    host: str | None = None
    address: str | None = None
    config_file: str | None = None
    set_name: bool = False

    def words(self) -> list[str]:
        """The same as words of a command line."""
        given = {
            "--platform": self.platform,
            "--app": self.app,
            "--port": self.port,
            "--host": self.host,
            "--address": self.address,
            "--config": self.config_file,
        }
        words = [f"{option}={value}" for option, value in given.items() if value is not None]
        return [*words, "--set-name"] if self.set_name else words


_OPTIONS = (
    click.option(
        "--platform",
        type=click.Choice(PLATFORM_NAMES),
        default=AUTO,
        show_default=True,
        help="Whom to ask for this host's address.",
    ),
    click.option("--app", metavar="NAME", help="The alive name, or its beginning (default: RELEASE_NAME)."),
    click.option(
        "--port",
        type=click.IntRange(1, 65535),
        help="The node's port (default: the one that the scheme reads in the name, else 9001).",
    ),
    click.option(
        "--host",
        metavar="address|fqdn|NAME",
        help="The host part of the node's name (default: [resolve] host, else the address).",
    ),
    click.option("--address", metavar="IP", help="This host's address; nobody is asked then."),
    CONFIG_OPTION,
    click.option("--set-name", is_flag=True, help="Name plain erl and iex too, with -name in ERL_AFLAGS."),
)


def env_options(command: F) -> F:
    """Give a command these options; its function gets them as one argument, ``options``."""

    @functools.wraps(command)
    def with_options(**given: Any) -> Any:
        own = {name: given.pop(name) for name in EnvOptions.__dataclass_fields__}
        return command(options=EnvOptions(**own), **given)

    decorated: Any = with_options
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]


def planned(options: EnvOptions, environ: Mapping[str, str]) -> tuple[Facts, Plan]:
    """Gather the facts, and work out the node and its environment.

    :param environ: ours, and the release's so far.
    :raises ConfigError: whatever is wrong: a release must not start then.
    """
    from epmdless.cli.configuration import find_file, read_config
    from epmdless.cli.release_files import vm_args
    from epmdless.releases import Wanted, make_plan

    resolve = read_config(find_file(options.config_file))[0].resolve
    try:
        facts, host = _asked(options, environ, resolve.host)
        wanted = Wanted(options.app, options.port, host, facts.address, vm_args(environ), options.set_name)
        return facts, make_plan(resolve.scheme.build(), wanted, environ)
    except ConfigError:
        raise
    except EpmdlessError as error:
        raise ConfigError("", "", str(error)) from None


def _asked(options: EnvOptions, environ: Mapping[str, str], configured: str | None) -> tuple[Facts, str]:
    """The facts and the host part."""
    import trio

    from epmdless.cli import waiting
    from epmdless.platforms.facts import FACTS_SECONDS, PLATFORMS
    from epmdless.platforms.gather import full_name, gather

    platform = next((known for known in PLATFORMS if known == options.platform), None)

    async def ask() -> tuple[Facts, str]:
        end = trio.current_time() + FACTS_SECONDS
        facts = await gather(platform, environ, address=options.address)
        host = options.host or configured or "address"
        if host == "address":
            return facts, facts.address
        if host == "fqdn":
            return facts, await full_name(end - trio.current_time())
        return facts, host

    return waiting.run(ask)


def to_json(facts: Facts, plan: Plan) -> dict[str, Any]:
    """The plan and the facts for programs."""
    return {
        "node": plan.node,
        "alive": plan.alive,
        "host": plan.host,
        "port": plan.port,
        "platform": facts.platform,
        "address": facts.address,
        "address_from": facts.address_from,
        "labels": dict(facts.labels),
        "variables": dict(plan.variables),
    }
