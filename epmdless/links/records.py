"""TLS in the pump: records are opened and sealed where others are read and written.

The pump's flows receive and send through here as they would from a socket. Nothing waits in between: all
whole records of a read are opened at once, since no event would announce what is left, and what a socket
does not take of sealed records is kept by the flow.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from socket import SocketType

from epmdless.links.link import Flow
from epmdless.net.tls.connection import RECORD_SIZE, TlsLayer, TunnelCutError
from epmdless.wire.frames import SHORT

RECORDS_AT_ONCE = 16 * 1024
"""Bytes of records given to TLS before what they hold is taken out: a memory BIO never gives back what it
grew to, and each tunnel has two."""

RAW_SIZE = 224 * 1024
"""Bytes of one read of records: what they hold, with what the last read left of one, fits the buffer."""

YIELD = 32
"""Bytes of records for one byte of plain text: more than with a record for each byte (23, RFC 8446 §5.2)."""

MOST_BARREN = 64 * 1024
"""Bytes of records that yield less, lately, after which a peer is no peer. TLS's own messages are such: a
few tickets of some hundred bytes, and key updates of 27. A flood of these takes 10 µs for each."""


class Records:
    """Opens the records of all flows into one buffer.

    :param buffer: the pump's.
    :param answer: told of a flow whose TLS has something to say itself: what it sends is waiting there.
    :param said_goodbye: told of a flow whose source has said its end.
    """

    def __init__(
        self,
        buffer: memoryview,
        answer: Callable[[Flow, TlsLayer], None],
        said_goodbye: Callable[[Flow], None],
    ) -> None:
        self._buffer = buffer
        self._raw = memoryview(bytearray(len(buffer)))
        self._answer = answer
        self._said_goodbye = said_goodbye

    def open(
        self, flow: Flow, layer: TlsLayer, receive: Callable[[memoryview, int], int], room: memoryview
    ) -> int:
        """Receive through TLS: like `recv_into` with the buffer, but for plain text.

        All whole records of what is read are opened, so that none waits where no event would announce it.

        :param room: its length is what may be read; the plain text goes to the shared buffer.
        :raises BlockingIOError: there is nothing, or no whole record.
        :raises OSError: the connection broke, was cut, or brought what TLS does not allow.
        """
        was_closed = layer.closed
        if was_closed:
            return 0
        raw, size, total = self._raw, min(len(room), RAW_SIZE), 0
        while True:
            try:
                count = receive(raw, size)
            except BlockingIOError:
                if not total:
                    raise
                flow.drained = True  # the read before was full by chance
                return total
            if count == 0:
                raise TunnelCutError("the connection ended without the end of TLS")
            flow.drained = count < size
            total = self._opened(layer, raw, count, total)
            if layer.outgoing.pending:
                self._answer(flow.reverse, layer)
            if layer.closed:
                self._said_goodbye(flow)
                return total
            if total >= SHORT or (total and flow.drained):
                return total
            if flow.drained and not flow.hung_up:  # else only a read that returns nothing tells the end
                raise BlockingIOError

    def _opened(self, layer: TlsLayer, raw: memoryview, count: int, opened: int) -> int:
        """Open the records in `raw`, into the shared buffer behind what was opened before; how many bytes of
        plain text are there now.

        :raises OSError: they are not what TLS allows, or hold next to nothing, one after the other.
        """
        buffer, incoming, read = self._buffer, layer.incoming, layer.read_into
        start = min(count, RECORDS_AT_ONCE)
        before, begun = opened, 0
        incoming.write(raw[:start])
        while True:
            try:
                got = read(RECORD_SIZE, buffer[opened:] if opened else buffer)
            except ssl.SSLWantReadError:
                got = -1
            except ssl.SSLZeroReturnError:
                got = 0
            if got == 0:
                layer.closed = True
                return opened
            if got > 0:
                opened += got
                if incoming.pending:
                    continue
            layer.barren = max(0, layer.barren + start - begun - (opened - before) * YIELD)
            if layer.barren > MOST_BARREN:
                raise TunnelCutError("records without data, one after the other")
            if start >= count:
                return opened
            before, begun = opened, start
            start = min(count, start + RECORDS_AT_ONCE)
            incoming.write(raw[begun:start])


def seal(flow: Flow, layer: TlsLayer, sink: SocketType, data: memoryview) -> int:
    """Send through TLS: like `send`, but all is taken.

    :returns: the length of the data, or -1 if records are left that the socket did not take.
    :raises OSError: the connection broke.
    """
    length, write, take = len(data), layer.tls.write, layer.outgoing.read
    if length <= RECORD_SIZE:
        write(data)
        records = take()
        try:
            sent = sink.send(records)
        except BlockingIOError:
            sent = 0
        if sent == len(records):
            return length
        flow.unsent = memoryview(records)[sent:]
        return -1
    pieces = []
    for start in range(0, length, RECORD_SIZE):
        write(data[start : start + RECORD_SIZE])
        pieces.append(take())
    try:
        sent = sink.sendmsg(pieces)
    except BlockingIOError:
        sent = 0
    left = sum(map(len, pieces)) - sent
    if not left:
        return length
    flow.unsent = memoryview(b"".join(pieces))[sent:]
    return -1


def sealed(layer: TlsLayer, data: bytes) -> bytes:
    """Data as records, behind what TLS has to say itself."""
    if data:
        layer.tls.write(data)
    return layer.outgoing.read()
