"""What a walk to a node found out, as lines for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from epmdless.doctor.report import EXIT_STATUS, Report, Step, StepName, Verdict
from epmdless.names import printable


class Mark(NamedTuple):
    """How a verdict is shown: where the locale has the sign, and where it has not."""

    sign: str
    plain: str
    style: str


MARKS: Mapping[Verdict, Mark] = {
    "ok": Mark("✓", "+", "green"),
    "warning": Mark("!", "!", "yellow"),
    "failed": Mark("✗", "x", "red"),
    "skipped": Mark("·", "-", "dim"),
}


def title(name: StepName) -> str:
    """A step as people read it."""
    return name.replace("_", " ")


def show(console: Console, report: Report) -> None:
    """Print a line for each step, where the way ends, and what to do."""
    can_sign = _can_show(console, "".join(mark.sign for mark in MARKS.values()))
    console.print(Text(printable(report.node), style="bold"), soft_wrap=True)
    table = Table(box=None, pad_edge=False, show_header=False)
    for justify in ("left", "left", "right", "left"):
        table.add_column(justify=justify, overflow="fold")
    for step in report.steps:
        mark = MARKS[step.finding.verdict]
        style = mark.style if step.finding.verdict in ("failed", "skipped") else ""
        table.add_row(
            Text(mark.sign if can_sign else mark.plain, style=mark.style),
            Text(title(step.name), style="bold"),
            Text(_time(step), style="dim"),
            Text(_shown(console, step.finding.said), style=style),
        )
    console.print(table)
    console.print(_verdict(console, report), soft_wrap=True)
    bullet = "→" if _can_show(console, "→") else "-"
    for line in report.advice:
        console.print(Text(f"  {bullet} {_shown(console, line)}"), soft_wrap=True)


def _time(step: Step) -> str:
    return "" if step.seconds is None else f"{step.seconds * 1000:.1f} ms"


def _verdict(console: Console, report: Report) -> Text:
    ended = report.ended_at
    if ended is not None:
        line = Text(f"The way ends at {title(ended.name)}", style="bold red")
        line.append(f" (exit status {EXIT_STATUS[ended.name]}): ", style="not bold")
        return line.append(_shown(console, ended.finding.said), style="not bold")
    warned = [step.name for step in report.steps if step.finding.verdict == "warning"]
    if warned:
        return Text(f"The node is reached; look at {', '.join(warned)}", style="bold yellow")
    return Text("The node is reached", style="bold green")


def _shown(console: Console, text: str) -> str:
    """The text, which may hold what came from the network, with quotes that the locale has."""
    shown = printable(text)
    if not _can_show(console, "“”…"):
        shown = shown.replace("“", '"').replace("”", '"').replace("…", "...")
    return shown


def _can_show(console: Console, text: str) -> bool:
    try:
        text.encode(console.encoding)
    except UnicodeError:
        return False
    return True
