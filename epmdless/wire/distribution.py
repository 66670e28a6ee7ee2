"""What nodes say to each other after the handshake (source: OTP, ERTS manual, Distribution Protocol), for a
hidden node that offers neither an atom cache nor fragments (FLAGS).

A frame is a length word and that many bytes, its payload::

    length:32  112  control message: a term, its version byte first  perhaps a message: another term

A payload of no bytes is a *tick*. A control message is a tuple that begins with the number of the operation.
The conventions of calls are :mod:`epmdless.wire.calls`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from epmdless.errors import LocalProtocolError, RemoteProtocolError
from epmdless.wire.terms import Atom, Opaque, Pid, Reference, Term, decode, decode_prefix, encode

_MANDATORY = 0x4_0307_0F94
_DIST_MONITOR = 0x8
_DIST_MONITOR_NAME = 0x20
_SMALL_ATOM_TAGS = 0x4000
_EXIT_PAYLOAD = 0x40_0000
_SPAWN = 0x1_0000_0000

FLAGS = _MANDATORY | _DIST_MONITOR | _DIST_MONITOR_NAME | _SMALL_ATOM_TAGS | _EXIT_PAYLOAD | _SPAWN
"""What to say in the handshake. Mandatory is what nodes require since OTP 25 and 26. Monitors: the answers to
calls come by the end of a process, which a node tells only if both kinds are known. Short tags of atoms. Exit
reasons as terms of their own. Spawn requests.

Not PUBLISHED: the node is hidden. No atom cache and no fragments: each frame stands for itself. No ALIAS and
no SEND_SENDER: nobody sends us what comes with them."""

MAX_FRAME = 4 * 1024 * 1024
"""The longest payload in bytes. 20,000 names (the most that a source may name) of 100 bytes take 2 MB; 10,000
of 258 bytes, the longest there are in ASCII, 2.6 MB. The length word would allow 4 GiB."""

TICK = bytes(4)
"""The frame that says that we are still there."""

_LENGTH_SIZE = 4
_PASS_THROUGH = b"\x70"
_UNUSED = Atom("")
"""Where a message once carried the cookie."""


class Operation(IntEnum):
    """The control messages that are sent or understood here; SPAWN_REQUEST is not understood."""

    SEND = 2
    REG_SEND = 6
    MONITOR_P_EXIT = 21
    SEND_SENDER = 22
    PAYLOAD_MONITOR_P_EXIT = 28
    SPAWN_REQUEST = 29
    SPAWN_REPLY = 31


_UNDERSTOOD = frozenset(Operation) - {Operation.SPAWN_REQUEST}


@dataclass(frozen=True, slots=True)
class Tick:
    """The other node is still there::

    (no bytes)
    """


@dataclass(frozen=True, slots=True)
class SpawnReply:
    """A process was spawned for a request, or could not be::

    {31, request, to, flags, result}

    `result` is the process's pid, or an atom that says why there is none.
    """

    request: Reference
    flags: int
    result: Pid | Atom


@dataclass(frozen=True, slots=True)
class MonitorExit:
    """A monitored process is gone, or the process that a request asked for, if it was to be monitored::

        {21, from, to, reference, reason}
        {28, from, to, reference}  reason

    `reason` is ``Opaque("undecodable")`` if it comes in a term of its own and cannot be taken in.
    """

    reference: Reference
    reason: Term


@dataclass(frozen=True, slots=True)
class Sent:
    """A message to a process of ours, by its pid or by its name::

        {2, unused, to}            message
        {6, from, unused, to_name} message
        {22, from, to}             message

    `message` is ``Opaque("undecodable")`` if it cannot be taken in.
    """

    to: Pid | Atom
    message: Term


@dataclass(frozen=True, slots=True)
class Ignored:
    """Any other operation: links, monitors, exits, spawn requests, and whatever a later release adds; and
    what nobody waits for, see :func:`decode_payload`.

    A node may say them unasked. Whoever waits for an answer there waits until the link ends.
    """

    operation: int


Event = Tick | SpawnReply | MonitorExit | Sent | Ignored
"""Whatever a frame can mean to us."""

IsAwaited = Callable[[Reference | Pid | Atom], bool]
"""Whether anybody waits for a message: by the reference of a monitor, or by whom it goes to."""


class FrameReader:
    """Cuts what a node sends into frames.

    It holds one payload at the most, and what came behind it in the last bytes.
    """

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes of the link.

        :returns: the payloads that they complete, in order; see :func:`decode_payload`.
        :raises RemoteProtocolError: a payload longer than MAX_FRAME is announced (reason ``oversized``). The
            link is no more use.
        """
        self._buffer += data
        payloads, start = [], 0
        while (end := self._end(start)) is not None and end <= len(self._buffer):
            payloads.append(bytes(self._buffer[start + _LENGTH_SIZE : end]))
            start = end
        del self._buffer[:start]
        return payloads

    def _end(self, start: int) -> int | None:
        """Where the frame ends that begins here; None if not even its length is there."""
        word = self._buffer[start : start + _LENGTH_SIZE]
        if len(word) < _LENGTH_SIZE:
            return None
        length = int.from_bytes(word, "big")
        if length > MAX_FRAME:
            raise RemoteProtocolError("oversized", f"a frame of {length} bytes")
        return start + _LENGTH_SIZE + length


