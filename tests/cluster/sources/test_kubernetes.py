"""The EndpointSlices of a service, from an API server that works, breaks off, forgets, lies and hangs."""

from __future__ import annotations

import ssl
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock

from epmdless.cluster.peers import MAX_NAMES, Known, Unknown
from epmdless.cluster.sources.kubernetes import (
    MAX_BARREN,
    MAX_LISTS,
    MAX_PAGES,
    PAGE_SLICES,
    WATCH_SECONDS,
    EndpointSlices,
)
from epmdless.cluster.sources.kubernetes_api import MAX_ANSWER_BYTES, MAX_LINE_BYTES
from epmdless.config import KubernetesSource
from epmdless.errors import ConfigError
from tests.cluster.sources.surroundings import Said, running, surroundings
from tests.support.certificates import Authority
from tests.support.kubernetes_api import (
    KubernetesApi,
    bookmark,
    drip,
    endless,
    event,
    failure,
    page,
    page_of,
    silence,
    slice_of,
    stream,
    whole,
)
from tests.support.ports import closed_port
from tests.support.scripted_http import Answer, Asked, HttpServer, Reply, serving

TOKEN = "eyJhbGciOiJSUzI1NiJ9.secret-of-the-pod.c2ln"
TIMEOUT = 10.0
KEY = "cluster.source.pods"
FILE = "epmdless.toml"

SEVEN = slice_of("app-x1", 3, ["10.0.0.7"])
EIGHT = slice_of("app-x2", 5, ["10.0.0.8"])
ONE = page(10, SEVEN)
"""A list of one node."""

HOLD = stream()
"""A watch in which nothing happens."""


@pytest.fixture
def clock() -> MockClock:
    """Jumps once nothing has happened for a moment: the other end of a socket needs one."""
    return MockClock(autojump_threshold=0.05)


@dataclass
class Pod:
    """What a pod has: the files of its service account, and the environment."""

    folder: Path
    api: KubernetesApi
    server: HttpServer
    authority: Authority

    def source(self, **changes: Any) -> EndpointSlices:
        """The source, as configured in the pod."""
        return make(self.folder, {"KUBERNETES_SERVICE_PORT": str(self.server.port)}, **changes)


def make(folder: Path, environ: dict[str, str] | None = None, **changes: Any) -> EndpointSlices:
    table = {
        "kind": "kubernetes",
        "basename": "app",
        "service": "app",
        "token_file": str(folder / "token"),
        "ca_file": str(folder / "ca.crt"),
        **changes,
    }
    section = msgspec.convert({k: v for k, v in table.items() if v is not None}, KubernetesSource)
    environ = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "443"} | (environ or {})
    return EndpointSlices(section, surroundings(environ), FILE, KEY, rng=lambda: 0.0)


@pytest.fixture
def account(tmp_path: Path) -> Path:
    """The folder of the pod's service account."""
    Authority(tmp_path)
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "namespace").write_text("prod\n")
    return tmp_path


@pytest.fixture
async def pod(tmp_path: Path, clock: MockClock) -> AsyncIterator[Pod]:
    """A pod, and an API server at 127.0.0.1 that one node runs in."""
    authority = Authority(tmp_path)
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "namespace").write_text("prod\n")
    api = KubernetesApi([ONE], [HOLD])
    async with serving(api, server_side(authority)) as server:
        yield Pod(tmp_path, api, server, authority)


def server_side(authority: Authority, *names: str) -> ssl.SSLContext:
    issued = authority.issue(*(names or ("127.0.0.1", "kubernetes.default.svc")))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.cert, issued.key)
    return context


@asynccontextmanager
async def following(pod: Pod, **changes: Any) -> AsyncIterator[Said]:
    """A source that runs; whatever is waited for comes within ten minutes of virtual time."""
    with trio.fail_after(600):
        async with running(pod.source(**changes)) as said:
            yield said


# Lists.


