"""The command ``epmdless render``: files for each platform, made from templates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from epmdless.errors import ConfigError

if TYPE_CHECKING:
    from epmdless.render.fargate import Stack
    from epmdless.render.values import Network, Node

F = TypeVar("F", bound=Callable[..., Any])


def _options(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Several options as one decorator, shown by --help in this order."""

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


OUTPUT = click.option(
    "--output", type=click.Path(dir_okay=False), metavar="FILE", help="Write to FILE (default: stdout)."
)
NODE = _options(
    click.option("--app", required=True, metavar="NAME", help="What everything is named after."),
    click.option(
        "--port", required=True, type=int, metavar="PORT", help="The nodes' port: they are NAME-PORT@HOST."
    ),
)
RELEASE = click.option(
    "--release", metavar="NAME", help="The release's program in bin (default: --app's, with _ for -)."
)
CONTAINER = _options(
    click.option("--image", metavar="IMAGE", help="The image with the release and epmdless in it."),
    RELEASE,
    click.option("--replicas", type=int, default=3, show_default=True, metavar="N", help="How many nodes."),
)
FAR = click.option(
    "--far",
    multiple=True,
    metavar="HOST=STAND_IN[=DIAL]",
    help="A far host, the relay's address that stands in for it, where it is (default: HOST); repeatable.",
)
FROM = click.option(
    "--from", "near", multiple=True, metavar="NETWORK", help="Whose hosts may connect, in CIDR; repeatable."
)
FARGATE = _options(
    click.option(
        "--zone",
        default="nodes.internal",
        show_default=True,
        metavar="DOMAIN",
        help="The private DNS namespace that is made for them.",
    ),
    click.option("--relay", is_flag=True, help="With a gateway, for relays at --from."),
    FROM,
    click.option(
        "--subnet", multiple=True, metavar="NETWORK", help="With --relay: the tasks' own subnets; repeatable."
    ),
)
RELAY = click.option("--relay", is_flag=True, help="For the host of a relay between two subnets.")


class _AsWritten(click.Group):
    """Its commands stand in the order of this file, platforms first."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_AsWritten)
def render() -> None:
    """Write a complete file for a platform, to be read, filled in where its head says so, and used.

    Names follow from --app and --port: the nodes are NAME-PORT@HOST, and listen on PORT.
    """


@render.command("fargate-cdk", short_help="ECS Fargate, as a program for the AWS CDK.")
@NODE
@CONTAINER
@FARGATE
@OUTPUT
def fargate_cdk(app: str, port: int, output: str | None, **given: Any) -> None:
    """A stack for ECS Fargate, in TypeScript for the AWS CDK; the same as fargate-cloudformation."""
    from epmdless.render import fargate

    _write(fargate.cdk(_stack(app, port, given)), output)


@render.command("fargate-cloudformation", short_help="ECS Fargate, as a CloudFormation template.")
@NODE
@CONTAINER
@FARGATE
@OUTPUT
def fargate_cloudformation(app: str, port: int, output: str | None, **given: Any) -> None:
    """A template for CloudFormation: security group, Cloud Map, roles, cookie, log, task and service.

    With --relay: a gateway too, by whose one port the hosts of --from reach the nodes.
    """
    from epmdless.render import fargate

    _write(fargate.cloudformation(_stack(app, port, given)), output)


@render.command(short_help="A manifest: StatefulSet, service, role, policy.")
@NODE
@CONTAINER
@click.option("--relay", is_flag=True, help="With a gateway, for relays at --from.")
@FROM
@OUTPUT
def kubernetes(app: str, port: int, output: str | None, **given: Any) -> None:
    """A manifest for Kubernetes: role, headless service, StatefulSet, NetworkPolicy.

    The image is NAME:latest unless --image says more. With --relay: a gateway too, by whose one port the
    hosts of --from reach the nodes.
    """
    from epmdless.render import containers

    _write(containers.kubernetes(*_container(app, port, given), _relays(given)), output)


@render.command(short_help="Docker compose.")
@NODE
@CONTAINER
@click.option("--relay", is_flag=True, help="With two networks, and a relay between them.")
@OUTPUT
def compose(app: str, port: int, output: str | None, **given: Any) -> None:
    """A file for Docker compose: containers that find each other by DNS.

    The image is NAME:latest unless --image says more.
    """
    from epmdless.render import containers

    form = containers.compose_relay if given["relay"] else containers.compose
    _write(form(*_container(app, port, given)), output)


@render.command(short_help="A script that sets up a host, or a relay's.")
@NODE
@RELEASE
@click.option("--dns", metavar="DOMAIN", help="Has the address of each host (default: NAME.internal).")
@click.option("--ec2", is_flag=True, help="The hosts are those of the EC2 auto scaling group.")
@RELAY
@FAR
@click.option("--gateway", metavar="HOST:PORT", help="With --relay: the far subnet's gateway.")
@OUTPUT
def systemd(app: str, port: int, output: str | None, **given: Any) -> None:
    """A script that sets a host up: epmdless' configuration, and a unit for the release.

    With --relay: for a relay's host, with a route for each --far.
    """
    from epmdless.render import hosts, values

    node = values.node(app, port)
    if given["relay"]:
        _refuse("with --relay", given, "release", "dns", "ec2")
        gateway = None if given["gateway"] is None else values.gateway(given["gateway"])
        _write(hosts.systemd_relay(node, values.far_hosts(given["far"]), gateway), output)
        return
    _refuse("without --relay", given, "far", "gateway")
    if given["ec2"]:
        _refuse("with --ec2", given, "dns")
    dns = None if given["ec2"] else values.domain("--dns", given["dns"] or f"{app}.internal")
    _write(hosts.systemd(node, values.release(given["release"], app), dns), output)


@render.command(short_help="The firewall of a host, or of a relay's.")
@NODE
@FROM
@RELAY
@FAR
@OUTPUT
def nftables(app: str, port: int, output: str | None, **given: Any) -> None:
    """The firewall of a host with nodes: EPMD's port and theirs are open to --from alone.

    With --relay: of a relay's host, with the stand-in addresses of each --far.
    """
    from epmdless.render import hosts, values

    node = values.node(app, port)
    near = values.networks("--from", given["near"])
    if given["relay"]:
        _write(hosts.nftables_relay(node, near, values.far_hosts(given["far"])), output)
        return
    _refuse("without --relay", given, "far")
    _write(hosts.nftables(node, near), output)


@render.command("vm.args", short_help="Flags of the BEAM.")
@NODE
@OUTPUT
def vm_args(app: str, port: int, output: str | None) -> None:
    """Flags of the BEAM: the node's port, and no epmd of its own."""
    from epmdless.render import hosts, values

    _write(hosts.vm_args(values.node(app, port)), output)


