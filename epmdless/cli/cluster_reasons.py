"""Why a source does not know, a local node cannot be told, a peer is not connected: in words for people.

Each sentence says what is so and, after a colon, what to look at. A reason that is not in the tables is
shown as it is.
"""

from __future__ import annotations

from collections.abc import Mapping

from epmdless.cli.cluster_views import NodeView, PeerView, SourceView
from epmdless.cli.links_table import duration
from epmdless.cluster.trouble import REASONS

SOURCE_REASONS: Mapping[str, str] = {
    "timeout": "it does not answer in time",
    "unreachable": "it cannot be reached: is the network there, and the address right?",
    "refused": "it refuses the question",
    "denied": "we may not ask: look at its permissions",
    "malformed": "its answer cannot be read",
    "too_many": "it names more nodes than can be right",
    "failed": "it failed",
    "internal": "a fault of epmdless: its log has more",
}

GUESS = " (cookie? TLS?)"
"""Of why a node could not connect to another: said where nothing more is known."""

NODE_REASONS: Mapping[str, str] = {
    "left_out": "it is left alone: it belongs to no group, or is not among cluster.nodes",
    "user": "whose process it is: is its user among cluster.users?",
    "cookie_file": "the cookie file cannot be read",
    "no_address": "its host has no address: look at DNS",
    "unreachable": "nothing answers on its port: has it ended?",
    "epmd_unreachable": "its EPMD does not answer: does it run?",
    "not_registered": "its EPMD does not know it: has it ended?",
    "port_unreachable": "nothing answers on its port: has it ended?",
    "not_allowed": "the node does not let us connect: is there a net_kernel:allow/1?",
    "taken": "the node has connections under all names of ours: does another epmdless join it?",
    "other_name": "another node answers in its place: is its name right?",
    "cookie": "the node refuses our cookie: is cookie_file its cookie?",
    "protocol": "what answers is no node",
    "tls": "TLS with it does not come about: is there a [cluster.tls] exactly if the node speaks TLS?",
    "certificate": "its certificate does not hold here, or ours there: look at [cluster.tls]",
    "timeout": "the node does not answer in time: does it hang?",
    "closed": "the node ended the connection: its log may say why",
    "too_many": "the node was told as many names as a node ever is: do sources make up names?",
    "shortage": "we had no room for the connection: look at the limit of open files",
    "failed": "a call in the node failed",
    "internal": "a fault of epmdless: its log has more",
}

PEER_REASONS: Mapping[str, str] = {
    "no_address": "its host has no address: look at DNS",
    "unreachable": "it cannot be reached: does it run, is a firewall between?",
    "epmd_unreachable": "its EPMD does not answer: does it run, is its port open?",
    "not_registered": "its EPMD does not know it: does it run?",
    "port_unreachable": "its EPMD knows it, its port does not answer: is a firewall between?",
    "not_allowed": "it does not let the node connect: is there a net_kernel:allow/1?",
    "other_name": "another node answers in its place: is its name right?",
    "cookie": "it has another cookie",
    "protocol": "what answers is no node",
    "tls": "TLS with it does not come about: does it speak TLS as the node does?",
    "certificate": "its certificate does not hold: look at its files, and its host's name",
    "timeout": "it does not answer in time: is a firewall between?",
    "closed": "the connection to the node ended meanwhile",
    "refused": f"the node could not connect to it{GUESS}",
    "too_many": "the node was told as many names as a node ever is: do sources make up names?",
    "shortage": "we had no room to look at it: look at the limit of open files",
    "failed": "the call in the node failed",
    "internal": "a fault of epmdless: its log has more",
}


def of_source(source: SourceView) -> str:
    """Why it does not know, or not all, since when, and what is done meanwhile; empty: it knows."""
    why = _sentence(SOURCE_REASONS, source.reason, source.detail)
    if source.failing_for is not None:
        why = f"for {duration(source.failing_for)}: {why}" if why else f"for {duration(source.failing_for)}"
    if not why or source.age is None:
        return why
    if source.state == "known":
        return f"in part, {why}; what it said of that part before goes on being used"
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
    if not detail or detail == REASONS.get(reason or ""):  # it says no more than the word does
        return said
    if not said:
        return detail
    return f"{said.removesuffix(GUESS)} ({detail})"
