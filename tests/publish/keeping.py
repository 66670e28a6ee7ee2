"""A zone keeper with a registry and a DNS server of the test's own, in virtual time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import trio

from epmdless.addresses import Endpoint
from epmdless.metrics import Metrics
from epmdless.publish.keeper import ZoneKeeper
from epmdless.publish.prepared import Prepared
from epmdless.publish.records import Terms
from epmdless.registry import Registry
from epmdless.resolve.dns_tsig import Signed
from epmdless.rules import Glob
from epmdless.wire.epmd import Node
from tests.publish.fake_server import FakeServer

ZONE = "nodes.internal"
BEGINNING = 1_700_000_000.0
"""Seconds since 1970 at which virtual time begins."""

LEASE = 90.0


class Lines:
    """A log that keeps its lines: (level, event, fields)."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def events(self, level: str | None = None) -> list[str]:
        """What was said, at this level or at any."""
        return [event for at, event, _ in self.lines if level in (None, at)]

    def fields(self, event: str) -> dict[str, Any]:
        """With what the only line of an event was said."""
        (found,) = [fields for _, said, fields in self.lines if said == event]
        return found

    def debug(self, event: str, **fields: Any) -> None:
        self.lines.append(("debug", event, fields))

    def info(self, event: str, **fields: Any) -> None:
        self.lines.append(("info", event, fields))

    def warning(self, event: str, **fields: Any) -> None:
        self.lines.append(("warning", event, fields))

    def error(self, event: str, **fields: Any) -> None:
        self.lines.append(("error", event, fields))


class Clockwork:
    """A key that signs nothing, and by which every answer tells the server's clock.

    :ivar ahead: seconds by which that is ahead of ours.
    """

    def __init__(self, ahead: float = 0.0) -> None:
        self.ahead = ahead

    def sign(self, wire: bytes, _now: float) -> Signed:
        """Leave it as it is."""
        return Signed(wire, b"")

    def check(self, _answer: bytes, _mac: bytes, now: float) -> int:
        """Believe it."""
        return int(now + self.ahead)


def terms(**changed: Any) -> Terms:
    """Those of a host b1 with one service."""
    usual: dict[str, Any] = {"zone": ZONE, "host": f"b1.{ZONE}", "target": f"b1.{ZONE}"}
    usual |= {"addresses": ("10.0.1.23",), "services": (("shop", (Glob("shop-*"),)),)}
    return Terms(**usual | changed)


def prepared(**changed: Any) -> Prepared:
    """A configuration, with changes of it or of its terms."""
    own = {
        key: changed.pop(key)
        for key in ("servers", "key", "ttl", "lease", "timeout", "follows_route")
        if key in changed
    }
    usual: dict[str, Any] = {"servers": (Endpoint("10.0.0.2", 53),), "key": None, "ttl": 10}
    usual |= {"lease": LEASE, "timeout": 2.0}
    return Prepared(terms(**changed), **usual | own)


class Host:
    """A host that publishes.

    :ivar skew: seconds by which its clock is ahead.
    """

    def __init__(self, nursery: trio.Nursery, server: FakeServer, skew: float = 0.0) -> None:
        self.registry = Registry()
        self.counts = Metrics()
        self.log = Lines()
        self.skew = skew
        self._numbers = count(10)
        self._nursery = nursery
        self.scope = trio.CancelScope()
        self.keeper = ZoneKeeper(
            *(self.counts, self.log, lambda: self.registry),
            clock=self.clock,
            chance=lambda: 0.0,
            connect=server.connect,
        )

    def clock(self) -> float:
        """Seconds since 1970."""
        return BEGINNING + trio.current_time() + self.skew

    async def start(self, configuration: Prepared) -> None:
        """Serve in the nursery, until `crash`."""
        self.keeper.take_on(configuration)

        async def run() -> None:
            with self.scope:
                await self.keeper.serve()

        self._nursery.start_soon(run)
        await trio.sleep(0.01)

    def crash(self) -> None:
        """End as by SIGKILL."""
        self.scope.cancel()

    def register(self, name: str, port: int) -> int:
        """A node registers; its number takes it out again."""
        number = next(self._numbers)
        assert self.registry.register(Node(port, name), number, int(self.clock()))
        return number

    def leave(self, number: int) -> None:
        """A node's connection ends."""
        assert self.registry.unregister(number)

    @property
    def view(self) -> dict[str, Any]:
        """What there is to see."""
        view = self.keeper.view()
        assert view is not None
        return view


@asynccontextmanager
async def world() -> AsyncIterator[tuple[trio.Nursery, FakeServer]]:
    """A nursery, and a server in it; all ends with the block."""
    async with trio.open_nursery() as nursery:
        yield nursery, FakeServer(nursery, ZONE)
        nursery.cancel_scope.cancel()
