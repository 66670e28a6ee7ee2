"""Handshakes through a relay: each way they go, each way they are broken off, whatever is said wrongly."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epmdless.links.ends import End
from epmdless.wire.handshake import MAX_MESSAGE, Message, Side, Status, StatusKind, StatusReply
from epmdless.wire.handshake_watch import TABLE
from tests.relay.scripts import NEAR, SCRIPTS, Script, code_for_leaving, state_after
from tests.support.link_sides import (
    HANDSHAKE,
    NAME,
    Far,
    FarHost,
    Near,
    Peer,
    frame,
    framed,
    goes_on,
    linked,
    passes,
    play,
)
from tests.support.relays import RelayHere, dialling, relay_to
from tests.wire.handshakes import EXAMPLES

SOME_SCRIPTS = [SCRIPTS["plain"], SCRIPTS["alive"], SCRIPTS["old name"]]
"""Among them they go through every state."""

TLS_HANDSHAKE = 22

FIRST_FRAMES = frame(b"first") + frame(b"") + frame(b"second")


def other(side: Side, near: Near, far: Far) -> Peer:
    return far if side is NEAR else near


def this(side: Side, near: Near, far: Far) -> Peer:
    return near if side is NEAR else far


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_every_handshake_passes_as_it_is_and_its_link_carries(script: Script) -> None:
    with FarHost() as far_host, relay_to(far_host) as relay, dialling(far_host) as near:
        far = linked(near, far_host, script)
        assert passes(near, far)
        assert passes(far, near)
        near.close()
        assert far.end() == (b"", "closed")
        far.close()
        assert relay.code_of(near) == "near_closed"


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_frames_right_behind_the_last_messages_arrive(script: Script) -> None:
    with FarHost() as far_host, relay_to(far_host) as relay, dialling(far_host) as near:
        far = play(near, far_host, script[:-1])
        assert far is not None
        far.sock.sendall(framed(script[-1][1]) + FIRST_FRAMES)
        assert near.hear() == script[-1][1]
        assert near.read(len(FIRST_FRAMES)) == FIRST_FRAMES
        (view,) = relay.wait_for_links(1)
        assert view["far_to_near"]["bytes"] == len(FIRST_FRAMES)
        assert (view["far_to_near"]["frames"], view["far_to_near"]["ticks"]) == (2, 1)


@pytest.mark.parametrize("script", SOME_SCRIPTS)
def test_a_handshake_in_single_bytes_passes(script: Script) -> None:
    with FarHost() as far_host, relay_to(far_host), dialling(far_host) as near:
        far: Far | None = None
        held: list[Message] = []
        for side, message in script:
            speaker = near if side is NEAR else far
            assert speaker is not None
            for byte in framed(message):
                speaker.sock.sendall(bytes([byte]))
            if side is NEAR:
                far = far or far_host.accept()
                assert far.hear() == message
                continue
            held.append(message)
            if not goes_on(message):
                assert [near.hear() for _ in held] == held
                held.clear()
        assert far is not None
        assert passes(near, far)


@pytest.mark.parametrize("how", ["closed", "reset"])
@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_a_near_side_that_leaves_at_any_step_is_told_to_the_far_side(script: Script, how: str) -> None:
    with FarHost() as far_host, relay_to(far_host) as relay:
        for step in range(len(script) + 1):
            with dialling(far_host) as near:
                far = play(near, far_host, script[:step])
                leave(near, how)
                if far is not None:
                    assert far.sees_the_end(), step
                    far.close()
                assert relay.code_of(near) == code_for_leaving(NEAR, how, script[:step]), step


@pytest.mark.parametrize("how", ["closed", "reset"])
@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_a_far_side_that_leaves_at_any_step_is_told_to_the_near_side(script: Script, how: str) -> None:
    with FarHost() as far_host, relay_to(far_host) as relay:
        for step in range(1, len(script) + 1):
            with dialling(far_host) as near:
                far = play(near, far_host, script[:step])
                assert far is not None
                leave(far, how)
                assert near.sees_the_end(), step
                near.close()
                assert relay.code_of(near) == code_for_leaving(Side.FAR, how, script[:step]), step


def leave(peer: Peer, how: str) -> None:
    if how == "reset":
        peer.reset()
    else:
        peer.close()


@pytest.mark.parametrize("script", SOME_SCRIPTS)
def test_each_message_cut_at_every_byte_ends_both_sides(script: Script) -> None:
    with FarHost() as far_host, relay_to(far_host) as relay:
        for step, (side, message) in enumerate(script):
            whole = framed(message)
            for cut in range(1, len(whole)):
                with dialling(far_host) as near:
                    far = play(near, far_host, script[:step])
                    speaker = near if far is None or side is NEAR else far
                    speaker.sock.sendall(whole[:cut])
                    speaker.close()
                    if far is not None:
                        assert other(side, near, far).sees_the_end(), (step, cut)
                        far.close()
                    assert relay.code_of(near) == code_for_leaving(side, "closed", script[:step])


def wrong_messages(script: Script) -> Iterator[tuple[int, Side, Message]]:
    """Each step of a script, with each message that a side may not say then."""
    for step in range(len(script)):
        state = state_after(script[:step])
        for event, (side, message, _) in EXAMPLES.items():
            if (side, event) not in TABLE[state] and (step or side is NEAR):
                yield step, side, message


@pytest.mark.parametrize("script", SOME_SCRIPTS)
def test_what_may_not_be_said_in_a_state_ends_both_sides(script: Script) -> None:
    with FarHost() as far_host, relay_to(far_host) as relay:
        wrong = list(wrong_messages(script))
        for step, side, message in wrong:
            with dialling(far_host) as near:
                far = play(near, far_host, script[:step])
                (near if far is None else this(side, near, far)).say(message)
                assert near.sees_the_end(), (step, message)
                assert far is None or far.sees_the_end(), (step, message)
                assert relay.code_of(near) == "handshake_malformed", (step, message)
        assert relay.ended("handshake_malformed") == len(wrong) > 40


@pytest.mark.parametrize("script", SOME_SCRIPTS)
def test_a_message_said_twice_at_once_ends_both_sides(script: Script) -> None:
    """All but the last, behind which frames may come."""
    with FarHost() as far_host, relay_to(far_host) as relay:
        for step, (side, message) in enumerate(script[:-1]):
            with dialling(far_host) as near:
                far = play(near, far_host, script[:step])
                (near if far is None else this(side, near, far)).say(message, message)
                if far is None:
                    far = far_host.accept()
                near.end()
                far.end()
                assert relay.code_of(near) == "handshake_malformed", step


@pytest.mark.parametrize("size", [MAX_MESSAGE + 1, 0x1500, 0xFFFF])
@pytest.mark.parametrize("side", list(Side))
def test_an_oversized_message_ends_both_sides_before_it_is_read(side: Side, size: int) -> None:
    with FarHost() as far_host, relay_to(far_host) as relay:
        for step in range(0 if side is NEAR else 1, len(HANDSHAKE)):
            with dialling(far_host) as near:
                far = play(near, far_host, HANDSHAKE[:step])
                (near if far is None else this(side, near, far)).sock.sendall(size.to_bytes(2, "big"))
                assert near.sees_the_end(), step
                assert far is None or far.sees_the_end(), step
                assert relay.code_of(near) == "handshake_malformed", step


@pytest.mark.parametrize("side", list(Side))
def test_an_empty_message_ends_both_sides(side: Side) -> None:
    with FarHost() as far_host, relay_to(far_host) as relay:
        for step in range(0 if side is NEAR else 1, len(HANDSHAKE)):
            with dialling(far_host) as near:
                far = play(near, far_host, HANDSHAKE[:step])
                (near if far is None else this(side, near, far)).sock.sendall(b"\0\0")
                assert near.sees_the_end(), step
                assert relay.code_of(near) == "handshake_malformed", step


@pytest.mark.parametrize("script", SOME_SCRIPTS)
def test_whoever_falls_silent_both_sides_are_told_when_the_time_is_up(script: Script) -> None:
    with FarHost() as far_host, relay_to(far_host, setup_timeout="300ms") as relay, ExitStack() as stack:
        waiting = []
        for step in range(len(script)):
            near = stack.enter_context(dialling(far_host))
            waiting.append((near, play(near, far_host, script[:step])))
        for near, far in waiting:
            assert near.sees_the_end()
            assert far is None or far.sees_the_end()
            assert relay.code_of(near) == "handshake_timed_out"


@pytest.mark.parametrize(("kind", "code"), [("nok", "far_nok"), ("not_allowed", "far_not_allowed")])
@pytest.mark.parametrize("junk", [b"", b"\xff\xff", framed(NAME)])
def test_a_refusal_of_the_far_node_is_passed_on_and_names_the_end(kind: str, code: str, junk: bytes) -> None:
    """After nok the near node keeps its end open until its other connection has won, so it says when."""
    refusal = Status(StatusKind(kind))
    with FarHost() as far_host, relay_to(far_host) as relay, dialling(far_host) as near:
        far = linked(near, far_host, HANDSHAKE[:1])
        far.say(refusal)
        assert near.hear() == refusal
        far.close()
        assert relay.ends_of(near) == []
        near.sock.sendall(junk)
        near.close()
        assert relay.code_of(near) == code


def test_the_far_node_may_refuse_as_late_as_the_flags_are_known() -> None:
    refusal = Status(StatusKind.NOT_ALLOWED)
    with FarHost() as far_host, relay_to(far_host) as relay:
        for step in (3, 4):
            with dialling(far_host) as near:
                far = linked(near, far_host, HANDSHAKE[:step])
                far.say(refusal)
                assert near.hear() == refusal
                near.close()
                assert far.sees_the_end()
                assert relay.code_of(near) == "far_not_allowed"


@pytest.mark.parametrize("leaver", list(Side))
def test_a_near_node_that_gives_its_older_link_the_preference_ends_as_far_alive(leaver: Side) -> None:
    alive, gives_up = Status(StatusKind.ALIVE), StatusReply(goes_on=False)
    with FarHost() as far_host, relay_to(far_host) as relay, dialling(far_host) as near:
        far = linked(near, far_host, [(NEAR, NAME), (Side.FAR, alive), (NEAR, gives_up)])
        this(leaver, near, far).close()
        assert other(leaver, near, far).sees_the_end()
        assert relay.code_of(near) == "far_alive"


class Mutation:
    """What becomes of one message of a script on its way: bytes changed, cut or added."""

    def __init__(self, step: int, edits: Sequence[tuple[int, int]], cut: int, added: bytes) -> None:
        self.step = step
        self._edits = edits
        self._cut = cut
        self._added = added

    def of(self, data: bytes) -> bytes:
        changed = bytearray(data)
        for place, value in self._edits:
            changed[place % len(changed)] = value
        return bytes(changed[: len(changed) - self._cut]) + self._added

    def __repr__(self) -> str:
        return f"Mutation({self.step}, {self._edits}, {self._cut}, {self._added!r})"


MUTATIONS = st.builds(
    Mutation,
    st.integers(0, 4),
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 255)), max_size=3),
    st.integers(0, 3) | st.just(0),
    st.binary(max_size=8) | st.just(b""),
)


@pytest.fixture(scope="module")
def far_host() -> Iterator[FarHost]:
    with FarHost() as host:
        yield host


@pytest.fixture(scope="module")
def relay(far_host: FarHost) -> Iterator[RelayHere]:
    with relay_to(far_host) as relay:
        yield relay


@settings(max_examples=150, deadline=None)
@given(script=st.sampled_from(SOME_SCRIPTS), mutation=MUTATIONS)
def test_a_mutated_handshake_ends_with_one_code(
    relay: RelayHere, far_host: FarHost, script: Script, mutation: Mutation
) -> None:
    step = mutation.step % len(script)
    with dialling(far_host) as near:
        far = play(near, far_host, script[:step])
        side, message = script[step]
        (near if far is None else this(side, near, far)).sock.sendall(mutation.of(framed(message)))
        near.say_no_more()
        if far is not None:
            far.close()
        near.end()
        assert relay.code_of(near) in list(End)
        assert len(relay.ends_of(near)) == 1
    far_host.drain()


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=1, max_size=200).filter(lambda data: data[0] != TLS_HANDSHAKE))
def test_noise_ends_with_one_code(relay: RelayHere, far_host: FarHost, data: bytes) -> None:
    with dialling(far_host) as near:
        near.sock.sendall(data)
        near.say_no_more()
        near.end()
        assert relay.code_of(near) in ("handshake_malformed", "near_closed")
    far_host.drain()


def test_after_all_that_the_relay_still_links(relay: RelayHere, far_host: FarHost) -> None:
    with dialling(far_host) as near:
        assert passes(near, linked(near, far_host))
    assert relay.ended("internal") == 0
