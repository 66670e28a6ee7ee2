"""The addresses of a host part, and what is odd about them."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from epmdless.config import RouteSection
from epmdless.doctor.addressing import find_addresses
from epmdless.doctor.report import LIMITS, Finding
from epmdless.policy import Network
from tests.support.relays import Hosts

MANY = [f"10.0.0.{number}" for number in range(1, 21)]

ROUTE = RouteSection(host="b1.test", listen="127.0.6.11")


async def finding_of(
    host: str, *routes: RouteSection, inetrc: str | None = None
) -> tuple[list[Any], Finding]:
    hosts = {
        "b1.test": ["10.0.0.1", "fd00::1"],
        "many.test": MANY,
        "l1.test": ["127.0.1.1"],
        "h1": ["127.0.1.1"],
    }
    trio.socket.set_custom_hostname_resolver(Hosts(hosts))
    return await find_addresses(host, "h1", routes, inetrc)


@pytest.mark.parametrize("host", ["10.0.0.1", "::1", "127.0.0.1"])
async def test_an_address_is_its_own(host: str) -> None:
    addresses, finding = await finding_of(host)
    assert [address[1][0] for address in addresses] == [host]
    assert (finding.verdict, finding.said) == ("ok", "the host part is an address itself")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "224.0.0.1", "ff02::1"])
async def test_an_address_that_no_host_has(host: str) -> None:
    addresses, finding = await finding_of(host)
    assert (addresses, finding.verdict) == ([], "failed")
    assert finding.said == f"no host has the address {host} for its own"


async def test_a_host_with_two() -> None:
    addresses, finding = await finding_of("b1.test")
    assert [family for family, _ in addresses] == [socket.AF_INET, socket.AF_INET6]
    assert (finding.verdict, finding.said) == ("ok", "10.0.0.1, fd00::1")


async def test_a_host_with_more_than_are_looked_at() -> None:
    addresses, finding = await finding_of("many.test")
    assert [address[1][0] for address in addresses] == MANY[:16]
    assert finding.said.endswith("10.0.0.16; 4 more are not looked at")


async def test_a_far_host_that_leads_to_loopback() -> None:
    _, finding = await finding_of("l1.test")
    assert finding.verdict == "warning"
    assert "look at /etc/hosts" in finding.advice[0]
    assert (await finding_of("h1"))[1].verdict == "ok", "that is this machine's own name"


@pytest.mark.parametrize("host", ["b2.test", "x" * 64 + ".test", "a..b"])
async def test_a_host_without_any(host: str) -> None:
    addresses, finding = await finding_of(host, inetrc="/etc/inetrc")
    assert (addresses, finding.verdict) == ([], "failed")
    assert finding.advice


async def test_inetrc_is_told_of() -> None:
    _, finding = await finding_of("b1.test", inetrc="/etc/inetrc")
    assert finding.verdict == "ok"
    assert "ERL_INETRC is set" in finding.advice[0]


async def test_dns_servers_that_do_not_answer() -> None:
    class Failing(Hosts):
        async def getaddrinfo(self, *_: Any, **__: Any) -> list[Any]:
            await trio.lowlevel.checkpoint()
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    trio.socket.set_custom_hostname_resolver(Failing({}))
    _, finding = await find_addresses("b1.test", "h1", (), None)
    assert finding.said == "b1.test cannot be resolved: Temporary failure in name resolution"
    assert "/etc/resolv.conf" in finding.advice[0]


async def test_a_resolver_that_hangs(autojump_clock: MockClock) -> None:
    class Hanging(Hosts):
        async def getaddrinfo(self, *_: Any, **__: Any) -> list[Any]:
            await trio.sleep_forever()
            raise AssertionError

    trio.socket.set_custom_hostname_resolver(Hanging({}))
    _, finding = await find_addresses("b1.test", "h1", (), None)
    assert finding.verdict == "failed"
    assert trio.current_time() <= LIMITS["dns"]


@pytest.mark.parametrize(
    ("host", "route", "said"),
    [
        ("127.0.6.11", ROUTE, "the relay's stand-in address for b1.test"),
        ("b1.test", ROUTE, "the relay stands in for it at 127.0.6.11, where this name does not lead"),
        ("b1.test", RouteSection(net=Network.parse("10.0.0.0/8"), via="az-b"), "through the hop az-b"),
    ],
)
async def test_a_relay_on_the_way_is_told_of(host: str, route: RouteSection, said: str) -> None:
    _, finding = await finding_of(host, route)
    assert said in finding.said
    assert said in finding.details["relay"]
