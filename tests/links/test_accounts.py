"""What is counted and logged of links: sums that never go back, one line each, and no secret anywhere."""

import http.client
import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from epmdless import metrics
from epmdless.links.ends import MEANINGS, End
from epmdless.log import LONGEST_LINE
from epmdless.wire.handshake import Ack, Reply, digest
from tests.support.deadline import eventually
from tests.support.link_sides import (
    ACK,
    CHALLENGE,
    COOKIE,
    HANDSHAKE,
    HOST,
    NAME,
    OK,
    REPLY,
    FarHost,
    frame,
    linked,
    passes,
)
from tests.support.ports import free_port
from tests.support.relays import WITHIN, RelayHere, config_text, dialling, relay_to, route_to, serving

NEAR_COOKIE, FAR_COOKIE = b"the-near-cookie", b"the-far-cookie"


@pytest.fixture
def far_host() -> Iterator[FarHost]:
    with FarHost() as far_host:
        yield far_host


def test_every_end_has_a_meaning() -> None:
    assert set(MEANINGS) == set(End)
    assert len(set(MEANINGS.values())) == len(End)


def sums(relay: RelayHere, direction: str) -> tuple[float, float, float]:
    """Bytes, frames and ticks so far."""

    def read() -> tuple[float, float, float]:
        wanted = (metrics.LINK_BYTES, metrics.LINK_FRAMES, metrics.LINK_TICKS)
        one, two, three = (relay.counts.value(metric, direction) for metric in wanted)
        return one, two, three

    return relay.call(read)


def test_sums_are_of_links_that_live_and_of_those_that_ended(far_host: FarHost) -> None:
    with relay_to(far_host) as relay, dialling(far_host) as one, dialling(far_host) as two:
        for number, near in enumerate((one, two), 1):
            far = linked(near, far_host)
            assert passes(near, far, frame(b"x" * 6) + frame(b""))
            assert passes(far, near, frame(b""))
            assert sums(relay, "near_to_far") == (14 * number, number, number)
            assert sums(relay, "far_to_near") == (4 * number, 0, number)
        far.close()
        two.close()
        relay.wait_for_ends(1)
        assert sums(relay, "near_to_far") == (28, 2, 2)
        assert sums(relay, "far_to_near") == (8, 0, 2)


def test_without_frames_bytes_are_counted_alone(far_host: FarHost) -> None:
    with RelayHere(config_text(route_to(far_host), frames=False)) as relay, dialling(far_host) as near:
        far = linked(near, far_host)
        assert passes(near, far, frame(b"x" * 6))
        assert sums(relay, "near_to_far") == (10, 0, 0)
        near.close()
        far.close()
        line = relay.end_of(near)
        assert line["near_to_far_bytes"] == 10
        assert "near_to_far_frames" not in line


def test_the_line_of_a_link_that_ended_says_all_of_it(far_host: FarHost) -> None:
    with relay_to(far_host) as relay, dialling(far_host) as near:
        far = linked(near, far_host)
        assert passes(near, far, frame(b"x" * 6) + frame(b""))
        near.close()
        far.end()
        far.close()
        line = dict(relay.end_of(near))
        assert line.pop("seconds") >= 0
        assert line == {
            "level": "info",
            "event": "link ended",
            "end": "near_closed",
            "link": 1,
            "route": HOST,
            "near": NAME.name,
            "near_address": near.address,
            "near_creation": NAME.creation,
            "near_flags": f"{NAME.flags:#x}",
            "near_otp": "25+",
            "far": CHALLENGE.name,
            "far_address": f"127.0.1.3:{far_host.port}",
            "far_creation": CHALLENGE.creation,
            "far_flags": f"{CHALLENGE.flags:#x}",
            "far_otp": "25+",
            "near_to_far_bytes": 14,
            "near_to_far_frames": 1,
            "near_to_far_ticks": 1,
            "far_to_near_bytes": 0,
            "far_to_near_frames": 0,
            "far_to_near_ticks": 0,
        }
        (line_up,) = [line for line in relay.lines if line["event"] == "linked"]
        assert (line_up["near"], line_up["far"]) == (NAME.name, CHALLENGE.name)


@pytest.mark.parametrize(("first", "level"), [(b"", "info"), (b"\0\1?", "warning")])
def test_a_link_that_was_not_set_up_is_a_warning_unless_its_node_just_left(
    far_host: FarHost, first: bytes, level: str
) -> None:
    with relay_to(far_host) as relay, dialling(far_host) as near:
        near.sock.sendall(first)
        near.say_no_more()
        assert relay.end_of(near)["level"] == level
        assert relay.ended(relay.code_of(near)) == 1


