"""The command ``epmdless certs``: a small private CA, to try gateways out with."""

from __future__ import annotations

import json
import shlex
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table
from rich.text import Text

from epmdless.cli.options import JSON_OPTION
from epmdless.names import printable

if TYPE_CHECKING:
    from epmdless.cli.private_ca import Made, Pair

ZONE_OPTION = click.option(
    "--zone",
    "zones",
    metavar="ZONE[=NAME,...]",
    multiple=True,
    required=True,
    help="A zone, and the names in its certificate: host names, IP addresses, URIs (default: ZONE).",
)
DAYS_OPTION = click.option(
    "--days",
    type=click.IntRange(1, 3650),
    default=825,
    show_default=True,
    help="How long the zones' certificates are good for, at most as long as the CA.",
)


@click.group()
def certs() -> None:
    """Make a small private CA and certificates, to try gateways out with.

    Nothing is ever overwritten. Keys are for their owner only (mode 0600) and not encrypted.
    """


@certs.command()
@click.argument("folder", metavar="DIR")
@ZONE_OPTION
@DAYS_OPTION
@JSON_OPTION
def init(folder: str, zones: tuple[str, ...], days: int, as_json: bool) -> None:
    """Make ca.crt and ca.key in DIR, and ZONE.crt and ZONE.key for each zone.

    Each certificate is also for localhost, 127.0.0.1 and ::1, and for both ends of a hop. The CA is good
    for ten years.
    """
    from epmdless.cli import private_ca

    wanted = private_ca.parse_zones(zones)
    _report(private_ca.init(Path(folder), wanted, days), as_json=as_json)


@certs.command()
@click.argument("folder", metavar="DIR")
@ZONE_OPTION
@DAYS_OPTION
@JSON_OPTION
def add(folder: str, zones: tuple[str, ...], days: int, as_json: bool) -> None:
    """Make ZONE.crt and ZONE.key for further zones, signed by the CA that is in DIR."""
    from epmdless.cli import private_ca

    wanted = private_ca.parse_zones(zones)
    _report(private_ca.add(Path(folder), wanted, days), as_json=as_json)


def _report(made: Made, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(_to_json(made), ensure_ascii=False))
    else:
        _show(made)


def _to_json(made: Made) -> dict[str, Any]:
    """Absolute paths, and times in ISO 8601; ``ca.new`` says whether the CA was made just now."""
    return {
        "ca": {**_files_to_json(made.ca), "new": made.is_new},
        "zones": [
            {"zone": zone.name, "names": list(zone.names), **_files_to_json(files)}
            for zone, files in made.zones
        ],
    }


def _files_to_json(files: Pair) -> dict[str, str]:
    return {
        "cert": str(files.cert.absolute()),
        "key": str(files.key.absolute()),
        "not_after": files.not_after.isoformat(),
    }


def _show(made: Made) -> None:
    """What was written, a line a file, and what to do with it."""
    from epmdless.cli import show

    console = show.console()
    console.print(_table(made))
    for line in _next_steps(made):
        console.print(Text(line, style="dim"), soft_wrap=True)


def _table(made: Made) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("FILE", style="bold", overflow="fold")
    table.add_column("GOOD UNTIL", style="cyan", no_wrap=True)
    table.add_column("FOR", overflow="fold")

    def row(path: Path, until: datetime | None, purpose: Text) -> None:
        table.add_row(Text(printable(str(path))), f"{until:%Y-%m-%d}" if until else "", purpose)

    if made.is_new:
        row(made.ca.cert, made.ca.not_after, Text("every host: whom to believe"))
        row(made.ca.key, None, Text("no host: who has it can let anybody in", style="yellow"))
    for zone, files in made.zones:
        row(files.cert, files.not_after, Text(", ".join(zone.names)))
        row(files.key, None, Text(f"{zone.name} alone"))
    return table


def _next_steps(made: Made) -> tuple[str, str]:
    zone, files = made.zones[0]
    paths = [json.dumps(str(path.absolute())) for path in (files.cert, files.key, made.ca.cert)]
    keys = ", ".join(f"{key} = {path}" for key, path in zip(("cert", "key", "ca"), paths, strict=True))
    return (
        f"for {zone.name}, in [gateway.tls] or [hop.NAME.tls]: {keys}",
        f"for one more zone: epmdless certs add {shlex.quote(printable(str(made.folder)))} --zone NAME",
    )
