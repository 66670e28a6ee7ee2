"""A Kubernetes API that knows EndpointSlices, and answers each list and each watch as a test scripts it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import trio

from tests.support.scripted_http import Answer, Asked, Reply

Object = Mapping[str, Any]


@dataclass
class KubernetesApi:
    """Answers of the server, each used once, the last for ever; give it to `serving`.

    :ivar lists: to requests for a page of a list.
    :ivar watches: to requests to watch.
    """

    lists: list[Answer] = field(default_factory=list)
    watches: list[Answer] = field(default_factory=list)
    listed: list[Asked] = field(default_factory=list)
    watched: list[Asked] = field(default_factory=list)

    async def __call__(self, asked: Asked, reply: Reply) -> None:
        """Answer a request."""
        is_watch = asked.query.get("watch") == "true"
        done, script = (self.watched, self.watches) if is_watch else (self.listed, self.lists)
        done.append(asked)
        await script[min(len(done), len(script)) - 1](asked, reply)


def endpoint(address: str, hostname: str | None = None, **conditions: bool) -> Object:
    """An endpoint as the API shows it, with fields that nobody here looks at."""
    shown: dict[str, Any] = {
        "addresses": [address],
        "conditions": conditions,
        "nodeName": "worker-1",
        "targetRef": {"kind": "Pod", "name": f"app-{address}", "namespace": "prod", "uid": "1f9b"},
        "zone": "eu-1a",
    }
    return shown | ({"hostname": hostname} if hostname else {})


def slice_of(name: str, version: int, endpoints: Sequence[Object | str] | None, kind: str = "IPv4") -> Object:
    """An EndpointSlice as the API shows it; an address stands for an endpoint that is ready."""
    shown = [endpoint(each, ready=True) if isinstance(each, str) else each for each in endpoints or ()]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "namespace": "prod",
            "uid": f"uid-{name}",
            "resourceVersion": str(version),
            "labels": {"kubernetes.io/service-name": "app", "app": "app"},
            "managedFields": [{"manager": "kube-controller-manager", "fieldsV1": {"f:endpoints": {}}}],
        },
        "addressType": kind,
        "endpoints": None if endpoints is None else shown,
        "ports": [{"name": "", "port": 4370, "protocol": "TCP"}],
    }


def page_of(version: int, *items: Object, more: str = "") -> bytes:
    """A page of a list; `more` is the token of the next one."""
    metadata = {
        "resourceVersion": str(version),
        **({"continue": more, "remainingItemCount": 1} if more else {}),
    }
    kind = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSliceList"}
    return json.dumps({**kind, "metadata": metadata, "items": items}).encode()


def event(kind: str, changed: Object) -> bytes:
    """A line of a watch."""
    return json.dumps({"type": kind, "object": changed}).encode() + b"\n"


def bookmark(version: int) -> bytes:
    """A line that says that everything up to a version has been told."""
    metadata = {"resourceVersion": str(version), "creationTimestamp": None}
    return event(
        "BOOKMARK", {"kind": "EndpointSlice", "metadata": metadata, "endpoints": None, "addressType": ""}
    )


def failure(code: int) -> bytes:
    """A line that says that the watch is over."""
    return event("ERROR", {"kind": "Status", "status": "Failure", "message": "too old", "code": code})


def page(version: int, *items: Object, more: str = "") -> Answer:
    """Answer with a page of a list."""
    return whole(200, page_of(version, *items, more=more))


def whole(status: int, body: bytes = b"{}", **headers: str) -> Answer:
    """Answer with a status."""

    async def answer(_asked: Asked, reply: Reply) -> None:
        await reply.whole(status, body, headers)

    return answer


def stream(*pieces: bytes, then: str = "hold") -> Answer:
    """Answer with pieces that go on for as long as the client listens.

    :param then: ``end`` the answer properly; ``break`` it off; ``hold``: send nothing more.
    """

    async def answer(_asked: Asked, reply: Reply) -> None:
        await reply.start(200)
        for piece in pieces:
            await reply.send(piece)
        if then == "end":
            await reply.end()
        elif then == "hold":
            await reply.until_left()

    return answer


def drip(data: bytes, seconds: float) -> Answer:
    """Answer a byte at a time, with a pause after each."""

    async def answer(_asked: Asked, reply: Reply) -> None:
        await reply.start(200)
        for number in range(len(data)):
            await reply.send(data[number : number + 1])
            await trio.sleep(seconds)

    return answer


def endless(piece: bytes) -> Answer:
    """Answer with the same piece again and again."""

    async def answer(_asked: Asked, reply: Reply) -> None:
        await reply.start(200)
        while True:
            await reply.send(piece)

    return answer


async def silence(_asked: Asked, reply: Reply) -> None:
    """Take the request, and never answer."""
    await reply.until_left()
