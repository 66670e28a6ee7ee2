"""CONNECT and OPTIONS: heads that real programs sent, every cut, what must be refused, bounds, properties."""

import tracemalloc
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epmdless.errors import LocalProtocolError, RemoteProtocolError
from epmdless.wire.connect import (
    LINK_HEADER,
    MAX_BODY,
    MAX_HEAD,
    MAX_HELD,
    MAX_READ,
    MAX_RESPONSE,
    ConnectRequest,
    OptionsRequest,
    Request,
    RequestReader,
    Response,
    ResponseReader,
    encode_connect,
    encode_options,
)
from epmdless.wire.proxy_status import ProxyError, ProxyStatus

REQUEST_REASONS: Final = {
    "not_http",
    "malformed_request",
    "request_too_large",
    "method_not_allowed",
    "closed_early",
}
RESPONSE_REASONS: Final = {"not_http", "malformed_response", "response_too_large", "closed_early"}

HOST: Final = "b1.az-b.internal"
ASKED: Final = ConnectRequest(HOST, 9001, None)

REQUESTS: Final[dict[str, tuple[bytes, Request]]] = {
    "ours": (
        (
            b"CONNECT b1.az-b.internal:9001 HTTP/1.1\r\nHost: b1.az-b.internal:9001\r\n"
            b"Epmdless-Link: 1k-7\r\n\r\n"
        ),
        ConnectRequest(HOST, 9001, "1k-7"),
    ),
    "our question": (b"OPTIONS * HTTP/1.1\r\nHost: gw1.az-b.internal:4370\r\n\r\n", OptionsRequest()),
    "curl 7.88": (
        (
            b"CONNECT b1.az-b.internal:9001 HTTP/1.1\r\nHost: b1.az-b.internal:9001\r\n"
            b"User-Agent: curl/7.88.1\r\nProxy-Connection: Keep-Alive\r\n\r\n"
        ),
        ASKED,
    ),
    "curl 7.88, IPv6": (
        (
            b"CONNECT [2001:db8::1]:9001 HTTP/1.1\r\nHost: [2001:db8::1]:9001\r\n"
            b"Proxy-Authorization: Basic dXNlcjpwYXNzd29yZA==\r\nUser-Agent: curl/7.88.1\r\n"
            b"Proxy-Connection: Keep-Alive\r\n\r\n"
        ),
        ConnectRequest("2001:db8::1", 9001, None),
    ),
    "curl 7.88, OPTIONS": (
        b"OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1:42195\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n",
        OptionsRequest(),
    ),
    "curl 7.88, HTTP/1.0": (
        (
            b"CONNECT b1.az-b.internal:9001 HTTP/1.0\r\nHost: b1.az-b.internal:9001\r\n"
            b"User-Agent: curl/7.88.1\r\nProxy-Connection: Keep-Alive\r\n\r\n"
        ),
        ASKED,
    ),
    "openssl s_client 3.0": (
        b"CONNECT b1.az-b.internal:9001 HTTP/1.0\r\nProxy-Connection: Keep-Alive\r\n\r\n",
        ASKED,
    ),
    "Python 3.11's http.client": (b"CONNECT b1.az-b.internal:9001 HTTP/1.0\r\n\r\n", ASKED),
    "HAProxy 2.6, passed on": (
        (
            b"CONNECT b1.az-b.internal:9001 HTTP/1.1\r\nhost: b1.az-b.internal:9001\r\n"
            b"user-agent: curl/7.88.1\r\nproxy-connection: Keep-Alive\r\nx-forwarded-for: 127.0.0.1\r\n\r\n"
        ),
        ASKED,
    ),
    "HAProxy 2.6, health check": (
        b"OPTIONS * HTTP/1.1\r\nhost: gw1.az-b.internal\r\nconnection: close\r\n\r\n",
        OptionsRequest(),
    ),
    "by hand, with bare line feeds": (b"CONNECT B1:1 HTTP/1.1\nHost: x\n\n", ConnectRequest("B1", 1, None)),
}

