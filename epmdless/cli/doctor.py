"""The command ``epmdless doctor``: where the way to a node ends, and what to do about it."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

import click

from epmdless.addresses import environment_port
from epmdless.cli.options import CONFIG_OPTION, JSON_OPTION
from epmdless.config import Config

if TYPE_CHECKING:
    from epmdless.doctor.plan import Plan
    from epmdless.doctor.report import Report
    from epmdless.doctor.steps import Watch
    from epmdless.net.tls.contexts import TlsFiles

STATUSES = """\b
Exit status: 0 the node is reached, 1 the walk itself failed, 2 the command
line or the configuration is wrong; else the first step that failed:
  10 name    11 dns        12 epmd      13 tcp     14 tls
  15 handshake             16 identity (another node answers)
  17 cookie  18 round trip
"""


@click.command(epilog=STATUSES)
@click.argument("node")
@click.option(
    "--cookie-file", metavar="FILE", help="Try this cookie, instead of the configuration's for the node."
)
@click.option("--no-cookie", is_flag=True, help="Try no cookie, whatever the configuration has.")
@CONFIG_OPTION
@click.option(
    "--epmd-port", type=click.IntRange(1, 65535), help="EPMD port (default 4369, or ERL_EPMD_PORT)."
)
@click.option(
    "--no-epmd", is_flag=True, help="Nodes here ask no EPMD: take the port from the scheme or the chain."
)
@JSON_OPTION
def doctor(
    node: str,
    cookie_file: str | None,
    no_cookie: bool,
    config_file: str | None,
    epmd_port: int | None,
    no_epmd: bool,
    as_json: bool,
) -> None:
    """Walk the way that a connection to NODE (ALIVE@HOST) takes, and say where it ends.

    Each step has a time limit, and the node is left as it was. Nothing gets into its log, but for a wrong
    cookie, where it does not allow us (net_kernel:allow/1), and where it refuses our TLS certificate.

    A cookie is used only if there is one: --cookie-file's, or the one that [cluster] of the configuration
    has for the node. What proves it is shown to nobody who does not say that its name is NODE. But a name is
    easily said: without TLS whoever says it can pass our proof on, once, and be let in by another node. So
    use a cookie where you trust the network and the host; --no-cookie keeps the configuration's out of it.
    """
    from epmdless.cli import configuration, doctor_lines, show

    if no_cookie and cookie_file is not None:
        raise click.UsageError("--no-cookie and --cookie-file say opposite things")
    found, source = configuration.read_config(configuration.find_file(config_file))
    cookie = None if no_cookie else _cookie(node, found, source, cookie_file)
    _check_certificates(found, source)
    plan = _plan(node, found, cookie, epmd_port or environment_port(os.environ), asks_epmd=not no_epmd)
    console = show.console()
    if as_json:
        report = _walk(plan, found)
        click.echo(json.dumps(report.to_json(), ensure_ascii=False))
    else:
        with console.status("walking") as status:
            report = _walk(plan, found, lambda name: status.update(f"walking: {doctor_lines.title(name)}"))
        doctor_lines.show(console, report)
    sys.exit(report.status)


def _cookie(node: str, found: Config, source: str, cookie_file: str | None) -> bytes | None:
    """The cookie to try. Raises ConfigError."""
    from epmdless.cluster.groups import Groups
    from epmdless.net.cookies import read_cookie

    if cookie_file is not None:
        return read_cookie(cookie_file, "--cookie-file")
    if not found.cluster.source:
        return None
    group = Groups.of(found.cluster).group_of(node)
    return None if group is None else group.cookie.read(os.environ, f"{source}: cluster.")


def _check_certificates(found: Config, source: str) -> None:
    """See that they can be loaded, before anything is asked. Raises ConfigError."""
    from epmdless.cluster.encryption import load_node_context
    from epmdless.net.tls.keeper import load_certificates

    if (files := _tls_files(found)) is not None:
        load_certificates(files, "cluster.tls", load_node_context, source)


def _tls_files(found: Config) -> TlsFiles | None:
    from epmdless.net.tls.contexts import TlsFiles

    tls = found.cluster.tls
    return None if tls is None else TlsFiles(tls.cert, tls.key, tls.ca, tls.min_version)


def _plan(node: str, found: Config, cookie: bytes | None, epmd_port: int, *, asks_epmd: bool) -> Plan:
    from epmdless.doctor.plan import Plan
    from epmdless.resolve.build import own_host

    tls, own = found.cluster.tls, own_host(found.resolve)
    is_own = node.partition("@")[2] == own
    return Plan(
        node=node,
        epmd_port=epmd_port,
        resolve=found.resolve,
        own_host=own,
        routes=found.relay.route,
        tls=_tls_files(found),
        server_name=tls.server_name if tls is not None and is_own else None,
        cookie=cookie,
        asks_epmd=asks_epmd,
        inetrc=os.environ.get("ERL_INETRC"),
    )


def _walk(plan: Plan, found: Config, watch: Watch = lambda _: None) -> Report:
    from epmdless import log as logs
    from epmdless.cli import waiting
    from epmdless.doctor.walk import walk

    # What a resolver has to complain of is in the report.
    return waiting.run(walk, plan, logs.configure("error", found.log.format), watch)
