"""Why a source does not know, a local node cannot be told, a peer is not connected: in words for people.

Each sentence says what is so and, after a colon, what to look at. A reason that is not in the tables is
shown as it is.
"""

from __future__ import annotations

from collections.abc import Mapping

from epmdless.cli.cluster_views import NodeView, PeerView, SourceView
from epmdless.cli.links_table import duration

SOURCE_REASONS: Mapping[str, str] = {
    "timeout": "it does not answer in time",
    "unreachable": "it cannot be reached: is the network there, and the address right?",
    "refused": "it refuses the question",
    "denied": "we may not ask: look at its permissions",
    "malformed": "its answer cannot be read",
    "too_many": "it names more nodes than can be right",
    "failed": "it failed",
    "internal": "a fault of epmdless: the log has more",
}

NODE_REASONS: Mapping[str, str] = {
    "cookie": "the node refuses our cookie: is cookie_file its cookie?",
    "other_name": "a node of another name answers on its port",
    "not_registered": "its EPMD does not know it: has it ended?",
    "no_address": "its host has no address: look at DNS",
    "epmd_unreachable": "its EPMD does not answer",
    "unreachable": "nothing answers on its port: has it ended?",
    "port_unreachable": "nothing answers on its port: has it ended?",
    "refused": "the node does not let us connect: does it use TLS distribution?",
    "not_allowed": "the node does not let us connect: net_kernel:allow/1 there?",
    "alive": "the node has another connection of our name",
    "timeout": "the node does not answer in time: does it hang?",
    "closed": "the node ended the connection",
    "protocol": "what answers speaks another protocol: TLS distribution?",
    "no_cookie": "no cookie is known for it: set cookie_file",
    "internal": "a fault of epmdless: the log has more",
}

PEER_REASONS: Mapping[str, str] = {
    "cookie": "the two nodes have different cookies",
    "other_name": "a node of another name answers on its port",
    "not_registered": "its EPMD does not know it: does it run?",
    "no_address": "its host has no address: look at DNS",
    "epmd_unreachable": "its EPMD does not answer: does it run, is port 4369 open?",
    "port_unreachable": "its port does not answer: is a firewall between?",
    "unreachable": "it cannot be reached: is a firewall between?",
    "refused": "the node could not connect to it (cookie? TLS?)",
    "not_allowed": "it does not let the node connect: net_kernel:allow/1 there?",
    "timeout": "the attempt took too long: is a firewall between?",
    "node": "we cannot talk to the local node",
    "internal": "a fault of epmdless: the log has more",
}


def of_source(source: SourceView) -> str:
    """Why it does not know, since when, and what is done meanwhile; empty: it knows."""
    why = _sentence(SOURCE_REASONS, source.reason, source.detail)
    if source.failing_for is not None:
        why = f"for {duration(source.failing_for)}: {why}" if why else f"for {duration(source.failing_for)}"
    if not why or source.age is None:
        return why
    used = "is too old to be used" if source.expired else "goes on being used"
    return f"{why}; its last list {used}"


def of_node(node: NodeView) -> str:
    """Why we cannot talk to it; empty: we can, or it is not known."""
    return _sentence(NODE_REASONS, node.reason, node.detail)


def of_peer(peer: PeerView) -> str:
    """Why it is not connected; empty: it is, or nothing is known yet."""
    return _sentence(PEER_REASONS, peer.reason, peer.detail)


def _sentence(table: Mapping[str, str], reason: str | None, detail: str | None) -> str:
    said = table.get(reason, reason) if reason else ""
    if not detail:
        return said
    return f"{said} ({detail})" if said else detail
