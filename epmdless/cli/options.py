"""Options that several commands have."""

from __future__ import annotations

import click

CONFIG_OPTION = click.option(
    "--config", "config_file", metavar="FILE", help="Configuration file, instead of the usual places."
)
JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Write JSON.")
SOCKET_OPTION = click.option(
    "--socket", "socket_path", metavar="PATH", help="The control socket to ask, instead of the usual places."
)
