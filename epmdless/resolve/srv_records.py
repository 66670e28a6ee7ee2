"""SRV records: the question for a node, and the record that answers for it. Pure (RFC 2782)."""

from __future__ import annotations

import ipaddress
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

MAX_LABEL = 63
"""Octets of one label (RFC 1035 §2.3.4)."""

MAX_DOMAIN = 253
"""Characters of a domain name without its last dot (RFC 1035 §2.3.4)."""

REMEMBERED_QUESTIONS = 4096
"""Expanded templates kept: to expand one takes a fifth of a lookup."""

_LABELS = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")
_FIELD = re.compile(r"\{(\w+)\}")
_LABEL = re.compile(r"[A-Za-z0-9_-]+")


class SrvRecord(NamedTuple):
    """One SRV record. `target` is in lower case, without its last dot; `addresses` are those that came
    along in the answer's additional section."""

    priority: int
    weight: int
    port: int
    target: str
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class QuestionTemplate:
    """``_{name}._tcp.nodes.internal``, over the alive name, the host and the host's labels."""

    template: str

    @property
    def names_the_node(self) -> bool:
        """Whether the question tells one alive name from another."""
        return "{name}" in self.template

    def expand(self, alive: str, host: str) -> str | None:
        """The domain name to ask for, in lower case without its last dot.

        :returns: None where the names do not make a domain name: a character that a label does not
            have (a dot in an alive name would ask another zone), a label missing or too long.
        """
        return _expand(self.template, alive, host)


@lru_cache(REMEMBERED_QUESTIONS)
def _expand(template: str, alive: str, host: str) -> str | None:
    if "{name}" in template and not _LABEL.fullmatch(alive):
        return None
    labels = host.rstrip(".").split(".")
    fields = {"name": alive, "host": ".".join(labels)}
    fields |= {f"label{n}": label for n, label in enumerate(labels, 1)}
    if any(field not in fields for field in _FIELD.findall(template)):
        return None
    question = _FIELD.sub(lambda match: fields[match[1]], template).rstrip(".").lower()
    return question if is_domain(question) else None


def is_domain(text: str) -> bool:
    """Whether the text is a domain name of letters, digits, hyphens and underscores, without its last dot."""
    return (
        len(text) <= MAX_DOMAIN
        and _LABELS.fullmatch(text) is not None
        and all(len(label) <= MAX_LABEL for label in text.split("."))
    )


def candidates(records: Sequence[SrvRecord], host: str, *, any_target: bool) -> list[SrvRecord]:
    """The records among which weight decides for a host.

    A record whose target is the host counts before all others. Where there is none, and the question
    named the node, those of the lowest priority number.

    :param host: a name, or an address that a target is known to have.
    :param any_target: the question named the node, so that any target is its own.
    :returns: empty if no record answers: none for this host, port 0, or the target ``.`` by which a
        zone says "decidedly not here" (RFC 2782).
    """
    usable = [record for record in records if record.target and record.port]
    own = [record for record in usable if _is_at(record, host)]
    considered = own or (usable if any_target else [])
    lowest = min((record.priority for record in considered), default=0)
    return [record for record in considered if record.priority == lowest]


def pick(candidates: Sequence[SrvRecord], rng: Callable[[], float] = random.random) -> SrvRecord:
    """One of at least one candidates, by weight.

    :param rng: a number in [0, 1).
    """
    total = sum(record.weight for record in candidates)
    if total == 0:
        return candidates[int(rng() * len(candidates))]
    mark = rng() * total
    for record in candidates:
        mark -= record.weight
        if mark < 0:
            return record
    return candidates[-1]


def _is_at(record: SrvRecord, host: str) -> bool:
    """Whether a record's target is this host; an address matches ``10-0-0-7.…`` too (Kubernetes)."""
    host = host.lower().rstrip(".")
    if record.target == host:
        return True
    try:
        address = str(ipaddress.ip_address(host))
    except ValueError:
        return False
    dashed = address.replace(".", "-").replace(":", "-")
    return address in record.addresses or record.target.partition(".")[0] == dashed
