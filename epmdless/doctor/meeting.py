"""The sixth and the seventh step: the handshake up to the node's challenge, and who the node says it is.

Up to there a node is shown nothing that our cookie made. Where we leave after the challenge, nothing is in
its log and nothing is left of us, but for the atom of the name under which we came (measured with OTP 25 and
27).
"""

from __future__ import annotations

import secrets
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from epmdless.cluster.shaking import OWN_NAMES, Messages, OwnedConnection, TakenError, introduce
from epmdless.cluster.trouble import NodeError
from epmdless.doctor.naming import is_short
from epmdless.doctor.report import LIMITS, Finding
from epmdless.doctor.strangers import beginning_of, recognised
from epmdless.errors import EpmdlessError
from epmdless.names import printable
from epmdless.wire.handshake import (
    HANDSHAKE_23,
    MANDATORY_25,
    PUBLISHED,
    Challenge,
    Framing,
    OldChallenge,
)

ALIASES = 0x8_0000_0000
"""The node knows process aliases (OTP 24)."""

SPAWN = 0x1_0000_0000
"""It takes spawn requests (OTP 23)."""

ALTERNATIVE_SIGNALS = 0x20_0000_0000
"""It knows alternative action signals (OTP 28)."""

_HEARD = 256
"""Bytes of what the other side said first that are kept, to say who it is."""

Dial = Callable[[], Awaitable[OwnedConnection]]


class Overheard:
    """A connection that remembers the first bytes that came."""

    def __init__(self, connection: OwnedConnection) -> None:
        self._connection = connection
        self.first = b""

    async def recv(self, size: int, /) -> bytes:
        """Some bytes; none at the peer's end. Raises OSError."""
        data = await self._connection.recv(size)
        self.first += data[: _HEARD - len(self.first)]
        return data

    async def send(self, data: bytes, /) -> int:
        """Send some of the bytes; how many. Raises OSError."""
        return await self._connection.send(data)

    def close(self) -> None:
        """Close it."""
        self._connection.close()


class Met:
    """A node that said who it is, and waits for our proof of the cookie.

    :ivar own: the name under which we came.
    :ivar seconds: from our name to its challenge.
    """

    def __init__(
        self,
        connection: OwnedConnection,
        messages: Messages,
        challenge: Challenge | OldChallenge,
        own: str,
        creation: int,
        seconds: float,
        *,
        is_old: bool,
    ) -> None:
        self.connection = connection
        self.messages = messages
        self.challenge = challenge
        self.own = own
        self.creation = creation
        self.seconds = seconds
        self.is_old = is_old

    def close(self) -> None:
        """Leave."""
        self.connection.close()


async def shake(
    dial: Dial, own_host: str, framing: Framing, *, is_old: bool, before: bytes = b""
) -> tuple[Met | None, Finding]:
    """Say who we are, and hear who the node is, under the last of our names that is free there.

    The last, since a running epmdless takes them from the first on. Where one is taken, what is connected
    under it stays: we are asked whether it shall end, and say no.

    :param dial: a new connection, by TLS where the node speaks it; raises OSError or an EpmdlessError.
    :param is_old: the node is older than OTP 23, says EPMD.
    :param before: what the other side said already, where that is no node's.
    :raises ssl.SSLError: the node refuses our certificate: with TLS 1.3 it says so only here.
    """
    if before:
        return None, _no_node(before)
    first = b""
    with trio.move_on_after(LIMITS["handshake"]):
        for alive in reversed(OWN_NAMES):
            try:
                connection = Overheard(await dial())
            except (EpmdlessError, OSError) as error:
                return None, _not_again(error)
            try:
                return await _introduce(connection, f"{alive}@{own_host}", framing, is_old=is_old)
            except TakenError:
                connection.close()
            except (NodeError, OSError) as error:
                connection.close()
                if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
                    raise
                return None, _failed(error, connection.first, framing)
            except BaseException:
                first = connection.first
                connection.close()
                raise
        return None, _taken(own_host)
    return None, _silent(first)


async def _introduce(
    connection: Overheard, own: str, framing: Framing, *, is_old: bool
) -> tuple[Met, Finding]:
    messages = Messages(connection, framing)
    creation = secrets.randbelow(0xFFFF_FFF0) + 4
    began = trio.current_time()
    challenge = await introduce(messages, own, creation, is_old=is_old)
    seconds = trio.current_time() - began
    version = 6 if isinstance(challenge, Challenge) else 5
    said = f"it takes us as {own}, and asks for the cookie"
    if version == 5:
        said += "; the handshake of before OTP 23"
    details = {"version": version, "own_name": own, "answer": "ok"}
    met = Met(connection, messages, challenge, own, creation, seconds, is_old=is_old)
    return met, Finding("ok", said, (), details)


def _not_again(error: Exception) -> Finding:
    said = f"it took a connection, and then none: {error}"
    return Finding(
        "failed", said, ("see whether the node has just stopped, or a firewall limits connections",)
    )


