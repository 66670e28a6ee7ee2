"""What can be seen of a link: through the control socket of a program, and of a relay in the test."""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from epmdless.links.views import otp_of
from tests.support.deadline import eventually
from tests.support.link_sides import (
    CHALLENGE,
    FAR_ADDRESS,
    FLAGS,
    HANDSHAKE,
    HOST,
    NAME,
    FarHost,
    frame,
    linked,
    passes,
)
from tests.support.ports import free_port
from tests.support.relays import WITHIN, config_text, dialling, relay_to, route_to, serving


@pytest.fixture
def far_host() -> Iterator[FarHost]:
    with FarHost() as far_host:
        yield far_host


@pytest.mark.parametrize(
    ("flags", "release"),
    [
        (None, None),
        (FLAGS, "25+"),
        (FLAGS | 1 << 38, "28+"),
        ((1 << 35) | (1 << 24), "24+"),
        (1 << 24, "23+"),
        (0x07DF7FBD & ~(0b101 << 24), "older than 23"),
    ],
)
def test_flags_speak_of_a_release(flags: int | None, release: str | None) -> None:
    assert otp_of(flags) == release


def test_a_link_that_is_set_up_shows_what_is_known_so_far(far_host: FarHost) -> None:
    with relay_to(far_host) as relay, dialling(far_host) as near:
        (view,) = relay.wait_for_links(1, "handshake")
        assert view["near"]["node"] is None
        assert view["near"]["address"] == near.address
        assert view["setup_ms"] is None
        assert view["near_to_far"] == {
            **dict.fromkeys(("frames", "ticks", "fragments", "largest", "last_tick_age")),
            "bytes": 0,
        }
        linked(near, far_host, HANDSHAKE[:3])
        (view,) = relay.wait_for_links(1, "handshake")
        assert (view["near"]["node"], view["far"]["node"]) == (NAME.name, CHALLENGE.name)
        assert view["far"]["address"] == f"{FAR_ADDRESS}:{far_host.port}"


def test_an_established_link_shows_its_nodes_and_what_passed(far_host: FarHost) -> None:
    with relay_to(far_host) as relay, dialling(far_host) as near:
        far = linked(near, far_host)
        assert passes(near, far, frame(b"x" * 50) + frame(b"") + frame(b"y" * 60))
        assert passes(far, near, frame(b""))
        (view,) = relay.wait_for_links(1)
        assert view["route"] == HOST
        for side, message in (("near", NAME), ("far", CHALLENGE)):
            assert (view[side]["node"], view[side]["creation"]) == (message.name, message.creation)
            assert (view[side]["flags"], view[side]["otp"]) == (FLAGS, "25+")
            assert view[side]["rtt_us"] > 0
            assert view[side]["retransmits"] == 0
        out, back = view["near_to_far"], view["far_to_near"]
        assert (out["bytes"], out["frames"], out["ticks"], out["largest"]) == (122, 2, 1, 60)
        assert (back["bytes"], back["frames"], back["ticks"]) == (4, 0, 1)
        assert back["last_tick_age"] >= 0


def test_what_a_receiver_does_not_take_shows_as_unsent(far_host: FarHost) -> None:
    with relay_to(far_host) as relay, dialling(far_host) as near:
        linked(near, far_host)
        near.sock.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                near.sock.send(bytes(1 << 20))

        def unsent() -> list[int]:
            (view,) = relay.wait_for_links(1)
            return [view[side]["unsent"] for side in ("near", "far")]

        eventually(lambda: unsent()[1] > 0 == unsent()[0], within=WITHIN, what="what is unsent")
        assert unsent()[1] > 0


def test_an_operator_ends_a_link_that_is_set_up(far_host: FarHost) -> None:
    with relay_to(far_host) as relay, dialling(far_host) as near:
        far = linked(near, far_host, HANDSHAKE[:2])
        (view,) = relay.wait_for_links(1, "handshake")
        assert relay.call(relay.carrier.end, view["id"]) is True
        assert near.sees_the_end()
        assert far.sees_the_end()
        assert relay.code_of(near) == "ended"
        assert relay.call(relay.carrier.end, view["id"]) is False


def test_an_operator_ends_a_link_twice_and_what_was_taken_in_arrives(far_host: FarHost) -> None:
    with relay_to(far_host) as relay, dialling(far_host) as near:
        far = linked(near, far_host)
        (view,) = relay.wait_for_links(1)
        assert passes(near, far)
        for _ in range(2):
            assert relay.call(relay.carrier.end, view["id"]) is True
        assert far.end() == (b"", "closed")
        far.close()
        assert near.end() == (b"", "closed")
        assert relay.code_of(near) == "ended"


def test_the_control_socket_shows_links_and_ends_them(far_host: FarHost, tmp_path: Path) -> None:
    text = config_text(route_to(far_host), before="[epmd]\nlisten = []\n", epmd_port=free_port(), drain="0s")
    with serving(tmp_path, text) as relay, dialling(far_host) as near, dialling(far_host) as other:
        far, other_far = linked(near, far_host), linked(other, far_host)
        relay.wait_for("linked", 2)
        status, body = relay.ask("GET", "/links")
        document = json.loads(body)
        assert status == 200
        first, second = document["links"]
        assert [each["near"]["address"] for each in (first, second)] == [near.address, other.address]
        assert first["near"]["node"] == NAME.name
        assert relay.ask("DELETE", f"/links/{first['id']}") == (200, "ended\n")
        assert near.sees_the_end()
        assert far.sees_the_end()
        near.close()
        far.close()
        assert relay.end_of(near)["end"] == "ended"
        eventually(lambda: len(relay.links()) == 1, within=WITHIN, what="one link")
        assert relay.ask("DELETE", f"/links/{first['id']}")[0] == 404
        assert passes(other, other_far)
