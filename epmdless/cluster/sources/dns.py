"""The source ``dns``: the addresses, or the services, of domain names.

Many questions are asked at once, and each has a fate of its own. The rules by which none that fails can
make the list shorter:

- "No such name" and "no such records" are answers: nobody.
- A question that fails stands by what it was answered with before, for as long as it fails: who has left
  meanwhile is at worst dialled in vain.
- Where all fail, nothing is known.
- Where one fails that never had an answer, nothing is known either, for the first half minute. After that
  the others count without it, if they name anybody: a zone whose servers are down must not keep new hosts
  of another zone alone.
- The two types of address of one domain name are one question in this, if one of them names somebody:
  servers that know A alone, and fail at AAAA, are not rare.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import trio

from epmdless.cluster.peers import MAX_NAMES, Known, LookError, Peer, Say
from epmdless.cluster.sources.gathered import Gathered
from epmdless.cluster.sources.polling import poll
from epmdless.config import DnsSource
from epmdless.resolve.dns_client import DNS_PORT, AddressType, DnsClient, DnsError, SrvAnswer
from epmdless.resolve.dns_system import SystemDns

MAX_QUESTIONS = 32
"""Under way at once, each with a socket."""

UNANSWERED_SECONDS = 30.0
"""For which a question that was never answered holds the others up, from the first look on: some looks, and
the servers' own start where all of a site's machines start together."""

ADDRESS_TYPES: dict[Literal["ipv4", "ipv6"], AddressType] = {"ipv4": "A", "ipv6": "AAAA"}


class Client(Protocol):
    """Who is asked; :class:`DnsClient` or :class:`SystemDns` in production."""

    async def ask_addresses(self, name: str, rdtype: AddressType) -> tuple[str, ...]:
        """The addresses of a domain name; raises DnsError."""

    async def ask_srv(self, name: str) -> SrvAnswer:
        """The SRV records of a domain name; raises DnsError."""


class DnsNames:
    """Names the nodes of A and AAAA records, ``BASENAME@ADDRESS``, and of SRV records,
    ``BASENAME-PORT@TARGET`` or ``BASENAME@TARGET``.

    :raises ConfigError: no server is named, and resolv.conf names none.
    """

    def __init__(self, section: DnsSource, client: Client | None = None) -> None:
        self._section = section
        self._client: Client
        if client is not None:
            self._client = client
        else:
            self._client = self._new_client() if section.servers else SystemDns(self._new_client)
        self._first_look: float | None = None
        self._turns = trio.CapacityLimiter(MAX_QUESTIONS)
        types = [ADDRESS_TYPES[family] for family in section.families]
        self._domains = [[_Question(name, each, section) for each in types] for name in section.addresses]
        self._domains += [[_Question(name, "SRV", section)] for name in section.srv]

    def _new_client(self) -> DnsClient:
        return DnsClient(
            [address.endpoint(DNS_PORT) for address in self._section.servers],
            timeout=self._section.timeout,
            lifetime=self._section.lifetime,
            tcp=self._section.tcp,
            remedy="; name them in `servers` of the source of kind dns",
        )

    async def run(self, say: Say) -> None:
        """Ask, again and again."""
        await poll(self.look, self._section.poll, say)

    async def look(self) -> Sequence[Peer] | Known:
        """The nodes that are known after one more round of questions; raises LookError.

        There is doubt as long as a question fails of which somebody was named.
        """
        if self._first_look is None:
            self._first_look = trio.current_time()
        async with trio.open_nursery() as nursery:
            for question in self._questions:
                nursery.start_soon(question.ask, self._client, self._turns)
        failures = [question.failure for question in self._questions if question.failure is not None]
        if len(failures) == len(self._questions):
            raise LookError.of_many(failures)
        unanswered = [failure for domain in self._domains for failure in _unanswered(domain)]
        peers = self._peers()
        if unanswered and (not peers or trio.current_time() - self._first_look < UNANSWERED_SECONDS):
            raise LookError.of_many(unanswered)
        doubts = [
            q.failure for q in self._questions if q.failure and (q.peers.items or q.failure in unanswered)
        ]
        if doubts:
            return Known(tuple(peers), doubt=LookError.of_many(doubts).unknown)
        return peers

    @property
    def _questions(self) -> list[_Question]:
        return [question for domain in self._domains for question in domain]

    def _peers(self) -> Sequence[Peer]:
        """All that questions were answered with and is remembered."""
        if sum(len(question.peers.items) for question in self._questions) > MAX_NAMES:
            for question in self._questions:
                question.peers.forget()
            within = self._section.gather
            raise LookError("too_many", f"more than {MAX_NAMES} names in the answers of {within}")
        peers: dict[str, Peer] = {}
        for question in self._questions:
            peers |= question.peers.items
        return tuple(peers.values())


class _Question:
    """One question.

    :ivar peers: what it was answered with.
    :ivar failure: how it failed the last time; None: it was answered.
    """

    def __init__(self, name: str, rdtype: AddressType | Literal["SRV"], section: DnsSource) -> None:
        self._name = name
        self._rdtype = rdtype
        self._basename = section.basename
        self._has_port_in_name = section.srv_names == "port"
        self.peers = Gathered[Peer](section.gather, section.poll)
        self.failure: LookError | None = None

    async def ask(self, client: Client, turns: trio.CapacityLimiter) -> None:
        """Ask it, and take in what comes."""
        async with turns:
            try:
                found = await self._found(client)
            except DnsError as error:
                self.failure = LookError(error.reason, str(error))
                return
        self.failure = None
        self.peers.take(found, trio.current_time())

    async def _found(self, client: Client) -> dict[str, Peer]:
        if self._rdtype != "SRV":
            addresses = await client.ask_addresses(self._name, self._rdtype)
            return {name: Peer(name) for name in (f"{self._basename}@{address}" for address in addresses)}
        found: dict[str, Peer] = {}
        for record in (await client.ask_srv(self._name)).records:
            if record.port and record.target:  # the target "." is "decidedly not here" (RFC 2782)
                port = f"-{record.port}" if self._has_port_in_name else ""
                name = f"{self._basename}{port}@{record.target}"
                found.setdefault(name, Peer(name, record.port))
        return found


def _unanswered(domain: Sequence[_Question]) -> list[LookError]:
    """The failures of questions about a domain name that leave it open who is there."""
    if any(question.peers.items for question in domain):
        return []
    questions = [question for question in domain if not question.peers.is_answered]
    return [question.failure for question in questions if question.failure is not None]
