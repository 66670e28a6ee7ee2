"""The source ``static``: node names in the configuration."""

from __future__ import annotations

import trio

from epmdless.cluster.peers import Known, Peer, Say
from epmdless.config import StaticSource


class StaticNames:
    """Names these nodes once; nothing else is ever known."""

    def __init__(self, section: StaticSource) -> None:
        self._known = Known(tuple(map(Peer, section.nodes)))

    async def run(self, say: Say) -> None:
        """Say it, and wait for ever."""
        say(self._known)
        await trio.sleep_forever()
