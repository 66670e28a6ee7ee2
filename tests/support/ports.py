"""Port numbers that are free, so says the kernel."""

import random
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ATTEMPTS = 50
LOWEST = 10_000
GIVEN_AWAY = Path("/proc/sys/net/ipv4/ip_local_port_range")
"""From which the kernel gives ports to connections that dial: such a one is free until somebody does."""
LOOPBACK = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
EVERYWHERE = ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::"))
"""What somebody holds on any address is not free for who listens on all of them."""


_CHANCE = random.SystemRandom()
"""Not the chance that a test may have seeded: two processes would look for the same ports."""


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
    above = int(GIVEN_AWAY.read_text().split()[0])
    for _ in range(ATTEMPTS):
        port = _CHANCE.randrange(LOWEST, above) if above > LOWEST else 0
        held: list[socket.socket] = []
        try:
            held.append(_bind(*where[0], port))
            port = held[0].getsockname()[1]
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
