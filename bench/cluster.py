"""Clustering: nodes on hosts of their own are joined, by epmdless and by the home-made way.

From the project's root, as root: ``python -m bench.cluster`` (or ``python bench/cluster.py``). Each host is
a network namespace with its own address, EPMD server and BEAM node; all are on one bridge, with a real DNS
server. The exit status is 1 when a row is an error; a target that is not met shows in the table only.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import epmdless
from bench import cluster_appears, cluster_cold, cluster_names
from bench.cluster_bench import Bench, Question
from bench.cluster_cold import WAYS
from bench.cluster_world import MAX_HOSTS
from bench.questions import ask
from bench.relay_bench import chosen_labels
from bench.report import Row, print_table, write_json
from bench.support import (
    RESULTS,
    Progress,
    debian_version,
    end_cleanly_on_sigterm,
    machine_facts,
    raise_descriptor_limit,
)

QUICK_HOSTS, QUICK_ROUNDS, QUICK_MEMBERS, QUICK_APPEARANCES, QUICK_POLL = 4, 1, 2, 1, 0.5
QUICK_NAMES, QUICK_POLLS, QUICK_ATTEMPT_SECONDS = 500, 3, 1.0
"""What --quick sets at most: enough to see that all works, too little to quote."""

QUESTIONS: dict[str, Question] = {
    **cluster_cold.QUESTIONS,
    **cluster_appears.QUESTIONS,
    **cluster_names.QUESTIONS,
}


@click.command(help=__doc__)
@click.option(
    "--hosts", default=30, show_default=True, type=click.IntRange(2, MAX_HOSTS), help="That start cold."
)
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(min=1))
@click.option("--ways", default=",".join(WAYS), show_default=True, help="Comma list: how they are joined.")
@click.option(
    "--only", multiple=True, type=click.Choice(list(QUESTIONS)), help="May be repeated. Default: all."
)
@click.option("--quick", is_flag=True, help="Short and small: shows that all works, not to be quoted.")
@click.option(
    "--members",
    default=5,
    show_default=True,
    type=click.IntRange(1, 100),
    help="Joined when another appears.",
)
@click.option(
    "--appearances", default=5, show_default=True, type=click.IntRange(1, 100), help="Of others, each way."
)
@click.option(
    "--poll", default=2.0, show_default=True, type=click.FloatRange(0.1), help="Seconds, of DNS, meanwhile."
)
@click.option(
    "--names", default=10_000, show_default=True, type=click.IntRange(10, 20_000), help="Of a long list."
)
@click.option(
    "--polls", default=30, show_default=True, type=click.IntRange(1), help="Of the long list, each way."
)
@click.option(
    "--attempt-seconds", default=60.0, show_default=True, help="That attempts to join its names are watched."
)
@click.option("--keep", type=click.Path(path_type=Path), help="A folder for the programs' logs.")
@click.option(
    "--json", "json_path", type=click.Path(path_type=Path), help="Default: bench/results/cluster.json."
)
def main(
    *,
    hosts: int,
    rounds: int,
    ways: str,
    only: tuple[str, ...],
    quick: bool,
    members: int,
    appearances: int,
    poll: float,
    names: int,
    polls: int,
    attempt_seconds: float,
    keep: Path | None,
    json_path: Path | None,
) -> None:
    """Measure, print the table, write the JSON file."""
    if quick:
        hosts, rounds, members = (
            min(hosts, QUICK_HOSTS),
            min(rounds, QUICK_ROUNDS),
            min(members, QUICK_MEMBERS),
        )
        appearances = min(appearances, QUICK_APPEARANCES)
        poll, names, polls = min(poll, QUICK_POLL), min(names, QUICK_NAMES), min(polls, QUICK_POLLS)
        attempt_seconds = min(attempt_seconds, QUICK_ATTEMPT_SECONDS)
    end_cleanly_on_sigterm()
    raise_descriptor_limit()
    bench = Bench(
        hosts=hosts,
        rounds=rounds,
        ways=chosen_labels(ways, list(WAYS)),
        members=members,
        appearances=appearances,
        poll=poll,
        names=names,
        polls=polls,
        attempt_seconds=attempt_seconds,
        keep=keep,
        progress=Progress(),
    )
    rows = ask(bench, QUESTIONS, only)
    print_table(f"Clustering: {hosts} hosts, {rounds} rounds", rows)
    settings: dict[str, object] = {
        "hosts": hosts,
        "rounds": rounds,
        "ways": bench.ways,
        "members": members,
        "appearances": appearances,
        "poll": poll,
        "names": names,
        "polls": polls,
        "attempt_seconds": attempt_seconds,
        "quick": quick,
    }
    write_json(json_path or RESULTS / "cluster.json", document(settings, rows))
    sys.exit(any(row.error for row in rows))


def document(settings: dict[str, object], rows: list[Row]) -> dict[str, object]:
    """The JSON file: settings, what was measured on what, and every figure."""
    programs = ("/usr/bin/erl", "/usr/bin/epmd", "/usr/sbin/dnsmasq")
    return {
        "benchmark": "cluster",
        "settings": settings,
        "machine": machine_facts(),
        "ours": epmdless.__version__,
        "peers": {Path(path).name: debian_version(Path(path)) or "unknown" for path in programs},
        "rows": rows,
    }


if __name__ == "__main__":
    main()
