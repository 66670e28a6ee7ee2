"""Why a node cannot be talked to, or not be joined, in words that counters, tables and people share."""

from __future__ import annotations

from collections.abc import Mapping

from epmdless.errors import EpmdlessError

REASONS: Mapping[str, str] = {
    "left_out": "it belongs to no group, or is not among cluster.nodes: it is left alone",
    "user": "its port belongs to a user who is not among cluster.users",
    "cookie_file": "the cookie file cannot be read",
    "no_address": "the host part of its name has no address",
    "unreachable": "nobody can be connected to there",
    "epmd_unreachable": "the EPMD server of its host does not answer",
    "not_registered": "the EPMD server of its host does not know it",
    "port_unreachable": "EPMD knows it, and nobody can be connected to on its port",
    "not_allowed": "it does not allow our connection (net_kernel:allow/1)",
    "taken": "every name that we could take there is connected already",
    "other_name": "another node answers in its place",
    "cookie": "it refuses our cookie",
    "protocol": "what it says is no distribution handshake",
    "tls": "one side alone speaks TLS, or not a TLS that the other speaks",
    "certificate": "its certificate does not hold, or ours does not there",
    "timeout": "it did not answer in time",
    "closed": "it ended the connection",
    "refused": "the node could not connect to it",
    "too_many": "the node was told as many names as one node is ever told",
    "shortage": "we had no room for one more connection",
    "failed": "the call in the node failed",
    "internal": "a fault of epmdless",
}
"""Every reason, and what it means."""


class NodeError(EpmdlessError):
    """A node cannot be talked to.

    :param reason: one of :data:`REASONS`.
    :param detail: for people; one line, no secret, never more of what the peer sent than a node name.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        assert reason in REASONS, reason
        self.reason = reason
        self.detail = detail or REASONS[reason]
        super().__init__(f"{reason}: {self.detail}")

    def kept(self) -> NodeError:
        """The same, to be kept: without the frames that it came through, 10 KB with all that they hold."""
        return NodeError(self.reason, self.detail)

    @property
    def more(self) -> str | None:
        """The detail, where it says more than the reason alone."""
        return None if self.detail == REASONS[self.reason] else self.detail