def decode_payload(payload: bytes, is_awaited: IsAwaited = lambda _: True) -> Event:
    """Read a frame's payload, its length word taken off.

    :param is_awaited: a message that is not is Ignored, and not looked at: it may have a hundred thousand
        terms.
    :raises RemoteProtocolError: the link is no more use. Reasons: ``frame`` (of a kind that was not offered),
        ``control`` (not a control message), ``term`` and ``limit`` (see
        :func:`epmdless.wire.terms.decode`; in the control message alone).
    """
    if not payload:
        return Tick()
    if not payload.startswith(_PASS_THROUGH):
        raise RemoteProtocolError("frame", f"a frame that begins with {payload[0]}")
    control, end = decode_prefix(payload, len(_PASS_THROUGH))
    if not isinstance(control, tuple):
        raise RemoteProtocolError("control", "a control message that is no tuple")
    match control:
        case (Operation.SPAWN_REPLY, Reference() as request, _, int() as flags, Pid() | Atom() as result):
            return SpawnReply(request, flags, result)
        case (Operation.MONITOR_P_EXIT, _, _, Reference() as reference, reason):
            return MonitorExit(reference, reason)
        case (
            (Operation.PAYLOAD_MONITOR_P_EXIT as operation, _, _, Reference() as to)
            | (Operation.SEND as operation, _, Pid() as to)
            | (Operation.SEND_SENDER as operation, _, Pid() as to)
            | (Operation.REG_SEND as operation, _, _, Atom() as to)
        ) if not is_awaited(to):
            return Ignored(int(operation))
        case (Operation.PAYLOAD_MONITOR_P_EXIT, _, _, Reference() as reference):
            return MonitorExit(reference, _message(payload, end))
        case (Operation.SEND, _, Pid() as to) | (Operation.SEND_SENDER, _, Pid() as to):
            return Sent(to, _message(payload, end))
        case (Operation.REG_SEND, _, _, Atom() as to_name):
            return Sent(to_name, _message(payload, end))
        case (int() as operation, *_) if operation not in _UNDERSTOOD:
            return Ignored(operation)
    raise RemoteProtocolError("control", f"a control message of {len(control)} elements")


def _message(payload: bytes, start: int) -> Term:
    """The term after a control message; what a process of that node said, so it does not end the link."""
    try:
        return decode(payload[start:])
    except RemoteProtocolError:
        return Opaque("undecodable")


def spawn_request(
    request: Reference,
    sender: Pid,
    leader: Pid,
    module: str,
    function: str,
    arguments: Sequence[Term],
    options: Sequence[Term],
) -> bytes:
    """Write the frame that asks for a process::

        {29, request, sender, leader, {module, function, arity}, options}  arguments

    :param leader: the new process's group leader, which gets what it prints.
    :param options: of ``erlang:spawn_request/5``, less ``reply_tag``, which stays with the one who asks.
    :raises LocalProtocolError: see :func:`epmdless.wire.terms.encode`; or more than MAX_FRAME bytes.
    """
    what = (Atom(module), Atom(function), len(arguments))
    control = (Operation.SPAWN_REQUEST.value, request, sender, leader, what, list(options))
    return _frame(control, list(arguments))


def reg_send(sender: Pid, name: str, message: Term) -> bytes:
    """Write the frame that sends a message to a registered process::

        {6, sender, '', name}  message

    :raises LocalProtocolError: as :func:`spawn_request`.
    """
    return _frame((Operation.REG_SEND.value, sender, _UNUSED, Atom(name)), message)


def _frame(control: Term, message: Term) -> bytes:
    payload = _PASS_THROUGH + encode(control) + encode(message)
    if len(payload) > MAX_FRAME:
        raise LocalProtocolError(f"a frame of {len(payload)} bytes")
    return len(payload).to_bytes(_LENGTH_SIZE, "big") + payload
