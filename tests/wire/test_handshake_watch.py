"""The watcher: captured links, the whole product of states and messages, and limits."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epmdless.errors import RemoteProtocolError
from epmdless.wire.handshake import MAX_MESSAGE, Framing, Message, Side, encode
from epmdless.wire.handshake_watch import MAX_HELD, READ_SIZE, TABLE, TURNS, Event, State, Watcher, event_of
from tests.wire.handshakes import EXAMPLES, LINKS, PAYLOADS, REASONS, Link, framed

REFUSALS: Final = REASONS | {"state"}

PATHS: Final[Mapping[State, Sequence[Event]]] = {
    State.NAME: [],
    State.STATUS: [Event.NAME],
    State.ALIVE: [Event.NAME, Event.ALIVE],
    State.CHALLENGE: [Event.NAME, Event.OK],
    State.REPLY: [Event.NAME, Event.OK, Event.CHALLENGE],
    State.REPLY_AFTER_OLD: [Event.OLD_NAME, Event.OK, Event.CHALLENGE],
    State.ACK: [Event.NAME, Event.OK, Event.CHALLENGE, Event.REPLY],
    State.ESTABLISHED: [Event.NAME, Event.OK, Event.CHALLENGE, Event.REPLY, Event.ACK],
    State.REFUSED: [Event.NAME, Event.NOK],
    State.GAVE_UP: [Event.NAME, Event.ALIVE, Event.FALSE],
}
"""What is said to get to each state."""

OVER: Final = (State.ESTABLISHED, State.REFUSED, State.GAVE_UP)

by_title = pytest.mark.parametrize("link", LINKS, ids=[link.title for link in LINKS])
by_framing = pytest.mark.parametrize("framing", Framing)


def reach(state: State, framing: Framing = Framing.TCP) -> Watcher:
    """Bring a watcher to a state, by a conversation."""
    watcher = Watcher(framing)
    for event in PATHS[state]:
        say(watcher, event)
    assert watcher.state is state
    return watcher


def say(watcher: Watcher, event: Event) -> None:
    """Let a watcher hear the example of a message."""
    side, message, payload = EXAMPLES[event]
    watcher.receive(side, framed(payload, watcher.framing))
    assert watcher.next(side) == message


def hear(watcher: Watcher, side: Side, data: bytes) -> Message | str | None:
    """What a watcher makes of bytes: a message, None, or the word of its refusal; nothing else gets out."""
    try:
        watcher.receive(side, data)
        return watcher.next(side)
    except RemoteProtocolError as error:
        if error.reason in REFUSALS:
            return error.reason
        raise


def follow(watcher: Watcher, chunks: Sequence[tuple[Side, bytes]]) -> list[Message]:
    """Give a watcher chunks in order, taking messages until the link is up; then chunks only."""
    said = []
    for side, data in chunks:
        watcher.receive(side, data)
        while (message := watcher.next(side)) is not None:
            said.append(message)
    return said


# Captured links.


@by_title
def test_a_captured_link_is_followed_and_the_rest_is_its_frames(link: Link) -> None:
    watcher = Watcher()
    said = follow(watcher, link.chunks)
    assert [encode(message) for message in said] == [payload for _, payload in link.payloads()]
    assert watcher.state is State.ESTABLISHED
    for side in Side:
        assert watcher.rest(side) == link.frames(side)
        assert watcher.rest(side) == b""
    assert all(len(link.frames(side)) > 100 for side in Side)


@by_title
@by_framing
def test_a_link_byte_by_byte_gives_each_message_with_its_last_byte(link: Link, framing: Framing) -> None:
    watcher = Watcher(framing)
    for side, payload in link.payloads():
        *start, last = (bytes([byte]) for byte in framed(payload, framing))
        assert watcher.turn is side
        assert [hear(watcher, side, byte) for byte in start] == [None] * len(start)
        message = hear(watcher, side, last)
        assert message is not None
        assert not isinstance(message, str)
        assert encode(message) == payload
    assert watcher.state is State.ESTABLISHED


@by_framing
@given(link=st.sampled_from(LINKS), data=st.data())
def test_any_splitting_of_a_link_says_the_same(framing: Framing, link: Link, data: st.DataObject) -> None:
    frames = [(side, link.frames(side)[:200]) for side in Side]
    chunks = [(side, framed(payload, framing)) for side, payload in link.payloads()] + frames
    watcher = Watcher(framing)
    said = follow(watcher, [part for side, whole in chunks for part in _cut(side, whole, data)])
    assert [encode(message) for message in said] == [payload for _, payload in link.payloads()]
    assert [(side, watcher.rest(side)) for side in Side] == frames


def _cut(side: Side, whole: bytes, data: st.DataObject) -> Iterator[tuple[Side, bytes]]:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=4)))
    for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        yield side, whole[start:end]


@by_title
def test_messages_wait_until_they_are_asked_for(link: Link) -> None:
    """Everything of one side in one read: what was read behind the ack is the link's."""
    watcher = Watcher()
    reads = {side: link.stream(side)[:READ_SIZE] for side in Side}
    for side, read in reads.items():
        watcher.receive(side, read)
    for side, payload in link.payloads():
        message = watcher.next(side)
        assert message is not None
        assert encode(message) == payload
    for side in Side:
        assert watcher.next(side) is None
        rest = watcher.rest(side)
        assert link.frames(side).startswith(rest)
        assert len(reads[side]) - len(rest) == len(link.stream(side)) - len(link.frames(side))