@pytest.mark.parametrize("character", ["x", "\xe9", '"', "\\", "\x9f"])
def test_the_longest_names_leave_a_line_whole(far_host: FarHost, character: str) -> None:
    near_name = replace(NAME, name=f"{character * 509}@{character * 510}")
    far_name = replace(CHALLENGE, name=f"{character * 509}@{character * 510}")
    with relay_to(far_host) as relay, dialling(far_host) as near:
        near.say(near_name)
        far_host.accept().say(OK, far_name)
        line = relay.end_of(near)
        assert line["end"] == "wrong_node"
        assert len(json.dumps(line, ensure_ascii=False).encode()) < LONGEST_LINE - 100


def test_gauges_follow_the_links(far_host: FarHost) -> None:
    with relay_to(far_host) as relay, dialling(far_host) as near:
        relay.wait_for_links(1, "handshake")
        gauges = (metrics.LINKS, metrics.HANDSHAKES, metrics.RELAY_PORTS, metrics.RELAY_PIPES)
        assert [relay.counts.value(each) for each in gauges] == [0, 1, 1, 0]
        linked(near, far_host)
        relay.wait_for_links(1)
        eventually(
            lambda: [relay.counts.value(each) for each in gauges] == [1, 0, 1, 0],
            within=WITHIN,
            what="one link",
        )


def scrape(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WITHIN)
    with closing(connection):
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()


def test_prometheus_sees_links_and_nobody_sees_a_cookie_or_a_digest(
    far_host: FarHost, tmp_path: Path
) -> None:
    """The whole log, all metrics and the control socket, at the level that logs most."""
    port = free_port()
    for name, cookie in (("near", NEAR_COOKIE), ("far", FAR_COOKIE)):
        path = tmp_path / name
        path.write_bytes(cookie)
        path.chmod(0o400)
    bridge = {"cookie_near": str(tmp_path / "near"), "cookie_far": str(tmp_path / "far")}
    before = f'[epmd]\nlisten = []\n[metrics]\nlisten = "127.0.0.1:{port}"\n[log]\nlevel = "debug"\n'
    text = config_text(route_to(far_host, **bridge), before=before, epmd_port=free_port(), drain="0s")
    right = digest(NEAR_COOKIE, CHALLENGE.challenge), digest(FAR_COOKIE, REPLY.challenge)
    passed_on = digest(FAR_COOKIE, CHALLENGE.challenge), digest(NEAR_COOKIE, REPLY.challenge)
    with serving(tmp_path, text) as relay:
        with dialling(far_host) as near, dialling(far_host) as wrong:
            far = linked(near, far_host, HANDSHAKE[:3])
            near.say(Reply(REPLY.challenge, right[0]))
            assert far.hear() == Reply(REPLY.challenge, passed_on[0])
            far.say(Ack(right[1]))
            assert near.hear() == Ack(passed_on[1])
            assert passes(near, far)
            linked(wrong, far_host, HANDSHAKE[:3])
            wrong.say(REPLY)
            assert wrong.sees_the_end()
            wrong.close()
            relay.end_of(wrong)
            shown = scrape(port) + relay.ask("GET", "/links")[1]
            assert 'epmdless_links_ended_total{end="wrong_cookie"} 1.0' in shown
            assert 'epmdless_link_bytes_total{direction="near_to_far"} 104.0' in shown
            assert 'epmdless_link_frames_total{direction="near_to_far"} 1.0' in shown
            assert 'epmdless_link_ticks_total{direction="far_to_near"} 0.0' in shown
            assert "epmdless_links 1.0" in shown
            assert "epmdless_link_setup_seconds_count 1.0" in shown
            near.close()
            far.end()
            far.close()
            relay.end_of(near)
        shown += scrape(port)
        assert 'epmdless_links_ended_total{end="near_closed"} 1.0' in shown
        shown += relay.program.stderr + relay.program.stdout
    for secret in (NEAR_COOKIE, FAR_COOKIE, COOKIE, *right, *passed_on, REPLY.digest, ACK.digest):
        for form in (secret.decode("latin-1"), secret.hex(), secret.hex(" "), repr(secret)[2:-1]):
            assert form not in shown
