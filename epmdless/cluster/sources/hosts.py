"""The hosts whose EPMD servers the source ``epmd`` asks: listed, in DNS, in ``.hosts.erlang``.

What DNS or the file cannot say now is what it said last.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import trio

from epmdless.cluster.peers import LookError
from epmdless.cluster.sources import hosts_erlang
from epmdless.cluster.sources.gathered import Gathered
from epmdless.cluster.sources.listing import WatchedList
from epmdless.config import EpmdSource
from epmdless.resolve.dns_client import AddressType, DnsClient, DnsError
from epmdless.resolve.dns_system import SystemDns

MAX_HOSTS = 1024
"""That are asked at every look; a list with more is a mistake."""

GATHER_SECONDS = 30.0
"""For which an address is remembered that answers lack; see `gather` of the source ``dns``."""

DNS_TIMEOUT = 1.0
DNS_LIFETIME = 3.0
"""Seconds for a question to one server, and to all: what the source ``dns`` takes if nothing else is said."""


class AddressClient(Protocol):
    """Who is asked for addresses; :class:`SystemDns` in production."""

    async def ask_addresses(self, name: str, rdtype: AddressType) -> tuple[str, ...]:
        """The addresses of a domain name; raises DnsError."""


class Found(NamedTuple):
    """Hosts, and what keeps more of them unknown."""

    hosts: tuple[str, ...]
    problems: tuple[LookError, ...]


class Hosts:
    """All hosts that a source is to ask, by name or address.

    :raises ConfigError: DNS is to be asked, and the system names no server.
    """

    def __init__(self, section: EpmdSource, client: AddressClient | None) -> None:
        self._listed = section.hosts
        self._client = client
        if section.dns and client is None:
            self._client = SystemDns(_new_client)
        types: tuple[AddressType, ...] = ("A", "AAAA")
        self._questions = {
            (name, rdtype): Gathered[str](GATHER_SECONDS, section.poll)
            for name in section.dns
            for rdtype in types
        }
        self._file: WatchedList[str] | None = None
        if section.hosts_file is not None:
            self._file = WatchedList(
                section.hosts_file, hosts_erlang.parse_hosts, hosts_erlang.MAX_BYTES, "list of hosts"
            )
        self._in_file: dict[str, str] = {}

    async def look(self) -> Found:
        """The hosts as of now.

        :raises LookError: ``too_many``.
        """
        problems: list[LookError] = []
        async with trio.open_nursery() as nursery:
            for name, rdtype in self._questions:
                nursery.start_soon(self._ask, name, rdtype, problems)
            if self._file is not None:
                nursery.start_soon(self._read, self._file, problems)
        hosts = dict.fromkeys(self._listed)
        for gathered in self._questions.values():
            hosts |= dict.fromkeys(gathered.items)
        hosts |= dict.fromkeys(self._in_file)
        if len(hosts) > MAX_HOSTS:
            for gathered in self._questions.values():
                gathered.forget()
            raise LookError("too_many", f"{len(hosts)} hosts, of {MAX_HOSTS} at most")
        return Found(tuple(hosts), tuple(problems))

    async def _ask(self, name: str, rdtype: AddressType, problems: list[LookError]) -> None:
        assert self._client is not None, "there are questions"
        try:
            addresses = await self._client.ask_addresses(name, rdtype)
        except DnsError as error:
            problems.append(LookError(error.reason, str(error)))
        else:
            self._questions[name, rdtype].take(dict.fromkeys(addresses, ""), trio.current_time())

    async def _read(self, file: WatchedList[str], problems: list[LookError]) -> None:
        try:
            self._in_file = await file.look()
        except LookError as error:
            problems.append(error)


def _new_client() -> DnsClient:
    remedy = ", which `dns` of the source of kind epmd needs"
    return DnsClient([], timeout=DNS_TIMEOUT, lifetime=DNS_LIFETIME, remedy=remedy)
