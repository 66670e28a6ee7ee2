"""A DNS server in memory that takes updates, well or badly, and reads them with dnspython's eyes.

server = FakeServer(nursery, "nodes.internal")
server.then(hang, ok)
...
assert server.shown("_shop._tcp", "SRV") == {"0 0 9001 b1.nodes.internal."}
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dns.tsig
import dns.update
import trio
import trio.testing

from epmdless.addresses import Endpoint
from epmdless.resolve.dns_records import Record
from epmdless.resolve.dns_update import Connection

Key = tuple[dns.name.Name, dns.rdatatype.RdataType]
Behaviour = Callable[["FakeServer", dns.message.Message], bytes | None]
"""Makes the answer; None: the connection is cut."""


class CutError(Exception):
    """The connection ends now."""


class HungError(Exception):
    """Nothing comes, and the connection stays."""


def ok(server: "FakeServer", message: dns.message.Message) -> bytes:
    """Do what it says, and say how that went."""
    return server.answer(message).to_wire(max_size=65535)


def refuse(code: str) -> Behaviour:
    """Do nothing, and say no."""

    def behave(_server: "FakeServer", message: dns.message.Message) -> bytes:
        response = dns.message.make_response(message)
        response.set_rcode(dns.rcode.from_text(code))
        return response.to_wire()

    return behave


def full_at(most: int) -> Behaviour:
    """Hold so many TXT records of a name, and of an update that brings more carry nothing out: BIND's
    max-records-per-type."""

    def behave(server: "FakeServer", message: dns.message.Message) -> bytes:
        before = {key: set(found) for key, found in server.records.items()}
        answer = ok(server, message)
        if all(
            len(found) <= most for (_, kind), found in server.records.items() if kind == dns.rdatatype.TXT
        ):
            return answer
        server.records = before
        return refuse("SERVFAIL")(server, message) or b""

    return behave


def cut_before(_server: "FakeServer", _message: dns.message.Message) -> bytes:
    """Do nothing, and cut the connection."""
    raise CutError


def cut_after(server: "FakeServer", message: dns.message.Message) -> bytes:
    """Do what it says, and cut the connection before anybody hears of it."""
    server.answer(message)
    raise CutError


def hang(_server: "FakeServer", _message: dns.message.Message) -> bytes:
    """Do nothing, for ever."""
    raise HungError


def hang_after(server: "FakeServer", message: dns.message.Message) -> bytes:
    """Do what it says, and say nothing."""
    server.answer(message)
    raise HungError


def raw(make: Callable[[bytes], bytes]) -> Behaviour:
    """Do what it says, and answer with what becomes of the good answer."""

    def behave(server: "FakeServer", message: dns.message.Message) -> bytes:
        return make(ok(server, message))

    return behave


@dataclass
class _Memory:
    """A connection's end as the client has it."""

    stream: Any

    def __post_init__(self) -> None:
        self.send_all = self.stream.send_all
        self.receive_some = self.stream.receive_some

    def close(self) -> None:
        self.stream.send_stream.close()
        self.stream.receive_stream.close()


