"""The third step: what the EPMD servers of a host say, against what the name and the chain promise."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, NamedTuple

from epmdless.doctor.asking import Answer, Trouble
from epmdless.doctor.connecting import ONE_ADDRESS
from epmdless.doctor.promising import Promise, Promised
from epmdless.doctor.reaching import RESET, each, shown
from epmdless.doctor.report import Finding
from epmdless.names import printable
from epmdless.net.dialing import Address

OLD_HIGHEST = 5
"""The highest version of a node before OTP 23, as it told its EPMD."""

MOST_LISTED = 10
"""Names of a list that are shown; a programs' reader gets as many."""

MOST_COMPARED = 500
"""Names of a list that are compared: each takes some 20 µs, and a millisecond where both are hostile."""

NEAR = 0.6
"""How like a name must be to be proposed: difflib's own default."""

_WORST: tuple[Trouble, ...] = (
    "missing",
    "wrong",
    "foreign",
    "closed",
    "silent",
    "refused",
    "filtered",
    "unreachable",
)
"""Which trouble tells most where addresses differ: a server that knows is worth more than none."""

_NOT_LISTENING = "a node with -dist_listen false never registers: it connects to others, and nobody to it"


class Registered(NamedTuple):
    """Where an EPMD server says that the node is.

    :ivar is_old: older than OTP 23.
    :ivar address: of the server.
    """

    port: int
    is_old: bool
    address: Address


def judge(
    answers: Sequence[Answer], port: int, promised: Promised, alive: str
) -> tuple[Registered | None, Finding]:
    """Put together what the servers at a host's addresses said.

    :param port: of EPMD.
    :param promised: what the chain said.
    """
    details: dict[str, Any] = {
        "port": port,
        "answers": [_to_json(answer) for answer in answers],
        "promised": promised.promise and {"port": promised.promise.port, "by": promised.promise.by},
    }
    found = [answer for answer in answers if answer.node is not None]
    if not found:
        return None, _nowhere(answers, port, promised, alive, details)
    first = found[0]
    assert first.node is not None, "those are the ones that have it"
    registered = Registered(first.node.port, first.node.highest <= OLD_HIGHEST, first.address)
    return registered, _judged(registered, found, answers, promised, alive, details)


def _judged(
    registered: Registered,
    found: Sequence[Answer],
    answers: Sequence[Answer],
    promised: Promised,
    alive: str,
    details: dict[str, Any],
) -> Finding:
    said, advice = found[0].said, []
    promise = promised.promise
    if promise is not None and promise.port == registered.port:
        said += f", {promise.as_said}"
    elif promise is not None:
        said += f", but {promise}"
        advice.append(_fixing(promise))
    if len({answer.node.port for answer in found if answer.node}) > 1:
        said += "; another at another address: " + _each(found)
        advice.append("see that all addresses of the host lead to the same machine")
    silent = [answer for answer in answers if answer.node is None]
    if silent:
        said += "; not at " + _each(silent)
    if {answer.address[0] for answer in silent} & {answer.address[0] for answer in found}:
        advice.append(ONE_ADDRESS)
    if found[0].node is not None and found[0].node.name != alive:
        advice.append("that server mixes names up: restart it, and then the nodes of OTP before 23.3")
    if promised.problem is not None:
        said += f"; {promised.problem}"
    is_odd = bool(advice) or promised.problem is not None
    return Finding("warning" if is_odd else "ok", said, tuple(advice), details)


def _fixing(promise: Promise) -> str:
    if promise.by != "scheme":
        return f"let what {promise.by} is told and the node's port agree"
    fixed = f"-kernel inet_dist_listen_min {promise.port} inet_dist_listen_max {promise.port}"
    return f"let name and port agree: start the node with {fixed}, or set another scheme in [resolve.scheme]"


def _nowhere(
    answers: Sequence[Answer], port: int, promised: Promised, alive: str, details: dict[str, Any]
) -> Finding:
    worst = min(answers, key=lambda answer: _WORST.index(answer.trouble or "unreachable"))
    said = _each(answers) if len({answer.said for answer in answers}) > 1 else worst.said
    advice = list(_remedies(worst, port, alive))
    near = near_names(alive, worst.listed or ())
    if near:
        details["did_you_mean"] = near
        said += f"; did you mean {' or '.join(map(printable, near))}?"
    if promised.promise is not None:
        said += f"; {promised.promise}: tried there"
    if promised.problem is not None:
        said += f"; {promised.problem}"
    return Finding("failed", f"EPMD at port {port}: {said}", tuple(advice), details)


def _remedies(worst: Answer, port: int, alive: str) -> list[str]:
    match worst.trouble:
        case "missing":
            return [_who_is_there(worst), _unregistered(alive), _NOT_LISTENING]
        case "closed":
            return [
                "an EPMD server that does not answer all closes so: let [epmd.access] there have this host",
                f"or see who listens on port {port} there (ss -ltnp 'sport = :{port}'), and have it be EPMD",
            ]
        case "wrong" | "foreign" | "silent":
            return [
                f"see who listens on port {port} there (ss -ltnp 'sport = :{port}'), and have it be EPMD",
                "if EPMD is elsewhere, say so: --epmd-port, or ERL_EPMD_PORT, here and for all nodes",
            ]
        case "refused":
            return [
                (
                    "start an EPMD server there: `epmdless serve`, or `epmd -daemon`; if one runs, see that "
                    "it listens on this address (ERL_EPMD_ADDRESS, epmd.listen)"
                ),
                f"if EPMD has another port than {port}: --epmd-port, or ERL_EPMD_PORT",
                RESET.format(port=port),
            ]
    return [
        f"let TCP port {port} through to {shown(worst.address)}: security group, firewall, network policy",
        "or see whether the host is up, and whether there is a way to it",
    ]


def _who_is_there(answer: Answer) -> str:
    if answer.listed is None:
        return "list who is registered there: `epmdless names HOST`"
    if not answer.listed:
        return "no node at all is registered there: start the node, or look for it on another host"
    names = ", ".join(printable(name) for name, _ in answer.listed[:MOST_LISTED])
    more = len(answer.listed) - MOST_LISTED
    return f"registered there: {names}{f', and {more} more' if more > 0 else ''}"


def _unregistered(alive: str) -> str:
    return (
        f"if {printable(alive)} runs, it lost its registration: nodes before OTP 23.3 never register again "
        "after their EPMD server was restarted; restart the node"
    )


def near_names(alive: str, listed: Sequence[tuple[str, int]]) -> list[str]:
    """Registered names that somebody who wrote this one may have meant, the likeliest first."""
    names = [name for name, _ in listed[:MOST_COMPARED]]
    same = [name for name in names if name.casefold() == alive.casefold()]
    longer = [name for name in names if name.casefold().startswith(alive.casefold())]  # the port was left out
    near = difflib.get_close_matches(alive, names, n=3, cutoff=NEAR)
    return list(dict.fromkeys([*same, *longer, *near]))[:3]


def _each(answers: Sequence[Answer]) -> str:
    return each((shown(answer.address), answer.said) for answer in answers)


def _to_json(answer: Answer) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "address": shown(answer.address),
        "trouble": answer.trouble,
        "node_port": answer.node and answer.node.port,
        "said": answer.said,
    }
    if answer.listed is not None:
        plain["registered"] = [name for name, _ in answer.listed[:MOST_LISTED]]
    return plain
