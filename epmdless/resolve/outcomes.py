"""What a resolver is asked, and what it can say."""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple, Protocol

from epmdless.wire.epmd import Node
from epmdless.wire.epmd_replies import encode_port_reply


class Query(NamedTuple):
    """Which node: its alive name, and the host that is asked for it."""

    alive: str
    host: str


class Found(NamedTuple):
    """The node listens there. Ends the search.

    `answer` is the encoded PORT_PLEASE2 reply: a lookup sends it as it is.
    """

    node: Node
    answer: bytes
    resolver: str

    @classmethod
    def unregistered(cls, alive: str, port: int, resolver: str) -> Found:
        """An answer that no registration backs: a normal node, highest version 6, lowest 5."""
        node = Node(port, alive)
        return cls(node, encode_port_reply(node), resolver)


class Missing(NamedTuple):
    """There is no such node, says this resolver, who would know. Ends the search unless the
    configuration lets this resolver fall through."""

    resolver: str


class Failed(NamedTuple):
    """The source behind this resolver failed. The client is told "no such node"; it is not an outcome
    of the search, and nobody may remember it as one."""

    resolver: str
    problem: str


class Verdict(Enum):
    """Outcomes that carry nothing."""

    NOT_MINE = auto()
    """This resolver has no say in this name: ask the next."""

    WAIT = auto()
    """Only from `answer_now`: the answer takes I/O."""


Outcome = Found | Missing | Verdict


class Resolver(Protocol):
    """One source of answers."""

    name: str

    def answer_now(self, query: Query) -> Outcome:
        """The outcome if it is at hand; :attr:`Verdict.WAIT` if :meth:`answer` must be awaited."""

    async def answer(self, query: Query) -> Outcome:
        """The outcome, after I/O where it takes any; never :attr:`Verdict.WAIT`.

        :raises ResolveError: the source failed.
        """
