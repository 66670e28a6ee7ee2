"""Connections that the relay accepted, for a far host's EPMD port, and the EPMD server takes over."""

import socket
from socket import SocketType

import structlog

from epmdless import metrics
from epmdless.epmd.desk import Settings
from epmdless.epmd.server import EpmdServer, Timing
from epmdless.metrics import Metrics
from epmdless.net.rounds import Rounds
from epmdless.registry import Registry
from epmdless.resolve.chain import Chain
from epmdless.schemes import SuffixScheme

LIMIT = 16
"""Descriptors of the process, as the server is told; it leaves a quarter of them alone."""


def test_silent_ones_do_not_pass_the_servers_own_bound() -> None:
    counts, log = Metrics(), structlog.wrap_logger(None, processors=[structlog.testing.LogCapture()])
    settings = Settings(Chain([], (), log), SuffixScheme(), "b1.internal")
    rounds = Rounds()
    server = EpmdServer(Registry(), settings, Timing(), counts, log, rounds, descriptor_limit=LIMIT)
    pairs = [socket.socketpair() for _ in range(2 * LIMIT)]
    adopted = [SocketType(ours.family, ours.type, 0, ours.detach()) for ours, _ in pairs]
    for sock in adopted:
        server.adopt(sock, "10.0.0.5", 4369)
        assert server.descriptors <= LIMIT - LIMIT // 4
    assert counts.value(metrics.EVICTIONS, "descriptors") == 2 * LIMIT - server.descriptors
    assert [sock.fileno() >= 0 for sock in adopted] == [False] * 20 + [True] * 12  # the longest silent go
    for sock in (*adopted, *(theirs for _, theirs in pairs)):
        sock.close()
    rounds.close()