BAD_TARGETS: Final = """
b1 b1: :80 b1:0 b1:65536 b1:000080 b1:+80 b1:80/ b1:http user@b1:80 user:secret@b1:80 http://b1:80 http://b1/
/b1:80 * ::1:80 [::1] [::1]: [::1:80 ::1]:80 []:80 [b1]:80 [10.0.0.1]:80 [::1%eth0]:80 [::1%25eth0]:80
[::g]:80 [v1.x]:80 b1..internal:80 .b1:80 .:80 b1..:80 -b1:80 b1-:80 b%31:80 b1,b2:80 b\xfcro:80 b1:\xb2
"""
PROXY_V2: Final = b"\r\n\r\n\0\r\nQUIT\n"
NOT_REQUESTS: Final = [
    b"\0",
    b"\0\x1eN",
    b"\x16",
    PROXY_V2,
    b" CONNECT",
    b"connect ",
    b"SSH-2.0-",
    b"\xff",
    b"1",
]
NOT_ANSWERS: Final = [b"\x15\x03\x01", b"SSH-2.0-x\r\n", b"HTTP/2 200\r\n", b"\r\n", b"http/1.1", b"H\0"]

PAGE: Final = (
    b"<html><body><h1>503 Service Unavailable</h1>\n"
    b"No server is available to handle this request.\n</body></html>\n"
)
OURS: Final = Response(
    502,
    "Bad Gateway",
    ProxyStatus(ProxyError.CONNECTION_REFUSED, "10.0.2.9 port 9001"),
    b"nobody listens\n",
)

RESPONSES: Final[dict[str, tuple[bytes, Response]]] = {
    "ours": (b"HTTP/1.1 200 OK\r\n\r\n", Response(200, "OK", None, b"")),
    "ours, refused": (
        (
            b'HTTP/1.1 502 Bad Gateway\r\nProxy-Status: epmdless; error=connection_refused; details="10.0.2.9'
            b' port 9001"\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 15\r\n\r\n'
            b"nobody listens\n"
        ),
        OURS,
    ),
    "HAProxy 2.6": (
        b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 107\r\ncache-control: no-cache\r\n"
        b"content-type: text/html\r\n\r\n" + PAGE,
        Response(503, "Service Unavailable", None, PAGE),
    ),
    "as squid writes": (
        b"HTTP/1.1 200 Connection established\r\n\r\n",
        Response(200, "Connection established", None, b""),
    ),
    "as tinyproxy writes": (
        b"HTTP/1.0 200 Connection established\r\nProxy-agent: tinyproxy/1.11.1\r\n\r\n",
        Response(200, "Connection established", None, b""),
    ),
    "without reason": (b"HTTP/1.1 407\r\nContent-Length: 0\r\n\r\n", Response(407, "", None, b"")),
    "chunked": (
        b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        Response(403, "Forbidden", None, b"abcde"),
    ),
    "after interim ones": (
        (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nProxy-Status: a; error=b\r\n\r\n"
            b"HTTP/1.1 200 OK\r\n\r\n"
        ),
        Response(200, "OK", None, b""),
    ),
    "a tunnel whose head speaks of a body": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        Response(200, "OK", None, b""),
    ),
    "two proxies, two fields": (
        (
            b"HTTP/1.1 504 Gateway Timeout\r\nProxy-Status: far; error=connection_timeout\r\n"
            b"Content-Length: 0\r\nProxy-Status: near\r\n\r\n"
        ),
        Response(504, "Gateway Timeout", ProxyStatus("connection_timeout", proxy="far"), b""),
    ),
    "a reason that a terminal must not see": (
        b"HTTP/1.1 403 \x1b[31m\xe9\r\nContent-Length: 0\r\nProxy-Status: p; error=\xe9\r\n\r\n",
        Response(403, "?[31m?", None, b""),
    ),
}


def known(error: RemoteProtocolError, reasons: set[str]) -> str:
    """Give the word of a refusal, if it is one of those that are written down."""
    if error.reason in reasons:
        return error.reason
    raise error


def request_of(data: bytes) -> Request | str | None:
    """What a new reader makes of bytes: a request, None, or the word of its refusal."""
    reader = RequestReader()
    try:
        reader.receive(data)
        return reader.next()
    except RemoteProtocolError as error:
        return known(error, REQUEST_REASONS)


