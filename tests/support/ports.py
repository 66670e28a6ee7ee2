"""Port numbers chosen by the kernel."""

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

ATTEMPTS = 50
LOOPBACK = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
EVERYWHERE = ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::"))
"""What somebody holds on any address is not free for who listens on all of them."""


def _bind(family: int, host: str, port: int, kind: int = socket.SOCK_STREAM) -> socket.socket:
    sock = socket.socket(family, kind)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def _taken_by_us(where: Sequence[tuple[int, str]]) -> list[socket.socket]:
    """Bind one number four times: TCP and UDP, IPv4 and IPv6."""
    for _ in range(ATTEMPTS):
        held = [_bind(*where[0], 0)]
        port = held[0].getsockname()[1]
        try:
            held.append(_bind(*where[0], port, socket.SOCK_DGRAM))
            held.append(_bind(*where[1], port))
            held.append(_bind(*where[1], port, socket.SOCK_DGRAM))
        except OSError:
            for sock in held:
                sock.close()
        else:
            return held
    raise AssertionError(f"no port was free in {ATTEMPTS} attempts")


def free_port() -> int:
    """Return a port that is free on all addresses, for TCP and UDP, at this moment."""
    held = _taken_by_us(EVERYWHERE)
    port: int = held[0].getsockname()[1]
    for sock in held:
        sock.close()
    return port


@contextmanager
def closed_port() -> Iterator[int]:
    """Hold a port that refuses connections for as long as the context lasts: bound, not listening."""
    held = _taken_by_us(LOOPBACK)
    try:
        yield held[0].getsockname()[1]
    finally:
        for sock in held:
            sock.close()
