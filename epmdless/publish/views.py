"""What is published, in terms of JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from epmdless.config import ALL_NODES
from epmdless.publish.prepared import Prepared
from epmdless.publish.records import Choice

SHOWN_LEFT_OUT = 100
"""Nodes that are named with the reason why they are not published; all are counted."""


def view_of_terms(prepared: Prepared) -> dict[str, Any]:
    """Where, and as whom."""
    return {
        "zone": prepared.terms.zone,
        "servers": [str(server) for server in prepared.servers],
        "target": prepared.terms.target,
        "addresses": list(prepared.terms.addresses),
    }


def view_of_nodes(choice: Choice, is_published: Callable[[str], bool]) -> dict[str, Any]:
    """Which nodes, and which not.

    :param is_published: whether all records of a node, by its whole name, are there.
    """
    nodes = [
        {
            "name": lease.node,
            "port": lease.port,
            "services": [ALL_NODES, *lease.services],
            "published": is_published(lease.node),
        }
        for lease in choice.leases.values()
    ]
    shown = sorted(choice.left_out)[:SHOWN_LEFT_OUT]
    return {
        "nodes": nodes,
        "left_out": [{"name": name, "reason": choice.left_out[name]} for name in shown],
        "left_out_count": len(choice.left_out),
    }
