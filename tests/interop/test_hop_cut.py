"""A hop that is cut in the middle of a gigabyte: both nodes see it, and nobody takes it for an end."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from epmdless.cli.control import ControlClient
from tests.interop.hop_world import (
    CHUNK,
    COUNT,
    MIXED,
    SINK,
    Ends,
    Papers,
    faces_of_far,
    joined,
    link_between,
    one_way,
    papers,
    send,
    wait_tunnel_ended,
)
from tests.interop.relay_world import Relay, node, ping, wait_value
from tests.support.beam import Flavour
from tests.support.certificates import Authority
from tests.support.deadline import eventually
from tests.support.machine import Machine
from tests.support.zones import Zones, zones

pytestmark = pytest.mark.interop

GIGABYTE = 1000 * CHUNK

RATE = "800mbit"
"""Of the border while the gigabyte passes, which would take 10 s."""

CUT_AFTER = 50 * CHUNK

CUT_CODES = {"tunnel_cut", "far_reset"}
"""What the near relay's log says: the tunnel ended without the end of TLS, or by a reset."""

# Both nodes tell what they hear of the other one's end.
WATCH = """
    register(watch, spawn(fun() ->
        net_kernel:monitor_nodes(true, [nodedown_reason]),
        receive {{nodedown, '{name}', Info}} -> receive {{why, From}} -> From ! {{why, Info}} end end
    end)).
"""

WHY = "watch ! {why, self()}, receive {why, Info} -> proplists:get_value(nodedown_reason, Info) end."

# EPMD's ports in rules of their own: where both stand in one rule, nft 1.0.6 compares them as one number.
ENDS_SEEN = """
    counter resets { }
    counter ends { }
    chain input {
        type filter hook input priority 0;
        tcp sport 4369 accept
        tcp dport 4369 accept
        iif eth0 tcp flags & rst == rst counter name resets
        iif eth0 tcp flags & fin == fin counter name ends
    }
"""


@pytest.fixture(scope="module")
def world() -> Iterator[Zones]:
    with zones() as world:
        yield world


@pytest.fixture(scope="module")
def certificates(world: Zones, tmp_path_factory: pytest.TempPathFactory) -> tuple[Papers, Papers]:
    authority = Authority(tmp_path_factory.mktemp("certificates"))
    return papers(authority, world.near_edge), papers(authority, world.far_edge)


@pytest.fixture
def ends(world: Zones, certificates: tuple[Papers, Papers]) -> Iterator[Ends]:
    with joined(world, *one_way(world, *certificates), faces_of_far(world)) as ends:
        yield ends


@contextmanager
def slow(machine: Machine) -> Iterator[None]:
    """Limit the rate of what the border sends to either edge."""
    cables = ("zone-a", "zone-b")
    for cable in cables:
        machine.run(f"tc qdisc add dev {cable} root tbf rate {RATE} burst 256kb latency 50ms")
    try:
        yield
    finally:
        for cable in cables:
            machine.run(f"tc qdisc del dev {cable} root")


@contextmanager
def counted(machine: Machine) -> Iterator[Callable[[str], int]]:
    """Count the resets, and the clean ends, that come to a host; EPMD's are not looked at."""
    with machine.rules("seen", ENDS_SEEN):
        yield lambda name: seen(machine, name)


def seen(machine: Machine, name: str) -> int:
    """Return how many packets a counter has counted."""
    found = re.search(r"packets (\d+)", machine.run('nft list counter inet seen "$1"', name))
    assert found is not None
    return int(found[1])


@pytest.mark.parametrize(("near", "far"), MIXED)
@pytest.mark.parametrize("how", ["reset", "killed"])
def test_a_cut_is_no_end(world: Zones, ends: Ends, how: str, near: Flavour, far: Flavour) -> None:
    """A gigabyte goes each way: so both edges have something to send, at which a reset answers."""
    with (
        node(near, world.near[0]) as a,
        node(far, world.far[0]) as b,
        slow(world.border),
        counted(world.near[0]) as seen_near,
        counted(world.far[0]) as seen_far,
    ):
        assert ping(a, b) == "pong"
        tunnel = link_between(ends.near, a, b)["tunnel"]
        for one, other in ((a, b), (b, a)):
            one.eval(SINK)
            one.eval(WATCH.format(name=other.name))
        sent = [one.begin(send(other, chunks=GIGABYTE // CHUNK)) for one, other in ((a, b), (b, a))]
        eventually(lambda: passed(ends.near) > CUT_AFTER, within=20, what="50 MB")
        if how == "reset":
            with world.torn("reject with tcp reset"):
                there = wait_tunnel_ended(ends.far, tunnel)
                here = wait_tunnel_ended(ends.near, tunnel)
            assert there["end"] in {"near_reset", "tunnel_cut"}
            eventually(lambda: seen_far("resets") > 0, within=5, what="a reset at the far host")
            assert seen_far("ends") == 0
        else:
            ends.far.program.kill()
            here = wait_tunnel_ended(ends.near, tunnel)
        assert here["end"] in CUT_CODES
        eventually(lambda: seen_near("resets") > 0, within=5, what="a reset at the near host")
        assert seen_near("ends") == 0
        for one, other, said in ((a, b, sent[0]), (b, a, sent[1])):
            assert said() == f"{{nodedown,'{other.name}'}}"
            assert one.eval(WHY) == "connection_closed"
            received = int(one.eval(COUNT))
            assert 0 < received < GIGABYTE
            assert received % CHUNK == 0
        if how == "reset":
            wait_value(a, f"net_adm:ping('{b.name}').", "pong")


def passed(relay: Relay) -> int:
    """Return how many bytes the less busy direction of a relay's only link has carried."""
    (link,) = ControlClient([relay.socket]).links().document["links"]
    return min(int(link[way]["bytes"]) for way in ("near_to_far", "far_to_near"))
