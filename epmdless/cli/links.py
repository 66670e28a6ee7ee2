"""What ``epmdless links`` shows: the links of a running relay, with their rates, once or each second."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console, RenderableType

from epmdless.cli import configuration, links_table, show
from epmdless.cli.control import Answer, ControlClient, Direction, Sample
from epmdless.cli.links_table import LinkRates, Rate
from epmdless.net.control import SYSTEM_PATH, default_control_path

INTERVAL = 1.0
"""Seconds between two samples."""

Pause = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Picture:
    """The links at one moment, and how fast they were since the moment before."""

    answer: Answer
    rates: dict[int, LinkRates]

    def to_json(self) -> dict[str, Any]:
        """The document as it came, with ``rates`` in each direction of each link."""
        for link in self.answer.document["links"]:
            rates = self.rates[link["id"]]
            for way, rate in zip(("near_to_far", "far_to_near"), rates, strict=True):
                link[way]["rates"] = rate._asdict()
        return self.answer.document


def client_for(socket_path: str | None, config_file: str | None) -> ControlClient:
    """A client of the socket that was named, or configured, or that is in one of the usual places.

    :raises ConfigError: the configuration is wrong.
    """
    if socket_path is not None:
        return ControlClient([Path(socket_path)])
    found, _ = configuration.read_config(configuration.find_file(config_file))
    if found.control.socket is not None:
        return ControlClient([Path(found.control.socket)])
    return ControlClient(list(dict.fromkeys((SYSTEM_PATH, default_control_path(os.environ, os.geteuid())))))


def pictures(client: ControlClient, pause: Pause = time.sleep) -> Iterator[Picture]:
    """One picture for each interval, for ever; the first comes after the first interval.

    :raises EpmdlessError: nobody answers, or not as it must.
    """
    before = client.links().sample
    while True:
        pause(INTERVAL)
        answer = client.links()
        yield Picture(answer, rates_between(before, answer.sample))
        before = answer.sample


def rates_between(before: Sample, after: Sample) -> dict[int, LinkRates]:
    """How fast each link of the later sample was, near to far and far to near.

    A link that is new since then began with nothing.
    """
    seconds = after.now - before.now
    former = {link.id: link for link in before.links}
    rates = {}
    for link in after.links:
        old = former.get(link.id)
        rates[link.id] = LinkRates(
            _rate(old.near_to_far if old else NOTHING, link.near_to_far, seconds),
            _rate(old.far_to_near if old else NOTHING, link.far_to_near, seconds),
        )
    return rates


NOTHING = Direction(frames=0)
"""What a link that did not exist has carried."""


def _rate(before: Direction, after: Direction, seconds: float) -> Rate:
    """Two counts as a rate; None where the time between them says nothing (another process answers)."""
    if seconds <= 0 or after.bytes < before.bytes:
        return Rate(None, None)
    frames = None if after.frames is None else (after.frames - (before.frames or 0)) / seconds
    return Rate((after.bytes - before.bytes) / seconds, frames)


def show_once(client: ControlClient, *, as_json: bool, pause: Pause = time.sleep) -> None:
    """Print the links, with the rates of the second that this takes."""
    picture = next(pictures(client, pause))
    if as_json:
        _print_json(picture)
    else:
        console = show.console()
        console.print(links_table.table(picture.answer.sample, picture.rates, console))


def watch_json(client: ControlClient, pause: Pause = time.sleep) -> None:
    """Print a document a line, each second, for ever."""
    for picture in pictures(client, pause):
        _print_json(picture)


def watch(
    client: ControlClient,
    console: Console,
    pause: Pause = time.sleep,
    heading: Callable[[], RenderableType | None] = lambda: None,
) -> None:
    """Show the links each second, for ever: in place on a terminal, one table after the other elsewhere.

    :param heading: what stands above the table on a terminal, made anew for each picture.
    """
    show.follow(
        pictures(client, pause),
        console,
        lambda picture: links_table.table(picture.answer.sample, picture.rates, console),
        lambda picture: links_table.screen(picture.answer.sample, picture.rates, console, heading()),
    )


def _print_json(picture: Picture) -> None:
    click.echo(json.dumps(picture.to_json(), ensure_ascii=False))
