"""Requests to the Kubernetes API, as the pod's service account: bounded, timed, and to nobody else."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import NamedTuple, Self

import httpx
import trio

from epmdless.cluster.peers import LookError
from epmdless.errors import ConfigError
from epmdless.net import files
from epmdless.net.http_body import read_body
from epmdless.net.tls.contexts import TlsFiles, load_client_context
from epmdless.net.tls.problems import explain

MAX_ANSWER_BYTES = 16 << 20
"""Of an answer that is read whole: fifty slices of the largest size that the API allows, 1,000 endpoints
of some 300 bytes; as it fills them itself, with 100, a fifth of that."""

MAX_LINE_BYTES = 4 << 20
"""Of an event of a watch: an object of 1.5 MiB, more than which etcd does not store, as JSON."""

MAX_TOKEN_BYTES = 16_384
"""Of a token file: tokens have some 1,000 bytes."""

_TOKEN = re.compile(rb"[!-~]+")

_KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)
"""A watch is silent for long: that the other end is gone without a word shows within 25 seconds."""


class Access(NamedTuple):
    """Where the API is, and how it is reached.

    :ivar base: its URL, ``https://HOST:PORT``; ``http:`` on this machine.
    :ivar token_file: None: no token is sent; what listens on this machine has its own.
    :ivar ca_file: None only without TLS.
    :ivar timeout: seconds for a connection and for an answer.
    """

    base: str
    token_file: str | None
    ca_file: str | None
    timeout: float


class StatusError(LookError):
    """The API answered with a status other than 200."""

    def __init__(self, status: int) -> None:
        self.status = status
        hint = ": may the service account list and watch endpointslices?" if status == 403 else ""
        super().__init__(reason_of(status), f"the API server answered {status}{hint}")


def reason_of(status: int) -> str:
    """The reason, for :class:`LookError`, of an HTTP status that is not 200."""
    if status in (401, 403):
        return "denied"
    return "refused" if status == 429 else "failed"


def read_token(path: str) -> str:
    """Read the service account's token: anew for each request, since the kubelet renews it.

    :raises LookError: there is none.
    """
    try:
        token = files.read(path, most=MAX_TOKEN_BYTES, what="token file").strip()
    except (OSError, ValueError) as error:
        raise LookError("denied", f"the token file: {_plain(error)}") from None
    if not _TOKEN.fullmatch(token):
        raise LookError("denied", "the token file holds no token")
    return token.decode("ascii")


def trusting(ca_file: str) -> ssl.SSLContext:
    """What verifies the API server's certificate, against these CAs alone.

    :raises LookError: the file holds none.
    """
    try:
        return load_client_context(TlsFiles(None, None, ca_file, "1.2"), "")
    except ConfigError as error:
        raise LookError("failed", f"the CA file: {error.problem}") from None


class Api:
    """A client for as long as its context lasts. It follows no redirect and uses no proxy: a token is for
    one server alone."""

    def __init__(self, access: Access) -> None:
        self._access = access
        transport = httpx.AsyncHTTPTransport(
            verify=trusting(access.ca_file) if access.ca_file else False,
            trust_env=False,
            socket_options=_KEEPALIVE,
        )
        # No time-outs of single steps: what is sent a byte at a time must end, too.
        self._client = httpx.AsyncClient(
            transport=transport, trust_env=False, timeout=httpx.Timeout(None), follow_redirects=False
        )

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._client.aclose()

    async def get(self, path: str, parameters: Mapping[str, str]) -> bytes:
        """Read an answer whole.

        :raises StatusError: the answer's status is not 200.
        :raises LookError: there was none within the time-out, or it is too large.
        """
        body = bytearray()

        def take(data: bytes) -> None:
            body.extend(data)
            if len(body) > MAX_ANSWER_BYTES:
                raise LookError("too_many", f"an answer of more than {MAX_ANSWER_BYTES} bytes")

        with _named_errors(), trio.fail_after(self._access.timeout):
            response = await self._open(path, parameters)
            try:
                await read_body(response, take)
            finally:
                await response.aclose()
        return bytes(body)

    async def lines(
        self,
        path: str,
        parameters: Mapping[str, str],
        *,
        seconds: float,
        opened: Callable[[], None],
        take: Callable[[list[bytes]], None],
    ) -> None:
        """Read an answer that goes on and on, for so many seconds, or until it ends or breaks off.

        :param opened: called once there is an answer.
        :param take: called with the lines that came together; a last one that is not whole is dropped.
            What it raises goes through.
        :raises StatusError: the answer's status is not 200.
        :raises LookError: there was none within the time-out, or a line is too long.
        """
        with _named_errors(), trio.fail_after(self._access.timeout):
            response = await self._open(path, parameters)
        lines = LineBuffer()
        try:
            with trio.move_on_after(seconds), suppress(httpx.TransportError):
                opened()
                await read_body(response, lambda data: take(lines.feed(data)))
        finally:
            await response.aclose()

    async def _open(self, path: str, parameters: Mapping[str, str]) -> httpx.Response:
        """An answer of status 200 whose body is to be read; the caller closes it."""
        headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",  # unpacking would be work without a bound
            "User-Agent": "epmdless",
        }
        if self._access.token_file:
            headers["Authorization"] = f"Bearer {read_token(self._access.token_file)}"
        url = f"{self._access.base}{path}"
        request = self._client.build_request("GET", url, params=parameters, headers=headers)
        response = await self._client.send(request, stream=True)
        if response.status_code == httpx.codes.OK and "Content-Encoding" not in response.headers:
            return response
        await response.aclose()
        if response.status_code != httpx.codes.OK:
            raise StatusError(response.status_code)
        raise LookError("malformed", "the API server packed its answer, which it was not asked to")


class LineBuffer:
    """What came, cut into lines."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take what came next, and return the lines that are whole now, blank ones left out.

        :raises LookError: a line is longer than MAX_LINE_BYTES.
        """
        first, newline, more = data.partition(b"\n")
        self._rest += first
        if len(self._rest) > MAX_LINE_BYTES:
            raise LookError("malformed", f"the API server sent a line of more than {MAX_LINE_BYTES} bytes")
        if not newline:
            return []
        *lines, rest = more.split(b"\n")
        lines.insert(0, bytes(self._rest))
        self._rest[:] = rest
        return [line for line in lines if line.strip()]


@contextmanager
def _named_errors() -> Iterator[None]:
    try:
        yield
    except (trio.TooSlowError, httpx.TimeoutException):
        raise LookError("timeout", "the API server did not answer in time") from None
    except httpx.RemoteProtocolError:
        raise LookError("malformed", "the API server's answer breaks off, or is no HTTP") from None
    except httpx.TransportError as error:
        raise LookError("unreachable", _explained(error)) from None


def _explained(error: httpx.TransportError) -> str:
    """What is behind an error: where TLS failed, httpx says nothing, and hides the cause."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return explain(cause, peer="the API server", side="client").text
        cause = cause.__cause__ or cause.__context__
    return f"the API server: {_plain(error)}"


def _plain(error: Exception) -> str:
    """One short line."""
    text = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return " ".join(text.split())[:200]
