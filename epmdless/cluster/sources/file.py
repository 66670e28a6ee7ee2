"""The source ``file``: a file with names, watched."""

from __future__ import annotations

from collections.abc import Sequence

from epmdless.cluster.peers import Peer, Say
from epmdless.cluster.sources.listing import WatchedList
from epmdless.cluster.sources.name_text import MAX_BYTES, parse_names
from epmdless.cluster.sources.polling import poll
from epmdless.config import FileSource


class NamesFile:
    """Names the nodes in a file; one that is not there, or holds anything else, is "I do not know"."""

    def __init__(self, section: FileSource) -> None:
        self._interval = section.poll
        self._list = WatchedList(section.path, parse_names, MAX_BYTES, "list of names")

    async def run(self, say: Say) -> None:
        """Look at the file, again and again."""
        await poll(self.look, self._interval, say)

    async def look(self) -> Sequence[Peer]:
        """The nodes that it names now; raises LookError."""
        return tuple((await self._list.look()).values())
