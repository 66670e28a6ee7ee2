"""What the tests of the relay among real nodes share: the relay as a program, its routes, nodes on hosts."""

import json
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tests.support.beam import COOKIE, Beam, Flavour
from tests.support.deadline import DeadlineError, eventually
from tests.support.epmd_client import names_text
from tests.support.machine import Machine
from tests.support.process import Program
from tests.support.subnets import EPMD_PORT, Host, Hosts, World
from tests.support.tools import PYTHON
from tests.support.trees import Otp, runtime

RELEASES: tuple[Flavour, Flavour] = ("otp25", "otp27")

READY_WITHIN = 10.0
ENDED_WITHIN = 10.0
CONNECTED_WITHIN = 20.0
"""Seconds until six nodes have all connected: a set-up may take 7 s, and `global` sets them up in turn."""

Settings = Mapping[str, Any]


def stand_in(host: Host, **more: object) -> Settings:
    """Make a route to a host by its stand-in address."""
    return {"host": host.name, "listen": host.stand_in, "dial": host.address, **more}


def both_ways(world: World) -> list[Settings]:
    """Make a route to each host of both subnets."""
    return [stand_in(host) for host in world.hosts]


def configuration(
    routes: Sequence[Settings],
    *,
    relay: Settings | None = None,
    rules: Sequence[Settings] = (),
    transparent: Settings | None = None,
) -> str:
    """Write a relay's TOML; the arguments hold the keys of its tables."""
    lines = ["[relay]", *_keys(relay or {})]
    if transparent is not None:
        lines += ["[relay.transparent]", *_keys(transparent)]
    for table, entries in (("rule", rules), ("route", routes)):
        for entry in entries:
            lines += [f"[[relay.{table}]]", *_keys(entry)]
    return "\n".join(lines) + "\n"


def _keys(keys: Settings) -> list[str]:
    return [f"{key} = {json.dumps(value)}" for key, value in keys.items()]  # JSON's values are TOML's too


class Relay:
    """`epmdless serve` on the relay's machine."""

    def __init__(self, machine: Machine, file: Path, text: str) -> None:
        """Start it; the caller waits until it answers."""
        self.file = file
        self.socket = file.with_suffix(".sock")
        self._write(text)
        argv: list[str | Path] = [PYTHON, "-m", "epmdless", "serve", "--config", file]
        self.program: Program = machine.start(argv)

    def _write(self, text: str) -> None:
        self.file.write_text(f'{text}[control]\nsocket = "{self.socket}"\n')

    def lines(self) -> list[dict[str, Any]]:
        """Return what it has logged, a line that it may be writing left out."""
        return [json.loads(line) for line in self.program.stderr.splitlines(True) if line.endswith("}\n")]

    def ended(self) -> list[dict[str, Any]]:
        """Return the log lines of the links that have ended, or were not set up, in their order."""
        return [line for line in self.lines() if "end" in line]

    def linked(self) -> list[dict[str, Any]]:
        """Return the log lines of the links that came up, in their order."""
        return [line for line in self.lines() if line["event"] == "linked"]

    def wait_ended(self, code: str, after: int = 0) -> dict[str, Any]:
        """Wait for a link that ended by this code, the first `after` that ended not counted."""
        return self._wait_line(lambda line: line["end"] == code, after, f"a link ended as {code}")

    def wait_link_ended(self, link: int) -> dict[str, Any]:
        """Wait for the end of the link with this number."""
        return self._wait_line(lambda line: line["link"] == link, 0, f"the end of link {link}")

    def _wait_line(self, wanted: Callable[[dict[str, Any]], bool], after: int, what: str) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            assert not self.program.ended, self.program.report()
            return next(filter(wanted, self.ended()[after:]), None)

        try:
            return eventually(look, within=ENDED_WITHIN, what=what)
        except DeadlineError as error:
            raise AssertionError(f"{error}\n{self.program.report()}") from None

    def reload(self, text: str) -> None:
        """Give it another configuration, and wait until it is in force."""
        before = len(self.lines())
        self._write(text)
        self.program.signal(signal.SIGHUP)
        eventually(
            lambda: any(line["event"] == "configuration reloaded" for line in self.lines()[before:]),
            within=READY_WITHIN,
            what=lambda: f"the reload of {self.program.report()}",
        )


