"""The command `epmdless` as a subprocess, and what may be on which of its outputs."""

import json
from pathlib import Path
from typing import Any

from tests.support.process import Finished, run
from tests.support.tools import PYTHON, clean_env


def epmdless(*words: str | Path, **env: str) -> Finished:
    return run([PYTHON, "-m", "epmdless", *words], env=clean_env(**env))


def printed(*words: str | Path, status: int = 0, **env: str) -> str:
    """What a command prints that ends with this status and has no complaint."""
    done = epmdless(*words, **env)
    assert (done.status, done.stderr) == (status, "")
    return done.stdout


def as_json(*words: str | Path, status: int = 0, **env: str) -> Any:
    (line,) = printed(*words, "--json", status=status, **env).splitlines()
    return json.loads(line)


def complaint(status: int, *words: str | Path, **env: str) -> str:
    """The one line on stderr of a command that fails with this status and prints nothing."""
    done = epmdless(*words, **env)
    assert (done.status, done.stdout) == (status, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("epmdless: ")
    return line.removeprefix("epmdless: ")
