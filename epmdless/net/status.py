"""A small HTTP server for those who watch: ``/metrics``, ``/healthz``, ``/readyz``."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from epmdless import metrics
from epmdless.metrics import Kind, Metrics
from epmdless.net.http import HttpServer, Page, text_page


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


class StatusServer(HttpServer):
    """Serves the metrics, whether the process lives, and whether it is ready.

    :param is_ready: asked at each ``/readyz``: 200 or 503.
    """

    def __init__(self, counts: Metrics, is_ready: Callable[[], bool]) -> None:
        super().__init__(self.page)
        self._registry = CollectorRegistry()
        self._registry.register(MetricsCollector(counts))
        self._is_ready = is_ready

    def page(self, method: bytes, target: bytes) -> Page:
        """What a request is answered with."""
        path = target.partition(b"?")[0]
        if method not in (b"GET", b"HEAD"):
            return text_page(405, "only GET and HEAD\n")
        if path == b"/metrics":
            return Page(200, CONTENT_TYPE_LATEST, generate_latest(self._registry))
        if path == b"/healthz":
            return text_page(200, "ok\n")
        if path == b"/readyz":
            return text_page(200, "ready\n") if self._is_ready() else text_page(503, "not ready\n")
        return text_page(404, "try /metrics, /healthz or /readyz\n")
