"""Questions to DNS servers, by dnspython: several servers, time-outs, EDNS, TCP after truncation."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.inet
import dns.message
import dns.name
import dns.nameserver
import dns.query
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.resolver
import trio

from epmdless.addresses import Endpoint
from epmdless.errors import ConfigError, RemoteProtocolError, ResolveError
from epmdless.resolve.dns_answers import LongAnswer, count_answers, read_long_answer
from epmdless.resolve.dns_records import strings_of
from epmdless.resolve.srv_records import SrvRecord

DNS_PORT = 53

EDNS_PAYLOAD = 1232
"""Bytes of a UDP answer that pass any path unfragmented (DNS flag day 2020). Consul cuts answers to
plain questions to three records, without saying so; EDNS lifts that."""

LONG_ANSWER = 100
"""Records of a TCP answer beyond which dnspython does not read them, but we: a datagram holds fewer, so
that what is asked at every lookup goes the usual way."""

MAX_LONG = 1024
"""Questions that are remembered for their long answers; sources ask far fewer."""

AddressType = Literal["A", "AAAA"]


class DnsError(ResolveError):
    """No server gave an answer.

    :ivar reason: in one word: ``timeout``, ``unreachable``, ``refused`` (REFUSED, NOTAUTH), ``malformed``,
        or ``failed`` (SERVFAIL and all others).
    """

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        super().__init__(detail)


class SrvAnswer(NamedTuple):
    """What DNS says: the records, empty for "no such name" or "no such records", and for how long.

    `ttl` is in seconds: the lowest on the way (CNAMEs included), for an empty answer the zone's
    negative one (RFC 2308), 0 where the zone gives none.
    """

    records: tuple[SrvRecord, ...]
    ttl: float


class DnsClient:
    """Asks for addresses, SRV and TXT records, without search lists.

    It remembers nothing but which questions have long answers: those go over TCP at once. A server may
    fill the datagram that says so with records, and to read those took a quarter of the time for 2000.

    :param servers: asked in this order; empty: what the system's resolv.conf names.
    :param timeout: seconds for one question to one server.
    :param lifetime: seconds for all servers and tries together.
    :param remedy: what follows in the error that no server is named.
    :raises ConfigError: no servers are given and resolv.conf names none.
    """

    def __init__(
        self,
        servers: Sequence[Endpoint],
        *,
        timeout: float,
        lifetime: float,
        tcp: bool = False,
        remedy: str = "",
    ) -> None:
        self._resolver = _system_resolver(remedy) if not servers else _resolver_of(servers)
        self._resolver.use_edns(0, 0, EDNS_PAYLOAD)
        self._resolver.timeout = timeout
        self._resolver.lifetime = lifetime
        self._tcp = tcp
        self._long: set[tuple[str, dns.rdatatype.RdataType]] = set()

    async def ask_addresses(self, name: str, rdtype: AddressType) -> tuple[str, ...]:
        """Ask for the addresses of a domain name; empty: no such name, or none of this type.

        :raises DnsError: no server gave an answer: down, slow, SERVFAIL, refused, or what came was no
            answer to this question.
        """
        answer = await self._ask(name, dns.rdatatype.RdataType[rdtype])
        if isinstance(answer, LongAnswer):
            return answer.addresses
        if isinstance(answer, dns.message.Message) or answer.rrset is None:
            return ()
        return tuple(rdata.address for rdata in answer.rrset)

    async def ask_srv(self, name: str) -> SrvAnswer:
        """Ask for the SRV records of a domain name.

        :raises DnsError: as :meth:`ask_addresses` does.
        """
        answer = await self._ask(name, dns.rdatatype.SRV)
        if isinstance(answer, LongAnswer):
            return SrvAnswer(answer.services, answer.ttl)
        if isinstance(answer, dns.message.Message):
            return SrvAnswer((), _negative_ttl(answer))
        if answer.rrset is None:
            return SrvAnswer((), _negative_ttl(answer.response))
        return SrvAnswer(_records(answer), answer.chaining_result.minimum_ttl)

    async def ask_txt(self, name: str) -> tuple[tuple[bytes, ...], ...]:
        """Ask for the TXT records of a domain name, each a tuple of strings; empty: there are none.

        :raises DnsError: as :meth:`ask_addresses` does.
        """
        answer = await self._ask(name, dns.rdatatype.TXT)
        if isinstance(answer, LongAnswer):
            try:
                return tuple(strings_of(rdata) for rdata in answer.texts)
            except RemoteProtocolError as error:
                raise DnsError("malformed", f"TXT {name}: {error.detail}") from None
        if isinstance(answer, dns.message.Message) or answer.rrset is None:
            return ()
        return tuple(rdata.strings for rdata in answer.rrset)

    async def _ask(
        self, name: str, rdtype: dns.rdatatype.RdataType
    ) -> dns.resolver.Answer | LongAnswer | dns.message.QueryMessage:
        """The answer; where it is that there is no such name, the message that says so."""
        asked = f"{rdtype.name} {name}"
        is_long = (name, rdtype) in self._long
        self._long.discard((name, rdtype))  # until it is again: whatever fails, the next time is as the first
        try:
            question = dns.name.from_text(name)
            answer = await self._resolver.resolve(
                question, rdtype, tcp=self._tcp or is_long, search=False, raise_on_no_answer=False
            )
        except dns.resolver.NXDOMAIN as error:
            denial: dns.message.QueryMessage = error.response(question)  # type: ignore[no-untyped-call]
            return denial
        except dns.exception.DNSException as error:
            reason, detail = _reason(error)
            raise DnsError(reason, f"{asked}: {detail}") from None
        if answer.response.flags & dns.flags.TC:
            raise DnsError("malformed", f"{asked}: cut short even over TCP")
        long: LongAnswer | None = getattr(answer.response, _LONG, None)
        if long is not None and len(self._long) < MAX_LONG:
            self._long.add((name, rdtype))
        return answer if long is None else long


_LONG = "epmdless_long_answer"
"""The attribute of a message that holds its :class:`LongAnswer`; dnspython passes messages on as they are."""


class _Server(dns.nameserver.Do53Nameserver):
    """A server whose long answers over TCP are read by us."""

    async def async_query(
        self,
        request: dns.message.QueryMessage,
        timeout: float,  # noqa: ASYNC109 - dnspython's
        source: str | None,
        source_port: int,
        max_size: bool,
        backend: Any,
        one_rr_per_rrset: bool = False,
        ignore_trailing: bool = False,
    ) -> dns.message.Message:
        """Ask; raises what the resolver expects: OSError, EOFError, DNSException."""
        if not max_size:
            return await super().async_query(request, timeout, source, source_port, max_size, backend)
        with trio.move_on_after(timeout):
            wire = await self._exchange(request.to_wire(prepend_length=True), backend)
            is_long = count_answers(wire) > LONG_ANSWER
            response = dns.message.from_wire(wire, question_only=is_long)
            if not request.is_response(response):
                raise dns.query.BadResponse
            if is_long and response.rcode() == dns.rcode.NOERROR:
                setattr(response, _LONG, _read_long(wire, request.question[0].rdtype))
            return response
        raise dns.exception.Timeout(timeout=timeout)  # type: ignore[no-untyped-call]

    async def _exchange(self, question: bytes, backend: Any) -> bytes:
        family = dns.inet.af_for_address(self.address)
        where = (self.address, self.port)
        async with await backend.make_socket(family, socket.SOCK_STREAM, 0, None, where) as sock:
            await sock.sendall(question, None)
            length = await _receive(sock, 2)
            return await _receive(sock, int.from_bytes(length, "big"))


def _read_long(wire: bytes, rdtype: int) -> LongAnswer:
    try:
        return read_long_answer(wire, rdtype)
    except RemoteProtocolError as error:  # the resolver goes on to the next server at this one's kind alone
        raise dns.exception.FormError(str(error)) from None  # type: ignore[no-untyped-call]


async def _receive(sock: Any, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        piece = await sock.recv(size - len(received), None)
        if not piece:
            raise EOFError
        received += piece
    return bytes(received)


def _resolver_of(servers: Sequence[Endpoint]) -> dns.asyncresolver.Resolver:
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers = [_Server(server.host, server.port) for server in servers]
    return resolver


def _system_resolver(remedy: str) -> dns.asyncresolver.Resolver:
    try:
        resolver = dns.asyncresolver.Resolver()
    except dns.exception.DNSException:
        raise ConfigError("/etc/resolv.conf", "", f"names no DNS server{remedy}") from None
    resolver.nameservers = [_Server(str(address), resolver.port) for address in resolver.nameservers]
    return resolver


def _records(answer: dns.resolver.Answer) -> tuple[SrvRecord, ...]:
    assert answer.rrset is not None
    addresses: dict[str, list[str]] = {}
    for rrset in answer.response.additional:
        if rrset.rdclass == dns.rdataclass.IN and rrset.rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA):
            addresses.setdefault(_plain(rrset.name), []).extend(rdata.address for rdata in rrset)
    records = []
    for rdata in answer.rrset:
        target = _plain(rdata.target)
        records.append(
            SrvRecord(rdata.priority, rdata.weight, rdata.port, target, tuple(addresses.get(target, ())))
        )
    return tuple(records)


def _plain(name: dns.name.Name) -> str:
    """Lower case without the last dot; the root is the empty string."""
    return name.to_text(omit_final_dot=True).lower() if name != dns.name.root else ""


def _negative_ttl(response: dns.message.Message) -> float:
    """RFC 2308 §5: the SOA record's TTL or its minimum field, whichever is less; no SOA, no caching."""
    for rrset in response.authority:
        if rrset.rdtype == dns.rdatatype.SOA:
            return float(min(rrset.ttl, rrset[0].minimum))
    return 0.0


def _reason(error: dns.exception.DNSException) -> tuple[str, str]:
    """What it comes down to, in one word, and in one short line: dnspython's own holds the whole
    conversation."""
    if isinstance(error, dns.resolver.NoNameservers):
        ends = [attempt[3] for attempt in error.kwargs.get("errors", ())]
        said = {_said(end) for end in ends}
        return _word(ends), ", ".join(["no server answered", *sorted(said)])
    if isinstance(error, dns.exception.Timeout):
        return "timeout", "timed out"
    return "malformed", type(error).__name__


def _word(ends: Sequence[object]) -> str:
    """What the attempts that failed have in common; what a server said comes first."""
    if {"REFUSED", "NOTAUTH"} & {end for end in ends if isinstance(end, str)}:
        return "refused"
    if any(isinstance(end, str) for end in ends):
        return "failed"
    if any(isinstance(end, OSError) for end in ends):
        return "unreachable"
    return "malformed" if ends else "failed"


def _said(error: object) -> str:
    """What one attempt ended with: the server's own code, or the kind of fault."""
    return error if isinstance(error, str) else type(error).__name__