def response_of(data: bytes, *, end: bool = False) -> Response | str | None:
    """The same of an answer to CONNECT; `end`: the server closes behind it."""
    reader = ResponseReader("CONNECT")
    try:
        for piece in [data] * bool(data) + [b""] * end:
            reader.receive(piece)
        response = reader.next()
    except RemoteProtocolError as error:
        return known(error, RESPONSE_REASONS)
    return response


def connect(target: str = f"{HOST}:9001", fields: str = "", version: str = "1.1") -> bytes:
    """Make a CONNECT whose parts may be wrong."""
    return f"CONNECT {target} HTTP/{version}\r\nHost: x\r\n{fields}\r\n".encode("latin-1")


def asked(reader: RequestReader, data: bytes) -> Request | None:
    reader.receive(data)
    return reader.next()


@pytest.mark.parametrize(("data", "expected"), REQUESTS.values(), ids=REQUESTS)
def test_a_request_is_read_whole_and_byte_by_byte(data: bytes, expected: Request) -> None:
    assert request_of(data) == expected
    reader = RequestReader()
    seen = [asked(reader, bytes([byte])) for byte in data]
    assert seen == [None] * (len(data) - 1) + [expected]


@pytest.mark.parametrize("data", [data for data, _ in REQUESTS.values()], ids=REQUESTS)
def test_a_request_cut_at_any_length_needs_more_and_its_end_is_too_early(data: bytes) -> None:
    for length in range(1, len(data)):
        reader = RequestReader()
        assert asked(reader, data[:length]) is None
        reader.receive(b"")
        assert not reader.ended
        with pytest.raises(RemoteProtocolError) as caught:
            reader.next()
        assert caught.value.reason == "closed_early"


def test_a_connection_that_says_nothing_ends_without_an_error() -> None:
    reader = RequestReader()
    assert asked(reader, b"") is None
    assert reader.ended
    assert reader.next() is None


def test_a_head_that_has_begun_is_known() -> None:
    reader = RequestReader()
    for _ in range(2):
        begun = [reader.begun]
        for data in (connect()[:7], connect()[7:]):
            asked(reader, data)
            begun.append(reader.begun)
        assert begun == [False, True, False]
        reader.respond(403)
        assert reader.next() is None


