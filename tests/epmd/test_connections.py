"""Who is closed for its silence, and who for its drip, on a clock that the test turns."""

import socket
from collections.abc import Iterator

import pytest

from epmdless.epmd.connections import CAP_TIMEOUTS, SHORTEST_CAP, SLACK, Connection, ConnectionTable


@pytest.fixture
def sockets() -> Iterator[list[socket.socket]]:
    pairs = [socket.socketpair() for _ in range(3)]
    yield [pair[0] for pair in pairs]
    for pair in pairs:
        for sock in pair:
            sock.close()


def opened(table: ConnectionTable, sock: socket.socket, now: float) -> Connection:
    connection = Connection(sock, "127.0.0.1", 4369, now)
    table.add(connection)
    return connection


def test_the_silent_expire_after_the_time_out_and_its_slack(sockets: list[socket.socket]) -> None:
    table = ConnectionTable()
    first = opened(table, sockets[0], 0.0)
    opened(table, sockets[1], 5.0)
    assert table.expired(10.0 + SLACK, 10.0) == []
    assert table.expired(10.0 + SLACK + 0.01, 10.0) == [first]


def test_a_sign_of_life_starts_the_time_again(sockets: list[socket.socket]) -> None:
    table = ConnectionTable()
    first, second = opened(table, sockets[0], 0.0), opened(table, sockets[1], 1.0)
    table.touch(first, 9.0)
    assert table.expired(13.0, 10.0) == [second]
    assert table.longest_idle() is second


@pytest.mark.parametrize(("timeout", "cap"), [(1.0, SHORTEST_CAP), (100.0, 100.0 * CAP_TIMEOUTS)])
def test_a_drip_ends_at_the_cap(sockets: list[socket.socket], timeout: float, cap: float) -> None:
    table = ConnectionTable()
    dripping = opened(table, sockets[0], 0.0)
    table.touch(dripping, cap)
    assert table.expired(cap, timeout) == []
    assert table.expired(cap + 0.01, timeout) == [dripping]


def test_what_is_removed_is_forgotten_in_both_orders(sockets: list[socket.socket]) -> None:
    table = ConnectionTable()
    connections = [opened(table, sock, 0.0) for sock in sockets]
    table.remove(connections[0])
    assert len(table) == 2
    assert table.get(sockets[0].fileno()) is None
    assert table.longest_idle() is connections[1]
    assert table.expired(1e9, 1.0) == connections[1:]
