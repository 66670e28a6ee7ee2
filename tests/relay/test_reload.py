"""SIGHUP: routes come, change and go; links stay; what cannot be leaves all as it was."""

import socket
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from epmdless.wire.handshake import Side
from tests.support.epmd_client import lookup
from tests.support.link_sides import (
    CHALLENGE,
    FAR_ADDRESS,
    HANDSHAKE,
    HOST,
    NAME,
    OK,
    STAND_IN,
    FarHost,
    Near,
    linked,
    passes,
)
from tests.support.ports import free_port
from tests.support.relays import RelayProgram, Settings, config_text, dialling, route_to, serving

OTHER_HOST = "b6.test"
OTHER_STAND_IN = "127.0.1.6"
OTHER_ADDRESS = "127.0.1.7"


@pytest.fixture
def far_host() -> Iterator[FarHost]:
    with FarHost() as far_host:
        yield far_host


@pytest.fixture
def other_host() -> Iterator[FarHost]:
    with FarHost(OTHER_ADDRESS) as other_host:
        yield other_host


def route_to_other(other_host: FarHost, **more: object) -> Settings:
    usual = {"host": OTHER_HOST, "listen": OTHER_STAND_IN, "dial": OTHER_ADDRESS}
    return {**usual, "ports": [str(other_host.port)], **more}