async def test_a_list_names_the_nodes(clock: MockClock, pod: Pod) -> None:
    pod.api.lists = [page(10, SEVEN, EIGHT)]
    async with following(pod) as said:
        assert await said.names() == {"app@10.0.0.7", "app@10.0.0.8"}
    asked = pod.api.listed[0]
    assert asked.path == "/apis/discovery.k8s.io/v1/namespaces/prod/endpointslices"
    assert asked.query == {"labelSelector": "kubernetes.io/service-name=app", "limit": str(PAGE_SLICES)}
    assert asked.headers["authorization"] == f"Bearer {TOKEN}"
    assert asked.headers["host"] == f"127.0.0.1:{pod.server.port}"
    assert asked.headers["accept-encoding"] == "identity"


async def test_a_list_is_read_page_by_page(clock: MockClock, pod: Pod) -> None:
    pod.api.lists = [page(10, SEVEN, more="p=2&x"), page(10, more="p3"), page(10, EIGHT)]
    async with following(pod) as said:
        assert await said.names() == {"app@10.0.0.7", "app@10.0.0.8"}
    assert [asked.query.get("continue") for asked in pod.api.listed] == [None, "p=2&x", "p3"]


async def test_a_selector_and_a_namespace_may_be_given(clock: MockClock, pod: Pod) -> None:
    selector = "app in (a, b),tier!=db"
    async with following(pod, service=None, selector=selector, namespace="other") as said:
        await said.names()
    assert pod.api.listed[0].query["labelSelector"] == selector
    assert pod.api.listed[0].path == "/apis/discovery.k8s.io/v1/namespaces/other/endpointslices"


async def test_pages_that_are_too_old_are_asked_for_from_the_first_on(clock: MockClock, pod: Pod) -> None:
    pod.api.lists = [page(10, SEVEN, more="p2"), whole(410), page(11, EIGHT)]
    async with following(pod) as said:
        assert await said.names() == {"app@10.0.0.8"}
    assert [asked.query.get("continue") for asked in pod.api.listed] == [None, "p2", None]


async def test_pages_that_are_always_too_old_lead_nowhere(clock: MockClock, pod: Pod) -> None:
    pod.api.lists = [page(10, SEVEN, more="p2"), whole(410)] * 5
    async with following(pod) as said:
        assert (await said.next()) == Unknown(
            "failed", f"a list was too old before its end, {MAX_LISTS} times"
        )


async def test_a_list_without_an_end_leads_nowhere(clock: MockClock, pod: Pod) -> None:
    pod.api.lists = [page(10, SEVEN, more="again")]
    async with following(pod) as said:
        assert (await said.unknown()).reason == "too_many"
        assert len(pod.api.listed) == MAX_PAGES


async def test_a_service_without_endpoints_is_known_to_be_empty(clock: MockClock, pod: Pod) -> None:
    pod.api.lists = [page(10)]
    async with following(pod) as said:
        assert await said.next() == Known(())


async def test_a_hundred_thousand_endpoints_are_too_many_and_little_of_them_is_read(
    clock: MockClock, pod: Pod
) -> None:
    pages = []
    for number in range(20):
        addresses = [f"10.{number}.{n >> 8}.{n & 255}" for n in range(5000)]
        slices = [slice_of(f"s{number}-{k}", 3, addresses[k : k + 100]) for k in range(0, 5000, 100)]
        pages.append(page(10, *slices, more=f"p{number}"))
    pod.api.lists = pages
    async with following(pod) as said:
        assert (await said.unknown()).reason == "too_many"
        assert len(pod.api.listed) == MAX_NAMES // 5000 + 1


# Watches.


async def test_a_watch_goes_on_where_the_list_ended(clock: MockClock, pod: Pod) -> None:
    async with following(pod) as said:
        await said.until("app@10.0.0.7")
        await said.until("app@10.0.0.7")
    expected = {
        "labelSelector": "kubernetes.io/service-name=app",
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": "10",
        "timeoutSeconds": "60",
    }
    assert pod.api.watched[0].query == expected
    assert pod.api.watched[0].path == pod.api.listed[0].path
    assert pod.api.watched[0].headers["authorization"] == f"Bearer {TOKEN}"


