"""What people and programs get to see of a cluster, in terms of JSON; all times in seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from epmdless.cluster.attempts import PeerState
from epmdless.cluster.groups import Group
from epmdless.cluster.joiner import Joiner
from epmdless.cluster.prepared import Prepared
from epmdless.cluster.roster import Listing, Naming, Roster

Namings = Callable[[Group], Mapping[str, Naming]]


class View:
    """One look.

    :param now: by the clock of the roster's times.
    """

    def __init__(self, roster: Roster, prepared: Prepared, now: float) -> None:
        self._roster = roster
        self._prepared = prepared
        self._now = now

    def whole(self, joiners: Iterable[Joiner], namings: Namings, *, is_ready: bool) -> dict[str, Any]:
        """Sources, groups, their local nodes and the peers of those."""
        joiners = list(joiners)
        groups = [
            self._group(group.name, [j for j in joiners if self._group_of(j) is group], namings)
            for group in self._prepared.groups.all
        ]
        if apart := [joiner for joiner in joiners if self._group_of(joiner) is None]:
            groups.append(self._group(None, apart, namings))
        return {
            "now": self._now,
            "ready": is_ready,
            "wanted_ready": self._prepared.section.ready.peers,
            "sources": [self._source(listing) for listing in self._roster.listings.values()],
            "groups": groups,
        }

    def _source(self, listing: Listing) -> dict[str, Any]:
        unknown, heard = listing.unknown, listing.heard
        why = unknown or listing.doubt
        return {
            "name": listing.name,
            "kind": listing.kind,
            "state": "unknown" if unknown else "starting" if heard is None else "known",
            "reason": why.reason if why else None,
            "detail": why.detail if why else None,
            "names": len(listing.names),
            "age": self._since(heard),
            "failing_for": self._since(listing.failing_since),
            "expired": listing.is_expired(self._now, self._prepared.section.max_age),
        }

    def _group(self, name: str | None, joiners: list[Joiner], namings: Namings) -> dict[str, Any]:
        return {"name": name, "nodes": [self._node(joiner, namings) for joiner in joiners]}

    def _group_of(self, joiner: Joiner) -> Group | None:
        """Where a node belongs; of which only the alive name is known yet: to the only group there is."""
        if joiner.name is not None:
            return self._prepared.group_of(joiner.name)
        only = self._prepared.groups.all
        return only[0] if len(only) == 1 else None

    def _node(self, joiner: Joiner, namings: Namings) -> dict[str, Any]:
        peers = [self._peer(joiner, peer, namings) for peer in joiner.peers]
        view = joiner.view()
        return {
            **view,
            "since": self._since(view["since"]),
            "connected": joiner.connected,
            "wanted": len(peers),
            "peers": peers,
        }

    def _peer(self, joiner: Joiner, peer: PeerState, namings: Namings) -> dict[str, Any]:
        group = self._prepared.groups.group_of(peer.name)
        naming = namings(group).get(peer.name) if group else None
        return {
            "name": peer.name,
            "state": peer.state if joiner.is_linked else "waiting",
            "hidden": peer.hidden,
            "sources": list(naming.sources) if naming else [],
            "seen": self._since(naming.since) if naming else None,
            "reason": peer.error.reason if peer.error else None,
            "detail": peer.error.more if peer.error else None,
            "attempts": peer.attempts,
            "next_attempt": max(peer.due - self._now, 0) if joiner.is_linked and peer.is_waiting else None,
        }

    def _since(self, time: float | None) -> float | None:
        return None if time is None else max(self._now - time, 0)
