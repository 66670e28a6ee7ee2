"""How a hidden node calls a function in another node, and reads back what it returned.

There are two ways. A spawn request starts ``erpc:execute_call/4``, as ``erpc:call/5`` does (OTP 23 and
later), and the process's exit reason is the result. A message to the process ``rex`` asks the same of any
release, as ``ei_rpc()`` of OTP's erl_interface does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from epmdless.wire.distribution import MonitorExit, SpawnReply, reg_send, spawn_request
from epmdless.wire.terms import Atom, Pid, Reference, Term
from epmdless.wire.terms_text import text_of

_OPTIONS = (Atom("monitor"),)
"""erpc also says `{reply, error_only}`, which its node keeps to itself: as an option in the request it is
refused (``badopt``), and every request is replied to."""

Kind = Literal["throw", "exit", "error", "down", "spawn", "answer"]
"""How a call failed. ``throw``, ``exit``, ``error``: the function raised it. (A call by ``rex`` cannot tell
the last two apart and says ``error``, and what was thrown counts as returned.) ``down``: its process ended
otherwise, by a signal for instance. ``spawn``: there was no process. ``answer``: what came back is no answer
to a call."""

_KINDS: dict[str, Kind] = {"throw": "throw", "exit": "exit", "error": "error"}


@dataclass(frozen=True, slots=True)
class Returned:
    """The function returned this."""

    value: Term


@dataclass(frozen=True, slots=True)
class Raised:
    """The function did not return.

    :param reason: for people: the reason as Erlang shows it, one line, cut short.
    """

    kind: Kind
    reason: str


Outcome = Returned | Raised
"""What became of a call."""


def erpc_call(
    request: Reference, sender: Pid, module: str, function: str, arguments: Sequence[Term]
) -> bytes:
    """Write the frame that calls a function by a spawn request.

    The answer is a SpawnReply, and then if it names a process a MonitorExit, both with this reference;
    :func:`erpc_outcome` reads them.

    :param request: a reference that was not used before.
    :param sender: a pid of ours; what the function prints is sent to it too, as its group leader.
    :raises LocalProtocolError: see :func:`epmdless.wire.terms.encode`.
    """
    call: list[Term] = [request, Atom(module), Atom(function), list(arguments)]
    return spawn_request(request, sender, sender, "erpc", "execute_call", call, _OPTIONS)


def erpc_outcome(answer: SpawnReply | MonitorExit) -> Outcome | None:
    """Read an answer to :func:`erpc_call`: erpc tells its own exit reasons by the reference.

    :returns: None for a reply with a pid: the function runs, and its end is to come.
    """
    if isinstance(answer, SpawnReply):
        return None if isinstance(answer.result, Pid) else Raised("spawn", text_of(answer.result))
    match answer.reason:
        case tuple((answer.reference, Atom("return"), value)):
            return Returned(value)
        case tuple((answer.reference, Atom("throw" | "exit" | "error" as kind), reason, *_)):
            return Raised(_KINDS[kind], text_of(reason))
    return Raised("down", text_of(answer.reason))


def rex_call(sender: Pid, module: str, function: str, arguments: Sequence[Term]) -> bytes:
    """Write the frame that calls a function by a message to ``rex``.

    The answer is a message to `sender`; :func:`rex_outcome` reads it. Nothing in the answer says which call
    it is of, so each call needs a pid of its own.

    :param sender: a pid of ours that was not used before.
    :raises LocalProtocolError: see :func:`epmdless.wire.terms.encode`.
    """
    call = (Atom("call"), Atom(module), Atom(function), list(arguments), Atom("user"))
    return reg_send(sender, "rex", (sender, call))


def rex_outcome(message: Term) -> Outcome:
    """Read the message that answers :func:`rex_call`."""
    match message:
        case tuple((Atom("rex"), tuple((Atom("badrpc"), reason)))):
            return Raised("error", text_of(reason))
        case tuple((Atom("rex"), value)):
            return Returned(value)
    return Raised("answer", text_of(message))
