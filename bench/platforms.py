"""Platforms: containers, what they ask their platform, publishing in DNS, and the doctor.

From the project's root, as root: ``python -m bench.platforms`` (or ``python bench/platforms.py``). A
container is a PID namespace and a network of its own; beside `epmdless exec` runs the script that it
replaces, below tini. The DNS servers are real. The exit status is 1 when a row is an error; a target that is
not met shows in the table only.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import epmdless
from bench import platforms_doctor, platforms_env, platforms_publish, platforms_start
from bench.platforms_bench import Bench, Question
from bench.platforms_containers import WAYS
from bench.platforms_zone import KINDS
from bench.questions import ask
from bench.relay_bench import chosen_labels
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

QUICK_ROUNDS, QUICK_PATIENCE, QUICK_APPEARANCES, QUICK_NODES, QUICK_SECONDS = 1, 0.5, 2, 50, 2.0
"""What --quick sets at most: enough to see that all works, too little to quote."""

MOST_NODES = 500
"""That one host publishes."""

QUESTIONS: dict[str, Question] = {
    **platforms_start.QUESTIONS,
    **platforms_env.QUESTIONS,
    **platforms_publish.QUESTIONS,
    **platforms_doctor.QUESTIONS,
}


@click.command(help=__doc__)
@click.option("--rounds", default=7, show_default=True, type=click.IntRange(min=1))
@click.option("--ways", default=",".join(WAYS), show_default=True, help="Comma list: how containers start.")
@click.option("--servers", default=",".join(KINDS), show_default=True, help="Comma list: of DNS.")
@click.option(
    "--only", multiple=True, type=click.Choice(list(QUESTIONS)), help="May be repeated. Default: all."
)
@click.option("--quick", is_flag=True, help="Short and small: shows that all works, not to be quoted.")
@click.option(
    "--patience", default=5.0, show_default=True, help="Seconds until `curl | jq` is not waited for any more."
)
@click.option(
    "--appearances", default=20, show_default=True, type=click.IntRange(1), help="Of a node in DNS."
)
@click.option(
    "--nodes", default=MOST_NODES, show_default=True, type=click.IntRange(20, MOST_NODES), help="At once."
)
@click.option("--seconds", default=12.0, show_default=True, help="Of lookups, beside publishing.")
@click.option(
    "--json", "json_path", type=click.Path(path_type=Path), help="Default: bench/results/platforms.json."
)
def main(
    *,
    rounds: int,
    ways: str,
    servers: str,
    only: tuple[str, ...],
    quick: bool,
    patience: float,
    appearances: int,
    nodes: int,
    seconds: float,
    json_path: Path | None,
) -> None:
    """Measure, print the table, write the JSON file."""
    if quick:
        rounds, patience = min(rounds, QUICK_ROUNDS), min(patience, QUICK_PATIENCE)
        appearances, nodes = min(appearances, QUICK_APPEARANCES), min(nodes, QUICK_NODES)
        seconds = min(seconds, QUICK_SECONDS)
    end_cleanly_on_sigterm()
    raise_descriptor_limit()
    bench = Bench(
        rounds=rounds,
        ways=chosen_labels(ways, list(WAYS)),
        patience=patience,
        servers=chosen_labels(servers, list(KINDS)),
        appearances=appearances,
        nodes=nodes,
        seconds=seconds,
        cores=Cores.apart(),
        progress=Progress(),
    )
    rows = ask(bench, QUESTIONS, only)
    print_table(f"Platforms: {rounds} rounds", rows)
    settings: dict[str, object] = {
        "rounds": rounds,
        "ways": bench.ways,
        "patience": patience,
        "servers": bench.servers,
        "appearances": appearances,
        "nodes": nodes,
        "seconds": seconds,
        "quick": quick,
    }
    write_json(json_path or RESULTS / "platforms.json", document(settings, rows))
    sys.exit(any(row.error for row in rows))


def document(settings: dict[str, object], rows: list[Row]) -> dict[str, object]:
    """The JSON file: settings, what was measured on what, and every figure."""
    programs = [f"/usr/bin/{name}" for name in ("erl", "epmd", "mix", "tini", "curl", "jq")]
    programs += ["/usr/sbin/knotd", "/usr/sbin/named"]
    return {
        "benchmark": "platforms",
        "settings": settings,
        "machine": machine_facts(),
        "ours": epmdless.__version__,
        "peers": {Path(path).name: debian_version(Path(path)) or "unknown" for path in programs},
        "rows": rows,
    }


if __name__ == "__main__":
    main()
