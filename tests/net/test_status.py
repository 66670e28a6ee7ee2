"""The status server over loopback: what it serves, and how it bears clients that are slow or odd."""

import math
from typing import NamedTuple

import h11
import pytest
import trio
from prometheus_client import Metric as Family
from prometheus_client.parser import text_string_to_metric_families
from trio.testing import MockClock

from epmdless import metrics
from epmdless.metrics import TABLE, Metrics
from epmdless.net.http import MAX_CLIENTS
from epmdless.net.status import StatusServer

PAGES = ["/metrics", "/healthz", "/readyz"]


class Response(NamedTuple):
    status: int
    headers: dict[str, str]
    body: str


class Site:
    """A status server on loopback, and a client of it. `ready` is what /readyz says."""

    def __init__(self, counts: Metrics, nursery: trio.Nursery) -> None:
        self.counts = counts
        self.ready = True
        self._nursery = nursery
        self._server = StatusServer(counts, lambda: self.ready)

    async def start(self) -> None:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        (self._listener,) = await self._nursery.start(self._server.serve, listeners)

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream(*self._listener.socket.getsockname())

    async def exchange(self, *pieces: bytes) -> bytes:
        """Everything that comes back for these bytes until the server closes; a reset counts as a close."""
        async with await self.connect() as stream:
            received = b""
            try:
                for piece in pieces:
                    await stream.send_all(piece)
                async for data in stream:
                    received += data
            except trio.BrokenResourceError:
                pass
            return received

    async def request(self, target: str, method: str = "GET", body: bytes = b"") -> Response:
        """What a request is answered with, as an HTTP client of its own reads it."""
        client = h11.Connection(h11.CLIENT)
        headers = [("Host", "localhost"), ("Content-Length", str(len(body)))]
        wire = client.send(h11.Request(method=method, target=target, headers=headers)) or b""
        wire += (client.send(h11.Data(data=body)) or b"") + (client.send(h11.EndOfMessage()) or b"")
        client.receive_data(await self.exchange(wire))
        client.receive_data(b"")
        head = client.next_event()
        assert isinstance(head, h11.Response)
        received = b""
        while isinstance(event := client.next_event(), h11.Data):
            received += event.data
        assert isinstance(event, h11.EndOfMessage)
        headers_read = {name.decode(): value.decode() for name, value in head.headers}
        return Response(head.status_code, headers_read, received.decode())

    async def families(self) -> dict[str, Family]:
        """What Prometheus reads from /metrics."""
        text = (await self.request("/metrics")).body
        return {family.name: family for family in text_string_to_metric_families(text)}


@pytest.fixture
async def site(nursery: trio.Nursery) -> Site:
    site = Site(Metrics(), nursery)
    await site.start()
    return site


async def test_metrics_hold_every_row_of_the_table(site: Site) -> None:
    found = await site.families()
    assert {name: (family.type, family.documentation) for name, family in found.items()} == {
        metric.name.removesuffix("_total"): (metric.kind.value, metric.help) for metric in TABLE
    }


async def test_counters_and_gauges_have_their_labels_and_values(site: Site) -> None:
    for outcome in ("found", "missing", "found"):
        site.counts.count(metrics.LOOKUPS, "scheme", outcome)
    site.counts.gauge(metrics.REGISTERED, lambda: 3)
    found = await site.families()
    assert [(s.name, s.labels, s.value) for s in found["epmdless_lookups"].samples] == [
        ("epmdless_lookups_total", {"resolver": "scheme", "outcome": "found"}, 2),
        ("epmdless_lookups_total", {"resolver": "scheme", "outcome": "missing"}, 1),
    ]
    assert [(s.labels, s.value) for s in found["epmdless_registered_nodes"].samples] == [({}, 3)]
    assert [s.value for s in found["epmdless_registrations"].samples] == [0]


async def test_a_label_value_with_quotes_and_newlines_is_read_back(site: Site) -> None:
    site.counts.count(metrics.ACCEPT_ERRORS, 'E"\\\n')
    (sample,) = (await site.families())["epmdless_accept_errors"].samples
    assert sample.labels == {"error": 'E"\\\n'}


async def test_histograms_count_up_to_each_bound(site: Site) -> None:
    histogram = site.counts.histogram(metrics.LOOKUP_SECONDS)
    for seconds in (0.00005, 0.0001, 0.002, 99):
        histogram.observe(seconds)
    samples = (await site.families())["epmdless_lookup_seconds"].samples
    buckets = {float(s.labels["le"]): s.value for s in samples if s.name.endswith("_bucket")}
    assert list(buckets) == [*metrics.LATENCY_BOUNDS, math.inf]
    assert [buckets[bound] for bound in (0.0001, 0.001, 0.005, 5.0, math.inf)] == [2, 2, 3, 3, 4]
    total = {s.name.removeprefix("epmdless_lookup_seconds"): s.value for s in samples if not s.labels}
    assert total == {"_count": 4, "_sum": pytest.approx(99.00215)}


