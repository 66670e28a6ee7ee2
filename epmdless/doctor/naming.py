"""The first step: whether the name is one that a node can have, and what follows from its form."""

from __future__ import annotations

import re

from epmdless.addresses import is_address
from epmdless.doctor.report import Finding
from epmdless.names import NodeName, is_node_name, is_transient
from epmdless.schemes import Scheme

_AS_ERL_TAKES_IT = re.compile(r"[\w-]+")
"""`erl` starts no node with another alive name (net_kernel, OTP 22 and later); C nodes may have one."""


def look_at_name(text: str, scheme: Scheme, own_host: str) -> tuple[NodeName | None, Finding]:
    """Judge a name.

    :param own_host: the host part of this host's node names, for an example.
    :returns: the name in its parts, with both; None: no node can have it.
    """
    alive, at, host = text.partition("@")
    if not at or not alive or not host:
        example = f"{(alive or host or 'app').replace('@', '')}@{own_host}"
        said = "not a whole node name: it takes ALIVE@HOST"
        return None, Finding("failed", said, (f"give the whole name, as node() shows it, such as {example}",))
    if not is_node_name(text):
        said = "no node can have this name: it takes one @, no blanks, and at most 255 characters"
        return None, Finding("failed", said, ("ask the node for its name: node()",))
    promised = scheme.port_of(alive)
    details = {
        "alive": alive,
        "host": host,
        "form": "short" if is_short(host) else "long",
        "transient": is_transient(alive),
        "promised_port": promised,
    }
    said = _form(host)
    if promised is not None:
        said += f"; the scheme promises port {promised}"
    if is_transient(alive):
        said += "; a name of those that come and go (remote shells and the like): no scheme answers for it"
    if _AS_ERL_TAKES_IT.fullmatch(alive) is None:
        said += "; `erl` starts no node with such an alive name"
        advice = ("let the alive name be letters, digits, `_` and `-`",)
        return NodeName(alive, host), Finding("warning", said, advice, details)
    return NodeName(alive, host), Finding("ok", said, (), details)


def is_short(host: str) -> bool:
    """Whether it is the host part of a short name."""
    return "." not in host and not is_address(host)


def _form(host: str) -> str:
    if is_short(host):
        return "a short name: only nodes started with -sname connect to it"
    return "a long name: only nodes started with -name connect to it"
