"""The command `epmdless` in the process of the tests: for what a new interpreter would only make slower.

The same functions as in `command`; a part of each command's tests uses those, as users do.
"""

import io
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

import pytest

from epmdless.cli.main import main
from tests.cli.said import Command
from tests.support.process import Finished
from tests.support.tools import clean_env


def _run(*words: str | Path, **env: str) -> Finished:
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


epmdless = Command(_run)
printed, as_json, complaint = epmdless.printed, epmdless.as_json, epmdless.complaint
