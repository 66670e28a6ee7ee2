"""The client of a control socket, with blocking sockets, and what comes out of it as typed structures."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

import msgspec

from epmdless.cli.ask import PATIENCE, NoServerError
from epmdless.cli.cluster_views import ClusterAnswer, ClusterSample
from epmdless.cli.publish_views import PublishAnswer, PublishSample
from epmdless.errors import EpmdlessError, RemoteProtocolError

T = TypeVar("T")

MAX_ANSWER = 64 * 1024 * 1024
"""Bytes: 10,000 links, the most that are allowed by default, take 12 MB."""


class Side(msgspec.Struct, frozen=True):
    """One end of a link; None = not known (yet).

    `address` is a host and port; `rtt_us` is in microseconds; `unsent` is in bytes.
    """

    address: str
    node: str | None = None
    creation: int | None = None
    flags: int | None = None
    otp: str | None = None
    rtt_us: int | None = None
    retransmits: int | None = None
    unsent: int = 0


class Direction(msgspec.Struct, frozen=True):
    """What went one way; None = not counted. `largest` is in bytes, `last_tick_age` in seconds."""

    bytes: int = 0
    frames: int | None = None
    ticks: int | None = None
    fragments: int | None = None
    largest: int | None = None
    last_tick_age: float | None = None


class LinkView(msgspec.Struct, frozen=True):
    """A link as the process shows it; `age` is in seconds, `setup_ms` in milliseconds.

    `hop` is the one that it goes through, `client` who uses our gateway for it, `tunnel` the id that it has
    on both ends of a hop; None: there is no such thing.
    """

    id: int
    state: str
    route: str
    age: float
    near: Side
    far: Side
    near_to_far: Direction
    far_to_near: Direction
    setup_ms: float | None = None
    tls: bool = False
    hop: str | None = None
    gateway: str | None = None
    client: str | None = None
    tunnel: str | None = None


class Sample(msgspec.Struct, frozen=True):
    """All links at one moment of the process's monotonic clock, in seconds."""

    now: float
    links: tuple[LinkView, ...]


class Answer(NamedTuple):
    """The same twice: the document as it came, and in types."""

    document: dict[str, Any]
    sample: Sample


class ControlClient:
    """Asks the process behind the first of these sockets that one answers on."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = tuple(paths)

    def links(self) -> Answer:
        """All links.

        :raises NoServerError: nobody answers.
        :raises RemoteProtocolError: the answer cannot be read.
        """
        status, body = self._ask("GET", "/links")
        if status != http.client.OK:
            raise RemoteProtocolError("status", f"status {status} for the list of links")
        return Answer(*_read(body, Sample))

    def cluster(self) -> ClusterAnswer:
        """How the cluster is.

        :raises EpmdlessError: no cluster is configured there; or, in its subclasses, as for `links`.
        """
        status, body = self._ask("GET", "/cluster")
        if status == http.client.NOT_FOUND:
            raise EpmdlessError("no cluster is configured there: the configuration has no [cluster.source]")
        if status != http.client.OK:
            raise RemoteProtocolError("status", f"status {status} for the cluster")
        return ClusterAnswer(*_read(body, ClusterSample))

    def published(self) -> PublishAnswer:
        """What is published in DNS.

        :raises EpmdlessError: nothing is to be, there; or, in its subclasses, as for `links`.
        """
        status, body = self._ask("GET", "/publish")
        if status == http.client.NOT_FOUND:
            raise EpmdlessError("nothing is published there: the configuration has no [publish]")
        if status != http.client.OK:
            raise RemoteProtocolError("status", f"status {status} for what is published")
        return PublishAnswer(*_read(body, PublishSample))

    def end(self, link_id: int) -> None:
        """End a link.

        :raises EpmdlessError: there is no such link; or, in its subclasses, as for `links`.
        """
        status, _ = self._ask("DELETE", f"/links/{link_id}")
        if status == http.client.NOT_FOUND:
            raise EpmdlessError(f"no link has the number {link_id}")
        if status != http.client.OK:
            raise RemoteProtocolError("status", f"status {status} for the end of a link")

    def _ask(self, method: str, target: str) -> tuple[int, bytes]:
        problems = []
        for path in self._paths:
            with _UnixConnection(path) as connection:
                try:
                    connection.connect()
                except OSError as error:
                    problems.append(f"{path}: {error.strerror or error}")
                    continue
                return _converse(connection, method, target)
        raise NoServerError(f"nobody answers: {'; '.join(problems)}")


def _read(body: bytes, kind: type[T]) -> tuple[dict[str, Any], T]:
    """A document as it came, and in types. Raises RemoteProtocolError."""
    try:
        document = msgspec.json.decode(body, type=dict[str, Any])
        return document, msgspec.convert(document, kind)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise RemoteProtocolError("document", str(error)) from None


def _converse(connection: _UnixConnection, method: str, target: str) -> tuple[int, bytes]:
    try:
        connection.request(method, target)
        response = connection.getresponse()
        body = response.read(MAX_ANSWER + 1)
    except OSError as error:
        raise NoServerError(f"no whole answer: {error.strerror or error}") from None
    except http.client.HTTPException as error:
        raise RemoteProtocolError("http", type(error).__name__) from None
    if len(body) > MAX_ANSWER:
        raise RemoteProtocolError("length", f"an answer of more than {MAX_ANSWER} bytes")
    return response.status, body


class _UnixConnection(http.client.HTTPConnection):
    """The standard library's client, over a UNIX socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("epmdless", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(str(self._path))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()
