"""What is too much: links, links of one address, unfinished handshakes, descriptors."""

import select
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.deadline import eventually
from tests.support.link_sides import HANDSHAKE, NAME, Far, FarHost, Near, linked, passes, play
from tests.support.ports import free_port
from tests.support.relays import WITHIN, RelayHere, config_text, dialling, route_to, serving
from tests.support.tools import require


@pytest.fixture
def far_host() -> Iterator[FarHost]:
    with FarHost() as far_host:
        yield far_host


def links(
    stack: ExitStack, far_host: FarHost, count: int, source: str = "127.0.0.1"
) -> list[tuple[Near, Far]]:
    """Set so many links up, for as long as the stack lives."""
    return [
        (near, linked(near, far_host))
        for near in (stack.enter_context(dialling(far_host, source)) for _ in range(count))
    ]


def all_pass(pairs: list[tuple[Near, Far]]) -> bool:
    return all(passes(near, far) and passes(far, near) for near, far in pairs)


def is_refused(far_host: FarHost, relay: RelayHere, problem: str) -> bool:
    """Whether a new link is refused for this reason."""
    with dialling(far_host) as near:
        assert near.sees_the_end()
        line = relay.end_of(near)
        return (line["end"], line["detail"]) == ("refused_by_limit", problem)


def is_let_in(near: Near, far_host: FarHost) -> bool:
    """Whether the relay dials for a near node that says its name, or closes."""
    near.say(NAME)
    readable, _, _ = select.select([near.sock.fileno(), far_host.fileno()], [], [], WITHIN)
    assert readable
    return near.sock.fileno() not in readable


def is_accepted(far_host: FarHost) -> bool:
    """Whether a new link can be set up."""
    with dialling(far_host) as near:
        far = play(near, far_host)
        assert far is not None
        worked = passes(near, far)
        far.close()
        return worked


def test_links_in_total(far_host: FarHost) -> None:
    text = config_text(route_to(far_host), max_links=3)
    with RelayHere(text) as relay, ExitStack() as stack:
        pairs = links(stack, far_host, 3)
        assert is_refused(far_host, relay, "max_links")
        assert all_pass(pairs)
        pairs[0][0].close()
        pairs[0][1].close()
        relay.wait_for_links(2)
        assert is_accepted(far_host)
        assert all_pass(pairs[1:])


def test_links_of_one_address(far_host: FarHost) -> None:
    text = config_text(route_to(far_host), max_links_per_address=2)
    with RelayHere(text) as relay, ExitStack() as stack:
        pairs = links(stack, far_host, 2)
        assert is_refused(far_host, relay, "max_links_per_address")
        pairs += links(stack, far_host, 2, "127.0.0.9")
        assert all_pass(pairs)


def test_links_that_are_set_up_count_as_links(far_host: FarHost) -> None:
    with RelayHere(config_text(route_to(far_host), max_links=1)) as relay, dialling(far_host) as near:
        relay.wait_for_links(1, "handshake")
        assert is_refused(far_host, relay, "max_links")
        assert passes(near, linked(near, far_host))


def test_the_oldest_unfinished_handshake_makes_room(far_host: FarHost) -> None:
    text = config_text(route_to(far_host), max_handshakes=3)
    with RelayHere(text) as relay, ExitStack() as stack:
        pairs = links(stack, far_host, 2)
        relay.wait_for_links(2)
        silent = [stack.enter_context(dialling(far_host)) for _ in range(3)]
        relay.wait_for_links(3, "handshake")
        started = stack.enter_context(dialling(far_host))
        far = linked(started, far_host, HANDSHAKE[:1])
        assert silent[0].sees_the_end()
        assert relay.code_of(silent[0]) == "shed"
        newest = stack.enter_context(dialling(far_host))
        assert silent[1].sees_the_end()
        relay.wait_for_links(3, "handshake")
        assert relay.wait_for_ends(2) == ["shed", "shed"]
        for side in (started, newest):
            assert relay.ends_of(side) == []
        far.close()
        assert started.sees_the_end()
        assert all_pass(pairs)


def test_shedding_tells_the_far_side(far_host: FarHost) -> None:
    text = config_text(route_to(far_host), max_handshakes=1)
    with RelayHere(text) as relay, dialling(far_host) as near:
        far = linked(near, far_host, HANDSHAKE[:4])
        with dialling(far_host) as newer:
            assert near.sees_the_end()
            assert far.sees_the_end()
            assert relay.code_of(near) == "shed"
            assert passes(newer, linked(newer, far_host))


def test_a_burst_beyond_the_limit_sheds_the_old_and_serves_the_new(far_host: FarHost) -> None:
    text = config_text(route_to(far_host), max_handshakes=8)
    with RelayHere(text) as relay, ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(dialling(far_host))
        assert is_accepted(far_host)
        assert relay.wait_for_ends(92).count("shed") >= 92


def test_descriptors_that_others_hold_count(far_host: FarHost) -> None:
    """A quarter of 40 is kept back; a port and two links take 5."""
    with RelayHere(config_text(route_to(far_host)), descriptor_limit=40) as relay, ExitStack() as stack:
        relay.others = 40 - 10 - 5
        pairs = links(stack, far_host, 2)
        assert is_refused(far_host, relay, "descriptors")
        assert all_pass(pairs)
        relay.others -= 2
        assert is_accepted(far_host)


def test_when_descriptors_run_out_links_go_on_and_new_ones_wait_for_better_times(
    far_host: FarHost, tmp_path: Path
) -> None:
    limit = (require("prlimit", "util-linux"), "--nofile=80:80")
    text = config_text(route_to(far_host), before="[epmd]\nlisten = []\n", epmd_port=free_port(), drain="0s")
    with serving(tmp_path, text, prefix=limit) as relay, ExitStack() as stack:
        pairs: list[tuple[Near, Far]] = []
        near = stack.enter_context(dialling(far_host))
        while is_let_in(near, far_host):
            far = far_host.accept()
            assert far.hear() == NAME
            assert play(near, far_host, HANDSHAKE[1:], far) is far
            pairs.append((near, far))
            near = stack.enter_context(dialling(far_host))
        assert 20 < len(pairs) < 40
        assert relay.end_of(near)["end"] == "refused_by_limit"
        for _ in range(200):
            with dialling(far_host) as extra:
                assert extra.sees_the_end()
        assert all_pass(pairs)
        for pair in pairs[:5]:
            for side in pair:
                side.close()
        eventually(lambda: len(relay.links()) == len(pairs) - 5, within=WITHIN, what="the ends of five links")
        assert is_accepted(far_host)
        assert all_pass(pairs[5:])
        assert [line for line in relay.lines if line["level"] == "error"] == []