@given(st.sampled_from(PAYLOADS), st.integers(0, 60), st.integers(0, 255), st.binary(max_size=3))
def test_a_mutated_link_is_followed_or_refused(
    mutated: tuple[Link, Side, bytes], at: int, value: int, inserted: bytes
) -> None:
    link, _, victim = mutated
    watcher = Watcher()
    for side, payload in link.payloads():
        wire = bytearray(framed(payload))
        if payload == victim:
            wire[at % len(wire)] = value
            wire[at % len(wire) : at % len(wire)] = inserted
        if isinstance(hear(watcher, side, bytes(wire)), str):
            return
    assert watcher.state is not State.NAME


# The state table.


def test_every_state_can_be_reached_and_has_a_row() -> None:
    assert set(PATHS) == set(TABLE) == set(State)
    for state in State:
        assert reach(state).turn is TURNS.get(state)


def test_it_is_somebodys_turn_until_the_handshake_is_over() -> None:
    assert {state for state in State if state not in TURNS} == set(OVER)
    for state, side in TURNS.items():
        assert side in {who for who, _ in TABLE[state]}


@by_framing
@pytest.mark.parametrize(("state", "event"), list(product(State, Event)))
def test_a_message_is_taken_where_the_table_says_so_and_nowhere_else(
    state: State, event: Event, framing: Framing
) -> None:
    side, message, payload = EXAMPLES[event]
    watcher = reach(state, framing)
    seen = hear(watcher, side, framed(payload, framing))
    if state is State.ESTABLISHED:
        assert seen is None
        assert watcher.rest(side) == framed(payload, framing)
    elif (side, event) in TABLE[state]:
        assert seen == message
        assert watcher.state is TABLE[state][side, event]
    else:
        assert seen == "state"
        assert watcher.state is state
        assert hear(watcher, side, b"") == "state"  # and it does not go away


@pytest.mark.parametrize(("state", "event"), list(product(TURNS, Event)))
def test_a_message_from_the_side_that_never_says_it_is_refused(state: State, event: Event) -> None:
    side, _, payload = EXAMPLES[event]
    watcher = reach(state)
    if (state, event) == (State.NAME, Event.OLD_CHALLENGE):
        payload = payload.replace(b"\xfe", b"\0")  # else it reads as an old name, with an odd one in it
    assert isinstance(hear(watcher, side.other, framed(payload)), str)
    assert watcher.state is state


def test_the_table_names_only_what_a_side_says() -> None:
    for row in TABLE.values():
        for side, event in row:
            assert EXAMPLES[event][0] is side


@pytest.mark.parametrize("event", Event)
def test_a_message_is_known_by_its_word(event: Event) -> None:
    assert event_of(EXAMPLES[event][1]) is event


