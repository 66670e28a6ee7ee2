"""Dynamic updates of a DNS zone (RFC 2136) over TCP, signed by TSIG; questions to the same servers.

What stands in the zone is asked of whoever takes the updates, over the same connection and signed as they
are: no cache lies between.
"""

from __future__ import annotations

import os
import random
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import dns.rcode
import trio

from epmdless.addresses import Endpoint
from epmdless.errors import RemoteProtocolError, ResolveError
from epmdless.resolve.dns_answers import read_long_answer
from epmdless.resolve.dns_records import Record, RecordType, domain
from epmdless.resolve.dns_tsig import TsigError, TsigKey
from epmdless.resolve.update_reasons import URGENCY

MAX_MESSAGE = 65_535
"""Bytes: over TCP a message's length has two (RFC 1035 §4.2.2)."""

MAX_REPLY = 4096
"""Bytes of the answer to an update: BIND's and Knot's have 113. It may repeat the update (RFC 2136 §3.8), as
no server in use does."""

_HEADER = struct.Struct("!6H")
_QUESTION = struct.Struct("!2H")
_RECORD = struct.Struct("!HHIH")
_LENGTH = struct.Struct("!H")

_IN, _NONE = 1, 254
_SOA = 6
_UPDATE = 5 << 11
"""The operation code, at its place in the header."""

_MAX_POINTED = 0x3FFF
"""The last place that a pointer can lead to."""

_RESPONSE = 0x8000
_OPERATION = 0x7800
_TRUNCATED = 0x0200

_CODES = {
    dns.rcode.REFUSED: "refused",
    dns.rcode.NOTAUTH: "not_zone",
    dns.rcode.NOTZONE: "not_zone",
    dns.rcode.NXRRSET: "changed",
    dns.rcode.YXRRSET: "changed",
    dns.rcode.NXDOMAIN: "changed",
    dns.rcode.YXDOMAIN: "changed",
}


class UpdateError(ResolveError):
    """The zone was not updated, or nobody knows whether it was; or a question has no answer.

    :ivar reason: one of `update_reasons.REASONS`.
    """

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        super().__init__(detail)


@dataclass(frozen=True, slots=True)
class Update:
    """What one message changes, all of it or nothing (RFC 2136 §3.4).

    :ivar exactly: a whole set of records: nothing is changed unless the zone holds these and no others.
    """

    delete: Sequence[Record] = ()
    add: Sequence[Record] = ()
    exactly: Sequence[Record] = ()

    def encode(self, zone: bytes, message_id: int, ttl: int) -> bytes:
        """The message, unsigned::

            id:16  flags:16  zones:16=1  prerequisites:16  updates:16  additional:16=0
            zone  SOA:16  IN:16  records…

        :param zone: its name on the wire.
        :param ttl: of what is added, in seconds.
        """
        counts = (1, len(self.exactly), len(self.delete) + len(self.add), 0)
        head = _HEADER.pack(message_id, _UPDATE, *counts) + zone + _QUESTION.pack(_SOA, _IN)
        writer = _Writer(head, zone)
        for record in self.exactly:
            writer.add(record, _IN, 0)
        for record in self.delete:
            writer.add(record, _NONE, 0)
        for record in self.add:
            writer.add(record, _IN, ttl)
        return bytes(writer.wire)


class _Writer:
    """Writes records, whose owners are pointers to where they stand already (RFC 1035 §4.1.4): a set of
    records is then no longer than in the answer that held it."""

    def __init__(self, head: bytes, zone: bytes) -> None:
        self.wire = bytearray(head)
        self._zone = zone
        self._places = {zone: _HEADER.size}

    def add(self, record: Record, rdclass: int, ttl: int) -> None:
        self._add_owner(record.owner)
        self.wire += _RECORD.pack(record.rdtype, rdclass, ttl, len(record.rdata)) + record.rdata

    def _add_owner(self, owner: bytes) -> None:
        if owner in self._places:
            self.wire += _pointer(self._places[owner])
            return
        if len(self.wire) <= _MAX_POINTED:
            self._places[owner] = len(self.wire)
        if owner.endswith(self._zone):
            self.wire += owner[: -len(self._zone)] + _pointer(self._places[self._zone])
        else:
            self.wire += owner


