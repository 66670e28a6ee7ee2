"""Connecting to all addresses of a host: how each fails, and for how long those that hang are waited for."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence

import pytest
import trio
from trio.testing import MockClock

from epmdless.doctor import reaching
from epmdless.doctor.connecting import connect
from epmdless.doctor.reaching import AFTER_THE_FIRST, ReachError, at_port, close_all, reach, reach_all
from epmdless.net.dialing import Address, DialError

GOOD, HUNG = (socket.AF_INET, ("10.0.0.1", 0)), (socket.AF_INET, ("10.0.0.2", 0))
LINK_LOCAL = (socket.AF_INET6, ("fe80::1", 0, 0, 3))


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> list[Address]:
    """One in which GOOD answers, and HUNG never does; who was dialled."""
    dialled: list[Address] = []

    async def dial_first(addresses: Sequence[Address]) -> trio.socket.SocketType:
        (address,) = addresses
        dialled.append(address)
        if address[1][0] != GOOD[1][0]:
            await trio.sleep(3600)
        ours, theirs = trio.socket.socketpair()
        theirs.close()
        return ours

    monkeypatch.setattr(reaching, "dial_first", dial_first)
    return dialled


@pytest.mark.parametrize(
    ("number", "trouble"),
    [
        (errno.ECONNREFUSED, "refused"),
        (errno.ETIMEDOUT, "filtered"),
        (errno.EHOSTUNREACH, "unreachable"),
        (errno.ENETUNREACH, "unreachable"),
        (errno.EPERM, "forbidden"),
        (errno.EACCES, "forbidden"),
        (errno.EINVAL, "unreachable"),
        (None, "unreachable"),
    ],
)
async def test_how_it_fails(number: int | None, trouble: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_: object) -> None:
        await trio.lowlevel.checkpoint()
        raise DialError("broken", errno=number)

    monkeypatch.setattr(reaching, "dial_first", fail)
    with pytest.raises(ReachError) as caught:
        await reach(GOOD, 1)
    assert caught.value.trouble == trouble
    connected, finding = await connect([GOOD], 9001)
    assert (connected, finding.verdict) == (None, "failed")
    assert finding.advice
    assert finding.details["addresses"] == {"10.0.0.1": trouble}


async def test_we_have_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_: object) -> None:
        await trio.lowlevel.checkpoint()
        raise DialError("Too many open files", shortage=True, errno=errno.EMFILE)

    monkeypatch.setattr(reaching, "dial_first", fail)
    _, finding = await connect([GOOD], 9001)
    assert "Too many open files" in finding.said
    assert "descriptors" in finding.advice[0]


async def test_nobody_answers(network: list[Address], autojump_clock: MockClock) -> None:
    with pytest.raises(ReachError) as caught:
        await reach(HUNG, 5)
    assert caught.value.trouble == "filtered"
    assert trio.current_time() == pytest.approx(5)


async def test_who_hangs_is_not_waited_for_when_another_answers(
    network: list[Address], autojump_clock: MockClock
) -> None:
    reached = await reach_all([HUNG, GOOD], 9001, 5)
    assert list(reached) == ["10.0.0.2", "10.0.0.1"]
    assert trio.current_time() == pytest.approx(AFTER_THE_FIRST)
    hung = reached["10.0.0.2"]
    assert isinstance(hung, ReachError)
    assert hung.trouble == "filtered"
    assert {address[1][1] for address in network} == {9001}
    close_all(reached)


def test_an_interface_stays_with_its_address() -> None:
    assert at_port(LINK_LOCAL, 9001) == (socket.AF_INET6, ("fe80::1", 9001, 0, 3))
    assert at_port(GOOD, 9001) == (socket.AF_INET, ("10.0.0.1", 9001))