@pytest.mark.parametrize(
    "said",
    [
        [Event.OLD_NAME, Event.OK, Event.CHALLENGE, Event.COMPLEMENT, Event.REPLY, Event.ACK],
        [Event.OLD_NAME, Event.ALIVE, Event.TRUE, Event.CHALLENGE, Event.COMPLEMENT, Event.REPLY, Event.ACK],
        [Event.OLD_NAME, Event.OK_SIMULTANEOUS, Event.OLD_CHALLENGE, Event.REPLY, Event.ACK],
        [Event.NAME, Event.NAMED, Event.CHALLENGE, Event.REPLY, Event.ACK],
        [Event.NAME, Event.ALIVE, Event.TRUE, Event.CHALLENGE, Event.REPLY, Event.ACK],
    ],
    ids="-".join,
)
@by_framing
def test_conversations_that_no_vector_holds_come_to_a_link(said: Sequence[Event], framing: Framing) -> None:
    watcher = Watcher(framing)
    for event in said:
        say(watcher, event)
    assert watcher.state is State.ESTABLISHED


def test_a_side_that_refuses_the_complement_is_heard_before_and_after_the_reply() -> None:
    for said in ([], [Event.REPLY]):
        watcher = reach(State.REPLY_AFTER_OLD)
        for event in [Event.COMPLEMENT, *said, Event.NOT_ALLOWED]:
            say(watcher, event)
        assert watcher.state is State.REFUSED


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("side", Side)
def test_nothing_received_is_nothing_said(state: State, side: Side) -> None:
    watcher = reach(state)
    assert watcher.next(side) is None
    assert watcher.rest(side) == b""
    assert watcher.state is state


# Limits.


@by_framing
@pytest.mark.parametrize("side", Side)
def test_a_length_word_above_the_limit_is_refused_at_once(side: Side, framing: Framing) -> None:
    for size in (MAX_MESSAGE + 1, 256**framing - 1):
        watcher = Watcher(framing)
        *start, last = size.to_bytes(framing, "big")
        watcher.receive(side, bytes(start))
        with pytest.raises(RemoteProtocolError, match="oversized"):
            watcher.receive(side, bytes([last]))


@by_framing
def test_the_longest_message_passes(framing: Framing) -> None:
    _, _, payload = EXAMPLES[Event.NAME]
    watcher = Watcher(framing)
    message = hear(watcher, Side.NEAR, framed(payload.ljust(MAX_MESSAGE, b"\0"), framing))
    assert message is not None
    assert not isinstance(message, str)
    assert len(encode(message)) == MAX_MESSAGE


def test_a_length_word_above_the_limit_behind_a_message_is_refused() -> None:
    _, message, payload = EXAMPLES[Event.NAME]
    watcher = Watcher()
    assert hear(watcher, Side.NEAR, framed(payload) + b"\xff\xff") == message
    assert hear(watcher, Side.NEAR, b"") == "oversized"


@by_framing
@pytest.mark.parametrize("side", Side)
def test_an_empty_message_is_refused(side: Side, framing: Framing) -> None:
    assert hear(Watcher(framing), side, bytes(framing)) == "short"


@pytest.mark.parametrize("side", Side)
def test_what_waits_is_bounded(side: Side) -> None:
    watcher = Watcher()
    watcher.receive(side, framed(b"N" + bytes(100)).ljust(READ_SIZE, b"x"))
    watcher.receive(side, bytes(MAX_HELD - READ_SIZE))
    with pytest.raises(RemoteProtocolError, match="oversized"):
        watcher.receive(side, b"x")
    assert len(watcher.rest(side)) == MAX_HELD


def test_a_full_read_fits_behind_the_longest_message_cut_short() -> None:
    watcher = reach(State.ACK)
    watcher.receive(Side.FAR, b"\0")
    ack = framed(EXAMPLES[Event.ACK][2])[1:]
    watcher.receive(Side.FAR, ack.ljust(READ_SIZE, b"f"))
    assert watcher.next(Side.FAR) == EXAMPLES[Event.ACK][1]
    assert watcher.rest(Side.FAR) == b"f" * (READ_SIZE - len(ack))


def test_frames_may_look_like_anything_once_the_link_is_up() -> None:
    watcher = reach(State.ESTABLISHED)
    for side in Side:
        watcher.receive(side, b"\xff" * MAX_HELD)
        watcher.receive(side, b"\xff")
        assert watcher.next(side) is None
        assert watcher.rest(side) == b"\xff" * (MAX_HELD + 1)


def test_a_watcher_shows_no_secret() -> None:
    watcher = reach(State.ESTABLISHED)
    watcher.receive(Side.NEAR, b"secret")
    assert "secret" not in repr(watcher)
    with pytest.raises(RemoteProtocolError) as caught:
        say(reach(State.STATUS), Event.REPLY)
    assert str(caught.value) == "state: reply from the near side in state status"
