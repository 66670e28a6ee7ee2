"""EPMD lookups: epmdless against Debian's C epmd, in the same run, with the same load generator.

From the project's root: ``python -m bench.lookup`` (or ``python bench/lookup.py``). The rounds alternate
between the servers; figures are medians of the rounds. The server and the generator have a core each, the
same ones for both servers. A round in which other work on the machine took CPU time is replaced, up to a
bound; a row that stays disturbed says so. A lookup that fails is counted and makes its row an error. The
exit status is 1 when a row is an error; a target that is not met shows in the table only.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import epmdless
from bench.epmd_servers import Program
from bench.lookup_generator import Generator
from bench.lookup_questions import QUESTIONS, Bench
from bench.lookup_rounds import Alternation
from bench.report import Row, failed, print_table, write_json
from bench.support import (
    RESULTS,
    BenchError,
    Cores,
    Progress,
    debian_version,
    end_cleanly_on_sigterm,
    machine_facts,
    raise_descriptor_limit,
)

QUICK_ROUNDS, QUICK_SECONDS, QUICK_MANY, QUICK_SILENT = 2, 0.5, 2000, 1000
"""What --quick sets at most: enough to see that all works, too little to quote."""


@click.command(help=__doc__)
@click.option("--rounds", default=7, show_default=True, type=click.IntRange(min=1))
@click.option(
    "--seconds", default=1.5, show_default=True, type=click.FloatRange(0.1, 60), help="Of each run."
)
@click.option("--retries", default=7, show_default=True, help="Rounds more, for those other work disturbed.")
@click.option("--warm", default=0.3, show_default=True, help="Seconds of each run that do not count yet.")
@click.option(
    "--only", multiple=True, type=click.Choice(list(QUESTIONS)), help="May be repeated. Default: all."
)
@click.option("--quick", is_flag=True, help="Short and small: shows that all works, not to be quoted.")
@click.option("--many", default=20_000, show_default=True, help='Names in the questions about "many".')
@click.option("--silent", default=10_000, show_default=True, help="Silent connections.")
@click.option("--pin/--no-pin", default=True, show_default=True, help="A core each for server and generator.")
@click.option("--ours", metavar="COMMAND", help="In place of epmdless; {port} and {config} are filled in.")
@click.option("--peer", metavar="COMMAND", help="In place of the C epmd; {port} is filled in.")
@click.option(
    "--json", "json_path", type=click.Path(path_type=Path), help="Default: bench/results/lookup.json."
)
def main(
    *,
    rounds: int,
    seconds: float,
    retries: int,
    warm: float,
    only: tuple[str, ...],
    quick: bool,
    many: int,
    silent: int,
    pin: bool,
    ours: str | None,
    peer: str | None,
    json_path: Path | None,
) -> None:
    """Measure, print the table, write the JSON file."""
    if quick:
        rounds, retries, seconds = min(rounds, QUICK_ROUNDS), 0, min(seconds, QUICK_SECONDS)
        many, silent = min(many, QUICK_MANY), min(silent, QUICK_SILENT)
    end_cleanly_on_sigterm()
    progress = Progress()
    cores = Cores.apart() if pin else Cores(None, None)
    generator = compiled_generator(cores)
    bench = Bench(
        ours=Program.ours(ours),
        peer=Program.peer(peer),
        cores=cores,
        generator=generator,
        alternation=Alternation(generator, rounds, retries, seconds, warm, progress.say),
        progress=progress,
        many=many,
        silent=silent,
        descriptor_limit=raise_descriptor_limit(),
    )
    rows = ask(bench, [name for name in QUESTIONS if not only or name in only])
    print_table(f"EPMD lookups: medians of {rounds} alternating rounds of {seconds:g} s", rows)
    settings: dict[str, object] = {
        "rounds": rounds,
        "retries": retries,
        "seconds": seconds,
        "warm": warm,
        "pinned": cores.server is not None,
        "quick": quick,
    }
    write_json(json_path or RESULTS / "lookup.json", document(bench, settings, rows))
    sys.exit(any(row.error for row in rows))


def compiled_generator(cores: Cores) -> Generator:
    """The load generator, or a clear end of the program."""
    try:
        return Generator.compiled(cores.generator)
    except BenchError as error:
        raise click.ClickException(str(error)) from None


def ask(bench: Bench, names: Sequence[str]) -> list[Row]:
    """The rows of all questions called for; one that cannot be answered gives a row that says why."""
    rows: list[Row] = []
    try:
        for name in names:
            bench.progress.topic = name
            try:
                rows += QUESTIONS[name](bench)
            except BenchError as error:
                rows.append(failed(name, "", str(error)))
    finally:
        bench.progress.done()
    return rows


def document(bench: Bench, settings: dict[str, object], rows: list[Row]) -> dict[str, object]:
    """The JSON file: settings, what was measured on what, and every figure."""
    return {
        "benchmark": "lookup",
        "settings": settings,
        "machine": machine_facts(),
        "ours": epmdless.__version__ if bench.ours == Program.ours(None) else "overridden",
        "peer": debian_version(Path(bench.peer.command[0])) or "unknown",
        "rows": rows,
    }


if __name__ == "__main__":
    main()
