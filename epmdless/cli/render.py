"""The command ``epmdless render``: files for each platform, made from templates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

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
CONTAINER = _options(
    click.option(
        "--image", metavar="IMAGE", help="With the release and epmdless in it (default: NAME:latest)."
    ),
    click.option("--release", metavar="NAME", help="The release's program in bin (default: --app, - as _)."),
    click.option("--replicas", type=int, default=3, show_default=True, metavar="N", help="How many nodes."),
)


@click.group()
def render() -> None:
    """Write a complete file for a platform, to be read, filled in where its head says so, and used.

    Names follow from --app and --port: the nodes are NAME-PORT@HOST, and listen on PORT.
    """


@render.command()
@NODE
@CONTAINER
@OUTPUT
def compose(app: str, port: int, output: str | None, **container: Any) -> None:
    """Docker compose: containers that find each other by DNS."""
    from epmdless.render import containers

    _write(containers.compose(*_container(app, port, **container)), output)


@render.command()
@NODE
@CONTAINER
@OUTPUT
def kubernetes(app: str, port: int, output: str | None, **container: Any) -> None:
    """Kubernetes: a StatefulSet that finds its pods by their EndpointSlices."""
    from epmdless.render import containers

    _write(containers.kubernetes(*_container(app, port, **container)), output)


def _container(app: str, port: int, **container: Any) -> tuple[Any, str, str, int]:
    """What all containers' files are made of, checked."""
    from epmdless.render import values

    return (
        values.node(app, port),
        values.image(container["image"], app),
        values.release(container["release"], app),
        values.replicas(container["replicas"]),
    )


def _write(text: str, output: str | None) -> None:
    if output is None:
        click.echo(text, nl=False)
    else:
        Path(output).write_text(text, encoding="utf-8")