@render.command("env.sh", short_help="A mix release's env.sh.eex.")
@NODE
@OUTPUT
def env_sh(app: str, port: int, output: str | None) -> None:
    """A mix release's rel/env.sh.eex, which has `epmdless env` find out name and address."""
    from epmdless.render import hosts, values

    _write(hosts.env_sh(values.node(app, port)), output)


@render.command(short_help="Far hosts at the relay's addresses.")
@NODE
@FAR
@OUTPUT
def inetrc(app: str, port: int, far: tuple[str, ...], output: str | None) -> None:
    """Near nodes' resolver configuration: each --far is at the relay's address that stands in for it."""
    from epmdless.render import hosts, values

    _write(hosts.inetrc(values.node(app, port), values.far_hosts(far)), output)


def _container(app: str, port: int, given: Mapping[str, Any]) -> tuple[Node, str, str, int]:
    """What a container's file is made of, checked."""
    from epmdless.render import values

    return (
        values.node(app, port),
        values.image(given["image"] or f"{app}:latest"),
        values.release(given["release"], app),
        values.replicas(given["replicas"]),
    )


def _stack(app: str, port: int, given: Mapping[str, Any]) -> Stack:
    from epmdless.render import fargate, values

    node, image, release, replicas = _container(app, port, given)
    zone = values.domain("--zone", given["zone"])
    relays = _relays(given)
    if not relays:
        _refuse("without --relay", given, "subnet")
    subnets = values.networks("--subnet", given["subnet"]) if relays else []
    return fargate.Stack(node, release, replicas, image if given["image"] else None, zone, relays, subnets)


def _relays(given: Mapping[str, Any]) -> Sequence[Network]:
    """Where relays are that may use a gateway; empty: there is no gateway."""
    from epmdless.render import values

    if given["relay"]:
        return values.relays(given["near"])
    if given["near"]:
        raise ConfigError("--from", "", "has no meaning without --relay")
    return []


def _refuse(when: str, given: Mapping[str, Any], *options: str) -> None:
    """Refuse options that mean nothing in this file's form."""
    for option in options:
        if given[option]:
            raise ConfigError(f"--{option}", "", f"has no meaning {when}")


def _write(text: str, output: str | None) -> None:
    if output is None:
        click.echo(text, nl=False)
    else:
        Path(output).write_text(text, encoding="utf-8")
