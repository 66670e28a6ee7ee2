"""Units of systemd, run on a host of a test as systemd does as far as their programs can tell: the user, the
environment, the folder in /run. What confines them is looked at elsewhere."""

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.support.containers import Container, Rights
from tests.support.process import Program

UNITS: Final = Path(__file__).parents[2] / "systemd"
"""The units that README has copied."""

FOLDER: Final = "/etc/systemd/system"

PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"
"""What systemd gives to services."""

# Says what it was asked for.
SYSTEMCTL: Final = '#!/bin/sh\necho "$@" >>/run/systemctl\n'


@contextmanager
def host(container: Container) -> Iterator[Container]:
    """Let a container be a host on which README was followed as far as "With systemd"."""
    with container.running(["sleep", "infinity"], {"HOME": "/root"}, Rights(user=0)):
        folder = container.path(FOLDER)
        folder.mkdir(parents=True, exist_ok=True)
        for unit in UNITS.iterdir():
            (folder / unit.name).write_bytes(unit.read_bytes())
        systemctl = container.path("/usr/local/sbin/systemctl")
        systemctl.write_text(SYSTEMCTL)
        systemctl.chmod(0o755)
        yield container


class Service:
    """The `[Service]` of a unit and its drop-ins, of which the last says what is so."""

    def __init__(self, container: Container, name: str) -> None:
        self._container = container
        self._lines: list[tuple[str, str]] = []
        unit = container.path(f"{FOLDER}/{name}.service")
        drop_ins = sorted(unit.with_name(f"{unit.name}.d").glob("*.conf"))
        for file in (unit, *drop_ins):
            self._lines += _service_lines(file.read_text())

    def _all(self, key: str) -> list[str]:
        return [value for name, value in self._lines if name == key]

    def start(self, **env: str) -> Program:
        """Start its program; the caller ends it.

        :param env: what is added to its environment.
        """
        user = self._all("User")[-1]
        given = {"PATH": PATH, "USER": user, "HOME": "/nonexistent"}
        for name in self._all("RuntimeDirectory"):
            own = f"/run/{name}"
            self._container.execute("install", "-d", "-m", "0755", "-o", user, own)
            given["RUNTIME_DIRECTORY"] = own
        for line in self._all("Environment"):
            given |= _assignments(shlex.split(line))
        for file in self._all("EnvironmentFile"):
            given |= _assignments(self._container.path(file).read_text().splitlines())
        argv = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]
        argv += shlex.split(self._all("ExecStart")[-1])
        return self._container.begin(argv, given | env)


def _service_lines(text: str) -> list[tuple[str, str]]:
    """The lines of one section; a key may stand there more than once."""
    section, found = "", []
    for line in text.splitlines():
        if line.startswith("["):
            section = line
        elif section == "[Service]" and line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.append((key, value))
    return found


def _assignments(words: list[str]) -> Mapping[str, str]:
    return dict(word.split("=", 1) for word in words)
