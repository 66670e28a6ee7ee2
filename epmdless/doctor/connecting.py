"""The fourth step: a connection to the node's port, at each address of its host."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from epmdless.doctor.reaching import RESET, Reached, ReachError, close_all, each, reach_all, shown
from epmdless.doctor.report import LIMITS, Finding
from epmdless.net.dialing import Address

ONE_ADDRESS = (
    "a node dials one address alone, the first of IPv4, or of IPv6 with -proto_dist inet6_tcp: "
    "let every address of the host be good"
)


class Connected:
    """A connection to the first address that takes one.

    :ivar sock: for the next step, which closes it.
    """

    def __init__(self, address: Address, port: int, sock: trio.socket.SocketType) -> None:
        self.address = address
        self.port = port
        self.sock = sock

    def __str__(self) -> str:
        host = shown(self.address)
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"


async def connect(addresses: Sequence[Address], port: int) -> tuple[Connected | None, Finding]:
    """Connect to all addresses, and keep the first that answers.

    :param addresses: the one to begin with first; at least one.
    """
    reached = await reach_all(addresses, port, LIMITS["tcp"])
    for address in addresses:
        sock = reached[shown(address)]
        if not isinstance(sock, ReachError):
            close_all({where: other for where, other in reached.items() if where != shown(address)})
            connected = Connected(address, port, sock)
            return connected, _judged(connected, reached)
    return None, _nowhere(reached, port)


def _judged(connected: Connected, reached: Reached) -> Finding:
    failed = {where: error for where, error in reached.items() if isinstance(error, ReachError)}
    details = {"port": connected.port, "address": shown(connected.address), "addresses": _to_json(reached)}
    said = f"port {connected.port} at {shown(connected.address)} takes connections"
    if not failed:
        return Finding("ok", said, (), details)
    said += f"; not at {each(failed.items())}"
    return Finding("warning", said, (ONE_ADDRESS,), details)


def _nowhere(reached: Reached, port: int) -> Finding:
    errors = {where: error for where, error in reached.items() if isinstance(error, ReachError)}
    details = {"port": port, "address": None, "addresses": _to_json(reached)}
    said = f"port {port} at {each(errors.items())}"
    troubles = {error.trouble for error in errors.values()}
    advice: list[str] = []
    if "refused" in troubles:
        advice += [
            (
                f"see whether the node runs, and listens on port {port} there (ss -ltnp 'sport = :{port}'): "
                f"-kernel inet_dist_listen_min {port} inet_dist_listen_max {port} fixes its port"
            ),
            "if it listens on loopback alone, leave inet_dist_use_interface out",
            RESET.format(port=port),
        ]
        if any(":" in where for where in errors):
            advice.append("a node listens on IPv6 only with -proto_dist inet6_tcp")
    if troubles & {"filtered", "unreachable"}:
        advice.append(
            f"let TCP port {port} through to the node's host: security group, firewall, network policy; "
            "or take the relay, which needs one port for all"
        )
    if "forbidden" in troubles:
        advice.append(f"let this machine's own firewall (nft list ruleset) send to TCP port {port}")
    if "shortage" in troubles:
        advice.append("let this process have more descriptors and local ports")
    return Finding("failed", said, tuple(advice), details)


def _to_json(reached: Reached) -> dict[str, str]:
    return {
        where: found.trouble if isinstance(found, ReachError) else "connected"
        for where, found in reached.items()
    }
