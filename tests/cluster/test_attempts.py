"""When a peer's next attempt is due: turns, pauses within bounds, and a try in the dark now and then."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epmdless.cluster import attempts
from epmdless.cluster.attempts import PeerState, spread
from epmdless.cluster.groups import Want
from epmdless.cluster.trouble import NodeError

CHANCES = st.floats(0, 1, exclude_max=True)
PEERS = st.integers(0, 20_000)
WANT = Want("b@b1", hidden=False)
GONE = NodeError("not_registered")
REFUSED = NodeError("refused")
DOWN = NodeError("timeout")


def peer_at(now: float = 0) -> PeerState:
    return PeerState(WANT, now)


def test_the_spread_grows_with_the_peers_from_a_least_one() -> None:
    assert [spread(peers) for peers in (0, 1, 10, 100, 1000)] == [0.2, 0.2, 0.2, 2.0, 20.0]


@given(peers=PEERS, first=CHANCES, other=CHANCES)
def test_who_goes_first_has_a_head_start_whatever_chance_says(peers: int, first: float, other: float) -> None:
    one, two = peer_at(), peer_at()
    one.wait_for_turn(0, peers, first, is_first=True)
    two.wait_for_turn(0, peers, other, is_first=False)
    assert 0 <= one.due <= spread(peers)
    assert two.due - one.due >= attempts.GRACE * 0.999
    assert two.due <= 2 * spread(peers) + attempts.GRACE


def test_a_peer_is_due_when_its_time_has_come_and_nothing_is_under_way() -> None:
    peer = peer_at()
    peer.wait_for_turn(10, 1, 0.5, is_first=True)
    assert not peer.is_due(10)
    assert peer.is_due(10.1)
    peer.busy = True
    assert (peer.is_due(11), peer.is_waiting, peer.state) == (False, False, "connecting")
    peer.busy = False
    peer.joined()
    assert (peer.is_due(11), peer.is_waiting, peer.state) == (False, False, "connected")


def test_a_peer_that_is_named_by_old_lists_alone_is_not_tried() -> None:
    peer = PeerState(WANT._replace(is_current=False), 0)
    assert (peer.is_due(1000), peer.is_waiting, peer.state) == (False, False, "waiting")


@given(st.lists(CHANCES, min_size=1, max_size=30))
def test_pauses_after_failures_grow_from_a_second_to_a_minute(chances: list[float]) -> None:
    peer = peer_at()
    for number, chance in enumerate(chances):
        peer.failed(DOWN, 100, chance)
        grown = min(attempts.SHORTEST_PAUSE * 2**number, attempts.LONGEST_PAUSE)
        assert grown / 2 <= peer.due - 100 <= grown
    assert (peer.state, str(peer.error)) == ("failing", str(DOWN))


@given(st.integers(0, 10_000), CHANCES)
def test_no_pause_is_longer_than_its_longest(failures: int, chance: float) -> None:
    for error, longest in (
        (DOWN, attempts.LONGEST_PAUSE),
        (REFUSED, attempts.LONGEST_PAUSE_REFUSED),
        (GONE, attempts.LONGEST_LOOK),
    ):
        peer = peer_at()
        peer.failures = failures
        if error is GONE:
            assert not peer.unseen(error, 0, chance)
        else:
            peer.failed(error, 0, chance)
        assert peer.failures == failures + 1
        assert 0 < peer.due <= longest
        if failures > 10:
            assert peer.due >= longest / 2


def test_a_success_forgets_the_failures() -> None:
    peer = peer_at()
    for _ in range(5):
        peer.failed(DOWN, 0, 0)
    peer.joined()
    assert (peer.failures, peer.error, peer.state) == (0, None, "connected")
    peer.lost(10)
    assert peer.state == "waiting"
    peer.failed(DOWN, 10, 0)
    assert peer.due == 10 + attempts.SHORTEST_PAUSE


def test_a_peer_of_which_nothing_is_seen_is_tried_in_the_dark_now_and_then() -> None:
    peer, now, tried = peer_at(), 0.0, []
    while now < 86_400:
        if peer.unseen(GONE, now, 0):
            tried.append(now)
            peer.failed(DOWN, now, 0)
        now = peer.due
    assert attempts.BLIND_AFTER <= tried[0] <= attempts.BLIND_AFTER + attempts.LONGEST_LOOK
    pauses = [later - earlier for earlier, later in pairwise(tried)]
    assert pauses[0] == pytest.approx(attempts.LONGEST_PAUSE, abs=attempts.LONGEST_LOOK)
    assert all(later >= earlier - attempts.LONGEST_LOOK for earlier, later in pairwise(pauses))
    assert pauses[-1] == pytest.approx(attempts.LONGEST_PAUSE_BLIND, abs=attempts.LONGEST_PAUSE)


def test_a_peer_that_was_lost_is_not_tried_in_the_dark_at_once() -> None:
    peer = peer_at()
    peer.joined()
    peer.lost(1000)
    assert not peer.unseen(GONE, 1000, 0)
    assert peer.unseen(GONE, 1000 + attempts.BLIND_AFTER, 0)
