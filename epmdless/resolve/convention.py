"""Answers that need no source but the configuration: a scheme, and a table of names."""

from __future__ import annotations

from collections.abc import Mapping

from epmdless.resolve.outcomes import Found, Outcome, Query, Verdict
from epmdless.schemes import Scheme

REMEMBERED_ANSWERS = 4096
"""Encoded answers kept by name: encoding costs a third of a lookup. All are dropped when full, so a
stranger who asks for ever new names costs no memory beyond this."""


class SchemeResolver:
    """Found for a name that promises a port under the configured scheme."""

    name = "scheme"

    def __init__(self, scheme: Scheme) -> None:
        self._scheme = scheme
        self._answers: dict[str, Outcome] = {}

    def answer_now(self, query: Query) -> Outcome:
        """Apply the scheme."""
        outcome = self._answers.get(query.alive)
        if outcome is None:
            port = self._scheme.port_of(query.alive)
            outcome = Verdict.NOT_MINE if port is None else Found.unregistered(query.alive, port, self.name)
            if len(self._answers) >= REMEMBERED_ANSWERS:
                self._answers.clear()
            self._answers[query.alive] = outcome
        return outcome

    async def answer(self, query: Query) -> Outcome:
        """The same; it never waits."""
        return self.answer_now(query)


class StaticResolver:
    """Found for a name that stands in ``[resolve.static]``."""

    name = "static"

    def __init__(self, ports: Mapping[str, int]) -> None:
        self._answers = {alive: Found.unregistered(alive, port, self.name) for alive, port in ports.items()}

    def answer_now(self, query: Query) -> Outcome:
        """Look the name up in the table."""
        return self._answers.get(query.alive, Verdict.NOT_MINE)

    async def answer(self, query: Query) -> Outcome:
        """The same; it never waits."""
        return self.answer_now(query)
