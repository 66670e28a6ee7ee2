"""Relays under test: one in a thread of the test's own process, and `epmdless serve` as a program.

The first starts in milliseconds and shows what is inside; the second has signals, limits and exit statuses.
"""

import contextlib
import http.client
import json
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import trio

from epmdless import metrics
from epmdless.config import decode
from epmdless.gateway.prepared import prepare as prepare_gateway
from epmdless.gateway.server import Gateway
from epmdless.hop.hops import Hops
from epmdless.hop.hops import prepare as prepare_hops
from epmdless.links.carrier import Carrier
from epmdless.metrics import Metrics
from epmdless.net.listeners import endpoint_of
from epmdless.net.rounds import Rounds
from epmdless.net.tls.keeper import CertificateKeeper
from epmdless.relay.server import Relay
from tests.support.deadline import eventually
from tests.support.link_sides import FAR_ADDRESS, HOST, STAND_IN, FarHost, Near, Peer
from tests.support.process import Program
from tests.support.servers import OUR_SERVE
from tests.support.tools import clean_env

T = TypeVar("T")
Line = Mapping[str, Any]
Settings = Mapping[str, object]

WITHIN = 10.0
"""Seconds for whatever is waited for."""


def config_text(*routes: Settings, rules: Sequence[Settings] = (), before: str = "", **relay: object) -> str:
    """Write a relay's TOML.

    :param before: tables of other sections, as they are.
    :param relay: the keys of `[relay]`.
    """
    lines = [before, "[relay]", *_keys(relay)]
    for table, entries in (("rule", rules), ("route", routes)):
        for entry in entries:
            lines += [f"[[relay.{table}]]", *_keys(entry)]
    return "\n".join(lines) + "\n"


def _keys(keys: Settings) -> list[str]:
    return [f"{key} = {_value(value)}" for key, value in keys.items()]


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(_keys(value)) + "}"
    return json.dumps(value)  # JSON's other values are TOML's too


def route_to(far_host: FarHost, **more: object) -> dict[str, object]:
    """A route whose one open port leads to this far host."""
    usual = {"host": HOST, "listen": STAND_IN, "dial": FAR_ADDRESS, "ports": [str(far_host.port)]}
    return {**usual, **more}