async def test_what_is_added_changed_and_deleted_is_said_at_once(clock: MockClock, pod: Pod) -> None:
    go: trio.MemorySendChannel[bytes]
    go, gone = trio.open_memory_channel(9)

    async def told(_asked: Asked, reply: Reply) -> None:
        await reply.start(200)
        async for line in gone:
            await reply.send(line)

    pod.api.watches = [told]
    async with following(pod) as said:
        await said.until("app@10.0.0.7")
        began = trio.current_time()
        await go.send(event("ADDED", EIGHT))
        await said.until("app@10.0.0.7", "app@10.0.0.8")
        await go.send(event("MODIFIED", slice_of("app-x1", 11, ["10.0.0.7", "10.0.0.9"])))
        await said.until("app@10.0.0.7", "app@10.0.0.8", "app@10.0.0.9")
        await go.send(event("DELETED", EIGHT))
        await said.until("app@10.0.0.7", "app@10.0.0.9")
        await go.send(event("MODIFIED", slice_of("app-x1", 12, [])))
        await said.until()
        assert trio.current_time() - began < 1


async def test_a_watch_that_ends_is_followed_by_one_from_the_last_version_on(
    clock: MockClock, pod: Pod
) -> None:
    pod.api.watches = [
        stream(event("ADDED", slice_of("app-x2", 12, ["10.0.0.8"])), then="end"),
        stream(bookmark(20), then="end"),
        stream(event("DELETED", slice_of("app-x2", 23, ["10.0.0.8"])), then="end"),
        HOLD,
    ]
    async with following(pod) as said:
        await said.until("app@10.0.0.7", "app@10.0.0.8")
        await said.until("app@10.0.0.7")
        await said.until("app@10.0.0.7")
        assert not [each for each in said.all if isinstance(each, Unknown)]
    assert [asked.query["resourceVersion"] for asked in pod.api.watched] == ["10", "12", "20", "23"]
    assert len(pod.api.listed) == 1


async def test_a_watch_that_breaks_in_a_line_goes_on_from_the_last_whole_one(
    clock: MockClock, pod: Pod
) -> None:
    half = event("DELETED", slice_of("app-x1", 13, ["10.0.0.7"]))[:-20]
    pod.api.watches = [
        stream(event("ADDED", slice_of("app-x2", 12, ["10.0.0.8"])) + half, then="break"),
        HOLD,
    ]
    async with following(pod) as said:
        await said.until("app@10.0.0.7", "app@10.0.0.8")
        await said.until("app@10.0.0.7", "app@10.0.0.8")
        assert pod.api.watched[-1].query["resourceVersion"] == "12"
        assert not [each for each in said.all if isinstance(each, Unknown)]


async def test_lines_may_come_in_any_pieces(clock: MockClock, pod: Pod) -> None:
    lines = event("ADDED", EIGHT) + b"\r\n\n" + bookmark(20) + event("DELETED", SEVEN)
    pod.api.watches = [stream(*(lines[n : n + 7] for n in range(0, len(lines), 7)))]
    async with following(pod) as said:
        await said.until("app@10.0.0.8")


async def test_a_watch_that_repeats_itself_changes_nothing(clock: MockClock, pod: Pod) -> None:
    again = event("ADDED", SEVEN) + event("ADDED", SEVEN) + event("DELETED", EIGHT)
    pod.api.watches = [stream(again * 50, event("ADDED", EIGHT)), HOLD]
    async with following(pod) as said:
        await said.until("app@10.0.0.7", "app@10.0.0.8")
        assert len(said.all) == 3, "the list, the watch, the one that is new"


@pytest.mark.parametrize("too_old", [whole(410), stream(failure(410), event("ADDED", EIGHT))])
async def test_a_version_that_is_too_old_means_a_new_list_and_no_doubt(
    clock: MockClock, pod: Pod, too_old: Answer
) -> None:
    pod.api.lists = [ONE, page(40, EIGHT)]
    pod.api.watches = [too_old, HOLD]
    async with following(pod) as said:
        await said.until("app@10.0.0.8")
        for each in said.all[: said.taken - 1]:
            assert isinstance(each, Known)
            assert [peer.name for peer in each.peers] == ["app@10.0.0.7"]
        await said.until("app@10.0.0.8")
    assert pod.api.watched[-1].query["resourceVersion"] == "40"