def test_a_head_that_takes_too_long_can_be_told_so() -> None:
    reader = RequestReader()
    assert asked(reader, b"CONNECT") is None
    assert reader.respond(408, close=True) == (
        b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
    assert reader.must_close
    assert asked(reader, connect()[7:]) is None


def test_what_stands_behind_a_connect_belongs_to_the_tunnel() -> None:
    for early in (b"", b"\0\x1eN", connect()):
        reader = RequestReader()
        assert asked(reader, connect() + early) == ASKED
        assert reader.next() is None
        reader.receive(b"later")
        assert reader.respond(200) == b"HTTP/1.1 200 OK\r\n\r\n"
        assert reader.rest == early + b"later"


def test_bytes_are_no_tunnels_before_it_is_granted() -> None:
    reader = RequestReader()
    assert asked(reader, connect()) == ASKED
    with pytest.raises(LocalProtocolError):
        _ = reader.rest
    reader.respond(403)
    with pytest.raises(LocalProtocolError):
        _ = reader.rest


def test_an_answer_says_why_and_the_connection_goes_on() -> None:
    reader = RequestReader()
    assert asked(reader, connect()) == ASKED
    assert (
        reader.respond(502, proxy_status=OURS.proxy_status, body=OURS.body) == RESPONSES["ours, refused"][0]
    )
    assert not reader.must_close
    assert asked(reader, encode_options("gw")) == OptionsRequest()
    assert reader.respond(200, body=b"{}", content_type="application/json") == (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    )
    assert asked(reader, connect()) == ASKED
    assert reader.respond(200) == b"HTTP/1.1 200 OK\r\n\r\n"


def test_questions_may_stand_behind_each_other() -> None:
    reader = RequestReader()
    assert asked(reader, encode_options("gw") + encode_connect(HOST, 9001)) == OptionsRequest()
    assert reader.next() is None
    reader.respond(200)
    assert reader.next() == ASKED


def test_what_was_meant_for_a_refused_tunnel_is_never_a_request() -> None:
    reader = RequestReader()
    assert asked(reader, connect() + connect("inner:1")) == ASKED
    assert b"Connection: close" in reader.respond(403)
    assert reader.must_close
    assert reader.next() is None


@pytest.mark.parametrize(
    "data",
    [connect(version="1.0"), connect(fields="Connection: close\r\n")],
    ids=["HTTP/1.0", "the client wants it"],
)
def test_an_answer_closes_where_the_client_cannot_go_on(data: bytes) -> None:
    reader = RequestReader()
    assert asked(reader, data) == ASKED
    assert b"\r\nConnection: close\r\n" in reader.respond(404)
    assert reader.must_close


def test_an_answer_closes_where_the_server_wants_it() -> None:
    reader = RequestReader()
    assert asked(reader, connect()) == ASKED
    assert b"\r\nConnection: close\r\n" in reader.respond(503, close=True)
    assert reader.must_close


def test_a_client_that_ended_its_side_still_gets_its_answer() -> None:
    for data in (connect(), encode_options("gw")):
        reader = RequestReader()
        assert asked(reader, data) is not None
        reader.receive(b"")
        assert reader.next() is None
        assert reader.ended
        assert reader.respond(403).startswith(b"HTTP/1.1 403 Forbidden\r\n")
        assert reader.next() is None


def test_an_upgrade_that_is_asked_for_is_not_made() -> None:
    reader = RequestReader()
    question = b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"
    assert asked(reader, question) == OptionsRequest()
    assert reader.respond(200) == b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    assert asked(reader, connect(fields="Upgrade: h2c\r\nExpect: 100-continue\r\n")) == ASKED
    reader.respond(200)
    assert reader.rest == b""


@pytest.mark.parametrize("start", NOT_REQUESTS)
def test_what_is_no_http_is_refused_at_once(start: bytes) -> None:
    assert request_of(start) == "not_http"


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "HEAD", "PRI", "TRACE", "M-SEARCH"])
def test_other_methods_are_refused(method: str) -> None:
    assert request_of(f"{method} / HTTP/1.1\r\nHost: x\r\n\r\n".encode()) == "method_not_allowed"
    assert request_of(b"OPTIONS / HTTP/1.1\r\nHost: x\r\n\r\n") == "method_not_allowed"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_another_method_can_be_told_so(method: str) -> None:
    reader = RequestReader()
    with pytest.raises(RemoteProtocolError):
        asked(reader, f"{method} http://{HOST}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head, _, body = reader.respond(405, body=b"no\n").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 405 Method Not Allowed\r\n")
    assert {b"Allow: CONNECT, OPTIONS", b"Connection: close", b"Content-Length: 3"} <= set(
        head.split(b"\r\n")
    )
    assert body == (b"" if method == "HEAD" else b"no\n")


@pytest.mark.parametrize(
    "target",
    [*BAD_TARGETS.split(), "b1:8 0", "b1:80 ", "b1\t:80", f"{'a' * 64}:80", f"{'a.' * 126}aa:80"],
)
def test_a_target_that_is_not_host_and_port_is_refused(target: str) -> None:
    assert request_of(connect(target)) == "malformed_request"


@pytest.mark.parametrize(
    ("target", "host", "port"),
    [
        ("B1.Internal:1", "B1.Internal", 1),
        ("b_1.az-b:65535", "b_1.az-b", 65535),
        ("b1.internal.:00080", "b1.internal.", 80),
        ("10.0.2.9:4369", "10.0.2.9", 4369),
        ("[::FFFF:10.0.2.9]:80", "::FFFF:10.0.2.9", 80),
        (f"{'a' * 63}:80", "a" * 63, 80),
        (f"{'a.' * 126}a:80", "a." * 126 + "a", 80),
        (f"{'a.' * 126}a.:80", "a." * 126 + "a.", 80),
    ],
)
def test_a_target_is_taken_as_it_came(target: str, host: str, port: int) -> None:
    assert request_of(connect(target)) == ConnectRequest(host, port, None)


