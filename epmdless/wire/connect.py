"""CONNECT, by which a tunnel is asked for, and OPTIONS, by which a client asks what it may do.

Sources: RFC 9110 §9.3.6 and §9.3.7, RFC 9112; h11 reads and writes the messages. A relay sends::

    CONNECT b1.az-b.internal:9001 HTTP/1.1
    Host: b1.az-b.internal:9001
    Epmdless-Link: the link's id, the same on both ends

After an answer of 2xx the connection is the tunnel, from the first byte behind the head on; after another
one it may carry a further request. A reader is given what one side sent, cut anywhere, and holds a bounded
part of it: h11 limits only a message that is not complete yet, so heads, bodies and what is held in all are
measured here. Both sides stand in one file, because they share those bounds.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal, TypeAlias

import h11

from epmdless.addresses import parse_port
from epmdless.errors import EpmdlessError, LocalProtocolError, RemoteProtocolError
from epmdless.wire.proxy_status import (
    ProxyStatus,
    decode_proxy_status_untrusted,
    encode_proxy_status,
    printable,
)

MAX_HEAD = 8192
"""The longest head of a request or a response in bytes: what other proxies take (HAProxy and nginx 8 KiB and
more for each, Apache 8 KiB a line). Ours are under 1 KiB."""

MAX_HOST = 253
"""The longest host name in characters (RFC 1035 §2.3.4, without the root's dot)."""

MAX_BODY = 16384
"""The longest body of a response that is taken, in bytes. squid's error pages have 3 to 4 KiB; the targets
that a gateway lists have a line each."""

MAX_RESPONSE = 64 * 1024
"""The most bytes of a whole response, with interim responses before it and what chunks cost: chunk
extensions and interim responses have no limit of their own."""

MAX_READ = 64 * 1024
"""The most bytes that a reader may be given at once."""

MAX_HELD = MAX_HEAD + MAX_READ
"""The most bytes that a reader holds: a head, and a read that it did not take up yet."""

LINK_HEADER = "Epmdless-Link"
"""The field that carries a link's id."""

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
"""Letters, digits, hyphens and, as in Erlang's clusters, underscores; labels of 63, none of them empty."""

_LINK = re.compile(r"[0-9a-z-]{1,40}")
_REQUEST_START = re.compile(rb"(?:[A-Z][A-Z-]*+(?: .*)?)?", re.DOTALL)
_RESPONSE_START = b"HTTP/1."
_HEAD_TOO_LARGE = 431
_PEEKED = 24
"""Bytes by which HTTP is known: the longest method that is registered takes 17."""


@dataclass(frozen=True, slots=True)
class ConnectRequest:
    """A tunnel is asked for: to `host`, a name or an address as it came, without the brackets of IPv6.

    `link` is the link's id on the client's end, None where the client names none.
    """

    host: str
    port: int
    link: str | None


@dataclass(frozen=True, slots=True)
class OptionsRequest:
    """``OPTIONS *``: what may this client do?"""


Request: TypeAlias = ConnectRequest | OptionsRequest
Headers: TypeAlias = Iterable[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Response:
    """A final answer.

    `reason` is printable and short; `body` came from the network as it is.
    """

    status: int
    reason: str
    proxy_status: ProxyStatus | None
    body: bytes


def encode_connect(host: str, port: int, *, link: str | None = None, credentials: str | None = None) -> bytes:
    """Write the request for a tunnel.

    :param host: a name, or an address without brackets.
    :param link: the link's id, None for none.
    :param credentials: ``user:password`` for a proxy that wants them (RFC 7617), None for none.
    :raises LocalProtocolError: one of them cannot be sent.
    """
    if not _is_host(host) or not 1 <= port <= 65535:
        raise LocalProtocolError(f"{printable(host)!r} port {port} cannot be asked for")
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    headers = [("Host", authority)]
    if link is not None:
        if not _LINK.fullmatch(link):
            raise LocalProtocolError("a link's id has 1 to 40 digits, small letters and hyphens")
        headers.append((LINK_HEADER, link))
    if credentials is not None:
        headers.append(("Proxy-Authorization", f"Basic {_basic(credentials)}"))
    return _encode_request("CONNECT", authority, headers)


def encode_options(host: str) -> bytes:
    """Write the question what we may do.

    :param host: the gateway's own name or address, with brackets and a port where it has them.
    :raises LocalProtocolError: it is no host.
    """
    return _encode_request("OPTIONS", "*", [("Host", host)])


class _Reader:
    """What both sides' readers share: h11, its input bounded and its errors made ours.

    :param message: ``request`` or ``response``, which is being read.
    """

    def __init__(self, role: type[h11.CLIENT | h11.SERVER], message: str) -> None:
        self._http = h11.Connection(role, max_incomplete_event_size=MAX_HEAD)
        self._malformed = f"malformed_{message}"
        self._too_large = f"{message}_too_large"
        self._held = 0
        self._taken = 0
        self._closed = False
        self._failure: RemoteProtocolError | None = None

    def receive(self, data: bytes) -> None:
        """Take what the other side sent next.

        :param data: at most MAX_READ bytes; ``b""``: it ended its side.
        :raises RemoteProtocolError: more than MAX_HELD bytes are there that nobody took up.
        """
        if not data:
            self._closed = True
            return
        if self._closed:
            raise LocalProtocolError("bytes after the end")
        if self._failure is not None:
            return
        if self._held + len(data) > MAX_HELD:
            raise self._fail(self._too_large, f"{self._held + len(data)} bytes that nobody took up")
        self._held += len(data)
        self._http.receive_data(data)

    @property
    def must_close(self) -> bool:
        """Whether the connection carries no further request: one side said so, or broke the protocol."""
        return self._failure is not None or self._http.our_state in (h11.MUST_CLOSE, h11.CLOSED, h11.ERROR)

    def _start(self) -> bytes:
        return self._http.trailing_data[0][:_PEEKED]

    def _event(self) -> h11.Event | type[h11.NEED_DATA | h11.PAUSED]:
        """Read the next event, and measure it.

        h11 is told of the end only once it has read everything else: what it then complains about is the end.
        """
        if self._failure is not None:
            raise self._failure
        try:
            event = self._http.next_event()
        except h11.RemoteProtocolError as error:
            reason = self._too_large if error.error_status_hint == _HEAD_TOO_LARGE else self._malformed
            raise self._fail(reason, _without_quotes(str(error))) from None
        if event is h11.NEED_DATA and self._closed:
            self._http.receive_data(b"")
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError:
                raise self._fail("closed_early", "the end came within a message") from None
        self._measure(event)
        return event

    def _measure(self, event: object) -> None:
        held = len(self._http.trailing_data[0])
        taken, self._held = self._held - held, held
        self._taken += taken
        if taken > MAX_HEAD and not isinstance(event, h11.Data):
            raise self._fail(self._too_large, f"a head of {taken} bytes")

    def _fail(self, reason: str, detail: str) -> RemoteProtocolError:
        """Make the error after which this reader reads no more."""
        self._failure = RemoteProtocolError(reason, detail)
        return self._failure


class RequestReader(_Reader):
    """The server's half of one connection: requests come out, answers are written.

    For each request that :meth:`next` returns, call :meth:`respond` once. After 2xx to a CONNECT,
    :attr:`rest` is the tunnel's; after another answer go on with :meth:`next`, unless :attr:`must_close`.
    """

    def __init__(self) -> None:
        super().__init__(h11.SERVER, "request")
        self._method = b""

    @property
    def ended(self) -> bool:
        """Whether the client ended its side, and everything it sent has been taken up."""
        return self._closed and not self._held

    @property
    def begun(self) -> bool:
        """Whether a request's head has begun and is not whole, as :meth:`next` found."""
        return self._http.their_state is h11.IDLE and self._held > 0

    @property
    def rest(self) -> bytes:
        """What the client sent behind the head of the CONNECT that was answered with 200.

        :raises LocalProtocolError: there is no tunnel.
        """
        if self._http.their_state is not h11.SWITCHED_PROTOCOL:
            raise LocalProtocolError("there is no tunnel whose bytes these could be")
        return self._http.trailing_data[0]

    def next(self) -> Request | None:
        """Read the next request.

        :returns: it, or None while more bytes are needed, the last request has no answer yet, or nothing more
            can come.
        :raises RemoteProtocolError: the connection must be closed, after an answer if one is wanted. Reasons:
            ``not_http``, ``malformed_request``, ``request_too_large``, ``method_not_allowed``,
            ``closed_early``.
        """
        if self._failure is None:
            if self.must_close:
                return None  # what still comes, nobody will answer
            self._begin()
        event = self._event()
        if not isinstance(event, h11.Request):
            return None
        self._method = event.method
        request = self._request(event)
        self._event()  # the end of the message, which has no body
        return request

    def respond(
        self,
        status: int,
        *,
        proxy_status: ProxyStatus | None = None,
        body: bytes = b"",
        content_type: str = "text/plain; charset=utf-8",
        close: bool = False,
    ) -> bytes:
        """Write the answer to the request, or to what was none.

        :param status: a final one, 200 to 599.
        :param proxy_status: None for no such field.
        :param body: not with 2xx to a CONNECT: the tunnel begins there.
        :param close: whether the connection carries no further request. It carries none either after an
            error, and where a client sent bytes behind a CONNECT that is refused: they were meant for the
            tunnel, and must not be taken for a request (RFC 9931).
        :raises LocalProtocolError: nothing is to be answered, or not so.
        """
        tunnel = self._method == b"CONNECT" and 200 <= status < 300
        if tunnel and (body or self._failure is not None):
            raise LocalProtocolError("a tunnel begins without a body, and not after an error")
        headers = [] if proxy_status is None else [("Proxy-Status", encode_proxy_status(proxy_status))]
        if not tunnel:
            headers += [("Content-Type", content_type)] if body else []
            headers.append(("Content-Length", str(len(body))))
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            headers.append(("Allow", "CONNECT, OPTIONS"))
        early = self._method == b"CONNECT" and self._held > 0
        if close or self._failure is not None or (early and not tunnel):
            headers.append(("Connection", "close"))
        return self._encode(status, headers, b"" if self._method == b"HEAD" else body, tunnel=tunnel)

    def _encode(self, status: int, headers: list[tuple[str, str]], body: bytes, *, tunnel: bool) -> bytes:
        try:
            response = h11.Response(status_code=status, headers=headers, reason=_phrase(status))
            data = self._http.send(response) or b""
            if body:
                data += self._http.send(h11.Data(data=body)) or b""
            if not tunnel:
                data += self._http.send(h11.EndOfMessage()) or b""
        except h11.LocalProtocolError as error:
            raise LocalProtocolError(f"cannot answer {status} now: {error}") from None
        return data

    def _begin(self) -> None:
        """Go on to the next request if the last one is done with, and refuse at once what is not HTTP."""
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
        if self._http.their_state is h11.IDLE and not _REQUEST_START.fullmatch(self._start()):
            raise self._fail("not_http", "no request begins so")

    def _request(self, event: h11.Request) -> Request:
        try:
            return _decode_request(event)
        except RemoteProtocolError as error:
            self._failure = error
            raise


class ResponseReader(_Reader):
    """The client's half of one request: its answer comes out.

    :param method: what was asked. For a further request on the same connection make another reader, unless
        :attr:`must_close`.
    """

    def __init__(self, method: Literal["CONNECT", "OPTIONS"]) -> None:
        super().__init__(h11.CLIENT, "response")
        self._method = method
        self._head: h11.Response | None = None
        self._body = bytearray()
        self._done = False
        self._http.send(h11.Request(method=method, target="*", headers=[("Host", "")]))
        self._http.send(h11.EndOfMessage())

    @property
    def rest(self) -> bytes:
        """What came behind the answer: after 2xx to CONNECT it is the tunnel's, else nobody asked for it."""
        return self._http.trailing_data[0] if self._done else b""

    @property
    def must_close(self) -> bool:
        """Whether the connection cannot carry a further request, the tunnel's bytes aside."""
        return super().must_close or self._closed or bool(self._held)

    def next(self) -> Response | None:
        """Read the answer; interim ones (1xx) are skipped.

        :returns: it, once, or None while more bytes are needed and after it.
        :raises RemoteProtocolError: the connection must be closed. Reasons: ``not_http``,
            ``malformed_response``, ``response_too_large``, ``closed_early``.
        """
        while not self._done:
            if self._head is None and not self._may_be_http():
                raise self._fail("not_http", "no answer of HTTP/1.1 begins so")
            event = self._event()
            if event is h11.NEED_DATA:
                return None
            if self._take(event):
                return self._response()
        return None

    def _may_be_http(self) -> bool:
        start = self._start()[: len(_RESPONSE_START)]
        return self._failure is not None or _RESPONSE_START.startswith(start)

    def _take(self, event: object) -> bool:
        """Add a part of the answer, and say whether it is complete."""
        if isinstance(event, h11.Response):
            self._head = event
            self._done = self._method == "CONNECT" and 200 <= event.status_code < 300
        elif isinstance(event, h11.Data):
            self._body += event.data
        elif isinstance(event, h11.EndOfMessage):
            self._done = True
        if len(self._body) > MAX_BODY or self._taken > MAX_RESPONSE:
            raise self._fail("response_too_large", f"{self._taken} bytes so far, {len(self._body)} of body")
        return self._done

    def _response(self) -> Response:
        assert self._head is not None, "an answer is complete only after its head"
        reason = printable(self._head.reason.decode("latin-1"))
        status = _joined(self._head.headers, b"proxy-status")
        return Response(
            self._head.status_code,
            reason,
            decode_proxy_status_untrusted(status) if status else None,
            bytes(self._body),
        )


def _decode_request(event: h11.Request) -> Request:
    if not event.http_version.startswith(b"1."):
        raise RemoteProtocolError("malformed_request", "another version than HTTP/1")
    if event.method == b"OPTIONS" and event.target == b"*":
        request: Request = OptionsRequest()
    elif event.method == b"CONNECT":
        host, port = _authority_untrusted(event.target.decode("latin-1"))
        request = ConnectRequest(host, port, _link_untrusted(event.headers))
    else:
        raise RemoteProtocolError("method_not_allowed", "neither CONNECT nor OPTIONS *")
    if _has_body(event.headers):
        raise RemoteProtocolError("malformed_request", "a request with a body")
    return request


def _authority_untrusted(target: str) -> tuple[str, int]:
    """Read ``host:port`` or ``[IPv6]:port``, the only form that CONNECT has (RFC 9112 §3.2.3)."""
    host, colon, port = target.rpartition(":")
    bracketed = host[:1] == "[" and host[-1:] == "]"
    host = host[1:-1] if bracketed else host
    if not colon or bracketed != (":" in host) or not _is_host(host):
        raise RemoteProtocolError("malformed_request", f"a target of {len(target)} characters, not host:port")
    try:
        return host, parse_port(port, lowest=1)
    except EpmdlessError:
        raise RemoteProtocolError("malformed_request", "a target's port is not 1 to 65535") from None


def _is_host(text: str) -> bool:
    """Whether a text is a host name or an address; zones of IPv6 addresses mean nothing on another host."""
    if ":" not in text:
        return len(text.removesuffix(".")) <= MAX_HOST and _HOST_NAME.fullmatch(text) is not None
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return "%" not in text


def _link_untrusted(headers: Headers) -> str | None:
    link = _joined(headers, LINK_HEADER.lower().encode())
    return link if _LINK.fullmatch(link) else None


def _has_body(headers: Headers) -> bool:
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0"))
        for name, value in headers
    )


def _joined(headers: Headers, name: bytes) -> str:
    """Give a field's value, several of them joined (RFC 9110 §5.3), ``""`` where there is none."""
    return ", ".join(value.decode("latin-1") for found, value in headers if found == name)


def _encode_request(method: str, target: str, headers: list[tuple[str, str]]) -> bytes:
    http = h11.Connection(h11.CLIENT)
    try:
        return http.send(h11.Request(method=method, target=target, headers=headers)) or b""
    except (h11.LocalProtocolError, UnicodeEncodeError):
        raise LocalProtocolError(f"{method}: what it asks for cannot be written as a request") from None


def _basic(credentials: str) -> str:
    if ":" not in credentials or not credentials.isprintable():
        raise LocalProtocolError("credentials are user:password, without control characters")
    return base64.b64encode(credentials.encode()).decode()


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _without_quotes(text: str) -> str:
    """Drop what h11 quotes of the other side's bytes from its message."""
    return re.split(r":? \(?(?:b['\"]|bytearray)", text)[0]
