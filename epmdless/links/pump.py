"""The pump: moves the bytes of established links, and nothing else.

Both sockets of a link are in the loop's epoll, edge-triggered, for as long as the link lives. A flow is
carried by reading into one buffer that all flows share and writing from it at once. What the sink does
not take stays with the flow, which then reads no more: TCP's own windows are the backpressure.

A large read is the sign of a bulk. Such a flow moves on to splice(2) with a pipe, and
goes back to copying when it calms down. With accounting, the heads of frames must be seen: they are
peeked at ahead of the splice (SO_PEEK_OFF, for TCP since Linux 6.9), as long as frames are large enough
for that to pay. Older kernels splice no more than the rest of a large frame.

Where one side is TLS, its records are opened and sealed in the same place: a flow then receives or sends
through its layer, and is never spliced. What such a sink does not take is kept as records.

Work for one flow at a time is bounded (PORTION); then it queues behind the others.

The file is longer than others here: its functions are the steps of one path, and share all of a flow's state.
"""

from __future__ import annotations

import errno
import os
import select
import ssl
import struct
from collections.abc import Callable
from functools import partial
from socket import MSG_PEEK, SHUT_WR, SO_ERROR, SO_LINGER, SOL_SOCKET, SocketType

from epmdless.links.ends import End
from epmdless.links.link import Flow, Link
from epmdless.links.pipes import PipePool
from epmdless.links.records import RAW_SIZE, Records, seal, sealed
from epmdless.net.rounds import Events, Rounds
from epmdless.net.tls.connection import RECORD_SIZE, TlsLayer, TunnelCutError
from epmdless.wire.frames import ALONE, FRAGMENT_TAGS, HEAD_SIZE, SHORT, FrameWalker

BUFFER_SIZE = 256 * 1024
"""Bytes of the shared buffer, and so the most that a copying flow holds unsent."""

PORTION = 4
"""Reads, or pipes full, for one flow before the others get their turn: 1 MiB copied takes 0.2 ms."""

SPLICE_FROM = 32 * 1024
"""Bytes that must be known to be moved unseen, for splice to be worth its system calls."""

LARGE_FRAMES = 16 * 1024
"""The mean length of the frames in a large read from which peeking at heads pays: two system calls a
frame, where copying 16 KiB costs the same."""

MOST_HEADS = 64
"""Heads that are peeked at before one splice: a pipe full of 16 KiB frames."""

BULK = 64 * 1024
"""A read of so many bytes, in large frames, is the sign of a bulk."""

CALM = 16 * 1024
"""A read or a splice that moves less than this ends the bulk."""

MOST_UNASKED = 64 * 1024
"""Bytes that TLS itself wants to send (answers to key updates) while the socket takes nothing."""

SO_PEEK_OFF = 42
"""asm-generic/socket.h: where the next peek begins, in bytes from what the next read would return."""

assert RAW_SIZE + 2 * RECORD_SIZE <= BUFFER_SIZE, "what one read of records holds fits the buffer"

_USUAL = select.EPOLLIN | select.EPOLLOUT
_EDGES = select.EPOLLIN | select.EPOLLPRI | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
_READABLE = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
_READ_TO_END = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR | select.EPOLLPRI
_WRITABLE = select.EPOLLOUT | select.EPOLLHUP | select.EPOLLERR
_SPLICE_FLAGS = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK
_RESET_AT_CLOSE = struct.pack("ii", 1, 0)
_LOST = (errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN)


