"""What ``epmdless cluster`` shows: who is joined with whom, who said so, and why not; once or each second.

Exit statuses: 0 shown; 1 nobody answers, or no cluster is configured there; 2 the command line or the
configuration is wrong.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

import click
from rich.console import Console, Group, RenderableType

from epmdless.cli import cluster_table, show
from epmdless.cli.cluster_views import ClusterAnswer
from epmdless.cli.control import ControlClient
from epmdless.cli.links import INTERVAL, Pause


def show_once(client: ControlClient, *, as_json: bool) -> None:
    """Print the cluster as it is.

    :raises EpmdlessError: nobody answers, or not as it must.
    """
    answer = client.cluster()
    if as_json:
        _print_json(answer)
    else:
        console = show.console()
        console.print(Group(*cluster_table.tables(answer.sample, console)))


def watch_json(client: ControlClient, pause: Pause = time.sleep) -> None:
    """Print a document a line, each second, for ever. Raises EpmdlessError as `show_once`."""
    for answer in _answers(client, pause):
        _print_json(answer)


def watch(
    client: ControlClient,
    console: Console,
    pause: Pause = time.sleep,
    heading: Callable[[], RenderableType | None] = lambda: None,
) -> None:
    """Show it each second, for ever: in place on a terminal, one after the other elsewhere.

    Raises EpmdlessError as `show_once`.

    :param heading: what stands above the tables on a terminal, made anew each time.
    """
    show.follow(
        _answers(client, pause),
        console,
        lambda answer: Group(*cluster_table.tables(answer.sample, console)),
        lambda answer: cluster_table.screen(answer.sample, console, heading()),
    )


def _answers(client: ControlClient, pause: Pause) -> Iterator[ClusterAnswer]:
    """One at once, and then one for each interval, for ever."""
    while True:
        yield client.cluster()
        pause(INTERVAL)


def _print_json(answer: ClusterAnswer) -> None:
    click.echo(json.dumps(answer.document, ensure_ascii=False))
