"""Our hidden connection to a local node: function calls over it, many at once.

It loads nothing into the node and registers nothing there; when it is closed, the node forgets it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NoReturn, Self

import trio

from epmdless.cluster.encryption import broken
from epmdless.cluster.shaking import Cookie, OwnedConnection, Shaken, TakenError, own_names, shake
from epmdless.cluster.trouble import NodeError
from epmdless.errors import RemoteProtocolError
from epmdless.net.faults import ended_by
from epmdless.net.plain import send_all
from epmdless.wire.calls import Outcome, Returned, erpc_call, erpc_outcome, rex_call, rex_outcome
from epmdless.wire.distribution import TICK, FrameReader, MonitorExit, Sent, SpawnReply, decode_payload
from epmdless.wire.handshake import Framing
from epmdless.wire.terms import Atom, Pid, Reference, Term

SHAKE_SECONDS = 7.0
"""For the connection and its handshake: the node's own `net_setuptime`."""

TICK_SECONDS = 15.0
"""A node drops who was silent for `net_ticktime`, 60 s by default; it asks four times in that."""

SILENCE_SECONDS = 75.0
"""After which a node that says nothing is given up: as long as a node itself waits at most."""

SEND_SECONDS = 10.0
"""For one message to leave: a node that does not read is of no use."""

READ_SIZE = 65_536

EFFORT = 0.001
"""Seconds that it may take to take in what a node says, before we rest from it."""

SHARE = 0.02
"""Of the time, that we listen to one node at the most. An answer with 20,000 names takes some 30 ms."""

LONGEST_REST = 1.0
"""Seconds until the node is listened to again: less than a call has."""

MAX_NUMBER = (1 << 15) - 1
"""Of a process: 15 bits of a pid's number, as every release takes them."""


Dial = Callable[[], Awaitable[OwnedConnection]]


class NodeLink:
    """A connection whose handshake is done.

    :param own: the name under which the node knows us.
    """

    def __init__(self, connection: OwnedConnection, shaken: Shaken, own: str) -> None:
        self._connection = connection
        self._shaken = shaken
        self._own = Atom(own)
        self._creation = shaken.own_creation
        self._frames = FrameReader()
        self._sending = trio.Lock()
        self._calls = 0
        self._waiting: dict[object, _Call] = {}

    @property
    def name(self) -> str:
        """The node's whole name."""
        return self._shaken.name

    @property
    def flags(self) -> int:
        """What it said that it can do."""
        return self._shaken.flags

    @classmethod
    async def open(
        cls,
        dial: Dial,
        own_host: str,
        cookie: Cookie,
        expected: str,
        *,
        is_old: bool,
        framing: Framing = Framing.TCP,
    ) -> Self:
        """Connect to a node as the first of our names that is free there.

        :param dial: connects to its port, by TLS where the node speaks it; raises NodeError.
        :param cookie: for the node of a name; called once its name is known. Raises NodeError.
        :param expected: the alive or whole name that it must have.
        :param framing: TLS where `dial` connects by that.
        :raises NodeError: it cannot be reached, or is not what it should be.
        """
        with trio.move_on_after(SHAKE_SECONDS):
            for own in own_names(own_host):
                connection = await dial()
                try:
                    shaken = await shake(connection, own, cookie, expected, is_old=is_old, framing=framing)
                except TakenError:
                    connection.close()
                except OSError as error:
                    connection.close()
                    raise broken(error, expected) from None
                except BaseException:
                    connection.close()
                    raise
                else:
                    return cls(connection, shaken, own)
            raise NodeError("taken")
        raise NodeError("timeout", "it did not finish the handshake in time")

    def close(self) -> None:
        """Close the connection; calls under way fail."""
        self._connection.close()

    async def serve(self) -> None:
        """Take in what the node says, and keep it from dropping us, until the connection ends.

        :raises NodeError: how it ended.
        """
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._tick)
                await self._hear()
        except BaseExceptionGroup as errors:
            raise ended_by(errors, NodeError) from None

    async def call(self, module: str, function: str, arguments: Sequence[Term], seconds: float) -> Term:
        """Call a function in the node; its value.

        :param seconds: to wait for the value; the function may go on after that.
        :raises NodeError: it raised, there was no value in time, or the connection broke.
        """
        self._calls += 1
        pid = Pid(self._own, self._calls & MAX_NUMBER, self._calls >> 15 & 0x1FFF, self._creation)
        request = Reference(self._own, (self._calls & 0x3FFFF, self._calls >> 18, 0), self._creation)
        if self._shaken.takes_spawn_requests:
            key: object = request
            frame = erpc_call(request, pid, module, function, arguments)
        else:
            key, frame = pid, rex_call(pid, module, function, arguments)
        self._waiting[key] = call = _Call()
        try:
            await self._send(frame)
            with trio.move_on_after(seconds):
                await call.done.wait()
        finally:
            del self._waiting[key]
        if call.outcome is None:
            raise NodeError("timeout", f"{module}:{function} gave no answer in time")
        if not isinstance(call.outcome, Returned):
            raise NodeError("failed", f"{module}:{function}: {call.outcome.kind}: {call.outcome.reason}")
        return call.outcome.value

    async def _send(self, data: bytes) -> None:
        try:
            with trio.fail_after(SEND_SECONDS):
                async with self._sending:
                    await send_all(self._connection, data)
        except trio.TooSlowError:
            self.close()  # half a frame may have gone
            raise NodeError("timeout", "it takes nothing in") from None
        except trio.ClosedResourceError:  # by another call, for which it took too long
            raise NodeError("closed") from None
        except OSError as error:
            raise NodeError("closed", error.strerror or "") from None

    async def _hear(self) -> NoReturn:
        self._take(self._shaken.rest)
        effort = 0.0
        while True:
            with trio.move_on_after(SILENCE_SECONDS) as patience:
                data = await self._receive()
            if patience.cancelled_caught:
                raise NodeError("timeout", "it said nothing for too long")
            if not data:
                raise NodeError("closed")
            began = trio.current_time()
            self._take(data)
            effort += trio.current_time() - began
            if effort > EFFORT:
                # One that talks without end must not keep others from being heard.
                await trio.sleep(min(effort / SHARE, LONGEST_REST))
                effort = 0.0

    async def _receive(self) -> bytes:
        try:
            return await self._connection.recv(READ_SIZE)
        except (OSError, trio.ClosedResourceError):
            raise NodeError("closed") from None

    async def _tick(self) -> None:
        while True:
            await trio.sleep(TICK_SECONDS)
            await self._send(TICK)

    def _take(self, data: bytes) -> None:
        try:
            for payload in self._frames.feed(data):
                self._heard(payload)
        except RemoteProtocolError as error:
            raise NodeError("protocol", str(error)) from None

    def _heard(self, payload: bytes) -> None:
        match decode_payload(payload, self._waiting.__contains__):
            case SpawnReply() as reply:
                self._answered(reply.request, erpc_outcome(reply))
            case MonitorExit() as gone:
                self._answered(gone.reference, erpc_outcome(gone))
            case Sent(Pid() as to, message):
                self._answered(to, rex_outcome(message))

    def _answered(self, key: object, outcome: Outcome | None) -> None:
        """Take in a call's outcome; None: it was no more than a sign that it goes on."""
        call = self._waiting.get(key)
        if call is not None and call.outcome is None and outcome is not None:
            call.outcome = outcome
            call.done.set()


class _Call:
    """A call that waits for its outcome; None: there is none yet."""

    __slots__ = ("done", "outcome")

    def __init__(self) -> None:
        self.done = trio.Event()
        self.outcome: Outcome | None = None