@contextmanager
def relaying(world: World, text: str, faces: Sequence[tuple[Host, str]] | None = None) -> Iterator[Relay]:
    """Run the relay until the context ends.

    It is ready when each host of `faces` gets an answer to NAMES at the address beside it: at the stand-in
    addresses of all hosts where this is None.
    """
    with serving(world.relay, text) as relay:
        for asker, address in all_faces(world) if faces is None else faces:
            wait_ready(relay, asker, address)
        yield relay


@contextmanager
def serving(machine: Machine, text: str) -> Iterator[Relay]:
    """Run `epmdless serve` on a machine until the context ends; nobody waits for it."""
    with tempfile.TemporaryDirectory(prefix="relay-") as folder:
        relay = Relay(machine, Path(folder) / "relay.toml", text)
        with relay.program:
            yield relay


def all_faces(hosts: Hosts) -> list[tuple[Host, str]]:
    """Return the stand-in address of each host, behind a host that may ask there."""
    return [(asker, host.stand_in) for host in hosts.hosts for asker in hosts.abroad(host)[:1]]


def wait_ready(relay: Relay, asker: Host, address: str) -> None:
    """Wait until a host gets an answer to NAMES at an address of the relay's machine."""
    try:
        eventually(
            lambda: relay.program.ended or asker.call(partial(_answers, address)),
            within=READY_WITHIN,
            what=f"an answer at {address}",
        )
    except DeadlineError as error:
        raise AssertionError(f"{error}\n{relay.program.report()}") from None
    assert not relay.program.ended, relay.program.report()


def _answers(address: str) -> bool:
    try:
        return names_text(EPMD_PORT, address)[0] == EPMD_PORT
    except (OSError, AssertionError):
        return False


@contextmanager
def node(
    flavour: Flavour, host: Host, alive: str = "app", *args: str, cookie: str = COOKIE, **env: str
) -> Iterator[Beam]:
    """Run a node on a host."""
    with Beam(
        flavour,
        alive if alive == "undefined" else host.node(alive),
        epmd_port=EPMD_PORT,
        cookie=cookie,
        args=args,
        env=env,
        prefix=host.prefix,
    ) as beam:
        yield beam


@contextmanager
def inetrc(otp: Otp, hosts: Mapping[str, str]) -> Iterator[str]:
    """Make an ERL_INETRC file by which nodes of this release resolve hosts, and nothing else besides.

    hosts: host name → address. Returns the path as the node sees it.
    """
    with tempfile.TemporaryDirectory(prefix="inetrc-", dir=runtime(otp).root / "tmp") as folder:
        file = Path(folder) / "inetrc"
        lines = [
            f'{{host, {{{address.replace(".", ", ")}}}, ["{name}"]}}.' for name, address in hosts.items()
        ]
        file.write_text("\n".join([*lines, "{lookup, [file]}."]) + "\n")
        yield runtime(otp).inside(file)


def ping(beam: Beam, other: Beam | str) -> str:
    """Ping from one node another."""
    name = other if isinstance(other, str) else other.name
    return beam.eval(f"net_adm:ping('{name}').")


def atoms(names: Sequence[str]) -> str:
    """Write node names as Erlang prints a sorted list of them."""
    return "[" + ",".join(f"'{name}'" for name in sorted(names)) + "]"


def wait_value(beam: Beam, expression: str, value: str, within: float = CONNECTED_WITHIN) -> None:
    """Evaluate in a node again and again until it is this value."""
    seen = [""]

    def look() -> bool:
        seen[0] = beam.eval(expression)
        return seen[0] == value

    eventually(look, within=within, what=lambda: f"{value} of {expression} on {beam.name}, not {seen[0]}")


def wait_nodes(beam: Beam, others: Sequence[Beam], within: float = CONNECTED_WITHIN) -> None:
    """Wait until a node's visible nodes are just these."""
    wait_value(beam, "lists:sort(nodes()).", atoms([other.name for other in others]), within)
