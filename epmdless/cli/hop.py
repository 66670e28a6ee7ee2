"""The command ``epmdless hop``: whether the gateways of hops are good."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from epmdless.cli.options import CONFIG_OPTION, JSON_OPTION
from epmdless.config import HopSection, HostPort
from epmdless.errors import ConfigError, LocalProtocolError

if TYPE_CHECKING:
    from epmdless.cli.hop_table import Checked
    from epmdless.hop.gateway import Standing
    from epmdless.hop.probe import Certificate, Report


@click.group()
def hop() -> None:
    """Look at hops: the ways through gateways to other subnets."""


@hop.command()
@click.argument("name", required=False)
@CONFIG_OPTION
@click.option("--target", metavar="HOST:PORT", help="Have each gateway dial this too, and say what came.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="For the connection and for each answer (default: connect_timeout, and 10).",
)
@JSON_OPTION
def check(
    name: str | None, config_file: str | None, target: str | None, timeout: float | None, as_json: bool
) -> None:
    """Ask every gateway of the hop NAME (default: of all hops) what it allows.

    Each gets a connection of its own, with the certificates that the configuration names now. The exit
    status is 0 if all are good, 1 if some are not, 2 if the configuration is wrong.
    """
    from epmdless.cli import configuration, hop_table, show
    from epmdless.hop.hops import prepare

    wanted = None if target is None else _parse_target(name, target)
    found, source = configuration.read_config(configuration.find_file(config_file))
    standings = prepare(_chosen(found.hop, name, source), source)
    console = show.console()
    if as_json:
        checked = _check(standings, timeout, wanted)
        click.echo(json.dumps(_to_json(checked, wanted), ensure_ascii=False))
    else:
        gateways = sum(len(standing.section.gateways) for standing in standings.values())
        with console.status(f"asking {gateways} gateway{'s' * (gateways != 1)}"):
            checked = _check(standings, timeout, wanted)
        hop_table.show(console, checked, wanted, time.time())
    sys.exit(0 if all(report.problem is None for hop in checked for report in hop.reports) else 1)


def _parse_target(name: str | None, text: str) -> HostPort:
    """Read a target, and see that it can be asked for. Raises ConfigError."""
    from epmdless.wire.connect import encode_connect

    if name is None:
        raise click.UsageError("--target needs the NAME of a hop: other hops lead elsewhere")
    try:
        target = HostPort.parse(text)
        encode_connect(target.host, target.port)
    except (ValueError, LocalProtocolError) as error:
        raise ConfigError("--target", "", str(error)) from None
    return target


def _chosen(hops: Mapping[str, HopSection], name: str | None, source: str) -> Mapping[str, HopSection]:
    """The hop of this name, or all.

    :raises ConfigError: there is none.
    """
    if not hops:
        raise ConfigError(source, "hop", "no hop is configured")
    if name is None:
        return hops
    if name not in hops:
        raise ConfigError(source, "hop", f"there is no hop {name!r}, only {', '.join(hops)}")
    return {name: hops[name]}


def _check(
    standings: Mapping[str, Standing], timeout: float | None, target: HostPort | None
) -> list[Checked]:
    """Ask all gateways of all these hops at once."""
    import trio

    from epmdless.cli import waiting
    from epmdless.cli.hop_table import Checked
    from epmdless.hop.probe import probe_hop

    reports: dict[str, list[Report]] = {}

    async def one(name: str, standing: Standing) -> None:
        reports[name] = await probe_hop(standing, seconds=timeout, target=target)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for name, standing in standings.items():
                nursery.start_soon(one, name, standing)

    waiting.run(main)
    return [Checked(name, standing, reports[name]) for name, standing in standings.items()]


# JSON


def _to_json(checked: list[Checked], target: HostPort | None) -> dict[str, Any]:
    """Times in ISO 8601; null: not found out, or not there."""
    plain: dict[str, Any] = {
        "hops": [
            {
                "hop": hop.name,
                "certificate": _certificate_to_json(hop.own),
                "gateways": [_report_to_json(report) for report in hop.reports],
            }
            for hop in checked
        ]
    }
    return plain if target is None else {"target": str(target), **plain}


def _report_to_json(report: Report) -> dict[str, Any]:
    """One gateway; `answer` is there where a target was asked for."""
    tls, told, problem = report.tls, report.told, report.problem
    plain: dict[str, Any] = {
        "gateway": str(report.gateway),
        "address": report.address,
        "tls": tls and {"version": tls.version, "cipher": tls.cipher},
        "certificate": _certificate_to_json(tls and tls.certificate),
        "round_trip_ms": None if report.round_trip is None else report.round_trip * 1000,
        "client": told and told.client,
        "allow": told
        and [
            {"hosts": allowed.hosts, "ports": allowed.ports, "nodes": allowed.nodes} for allowed in told.allow
        ],
        "problem": problem and {"code": problem.code, "text": str(problem)},
    }
    if (answer := report.answer) is not None:
        said = answer.proxy_status
        plain["answer"] = {
            "status": answer.status,
            "reason": answer.reason,
            "error": said and said.error,
            "details": said and said.details,
        }
    return plain


def _certificate_to_json(certificate: Certificate | None) -> dict[str, Any] | None:
    from epmdless.net.tls.contexts import days_left

    if certificate is None:
        return None
    ends = math.isfinite(certificate.not_after)  # a certificate that names nobody tells no end either
    return {
        "names": certificate.names,
        "not_after": datetime.fromtimestamp(certificate.not_after, UTC).isoformat() if ends else None,
        "days_left": round(days_left(certificate.not_after, time.time()), 1) if ends else None,
    }
