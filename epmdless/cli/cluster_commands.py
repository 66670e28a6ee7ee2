"""The commands that are about clusters: ``epmdless cluster`` and ``epmdless demo cluster``."""

from __future__ import annotations

import contextlib
from typing import Literal

import click

from epmdless.cli.options import CONFIG_OPTION, JSON_OPTION, SOCKET_OPTION
from epmdless.cli.relay import demo


@click.command()
@click.option("--watch", is_flag=True, help="Show it each second, until Ctrl-C.")
@JSON_OPTION
@SOCKET_OPTION
@CONFIG_OPTION
def cluster(watch: bool, as_json: bool, socket_path: str | None, config_file: str | None) -> None:
    """Show who is joined with whom, which source named each, and why some are not connected.

    With --json --watch: one document a line.

    The exit status is 0; 1 if nobody answers or no cluster is configured there; 2 if the command line or
    the configuration is wrong.
    """
    from epmdless.cli import cluster as looking
    from epmdless.cli import links, show

    client = links.client_for(socket_path, config_file)
    with contextlib.suppress(KeyboardInterrupt):
        if not watch:
            looking.show_once(client, as_json=as_json)
        elif as_json:
            looking.watch_json(client)
        else:
            looking.watch(client, show.console())


@demo.command("cluster")
@click.option(
    "--for",
    "--seconds",
    "seconds",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Stop by itself so long after all nodes are joined and at work.",
)
@click.option(
    "--nodes", "count", type=click.IntRange(2, 100), default=4, show_default=True, help="How many nodes."
)
@click.option(
    "--source",
    type=click.Choice(["file", "epmd"]),
    default="file",
    show_default=True,
    help="What names them: a file that grows, or what EPMD lists.",
)
@click.option("--otp-erl", metavar="PATH", help="The `erl` to run (default: the one in PATH).")
def demo_cluster(
    seconds: float | None, count: int, source: Literal["file", "epmd"], otp_erl: str | None
) -> None:
    """Join plain Erlang nodes on this machine, and have them hash web pages together, until Ctrl-C.

    The exit status is 0; 1 if a node was not joined, or a digest was wrong.
    """
    from epmdless.cli import demo_cluster as showing

    showing.run(seconds, otp_erl, count, source)
