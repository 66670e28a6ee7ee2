"""The last two steps: whether the cookie is right, and how long an answer takes; then we leave."""

from __future__ import annotations

from collections.abc import Callable

import trio

from epmdless.cluster.node_link import NodeLink
from epmdless.cluster.shaking import Shaken, prove
from epmdless.cluster.trouble import NodeError
from epmdless.doctor.meeting import Met
from epmdless.doctor.report import LIMITS, Finding
from epmdless.wire.terms import Atom, Term

NOT_TRIED = Finding("skipped", "not tried: --cookie-file says where the cookie is", (), {"cookie": None})

_WRONG = (
    "compare erlang:get_cookie() in both nodes; a release has it in releases/COOKIE, or RELEASE_COOKIE",
    "the node's log now holds a line about us: “Invalid challenge reply”",
)


async def try_cookie(met: Met, cookie: bytes) -> Finding:
    """Show a node whose name was looked at that we know its cookie, and see that it does."""
    try:
        with trio.fail_after(LIMITS["cookie"]):
            await prove(met.messages, met.challenge, cookie, met.creation, is_old=met.is_old)
    except trio.TooSlowError:
        said = f"no answer to our proof of the cookie within {LIMITS['cookie']:g} s"
        return Finding("failed", said, ("see the node's log",), {"cookie": None})
    except NodeError as error:
        if error.reason != "cookie":
            said = f"it answered our proof of the cookie with what no node says ({error.detail})"
            return Finding("failed", said, ("see the node's log",), {"cookie": None})
        if error.more is None:
            said = "wrong: the node refuses our cookie"
            return Finding("failed", said, _WRONG, {"cookie": "wrong"})
        said = "the node takes our cookie, and does not know it itself: it is no node, or has two cookies"
        advice = (
            (
                "see erlang:get_cookie() and -setcookie NODE COOKIE in the node; and who it is: somebody in "
                "between takes every cookie"
            ),
        )
        return Finding("failed", said, advice, {"cookie": "unknown_to_node"})
    except OSError as error:
        said = f"the connection broke at our proof of the cookie: {error.strerror or error}"
        return Finding("failed", said, ("see the node's log",), {"cookie": None})
    return Finding("ok", "right, and the node knows it itself", (), {"cookie": "right"})


def from_handshake(met: Met) -> Finding:
    """The round trip that the handshake was: our name, and the node's two answers."""
    said = f"{_shown(met.seconds)} in the handshake"
    return Finding("ok", said, (), {"round_trip_ms": met.seconds * 1000, "measured_by": "handshake"})


async def call(met: Met) -> Finding:
    """Ask the node for its release over the connection that is up, and leave it."""
    name, flags = met.challenge.name, met.challenge.flags
    link = NodeLink(met.connection, Shaken(name, flags, met.creation, met.messages.rest), met.own)
    outcome: list[tuple[Term, float] | NodeError] = []

    async def ask() -> None:
        began = trio.current_time()
        arguments: list[Term] = [Atom("otp_release")]
        value = await link.call("erlang", "system_info", arguments, LIMITS["round_trip"])
        outcome.append((value, trio.current_time() - began))

    async with trio.open_nursery() as nursery:
        for task in (link.serve, ask):
            nursery.start_soon(_first_of, task, outcome, nursery.cancel_scope)
    link.close()
    (came,) = outcome[:1]
    if isinstance(came, NodeError):
        said = f"the connection was up, and a call over it failed: {came.detail}"
        return Finding("failed", said, ("see the node's log, and how loaded it is",), {"round_trip_ms": None})
    value, seconds = came
    release = _text(value)
    said = f"{_shown(seconds)} for a call; OTP {release}; we have left again"
    details = {"round_trip_ms": seconds * 1000, "measured_by": "call", "release": release}
    return Finding("ok", said, (), details)


async def _first_of(
    task: Callable[[], object], outcome: list[tuple[Term, float] | NodeError], scope: trio.CancelScope
) -> None:
    """Run one of two tasks; whichever ends first ends both, and says how it went."""
    try:
        await task()  # type: ignore[misc]
    except NodeError as error:
        outcome.append(error)
    scope.cancel()


def _shown(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


def _text(value: Term) -> str:
    """A string of Erlang's, which is a list of characters."""
    if isinstance(value, list) and all(isinstance(item, int) and 32 <= item < 127 for item in value[:16]):
        return "".join(chr(item) for item in value[:16] if isinstance(item, int))
    return "?"