@pytest.mark.parametrize(
    "barren",
    [
        stream(then="end"),
        stream(then="break"),
        stream(event("ADDED", slice_of("app-x1", 10, ["10.0.0.7"])), then="end"),
        whole(410),
        stream(failure(410)),
    ],
)
async def test_watches_that_bring_nothing_are_no_storm_and_then_a_failure(
    clock: MockClock, pod: Pod, barren: Answer
) -> None:
    pod.api.watches = [barren]
    async with following(pod) as said:
        began = trio.current_time()
        assert (await said.unknown()).reason == "failed"
        assert len(pod.api.watched) == MAX_BARREN + 1
        assert trio.current_time() - began > 2**MAX_BARREN / 2


async def test_a_watch_that_nothing_comes_through_any_more_is_given_up(clock: MockClock, pod: Pod) -> None:
    async with following(pod) as said:
        await said.until("app@10.0.0.7")
        await said.until("app@10.0.0.7")
        began = trio.current_time()
        await said.until("app@10.0.0.7")
        assert WATCH_SECONDS <= trio.current_time() - began <= WATCH_SECONDS + TIMEOUT + 2
        assert len(pod.api.watched) == 2
        assert len(pod.api.listed) == 1


async def test_a_line_that_never_ends_is_given_up_like_silence(clock: MockClock, pod: Pod) -> None:
    pod.api.watches = [drip(b'{"type":' + b" " * 1000, 8.0)]
    async with following(pod) as said:
        await said.until("app@10.0.0.7")
        await said.until("app@10.0.0.7")
        began = trio.current_time()
        await said.until("app@10.0.0.7")
        assert WATCH_SECONDS <= trio.current_time() - began <= WATCH_SECONDS + TIMEOUT + 2


BAD_LINES = {
    "rubbish": (stream(b"\0\xff\n"), "malformed"),
    "another kind": (stream(event("RENAMED", SEVEN)), "malformed"),
    "too many": (
        stream(event("ADDED", slice_of("a", 9, ["10.0.0.9"] * (MAX_NAMES + 1)))),
        "too_many",
    ),
    "403": (stream(failure(403)), "denied"),
    "500": (stream(failure(500)), "failed"),
    "an end without a code": (stream(b'{"type":"ERROR","object":{}}\n'), "failed"),
}


@pytest.mark.parametrize(("watch", "reason"), BAD_LINES.values(), ids=BAD_LINES)
async def test_a_watch_that_lies_is_a_failure_and_the_slices_are_listed_again(
    clock: MockClock, pod: Pod, watch: Answer, reason: str
) -> None:
    pod.api.watches = [watch, HOLD]
    async with following(pod) as said:
        assert (await said.unknown()).reason == reason
        await said.until("app@10.0.0.7")
        assert len(pod.api.listed) == 2


@pytest.mark.parametrize("watch", [endless(b"x" * 65536), endless(b"\n" * 65536 + b"{" + b" " * 65536)])
async def test_endless_lines_cost_no_more_than_the_longest_that_is_allowed(
    clock: MockClock, pod: Pod, watch: Answer
) -> None:
    pod.api.watches = [watch]
    tracemalloc.start()
    try:
        async with following(pod) as said:
            assert (await said.unknown()).reason == "malformed"
        assert tracemalloc.get_traced_memory()[1] < 4 * MAX_LINE_BYTES
    finally:
        tracemalloc.stop()


# Servers that fail.

STATUSES = [
    (401, "denied"),
    (403, "denied"),
    (404, "failed"),
    (429, "refused"),
    (500, "failed"),
    (503, "failed"),
]


@pytest.mark.parametrize(("status", "reason"), STATUSES)
async def test_a_status_is_a_reason(clock: MockClock, pod: Pod, status: int, reason: str) -> None:
    pod.api.lists = [whole(status, b'{"message": "no, and \x1b[2J"}'), ONE]
    pod.api.watches = [whole(status), HOLD]
    async with following(pod) as said:
        for _ in ("the list", "the watch"):
            unknown = await said.unknown()
            assert unknown.reason == reason
            assert unknown.detail.startswith(f"the API server answered {status}")
            assert "\x1b" not in unknown.detail
        await said.until("app@10.0.0.7")


async def test_who_may_not_watch_is_told_what_to_look_at(clock: MockClock, pod: Pod) -> None:
    pod.api.watches = [whole(403)]
    async with following(pod) as said:
        await said.until("app@10.0.0.7")
        assert "may the service account list and watch endpointslices?" in (await said.unknown()).detail


