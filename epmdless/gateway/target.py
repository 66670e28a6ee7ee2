"""From a client's request to a connection with its target: what was judged is what is dialled."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio

from epmdless.gateway.refusal import RefusalError
from epmdless.grants import Allowance, Denied, Grant
from epmdless.net.dialing import Address, DialError, dial_first, look_up
from epmdless.policy import plain_address
from epmdless.wire.proxy_status import ProxyError


async def dial_target(
    allowance: Allowance, host: str, port: int, is_ours: Callable[[str, int], bool], seconds: float
) -> tuple[trio.socket.SocketType, tuple[Grant, ...]]:
    """Connect to what a client asks for, if its grants allow that.

    A name is resolved once. Each of its addresses is judged, and only those that are allowed are dialled: a
    name that leads elsewhere at a second look (DNS rebinding) leads nowhere.

    :param seconds: for all of it.
    :returns: the socket, for the caller to close, and the grants that allow its address.
    :raises RefusalError: it is not allowed, or not to be had.
    """
    denied = allowance.ask(host, port)
    if denied is not None:
        raise RefusalError(ProxyError.HTTP_REQUEST_DENIED, _words(denied))
    found = None
    with trio.move_on_after(seconds):
        try:
            found = await look_up(host, port)
            addresses = _allowed(allowance, host, port, found)
            addresses = {a: g for a, g in addresses.items() if not is_ours(a[1][0], port)}
            if not addresses:
                raise RefusalError(ProxyError.PROXY_LOOP_DETECTED, f"{host} is this gateway itself")
            sock = await dial_first(list(addresses))
        except DialError as error:
            raise _failed(error) from None
        return sock, _grants_of(sock, addresses)
    if found is None:
        raise RefusalError(ProxyError.DNS_TIMEOUT, f"{host}: its name was not resolved in {seconds:g}s")
    raise RefusalError(ProxyError.CONNECTION_TIMEOUT, f"{host} port {port}: no answer in {seconds:g}s")


def _allowed(
    allowance: Allowance, host: str, port: int, addresses: Sequence[Address]
) -> dict[Address, tuple[Grant, ...]]:
    """The addresses that may be dialled, with the grants that allow each."""
    allowed: dict[Address, tuple[Grant, ...]] = {}
    why: Denied | None = None
    for address in addresses:
        judged = allowance.judge(host, port, address[1][0])
        if isinstance(judged, Denied):
            why = why or judged
        else:
            allowed[address] = judged
    if not allowed and why is not None:
        raise RefusalError(ProxyError.DESTINATION_IP_PROHIBITED, _words(why))
    return allowed


def _grants_of(
    sock: trio.socket.SocketType, addresses: dict[Address, tuple[Grant, ...]]
) -> tuple[Grant, ...]:
    """The grants of the address that answered."""
    try:
        peer = sock.getpeername()
    except OSError:  # gone already: the first read says so
        peer = None
    for (_, address), grants in addresses.items():
        # As addresses, not as texts: a client may write one in many ways.
        if peer is not None and plain_address(peer[0]) == plain_address(address[0]):
            return grants
    return ()


def _failed(error: DialError) -> RefusalError:
    if error.unknown:
        return RefusalError(ProxyError.DNS_ERROR, str(error))
    if error.shortage:
        return RefusalError(ProxyError.CONNECTION_LIMIT_REACHED, str(error))
    return RefusalError(ProxyError.CONNECTION_REFUSED, str(error))


def _words(denied: Denied) -> str:
    return f"{denied.rule}: {denied.detail}"