@pytest.mark.parametrize(
    "fields",
    [
        "Content-Length: 1\r\n",
        "Content-Length: 10, 10\r\n",
        "Content-Length: 1\r\nContent-Length: 2\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 999999999999999999999\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
        "Host: y\r\n",
        "no field\r\n",
        ": no name\r\n",
        "space : x\r\n",
        "a: \0\r\n",
    ],
)
def test_a_request_with_a_body_or_bad_fields_is_refused(fields: str) -> None:
    assert request_of(connect(fields=fields)) == "malformed_request"
    options = f"OPTIONS * HTTP/1.1\r\nHost: x\r\n{fields}\r\n".encode()
    assert request_of(options) == "malformed_request"


def test_a_body_of_no_bytes_is_none() -> None:
    assert request_of(connect(fields="Content-Length: 0\r\n")) == ASKED


@pytest.mark.parametrize("version", ["0.9", "2.0", "1.10", "x", "1"])
def test_other_versions_are_refused(version: str) -> None:
    assert request_of(connect(version=version)) == "malformed_request"


def test_http_11_names_the_host_once() -> None:
    assert request_of(b"CONNECT b1:80 HTTP/1.1\r\n\r\n") == "malformed_request"


@pytest.mark.parametrize(
    ("values", "link"),
    [
        *((["0az-9"], "0az-9"), (["x" * 40], "x" * 40)),
        *(([value], None) for value in ("x" * 41, "", "Upper", "a b", "a_b", "\xe9", "a;b")),
        *((["a", "a"], None), ([], None)),
    ],
)
def test_a_link_is_named_properly_or_not_at_all(values: list[str], link: str | None) -> None:
    fields = "".join(f"{LINK_HEADER.upper()}: {value}\r\n" for value in values)
    assert request_of(connect(fields=fields)) == ConnectRequest(HOST, 9001, link)


def test_a_head_is_bounded_whether_it_comes_whole_or_in_parts() -> None:
    room = MAX_HEAD - len(connect(fields="a: \r\n"))
    longest, longer = (connect(fields=f"a: {'x' * count}\r\n") for count in (room, room + 1))
    assert len(longest) == MAX_HEAD
    for split in (1, len(longest) - 1, len(longest)):
        for data, expected in ((longest, ASKED), (longer, "request_too_large")):
            reader = RequestReader()
            try:
                seen: Request | str | None = asked(reader, data[:split]) or asked(
                    reader, data[split:] or b"x"
                )
            except RemoteProtocolError as error:
                seen = error.reason
            assert seen == expected


def test_a_head_without_end_is_refused_when_it_is_too_long() -> None:
    reader = RequestReader()
    assert asked(reader, b"A" * MAX_HEAD) is None
    with pytest.raises(RemoteProtocolError) as caught:
        asked(reader, b"A")
    assert caught.value.reason == "request_too_large"
    assert reader.respond(431).startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")


def test_no_more_is_held_than_a_head_and_a_read() -> None:
    reader = RequestReader()
    assert asked(reader, connect()) == ASKED
    reader.receive(bytes(MAX_HELD))
    with pytest.raises(RemoteProtocolError) as caught:
        reader.receive(b"x")
    assert caught.value.reason == "request_too_large"
    with pytest.raises(LocalProtocolError):
        reader.respond(200)
    assert reader.respond(400)


def test_a_refused_connection_takes_nothing_more() -> None:
    reader = RequestReader()
    with pytest.raises(RemoteProtocolError):
        asked(reader, b"\0")
    for data in (connect(), b"x" * MAX_HELD, b"x", b""):
        assert reader.must_close
        with pytest.raises(RemoteProtocolError) as caught:
            asked(reader, data)
        assert caught.value.reason == "not_http"


