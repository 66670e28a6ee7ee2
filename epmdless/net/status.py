"""A small HTTP server for those who watch: ``/metrics``, ``/healthz``, ``/readyz``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, suppress
from http import HTTPStatus
from typing import NamedTuple

import h11
import trio
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from epmdless import metrics
from epmdless.metrics import Kind, Metrics

MAX_CLIENTS = 32
"""Connections at once; a scraper uses one. One more, and the oldest is closed: silent connections must
neither use up descriptors nor keep a probe waiting."""

ACCEPT_PAUSE = 0.1
"""Seconds without accepting after descriptors ran out."""

REQUEST_SECONDS = 5.0
"""For a whole request and its answer; a client that is slower is closed."""

READ_SIZE = 4096


class Page(NamedTuple):
    """An answer: HTTP status, content type and body."""

    status: int
    content_type: str
    body: bytes


class MetricsCollector(Collector):
    """The declared table in prometheus-client's terms."""

    def __init__(self, counts: Metrics) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Family]:
        """One family for each row of the table."""
        for metric in metrics.TABLE:
            if metric.kind is Kind.HISTOGRAM:
                yield self._histogram(metric)
                continue
            kind = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
            family = kind(metric.name, metric.help, labels=metric.labels)
            for labels, value in self._counts.samples(metric):
                family.add_metric(labels, value)
            yield family

    def _histogram(self, metric: metrics.Metric) -> Family:
        histogram = self._counts.histogram(metric)
        buckets, below = [], 0
        bounds = [*(str(bound) for bound in metrics.LATENCY_BOUNDS), "+Inf"]
        for bound, count in zip(bounds, histogram.buckets, strict=True):
            below += count
            buckets.append((bound, below))
        return HistogramMetricFamily(metric.name, metric.help, buckets=buckets, sum_value=histogram.total)


class StatusServer:
    """Serves the metrics, whether the process lives, and whether it is ready.

    :param is_ready: asked at each ``/readyz``: 200 or 503.
    """

    def __init__(self, counts: Metrics, is_ready: Callable[[], bool]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(MetricsCollector(counts))
        self._is_ready = is_ready
        self._clients: dict[trio.CancelScope, None] = {}

    async def serve(
        self,
        listeners: list[trio.SocketListener],
        *,
        task_status: trio.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until cancelled; the listeners are closed at the end."""
        async with AsyncExitStack() as stack:
            for listener in listeners:
                await stack.enter_async_context(listener)
            async with trio.open_nursery() as nursery:
                for listener in listeners:
                    nursery.start_soon(self._accept, listener, nursery)
                task_status.started(listeners)

    async def _accept(self, listener: trio.SocketListener, nursery: trio.Nursery) -> None:
        while True:
            try:
                stream = await listener.accept()
            except OSError:
                await trio.sleep(ACCEPT_PAUSE)
                continue
            if len(self._clients) >= MAX_CLIENTS:
                oldest = next(iter(self._clients))
                oldest.cancel()
                del self._clients[oldest]
            scope = trio.CancelScope(deadline=trio.current_time() + REQUEST_SECONDS)
            self._clients[scope] = None
            nursery.start_soon(self._handle, stream, scope)

    async def _handle(self, stream: trio.SocketStream, scope: trio.CancelScope) -> None:
        """Answer a request, until its time is up or the client says something else than HTTP."""
        try:
            with scope, suppress(h11.ProtocolError, trio.BrokenResourceError):
                await self._converse(stream)
        finally:
            self._clients.pop(scope, None)
            stream.socket.close()

    async def _converse(self, stream: trio.SocketStream) -> None:
        connection = h11.Connection(h11.SERVER)
        request = None
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await stream.receive_some(READ_SIZE))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.EndOfMessage) and request is not None:
                page = self.page(request.method, request.target)
                await self._respond(connection, stream, page, head=request.method == b"HEAD")
                return
            elif isinstance(event, h11.ConnectionClosed):
                return

    async def _respond(
        self, connection: h11.Connection, stream: trio.SocketStream, page: Page, *, head: bool
    ) -> None:
        headers = [
            ("Content-Type", page.content_type),
            ("Content-Length", str(len(page.body))),
            ("Connection", "close"),
        ]
        response = (
            connection.send(
                h11.Response(status_code=page.status, headers=headers, reason=HTTPStatus(page.status).phrase)
            )
            or b""
        )
        await stream.send_all(response if head else response + page.body)
        await stream.send_eof()

    def page(self, method: bytes, target: bytes) -> Page:
        """What a request is answered with."""
        path = target.partition(b"?")[0]
        if method not in (b"GET", b"HEAD"):
            return _text(405, "only GET and HEAD\n")
        if path == b"/metrics":
            return Page(200, CONTENT_TYPE_LATEST, generate_latest(self._registry))
        if path == b"/healthz":
            return _text(200, "ok\n")
        if path == b"/readyz":
            return _text(200, "ready\n") if self._is_ready() else _text(503, "not ready\n")
        return _text(404, "try /metrics, /healthz or /readyz\n")


def _text(status: int, body: str) -> Page:
    return Page(status, "text/plain; charset=utf-8", body.encode())
