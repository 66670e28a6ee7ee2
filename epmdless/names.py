"""Node names.

A node name is ``ALIVE@HOST``. EPMD knows the alive name alone: the host is whom one asks.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from epmdless.errors import EpmdlessError

MAX_NAME_CHARACTERS = 255
"""The longest atom, and so the longest name, that a BEAM can have."""

MAX_NAME_BYTES = 4 * MAX_NAME_CHARACTERS
"""The same in UTF-8: four bytes a character at most. The reference calls it MAXSYMLEN."""

_UNLISTABLE = re.compile(r"[\s\x00-\x1f\x7f-\x9f]")

_TRANSIENT = re.compile(
    r"""  (?: rem | rpc )-[0-9A-Fa-f]+-.*    # mix release: remote, rpc and eval
        | remsh.* | maint.* | .*_maint_.*  # relx, EMQX
        | rabbitmqcli-.* | .*_prelaunch_.* | epmd-starter-.*   # RabbitMQ
        | ctl-.*                           # ejabberdctl
    """,
    re.VERBOSE | re.DOTALL,
)


class NodeName(NamedTuple):
    """A node name in its two parts; ``host`` is None where only the alive name was given."""

    alive: str
    host: str | None

    @classmethod
    def parse(cls, text: str) -> NodeName:
        """Split ``ALIVE`` or ``ALIVE@HOST``.

        :raises EpmdlessError: either part is empty, or the alive name is longer than a BEAM allows.
        """
        alive, at, host = text.partition("@")
        if not alive or (at and not host):
            raise EpmdlessError(f"{text!r} is not a node name: write NAME or NAME@HOST")
        if len(alive) > MAX_NAME_CHARACTERS:
            raise EpmdlessError(f"the name is longer than {MAX_NAME_CHARACTERS} characters")
        return cls(alive, host if at else None)


def is_listable(alive: str) -> bool:
    """Whether a NAMES reply can carry this name without being read as something else.

    NAMES is text: a line a node, its fields apart by blanks. A name with white space or a control
    character in it could forge a line; a BEAM refuses such a name itself.
    """
    return _UNLISTABLE.search(alive) is None


def can_register(alive: str) -> bool:
    """Whether a node of this name can register: 1 to 255 characters that a list can carry."""
    return 1 <= len(alive) <= MAX_NAME_CHARACTERS and is_listable(alive)


def is_alive_name(text: str) -> bool:
    """Whether the text can stand before the ``@`` of a node's name."""
    return can_register(text) and "@" not in text


def is_node_name(text: str) -> bool:
    """Whether the text is a whole name that a node can have: ``ALIVE@HOST`` in 255 printable characters."""
    parts = text.split("@")
    is_whole = len(parts) == 2 and all(map(can_register, parts))
    return is_whole and len(text) <= MAX_NAME_CHARACTERS and text.isprintable()


def printable(text: str) -> str:
    """The text with its control characters as escapes: what comes from the network may reach a
    terminal, which obeys them."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def is_transient(alive: str) -> bool:
    """Whether a node of this name comes and goes: a remote shell, an rpc, a boot-time helper.

    Such a node listens on a port of its own, or on none, so no convention may answer for it.
    """
    return _TRANSIENT.fullmatch(alive) is not None
