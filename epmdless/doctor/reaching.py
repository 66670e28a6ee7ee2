"""Connecting to every address of a host at once, and how each fails."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import trio

from epmdless.errors import EpmdlessError
from epmdless.net.dialing import Address, DialError, dial_first

AFTER_THE_FIRST = 1.0
"""Seconds that the other addresses have once one has answered: what they do is not worth more."""

RESET = (
    "if something listens on port {port} there, a firewall refuses us by a reset, as those of `epmdless "
    "render` do: have it let this host in (nft list ruleset)"
)
"""It looks like a closed port."""

Trouble = Literal["refused", "filtered", "unreachable", "forbidden", "shortage"]

_TROUBLES: Mapping[int, Trouble] = {
    errno.ECONNREFUSED: "refused",
    errno.ETIMEDOUT: "filtered",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
    errno.EACCES: "forbidden",
    errno.EPERM: "forbidden",
}


class ReachError(EpmdlessError):
    """An address cannot be connected to; the text is one line for people, without the address."""

    def __init__(self, trouble: Trouble, said: str) -> None:
        self.trouble = trouble
        super().__init__(said)


Reached = dict[str, trio.socket.SocketType | ReachError]
"""By address, in the order of the system's resolver."""


def shown(address: Address) -> str:
    """An address as people read it."""
    return str(address[1][0])


def at_port(address: Address, port: int) -> Address:
    """The same address with another port."""
    family, (host, _, *scope) = address
    return family, (host, port, *scope)


async def reach(address: Address, seconds: float) -> trio.socket.SocketType:
    """Connect to one address; the caller closes the socket.

    :raises ReachError: it did not come about.
    """
    with trio.move_on_after(seconds):
        try:
            return await dial_first([address])
        except DialError as error:
            raise _explained(error) from None
    raise ReachError("filtered", f"no answer within {seconds:g} s: something on the way drops it")


async def reach_all(addresses: Sequence[Address], port: int, seconds: float) -> Reached:
    """Connect to all addresses at once; the caller closes the sockets."""
    found: Reached = {}

    async def one(address: Address) -> None:
        try:
            found[shown(address)] = await reach(at_port(address, port), seconds)
        except ReachError as error:
            found[shown(address)] = error
        else:
            scope.deadline = min(scope.deadline, trio.current_time() + AFTER_THE_FIRST)

    try:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                for address in addresses:
                    nursery.start_soon(one, address)
    except BaseException:
        close_all(found)
        raise
    late = ReachError("filtered", f"no answer within {AFTER_THE_FIRST:g} s, when another had answered")
    return {shown(address): found.get(shown(address), late) for address in addresses}


def each(said: Iterable[tuple[str, object]]) -> str:
    """What is to be said of each address, of those with the same words once.

    :param said: addresses, and the words.
    """
    together: dict[str, list[str]] = {}
    for where, words in said:
        together.setdefault(str(words), []).append(where)
    return "; ".join(f"{', '.join(where)}: {words}" for words, where in together.items())


def close_all(reached: Reached) -> None:
    """Close every socket among them."""
    for found in reached.values():
        if not isinstance(found, ReachError):
            found.close()


def _explained(error: DialError) -> ReachError:
    trouble = _TROUBLES.get(error.errno or 0)
    match trouble:
        case "refused":
            return ReachError(trouble, "refused: nobody listens there")
        case "filtered":
            return ReachError(trouble, "no answer: something on the way drops it")
        case "unreachable":
            return ReachError(trouble, f"no way there ({os.strerror(error.errno or 0).lower()})")
        case "forbidden":
            return ReachError(trouble, "this machine's own firewall forbids it")
    if error.shortage:
        return ReachError("shortage", str(error))
    return ReachError("unreachable", str(error))
