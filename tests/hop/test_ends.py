"""How links end that a hop does not let through, and what a set-up leaves behind: relay, gateway, nodes."""

import signal
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from epmdless import metrics
from epmdless.hop.gateway import MOST_CONNECTING
from epmdless.links.link import Link
from tests.support.deadline import eventually
from tests.support.hops import (
    ALLOW,
    GATEWAY_ADDRESS,
    HOP,
    Certified,
    gateway_text,
    hop_text,
    hop_to,
)
from tests.support.link_sides import (
    ACK,
    CHALLENGE,
    FAR_ADDRESS,
    HANDSHAKE,
    NAME,
    OK,
    REPLY,
    STAND_IN,
    Far,
    FarHost,
    Near,
    linked,
    passes,
    play,
)
from tests.support.ports import closed_port, free_port
from tests.support.relays import (
    WITHIN,
    Line,
    RelayHere,
    Settings,
    config_text,
    dialling,
    route_to,
    serving,
)

UNKNOWN = "no-such-host.test"

SECOND_ADDRESS = "127.0.2.2"


@contextmanager
def near_of(far_host: FarHost, hop: str, route: Settings | None = None, **relay: Any) -> Iterator[RelayHere]:
    """A relay with one route through a hop."""
    text = config_text(route_to(far_host, via=HOP, **(route or {})), **relay)
    with RelayHere(text + hop) as near:
        yield near


@contextmanager
def gateway_here(
    certified: Certified,
    *allows: Settings,
    hosts: Mapping[str, Sequence[str]] | None = None,
    address: str = GATEWAY_ADDRESS,
    **keys: object,
) -> Iterator[RelayHere]:
    """A gateway alone."""
    text = gateway_text(0, certified.gateway_tls(), *allows, keys=keys, address=address)
    with RelayHere(text, hosts=hosts) as gateway:
        yield gateway


def where(gateway: RelayHere, address: str = GATEWAY_ADDRESS) -> str:
    return f"{address}:{gateway.gateway_port}"


def refused_link(relay: RelayHere, port: int) -> Line:
    """The end of a link that is not set up."""
    with Near(STAND_IN, port) as near:
        near.say(NAME)
        assert near.sees_the_end()
        return relay.end_of(near)


@pytest.mark.parametrize(
    ("allow", "route", "code", "words"),
    [
        ({"hosts": ["10.0.0.0/8"]}, {}, "refused_by_gateway", ["403", FAR_ADDRESS]),
        ({"ports": [1]}, {}, "refused_by_gateway", ["403", "port"]),
        ({"client": "other.test"}, {}, "refused_by_gateway", ["403"]),
        ({"hosts": ["*"]}, {"dial": UNKNOWN}, "target_unknown", [UNKNOWN, "Name or service not known"]),
        ({}, {}, "dial_refused", ["502", "Connection refused"]),
    ],
)
def test_a_final_word_of_the_gateway_is_the_end(
    certified: Certified, allow: Settings, route: Settings, code: str, words: list[str]
) -> None:
    with ExitStack() as stack:
        port = stack.enter_context(closed_port())
        far_host = stack.enter_context(FarHost())
        gateway = stack.enter_context(gateway_here(certified, {**ALLOW, **allow}, hosts={}))
        hop = hop_text(certified.hop_tls(), where(gateway))
        ports = {"ports": [str(port)], **route}
        relay = stack.enter_context(near_of(far_host, hop, ports))
        line = refused_link(relay, port)
        assert line["end"] == code
        assert all(word in line["detail"] for word in [where(gateway), *words])
        assert line["hop"] == HOP
        (there,) = gateway.wait_for_lines("end", 1)
        assert there["tunnel"] == line["tunnel"]
        (gateway_up, ready) = (
            relay.counts.value(metric, HOP, where(gateway))
            for metric in (metrics.GATEWAY_UP, metrics.HOP_TUNNELS)
        )
        assert (gateway_up, ready) == (1, 0)


def test_a_full_gateway_is_busy(far_host: FarHost, certified: Certified) -> None:
    with (
        hop_to(far_host, certified, gateway={"max_tunnels_per_client": 1}) as ends,
        dialling(far_host) as near,
    ):
        linked(near, far_host)
        line = refused_link(ends.near, far_host.port)
        assert line["end"] == "gateway_busy"
        assert "max_tunnels_per_client" in line["detail"]
        assert ends.near.counts.value(metrics.TUNNELS, HOP, "busy") == 1


