"""The command ``epmdless nodes``: who is published in a DNS zone, by whichever host."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from epmdless.addresses import Endpoint
from epmdless.cli.options import CONFIG_OPTION, JSON_OPTION
from epmdless.errors import ConfigError, EpmdlessError

if TYPE_CHECKING:
    from epmdless.publish.lease import Lease

TIMEOUT = 2.0
"""Seconds for one question to one server."""

LIFETIME = 6.0
"""Seconds for all servers and tries together."""


@click.command()
@click.option("--service", metavar="NAME", help="Those of this service alone.")
@click.option(
    "--random", "is_random", is_flag=True, help="One of them, by chance: its name and nothing else."
)
@click.option("--zone", metavar="ZONE", help="The zone, instead of the configuration's.")
@click.option(
    "--server",
    "servers",
    metavar="ADDRESS",
    multiple=True,
    help="The DNS server to ask; may be repeated. Otherwise the configuration's, or the system's.",
)
@JSON_OPTION
@CONFIG_OPTION
def nodes(
    service: str | None,
    is_random: bool,
    zone: str | None,
    servers: tuple[str, ...],
    as_json: bool,
    config_file: str | None,
) -> None:
    """List the nodes that hosts have published in a DNS zone.

    Those whose lease is over, since their host has crashed, are left out.

    The exit status is 0; 1 if no DNS server answers or, with --random, there is no node; 2 if the command
    line or the configuration is wrong.
    """
    from epmdless.config import ALL_NODES

    wanted = ALL_NODES if service is None else service
    where, endpoints = _zone_and_servers(zone, servers, wanted, config_file)
    leases = _ask(where, endpoints, wanted)
    if is_random:
        if not leases:
            of = f" of service {service}" if service else ""
            raise EpmdlessError(f"no node{of} is published in {where}")
        leases = [random.choice(leases)]
    if as_json:
        document = {"zone": where, "service": wanted, "nodes": [_to_json(lease) for lease in leases]}
        click.echo(json.dumps(document, ensure_ascii=False))
    elif is_random:
        click.echo(leases[0].node)
    else:
        _show(leases)


def _zone_and_servers(
    zone: str | None, servers: tuple[str, ...], service: str, config_file: str | None
) -> tuple[str, Sequence[Endpoint]]:
    """Where to ask. Raises ConfigError."""
    from epmdless.cli import configuration
    from epmdless.config import is_service
    from epmdless.resolve.dns_client import DNS_PORT
    from epmdless.resolve.srv_records import is_domain

    if not is_service(service):
        raise ConfigError("--service", "", f"{service!r} is no name for a service")
    try:
        endpoints = [Endpoint.parse(server, DNS_PORT) for server in servers]
    except EpmdlessError as error:
        raise ConfigError("--server", "", str(error)) from None
    found, source = configuration.read_config(configuration.find_file(config_file))
    section = found.publish
    if zone is None and section is None:
        raise ConfigError(source, "publish", "missing: name the zone with --zone, or configure it")
    configured = "" if section is None else section.zone.lower().removesuffix(".")
    where = configured if zone is None else zone.lower().removesuffix(".")
    if not is_domain(where):
        raise ConfigError("--zone", "", f"{zone!r} is not a domain name")
    if section is not None and not endpoints and where == configured:
        endpoints = [server.endpoint(DNS_PORT) for server in section.servers]
    return where, endpoints


def _ask(zone: str, servers: Sequence[Endpoint], service: str) -> list[Lease]:
    """The leases that count, by name. Raises EpmdlessError."""
    from epmdless.cli import waiting
    from epmdless.publish.lease import live_leases_untrusted
    from epmdless.resolve.dns_client import DnsClient

    remedy = "; name one with --server"
    client = DnsClient(servers, timeout=TIMEOUT, lifetime=LIFETIME, tcp=True, remedy=remedy)
    texts = waiting.run(client.ask_txt, f"_{service}._tcp.{zone}.")
    return live_leases_untrusted(texts, time.time())


def _to_json(lease: Lease) -> dict[str, Any]:
    return {
        "name": lease.node,
        "port": lease.port,
        "target": lease.target,
        "addresses": list(lease.addresses),
        "services": list(lease.services),
        "until": lease.until,
    }


def _show(leases: Sequence[Lease]) -> None:
    from rich.table import Table
    from rich.text import Text

    from epmdless.cli import show
    from epmdless.cli.links_table import duration
    from epmdless.names import printable

    now = time.time()
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title, style, justify in (
        ("NODE", "bold", "left"),
        ("PORT", "cyan", "right"),
        ("TARGET", "", "left"),
        ("LEASE", "", "right"),
        ("SERVICES", "", "left"),
    ):
        table.add_column(title, style=style, justify="right" if justify == "right" else "left", no_wrap=True)
    for lease in leases:
        left = duration(max(0.0, lease.until - now))
        cells = (lease.node, str(lease.port), lease.target, left, ", ".join(lease.services) or "-")
        table.add_row(*(Text(printable(cell)) for cell in cells))
    show.console().print(table)
