"""Frames after the handshake: what real nodes sent, cut anywhere and changed, and what we send."""

import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epmdless.errors import LocalProtocolError, RemoteProtocolError
from epmdless.wire.distribution import (
    FLAGS,
    MAX_FRAME,
    TICK,
    Event,
    FrameReader,
    Ignored,
    MonitorExit,
    Sent,
    SpawnReply,
    Tick,
    decode_payload,
    reg_send,
    spawn_request,
)
from epmdless.wire.handshake import DIST_HDR_ATOM_CACHE, FRAGMENTS, HANDSHAKE_23, PUBLISHED
from epmdless.wire.terms import LIMITS, Atom, Opaque, Pid, Term, decode, decode_prefix, encode
from tests.wire.erlang_frames import EVENTS, FRAMES, PID, RELEASES, payload, reference
from tests.wire.erlang_terms import TERMS

REASONS = {"frame", "control", "term", "limit"}
"""Why a payload can be refused."""

MANDATORY = 0x4_0307_0F94
"""PROTOCOL.md §2."""

ALL = [(otp, title) for otp in RELEASES for title in FRAMES[otp]]
THEIRS = Pid(Atom("b@b.example"), 90, 0, 5)

by_payload = pytest.mark.parametrize(("otp", "title"), ALL)


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


def payload_of(control: Term, message: Term | None = None) -> bytes:
    """A payload as a node writes it."""
    return b"\x70" + encode(control) + (b"" if message is None else encode(message))


def outcome(body: bytes) -> Event | str:
    """What is made of a payload: an event, or the word of its refusal; nothing else gets out."""
    try:
        return decode_payload(body)
    except RemoteProtocolError as error:
        if error.reason in REASONS:
            return error.reason
        raise


def test_what_is_offered() -> None:
    assert FLAGS & MANDATORY == MANDATORY
    assert FLAGS & HANDSHAKE_23
    assert not FLAGS & (PUBLISHED | DIST_HDR_ATOM_CACHE | FRAGMENTS)
    assert FLAGS == 0x5_0347_4FBC, "with what the captured links were made"


# What nodes say.


@pytest.mark.parametrize("otp", RELEASES)
@pytest.mark.parametrize("title", EVENTS)
def test_what_a_node_sent_is_the_event_that_it_means(otp: str, title: str) -> None:
    assert decode_payload(payload(otp, title)) == EVENTS[title]


@pytest.mark.parametrize("otp", RELEASES)
def test_a_spawned_process_is_told_by_its_pid(otp: str) -> None:
    reply = decode_payload(payload(otp, "spawned"))
    assert isinstance(reply, SpawnReply)
    assert (reply.request, reply.flags) == (reference(1), 2), "flag 2: it is monitored"
    assert isinstance(reply.result, Pid)
    assert reply.result.node == "vector@127.0.0.1"


@by_payload
def test_a_payload_cut_anywhere_is_refused_or_has_an_undecodable_message(otp: str, title: str) -> None:
    whole = payload(otp, title)
    _, control_end = decode_prefix(whole, 1)
    event = decode_payload(whole)
    for end in range(1, len(whole)):
        cut = outcome(whole[:end])
        if end < control_end:
            assert cut == "term"
        elif isinstance(event, Ignored):
            assert cut == event
        else:
            assert isinstance(event, MonitorExit | Sent)
            assert undecodable(event) == cut


def undecodable(event: MonitorExit | Sent) -> Event:
    """The same event, its message not taken in."""
    if isinstance(event, MonitorExit):
        return MonitorExit(event.reference, Opaque("undecodable"))
    return Sent(event.to, Opaque("undecodable"))


def test_a_payload_of_no_bytes_is_a_tick() -> None:
    assert decode_payload(b"") == Tick()


