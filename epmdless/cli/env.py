"""``epmdless env``: the environment that a release needs here."""

from __future__ import annotations

import json
import os
import sys

import click

from epmdless.cli.env_options import EnvOptions, env_options, planned, to_json
from epmdless.cli.options import JSON_OPTION


@click.command()
@env_options
@click.option(
    "--format",
    "form",
    type=click.Choice(("export", "dotenv")),
    default="export",
    show_default=True,
    help="Lines for a shell, or a file of variables.",
)
@JSON_OPTION
def env(options: EnvOptions, form: str, as_json: bool) -> None:
    """Print the environment that makes a release listen where its name says, on this platform.

    In env.sh.eex, so that a failure ends the start:

    \b
        variables="$(epmdless env --app shop)" || exit 2
        eval "$variables"
    """
    from epmdless.errors import ConfigError
    from epmdless.releases import ReleaseError, dotenv_lines, export_lines

    facts, plan = planned(options, os.environ)
    if as_json:
        text = json.dumps(to_json(facts, plan), ensure_ascii=False) + "\n"
    else:
        try:
            text = export_lines(plan) if form == "export" else dotenv_lines(plan)
        except ReleaseError as error:
            raise ConfigError("", "", str(error)) from None
    sys.stdout.write(text)