BAD_ANSWERS: dict[str, tuple[Answer, str]] = {
    "rubbish": (whole(200, b"<html>"), "malformed"),
    "cut": (whole(200, page_of(10, SEVEN)[:-3]), "malformed"),
    "breaks off": (stream(page_of(10, SEVEN), then="break"), "malformed"),
    "packed": (whole(200, b"\x1f\x8b" + b"\0" * 50, **{"Content-Encoding": "gzip"}), "malformed"),
    "elsewhere": (whole(302, Location="https://127.0.0.1:1/"), "failed"),
    "nothing": (whole(204, b""), "failed"),
    "endless": (endless(b" " * 65536), "too_many"),
    "silence": (silence, "timeout"),
    "a drip": (drip(page_of(10, SEVEN), 1.0), "timeout"),
}


@pytest.mark.parametrize(("answer", "reason"), BAD_ANSWERS.values(), ids=BAD_ANSWERS)
async def test_an_answer_that_is_no_list(clock: MockClock, pod: Pod, answer: Answer, reason: str) -> None:
    pod.api.lists = [answer, ONE]
    async with following(pod) as said:
        began = trio.current_time()
        unknown = await said.unknown()
        assert unknown.reason == reason
        assert trio.current_time() - began <= TIMEOUT + 0.1
        assert unknown.detail.splitlines() == [unknown.detail]
        await said.until("app@10.0.0.7")


async def test_an_endless_answer_costs_no_more_than_the_largest(clock: MockClock, pod: Pod) -> None:
    pod.api.lists = [endless(b" " * 65536)]
    tracemalloc.start()
    try:
        async with following(pod) as said:
            assert (await said.unknown()).reason == "too_many"
        assert tracemalloc.get_traced_memory()[1] < 2 * MAX_ANSWER_BYTES
    finally:
        tracemalloc.stop()


RAW = {
    "no HTTP": (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "malformed"),
    "head without an end": (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000, "malformed"),
    "drip": (b"HTTP/1.1 200 OK\r\n", "timeout"),
}


@pytest.mark.parametrize(("data", "reason"), RAW.values(), ids=RAW)
async def test_what_is_no_http(clock: MockClock, pod: Pod, data: bytes, reason: str) -> None:
    async def answer(_asked: Asked, reply: Reply) -> None:
        await reply.raw(data)
        await reply.until_left()

    pod.api.lists = [answer, ONE]
    async with following(pod) as said:
        assert (await said.unknown()).reason == reason
        await said.until("app@10.0.0.7")


async def test_a_watch_that_does_not_open_is_a_time_out(clock: MockClock, pod: Pod) -> None:
    pod.api.watches = [silence, HOLD]
    async with following(pod) as said:
        assert (await said.unknown()).reason == "timeout"
        await said.until("app@10.0.0.7")


