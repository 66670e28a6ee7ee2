"""The command ``epmdless``.

Exit statuses: 0 done; 1 it could not be done (no such node, no server, a port in use); 2 the command
line or the configuration is wrong.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys

import click

from epmdless import __version__, config
from epmdless.addresses import environment_port
from epmdless.cli import ask, configuration, queries, show
from epmdless.cli.certs import certs
from epmdless.cli.cluster_commands import cluster
from epmdless.cli.doctor import doctor
from epmdless.cli.env import env
from epmdless.cli.exec import exec_command
from epmdless.cli.hop import hop
from epmdless.cli.nodes import nodes
from epmdless.cli.options import CONFIG_OPTION, JSON_OPTION
from epmdless.cli.published import published
from epmdless.cli.relay import demo, links
from epmdless.cli.render import render
from epmdless.errors import ConfigError, EpmdlessError
from epmdless.names import NodeName
from epmdless.net import stdio


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="epmdless %(version)s")
def cli() -> None:
    """A drop-in epmd that also answers from naming conventions and DNS SRV, and a relay across firewalls."""


@cli.command()
@CONFIG_OPTION
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Listen on this port (default 4369, or ERL_EPMD_PORT)."
)
@click.option("--address", metavar="LIST", help="Listen on these addresses (comma list) and on loopback.")
@click.option("-v", "--verbose", is_flag=True, help="Log each lookup too.")
def serve(config_file: str | None, port: int | None, address: str | None, verbose: bool) -> None:
    """Serve EPMD and the relay. Without a configuration file: a drop-in epmd.

    SIGHUP reads the configuration again; SIGTERM and SIGINT stop, after links had their time to end.
    """
    from epmdless import app, launch

    call = launch.Launch(
        load=lambda: configuration.load(config_file, port, address), level="debug" if verbose else None
    )
    sys.exit(app.run(call))


@cli.command()
@click.argument("host", required=False)
@click.option("--port", type=click.IntRange(1, 65535), help="EPMD port (default 4369, or ERL_EPMD_PORT).")
@JSON_OPTION
def names(host: str | None, port: int | None, as_json: bool) -> None:
    """List the nodes that are registered at HOST (default: this host)."""
    hosts = (host,) if host else ask.LOOPBACK
    reply = queries.ask_names(hosts, port or environment_port(os.environ))
    if as_json:
        nodes = [{"name": name, "port": node_port} for name, node_port in reply.nodes]
        click.echo(json.dumps({"port": reply.port, "nodes": nodes}, ensure_ascii=False))
    else:
        show.names(reply)


@cli.command()
@click.argument("node")
@CONFIG_OPTION
@click.option("--server", metavar="HOST", help="Ask the EPMD server at HOST, not the configured chain.")
@click.option("--port", type=click.IntRange(1, 65535), help="EPMD port (default 4369, or ERL_EPMD_PORT).")
@click.option("--explain", is_flag=True, help="Show what each resolver said.")
@JSON_OPTION
def resolve(
    node: str,
    config_file: str | None,
    server: str | None,
    port: int | None,
    explain: bool,
    as_json: bool,
) -> None:
    """Say on which port NODE (NAME or NAME@HOST) listens, and who says so."""
    from epmdless.cli import resolving

    try:
        name = NodeName.parse(node)
    except EpmdlessError as error:
        raise ConfigError("", "", str(error)) from None
    epmd_port = port or environment_port(os.environ)
    if server is not None:
        walk = resolving.ask_server(name, server, epmd_port)
    else:
        found, _ = configuration.read_config(configuration.find_file(config_file))
        walk = resolving.walk_chain(name, found, epmd_port)
    if as_json:
        click.echo(json.dumps(walk.to_json(explain=explain), ensure_ascii=False))
    else:
        show.walk(walk, explain=explain)
    sys.exit(0 if walk.port is not None else 1)


cli.add_command(links)
cli.add_command(cluster)
cli.add_command(demo)
cli.add_command(certs)
cli.add_command(hop)
cli.add_command(nodes)
cli.add_command(published)
cli.add_command(doctor)
cli.add_command(exec_command)
cli.add_command(render)
cli.add_command(env)


@cli.group("config")
def config_group() -> None:
    """Check and show configurations."""


@config_group.command()
@click.argument("file")
def check(file: str) -> None:
    """Check FILE without starting anything."""
    configuration.load(file, None, None)
    click.echo(f"{file}: ok")


@config_group.command("show")
@CONFIG_OPTION
@JSON_OPTION
def show_config(config_file: str | None, as_json: bool) -> None:
    """Show the configuration in force, defaults included."""
    loaded = configuration.load(config_file, None, None)
    plain = config.to_plain(loaded.config)
    plain["epmd"]["listen"] = [str(e) for e in (*loaded.listen.required, *loaded.listen.optional)]
    if loaded.config.epmd.relaxed_command_check is None:
        plain["epmd"]["relaxed_command_check"] = "ERL_EPMD_RELAXED_COMMAND_CHECK" in os.environ
    if as_json:
        click.echo(json.dumps(plain, ensure_ascii=False))
    else:
        click.echo(f"# {loaded.source}")
        click.echo(show.toml(plain), nl=False)


def main() -> None:
    """Run the command line; an error of ours is one line on stderr."""
    stdio.hold_standard_descriptors()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name may be more than the locale can show
    status = 1
    try:
        ended = cli.main(prog_name="epmdless", standalone_mode=False)
        status = ended if isinstance(ended, int) else 0
    except click.ClickException as error:
        with contextlib.suppress(OSError):
            error.show()
        status = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        pass
    except BaseExceptionGroup as errors:
        if errors.split(KeyboardInterrupt)[1] is not None:
            raise  # more than Ctrl-C while a nursery waits
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except ConfigError as error:
        stdio.complain(f"epmdless: {error}\n")
        status = 2
    except EpmdlessError as error:
        stdio.complain(f"epmdless: {error}\n")
    except OSError as error:
        where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        stdio.complain(f"epmdless: {where}{error.strerror or error}\n")
    sys.exit(stdio.flush(status))