def test_an_error_quotes_nothing_that_was_sent() -> None:
    for data in (
        connect("user:sEcReT@b1:80"),
        connect(fields="sEcReT\r\n"),
        connect(fields="Transfer-Encoding: sEcReT\r\n"),
        b"sEcReT\r\n",
        b"OPTIONS sEcReT\r\n\r\n",
        b"GET sEcReT HTTP/1.1\r\nHost: sEcReT\r\n\r\n",
    ):
        reader = RequestReader()
        with pytest.raises(RemoteProtocolError) as caught:
            asked(reader, data)
        assert "sEcReT" not in str(caught.value)
    for data in (
        b"HTTP/1.1 sEcReT\r\n\r\n",
        b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nasEcReT\r\n",
        b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\nsEcReT\r\n",
    ):
        response = ResponseReader("CONNECT")
        response.receive(data)
        with pytest.raises(RemoteProtocolError) as caught:
            response.next()
        assert "sEcReT" not in str(caught.value)


def test_an_error_names_what_is_missing() -> None:
    reader = RequestReader()
    with pytest.raises(RemoteProtocolError, match="malformed_request: Missing mandatory Host: header"):
        asked(reader, b"CONNECT b1:80 HTTP/1.1\r\n\r\n")


def test_what_cannot_be_answered_is_the_callers_mistake() -> None:
    reader = RequestReader()
    assert asked(reader, connect()) == ASKED
    with pytest.raises(LocalProtocolError):
        reader.respond(200, body=b"x")
    assert reader.respond(403)
    with pytest.raises(LocalProtocolError):
        reader.respond(403)
    reader = RequestReader()
    assert asked(reader, connect()) == ASKED
    with pytest.raises(LocalProtocolError):
        reader.respond(100)
    reader = RequestReader()
    reader.receive(b"")
    with pytest.raises(LocalProtocolError):
        reader.receive(b"x")


@pytest.mark.parametrize(("host", "authority"), [(HOST, HOST), ("10.0.2.9", "10.0.2.9"), ("::1", "[::1]")])
def test_a_tunnel_is_asked_for(host: str, authority: str) -> None:
    data = encode_connect(host, 9001, link="1k-7", credentials="us:pä:ss")
    assert (
        data
        == (
            f"CONNECT {authority}:9001 HTTP/1.1\r\nHost: {authority}:9001\r\nEpmdless-Link: 1k-7\r\n"
            "Proxy-Authorization: Basic dXM6cMOkOnNz\r\n\r\n"
        ).encode()
    )
    assert request_of(data) == ConnectRequest(host, 9001, "1k-7")


def test_our_requests_are_those_of_the_examples() -> None:
    assert encode_connect(HOST, 9001, link="1k-7") == REQUESTS["ours"][0]
    assert encode_options("gw1.az-b.internal:4370") == REQUESTS["our question"][0]


@pytest.mark.parametrize(
    ("host", "port", "link", "credentials"),
    [
        ("b1\r\nx: y", 80, None, None),
        ("", 80, None, None),
        ("[::1]", 80, None, None),
        ("b1", 0, None, None),
        ("b1", 65536, None, None),
        ("b1", 80, "Upper", None),
        ("b1", 80, "x\r\n", None),
        ("b1", 80, None, "sEcReT"),
        ("b1", 80, None, "user:sEcReT\n"),
    ],
)
def test_what_cannot_be_asked_for_is_not_sent(
    host: str, port: int, link: str | None, credentials: str | None
) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        encode_connect(host, port, link=link, credentials=credentials)
    assert "sEcReT" not in str(caught.value)


@pytest.mark.parametrize("host", ["gw\r\nx: y", "b\xfcro", "gw\0"])
def test_a_question_goes_to_a_host(host: str) -> None:
    with pytest.raises(LocalProtocolError):
        encode_options(host)


@pytest.mark.parametrize(("data", "expected"), RESPONSES.values(), ids=RESPONSES)
def test_an_answer_is_read_whole_and_byte_by_byte(data: bytes, expected: Response) -> None:
    assert response_of(data) == expected
    reader = ResponseReader("CONNECT")
    seen = []
    for byte in data:
        reader.receive(bytes([byte]))
        seen.append(reader.next())
    assert seen == [None] * (len(data) - 1) + [expected]
    assert reader.next() is None


@pytest.mark.parametrize("data", [data for data, _ in RESPONSES.values()], ids=RESPONSES)
def test_an_answer_cut_at_any_length_ends_too_early(data: bytes) -> None:
    for length in range(len(data)):
        assert response_of(data[:length]) is None
        assert response_of(data[:length], end=True) == "closed_early"


