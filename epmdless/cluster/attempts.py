"""One peer of one local node: whether it is connected, and when the next attempt is due.

Plain data over times that the caller gives.
"""

from __future__ import annotations

from epmdless.cluster.groups import Want
from epmdless.cluster.trouble import NodeError

SPREAD = 0.2
"""Seconds over which the first attempts of a few pairs are spread at random."""

SPREAD_A_PEER = 0.02
"""Seconds by which that grows with each peer that is to be connected: a hundred nodes that start together
make 50 connections each, 25 a second."""

GRACE = 0.2
"""Seconds after the spread for which a node waits for the other one of a pair, whose turn is first."""

SHORTEST_PAUSE = 1.0
"""Seconds after the first attempt that failed; doubled each time."""

LONGEST_PAUSE = 60.0
"""Seconds between attempts by the node: each may take it seven seconds, and fill its log."""

LONGEST_PAUSE_REFUSED = 300.0
"""The same where the peer is there and says no: each attempt is an error in the peer's log too."""

LONGEST_LOOK = 10.0
"""Seconds between looks at a peer that its EPMD does not know (yet): a packet each way."""

BLIND_AFTER = 30.0
"""Seconds after which a node is told to connect to a peer that we see nothing of: it may know a way that we
do not (its own `epmd_module`, its hosts file)."""

LONGEST_PAUSE_BLIND = 900.0
"""Seconds between such attempts, once many were in vain: a thousand names of hosts that are gone make one a
second."""


def spread(peers: int) -> float:
    """Seconds over which first attempts are spread.

    :param peers: how many are to be connected.
    """
    return max(SPREAD, SPREAD_A_PEER * peers)


class PeerState:
    """A peer that a local node shall be connected to.

    :ivar connected: whether it is, as of the last look.
    :ivar error: why it is not; None: it was not tried since it was last connected.
    :ivar attempts: how often the node was told to connect to it, since it is wanted.
    :ivar due: when it is the next attempt's time.
    :ivar busy: an attempt is under way.
    :ivar is_current: whether attempts are made at all, see :class:`Want`.
    """

    __slots__ = (
        *(
            "_blind_at",
            "_blind_pause",
            "_is_blind",
            "attempts",
            "busy",
            "connected",
            "due",
            "error",
            "failures",
            "hidden",
        ),
        *("is_current", "name"),
    )

    def __init__(self, want: Want, now: float) -> None:
        self.name = want.name
        self.hidden = want.hidden
        self.is_current = want.is_current
        self.connected = False
        self.error: NodeError | None = None
        self.attempts = 0
        self.failures = 0
        self.busy = False
        self.due = now
        self._blind_at, self._blind_pause = now + BLIND_AFTER, LONGEST_PAUSE
        self._is_blind = False

    @property
    def state(self) -> str:
        """``connected``, ``connecting``, ``failing`` or ``waiting`` for its turn."""
        if self.connected:
            return "connected"
        return "connecting" if self.busy else "failing" if self.error else "waiting"

    def wait_for_turn(self, now: float, peers: int, chance: float, *, is_first: bool) -> None:
        """Set the time of a first attempt.

        :param peers: how many the node is to be connected to at this moment.
        :param chance: a number in [0, 1).
        :param is_first: the node, not the peer, goes first.
        """
        width = spread(peers)
        self.due = now + width * chance + (0 if is_first else width + GRACE)

    @property
    def is_waiting(self) -> bool:
        """Whether there is an attempt to come."""
        return self.is_current and not self.connected and not self.busy

    def is_due(self, now: float) -> bool:
        """Whether it is time for an attempt."""
        return self.is_waiting and self.due <= now

    def joined(self) -> None:
        """The node is connected to it."""
        self.connected, self.error, self.failures = True, None, 0

    def lost(self, now: float) -> None:
        """The node is connected to it no longer."""
        self.connected = False
        self._blind_at, self._blind_pause = now + BLIND_AFTER, LONGEST_PAUSE

    def unseen(self, error: NodeError, now: float, chance: float) -> bool:
        """A look found nobody there.

        :returns: whether it is tried all the same.
        """
        self._is_blind = now >= self._blind_at
        if self._is_blind:
            self._blind_at = now + self._blind_pause
            self._blind_pause = min(2 * self._blind_pause, LONGEST_PAUSE_BLIND)
            return True
        self._failed(error, now, LONGEST_LOOK, chance)
        return False

    def failed(self, error: NodeError, now: float, chance: float) -> None:
        """The node could not connect to it; where that was tried in the dark, looks go on as before."""
        longest = LONGEST_PAUSE_REFUSED if error.reason == "refused" else LONGEST_PAUSE
        self._failed(error, now, LONGEST_LOOK if self._is_blind else longest, chance)
        self._is_blind = False

    def _failed(self, error: NodeError, now: float, longest: float, chance: float) -> None:
        self.error = error.kept()
        pause = min(SHORTEST_PAUSE * 2 ** min(self.failures, 10), longest)
        self.failures += 1
        self.due = now + pause * (1 - chance / 2)
