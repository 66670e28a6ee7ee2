"""``epmdless exec``: a command with the EPMD server beside it, as the one process of a container."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import click

from epmdless.addresses import environment_port
from epmdless.cli.env_options import EnvOptions, env_options
from epmdless.errors import ConfigError, EpmdlessError


@click.command(name="exec", context_settings={"allow_interspersed_args": False})
@env_options
@click.option(
    "--kill-after",
    metavar="DURATION",
    help="SIGKILL for a command that runs so long after SIGTERM, like 25s.",
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_command(options: EnvOptions, kill_after: str | None, command: tuple[str, ...]) -> None:
    """Run COMMAND with the environment of `epmdless env`, and an EPMD server beside it.

    It is a good PID 1: the server is up before the command starts, and is started again whenever it ends;
    signals go to the command; orphans are reaped; the command's exit status is ours (128 and the signal's
    number, 127 for a command not found). Where an EPMD server answers already, none is started.

    \b
        ENTRYPOINT ["epmdless", "exec", "--app", "shop", "--"]
        CMD ["bin/shop", "start"]

    Status 2, and nothing is started: the command line, the configuration or the platform is wrong.
    """
    from epmdless.supervisor import environment, signals, start
    from epmdless.supervisor.orders import Orders

    ours = _own_program()
    orders = Orders(
        command=command,
        plan=(*ours, "env", "--json", *options.words()),
        server=(*ours, "serve", *(["--config", options.config_file] if options.config_file else [])),
        helper=_helper(command),
        release=_release(command[0]),
        epmd_port=environment_port(os.environ),
        kill_after=None if kill_after is None else _seconds(kill_after),
        blocked=tuple(sorted(signals.before_hold())),
    )
    try:
        start.become(orders.to_words(), environment.given())
    except OSError as error:
        raise EpmdlessError(f"{sys.executable}: {error.strerror or error}") from None


def _own_program() -> tuple[str, ...]:
    """The words that run ``epmdless``, as they did this time: a script, ``-m``, an interpreter's flags."""
    count = len(sys.orig_argv) - len(sys.argv) + 1
    return sys.executable, *sys.orig_argv[1:count]


def _helper(command: tuple[str, ...]) -> str:
    """What a release's script is told to do, if it starts no node with the release's own name and port."""
    from epmdless.releases import HELPERS

    return command[1] if len(command) > 1 and command[1] in HELPERS else ""


def _release(program: str) -> str:
    """The folder of the release whose script this is: its vm.args is to be agreed with, as in its env.sh."""
    if os.environ.get("RELEASE_ROOT"):
        return ""
    script = Path(shutil.which(program) or program).resolve()
    root = script.parent.parent
    is_release = script.parent.name == "bin" and (root / "releases" / "start_erl.data").is_file()
    return str(root) if is_release else ""


def _seconds(text: str) -> float:
    from epmdless.config import Duration

    try:
        return float(Duration.parse(text))
    except ValueError as error:
        raise ConfigError("--kill-after", "", str(error)) from None
