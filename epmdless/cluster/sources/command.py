"""The source ``command``: a program that prints names."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from hashlib import blake2b

from epmdless.cluster.peers import LookError, Peer, Say
from epmdless.cluster.sources.name_text import MAX_BYTES, parse_names
from epmdless.cluster.sources.polling import poll
from epmdless.cluster.sources.program import Program
from epmdless.config import CommandSource


class NamesCommand:
    """Names the nodes that a program prints.

    Nothing printed, and exit status 0, is "nobody": what ``psql -At`` prints of an empty table. With any
    other status what was printed does not count.
    """

    def __init__(self, section: CommandSource) -> None:
        self._interval = section.poll
        self._called = section.argv[0]
        self._program = Program(section.argv, seconds=section.timeout, most=MAX_BYTES)
        self._last: tuple[bytes, tuple[Peer, ...]] | None = None

    async def run(self, say: Say) -> None:
        """Run the program, again and again."""
        await poll(self.look, self._interval, say)

    async def look(self) -> Sequence[Peer]:
        """The nodes that it names now; raises LookError."""
        ended = await self._program.run()
        if ended.status:
            how = f"exit status {ended.status}" if ended.status > 0 else f"ended by {_name(-ended.status)}"
            detail = ": ".join(part for part in (self._called, how, ended.complaint) if part)
            raise LookError("failed", detail)
        digest = blake2b(ended.output).digest()
        if self._last is None or self._last[0] != digest:
            self._last = digest, tuple(parse_names(ended.output).values())
        return self._last[1]


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"