async def test_a_redirect_gets_no_token(clock: MockClock, pod: Pod) -> None:
    elsewhere = KubernetesApi([ONE], [HOLD])
    async with serving(elsewhere, server_side(pod.authority)) as other:
        where = f"https://127.0.0.1:{other.port}/"
        pod.api.lists = [whole(307, Location=where)]
        async with following(pod) as said:
            assert (await said.unknown()).detail == "the API server answered 307"
        assert other.connections == 0


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
async def test_no_proxy_gets_the_token(
    clock: MockClock, pod: Pod, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:1")
    async with following(pod) as said:
        await said.until("app@10.0.0.7")


async def test_no_server_is_unreachable(account: Path, clock: MockClock) -> None:
    with closed_port() as nobody, trio.fail_after(60):
        async with running(make(account, {"KUBERNETES_SERVICE_PORT": str(nobody)})) as said:
            assert (await said.unknown()).reason == "unreachable"


async def test_on_this_machine_neither_tls_nor_a_token_is_needed(clock: MockClock, tmp_path: Path) -> None:
    """As with kubectl proxy, which has both."""
    api = KubernetesApi([ONE], [HOLD])
    async with serving(api) as server:
        source = make(tmp_path, api=f"http://127.0.0.1:{server.port}", namespace="prod")
        with trio.fail_after(60):
            async with running(source) as said:
                await said.until("app@10.0.0.7")
                await said.until("app@10.0.0.7")
    assert not [asked for asked in (*api.listed, *api.watched) if "authorization" in asked.headers]


async def test_a_server_of_another_ca_or_name_gets_no_token(
    clock: MockClock, pod: Pod, tmp_path: Path
) -> None:
    api = KubernetesApi([ONE], [HOLD])
    for context in (
        server_side(Authority(tmp_path, "other"), "127.0.0.1"),
        server_side(pod.authority, "127.0.0.2"),
    ):
        async with serving(api, context) as impostor:
            where = f"https://127.0.0.1:{impostor.port}"
            async with following(pod, api=where) as said:
                unknown = await said.unknown()
                assert unknown.reason == "unreachable"
                assert "certificate" in unknown.detail
            assert impostor.asked == []


# The service account.


async def test_the_token_is_read_again_for_each_request(clock: MockClock, pod: Pod) -> None:
    pod.api.watches = [stream(bookmark(20), then="end"), HOLD]
    async with following(pod) as said:
        await said.next()
        await said.next()
        (pod.folder / "token").write_text("renewed\n")
        await said.next()
    assert pod.api.watched[0].headers["authorization"] == f"Bearer {TOKEN}"
    assert pod.api.watched[1].headers["authorization"] == "Bearer renewed"


@pytest.mark.parametrize("content", [b"", b" \n", b"two words", b"with\r\nHost: evil", b"\xff", b"x" * 16385])
async def test_a_token_file_gone_bad_is_a_denial_until_it_is_mended(
    clock: MockClock, pod: Pod, content: bytes
) -> None:
    pod.api.watches = [stream(bookmark(20), then="end"), HOLD]
    async with following(pod) as said:
        await said.next()
        await said.next()
        (pod.folder / "token").write_bytes(content)
        assert (await said.unknown()).reason == "denied"
        (pod.folder / "token").write_text(TOKEN)
        await said.until("app@10.0.0.7")


async def test_no_token_is_ever_said(clock: MockClock, pod: Pod) -> None:
    pod.api.lists = [whole(401), whole(500, TOKEN.encode()), silence, stream(then="break"), ONE]
    async with following(pod) as said:
        while not isinstance(await said.next(), Known):
            pass
        assert len(said.all) == 5
        assert TOKEN not in repr(said.all)


async def test_no_connection_outlives_the_source(clock: MockClock, pod: Pod) -> None:
    async with following(pod) as said:
        await said.next()
        await said.next()
        assert pod.server.open == 1
    with trio.fail_after(10):
        await pod.server.is_left()


# Configuration.


def problem(folder: Path, environ: dict[str, str] | None = None, **changes: Any) -> tuple[str, str]:
    with pytest.raises(ConfigError) as caught:
        make(folder, environ, **changes)
    assert caught.value.source == FILE
    assert caught.value.key.startswith(f"{KEY}.")
    assert TOKEN not in str(caught.value)
    return caught.value.key.removeprefix(f"{KEY}."), caught.value.problem


@pytest.mark.parametrize("name", ["", "App", "a/b", "a,b=c", "-a", "a" * 64, "a" * 300])
def test_a_namespace_is_a_label(account: Path, name: str) -> None:
    (account / "namespace").write_text(name)
    assert problem(account)[0] == "namespace"


@pytest.mark.parametrize(
    ("host", "port"), [("", "443"), ("10.0.0.1", ""), ("10.0.0.1", "tcp://a"), ("a b", "1")]
)
def test_the_environment_tells_where_the_api_is(account: Path, host: str, port: str) -> None:
    environ = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
    key, said = problem(account, environ)
    assert key == "api"
    assert "KUBERNETES_SERVICE_HOST" in said


@pytest.mark.parametrize(
    ("name", "key"), [("namespace", "namespace"), ("token", "token_file"), ("ca.crt", "ca_file")]
)
def test_without_a_pod_around_it_says_what_is_missing(account: Path, name: str, key: str) -> None:
    (account / name).unlink()
    where, said = problem(account)
    assert where == key
    assert "No such file" in said
    assert str(account / name) in said


def test_a_ca_file_holds_certificates(account: Path) -> None:
    for content in (
        b"",
        b"no PEM",
        b"\xff\xfe",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ):
        (account / "ca.crt").write_bytes(content)
        assert problem(account)[0] == "ca_file"
