"""``.hosts.erlang``: a list of hosts, as OTP's ``net_adm:world/0`` reads it.

Erlang terms, each an atom with a full stop behind it, ``'b1.internal'.``; ``%`` begins a comment.
"""

from __future__ import annotations

import re

from epmdless.cluster.peers import LookError
from epmdless.config.values import is_host
from epmdless.names import printable

MAX_BYTES = 256 * 1024
"""Of the file: a thousand hosts with the longest names."""

SHOWN = 40
"""Characters of what is no host that an error repeats."""

_BLANK = re.compile(r"(?:\s|%[^\n]*)*")
_ATOM = re.compile(r"(?:'([^'\\\n]*)'|([a-z]\w*))\s*\.(?=[\s%]|\Z)")


def parse_hosts(data: bytes) -> dict[str, str]:
    """Read the hosts in it, in their order; each is its own key.

    :raises LookError: ``malformed``: it is no such list.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise LookError("malformed", f"not UTF-8, at byte {error.start}") from None
    found: dict[str, str] = {}
    at = _behind_blanks(text, 0)
    while at < len(text):
        atom = _ATOM.match(text, at)
        host = atom and (atom[1] or atom[2])
        if not atom or not host or not is_host(host):
            shown = printable(text[at : at + SHOWN].partition("\n")[0])
            raise LookError("malformed", f"line {text.count(chr(10), 0, at) + 1}: {shown!r} is not 'HOST'.")
        found[host] = host
        at = _behind_blanks(text, atom.end())
    return found


def _behind_blanks(text: str, at: int) -> int:
    match = _BLANK.match(text, at)
    assert match is not None, "nothing at all matches too"
    return match.end()