@pytest.mark.parametrize(("data", "expected"), RESPONSES.values(), ids=RESPONSES)
def test_what_stands_behind_an_answer_is_kept(data: bytes, expected: Response) -> None:
    for after in (b"", b"\0\x1eN", data):
        reader = ResponseReader("CONNECT")
        reader.receive(data + after)
        assert reader.next() == expected
        assert reader.rest == after
        reader.receive(b"more")
        assert reader.rest == after + b"more"
        assert reader.must_close
        assert reader.next() is None


def test_an_answer_without_length_ends_with_the_connection() -> None:
    for data, body in ((b"", b""), (b"no\n", b"no\n")):
        reader = ResponseReader("CONNECT")
        reader.receive(b"HTTP/1.0 403 Filtered\r\nServer: x\r\n\r\n" + data)
        assert reader.next() is None
        reader.receive(b"")
        assert reader.next() == Response(403, "Filtered", None, body)
        assert reader.must_close
        assert reader.next() is None


@pytest.mark.parametrize(
    ("data", "must_close"),
    [
        (b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.1 403 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", True),
        (b"HTTP/1.0 403 No\r\nContent-Length: 0\r\n\r\n", True),
        (b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\nHTTP", True),
    ],
)
def test_a_refusal_leaves_the_connection_usable_or_not(data: bytes, must_close: bool) -> None:
    reader = ResponseReader("CONNECT")
    reader.receive(data)
    assert reader.next() is not None
    assert reader.must_close == must_close
    reader.receive(b"")
    assert reader.must_close


def test_a_tunnel_is_none_where_no_tunnel_was_asked_for() -> None:
    reader = ResponseReader("OPTIONS")
    reader.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP")
    assert reader.next() == Response(200, "OK", None, b"abc")
    assert reader.rest == b"HTTP"


@pytest.mark.parametrize("start", NOT_ANSWERS)
def test_an_answer_that_is_no_http_is_refused_at_once(start: bytes) -> None:
    assert response_of(start) == "not_http"
    assert response_of(b"HTTP/1.1 100 Continue\r\n\r\n" + start) == "not_http"


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200\0OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 099 Low\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
        b"HTTP/1.1 403 No\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 403 No\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 403 No\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\nno field\r\n\r\n",
    ],
)
def test_a_malformed_answer_is_refused(data: bytes) -> None:
    assert response_of(data) == "malformed_response"


def test_a_body_is_bounded() -> None:
    head = b"HTTP/1.1 403 No\r\nContent-Length: %d\r\n\r\n"
    whole = response_of(head % MAX_BODY + bytes(MAX_BODY))
    assert whole == Response(403, "No", None, bytes(MAX_BODY))
    for data in (head % (MAX_BODY + 1), b"HTTP/1.0 403 No\r\n\r\n", b"HTTP/1.1 403 No\r\n\r\n"):
        assert response_of(data + bytes(MAX_BODY)) is None
        assert response_of(data + bytes(MAX_BODY + 1)) == "response_too_large"


