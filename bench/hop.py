"""Hops: epmdless' relay and gateway with TLS between them, against pairs of HAProxy and of stunnel.

From the project's root: ``python -m bench.hop`` (or ``python bench/hop.py``). Nothing in the middle, the
relay alone and a hop without TLS are measured beside them. The rounds alternate between the ways; figures
are medians of the rounds. A run that other work on the machine disturbed is made again, up to a bound; a row
that stays disturbed says so. The exit status is 1 when a row is an error; a target that is not met shows in
the table only.
"""

from __future__ import annotations

import ssl
import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import epmdless
from bench import hop_failover, hop_memory, hop_questions
from bench.hop_peers import LABELS, REFERENCES, way
from bench.questions import ask
from bench.relay_bench import Bench, Question, chosen_labels, compiled_generator
from bench.relay_rounds import Alternation
from bench.report import Row, print_table, write_json
from bench.support import (
    RESULTS,
    Cores,
    Progress,
    debian_version,
    end_cleanly_on_sigterm,
    machine_facts,
    raise_descriptor_limit,
)

QUICK_ROUNDS, QUICK_SECONDS, QUICK_LINKS, QUICK_IDLE = 1, 0.2, 100, 0.5
"""What --quick sets at most: enough to see that all works, too little to quote."""

QUESTIONS: dict[str, Question] = {
    **hop_questions.QUESTIONS,
    **hop_memory.QUESTIONS,
    **hop_failover.QUESTIONS,
}


@click.command(help=__doc__)
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(min=1))
@click.option(
    "--seconds", default=2.0, show_default=True, type=click.FloatRange(0.1, 60), help="Of each run."
)
@click.option("--retries", default=3, show_default=True, help="Of each run, when other work disturbed it.")
@click.option("--warm", default=0.3, show_default=True, help="Seconds of each run that do not count yet.")
@click.option(
    "--only", multiple=True, type=click.Choice(list(QUESTIONS)), help="May be repeated. Default: all."
)
@click.option("--peers", default=",".join(LABELS), show_default=True, help="Comma list.")
@click.option("--quick", is_flag=True, help="Short and small: shows that all works, not to be quoted.")
@click.option("--links", default=1000, show_default=True, help="Tunnels whose memory is measured.")
@click.option("--idle-seconds", default=5.0, show_default=True, help="That they are idle before it is.")
@click.option(
    "--pin/--no-pin", default=True, show_default=True, help="A core for the near end, one for the far end."
)
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Default: bench/results/hop.json.")
def main(
    *,
    rounds: int,
    seconds: float,
    retries: int,
    warm: float,
    only: tuple[str, ...],
    peers: str,
    quick: bool,
    links: int,
    idle_seconds: float,
    pin: bool,
    json_path: Path | None,
) -> None:
    """Measure, print the table, write the JSON file."""
    if quick:
        rounds, retries, seconds = min(rounds, QUICK_ROUNDS), 0, min(seconds, QUICK_SECONDS)
        warm, links, idle_seconds = min(warm, 0.1), min(links, QUICK_LINKS), min(idle_seconds, QUICK_IDLE)
    end_cleanly_on_sigterm()
    raise_descriptor_limit()
    progress = Progress()
    cores = Cores.apart() if pin else Cores(None, None)
    bench = Bench(
        way=way,
        labels=chosen_labels(peers, LABELS),
        references=REFERENCES,
        cores=cores,
        # The generator is both ends in one thread: it goes where there is room, not to one end's core.
        generator=compiled_generator(None, cores.server),
        alternation=Alternation(rounds, retries, progress.say),
        progress=progress,
        seconds=seconds,
        warm=warm,
        links=links,
        idle_seconds=idle_seconds,
        nodes="beside",
    )
    rows = ask(bench, QUESTIONS, only)
    print_table(f"Hops: medians of {rounds} alternating rounds of {seconds:g} s", rows)
    settings: dict[str, object] = {
        "rounds": rounds,
        "retries": retries,
        "seconds": seconds,
        "warm": warm,
        "links": links,
        "idle_seconds": idle_seconds,
        "pinned": cores.server is not None,
        "quick": quick,
    }
    write_json(json_path or RESULTS / "hop.json", document(settings, rows))
    sys.exit(any(row.error for row in rows))


def document(settings: dict[str, object], rows: list[Row]) -> dict[str, object]:
    """The JSON file: settings, what was measured on what, and every figure."""
    programs = ("/usr/sbin/haproxy", "/usr/bin/stunnel4", "/usr/bin/erl")
    return {
        "benchmark": "hop",
        "settings": settings,
        "machine": machine_facts(),
        "ours": epmdless.__version__,
        "openssl": ssl.OPENSSL_VERSION,
        "peers": {Path(path).name: debian_version(Path(path)) or "unknown" for path in programs},
        "rows": rows,
    }


if __name__ == "__main__":
    main()
