"""EndpointSlices as the Kubernetes API lists and watches them, and the nodes that they mean.

Spec: discovery.k8s.io/v1, and "Efficient detection of changes" in "Kubernetes API Concepts".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar

import msgspec

from epmdless.cluster.peers import MAX_NAMES, LookError, Peer

MAX_SLICES = 5_000
"""Slices that are kept: with 100 endpoints in each, as Kubernetes fills them, far more than MAX_NAMES."""

MAX_VERSION_CHARACTERS = 256
"""Of a resource version, which is opaque; etcd's are numbers of 64 bits."""

MAX_CONTINUE_CHARACTERS = 16_384
"""Of a list's `continue` token, which goes into the next request's URL. Some 200 are usual."""

GONE = 410
"""The status that says that a resource version or a `continue` token is too old to go on from."""

T = TypeVar("T")


class Metadata(msgspec.Struct, frozen=True):
    """Of an object or of a list."""

    name: str = ""
    resource_version: str = msgspec.field(name="resourceVersion", default="")
    next_page: str | None = msgspec.field(name="continue", default=None)


class Conditions(msgspec.Struct, frozen=True):
    """Of an endpoint; None: unknown, which counts as true for `ready`, and as `ready` for `serving`."""

    ready: bool | None = None
    serving: bool | None = None


class Endpoint(msgspec.Struct, frozen=True):
    """A pod of the service. Of several addresses the first counts: what the others are is not said."""

    addresses: list[str]
    conditions: Conditions | None = None
    hostname: str | None = None


class Slice(msgspec.Struct, frozen=True):
    """Some of a service's endpoints, all with addresses of one kind."""

    metadata: Metadata
    address_type: str = msgspec.field(name="addressType")
    endpoints: list[Endpoint] | None = None


class Page(msgspec.Struct, frozen=True):
    """A part of a list."""

    metadata: Metadata
    items: list[Slice] | None = None


class Status(msgspec.Struct, frozen=True):
    """What the API says in place of an object: that something is wrong."""

    code: int = 0


class _Bookmarked(msgspec.Struct, frozen=True):
    """An object of which nothing but the version is meant."""

    metadata: Metadata


class _RawEvent(msgspec.Struct, frozen=True):
    kind: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"] = msgspec.field(name="type")
    object: msgspec.Raw


class Changed(NamedTuple):
    """A slice is there, new or in a new version."""

    slice: Slice


class Deleted(NamedTuple):
    """A slice is there no more."""

    slice: Slice


class Bookmark(NamedTuple):
    """Everything up to this version has been told."""

    version: str


class Failed(NamedTuple):
    """The watch is over; `code` is that of an HTTP status."""

    code: int


Event = Changed | Deleted | Bookmark | Failed


def decode_page(body: bytes) -> Page:
    """Read a page of a list.

    :raises LookError: it is none.
    """
    page = _decoded(body, Page)
    if len(page.metadata.next_page or "") > MAX_CONTINUE_CHARACTERS:
        raise LookError("malformed", f"a continue token of more than {MAX_CONTINUE_CHARACTERS} characters")
    _check_version(page.metadata)
    return page


def decode_event(line: bytes) -> Event:
    """Read a line of a watch.

    :raises LookError: it is no event.
    """
    event = _decoded(line, _RawEvent)
    if event.kind == "ERROR":
        return Failed(_decoded(event.object, Status).code)
    if event.kind == "BOOKMARK":
        metadata = _decoded(event.object, _Bookmarked).metadata
        _check_version(metadata)
        return Bookmark(metadata.resource_version)
    changed = _decoded(event.object, Slice)
    _check_version(changed.metadata)
    return Deleted(changed) if event.kind == "DELETED" else Changed(changed)


def _decoded(content: bytes | msgspec.Raw, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # What msgspec says could hold text that the other end chose.
        raise LookError("malformed", "the API server sent what is no such object") from None


def _check_version(metadata: Metadata) -> None:
    if not 1 <= len(metadata.resource_version) <= MAX_VERSION_CHARACTERS:
        raise LookError("malformed", "the API server sent an object without a resource version")


@dataclass(frozen=True, slots=True)
class Naming:
    """How an endpoint becomes a node's name; see KubernetesSource for the parameters.

    :param service: looked at for host names alone.
    """

    basename: str
    names: Literal["ip", "hostname", "dns"]
    service: str
    namespace: str
    domain: str
    not_ready: bool

    def counts(self, endpoint: Endpoint) -> bool:
        """Whether an endpoint is wanted.

        Whether it is terminating makes no difference: a node on its way out may be handing its work over,
        and is dropped when its endpoint is. It is not ready by definition, but may well be serving.
        """
        conditions = endpoint.conditions or Conditions()
        ready = conditions.ready is not False
        return self.not_ready or ready or conditions.serving is True

    def name(self, endpoint: Endpoint) -> str | None:
        """The node's name; None: it has none of this form."""
        host = self._host(endpoint)
        return f"{self.basename}@{host}" if host else None

    def _host(self, endpoint: Endpoint) -> str | None:
        if self.names == "hostname":
            tail = f"{self.service}.{self.namespace}.svc.{self.domain}"
            return f"{endpoint.hostname}.{tail}" if endpoint.hostname else None
        address = endpoint.addresses[0] if endpoint.addresses else ""
        if self.names == "ip" or not address:
            return address
        dashed = address.replace(".", "-").replace(":", "-")
        return f"{dashed}.{self.namespace}.pod.{self.domain}"


class Slices:
    """The slices of a service, as a list and then a watch tell of them."""

    def __init__(self, naming: Naming) -> None:
        self._naming = naming
        self._names: dict[str, tuple[str | None, ...]] = {}
        self._count = 0

    def put(self, changed: Slice) -> bool:
        """Take a slice, in place of an earlier version of it.

        :returns: whether its names are others than before.
        :raises LookError: there are too many, of slices or of endpoints.
        """
        names: tuple[str | None, ...] = ()
        if changed.address_type in ("IPv4", "IPv6"):
            counting = [each for each in changed.endpoints or () if self._naming.counts(each)]
            names = tuple(self._naming.name(each) for each in counting)
        before = self._names.get(changed.metadata.name, ())
        self._count += len(names) - len(before)
        self._names[changed.metadata.name] = names
        if self._count > MAX_NAMES or len(self._names) > MAX_SLICES:
            raise LookError("too_many", f"more than {MAX_NAMES} endpoints, or than {MAX_SLICES} slices")
        return names != before

    def remove(self, deleted: Slice) -> bool:
        """Forget a slice.

        :returns: whether it had names.
        """
        before = self._names.pop(deleted.metadata.name, ())
        self._count -= len(before)
        return bool(before)

    def peers(self) -> Sequence[Peer]:
        """All nodes, each once: while endpoints move from a slice to another, they are in both.

        :raises LookError: there are endpoints, and none has a name of the form that is wanted.
        """
        found: dict[str | None, Any] = dict.fromkeys(name for names in self._names.values() for name in names)
        names = [name for name in found if name is not None]
        if found and not names:
            problem = f"none of {self._count} endpoints has a host name: is the service a StatefulSet's own?"
            raise LookError("malformed", problem)
        return tuple(map(Peer, names))