@pytest.mark.parametrize(
    ("body", "event"),
    [
        (payload_of((2, Atom(""), PID), 1), Sent(PID, 1)),
        (payload_of((22, THEIRS, PID), 1), Sent(PID, 1)),
        (payload_of((6, THEIRS, Atom(""), Atom("rex")), 1), Sent(Atom("rex"), 1)),
        (payload_of((21, THEIRS, PID, reference(3), [1])), MonitorExit(reference(3), [1])),
        (payload_of((21, Atom("rex"), PID, reference(3), [1])), MonitorExit(reference(3), [1])),
        (payload_of((28, THEIRS, PID, reference(3)), [1]), MonitorExit(reference(3), [1])),
        (payload_of((31, reference(3), PID, 1, THEIRS)), SpawnReply(reference(3), 1, THEIRS)),
        (payload_of((1, THEIRS, PID)), Ignored(1)),
        (payload_of((24, THEIRS, PID), Atom("normal")), Ignored(24)),
        (payload_of((29, reference(1), THEIRS, THEIRS, (PID.node, PID.node, 0), []), []), Ignored(29)),
        (payload_of((35, 1, THEIRS, PID)), Ignored(35)),
        (payload_of((12, Atom(""), PID, ()), 1), Ignored(12)),
        (payload_of((9999,)), Ignored(9999)),
    ],
)
def test_each_operation_by_hand(body: bytes, event: Event) -> None:
    assert decode_payload(body) == event


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\x83\x44\0" + encode((2, Atom(""), PID)), "frame"),
        (b"\x83\x45" + bytes(16), "frame"),
        (b"\x83\x46" + bytes(16), "frame"),
        (encode((2, Atom(""), PID)), "frame"),
        (b"\0", "frame"),
        (b"\x70", "term"),
        (b"\x70\x83", "term"),
        (b"\x70" + b"\x83\x50" + bytes(4), "term"),
        (b"\x70\x83" + b"\x68\x01" * 10_000, "limit"),
        (payload_of([2, Atom(""), PID], 1), "control"),
        (payload_of(()), "control"),
        (payload_of(2), "control"),
        (payload_of((Atom("x"), 1)), "control"),
        (payload_of((2,), 1), "control"),
        (payload_of((2, Atom(""), Atom("rex")), 1), "control"),
        (payload_of((2, Atom(""), PID, 1), 1), "control"),
        (payload_of((6, THEIRS, Atom(""), PID), 1), "control"),
        (payload_of((21, THEIRS, PID, 7, [1])), "control"),
        (payload_of((28, THEIRS, PID, reference(3), 1)), "control"),
        (payload_of((31, reference(3), PID, THEIRS, THEIRS)), "control"),
        (payload_of((31, reference(3), PID, 0, [])), "control"),
        (payload_of((31, 3, PID, 0, THEIRS)), "control"),
    ],
)
def test_what_no_node_says_ends_the_link(body: bytes, reason: str) -> None:
    assert outcome(body) == reason


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x83",
        b"\x83\x50\0\0\0\0",
        b"\x83\x6a\x83\x6a",
        b"\x83" + b"\x68\x01" * 10_000,
        encode([0] * (LIMITS.items - 2))[:-1] + b"\x6c" + bytes(4) + b"\x6a",
        b"\x83\x6f" + (2000).to_bytes(4, "big") + bytes(2001),
    ],
)
def test_a_message_that_cannot_be_taken_in_does_not_end_the_link(message: bytes) -> None:
    assert outcome(payload_of((2, Atom(""), PID)) + message) == Sent(PID, Opaque("undecodable"))
    gone = outcome(payload_of((28, THEIRS, PID, reference(1))) + message)
    assert gone == MonitorExit(reference(1), Opaque("undecodable"))


def test_the_message_of_what_is_ignored_is_not_looked_at() -> None:
    assert outcome(payload_of((24, THEIRS, PID)) + b"\x83\x50 anything") == Ignored(24)


@pytest.mark.parametrize(
    ("control", "to"),
    [
        ((2, Atom(""), PID), PID),
        ((6, THEIRS, Atom(""), Atom("rex")), Atom("rex")),
        ((22, THEIRS, PID), PID),
        ((28, THEIRS, PID, reference(1)), reference(1)),
    ],
)
def test_a_message_that_nobody_waits_for_is_not_looked_at(control: Term, to: Term) -> None:
    payload = payload_of(control) + encode(Atom("hello"))
    assert isinstance(control, tuple)
    assert decode_payload(payload, lambda key: key != to) == Ignored(int(str(control[0])))
    assert not isinstance(decode_payload(payload, lambda key: key == to), Ignored)