def test_no_gateway_at_all(far_host: FarHost, certified: Certified) -> None:
    with closed_port() as port:
        gateways = [f"127.0.0.1:{port}", f"[::1]:{port}"]
        with near_of(far_host, hop_text(certified.hop_tls(), *gateways)) as relay:
            line = refused_link(relay, far_host.port)
            assert line["end"] == "gateway_down"
            assert line["detail"].count("Connection refused") == 2
            assert all(gateway in line["detail"] for gateway in gateways)


def test_no_secret_is_told(far_host: FarHost, tmp_path: Path) -> None:
    auth = tmp_path / "auth"
    auth.touch(mode=0o600)
    auth.write_text("relay:do-not-tell\n")
    with (
        closed_port() as port,
        near_of(far_host, hop_text("", f"127.0.0.1:{port}", auth=str(auth))) as relay,
    ):
        refused_link(relay, far_host.port)
        assert "do-not-tell" not in repr(relay.lines)


def test_a_hop_that_a_reload_removed(far_host: FarHost, certified: Certified) -> None:
    """The link was accepted for a route through it, and asks for it only now."""
    with hop_to(far_host, certified) as ends:
        with dialling(far_host) as near:
            ends.near.wait_for_links(1, "handshake")
            ends.near.call(ends.near.take_on, config_text())
            near.say(NAME)
            line = ends.near.end_of(near)
            assert line["end"] == "gateway_down"
            assert HOP in line["detail"]
        assert ends.near.hops.descriptors == 0
        assert not any(ends.near.counts.samples(metrics.HOP_READY))


def test_many_links_at_once(far_host: FarHost, certified: Certified) -> None:
    count = 200
    patient = {"request_timeout": "60s", "dial_timeout": "60s"}
    gateway = {"max_requests_per_second": 1000, "max_handshakes": 4 * MOST_CONNECTING, **patient}
    hop = {"connect_timeout": "60s"}
    relay = {"setup_timeout": "60s"}
    with hop_to(far_host, certified, gateway=gateway, hop=hop, relay=relay) as ends, ExitStack() as stack:
        nears = [stack.enter_context(dialling(far_host)) for _ in range(count)]
        for near in nears:
            near.say(NAME)
        fars = [_answered(far_host.accept()) for _ in nears]
        for near in nears:
            assert [near.hear(), near.hear()] == [OK, CHALLENGE]
            near.say(REPLY)
        for far in fars:
            assert far.hear() == REPLY
            far.say(ACK)
        for near in nears:
            assert near.hear() == ACK
        gauge = (HOP, f"{GATEWAY_ADDRESS}:{ends.port}")
        assert ends.near.counts.value(metrics.HOP_TUNNELS, *gauge) == count
        assert ends.near.counts.value(metrics.TUNNELS, HOP, "opened") == count
        assert len({view["tunnel"] for view in ends.near.views()}) == count
        stack.close()
        for far in fars:
            far.close()
        assert ends.near.wait_for_ends(count).count("near_closed") == count
        assert ends.near.counts.value(metrics.HOP_TUNNELS, *gauge) == 0


def _answered(far: Far) -> Far:
    assert far.hear() == NAME
    far.say(OK, CHALLENGE)
    return far


def _set_up(near: Near, far: Far, far_host: FarHost) -> Far:
    play(near, far_host, HANDSHAKE[1:], far)
    return far


def test_set_ups_that_are_given_up_leave_nothing(far_host: FarHost) -> None:
    """Their gateway takes each request and never answers. What must be so at the end is looked at there."""
    with FarHost(GATEWAY_ADDRESS) as silent:
        hop = hop_text("", f"{GATEWAY_ADDRESS}:{silent.port}", ready=0)
        with near_of(far_host, hop, setup_timeout="1s") as relay:
            nears = [dialling(far_host) for _ in range(20)]
            for near in nears:
                near.say(NAME)
            asked = [silent.accept() for _ in nears]
            for near in nears:
                near.reset()
            assert set(relay.wait_for_ends(20)) <= {"dial_timed_out", "near_closed", "near_reset"}
            for each in asked:
                each.sock.settimeout(WITHIN)
                assert each.end()[0].startswith(b"CONNECT ")
            gauge = (HOP, f"{GATEWAY_ADDRESS}:{silent.port}")
            assert relay.counts.value(metrics.HOP_TUNNELS, *gauge) == 0


