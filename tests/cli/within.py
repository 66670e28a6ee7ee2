"""The command `epmdless` in the process of the tests: for what a new interpreter would only make slower.

The same functions as in `command`; a part of each command's tests uses those, as users do.
"""

import io
import json
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from epmdless.cli.main import main
from tests.support.process import Finished
from tests.support.tools import clean_env


def epmdless(*words: str | Path, **env: str) -> Finished:
    out, err = io.StringIO(), io.StringIO()
    with (
        patch.object(sys, "argv", ["epmdless", *map(str, words)]),
        patch.dict(os.environ, clean_env(**env), clear=True),
        redirect_stdout(out),
        redirect_stderr(err),
        pytest.raises(SystemExit) as end,
    ):
        main()
    assert isinstance(end.value.code, int)
    return Finished(end.value.code, out.getvalue(), err.getvalue())


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
