"""What a gateway tells a client that asks what it may do: as much of it as a client takes."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from epmdless.wire.connect import MAX_BODY

LONGEST_LIST = 64
"""Entries, and items of each list in them, that are told where all are too many; half as many where that is
still too long, and so on."""

Entry = dict[str, list[str]]


def tell(client: Sequence[str], allow: Sequence[Entry]) -> bytes:
    """Write it as JSON.

    What is too long is for people's eyes anyway, but a relay that gets a longer answer than any proxy gives
    takes us for no proxy.

    :param client: the names by which the client is known.
    :param allow: the entries that are for one of them, as a configuration has them.
    :returns: at most MAX_BODY bytes, as long as the names alone are fewer; ``left_out`` is how many entries
        are not told.
    """
    body, most = msgspec.json.encode({"client": client, "allow": allow}), LONGEST_LIST
    while len(body) > MAX_BODY and most:
        told = [{key: _cut(items, most) for key, items in entry.items()} for entry in allow[:most]]
        left_out = len(allow) - len(told)
        body = msgspec.json.encode({"client": client, "allow": told, "left_out": left_out})
        most //= 2
    return body


def _cut(items: list[str], most: int) -> list[str]:
    return items if len(items) <= most else [*items[:most], f"and {len(items) - most} more"]