class Lines(list[Line]):
    """A log that keeps its lines."""

    def _add(self, level: str, event: str, fields: Line) -> None:
        self.append({"level": level, "event": event, **fields})

    def debug(self, event: str, **fields: Any) -> None:
        self._add("debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        self._add("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        self._add("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        self._add("error", event, fields)


class Hosts(trio.abc.HostnameResolver):
    """Host names and their addresses, in the order in which they are answered."""

    def __init__(self, addresses: Mapping[str, Sequence[str]]) -> None:
        self._addresses = addresses

    async def getaddrinfo(
        self,
        host: bytes | None,
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,  # noqa: A002 - trio's name
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        await trio.lowlevel.checkpoint()
        found = self._addresses.get((host or b"").decode())
        if found is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [
            (socket.AF_INET6 if ":" in each else socket.AF_INET, type, proto, "", (each, port))
            for each in found
        ]

    async def getnameinfo(
        self, sockaddr: tuple[str, int] | tuple[str, int, int, int], flags: int
    ) -> tuple[str, str]:
        raise NotImplementedError


class RelayHere:
    """A relay that runs in a thread until the context ends.

    The end checks what must hold always: no fault of ours, each link with exactly one end, nothing open.

    :ivar lines: its log.
    """

    def __init__(
        self, text: str, *, hosts: Mapping[str, Sequence[str]] | None = None, descriptor_limit: int = 10_000
    ) -> None:
        self.lines = Lines()
        self.counts = Metrics()
        self.others = 0
        self._rounds = Rounds()
        self.carrier = Carrier(self._rounds, self.counts, self.lines)
        keeper = CertificateKeeper(self.counts, self.lines)
        self.hops = Hops(self.counts, self.lines, self._rounds.clock, self._is_ours, keeper)
        self.relay = Relay(
            self._rounds,
            self.counts,
            self.lines,
            self.carrier,
            self.hops,
            descriptor_limit=descriptor_limit,
            others=lambda: self.others,
            serve_epmd=lambda sock, *_: sock.close(),
        )
        self.gateway = Gateway(
            self._rounds,
            self.counts,
            self.lines,
            self.carrier,
            keeper,
            self.relay.is_ours,
            descriptor_limit=descriptor_limit,
            others=lambda: self.others,
        )
        self.take_on(text)
        self._hosts = hosts
        self._running = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def take_on(self, text: str) -> None:
        """Make this the configuration; not while it runs."""
        config = decode(text, "test.toml")
        self.relay.take_on(self.relay.prepare(config.relay, "test.toml", {}, self.lines))
        self.hops.take_on(prepare_hops(config.hop, "test.toml"), self.lines)
        self.gateway.take_on(prepare_gateway(config.gateway, config.relay, "test.toml"), self.lines)

    def _is_ours(self, host: str, port: int) -> bool:
        return self.relay.is_ours(host, port) or self.gateway.is_ours(host, port)

    @property
    def gateway_port(self) -> int:
        """The port that its gateway listens on."""
        return endpoint_of(self.gateway.listeners[0]).port

    def call(self, function: Callable[..., T], *arguments: object) -> T:
        """Call a function in the relay's thread."""
        return trio.from_thread.run_sync(function, *arguments, trio_token=self._token)

    def ends_of(self, near: Peer) -> list[Line]:
        """The lines that say how the near end's link ended."""
        return [line for line in list(self.lines) if "end" in line and line["near_address"] == near.address]

    def end_of(self, near: Peer) -> Line:
        """The line that says how the near end's link ended, when there is one."""
        return eventually(lambda: self.ends_of(near), within=WITHIN, what=lambda: f"an end in {self.lines}")[
            0
        ]

    def code_of(self, near: Peer) -> str:
        """The end code of the near end's link, when it has ended."""
        return str(self.end_of(near)["end"])

    def wait_for_lines(self, field: str, count: int) -> list[Line]:
        """The lines that have a field, once there are so many."""

        def look() -> list[Line] | None:
            found = [line for line in list(self.lines) if field in line]
            return found if len(found) >= count else None

        return eventually(look, within=WITHIN, what=lambda: f"{count} lines with {field} in {self.lines}")

    def wait_for_ends(self, count: int) -> list[str]:
        """The end codes so far, once there are so many."""

        def look() -> list[str] | None:
            codes = [str(line["end"]) for line in list(self.lines) if "end" in line]
            return codes if len(codes) >= count else None

        return eventually(look, within=WITHIN, what=lambda: f"{count} ends in {self.lines}")

    def ended(self, code: str) -> float:
        """How many links ended so."""
        return self.counts.value(metrics.LINKS_ENDED, code)

    def views(self) -> list[dict[str, Any]]:
        """What the control socket shows."""
        return self.call(self.carrier.views)

    def wait_for_links(self, count: int, state: str = "established") -> list[dict[str, Any]]:
        """The links in a state, once there are so many."""

        def look() -> list[dict[str, Any]] | None:
            found = [view for view in self.views() if view["state"] == state]
            return found if len(found) == count else None

        return eventually(look, within=WITHIN, what=f"{count} links in state {state}")

    def _run(self) -> None:
        try:
            trio.run(self._main)
        except BaseException as error:  # noqa: BLE001 - raised again where the test sees it
            self._error = error
        finally:
            self._running.set()

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._stop = trio.Event()
        if self._hosts is not None:
            trio.socket.set_custom_hostname_resolver(Hosts(self._hosts))
        async with trio.open_nursery() as nursery:
            await nursery.start(self.carrier.serve)
            await nursery.start(self.hops.serve)
            await nursery.start(self.relay.serve)
            await nursery.start(self.gateway.serve)
            nursery.start_soon(self._rounds.run)
            self._running.set()
            await self._stop.wait()
            nursery.cancel_scope.cancel()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._running.wait(WITHIN)
        if self._error is not None:
            raise self._error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(trio.RunFinishedError):
            self.call(self._stop.set)
        self._thread.join(WITHIN)
        assert not self._thread.is_alive()
        self.relay.close()
        self.gateway.close()
        self.carrier.close()
        self._rounds.close()
        if self._error is not None:
            raise self._error
        if error is None:
            self._check()

    def _check(self) -> None:
        assert not [line for line in self.lines if line["event"] == "internal error"]
        ended = [line["link"] for line in self.lines if "end" in line]
        assert ended == sorted(set(ended), key=ended.index), "a link ended twice"
        assert sorted(ended) == list(range(1, len(ended) + 1)), "a link without an end"
        parts = (self.carrier, self.relay, self.hops, self.gateway)
        assert (len(self.carrier), [part.descriptors for part in parts]) == (0, [0, 0, 0, 0])


@contextmanager
def relay_to(
    far_host: FarHost, *, rules: Sequence[Settings] = (), setup_timeout: str = "7s", **keys: Any
) -> Iterator[RelayHere]:
    """A relay in a thread with one route to a far host; `keys` are the route's."""
    text = config_text(route_to(far_host, **keys), rules=rules, setup_timeout=setup_timeout)
    with RelayHere(text) as relay:
        yield relay


def dialling(far_host: FarHost, source: str = "127.0.0.1") -> Near:
    """A near node that dials the far host's port on the stand-in address."""
    return Near(STAND_IN, far_host.port, source)


class RelayProgram:
    """`epmdless serve --config` as a program, its log and its control socket."""

    def __init__(self, folder: Path, text: str, *, prefix: Sequence[str] = ()) -> None:
        self.path = folder / "relay.toml"
        self.control = folder / "control.sock"
        self.write(text)
        self.program = Program([*prefix, *OUR_SERVE, "--config", self.path], env=clean_env())

    def write(self, text: str) -> None:
        """Put a configuration into its file, with the control socket's path."""
        self.path.write_text(f'{text}\n[control]\nsocket = "{self.control}"\n')

    @property
    def lines(self) -> list[Line]:
        """Its log so far."""
        return [json.loads(line) for line in self.program.stderr.splitlines()]

    def events(self, event: str) -> list[Line]:
        """The lines of one kind so far."""
        return [line for line in self.lines if line["event"] == event]

    def wait_for(self, event: str, count: int = 1) -> Line:
        """The last line of a kind, once there are so many."""
        eventually(
            lambda: len(self.events(event)) >= count or self.program.ended,
            within=WITHIN,
            what=self.program.report,
        )
        assert len(self.events(event)) >= count, self.program.report()
        return self.events(event)[-1]

    def end_of(self, near: Peer) -> Line:
        """The line that says how the near end's link ended, when there is one."""

        def look() -> list[Line]:
            return [line for line in self.lines if "end" in line and line["near_address"] == near.address]

        return eventually(look, within=WITHIN, what=self.program.report)[0]

    def reload(self, text: str) -> Line:
        """Change the file, send SIGHUP, and return the line that tells what came of it."""

        def told() -> list[Line]:
            return [line for line in self.lines if str(line["event"]).startswith("configuration ")]

        before = len(told())
        self.write(text)
        self.program.signal(signal.SIGHUP)
        eventually(lambda: len(told()) > before, within=WITHIN, what=self.program.report)
        return told()[-1]

    def ask(self, method: str, target: str) -> tuple[int, str]:
        """Ask the control socket: status and body."""
        connection = http.client.HTTPConnection("epmdless", timeout=WITHIN)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(WITHIN)
        connection.sock.connect(str(self.control))
        with contextlib.closing(connection):
            connection.request(method, target)
            response = connection.getresponse()
            return response.status, response.read().decode()

    def links(self) -> list[dict[str, Any]]:
        """What `GET /links` shows."""
        links: list[dict[str, Any]] = json.loads(self.ask("GET", "/links")[1])["links"]
        return links


@contextmanager
def serving(folder: Path, text: str, *, prefix: Sequence[str] = ()) -> Iterator[RelayProgram]:
    """Run `epmdless serve` with this configuration until the context ends.

    :param prefix: a command that runs it, like prlimit.
    """
    relay = RelayProgram(folder, text, prefix=prefix)
    with relay.program:
        relay.wait_for("started")
        yield relay