@given(st.sampled_from(ALL), st.data())
def test_what_a_node_sent_and_something_changed_is_an_event_or_is_refused(
    chosen: tuple[str, str], data: st.DataObject
) -> None:
    body = bytearray(payload(*chosen))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body)))
        body[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    assert outcome(bytes(body)) is not None


@given(st.binary(max_size=100))
def test_any_bytes_are_an_event_or_are_refused(body: bytes) -> None:
    assert outcome(body) is not None
    assert outcome(b"\x70\x83" + body) is not None


# Frames.

BODIES = st.lists(st.binary(max_size=40), max_size=8)


@given(BODIES, st.data())
def test_a_stream_cut_anywhere_gives_the_same_payloads(bodies: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(map(framed, bodies))
    places = data.draw(st.lists(st.integers(0, len(stream)), max_size=8))
    reader = FrameReader()
    found = [
        body
        for start, end in pairwise(sorted([0, *places, len(stream)]))
        for body in reader.feed(stream[start:end])
    ]
    assert found == bodies


@given(BODIES)
def test_each_payload_is_there_with_its_last_byte_and_not_before(bodies: list[bytes]) -> None:
    reader = FrameReader()
    for body in bodies:
        frame = framed(body)
        for place in range(len(frame) - 1):
            assert reader.feed(frame[place : place + 1]) == []
        assert reader.feed(frame[-1:]) == [body]


def test_a_tick_is_a_frame_of_no_bytes() -> None:
    assert FrameReader().feed(TICK * 3 + framed(b"x")) == [b"", b"", b"", b"x"]


def test_the_longest_frame_is_taken_and_one_byte_more_is_refused_at_once() -> None:
    longest = bytes(MAX_FRAME)
    assert FrameReader().feed(framed(longest) + TICK) == [longest, b""]
    for length in (MAX_FRAME + 1, 0xFFFFFFFF):
        with pytest.raises(RemoteProtocolError) as caught:
            FrameReader().feed(length.to_bytes(4, "big"))
        assert caught.value.reason == "oversized"


def test_a_length_that_comes_byte_by_byte_is_refused_with_its_last_byte() -> None:
    reader = FrameReader()
    assert [reader.feed(b"\xff") for _ in range(3)] == [[], [], []]
    with pytest.raises(RemoteProtocolError):
        reader.feed(b"\xff")


def test_a_frame_that_is_announced_takes_memory_as_it_comes() -> None:
    tracemalloc.start()
    try:
        reader = FrameReader()
        reader.feed(MAX_FRAME.to_bytes(4, "big") + bytes(1000))
        assert tracemalloc.get_traced_memory()[1] < 100_000
        for _ in range(200):
            assert reader.feed(bytes(20_000)) == []
        assert tracemalloc.get_traced_memory()[1] < 2 * MAX_FRAME
    finally:
        tracemalloc.stop()


def test_a_list_of_as_many_names_as_a_source_may_say_fits() -> None:
    names: list[Term] = [Atom(f"app-{number}@host-{number}.".ljust(100, "x")) for number in range(20_000)]
    reason: Term = (reference(1), Atom("return"), names)
    (body,) = FrameReader().feed(framed(payload_of((28, THEIRS, PID, reference(1)), reason)))
    assert decode_payload(body) == MonitorExit(reference(1), reason)


# What we say.


def test_a_spawn_request_in_its_bytes() -> None:
    frame = spawn_request(reference(1), PID, THEIRS, "lists", "sum", [[1, 2]], [Atom("monitor")])
    own = b"\x77\x12epmdless@127.0.0.1"
    control = b"".join(
        [
            b"\x83\x68\x06\x61\x1d",
            b"\x5a\0\x03" + own + b"\0\0\0\x4d\0\0\0\x01\0\0\0\0\0\0\0\x09",
            b"\x58" + own + b"\0\0\0\x01\0\0\0\0\0\0\0\x4d",
            b"\x58\x77\x0bb@b.example\0\0\0\x5a\0\0\0\0\0\0\0\x05",
            b"\x68\x03\x77\x05lists\x77\x03sum\x61\x01",
            b"\x6c\0\0\0\x01\x77\x07monitor\x6a",
        ]
    )
    arguments = b"\x83\x6c\0\0\0\x01\x6c\0\0\0\x02\x61\x01\x61\x02\x6a\x6a"
    assert frame == framed(b"\x70" + control + arguments)


def test_a_message_to_a_name_in_its_bytes() -> None:
    control = (
        b"\x83\x68\x04\x61\x06\x58\x77\x12epmdless@127.0.0.1\0\0\0\x01\0\0\0\0\0\0\0\x4d\x77\0\x77\x03rex"
    )
    assert reg_send(PID, "rex", Atom("hello")) == framed(b"\x70" + control + b"\x83\x77\x05hello")


@given(st.lists(TERMS, max_size=4))
def test_arguments_go_out_as_they_are(arguments: list[Term]) -> None:
    (body,) = FrameReader().feed(spawn_request(reference(1), PID, PID, "m", "f", arguments, []))
    control, end = decode_prefix(body, 1)
    assert control == (29, reference(1), PID, PID, (Atom("m"), Atom("f"), len(arguments)), [])
    assert repr(decode(body[end:])) == repr(arguments)


@given(TERMS)
def test_a_message_that_we_send_would_be_taken_in(message: Term) -> None:
    (body,) = FrameReader().feed(reg_send(PID, "rex", message))
    assert repr(decode_payload(body)) == repr(Sent(Atom("rex"), message))


def test_more_than_a_frame_is_not_sent() -> None:
    with pytest.raises(LocalProtocolError, match="a frame of"):
        reg_send(PID, "rex", bytes(MAX_FRAME))
    with pytest.raises(LocalProtocolError):
        reg_send(PID, "x" * 256, 1)
    with pytest.raises(LocalProtocolError):
        spawn_request(reference(1), PID, PID, "m", "f", [float("nan")], [])