class FakeServer:
    """Authoritative for one zone; the connections to it are served in the nursery.

    :ivar messages: those that came, in their order.
    :ivar is_up: whether connections are taken.
    """

    def __init__(self, nursery: trio.Nursery, zone: str, key: dns.tsig.Key | None = None) -> None:
        self.origin = dns.name.from_text(zone)
        self.messages: list[dns.message.Message] = []
        self.connections = 0
        self.is_up = True
        self.records: dict[Key, set[dns.rdata.Rdata]] = {}
        self._nursery = nursery
        self._key = key
        self._behaviours: list[Behaviour] = [ok]

    def then(self, *behaviours: Behaviour) -> None:
        """Behave so, one message after another; the last behaviour stays."""
        self._behaviours = list(behaviours)

    @property
    def updates(self) -> list[dns.message.Message]:
        """The messages that were updates."""
        return [message for message in self.messages if message.opcode() == dns.opcode.UPDATE]

    async def connect(self, _server: Endpoint) -> Connection:
        """A connection to it."""
        await trio.lowlevel.checkpoint()
        if not self.is_up:
            raise ConnectionRefusedError(111, "Connection refused")
        self.connections += 1
        theirs, ours = trio.testing.memory_stream_pair()
        self._nursery.start_soon(self._serve, ours)
        return _Memory(theirs)

    def put(self, owner: str, rdtype: str, *texts: str) -> None:
        """Put records into the zone, as somebody else would; `owner` is relative to it."""
        for text in texts:
            rdata = dns.rdata.from_text("IN", rdtype, text, origin=self.origin, relativize=False)
            self._at(owner, rdtype).add(rdata)

    def put_record(self, record: Record) -> None:
        """The same for one that is on the wire already."""
        name, _ = dns.name.from_wire(record.owner, 0)
        rdtype = dns.rdatatype.RdataType(record.rdtype)
        rdata = dns.rdata.from_wire("IN", rdtype, record.rdata, 0, len(record.rdata))
        self.records.setdefault((name, rdtype), set()).add(rdata)

    def shown(self, owner: str, rdtype: str) -> set[str]:
        """The records of a name, as text."""
        return {rdata.to_text() for rdata in self._at(owner, rdtype)}

    @property
    def names(self) -> set[str]:
        """The names that have records, relative to the zone."""
        return {str(name.relativize(self.origin)) for (name, _), found in self.records.items() if found}

    def _at(self, owner: str, rdtype: str) -> set[dns.rdata.Rdata]:
        name = dns.name.from_text(owner.lower(), self.origin)
        return self.records.setdefault((name, dns.rdatatype.from_text(rdtype)), set())

    async def _serve(self, stream: trio.StapledStream[Any, Any]) -> None:
        async with stream:
            while True:
                try:
                    length = int.from_bytes(await _exactly(stream, 2), "big")
                    wire = await _exactly(stream, length)
                    answer = self._behave(wire)
                    await stream.send_all(len(answer).to_bytes(2, "big") + answer)
                except HungError:
                    await trio.sleep(math.inf)
                except (CutError, trio.BrokenResourceError):
                    return

    def _behave(self, wire: bytes) -> bytes:
        message = dns.message.from_wire(wire, keyring=self._key or {})
        self.messages.append(message)
        behaviour = self._behaviours.pop(0) if len(self._behaviours) > 1 else self._behaviours[0]
        made = behaviour(self, message)
        assert made is not None
        return made

    def answer(self, message: dns.message.Message) -> dns.message.Message:
        """Carry a message out; the answer to it."""
        response = dns.message.make_response(message)
        if isinstance(message, dns.update.UpdateMessage):
            response.set_rcode(self._update(message))
            return response
        question = message.question[0]
        for rdata in self.records.get((question.name.canonicalize(), question.rdtype), ()):
            response.answer.append(dns.rrset.from_rdata(question.name, 60, rdata))
        return response

    def _update(self, message: dns.update.UpdateMessage) -> dns.rcode.Rcode:
        if message.zone[0].name != self.origin:
            return dns.rcode.NOTAUTH
        demanded: dict[Key, set[dns.rdata.Rdata]] = {}
        for rrset in message.prerequisite:
            demanded.setdefault((rrset.name.canonicalize(), rrset.rdtype), set()).update(rrset)
        if any(self.records.get(key, set()) != wanted for key, wanted in demanded.items()):
            return dns.rcode.NXRRSET
        for rrset in message.update:
            if not rrset.name.is_subdomain(self.origin):
                return dns.rcode.NOTZONE
        for rrset in message.update:
            kept = self.records.setdefault((rrset.name.canonicalize(), rrset.rdtype), set())
            if rrset.deleting == dns.rdataclass.NONE:
                kept -= set(rrset)
            else:
                kept |= set(rrset)
        return dns.rcode.NOERROR


async def _exactly(stream: trio.StapledStream[Any, Any], size: int) -> bytes:
    received = b""
    while len(received) < size:
        piece = await stream.receive_some(size - len(received))
        if not piece:
            raise CutError
        received += bytes(piece)
    return received
