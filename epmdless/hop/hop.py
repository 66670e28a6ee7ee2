"""A hop: several gateways that lead to the same far subnet, and which of them a new tunnel takes."""

from __future__ import annotations

from collections.abc import Callable

import trio

from epmdless import metrics
from epmdless.hop.gateway import FarGateway, Standing
from epmdless.hop.race import Race, Tunnel
from epmdless.hop.trouble import HopError
from epmdless.links.pace import Bucket, Pace
from epmdless.log import Log
from epmdless.metrics import Metrics


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
            tunnel = await Race(self._ordered(), host, port, link).run()
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
