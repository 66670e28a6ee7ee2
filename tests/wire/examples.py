"""What the tests of EPMD's bytes share: captured conversations, and strategies for messages."""

import json
from pathlib import Path
from typing import Final, NamedTuple

from hypothesis import strategies as st

from epmdless.names import MAX_NAME_CHARACTERS
from epmdless.wire.epmd import MAX_EXTRA, Node

VECTORS: Final = Path(__file__).parent.parent / "vectors"
FOUR_BYTES: Final = "\U0001f300"
LONGEST_NAME: Final = FOUR_BYTES * MAX_NAME_CHARACTERS


class Conversation(NamedTuple):
    """A request that was captured, and its reply."""

    title: str
    request: bytes
    reply: bytes


def captured() -> list[Conversation]:
    """Every conversation of the files epmd*.json, titled with its file and its request's opcode."""
    found = []
    for path in sorted(VECTORS.glob("epmd*.json")):
        for parts in json.loads(path.read_text()):
            (client, request), (server, reply) = parts
            assert (client, server) == ("client", "server")
            wire = bytes.fromhex(request)
            found.append(Conversation(f"{path.stem} {chr(wire[2])}", wire, bytes.fromhex(reply)))
    return found


CAPTURED: Final = captured()

_CHARACTERS = st.characters(codec="utf-8", exclude_characters="\0")

NAMES = st.text(_CHARACTERS, min_size=1, max_size=40)
"""Names that a lookup can carry."""

LISTABLE_NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Zs", "Zl", "Zp")), min_size=1, max_size=40
)
"""Names that a registration can have: no white space, no control characters."""

U8 = st.integers(0, 0xFF)
U16 = st.integers(0, 0xFFFF)
U32 = st.integers(0, 0xFFFFFFFF)


def nodes(names: st.SearchStrategy[str] = LISTABLE_NAMES) -> st.SearchStrategy[Node]:
    """Nodes with any value that their fields take."""
    extras = st.binary(max_size=40) | st.just(bytes(MAX_EXTRA))
    return st.builds(Node, U16, names | st.just(LONGEST_NAME), U8, U8, U16, U16, extras)
