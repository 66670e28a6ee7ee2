"""Port numbers chosen by the kernel."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

ATTEMPTS = 50
LOOPBACK = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


def _bind(family: int, host: str, port: int, kind: int = socket.SOCK_STREAM) -> socket.socket:
    sock = socket.socket(family, kind)
    try:
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def _taken_by_us() -> list[socket.socket]:
    """Bind one number four times: TCP and UDP, 127.0.0.1 and ::1."""
    for _ in range(ATTEMPTS):
        held = [_bind(*LOOPBACK[0], 0)]
        port = held[0].getsockname()[1]
        try:
            held.append(_bind(*LOOPBACK[0], port, socket.SOCK_DGRAM))
            held.append(_bind(*LOOPBACK[1], port))
            held.append(_bind(*LOOPBACK[1], port, socket.SOCK_DGRAM))
        except OSError:
            for sock in held:
                sock.close()
        else:
            return held
    raise AssertionError(f"no port was free on both loopback addresses in {ATTEMPTS} attempts")


def free_port() -> int:
    """Return a port that is free on 127.0.0.1 and ::1, for TCP and UDP, at this moment."""
    with closed_port() as port:
        return port


@contextmanager
def closed_port() -> Iterator[int]:
    """Hold a port that refuses connections for as long as the context lasts: bound, not listening."""
    held = _taken_by_us()
    try:
        yield held[0].getsockname()[1]
    finally:
        for sock in held:
            sock.close()