class Pump:
    """Carries links until they end.

    :param ended: told each link once both its sockets are closed; `link.end` says why.
    :param fault: told what no handler should raise; the link that met it ends as internal.
    """

    def __init__(
        self, rounds: Rounds, ended: Callable[[Link], None], fault: Callable[[Exception], None]
    ) -> None:
        self._rounds = rounds
        self._epoll = rounds.epoll
        self._ended = ended
        self._fault = fault
        self.pause: Callable[[float, Callable[[], None]], None] = _never_paused
        self._buffer = memoryview(bytearray(BUFFER_SIZE))
        self._words = self._buffer.cast("I")
        self._halves = self._buffer.cast("H")
        self._head = memoryview(bytearray(HEAD_SIZE))
        self._views = [self._buffer[:count] for count in range(SHORT)]
        self._records = Records(self._buffer, self._answer, self._note_goodbye)
        self._ends: dict[int, Flow] = {}
        rounds.first = self._stirred
        self.pipes = PipePool()

    @property
    def descriptors(self) -> int:
        """Descriptors that links and pipes hold now."""
        return len(self._ends) + self.pipes.descriptors

    def carry(
        self,
        link: Link,
        near: SocketType,
        far: SocketType,
        *,
        from_near: bytes = b"",
        from_far: bytes = b"",
        frames: bool,
        near_tls: TlsLayer | None = None,
        far_tls: TlsLayer | None = None,
    ) -> None:
        """Carry a link from now on; its sockets are this object's to close.

        :param near, far: non-blocking; splice(2) asks the descriptor, not its flag.
        :param from_near, from_far: what was read already and belongs to the other side.
        :param frames: whether to count frames.
        :param near_tls, far_tls: TLS of a side, if it has any; no whole record waits in it.
        """
        out = Flow(link, near, far, FrameWalker() if frames else None)
        back = Flow(link, far, near, FrameWalker() if frames else None)
        out.reverse, back.reverse = back, out
        link.flows = (out, back)
        if link.paces is not None:
            out.pace, back.pace = link.paces
        for flow, opener, sealer in ((out, near_tls, far_tls), (back, far_tls, near_tls)):
            if opener is not None:
                flow.opener, flow.receive = (
                    opener,
                    partial(self._records.open, flow, opener, flow.source.recv_into),
                )
            if sealer is not None:
                flow.sealer, flow.send = sealer, partial(seal, flow, sealer, flow.sink)
        for flow, rest in ((out, from_near), (back, from_far)):
            flow.unsent = rest if flow.sealer is None else sealed(flow.sealer, rest)
            flow.count = len(rest)
            if flow.walker is not None and rest:
                flow.walker.walk(rest, len(rest), self._rounds.now)
        self._ends[near.fileno()] = out
        self._ends[far.fileno()] = back
        try:
            for fd in (near.fileno(), far.fileno()):
                self._epoll.register(fd, _EDGES)
        except OSError as error:  # no memory, or fs.epoll.max_user_watches
            self._fail(link, error)
            return
        for flow in (out, back):
            if flow.unsent and link.flows is not None:
                self._flush(flow)
            if flow.opener is not None and flow.opener.closed:
                self._note_goodbye(flow)
        out.note_state()
        back.note_state()

    def finish(self, link: Link, code: End) -> None:
        """Read no more of a link, deliver what was taken in, and tell both sides the end.

        The link is over once both have taken everything: who calls this looks to that, and calls :meth:`cut`.
        To close before would be to reset: there is always something that was not read.
        """
        link.ends_as(code)
        link.finishing = True
        for flow in link.flows or ():
            flow.ended = True
            flow.readable = False
            flow.note_state()
        for flow in link.flows or ():
            if not flow.blocked and not flow.held:
                self._shut(flow)

    def cut(self, link: Link, code: End, *, reset: bool = False) -> None:
        """End a link now.

        :param reset: both sides see a reset, and what is unsent is dropped.
        """
        link.ends_as(code)
        self._close(link, reset=reset)

    def close(self) -> None:
        """Close the pipes; the links must have ended."""
        self.pipes.close()

    # Events.

    def _stirred(self, events: Events) -> Events:
        """Deal with the events of links' sockets; returns the others.

        This is where the time goes: a message of an ordinary flow, which is one read, one frame and one
        write, is dealt with inside this loop, without a call of ours. So this function is long, and looks
        at locals, tables and one flag that stands for many.
        """
        others: Events = []
        ends, buffer, words, halves, views = self._ends, self._buffer, self._words, self._halves, self._views
        for fd, what in events:
            reads = ends.get(fd)
            if reads is None:
                others.append((fd, what))
                continue
            try:
                if what != _USUAL or not reads.plain:
                    self._stirred_unusually(reads, reads.reverse, what)
                    continue
                count = reads.receive(buffer)
                if not 0 < count < SHORT:
                    reads.readable = True
                    self._received(reads, count)
                    continue
                if words[0] == ALONE[count] and halves[2] not in FRAGMENT_TAGS:
                    reads.alone += 1
                    if count > reads.longest_alone:
                        reads.longest_alone = count
                elif (walker := reads.walker) is not None:
                    walker.walk(buffer, count, self._rounds.now)
                    reads.plain = walker.between
                reads.count += count
                try:
                    sent = reads.send(views[count])
                except BlockingIOError:
                    sent = 0
                except OSError as error:
                    self._broken(reads.link, reads.sink, error)
                    continue
                if sent < count:
                    self._hold(reads, sent, count)
            except BlockingIOError:
                pass  # the event was about a connection that had this descriptor before
            except OSError as error:
                self._broken(reads.link, reads.source, error)
            except Exception as error:  # noqa: BLE001 - one link's fault must not end the others
                self._fail(reads.link, error)
        return others

    def _stirred_unusually(self, reads: Flow, writes: Flow, events: int) -> None:
        if writes.blocked and events & _WRITABLE:
            self._flush(writes)
            if reads.link.flows is None:
                return
        if events & select.EPOLLERR and (reads.blocked or reads.ended):
            # No read will tell: the other side is told now, and not when it has taken what is held.
            self._broken(reads.link, reads.source, _error_of(reads.source))
            return
        if events & _READABLE and not reads.ended:
            reads.readable = True
            if events & _READ_TO_END:
                reads.hung_up = True
            if not reads.blocked and not reads.queued:
                self._carry(reads)
        reads.note_state()
        writes.note_state()

    def _go_on(self, flow: Flow) -> None:
        flow.queued = flow.paused = False
        try:
            if flow.readable and not flow.blocked and flow.link.flows is not None:
                self._carry(flow)
            flow.note_state()
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(flow.link, error)

    def _fail(self, link: Link, error: Exception) -> None:
        self._fault(error)
        if link.flows is not None:
            self.cut(link, End.INTERNAL, reset=True)

    # Carrying.

    def _received(self, flow: Flow, count: int) -> None:
        """Go on after a read into the buffer that was not the usual."""
        if self._pass_on(flow, count):
            self._carry(flow, PORTION - 1)
        flow.note_state()

    def _carry(self, flow: Flow, portion: int = PORTION) -> None:
        """Move what the source has, a portion at the most."""
        for _ in range(portion):
            if flow.bulk:
                went_on = self._splice(flow)
                if went_on is False:
                    return
                if went_on:
                    continue
            buffer, pace, now = self._buffer, flow.pace, 0.0
            if pace is not None:
                now = self._rounds.clock()
                if (wait := pace.wait(now)) > 0:
                    self._wait(flow, wait)
                    return
                buffer = buffer[: pace.piece(now)]
            try:
                count = flow.receive(buffer)
            except BlockingIOError:
                flow.readable = False
                return
            except OSError as error:
                self._broken(flow.link, flow.source, error)
                return
            if pace is not None:
                pace.pay(count, now)
            if not self._pass_on(flow, count, len(buffer)):
                return
        self._queue(flow)

    def _wait(self, flow: Flow, seconds: float) -> None:
        """Go on later: the flow has used up what it may use."""
        if flow.queued:
            return  # at its turn, which comes first, it will be told again
        flow.queued = flow.paused = True
        self.pause(seconds, lambda: self._go_on(flow))

    def _pass_on(self, flow: Flow, count: int, room: int = 0) -> bool:
        """Give the sink what was read into the buffer.

        :param room: how much could have been read; 0: the whole buffer.
        :returns: whether to read on.
        """
        if count == 0:
            flow.readable, flow.ended = False, True
            self._source_ended(flow)
            return False
        buffer, walker = self._buffer, flow.walker
        if walker is not None:
            before = walker.frames
            walker.walk(buffer, count, self._rounds.now)
        flow.count += count
        try:
            sent = flow.send(buffer[:count])
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._broken(flow.link, flow.sink, error)
            return False
        if sent < count:
            self._hold(flow, sent, count)
            return False
        if flow.opener is None and flow.sealer is None and flow.pace is None:
            large = walker is None or (walker.frames - before) * LARGE_FRAMES <= count
            flow.bulk = large and count >= (CALM if flow.bulk else BULK)
        if count < (room or BUFFER_SIZE) if flow.opener is None else flow.drained:
            flow.readable = flow.hung_up  # a short read has emptied the socket: epoll(7), "edge-triggered"
        return flow.readable

    def _hold(self, flow: Flow, sent: int, count: int) -> None:
        """Keep what the sink did not take of the buffer; the source may have more by now.

        :param sent: less than 0: TLS has taken it all, and keeps the records that were not sent.
        """
        if sent >= 0:
            flow.unsent = bytes(self._buffer[sent:count])
        flow.blocked = flow.readable = True
        flow.plain = flow.reverse.plain = False

    def _splice(self, flow: Flow) -> bool | None:
        """Move what the source has through an empty pipe, once.

        :returns: whether to go on; None if nothing was moved, and the next thing is to read.
        """
        walker = flow.walker
        pipe = flow.pipe = flow.pipe or self.pipes.take()
        if pipe is None:
            flow.bulk = False
            return None
        try:
            wanted = pipe.size if walker is None else self._look_ahead(flow.source, walker, pipe.size)
            count = 0
            if wanted >= SPLICE_FROM:
                count = os.splice(flow.source.fileno(), pipe.write_end, wanted, flags=_SPLICE_FLAGS)
        except BlockingIOError:
            count = 0
        except OSError as error:
            self._broken(flow.link, flow.source, error)
            return False
        if count == 0:  # too little, drained, ended, or stopped at urgent data: only a read tells which
            self._put_pipe_back(flow)
            return None
        flow.piped = count
        flow.count += count
        if walker is not None:
            walker.skip(count)
        if not self._empty_pipe(flow):
            return False
        if count < CALM:
            flow.bulk = False
            self._put_pipe_back(flow)
        return True

    def _look_ahead(self, source: SocketType, walker: FrameWalker, most: int) -> int:
        """Count the frames whose heads wait in a socket; returns how many bytes may be moved unseen.

        :raises OSError: what is wrong with the socket: a peek takes the error away from the next read.
        """
        if walker.at_head:
            return 0
        head = self._head
        for _ in range(MOST_HEADS):
            if walker.left >= most:
                break
            try:
                source.setsockopt(SOL_SOCKET, SO_PEEK_OFF, walker.left)
            except OSError:  # an older kernel
                break
            try:
                size = source.recv_into(head, HEAD_SIZE, MSG_PEEK)
            except BlockingIOError:  # not there yet
                break
            if not walker.look(head, size, self._rounds.now):
                break
        return min(walker.left, most)

    def _empty_pipe(self, flow: Flow) -> bool:
        """Move what the pipe holds to the sink; whether it is empty and the link goes on."""
        assert flow.pipe is not None
        sink = flow.sink.fileno()
        try:
            while flow.piped:
                flow.piped -= os.splice(flow.pipe.read_end, sink, flow.piped, flags=_SPLICE_FLAGS)
        except BlockingIOError:
            flow.blocked = True
            flow.plain = flow.reverse.plain = False
            return False
        except OSError as error:
            self._broken(flow.link, flow.sink, error)
            return False
        return True

    def _put_pipe_back(self, flow: Flow) -> None:
        if flow.pipe is not None:
            self.pipes.give_back(flow.pipe)
            flow.pipe = None

    def _flush(self, flow: Flow) -> None:
        """Give the sink what it did not take before, and go on if that is all."""
        flow.blocked = False
        if flow.unsent:
            try:
                sent = flow.send_raw(flow.unsent)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                self._broken(flow.link, flow.sink, error)
                return
            if sent < len(flow.unsent):
                flow.unsent = memoryview(flow.unsent)[sent:]
                flow.blocked = True
                return
            flow.unsent = b""
        elif flow.piped and not self._empty_pipe(flow):
            return
        if flow.ended:
            self._put_pipe_back(flow)
            self._shut(flow)
        elif flow.readable and not flow.queued:
            self._queue(flow)
        flow.note_state()
        flow.reverse.note_state()

    def _queue(self, flow: Flow) -> None:
        if flow.queued:
            return
        flow.queued = True
        self._rounds.again.append(lambda: self._go_on(flow))

    # TLS.

    def _answer(self, flow: Flow, layer: TlsLayer) -> None:
        """Send what TLS itself has to say, behind what is unsent; after our goodbye nobody may hear it."""
        said = layer.outgoing.read()
        if flow.said_goodbye:
            return
        flow.unsent = bytes(flow.unsent) + said
        if len(flow.unsent) > BUFFER_SIZE * 2 + MOST_UNASKED:
            raise TunnelCutError("it asks much and reads nothing")
        if not flow.blocked:
            flow.blocked = True
            flow.plain = flow.reverse.plain = False
            self._rounds.again.append(lambda: self._flush_unless_over(flow))

    def _flush_unless_over(self, flow: Flow) -> None:
        if flow.link.flows is not None and flow.blocked:
            self._flush(flow)
            flow.note_state()
            flow.reverse.note_state()  # its own read may have found it plain in between

    def _note_goodbye(self, flow: Flow) -> None:
        """The source has said its end: no event may come for it, and the next read tells."""
        flow.readable = flow.hung_up = True
        flow.plain = False
        if not flow.queued and not flow.blocked:
            self._queue(flow)

    # Ends.

    def _source_ended(self, flow: Flow) -> None:
        """The source has ended its side, and all that it sent was passed on."""
        link = flow.link
        assert link.flows is not None
        link.ends_as(End.NEAR_CLOSED if flow is link.flows[0] else End.FAR_CLOSED)
        self._shut(flow)

    def _shut(self, flow: Flow) -> None:
        """Tell the sink the end; after both directions the link is over."""
        if flow.shut:
            return
        if flow.sealer is not None and not self._say_goodbye(flow, flow.sealer):
            return
        flow.shut = True
        try:
            flow.sink.shutdown(SHUT_WR)
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                self._broken(flow.link, flow.sink, error)
                return
        link = flow.link
        if link.flows is not None and not link.finishing and all(each.shut for each in link.flows):
            self._close(link, reset=False)

    def _say_goodbye(self, flow: Flow, layer: TlsLayer) -> bool:
        """Tell the sink the end of TLS, once; whether that is sent."""
        if flow.said_goodbye:
            return True
        flow.said_goodbye = True
        flow.unsent = layer.goodbye()
        try:
            sent = flow.send_raw(flow.unsent)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._broken(flow.link, flow.sink, error)
            return False
        flow.unsent = flow.unsent[sent:]
        flow.blocked = bool(flow.unsent)
        return not flow.blocked

    def _broken(self, link: Link, sock: SocketType, error: OSError) -> None:
        """One side failed: pass that on as a reset."""
        if link.flows is None:
            return
        near = sock is link.flows[0].source
        is_tunnel = (link.client if near else link.hop) is not None
        if is_tunnel or isinstance(error, TunnelCutError | ssl.SSLError):
            if link.end is None:
                link.detail = str(error)
            link.ends_as(End.TUNNEL_CUT)
        elif error.errno in _LOST:
            link.ends_as(End.NEAR_LOST if near else End.FAR_LOST)
        else:
            link.ends_as(End.NEAR_RESET if near else End.FAR_RESET)
        self._close(link, reset=True)

    def _close(self, link: Link, *, reset: bool) -> None:
        if link.flows is None:
            return
        for flow in link.flows:
            if flow.pipe is not None:
                (self.pipes.discard if flow.piped else self.pipes.give_back)(flow.pipe)
                flow.pipe = None
            sock = flow.source
            fd = sock.fileno()
            del self._ends[fd]
            if reset:
                sock.setsockopt(SOL_SOCKET, SO_LINGER, _RESET_AT_CLOSE)
            sock.close()
            # Flows know each other and themselves, and live on until Python looks for such circles.
            flow.opener = flow.sealer = None
            flow.receive, flow.send = sock.recv_into, flow.send_raw
        try:
            self._ended(link)
        except Exception as error:  # noqa: BLE001 - nor must what is told of its end
            self._fault(error)
        link.flows = None


def reset(sock: SocketType) -> None:
    """Close a socket so that its peer sees no clean end."""
    sock.setsockopt(SOL_SOCKET, SO_LINGER, _RESET_AT_CLOSE)
    sock.close()


def _error_of(sock: SocketType) -> OSError:
    return OSError(sock.getsockopt(SOL_SOCKET, SO_ERROR), "")


def _never_paused(seconds: float, go_on: Callable[[], None]) -> None:
    raise AssertionError("links have a pace, and nobody keeps it")