async def test_metrics_say_their_format(site: Site) -> None:
    response = await site.request("/metrics")
    assert response.status == 200
    assert response.headers["content-type"].startswith("text/plain; version=")
    assert int(response.headers["content-length"]) == len(response.body.encode())
    assert response.headers["connection"] == "close"


async def test_a_process_that_lives_is_healthy(site: Site) -> None:
    site.ready = False
    assert (await site.request("/healthz"))[::2] == (200, "ok\n")


async def test_readiness_is_asked_each_time(site: Site) -> None:
    seen = []
    for site.ready in (True, False, True):
        seen.append((await site.request("/readyz"))[::2])
    assert seen == [(200, "ready\n"), (503, "not ready\n"), (200, "ready\n")]


async def test_a_query_in_the_target_is_ignored(site: Site) -> None:
    assert (await site.request("/readyz?probe=1"))[::2] == (200, "ready\n")


@pytest.mark.parametrize("page", PAGES)
async def test_head_is_get_without_its_body(site: Site, page: str) -> None:
    get, head = await site.request(page), await site.request(page, "HEAD")
    assert head == get._replace(body="")
    wire = await site.exchange(f"HEAD {page} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert wire.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "BREW"])
@pytest.mark.parametrize("page", PAGES)
async def test_any_other_method_is_not_allowed(site: Site, page: str, method: str) -> None:
    assert (await site.request(page, method, b"body"))[::2] == (405, "only GET and HEAD\n")


@pytest.mark.parametrize("target", ["/", "/metrics/", "/Metrics", "//metrics", "/healthz/..", "/%6detrics"])
async def test_any_other_target_is_not_found(site: Site, target: str) -> None:
    response = await site.request(target)
    assert (response.status, response.body) == (404, "try /metrics, /healthz or /readyz\n")


async def test_a_request_may_come_byte_by_byte(site: Site) -> None:
    wire = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answer = await site.exchange(*(wire[at : at + 1] for at in range(len(wire))))
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"\r\n\r\nok\n")


async def test_http_1_0_is_answered(site: Site) -> None:
    answer = await site.exchange(b"GET /healthz HTTP/1.0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"ok\n")


OVERSIZED = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100_000


@pytest.mark.parametrize(
    "rubbish",
    [
        b"\x00\x01n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        b"GET\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        OVERSIZED,
    ],
    ids=["epmd", "tls", "no target", "no host", "bad length", "bad chunk", "oversized header"],
)
async def test_what_is_not_http_is_closed_and_the_next_is_served(site: Site, rubbish: bytes) -> None:
    assert not (await site.exchange(rubbish)).startswith(b"HTTP/1.1 200")
    assert (await site.request("/healthz")).status == 200


@pytest.mark.parametrize("length", [0, 1, 20, 40])
async def test_a_client_that_leaves_early_disturbs_nobody(site: Site, length: int) -> None:
    async with await site.connect() as stream:
        await stream.send_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"[:length])
        await stream.send_eof()
        assert await stream.receive_some() == b""
    assert (await site.request("/healthz")).status == 200


async def test_a_client_that_resets_disturbs_nobody(site: Site) -> None:
    stream = await site.connect()
    stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    await stream.send_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await stream.aclose()
    assert (await site.request("/healthz")).status == 200


@pytest.fixture
def jumping_clock() -> MockClock:
    """Time jumps when everything waits; real sockets are given a moment to show that something has come."""
    return MockClock(autojump_threshold=0.05)


@pytest.mark.parametrize("said", [b"", b"G", b"GET /metrics HTTP/1.1\r\nHost: loc"])
async def test_a_client_that_is_slow_is_closed(jumping_clock: MockClock, site: Site, said: bytes) -> None:
    assert await site.exchange(said) == b""
    assert (await site.request("/healthz")).status == 200


async def test_a_client_that_never_reads_is_closed(jumping_clock: MockClock, site: Site) -> None:
    for number in range(10_000):
        site.counts.count(metrics.ACCEPT_ERRORS, f"{number:01000}")
    async with await site.connect() as stream:
        await stream.send_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await trio.sleep(60)
        received = sum([len(data) async for data in stream])
    assert received < 10_000 * 1000, "the whole answer was kept for a client that did not read"


async def test_one_client_too_many_closes_the_oldest_at_once(site: Site) -> None:
    silent = [await site.connect() for _ in range(MAX_CLIENTS + 1)]
    assert await silent[0].receive_some() == b""
    assert (await site.request("/healthz")).status == 200
    for stream in silent:
        await stream.aclose()


async def test_silent_clients_up_to_the_bound_and_beyond_hold_nobody_up_for_long(
    jumping_clock: MockClock, site: Site
) -> None:
    silent = [await site.connect() for _ in range(MAX_CLIENTS + 5)]
    await trio.sleep(60)
    assert (await site.request("/healthz")).status == 200
    for stream in silent:
        assert await stream.receive_some() == b""
        await stream.aclose()