class Reloading:
    """A relay whose routes change, and whose EPMD port stays."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.epmd_port = free_port()

    def text(self, *routes: Settings, rules: Sequence[Settings] = ()) -> str:
        before = "[epmd]\nlisten = []\n"
        return config_text(*routes, rules=rules, before=before, epmd_port=self.epmd_port, drain="0s")

    def reload(self, relay: RelayProgram, *routes: Settings, rules: Sequence[Settings] = ()) -> None:
        assert relay.reload(self.text(*routes, rules=rules))["event"] == "configuration reloaded"

    def fail(self, relay: RelayProgram, *routes: Settings) -> str:
        line = relay.reload(self.text(*routes))
        assert line["event"] == "configuration not reloaded"
        return str(line["error"])


@pytest.fixture
def reloading(tmp_path: Path) -> Reloading:
    return Reloading(tmp_path)


def is_open(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), 5).close()
    except ConnectionRefusedError:
        return False
    return True


def test_routes_come_and_go_and_all_links_stay(
    reloading: Reloading, far_host: FarHost, other_host: FarHost
) -> None:
    mine, others = route_to(far_host), route_to_other(other_host)
    with serving(reloading.folder, reloading.text(mine)) as relay, dialling(far_host) as near:
        far = linked(near, far_host)
        relay.wait_for("linked")
        assert not is_open(OTHER_STAND_IN, other_host.port)
        reloading.reload(relay, mine, others)
        assert passes(near, far)
        with Near(OTHER_STAND_IN, other_host.port) as other_near:
            challenge = (Side.FAR, replace(CHALLENGE, name=f"b@{OTHER_HOST}"))
            other_far = linked(other_near, other_host, [*HANDSHAKE[:2], challenge, *HANDSHAKE[3:]])
            relay.wait_for("linked", 2)
            reloading.reload(relay, mine)
            assert not is_open(OTHER_STAND_IN, other_host.port)
            assert passes(other_near, other_far)
            assert passes(other_far, other_near)
            reloading.reload(relay, others)
            assert not is_open(STAND_IN, far_host.port)
            assert passes(near, far)
            assert passes(far, near)
            assert [view["route"] for view in relay.links()] == [HOST, OTHER_HOST]
            other_near.close()
            assert other_far.end() == (b"", "closed")
            other_far.close()
            assert relay.end_of(other_near)["end"] == "near_closed"


def test_a_changed_route_leads_new_links_elsewhere(reloading: Reloading, far_host: FarHost) -> None:
    with (
        FarHost(OTHER_ADDRESS, far_host.port) as moved,
        serving(reloading.folder, reloading.text(route_to(far_host))) as relay,
        dialling(far_host) as near,
    ):
        far = linked(near, far_host)
        relay.wait_for("linked")
        reloading.reload(relay, route_to(far_host, dial=OTHER_ADDRESS, hidden=True))
        assert passes(near, far)
        with dialling(far_host) as newer:
            newer.say(NAME)
            newer_far = moved.accept()
            assert newer_far.hear() != NAME  # hidden
            newer_far.say(OK, CHALLENGE)
            assert newer.hear() == OK
        assert passes(far, near)


def test_a_handshake_in_the_middle_of_a_reload_goes_on(reloading: Reloading, far_host: FarHost) -> None:
    with serving(reloading.folder, reloading.text(route_to(far_host))) as relay, dialling(far_host) as near:
        far = linked(near, far_host, HANDSHAKE[:3])
        reloading.reload(relay, route_to(far_host, hidden=True))
        near.say(HANDSHAKE[3][1])
        assert far.hear() == HANDSHAKE[3][1]
        far.say(HANDSHAKE[4][1])
        assert near.hear() == HANDSHAKE[4][1]
        assert passes(near, far)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"lissten": "127.0.0.9"}, "relay.route[0].lissten"),
        ({"listen": "192.0.2.1"}, "relay.route[0].listen: 192.0.2.1 is not an address of this machine"),
        ({"cookie_near": "/nowhere/near", "cookie_far": "/nowhere/far"}, "relay.route[0].cookie_near"),
    ],
)
def test_a_bad_file_leaves_all_as_it_was(
    reloading: Reloading, far_host: FarHost, change: dict[str, object], said: str
) -> None:
    with serving(reloading.folder, reloading.text(route_to(far_host))) as relay, dialling(far_host) as near:
        far = linked(near, far_host)
        relay.wait_for("linked")
        assert said in reloading.fail(relay, route_to(far_host, **change))
        assert passes(near, far)
        with dialling(far_host) as newer:
            assert passes(newer, linked(newer, far_host))


def test_a_listed_port_that_cannot_be_had_leaves_all_as_it_was(
    reloading: Reloading, far_host: FarHost, other_host: FarHost
) -> None:
    """Neither the route that went nor its EPMD face is missing afterwards."""
    with FarHost(OTHER_STAND_IN) as holder:
        taken = route_to_other(other_host, ports=[str(other_host.port), str(holder.port)])
        with (
            serving(reloading.folder, reloading.text(route_to(far_host))) as relay,
            dialling(far_host) as near,
        ):
            far = linked(near, far_host)
            relay.wait_for("linked")
            error = reloading.fail(relay, taken)
            assert error == f"cannot listen on {OTHER_STAND_IN}:{holder.port}: Address already in use"
            assert passes(near, far)
            assert not is_open(OTHER_STAND_IN, other_host.port)
            assert is_open(STAND_IN, reloading.epmd_port)
            with dialling(far_host) as newer:
                assert passes(newer, linked(newer, far_host))


def test_an_epmd_face_that_cannot_be_had_leaves_all_as_it_was(
    reloading: Reloading, far_host: FarHost, other_host: FarHost
) -> None:
    with (
        FarHost(OTHER_STAND_IN, reloading.epmd_port),
        serving(reloading.folder, reloading.text(route_to(far_host))) as relay,
        dialling(far_host) as near,
    ):
        far = linked(near, far_host)
        relay.wait_for("linked")
        error = reloading.fail(relay, route_to_other(other_host))
        assert error.startswith(f"cannot listen on {OTHER_STAND_IN}:{reloading.epmd_port}")
        assert not is_open(OTHER_STAND_IN, other_host.port)
        assert passes(near, far)
        with dialling(far_host) as newer:
            assert passes(newer, linked(newer, far_host))


def test_a_port_that_opened_on_demand_outlives_a_reload_of_its_route_and_no_longer(
    reloading: Reloading, far_host: FarHost
) -> None:
    static = f"[resolve.static]\nnode = {far_host.port}\n"
    on_demand = route_to(far_host, ports=[], resolve=["static"])
    text = static + reloading.text(on_demand)
    with serving(reloading.folder, text) as relay:
        node = lookup(reloading.epmd_port, "node", STAND_IN)
        assert node is not None
        with Near(STAND_IN, node.port) as near:
            far = linked(near, far_host)
            relay.wait_for("linked")
            assert relay.reload(static + reloading.text({**on_demand, "hidden": True}))["event"].endswith(
                "reloaded"
            )
            assert is_open(STAND_IN, node.port)
            reloading.reload(relay, route_to(far_host, listen=OTHER_STAND_IN, dial=FAR_ADDRESS))
            assert not is_open(STAND_IN, node.port)
            assert passes(near, far)


def test_new_rules_are_for_new_links(reloading: Reloading, far_host: FarHost) -> None:
    route = route_to(far_host)
    with serving(reloading.folder, reloading.text(route)) as relay, dialling(far_host) as near:
        far = linked(near, far_host)
        relay.wait_for("linked")
        reloading.reload(relay, route, rules=[{"action": "deny", "near": "a@*"}])
        assert passes(near, far)
        with dialling(far_host) as newer:
            newer.say(NAME)
            assert relay.end_of(newer)["end"] == "refused_by_policy"


def test_a_relay_can_come_later(reloading: Reloading, far_host: FarHost) -> None:
    port = free_port()
    plain = f'[epmd]\nlisten = ["127.0.0.1:{port}"]\n'
    relay = RelayProgram(reloading.folder, plain)
    with relay.program:
        relay.wait_for("started")
        text = config_text(route_to(far_host), before=plain, epmd_port=reloading.epmd_port, drain="0s")
        assert relay.reload(text)["event"] == "configuration reloaded"
        with dialling(far_host) as near:
            assert passes(near, linked(near, far_host))
            assert len(relay.links()) == 1
