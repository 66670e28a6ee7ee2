"""The command that is about clusters: ``epmdless cluster``."""

from __future__ import annotations

import contextlib

import click

from epmdless.cli.options import CONFIG_OPTION, JSON_OPTION, SOCKET_OPTION


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
