"""Questions to DNS servers, by dnspython: several servers, time-outs, EDNS, TCP after truncation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.nameserver
import dns.rdataclass
import dns.rdatatype
import dns.resolver

from epmdless.addresses import Endpoint
from epmdless.errors import ConfigError, ResolveError
from epmdless.resolve.srv_records import SrvRecord

DNS_PORT = 53

EDNS_PAYLOAD = 1232
"""Bytes of a UDP answer that pass any path unfragmented (DNS flag day 2020). Consul cuts answers to
plain questions to three records, without saying so; EDNS lifts that."""

MAX_RECORDS = 1024
"""SRV records kept of one answer; a TCP answer of 64 KiB can hold some 3,000."""


class SrvAnswer(NamedTuple):
    """What DNS says: the records, empty for "no such name" or "no such records", and for how long.

    `ttl` is in seconds: the lowest on the way (CNAMEs included), for an empty answer the zone's
    negative one (RFC 2308), 0 where the zone gives none.
    """

    records: tuple[SrvRecord, ...]
    ttl: float


class DnsSource:
    """Asks for SRV records.

    :param servers: asked in this order; empty: what the system's resolv.conf names.
    :param timeout: seconds for one question to one server.
    :param lifetime: seconds for all servers and tries together.
    :raises ConfigError: no servers are given and resolv.conf names none.
    """

    def __init__(
        self, servers: Sequence[Endpoint], *, timeout: float, lifetime: float, tcp: bool = False
    ) -> None:
        self._resolver = _system_resolver() if not servers else dns.asyncresolver.Resolver(configure=False)
        if servers:
            self._resolver.nameservers = [dns.nameserver.Do53Nameserver(s.host, s.port) for s in servers]
        self._resolver.use_edns(0, 0, EDNS_PAYLOAD)
        self._resolver.timeout = timeout
        self._resolver.lifetime = lifetime
        self._tcp = tcp

    async def ask(self, question: str) -> SrvAnswer:
        """Ask for the SRV records of a domain name, without search lists.

        :raises ResolveError: no server gave an answer: down, slow, SERVFAIL, refused, or what came
            was no answer to this question.
        """
        name = dns.name.from_text(question)
        try:
            answer = await self._resolver.resolve(
                name, dns.rdatatype.SRV, tcp=self._tcp, search=False, raise_on_no_answer=False
            )
        except dns.resolver.NXDOMAIN as error:
            return SrvAnswer((), _negative_ttl(error.response(name)))  # type: ignore[no-untyped-call]
        except dns.exception.DNSException as error:
            raise ResolveError(f"SRV {question}: {_reason(error)}") from None
        if answer.response.flags & dns.flags.TC:
            raise ResolveError(f"SRV {question}: cut short even over TCP")
        if answer.rrset is None:
            return SrvAnswer((), _negative_ttl(answer.response))
        return SrvAnswer(_records(answer), answer.chaining_result.minimum_ttl)


def _system_resolver() -> dns.asyncresolver.Resolver:
    try:
        return dns.asyncresolver.Resolver()
    except dns.exception.DNSException:
        raise ConfigError(
            "/etc/resolv.conf", "", "names no DNS server; name them in resolve.srv.servers"
        ) from None


def _records(answer: dns.resolver.Answer) -> tuple[SrvRecord, ...]:
    assert answer.rrset is not None
    addresses: dict[str, list[str]] = {}
    for rrset in answer.response.additional:
        if rrset.rdclass == dns.rdataclass.IN and rrset.rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA):
            addresses.setdefault(_plain(rrset.name), []).extend(rdata.address for rdata in rrset)
    records = []
    for rdata in list(answer.rrset)[:MAX_RECORDS]:
        target = _plain(rdata.target)
        records.append(
            SrvRecord(rdata.priority, rdata.weight, rdata.port, target, tuple(addresses.get(target, ())))
        )
    return tuple(records)


def _plain(name: dns.name.Name) -> str:
    """Lower case without the last dot; the root is the empty string."""
    return name.to_text(omit_final_dot=True).lower() if name != dns.name.root else ""


def _negative_ttl(response: dns.message.QueryMessage) -> float:
    """RFC 2308 §5: the SOA record's TTL or its minimum field, whichever is less; no SOA, no caching."""
    for rrset in response.authority:
        if rrset.rdtype == dns.rdatatype.SOA:
            return float(min(rrset.ttl, rrset[0].minimum))
    return 0.0


def _reason(error: dns.exception.DNSException) -> str:
    """One short line: dnspython's own holds the whole conversation."""
    if isinstance(error, dns.resolver.NoNameservers):
        said = {_said(attempt[3]) for attempt in error.kwargs.get("errors", ())}
        return ", ".join(["no server answered", *sorted(said)])
    if isinstance(error, dns.exception.Timeout):
        return "timed out"
    return type(error).__name__


def _said(error: object) -> str:
    """What one attempt ended with: the server's own code, or the kind of fault."""
    return error if isinstance(error, str) else type(error).__name__
