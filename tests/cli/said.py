"""What a command has said, and on which of its outputs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.process import Finished


class Command:
    """The command `epmdless`, to be called with its words, and variables of its environment."""

    def __init__(self, run: Callable[..., Finished]) -> None:
        self._run = run

    def __call__(self, *words: str | Path, **env: str) -> Finished:
        return self._run(*words, **env)

    def printed(self, *words: str | Path, status: int = 0, **env: str) -> str:
        """What a command prints that ends with this status and has no complaint."""
        done = self(*words, **env)
        assert (done.status, done.stderr) == (status, "")
        return done.stdout

    def as_json(self, *words: str | Path, status: int = 0, **env: str) -> Any:
        """The same of one that writes JSON."""
        (line,) = self.printed(*words, "--json", status=status, **env).splitlines()
        return json.loads(line)

    def complaint(self, status: int, *words: str | Path, **env: str) -> str:
        """The one line on stderr of a command that fails with this status and prints nothing."""
        done = self(*words, **env)
        assert (done.status, done.stdout) == (status, "")
        (line,) = done.stderr.splitlines()
        assert line.startswith("epmdless: ")
        return line.removeprefix("epmdless: ")
