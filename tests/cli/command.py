"""The command `epmdless` as a subprocess."""

from pathlib import Path

from tests.cli.said import Command
from tests.support.process import Finished, run
from tests.support.tools import PYTHON, clean_env


def _run(*words: str | Path, **env: str) -> Finished:
    return run([PYTHON, "-m", "epmdless", *words], env=clean_env(**env))


epmdless = Command(_run)
printed, as_json, complaint = epmdless.printed, epmdless.as_json, epmdless.complaint