def test_a_gateway_process_that_stands_still(far_host: FarHost, certified: Certified, tmp_path: Path) -> None:
    """It is stopped with connections ready: nothing tells of that. When it goes on, it is found again."""
    stopped = f"{GATEWAY_ADDRESS}:{free_port()}"
    text = gateway_text(int(stopped.rpartition(":")[2]), certified.gateway_tls())
    with ExitStack() as stack:
        program = stack.enter_context(serving(tmp_path, text))
        other = stack.enter_context(gateway_here(certified, address=SECOND_ADDRESS))
        hop = hop_text(
            certified.hop_tls(), stopped, where(other, SECOND_ADDRESS), ready=2, connect_timeout="1s"
        )
        relay = stack.enter_context(near_of(far_host, hop))
        eventually(lambda: relay.hops.descriptors == 4, within=WITHIN, what="ready connections")
        program.program.signal(signal.SIGSTOP)
        stack.callback(program.program.signal, signal.SIGCONT)
        for _ in range(3):
            with dialling(far_host) as near:
                assert passes(near, linked(near, far_host))
        assert relay.counts.value(metrics.GATEWAY_UP, HOP, stopped) == 0
        program.program.signal(signal.SIGCONT)
        eventually(
            lambda: relay.counts.value(metrics.GATEWAY_UP, HOP, stopped) == 1,
            within=WITHIN,
            what=lambda: f"its return in {relay.lines}",
        )
        with dialling(far_host) as near:
            near.say(NAME)
            far = next(far for far in iter(far_host.accept, None) if far.sock.recv(1, socket.MSG_PEEK))
            assert far.hear() == NAME  # those before it are what the gateway read when it went on
            assert passes(near, _set_up(near, far, far_host))
            (link,) = relay.wait_for_links(1)
            assert [line for line in program.lines if line.get("tunnel") == link["tunnel"]]


@pytest.mark.parametrize(("rate", "link_rate"), [(None, None), (8192, None), (None, 4096), (8192, 4096)])
def test_rates_reach_the_links(
    far_host: FarHost, certified: Certified, rate: int | None, link_rate: int | None
) -> None:
    given = {"rate": rate, "link_rate": link_rate}
    keys = {key: f"{value}B" for key, value in given.items() if value is not None}
    with (
        hop_to(far_host, certified, hop=keys) as ends,
        dialling(far_host) as near,
        dialling(far_host) as other,
    ):
        linked(near, far_host)
        linked(other, far_host)
        links: list[Link] = ends.near.call(list, ends.near.carrier.links)
        one, two = (link.paces for link in links)
        if not keys:
            assert (one, two) == (None, None)
            return
        assert one is not None
        assert two is not None
        for way in (0, 1):
            buckets, others = one[way]._buckets, two[way]._buckets
            assert [b.rate for b in buckets] == [r for r in (rate, link_rate) if r is not None]
            shared = [b for b in buckets if b in others]
            assert [b.rate for b in shared] == ([] if rate is None else [rate])
        assert one[0]._buckets[0] is not one[1]._buckets[0], "each direction has its own"


def test_without_tls_on_both_ends(far_host: FarHost) -> None:
    with hop_to(far_host, None, hop={"ready": 1}) as ends:
        with dialling(far_host) as near:
            far = linked(near, far_host)
            assert passes(near, far)
            far.close()
            assert near.sees_the_end()
        assert ends.near.code_of(near) == "far_closed"


def test_tls_on_one_end_alone(far_host: FarHost, certified: Certified) -> None:
    with hop_to(far_host, certified) as ends:
        hop = hop_text("", f"{GATEWAY_ADDRESS}:{ends.port}")
        with near_of(far_host, hop, {"listen": "127.0.1.9"}) as relay:
            with Near("127.0.1.9", far_host.port) as near:
                near.say(NAME)
                assert near.sees_the_end()
                line = relay.end_of(near)
            assert line["end"] == "gateway_down"
            assert f"{GATEWAY_ADDRESS}:{ends.port}" in line["detail"]
