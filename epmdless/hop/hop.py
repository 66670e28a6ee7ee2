"""A hop: several gateways that lead to the same far subnet, and which of them a new tunnel takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import trio

from epmdless import metrics
from epmdless.hop.gateway import Connection, FarGateway, Standing
from epmdless.hop.trouble import HopError, Trouble
from epmdless.links.pace import Bucket, Pace
from epmdless.log import Log
from epmdless.metrics import Metrics

HEDGE_DELAY = 1.0
"""Seconds after which the next gateway is asked beside one that has not answered: it may be dead, with a
connection that nobody has noticed. A BEAM waits 7 s for the whole set-up of a link."""

_FINAL = (Trouble.REFUSED, Trouble.UNKNOWN, Trouble.DIAL_REFUSED, Trouble.TIMED_OUT)
"""What a gateway that lives says of the target: another would say the same."""


class Tunnel(NamedTuple):
    """A connection to a target, through a gateway.

    :ivar connection: the caller's to close.
    :ivar gateway: which one, for people.
    :ivar release: to be called when the tunnel is over.
    """

    connection: Connection
    gateway: str
    release: Callable[[], None]


class Hop:
    """A hop in force.

    :param is_ours: whether dialling an address and port would lead back here.
    """

    def __init__(
        self,
        name: str,
        standing: Standing,
        is_ours: Callable[[str, int], bool],
        counts: Metrics,
        log: Log,
    ) -> None:
        self.name = name
        self.standing = standing
        self.gateways = tuple(
            FarGateway(name, where, lambda: self.standing, is_ours, log)
            for where in standing.section.gateways
        )
        self._counts = counts
        self._shared: tuple[Bucket, Bucket] | None = None
        for gateway in self.gateways:
            labels = (name, str(gateway.where))
            counts.gauge(metrics.GATEWAY_UP, gateway.is_up, labels)
            counts.gauge(metrics.HOP_READY, gateway.count_ready, labels)
            counts.gauge(metrics.HOP_TUNNELS, gateway.count_tunnels, labels)

    def take_on(self, standing: Standing, log: Log) -> None:
        """Go on with what was loaded anew; what is ready was made with the old."""
        self.standing = standing
        for gateway in self.gateways:
            gateway.log = log
            gateway.drop_ready()

    def forget(self) -> None:
        """Be no longer counted."""
        for gateway in self.gateways:
            for metric in (metrics.GATEWAY_UP, metrics.HOP_READY, metrics.HOP_TUNNELS):
                self._counts.forget(metric, (self.name, str(gateway.where)))

    async def keep_ready(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep connections to all gateways ready until cancelled."""
        async with trio.open_nursery() as nursery:
            for gateway in self.gateways:
                nursery.start_soon(gateway.keep_ready)
            task_status.started()

    @property
    def descriptors(self) -> int:
        """Descriptors of the connections that are ready."""
        return sum(gateway.ready for gateway in self.gateways)

    def paces(self, now: float) -> tuple[Pace, Pace] | None:
        """How fast a new link may go, each way; None: as fast as it can."""
        section = self.standing.section
        if section.rate is None and section.link_rate is None:
            return None
        if section.rate is not None and self._shared is None:
            self._shared = (Bucket(section.rate, now), Bucket(section.rate, now))
        buckets: tuple[list[Bucket], list[Bucket]] = ([], [])
        for way in (0, 1):
            if self._shared is not None:
                buckets[way].append(self._shared[way])
            if section.link_rate is not None:
                buckets[way].append(Bucket(section.link_rate, now))
        return Pace(buckets[0]), Pace(buckets[1])

    async def tunnel(self, host: str, port: int, link: str | None = None) -> Tunnel:
        """Connect to a target through the first gateway that can.

        :param link: the link's id, which the gateway logs as well; None for none.
        :raises HopError: none can; a gateway's own word on the target comes before what is wrong with others.
        """
        try:
            tunnel = await self._race(host, port, link)
        except HopError as error:
            self._counts.count(metrics.TUNNELS, self.name, error.trouble.value)
            raise
        self._counts.count(metrics.TUNNELS, self.name, "opened")
        return tunnel

    def _ordered(self) -> list[FarGateway]:
        """The gateways as they are to be tried: those that work first, then those that may again."""
        gateways = list(self.gateways)
        if self.standing.section.balance == "least_loaded":
            gateways.sort(key=lambda gateway: gateway.tunnels)
        return sorted(gateways, key=lambda gateway: gateway.away_until)

    async def _race(self, host: str, port: int, link: str | None) -> Tunnel:
        """Ask one gateway after the other, each with a head start. In the end each is asked on a new
        connection: a ready one may be dead without a sign."""
        won: list[Tunnel] = []
        problems: list[HopError] = []
        gateways = self._ordered()

        async def attempt(gateway: FarGateway, failed: trio.Event, fresh: bool) -> None:
            gateway.tunnels += 1
            try:
                connection = await gateway.ask(host, port, link, fresh=fresh)
            except HopError as error:
                problems.append(error)
                if error.trouble in _FINAL:
                    nursery.cancel_scope.cancel()
                failed.set()
                return
            else:
                if won:
                    connection.close()
                    return
                won.append(Tunnel(connection, str(gateway.where), _once(gateway)))
                nursery.cancel_scope.cancel()
            finally:
                if not won or won[0].gateway != str(gateway.where):
                    gateway.tunnels -= 1

        try:
            async with trio.open_nursery() as nursery:
                for gateway, fresh in [(g, False) for g in gateways] + [
                    (g, True) for g in gateways if g.ready
                ]:
                    failed = trio.Event()
                    nursery.start_soon(attempt, gateway, failed, fresh)
                    with trio.move_on_after(HEDGE_DELAY):
                        await failed.wait()
        except BaseException:
            for tunnel in won:
                tunnel.connection.close()
                tunnel.release()
            raise
        if won:
            return won[0]
        raise _worst(problems)


def _once(gateway: FarGateway) -> Callable[[], None]:
    """A function that counts a tunnel out, the first time that it is called."""
    held = [gateway]

    def release() -> None:
        if held:
            held.pop().tunnels -= 1

    return release


def _worst(problems: Sequence[HopError]) -> HopError:
    """The one to tell of several: what was said of the target, else whether some are busy or all down."""
    for problem in problems:
        if problem.trouble in _FINAL:
            return problem
    busy = [problem for problem in problems if problem.trouble is Trouble.BUSY]
    texts = dict.fromkeys(str(problem) for problem in problems)
    return HopError(Trouble.BUSY if busy else Trouble.DOWN, "; ".join(texts))
