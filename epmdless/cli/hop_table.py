"""What was found out about the gateways of hops, as tables for people."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from epmdless.config import HostPort
from epmdless.hop.gateway import Standing
from epmdless.hop.probe import Certificate, Report
from epmdless.names import printable
from epmdless.net.tls.contexts import WARN_DAYS, days_left

UNKNOWN = "-"


class Checked(NamedTuple):
    """A hop that was looked at."""

    name: str
    standing: Standing
    reports: Sequence[Report]

    @property
    def own(self) -> Certificate | None:
        """The certificate that we show there; None: we show none."""
        certificates = self.standing.certificates
        if certificates is None or certificates.files.cert is None:
            return None
        return Certificate(certificates.names, certificates.not_after)


def show(console: Console, checked: Sequence[Checked], target: HostPort | None, now: float) -> None:
    """Print it: for each hop its gateways, what they allow, and what is wrong.

    :param target: what each was asked for, if anything.
    :param now: seconds since the epoch.
    """
    for number, hop in enumerate(checked):
        if number:
            console.print()
        console.print(_heading(hop, now), soft_wrap=True)
        console.print(_gateways(hop, now))
        if any(_answers(report) for report in hop.reports):
            console.print(_allowed(hop.reports))
        for report in hop.reports:
            if target is not None and report.answer is not None:
                console.print(_answer(report, target), soft_wrap=True)
        for report in hop.reports:
            if report.problem is not None:
                console.print(Text(printable(str(report.problem)), style="red"), soft_wrap=True)


def days(not_after: float, now: float) -> Text:
    """Days until a certificate ends: yellow when that is soon, red when it has ended."""
    left = days_left(not_after, now)
    if math.isinf(left):
        return Text(UNKNOWN)
    if left <= 0:
        return Text("ended", style="red")
    return Text(str(math.floor(left)), style="yellow" if left <= WARN_DAYS else "")


def _heading(hop: Checked, now: float) -> Text:
    """Which hop it is, and whom we say that we are."""
    line = Text(f"hop {printable(hop.name)}", style="bold")
    if hop.own is None:
        known = "without TLS" if hop.standing.certificates is None else "we show no certificate"
        return line.append(f": {known}", style="not bold")
    names = printable(", ".join(hop.own.names)) or "nobody"
    line.append(f": our certificate is for {names}; days left: ", style="not bold")
    return line.append(days(hop.own.not_after, now))


def _gateways(hop: Checked, now: float) -> Table:
    table = _table("GATEWAY", "ADDRESS", "TLS", "CERTIFICATE", "DAYS", "RTT ms", "STATE")
    for report in hop.reports:
        tls = report.tls
        version = f"{tls.version} {tls.cipher.removeprefix('TLS_')}" if tls else UNKNOWN
        is_plain = hop.standing.certificates is None and tls is None and report.address is not None
        table.add_row(
            Text(str(report.gateway), style="bold"),
            Text(report.address or UNKNOWN),
            Text("none" if is_plain else printable(version)),
            Text(printable(", ".join(tls.certificate.names)) if tls else UNKNOWN),
            days(tls.certificate.not_after, now) if tls else Text(UNKNOWN),
            Text(UNKNOWN if report.round_trip is None else f"{report.round_trip * 1000:.2f}", style="cyan"),
            Text("good", style="green") if report.problem is None else Text("bad", style="red"),
        )
    return table


def _answers(report: Report) -> bool:
    """Whether it is known what it allows, or at least that it does not tell."""
    return report.problem is None or report.told is not None


def _allowed(reports: Sequence[Report]) -> Table:
    """What we may reach: a line for each entry, with the gateway in each."""
    table = _table("GATEWAY", "ALLOWED HOSTS", "PORTS", "NODES")
    for report in reports:
        gateway = Text(str(report.gateway), style="bold")
        if report.told is not None:
            for allowed in report.told.allow:
                parts = (allowed.hosts, allowed.ports, allowed.nodes)
                table.add_row(gateway, *(Text(printable(", ".join(part))) for part in parts))
        elif _answers(report):
            table.add_row(gateway, Text("a CONNECT proxy, which does not tell"), UNKNOWN, UNKNOWN)
    return table


def _answer(report: Report, target: HostPort) -> Text:
    """What came of asking for the target."""
    assert report.answer is not None, "it was asked"
    answer, said = report.answer, report.answer.proxy_status
    good = report.problem is None
    line = Text(f"{report.gateway}: CONNECT {target}: ")
    line.append(printable(f"{answer.status} {answer.reason}".rstrip()), style="green" if good else "red")
    if said is not None and said.error is not None:
        line.append(printable(f", {said.proxy} says {said.error}"))
    return line


def _table(*titles: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in titles:
        is_number = title in ("DAYS", "RTT ms")
        table.add_column(title, justify="right" if is_number else "left", overflow="fold", no_wrap=is_number)
    return table
