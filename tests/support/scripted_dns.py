"""A DNS server on loopback that answers as a test scripts it, well or badly, and counts what it was asked.

    with ScriptedDns() as server:
        server.script("a.internal.", "SRV", answer("a.internal. 60 IN SRV 0 0 9001 b1.internal."))
        ...
        assert server.count() == 1

A behaviour is a function from a `Question` to the bytes of a reply, or None for silence. Several
behaviours for one question are used one after another; the last stays.
"""

import contextlib
import socketserver
import struct
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from tests.support.ports import free_port

Transport = Literal["udp", "tcp"]
HOST = "127.0.0.1"
TCP_IDLE = 5.0
"""Seconds that a TCP client may take to send a question."""


@dataclass(frozen=True, slots=True)
class Question:
    """A query as it arrived.

    `stopping` is set when the server ends: a behaviour that waits waits on it, and never sleeps.
    """

    wire: bytes
    message: dns.message.Message
    transport: Transport
    stopping: threading.Event

    @property
    def key(self) -> tuple[str, str]:
        """Name in lower case with its final dot, and type."""
        asked = self.message.question[0]
        return asked.name.to_text().lower(), dns.rdatatype.to_text(asked.rdtype)


Behaviour = Callable[[Question], bytes | None]


def _response(
    question: Question, records: tuple[str, ...], additional: tuple[str, ...] = ()
) -> dns.message.Message:
    response = dns.message.make_response(question.message, recursion_available=True)
    response.answer.extend(_rrset(line) for line in records)
    response.additional.extend(_rrset(line) for line in additional)
    return response


def _rrset(line: str) -> dns.rrset.RRset:
    """Read a line `name TTL IN TYPE data`; one record a set, in the order given, as servers may send them."""
    name, ttl, rdclass, rdtype, data = line.split(None, 4)
    return dns.rrset.from_text(dns.name.from_text(name), int(ttl), rdclass, rdtype, data)


def answer(*records: str, additional: tuple[str, ...] = ()) -> Behaviour:
    """Answer with records, each a line `name TTL IN TYPE data`; CNAME chains are just more lines."""

    def behave(question: Question) -> bytes:
        return _response(question, records, additional).to_wire(max_size=65535)

    return behave


def rcode(name: str) -> Behaviour:
    """Answer with nothing but a response code, like "SERVFAIL" or "REFUSED"."""

    def behave(question: Question) -> bytes:
        response = _response(question, ())
        response.set_rcode(dns.rcode.from_text(name))
        return response.to_wire()

    return behave


def nxdomain(zone: str, *, negative_ttl: int = 30) -> Behaviour:
    """Say that the name does not exist, with the zone's SOA; `negative_ttl` in seconds (RFC 2308 §5)."""
    return _negative(zone, negative_ttl, "NXDOMAIN")


def nodata(zone: str, *, negative_ttl: int = 30) -> Behaviour:
    """Say that the name exists but has no such record, with the zone's SOA (RFC 2308 §2.2)."""
    return _negative(zone, negative_ttl, "NOERROR")


def _negative(zone: str, negative_ttl: int, code: str) -> Behaviour:
    def behave(question: Question) -> bytes:
        response = _response(question, ())
        response.set_rcode(dns.rcode.from_text(code))
        soa = f"{zone} {negative_ttl} IN SOA ns.{zone} hostmaster.{zone} 1 3600 600 86400 {negative_ttl}"
        response.authority.append(_rrset(soa))
        return response.to_wire()

    return behave


def silence(_question: Question) -> None:
    """Never answer."""


def slow(seconds: float, then: Behaviour) -> Behaviour:
    """Behave so, but late; not at all when the server ends first."""

    def behave(question: Question) -> bytes | None:
        return None if question.stopping.wait(seconds) else then(question)

    return behave


def held(until: threading.Event, then: Behaviour) -> Behaviour:
    """Behave so once the test sets the event."""

    def behave(question: Question) -> bytes | None:
        while not until.wait(0.02):
            if question.stopping.is_set():
                return None
        return then(question)

    return behave


def wrong_id(then: Behaviour) -> Behaviour:
    """Behave so, under another message id."""

    def behave(question: Question) -> bytes | None:
        wire = then(question)
        return None if wire is None else bytes([wire[0] ^ 0xFF]) + wire[1:]

    return behave