def _pointer(place: int) -> bytes:
    return (0xC000 | place).to_bytes(2, "big")


class Connection(Protocol):
    """What messages go over; errors are those of trio's streams."""

    async def send_all(self, data: bytes) -> None:
        """Send it all."""

    async def receive_some(self, max_bytes: int) -> bytes | bytearray:
        """Receive something; nothing at the end."""

    def close(self) -> None:
        """Close it, at once; who receives from it gets an error."""


Connect = Callable[[Endpoint], Awaitable[Connection]]


class _TcpConnection:
    def __init__(self, stream: trio.SocketStream) -> None:
        self.send_all = stream.send_all
        self.receive_some = stream.receive_some
        self.close = stream.socket.close


async def connect(server: Endpoint) -> Connection:
    """A TCP connection. Raises OSError."""
    sock = trio.socket.socket(socket.AF_INET6 if ":" in server.host else socket.AF_INET)
    try:
        await sock.connect((server.host, server.port))
    except BaseException:
        sock.close()
        raise
    return _TcpConnection(trio.SocketStream(sock))


class Updater:
    """Writes to one zone, at the first of its servers that takes it.

    The server that did is the first to be asked the next time. A connection stays open until `close`, which
    is for who has no more to say for now. One task at a time.

    :param key: None: nothing is signed.
    :param ttl: of what is added, in seconds.
    :param timeout: seconds for one message at one server, the connection included.
    :param clock: seconds since 1970.
    """

    def __init__(
        self,
        zone: str,
        servers: Sequence[Endpoint],
        key: TsigKey | None,
        *,
        ttl: int,
        timeout: float,
        connect: Connect = connect,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._zone = domain(zone)
        self._servers = list(servers)
        self._key = key
        self._ttl = ttl
        self._timeout = timeout
        self._connect = connect
        self._clock = clock
        self._stream: Connection | None = None
        self._ahead = 0.0

    def server_time(self) -> float:
        """Seconds since 1970 by the clock of the server, as far as its signatures tell; else by ours.

        Hosts whose clocks differ agree on that one.
        """
        return self._clock() + self._ahead

    async def update(self, update: Update) -> None:
        """Have the zone changed.

        :raises UpdateError: no server did; whether one has changed it all the same is not known.
        """
        await self._ask_in_turn(lambda number: update.encode(self._zone, number, self._ttl), MAX_REPLY)

    async def ask_txt(self, owner: bytes) -> tuple[bytes, ...]:
        """The data of all TXT records of a name; empty: there are none.

        :raises UpdateError: no server gave an answer.
        """
        question = owner + _QUESTION.pack(RecordType.TXT, _IN)
        answer = await self._ask_in_turn(
            lambda number: _HEADER.pack(number, 0, 1, 0, 0, 0) + question, MAX_MESSAGE, is_there=False
        )
        try:
            return read_long_answer(answer, RecordType.TXT).texts
        except RemoteProtocolError as error:
            raise UpdateError("malformed", error.detail) from None

    def close(self) -> None:
        """Close the connection, if there is one; who is talking over it gets an error."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    async def _ask_in_turn(
        self, encode: Callable[[int], bytes], most: int, *, is_there: bool = True
    ) -> bytes:
        """The first answer that is none of failure; NXDOMAIN is one, unless `is_there` is false."""
        errors: list[tuple[Endpoint, UpdateError]] = []
        for server in tuple(self._servers):
            try:
                answer = await self._ask(server, encode, most)
                _check_code(answer, is_signed=self._key is not None, is_there=is_there)
            except UpdateError as error:
                self.close()
                if error.reason == "changed":
                    raise
                errors.append((server, error))
            except BaseException:  # cancelled: what is on its way would be taken for the next answer
                self.close()
                raise
            else:
                self._servers.remove(server)
                self._servers.insert(0, server)
                return answer
        raise _summed_up(errors)

    async def _ask(self, server: Endpoint, encode: Callable[[int], bytes], most: int) -> bytes:
        try:
            with trio.fail_after(self._timeout):
                if self._stream is None:
                    self._stream = await self._connect(server)
                return await self._converse(self._stream, encode, most)
        except trio.TooSlowError:
            raise UpdateError("timeout", f"no answer in {self._timeout:g} s") from None
        except TsigError as error:
            raise UpdateError(error.reason, str(error)) from None
        except RemoteProtocolError as error:
            raise UpdateError("malformed", error.detail) from None
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise UpdateError("unreachable", "the connection was cut") from None
        except OSError as error:
            said = os.strerror(error.errno) if error.errno else type(error).__name__
            raise UpdateError("unreachable", said) from None

    async def _converse(self, stream: Connection, encode: Callable[[int], bytes], most: int) -> bytes:
        message_id = random.randrange(1 << 16)
        wire, mac = encode(message_id), b""
        if self._key is not None:
            wire, mac = self._key.sign(wire, self._clock())
        if len(wire) > MAX_MESSAGE:
            raise UpdateError("failed", f"a message of {len(wire)} bytes is too long for DNS")
        await stream.send_all(_LENGTH.pack(len(wire)) + wire)
        (length,) = _LENGTH.unpack(await _receive(stream, _LENGTH.size))
        if length > most:
            raise RemoteProtocolError("length", f"an answer of {length} bytes")
        answer = await _receive(stream, length)
        _check_head(answer, wire)
        if self._key is not None:
            self._check_signature(answer, mac)
        return answer

    def _check_signature(self, answer: bytes, mac: bytes) -> None:
        assert self._key is not None
        now = self._clock()
        try:
            self._ahead = self._key.check(answer, mac, now) - now
        except TsigError as error:
            if error.reason != "unsigned":
                raise
            code = _code(answer)
            if code == dns.rcode.NOERROR:
                raise UpdateError("forged", str(error)) from None
            # Servers refuse without a signature where they look at no key: that is not worth less.
            raise UpdateError(
                _CODES.get(code, "failed"), f"{code.name}, in an answer that is not signed"
            ) from None


async def _receive(stream: Connection, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        piece = await stream.receive_some(size - len(received))
        if not piece:
            raise trio.BrokenResourceError
        received += piece
    return bytes(received)


def _check_head(answer: bytes, wire: bytes) -> None:
    """Whether it answers this message at all. Raises RemoteProtocolError."""
    if len(answer) < _HEADER.size:
        raise RemoteProtocolError("short", f"an answer of {len(answer)} bytes")
    number, flags, *_ = _HEADER.unpack_from(answer)
    asked, asked_flags, *_ = _HEADER.unpack_from(wire)
    if number != asked or not flags & _RESPONSE or flags & _OPERATION != asked_flags & _OPERATION:
        raise RemoteProtocolError("other", "an answer to something else")
    if flags & _TRUNCATED:
        raise RemoteProtocolError("truncated", "an answer that is cut short even over TCP")


def _code(answer: bytes) -> dns.rcode.Rcode:
    return dns.rcode.Rcode.make(answer[3] & 0x0F)


def _check_code(answer: bytes, *, is_signed: bool, is_there: bool) -> None:
    """Raise an UpdateError unless the answer is one."""
    code = _code(answer)
    if code == dns.rcode.NOERROR or (code == dns.rcode.NXDOMAIN and not is_there):
        return
    reason = _CODES.get(code, "failed")
    if code == dns.rcode.NOTAUTH and not is_signed:
        raise UpdateError("refused", f"{code.name}: it may want a key, or is not the zone's primary")
    raise UpdateError(reason, code.name)


def _summed_up(errors: Iterable[tuple[Endpoint, UpdateError]]) -> UpdateError:
    """One error for those of all servers."""
    listed = list(errors)
    first = min((error.reason for _, error in listed), key=URGENCY.index)
    return UpdateError(first, "; ".join(f"{server}: {error}" for server, error in listed))
