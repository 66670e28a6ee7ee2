"""Looks at host names: one at a time for each, and no zone that is down takes the turns of others."""

import socket
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import trio
import trio.testing

from epmdless.net import lookups
from epmdless.net.dialing import DialError, look_up
from epmdless.net.lookups import LOOKUPS_A_DOMAIN, addresses_of
from tests.support.relays import Hosts

WITHIN = 5.0
"""Seconds for what nobody holds up."""


class Slow(Hosts):
    """Answers once it is let; `asked` are the names in their order."""

    def __init__(self, addresses: Mapping[str, list[str]]) -> None:
        super().__init__(addresses)
        self.asked: list[str] = []
        self.let = trio.Event()
        trio.socket.set_custom_hostname_resolver(self)

    async def getaddrinfo(self, host: bytes | None, *arguments: Any, **more: Any) -> list[Any]:
        self.asked.append((host or b"").decode())
        await self.let.wait()
        return await super().getaddrinfo(host, *arguments, **more)


@pytest.fixture
def dead_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Names below dead.test are looked up without an end; others are localhost."""
    over, system = threading.Event(), socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, family: int, kind: int, proto: int, flags: int) -> Any:
        if flags & socket.AI_NUMERICHOST:
            return system(host, port, family, kind, proto, flags)
        if host.endswith(b".dead.test"):
            over.wait()
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield
    over.set()


async def test_a_zone_whose_servers_are_down_holds_up_nobody_elses_names(dead_zone: None) -> None:
    """Also when those who asked for its names have left: the resolver goes on."""

    async def ask(host: str) -> None:
        with trio.move_on_after(0.01):
            await look_up(host, 9001)

    async with trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(ask, f"b{number}.dead.test")
    with trio.fail_after(WITHIN):
        assert await look_up("b1.live.test", 9001) == [(socket.AF_INET, ("127.0.0.1", 9001))]


async def test_all_who_ask_for_a_name_get_one_answer() -> None:
    resolver = Slow({"b1.test": ["127.0.0.9", "::1"]})
    found = []

    async def ask(port: int) -> None:
        found.append(await addresses_of("b1.test", port))

    async with trio.open_nursery() as nursery:
        for port in (4369, 9001, 9001):
            nursery.start_soon(ask, port)
        await trio.testing.wait_all_tasks_blocked()
        assert resolver.asked == ["b1.test"]
        resolver.let.set()
    assert sorted(found) == [
        [(socket.AF_INET, ("127.0.0.9", port)), (socket.AF_INET6, ("::1", port))]
        for port in (4369, 9001, 9001)
    ]
    assert await addresses_of("b1.test", 1) == [
        (socket.AF_INET, ("127.0.0.9", 1)),
        (socket.AF_INET6, ("::1", 1)),
    ]
    assert resolver.asked == ["b1.test"] * 2


async def test_who_leaves_takes_nothing_from_the_others() -> None:
    resolver = Slow({"b1.test": ["127.0.0.9"]})
    async with trio.open_nursery() as nursery:
        leaving = trio.CancelScope()

        async def leave() -> None:
            with leaving:
                await addresses_of("b1.test", 1)

        nursery.start_soon(leave)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(addresses_of, "b1.test", 1)
        leaving.cancel()
        await trio.testing.wait_all_tasks_blocked()
        resolver.let.set()
    assert resolver.asked == ["b1.test"]


async def test_all_who_ask_for_a_name_that_is_none_are_told() -> None:
    Slow({}).let.set()
    told = []

    async def ask() -> None:
        with pytest.raises(socket.gaierror) as caught:
            await addresses_of("b1.test", 1)
        told.append(caught.value.errno)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        nursery.start_soon(ask)
    assert told == [socket.EAI_NONAME] * 2


async def test_a_lack_of_threads_is_a_shortage_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a control group allows no more (TasksMax), and not a name without addresses."""

    async def fails(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(trio.socket, "getaddrinfo", fails)
    with pytest.raises(DialError, match="can't start new thread") as caught:
        await look_up("b1.test", 1)
    assert (caught.value.shortage, caught.value.unknown) == (True, False)


async def test_names_of_a_domain_take_turns_and_those_nobody_waits_for_are_left_out() -> None:
    names = [f"b{number}.one.test" for number in range(LOOKUPS_A_DOMAIN + 2)]
    resolver = Slow({name: ["127.0.0.9"] for name in (*names, "b1.two.test")})
    async with trio.open_nursery() as nursery:
        scopes = []

        async def ask(name: str) -> None:
            with trio.CancelScope() as scope:
                scopes.append(scope)
                await addresses_of(name, 1)

        for name in names:
            nursery.start_soon(ask, name)
            await trio.testing.wait_all_tasks_blocked()
        assert resolver.asked == names[:LOOKUPS_A_DOMAIN]
        nursery.start_soon(ask, "b1.two.test")
        await trio.testing.wait_all_tasks_blocked()
        assert resolver.asked[LOOKUPS_A_DOMAIN:] == ["b1.two.test"]
        scopes[LOOKUPS_A_DOMAIN].cancel()
        resolver.let.set()
    assert resolver.asked[LOOKUPS_A_DOMAIN:] == ["b1.two.test", names[-1]]
    known = lookups._LOOKUPS.get()
    assert (known._by_name, known._domains) == ({}, {})
