"""What answers in place of this host's registry on an address that stands in for far hosts."""

from __future__ import annotations

from typing import Protocol


class Face(Protocol):
    """The EPMD of far hosts, as near nodes see it. Nobody registers there."""

    async def look_up(self, name: str) -> bytes:
        """The reply to PORT_PLEASE2 for this alive name, encoded."""

    async def names(self, port: int) -> bytes:
        """The reply to NAMES, encoded.

        :param port: the port that the client dialled: it gives up on any other.
        """
