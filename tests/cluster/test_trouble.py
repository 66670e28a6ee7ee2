"""Reasons: one set of words for counters, tables and people."""

from __future__ import annotations

import pytest

from epmdless.cli.cluster_reasons import NODE_REASONS, PEER_REASONS
from epmdless.cluster.trouble import REASONS, NodeError


def test_an_error_says_what_its_reason_means_unless_it_knows_more() -> None:
    plain, telling = NodeError("closed"), NodeError("closed", "in the handshake")
    assert (plain.detail, plain.more) == (REASONS["closed"], None)
    assert (telling.detail, telling.more) == ("in the handshake", "in the handshake")
    assert str(telling) == "closed: in the handshake"


def test_there_are_no_other_reasons() -> None:
    with pytest.raises(AssertionError):
        NodeError("something else")


def test_the_command_line_has_a_sentence_for_each_reason_and_for_no_other() -> None:
    assert NODE_REASONS.keys() | PEER_REASONS.keys() == REASONS.keys()
