"""The resolver chain: who is asked after whom, and when the search ends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from epmdless.errors import ResolveError
from epmdless.log import Log
from epmdless.resolve.outcomes import Failed, Found, Missing, Outcome, Query, Resolver, Verdict

NOBODY = "none"
"""The resolver that is named where the whole chain had no say in a name."""


class Step(NamedTuple):
    """One resolver's part in a search, for ``epmdless resolve --explain``."""

    resolver: str
    outcome: Outcome | Failed


class Chain:
    """Resolvers in their order.

    :param fallthrough: names of resolvers whose "no such node", or failure, does not end the search.
    """

    def __init__(self, resolvers: Sequence[Resolver], fallthrough: Iterable[str], log: Log) -> None:
        self._resolvers = tuple(resolvers)
        self._fallthrough = frozenset(fallthrough)
        self._log = log

    @property
    def names(self) -> tuple[str, ...]:
        """The resolvers' names in their order."""
        return tuple(resolver.name for resolver in self._resolvers)

    @property
    def cache_entries(self) -> int:
        """Answers that its resolvers keep from elsewhere."""
        return sum(getattr(resolver, "cache_entries", 0) for resolver in self._resolvers)

    def resolver(self, name: str) -> Resolver | None:
        """The resolver of this name, if it stands in the chain."""
        return next((resolver for resolver in self._resolvers if resolver.name == name), None)

    def answer_now(self, query: Query) -> Found | Missing | None:
        """The answer if it takes no I/O; None if :meth:`answer` must be awaited."""
        for resolver in self._resolvers:
            outcome = resolver.answer_now(query)
            if outcome is Verdict.WAIT:
                return None
            if isinstance(outcome, Found) or (isinstance(outcome, Missing) and self._ends(outcome)):
                return outcome
        return Missing(NOBODY)

    async def answer(self, query: Query) -> Found | Missing | Failed:
        """The answer. A failed source is logged, and the search ends there unless it falls through: what
        stands behind it in the chain would answer for names that the source may know better."""
        last = (await self.explain(query))[-1].outcome
        return Missing(NOBODY) if isinstance(last, Verdict) else last

    async def explain(self, query: Query) -> list[Step]:
        """The whole walk: each resolver that was asked and what it said, the last one decisive."""
        steps: list[Step] = []
        for resolver in self._resolvers:
            step = Step(resolver.name, await self._ask(resolver, query))
            steps.append(step)
            if self._ends(step.outcome):
                return steps
        steps.append(Step(NOBODY, Missing(NOBODY)))
        return steps

    def _ends(self, outcome: Outcome | Failed) -> bool:
        if isinstance(outcome, Missing | Failed):
            return outcome.resolver not in self._fallthrough
        return isinstance(outcome, Found)

    async def _ask(self, resolver: Resolver, query: Query) -> Outcome | Failed:
        try:
            return await resolver.answer(query)
        except ResolveError as error:
            self._log.warning(
                "source failed", resolver=resolver.name, name=query.alive, host=query.host, error=str(error)
            )
            return Failed(resolver.name, str(error))