def _failed(error: NodeError | OSError, first: bytes, framing: Framing) -> Finding:
    answer = _status_word(first, framing)
    advice: tuple[str, ...]
    if isinstance(error, NodeError) and error.reason == "not_allowed":
        said = (
            "the node does not allow us (not_allowed): only nodes named in net_kernel:allow/1 connect to it"
        )
        advice = (
            "if other nodes are refused like this, add them there: net_kernel:allow(['NODE', …])",
            "or stand in for the refusal: a relay's rule answers the same",
        )
        return Finding("failed", said, advice, {"answer": "not_allowed"})
    if answer is None and first:
        return _no_node(first)
    if answer is not None and (not isinstance(error, NodeError) or error.reason != "closed"):
        said = f"its answer {answer!r} is none that belongs there"
        return Finding("failed", said, ("see what listens on the port there",), {"answer": answer})
    if answer is not None:
        said = f"it answered {answer!r}, and ended the connection before it said who it is"
        return Finding("failed", said, ("see the node's log",), {"answer": answer})
    said = "it ended the connection when it had heard our name, and said nothing"
    advice = (
        (
            "see what listens on the port there; a node ends it so if it stops, or if EPMD is wrong on "
            "whether it is older than OTP 23"
        ),
        "a relay that stands in for the host ends it so if the node is out of its reach: see the relay's log",
    )
    return Finding("failed", said, advice, {"answer": None})


def _no_node(first: bytes) -> Finding:
    said = f"no node answers there: {recognised(first)}"
    advice = (
        "another program has the port of the node: see which (ss -ltnp on its host), and give each its own",
        "if EPMD said that port, its answer is older than what listens there now: restart the node",
    )
    return Finding("failed", said, advice, {"answer": None, "heard": beginning_of(first)})


def _silent(first: bytes) -> Finding:
    heard = f", beyond {beginning_of(first)}" if first else ""
    said = f"it takes the connection, and says nothing{heard} within {LIMITS['handshake']:g} s"
    advice = (
        (
            "see whether the node hangs (its log, its load), or something else listens there: a load "
            "balancer or a proxy takes connections for a node that is gone"
        ),
    )
    return Finding("failed", said, advice, {"answer": None})


def _taken(own_host: str) -> Finding:
    names = f"{OWN_NAMES[0]}@{own_host} to {OWN_NAMES[-1]}@{own_host}"
    said = f"every name that we could have there is connected already: {names}"
    advice = ("wait until another doctor has ended, or give this one another host part: EPMDLESS_HOST",)
    return Finding("failed", said, advice, {"answer": "alive"})


def _status_word(first: bytes, framing: Framing) -> str | None:
    """What the node answered to our name; None: it is no status."""
    length = int.from_bytes(first[:framing], "big")
    payload = first[framing : framing + length]
    if length == 0 or len(payload) < length or not payload.startswith(b"s"):
        return None
    return printable(payload[1:64].decode("latin-1"))


# Who it is


def identify(met: Met, expected: str) -> Finding:
    """Say who the node is, and what it tells of itself; under another name than was dialled the way ends."""
    challenge = met.challenge
    is_hidden = not challenge.flags & PUBLISHED
    release = releases(challenge.flags) if isinstance(challenge, Challenge) else "older than OTP 23"
    details: dict[str, Any] = {
        "name": challenge.name,
        "creation": challenge.creation if isinstance(challenge, Challenge) else None,
        "flags": f"{challenge.flags:#x}",
        "releases": release,
        "hidden": is_hidden,
    }
    if challenge.name != expected:
        return _other(challenge.name, expected, details)
    said = f"{challenge.name}, {'hidden' if is_hidden else 'visible'}, {release}"
    if isinstance(challenge, Challenge):
        said += f", creation {challenge.creation}"
    return Finding("ok", said, (), details)


def _other(name: str, expected: str, details: dict[str, Any]) -> Finding:
    said = f"another node answers: {printable(name)}; a node that dials {printable(expected)} gives up here"
    alive, _, host = name.partition("@")
    if alive == expected.partition("@")[0]:
        flag = "-sname" if is_short(expected.partition("@")[2]) else "-name"
        advice = (
            (
                f"it is the same node under another host part: connect to {printable(name)}, or start it "
                f"with {flag} {printable(expected)} (RELEASE_NODE, RELEASE_DISTRIBUTION={flag[1:]})"
            ),
        )
    else:
        advice = (
            (
                "the port, or the address, is another node's: see whether EPMD's answer is old, and whether "
                f"two nodes of the host have one port; {printable(alive)} is on {printable(host)}"
            ),
        )
    return Finding("failed", said, advice, details)


def releases(flags: int) -> str:
    """Which releases of OTP say these flags; that is all that a node tells to whom it does not know.

    Nodes of OTP 25, 26 and 27 say the same.
    """
    if flags & ALTERNATIVE_SIGNALS:
        return "OTP 28 or later"
    if flags & MANDATORY_25:
        return "OTP 25 to 27"
    if flags & ALIASES:
        return "OTP 24"
    if flags & SPAWN or flags & HANDSHAKE_23:
        return "OTP 23"
    return "older than OTP 23"
