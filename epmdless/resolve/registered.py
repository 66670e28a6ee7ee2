"""Answers from live registrations."""

from __future__ import annotations

from epmdless.registry import Registry
from epmdless.resolve.outcomes import Found, Outcome, Query, Verdict


class RegisteredResolver:
    """Found for a registered name; a name that nobody registered may still be another's."""

    name = "registered"

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def answer_now(self, query: Query) -> Outcome:
        """Look the name up in the registry."""
        registration = self._registry.get(query.alive)
        if registration is None:
            return Verdict.NOT_MINE
        return Found(registration.node, registration.answer, self.name)

    async def answer(self, query: Query) -> Outcome:
        """The same; it never waits."""
        return self.answer_now(query)
