"""The system's DNS servers while its ``resolv.conf`` changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from epmdless.addresses import Endpoint
from epmdless.cluster.peers import Peer
from epmdless.cluster.sources import dns, hosts
from epmdless.cluster.sources.dns import DnsNames
from epmdless.cluster.sources.hosts import Hosts
from epmdless.config import DnsSource, EpmdSource
from epmdless.config.values import Duration
from epmdless.errors import ConfigError
from epmdless.resolve import dns_system, srv_source
from epmdless.resolve.dns_client import AddressType, DnsClient, SrvAnswer
from epmdless.resolve.srv_records import SrvRecord


class Answering(DnsClient):
    """A client whose servers answer with their own addresses: what the file held when it was made."""

    path: Path
    made = 0

    def __init__(self, servers: list[Endpoint], **_: object) -> None:
        assert servers == []
        type(self).made += 1
        self._servers = tuple(self.path.read_text().split())
        if not self._servers:
            raise ConfigError(str(self.path), "", "names no DNS server")

    async def ask_addresses(self, name: str, rdtype: AddressType) -> tuple[str, ...]:
        return self._servers if rdtype == "A" else ()

    async def ask_srv(self, name: str) -> SrvAnswer:
        return SrvAnswer(tuple(SrvRecord(0, 0, 9001, server) for server in self._servers), 60)


Name = Callable[[str], object]
"""Makes the file name other servers."""


@pytest.fixture
def name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Name:
    Answering.path, Answering.made = tmp_path / "resolv.conf", 0
    Answering.path.write_text("10.0.0.2")
    monkeypatch.setattr(dns_system, "RESOLV_CONF", str(Answering.path))
    for module in (dns, hosts, srv_source):
        monkeypatch.setattr(module, "DnsClient", Answering)
    return Answering.path.write_text


async def test_names_are_asked_of_the_servers_that_it_names_by_now(name: Name) -> None:
    source = DnsNames(
        DnsSource(basename="app", addresses=("a.test",), families=("ipv4",), gather=Duration(0))
    )
    assert await source.look() == (Peer("app@10.0.0.2"),)
    name("10.0.0.30")
    assert await source.look() == (Peer("app@10.0.0.30"),)


async def test_srv_records_are_asked_of_the_servers_that_it_names_by_now(name: Name) -> None:
    source = srv_source.DnsSource([], timeout=1, lifetime=1)
    assert [record.target for record in (await source.ask("a.test")).records] == ["10.0.0.2"]
    name("10.0.0.30")
    assert [record.target for record in (await source.ask("a.test")).records] == ["10.0.0.30"]


async def test_hosts_are_asked_of_the_servers_that_it_names_by_now(name: Name) -> None:
    source = Hosts(EpmdSource(dns=("a.test",)), None)
    assert (await source.look()).hosts == ("10.0.0.2",)
    name("10.0.0.30")
    assert "10.0.0.30" in (await source.look()).hosts


async def test_a_file_that_names_none_leaves_those_before(name: Name) -> None:
    source = Hosts(EpmdSource(dns=("a.test",)), None)
    name("")
    assert (await source.look()).hosts == ("10.0.0.2",)
    name("10.0.0.30")
    assert "10.0.0.30" in (await source.look()).hosts


async def test_it_is_read_once_as_long_as_it_stays(name: Name) -> None:
    source = Hosts(EpmdSource(dns=("a.test",)), None)
    for _ in range(3):
        await source.look()
    assert Answering.made == 1
