"""What is published in DNS as the process behind a control socket shows it, in types.

All times are seconds, counted from the moment of the sample; None = never, or not known. States and reasons
are words that a later version may have more of.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec


class PublishedNode(msgspec.Struct, frozen=True):
    """A registered node that is to be in the zone; `published`: all its records are there for certain."""

    name: str
    port: int
    services: tuple[str, ...] = ()
    published: bool = False


class LeftOut(msgspec.Struct, frozen=True):
    """A registered node that cannot be published."""

    name: str
    reason: str


class PublishSample(msgspec.Struct, frozen=True):
    """How publishing goes.

    `age` is since the last success; `next` until the next attempt or refresh; `twin` a node of another host
    that has our target. `left_out` names some, `left_out_count` counts all.
    """

    now: float
    zone: str
    state: str
    servers: tuple[str, ...] = ()
    target: str = ""
    addresses: tuple[str, ...] = ()
    reason: str | None = None
    detail: str | None = None
    failing_for: float | None = None
    age: float | None = None
    next: float | None = None
    records: int = 0
    twin: str | None = None
    nodes: tuple[PublishedNode, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    left_out_count: int = 0


class PublishAnswer(NamedTuple):
    """The same twice: the document as it came, and in types."""

    document: dict[str, Any]
    sample: PublishSample
