"""How links ended and what they carried: counters and one log line each."""

from __future__ import annotations

from typing import Any

from epmdless import metrics
from epmdless.links.ends import End
from epmdless.links.link import Link, LinkTable, Party
from epmdless.links.views import otp_of
from epmdless.log import Log
from epmdless.metrics import Metrics

DIRECTIONS = ("near_to_far", "far_to_near")

MAX_SHOWN = 255
"""Characters of a node's name in the log: the most that a name has (it is an atom). What a stranger sends
may be longer, and a line that has to be cut (:data:`epmdless.log.LONGEST_LINE`) is no JSON any more."""

_EXPECTED = (End.NEAR_CLOSED, End.FAR_CLOSED, End.DRAINED, End.ENDED)


class Accounts:
    """Keeps the sums of links that ended, and adds those that live when somebody asks."""

    def __init__(self, links: LinkTable, counts: Metrics, log: Log) -> None:
        self._links = links
        self._counts = counts
        self.log = log
        self._bytes, self._frames, self._ticks = [0, 0], [0, 0], [0, 0]
        for index, direction in enumerate(DIRECTIONS):
            counts.tally(metrics.LINK_BYTES, (direction,), lambda i=index: self._sum(i)[0])  # type: ignore[misc]
            counts.tally(metrics.LINK_FRAMES, (direction,), lambda i=index: self._sum(i)[1])  # type: ignore[misc]
            counts.tally(metrics.LINK_TICKS, (direction,), lambda i=index: self._sum(i)[2])  # type: ignore[misc]

    def _sum(self, index: int) -> tuple[int, int, int]:
        """Bytes, frames and ticks of a direction so far."""
        sums = [self._bytes[index], self._frames[index], self._ticks[index]]
        for link in self._links:
            if link.flows is not None:
                flow = link.flows[index]
                sums[0] += flow.count
                sums[1] += flow.frames or 0
                sums[2] += flow.walker.ticks if flow.walker is not None else 0
        return sums[0], sums[1], sums[2]

    def settle(self, link: Link, now: float) -> None:
        """Count and log the end of a link."""
        code = link.end or End.INTERNAL
        self._counts.count(metrics.LINKS_ENDED, code.value)
        fields: dict[str, Any] = {
            "end": code.value,
            "link": link.id,
            "route": link.route,
            **_way(link),
            **_party("near", link.near),
            **_party("far", link.far),
            "seconds": round(now - link.opened, 3),
        }
        if link.detail:
            fields["detail"] = link.detail
        for index, flow in enumerate(link.flows or ()):
            self._bytes[index] += flow.count
            fields[f"{DIRECTIONS[index]}_bytes"] = flow.count
            if flow.walker is not None:
                self._frames[index] += flow.frames or 0
                self._ticks[index] += flow.walker.ticks
                fields[f"{DIRECTIONS[index]}_frames"] = flow.frames
                fields[f"{DIRECTIONS[index]}_ticks"] = flow.walker.ticks
        if link.flows is None and code not in _EXPECTED:
            self.log.warning("link not set up", **fields)
        else:
            self.log.info("link ended", **fields)

    def note_established(self, link: Link) -> None:
        """Log that a link is up."""
        self.log.info(
            "linked",
            link=link.id,
            route=link.route,
            **_way(link),
            near=_shown(link.near),
            far=_shown(link.far),
            near_address=link.near.address,
            far_address=link.far.address,
        )


def _way(link: Link) -> dict[str, str]:
    """Through which hop it goes, or for which client, and under which id on both ends."""
    fields = {"hop": link.hop, "gateway": link.gateway, "client": link.client, "tunnel": link.tunnel}
    return {key: value for key, value in fields.items() if value is not None}


def _shown(party: Party) -> str | None:
    return None if party.node is None else party.node[:MAX_SHOWN]


def _party(side: str, party: Party) -> dict[str, Any]:
    fields: dict[str, Any] = {side: _shown(party), f"{side}_address": party.address}
    if party.creation is not None:
        fields[f"{side}_creation"] = party.creation
    if party.flags is not None:
        fields[f"{side}_flags"] = f"{party.flags:#x}"
        fields[f"{side}_otp"] = otp_of(party.flags)
    return fields
