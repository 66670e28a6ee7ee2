"""The relay: epmdless against HAProxy, nginx and socat on the same job, and against nothing in the middle.

From the project's root: ``python -m bench.relay`` (or ``python bench/relay.py``). The rounds alternate
between the ways; figures are medians of the rounds. A run that other work on the machine disturbed is made
again, up to a bound; a row that stays disturbed says so. The exit status is 1 when a row is an error; a
target that is not met shows in the table only.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import epmdless
from bench import relay_beam, relay_link_questions, relay_questions
from bench.questions import ask
from bench.relay_bench import Bench, Question, chosen_labels, compiled_generator
from bench.relay_peers import COMMANDS, DIRECT, OURS, PEERS, way
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

QUICK_ROUNDS, QUICK_SECONDS, QUICK_LINKS, QUICK_IDLE = 1, 0.2, 100, 1.0
"""What --quick sets at most: enough to see that all works, too little to quote."""

ALL = (DIRECT, OURS, *PEERS)

QUESTIONS: dict[str, Question] = {
    **relay_beam.QUESTIONS,
    **relay_questions.QUESTIONS,
    **relay_link_questions.QUESTIONS,
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
@click.option(
    "--peers", default=",".join(ALL), show_default=True, help=f"Comma list; also: {', '.join(COMMANDS)}."
)
@click.option("--quick", is_flag=True, help="Short and small: shows that all works, not to be quoted.")
@click.option("--links", default=2000, show_default=True, help="Idle links, and links that work at once.")
@click.option("--idle-seconds", default=20.0, show_default=True, help="That idle links are watched.")
@click.option("--pin/--no-pin", default=True, show_default=True, help="A core each for middle and generator.")
@click.option(
    "--nodes",
    default="beside",
    show_default=True,
    type=click.Choice(["beside", "apart", "free"]),
    help="The far BEAM node: on the middle's core, on the near node's, or each where the kernel likes.",
)
@click.option(
    "--json", "json_path", type=click.Path(path_type=Path), help="Default: bench/results/relay.json."
)
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
    nodes: str,
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
        labels=chosen_labels(peers, (DIRECT, *COMMANDS)),
        references=(DIRECT,),
        cores=cores,
        generator=compiled_generator(cores.generator, cores.server),
        alternation=Alternation(rounds, retries, progress.say),
        progress=progress,
        seconds=seconds,
        warm=warm,
        links=links,
        idle_seconds=idle_seconds,
        nodes=nodes,
    )
    rows = ask(bench, QUESTIONS, only)
    print_table(f"Relay: medians of {rounds} alternating rounds of {seconds:g} s", rows)
    settings: dict[str, object] = {
        "rounds": rounds,
        "retries": retries,
        "seconds": seconds,
        "warm": warm,
        "links": links,
        "idle_seconds": idle_seconds,
        "pinned": cores.server is not None,
        "nodes": nodes,
        "quick": quick,
    }
    write_json(json_path or RESULTS / "relay.json", document(settings, rows))
    sys.exit(any(row.error for row in rows))


def document(settings: dict[str, object], rows: list[Row]) -> dict[str, object]:
    """The JSON file: settings, what was measured on what, and every figure."""
    programs = ("/usr/sbin/haproxy", "/usr/sbin/nginx", "/usr/bin/socat", "/usr/bin/erl")
    return {
        "benchmark": "relay",
        "settings": settings,
        "machine": machine_facts(),
        "ours": epmdless.__version__,
        "peers": {Path(path).name: debian_version(Path(path)) or "unknown" for path in programs},
        "rows": rows,
    }


if __name__ == "__main__":
    main()
