"""Why a zone was not updated, in one word and in a sentence."""

from __future__ import annotations

REASONS = {
    "no_address": "nothing tells this host's address",
    "timeout": "no answer in time",
    "unreachable": "no connection",
    "refused": "the server does not allow it: does the zone's policy name our key?",
    "bad_key": "the server does not take our key",
    "bad_time": "the clocks differ too much for signatures",
    "not_zone": "the server has no such zone, or may not change it",
    "forged": "an answer that is not signed as it must be",
    "malformed": "an answer that cannot be read",
    "failed": "the server failed",
    "changed": "the zone has changed meanwhile",
}
"""Of an :class:`UpdateError`, each with a sentence."""

URGENCY = (
    "bad_key",
    "bad_time",
    "refused",
    "not_zone",
    "forged",
    "malformed",
    "failed",
    "timeout",
    "unreachable",
)
"""Reasons, those first that say most about what is to be done."""
