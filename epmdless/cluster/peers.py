"""What a source of names says, and how it says it.

A source never says "nobody" where it means "I do not know": an error, a time-out and a refusal are
:class:`Unknown`, and what was known before goes on being known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from epmdless.errors import EpmdlessError

MAX_NAMES = 20_000
"""Names in one answer of one source: twice the largest list that was measured. With one more the answer
is taken for a mistake, :class:`Unknown`: half of a list would look as if the other half had left."""


class Peer(NamedTuple):
    """A node that a source names.

    :param name: its whole name, ``ALIVE@HOST``; not checked yet.
    :param port: of its distribution listener, where the source knows it (SRV, EPMD).
    """

    name: str
    port: int | None = None


class Unknown(NamedTuple):
    """I do not know.

    :param reason: one short word of a fixed set, fit for a counter's label: ``timeout``, ``unreachable``,
        ``refused``, ``denied``, ``malformed``, ``too_many``, ``failed``, ``internal``.
    :param detail: for people; one line, no secret.
    """

    reason: str
    detail: str


class LookError(EpmdlessError):
    """A source cannot say who is there; see :class:`Unknown` for the parameters."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}")

    @property
    def unknown(self) -> Unknown:
        """The same as something that a source says."""
        return Unknown(self.reason, self.detail)

    @classmethod
    def of_many(cls, failures: Sequence[LookError]) -> LookError:
        """The first of at least one failures, and how many there are besides."""
        others = f", and {len(failures) - 1} more" if len(failures) > 1 else ""
        return cls(failures[0].reason, f"{failures[0].detail}{others}")


class Known(NamedTuple):
    """These nodes, as of now, and no others.

    :param doubt: a part of what was asked gave no answer, and is named as it was before; None: all did.
    """

    peers: tuple[Peer, ...]
    doubt: Unknown | None = None


Say = Callable[[Known | Unknown], None]
"""Told each thing that a source says, in its order."""


class Source(Protocol):
    """One source of names."""

    async def run(self, say: Say) -> None:
        """Say what is known, again and again, until cancelled.

        What it raises (:class:`LookError`, or by a fault of ours anything else) is taken for
        :class:`Unknown`, and it is run again later, after a pause that grows.
        """