def truncated(then: Behaviour) -> Behaviour:
    """Over UDP nothing but the TC bit; over TCP behave so."""

    def behave(question: Question) -> bytes | None:
        if question.transport == "tcp":
            return then(question)
        response = _response(question, ())
        response.flags |= dns.flags.TC
        return response.to_wire()

    return behave


def consul(*records: str) -> Behaviour:
    """Cut as Consul does: three records over plain UDP, without TC; all of them with EDNS or over TCP."""

    def behave(question: Question) -> bytes:
        whole = question.transport == "tcp" or question.message.edns >= 0
        return _response(question, records if whole else records[:3]).to_wire(max_size=65535)

    return behave


def raw(make: Callable[[bytes], bytes]) -> Behaviour:
    """Answer with whatever bytes `make` returns for the query's bytes."""

    def behave(question: Question) -> bytes:
        return make(question.wire)

    return behave


class ScriptedDns:
    """The server: threads of its own, UDP and TCP at one `port`. Unscripted questions get REFUSED."""

    def __init__(self) -> None:
        """Bind and start answering."""
        self.host = HOST
        self.port = free_port()
        self.asked: list[tuple[str, str, Transport]] = []
        self._lock = threading.Lock()
        self._behaviours: dict[tuple[str, str], list[Behaviour]] = defaultdict(list)
        self._default: Behaviour = rcode("REFUSED")
        self._stopping = threading.Event()
        self._servers = [_Udp(self), _Tcp(self)]
        self._threads = [threading.Thread(target=each.serve_forever, args=(0.02,)) for each in self._servers]
        for thread in self._threads:
            thread.start()

    def script(self, name: str, rdtype: str, *behaviours: Behaviour) -> None:
        """Set what a question gets from now on; the last behaviour stays."""
        with self._lock:
            self._behaviours[dns.name.from_text(name).to_text().lower(), rdtype] = list(behaviours)

    def script_all(self, behaviour: Behaviour) -> None:
        """Set what every question without a script of its own gets."""
        with self._lock:
            self._default = behaviour

    def count(
        self, name: str | None = None, rdtype: str | None = None, transport: Transport | None = None
    ) -> int:
        """Count the questions that arrived; None counts any."""
        wanted = (dns.name.from_text(name).to_text().lower() if name else None, rdtype, transport)
        with self._lock:
            return sum(all(w in (None, g) for w, g in zip(wanted, got, strict=True)) for got in self.asked)

    def reply(self, wire: bytes, transport: Transport) -> bytes | None:
        """Count a query and make its reply."""
        question = Question(wire, dns.message.from_wire(wire), transport, self._stopping)
        with self._lock:
            self.asked.append((*question.key, transport))
            behaviours = self._behaviours.get(question.key, [])
            behaviour = behaviours.pop(0) if len(behaviours) > 1 else (behaviours or [self._default])[0]
        return behaviour(question)

    def close(self) -> None:
        """Stop answering; late behaviours end without an answer."""
        self._stopping.set()
        for server, thread in zip(self._servers, self._threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Udp(socketserver.ThreadingUDPServer):
    allow_reuse_address = True

    def __init__(self, scripted: ScriptedDns) -> None:
        self.scripted = scripted
        super().__init__((HOST, scripted.port), _UdpHandler)


class _UdpHandler(socketserver.DatagramRequestHandler):
    server: _Udp

    def handle(self) -> None:
        wire, sock = self.request
        reply = self.server.scripted.reply(wire, "udp")
        if reply is not None:
            sock.sendto(reply, self.client_address)

    def finish(self) -> None:
        """Send nothing by itself: silence is an answer too."""


class _Tcp(socketserver.ThreadingTCPServer):
    daemon_threads = True  # a client that keeps its connection open must not hold up close()
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, scripted: ScriptedDns) -> None:
        self.scripted = scripted
        super().__init__((HOST, scripted.port), _TcpHandler)


class _TcpHandler(socketserver.StreamRequestHandler):
    server: _Tcp
    timeout = TCP_IDLE

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            for wire in self._queries():
                reply = self.server.scripted.reply(wire, "tcp")
                if reply is None:
                    return
                self.wfile.write(struct.pack(">H", len(reply)) + reply)

    def _queries(self) -> Iterator[bytes]:
        while len(head := self.rfile.read(2)) == 2:
            yield self.rfile.read(struct.unpack(">H", head)[0])
