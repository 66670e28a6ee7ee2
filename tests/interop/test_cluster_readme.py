"""README's page "Form a cluster": plain nodes on two hosts, joined by DNS alone, as a reader would do it."""

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.interop.cluster_world import (
    JOINED_WITHIN,
    READY_WITHIN,
    Host,
    machines,
    name_server,
)
from tests.support.deadline import eventually
from tests.support.process import Program
from tests.support.servers import answers
from tests.support.subnets import EPMD_PORT
from tests.support.tools import PYTHON, require, search_path

pytestmark = pytest.mark.interop

README = (Path(__file__).parents[2] / "README.md").read_text()
BLOCK = re.compile(r"^```(toml|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CHANGING = re.compile(r"\d+[s+]?")
"""Ages, the host's release, and how often it was tried."""

# Files of its own where the page writes some, and where the control socket stands; HOME is empty.
OWN_FILES = """
hosts=$(mktemp) names=$(mktemp)
cat /etc/hosts >"$hosts"; cat /etc/resolv.conf >"$names"
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/home
mount -t overlay overlay -o lowerdir=/etc,upperdir=/mnt/upper,workdir=/mnt/work /etc
mv "$hosts" /etc/hosts; mv "$names" /etc/resolv.conf; chmod 644 /etc/hosts /etc/resolv.conf
mkdir -p /etc/epmdless
printf %s "$1" >/etc/epmdless/epmdless.toml
"""

LIST = re.compile(r"\[.*\](?=\n)")

PATH = f"{Path(PYTHON).parent}:{search_path()}"
"""With `epmdless` in it."""

ADDRESS = "10.0.0.1"
"""The page's own address."""


def page() -> tuple[str, list[str], str]:
    """Return the configuration, the commands of each host, and what `epmdless cluster` shows."""
    start = README.index("**Two hosts, by DNS alone.**")
    (kind, toml), (_, commands), (_, shown) = BLOCK.findall(README, start)[:3]
    assert kind == "toml"
    return toml, commands.splitlines(), shown


class Reader:
    """What somebody who follows the page has on a host."""

    def __init__(self, host: Host, stack: ExitStack) -> None:
        self.host = host
        self._stack = stack
        self.erl: Program | None = None

    def follow(self, toml: str, commands: Sequence[str]) -> None:
        """Do what the page says: what serves and what is interactive goes on."""
        self.host.run(OWN_FILES, toml)
        for command in commands:
            line = command.replace(ADDRESS, self.host.address)
            if line.startswith("erl "):
                self.start_erl(line)
            elif line.startswith("epmdless serve"):
                server = self._start(line)
                eventually(self._answers, within=READY_WITHIN, what=server.report)
            else:
                self.host.run(line)

    def start_erl(self, line: str) -> None:
        """Start the node's shell, whose input is ours."""
        self.erl = self._start(line)

    def _start(self, line: str) -> Program:
        program = self.host.start(["sh", "-c", f"exec {line}"], stdin=True, HOME="/mnt/home", PATH=PATH)
        return self._stack.enter_context(program)

    def _answers(self) -> bool:
        return self.host.call(lambda: answers(EPMD_PORT))

    def run(self, line: str) -> str:
        """Run a command, whatever becomes of it, and return what it printed."""
        with self.host.start(["sh", "-c", f"exec {line}"], HOME="/mnt/home", PATH=PATH) as program:
            program.wait(READY_WITHIN)
            return program.stdout

    def wait_cluster(self, shown: str) -> None:
        """Wait until `epmdless cluster` shows this, but for figures that change."""
        seen = [""]

        def look() -> bool:
            seen[0] = self.run("epmdless cluster")
            return comparable(seen[0]) == comparable(shown)

        eventually(look, within=JOINED_WITHIN, what=lambda: f"{shown} not\n{seen[0]}")

    def wait_nodes(self, name: str) -> None:
        """Ask the shell for `nodes()` until it prints just this one."""
        eventually(lambda: self._nodes() == f"['{name}']", within=JOINED_WITHIN, what=f"nodes(): {name}")

    def _nodes(self) -> str:
        erl = self.erl
        assert erl is not None
        assert erl.process.stdin is not None
        asked = len(erl.stdout)
        erl.process.stdin.write(b"nodes().\n")
        shown = eventually(
            lambda: LIST.search(erl.stdout, asked), within=READY_WITHIN, what=lambda: erl.report()
        )
        return shown[0]


def comparable(table: str) -> list[list[str]]:
    """The words of each line that is not empty, figures that change left out."""
    return [
        ["N" if CHANGING.fullmatch(word) else word for word in line.split()]
        for line in table.splitlines()
        if line.strip() and not line.startswith("$")
    ]


@contextmanager
def readers(count: int) -> Iterator[list[Reader]]:
    """Have somebody on each of so many hosts, and DNS that knows the addresses."""
    with machines(count) as world, name_server(world) as dns, ExitStack() as stack:
        dns.say(*(f"app A {host.address}" for host in world.hosts))
        yield [Reader(host, stack) for host in world.hosts]


def test_the_page() -> None:
    require("erl", "erlang-base")
    toml, commands, shown = page()
    with readers(2) as (first, second):
        for reader in (first, second):
            reader.follow(toml, commands)
        other = f"app@{second.host.address}"
        first.wait_cluster(shown)
        first.wait_nodes(other)
        second.wait_nodes(f"app@{ADDRESS}")
        assert second.erl is not None
        second.erl.kill()  # "one that comes back is joined again"
        (erl,) = (line for line in commands if line.startswith("erl "))
        second.start_erl(erl.replace(ADDRESS, second.host.address))
        second.wait_nodes(f"app@{ADDRESS}")
        first.wait_nodes(other)