@pytest.mark.parametrize(
    ("start", "again"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n", b"1;" + b"x" * 1000 + b"\r\na\r\n"),
        (b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
        (b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"a: b\r\n"),
        (b"HTTP/1.1 403 No\r\n", b"a: b\r\n"),
    ],
    ids=["interim answers", "chunk extensions", "small chunks", "trailers", "fields"],
)
def test_an_answer_without_end_is_given_up(start: bytes, again: bytes) -> None:
    assert answered([start + again] + [again] * (MAX_RESPONSE // len(again))) == "response_too_large"


def test_an_answers_head_is_bounded() -> None:
    head = b"HTTP/1.1 200 OK\r\na: %s\r\n\r\n"
    room = MAX_HEAD - len(head) + 2
    assert response_of(head % (b"x" * room)) == Response(200, "OK", None, b"")
    assert response_of(head % (b"x" * (room + 1))) == "response_too_large"


def cuts(data: bytes, sizes: list[int]) -> list[bytes]:
    """Cut bytes into pieces of these sizes, over and over."""
    pieces, at = list[bytes](), 0
    while at < len(data):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(data[at : at + size])
        at += size
    return pieces


SIZES = st.lists(st.integers(1, 80), min_size=1, max_size=6)
MUTATION = st.tuples(st.integers(0, 10_000), st.integers(0, 3), st.binary(max_size=3))


def mutated(data: bytes, mutations: list[tuple[int, int, bytes]]) -> bytes:
    """Replace bytes of a message by others, a few times."""
    for place, removed, inserted in mutations:
        at = place % (len(data) + 1)
        data = data[:at] + inserted + data[at + removed :]
    return data


def served(pieces: list[bytes]) -> list[Request | str]:
    """Refuse each request of a connection, and tell how it went; nothing but the known errors gets out."""
    reader, seen = RequestReader(), list[Request | str]()
    try:
        for piece in [*pieces, b""]:
            reader.receive(piece)
            while request := reader.next():
                seen.append(request)
                reader.respond(403, body=b"no\n")
    except RemoteProtocolError as error:
        return [*seen, known(error, REQUEST_REASONS)]
    assert reader.ended or reader.must_close
    return seen


def answered(pieces: list[bytes]) -> Response | str | None:
    """Read the answer to a CONNECT; nothing but the known errors gets out."""
    reader = ResponseReader("CONNECT")
    try:
        for piece in [*pieces, b""]:
            reader.receive(piece)
            if response := reader.next():
                assert len(response.body) <= MAX_BODY
                return response
    except RemoteProtocolError as error:
        return known(error, RESPONSE_REASONS)
    raise AssertionError("an end without an answer or an error")


@given(st.sampled_from(list(REQUESTS.values())), SIZES, SIZES)
def test_any_splitting_of_a_request_gives_the_same(
    case: tuple[bytes, Request], one: list[int], other: list[int]
) -> None:
    assert served(cuts(case[0], one)) == served(cuts(case[0], other)) == [case[1]]


@given(st.sampled_from(list(REQUESTS.values())), st.lists(MUTATION, min_size=1, max_size=3), SIZES)
def test_mutated_requests_are_requests_or_refused(
    case: tuple[bytes, Request], mutations: list[tuple[int, int, bytes]], sizes: list[int]
) -> None:
    for request in served(cuts(mutated(case[0], mutations), sizes)):
        if isinstance(request, ConnectRequest):
            again = encode_connect(request.host, request.port, link=request.link)
            assert request_of(again) == request


@given(st.binary(max_size=200), SIZES)
def test_arbitrary_bytes_are_requests_or_refused(data: bytes, sizes: list[int]) -> None:
    served(cuts(data, sizes))
    served(cuts(b"CONNECT " + data, sizes))
    served(cuts(connect(fields="\0")[:-4] + data, sizes))


@given(st.sampled_from(list(RESPONSES.values())), st.lists(MUTATION, max_size=3), SIZES)
def test_mutated_answers_are_answers_or_refused(
    case: tuple[bytes, Response], mutations: list[tuple[int, int, bytes]], sizes: list[int]
) -> None:
    seen = answered(cuts(mutated(case[0], mutations), sizes))
    assert mutations or seen == case[1]


@given(st.binary(max_size=200), SIZES)
def test_arbitrary_bytes_are_answers_or_refused(data: bytes, sizes: list[int]) -> None:
    answered(cuts(data, sizes))
    answered(cuts(b"HTTP/1.1 403 " + data, sizes))
    answered(cuts(b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n" + data, sizes))


@pytest.mark.parametrize(
    "piece",
    [b"A" * MAX_READ, b"A: b\r\n" * (MAX_READ // 6), b"CONNECT b:1 HTTP/1.1\r\n" + b"a: b\r\n" * 10_000],
    ids=["no line", "fields", "a head of many fields"],
)
def test_a_reader_keeps_no_more_than_its_bounds(piece: bytes) -> None:
    tracemalloc.start()
    try:
        reader = RequestReader()
        for _ in range(20):
            with pytest.raises(RemoteProtocolError):
                asked(reader, piece)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 4 * MAX_HELD
