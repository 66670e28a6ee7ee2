"""The watcher against a model of it, which has no states: the language of handshakes, written out."""

from collections.abc import Iterator
from copy import deepcopy
from itertools import product
from typing import Final

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from epmdless.errors import RemoteProtocolError
from epmdless.wire.handshake import Side
from epmdless.wire.handshake_watch import Event, State, Watcher
from tests.wire.handshakes import EXAMPLES, framed


def conversations() -> Iterator[tuple[Event, ...]]:
    """Every whole handshake."""
    on = [(Event.OK,), (Event.OK_SIMULTANEOUS,), (Event.NAMED,), (Event.ALIVE, Event.TRUE)]
    off = [(Event.NOK,), (Event.NOT_ALLOWED,), (Event.ALIVE, Event.FALSE)]
    ends = [(Event.REPLY, Event.ACK), (Event.REPLY, Event.NOT_ALLOWED), (Event.NOT_ALLOWED,)]
    for name in (Event.NAME, Event.OLD_NAME):
        yield from ((name, *status) for status in off)
        for status, end in product(on, ends):
            yield (name, *status, Event.OLD_CHALLENGE, *end)
            if name is Event.NAME:
                yield (name, *status, Event.CHALLENGE, *end)
            else:
                yield (name, *status, Event.CHALLENGE, Event.COMPLEMENT, *end)
        if name is Event.OLD_NAME:
            for status, end in product(on, ends[:2]):
                yield (name, *status, Event.CHALLENGE, *end)


WHOLE: Final = set(conversations())
LEGAL: Final = {said[:length] for said in WHOLE for length in range(len(said) + 1)}


def test_the_watcher_takes_what_the_model_takes_and_no_more() -> None:
    for said in LEGAL:
        watcher = Watcher()
        for event in said:
            assert _is_taken(watcher, event)
        assert (watcher.turn is None) == (said in WHOLE)
        if said[-1:] != (Event.ACK,):
            taken = {event for event in Event if _is_taken(deepcopy(watcher), event)}
            assert taken == {event for event in Event if (*said, event) in LEGAL}


def _is_taken(watcher: Watcher, event: Event) -> bool:
    side, message, payload = EXAMPLES[event]
    watcher.receive(side, framed(payload))
    try:
        return watcher.next(side) == message
    except RemoteProtocolError:
        return False


class Handshake(RuleBasedStateMachine):
    """Two sides that speak at any time, in pieces, often out of turn; what they may say is the model's."""

    def __init__(self) -> None:
        super().__init__()
        self.watcher = Watcher()
        self.said: tuple[Event, ...] = ()
        self.waiting: dict[Side, list[Event]] = {side: [] for side in Side}
        self.unread: dict[Side, bytes] = dict.fromkeys(Side, b"")
        self.arrived: dict[Side, int] = dict.fromkeys(Side, 0)

    @property
    def is_up(self) -> bool:
        return self.said[-1:] == (Event.ACK,)

    @precondition(lambda self: not self.is_up)
    @rule(event=st.sampled_from(Event))
    def send_anything(self, event: Event) -> None:
        self._send(event)

    @precondition(lambda self: not self.is_up)
    @rule(pick=st.integers(0, 20))
    def send_what_may_come(self, pick: int) -> None:
        allowed = [event for event in Event if (*self.said, event) in LEGAL]
        if allowed:
            self._send(allowed[pick % len(allowed)])

    def _send(self, event: Event) -> None:
        side, _, payload = EXAMPLES[event]
        self.waiting[side].append(event)
        self.unread[side] += framed(payload)

    @rule(side=st.sampled_from(Side), size=st.integers(0, 60))
    def arrive(self, side: Side, size: int) -> None:
        self.watcher.receive(side, self.unread[side][:size])
        self.arrived[side] += len(self.unread[side][:size])
        self.unread[side] = self.unread[side][size:]

    @precondition(lambda self: not self.is_up)
    @rule(side=st.sampled_from(Side))
    def ask(self, side: Side) -> None:
        event = next(iter(self.waiting[side]), None)
        if event is None or self.arrived[side] < len(framed(EXAMPLES[event][2])):
            assert self.watcher.next(side) is None
        elif (*self.said, event) in LEGAL:
            self.waiting[side].pop(0)
            self.arrived[side] -= len(framed(EXAMPLES[event][2]))
            self.said = (*self.said, event)
            assert self.watcher.next(side) == EXAMPLES[event][1]
        else:
            with pytest.raises(RemoteProtocolError, match=r"^state: "):
                self.watcher.next(side)

    @precondition(lambda self: self.is_up)
    @rule(side=st.sampled_from(Side))
    def take_the_rest(self, side: Side) -> None:
        assert self.watcher.next(side) is None
        assert len(self.watcher.rest(side)) == self.arrived[side]
        self.arrived[side] = 0

    @invariant()
    def the_turn_is_whose_message_moves_it_on(self) -> None:
        speakers = {EXAMPLES[event][0] for event in Event if (*self.said, event) in LEGAL}
        assert self.watcher.turn in speakers if speakers else self.watcher.turn is None
        assert (self.watcher.state is State.ESTABLISHED) == self.is_up


TestHandshake = Handshake.TestCase
