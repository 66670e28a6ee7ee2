"""The commands that are about the relay: ``epmdless links`` and ``epmdless demo``."""

from __future__ import annotations

import contextlib

import click

from epmdless.cli.options import CONFIG_OPTION, JSON_OPTION, SOCKET_OPTION


@click.group(invoke_without_command=True)
@click.option("--watch", is_flag=True, help="Show them each second, until Ctrl-C.")
@JSON_OPTION
@SOCKET_OPTION
@CONFIG_OPTION
@click.pass_context
def links(
    context: click.Context, watch: bool, as_json: bool, socket_path: str | None, config_file: str | None
) -> None:
    """Show the links of a running relay.

    Two lines a link, its near side and its far side: what that side sends, and how its connection does.
    With --json --watch: one document a line.
    """
    context.obj = (socket_path, config_file)
    if context.invoked_subcommand is not None:
        return
    from epmdless.cli import links as looking
    from epmdless.cli import show

    client = looking.client_for(socket_path, config_file)
    with contextlib.suppress(KeyboardInterrupt):
        if not watch:
            looking.show_once(client, as_json=as_json)
        elif as_json:
            looking.watch_json(client)
        else:
            looking.watch(client, show.console())


@links.command()
@click.argument("link_id", metavar="ID", type=click.IntRange(min=0))
@SOCKET_OPTION
@CONFIG_OPTION
@click.pass_context
def end(context: click.Context, link_id: int, socket_path: str | None, config_file: str | None) -> None:
    """End the link with the number ID, as `epmdless links` shows it."""
    from epmdless.cli import links as looking

    before_the_word = context.obj
    client = looking.client_for(socket_path or before_the_word[0], config_file or before_the_word[1])
    client.end(link_id)


@click.group()
def demo() -> None:
    """Show what epmdless does, on this machine alone."""


@demo.command("relay")
@click.option(
    "--for", "seconds", type=click.FloatRange(min=1), metavar="SECONDS", help="Stop by itself after so long."
)
@click.option("--otp-erl", metavar="PATH", help="The `erl` to run (default: the one in PATH).")
@click.option("--loopback", is_flag=True, help="Use loopback addresses, even where namespaces can be made.")
def demo_relay(seconds: float | None, otp_erl: str | None, loopback: bool) -> None:
    """Link two Erlang nodes through a relay, and watch the link until Ctrl-C.

    As root each node gets a network namespace of its own, and the relay one between them; otherwise all
    of them use loopback addresses.
    """
    from epmdless.cli import demo as showing

    showing.run(seconds, otp_erl, loopback=loopback)


@demo.command("zones")
@click.option(
    "--for", "seconds", type=click.FloatRange(min=1), metavar="SECONDS", help="Stop by itself so long after."
)
@click.option("--otp-erl", metavar="PATH", help="The `erl` to run (default: the one in PATH).")
def demo_zones(seconds: float | None, otp_erl: str | None) -> None:
    """Link Erlang nodes of two zones through gateways and one open port; show who gets through, and who not.

    As root: the zones are network namespaces, which go with the command. Then the links are shown until
    Ctrl-C.
    """
    from epmdless.cli import demo_zones as showing

    showing.run(seconds, otp_erl)
