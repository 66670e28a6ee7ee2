"""An attacker in zone A with all but a certificate, the cookie and real nodes among it, gets nothing."""

import socket
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.interop.hop_world import (
    METRICS_PORT,
    Ends,
    Papers,
    faces_of_far,
    joined,
    link_between,
    metrics,
    one_way,
    papers,
)
from tests.interop.relay_world import ENDED_WITHIN, node, ping
from tests.interop.tls_world import Folders, certificate_folders, tls_node
from tests.support.beam import Beam, fixed_port
from tests.support.certificates import Authority, Issued
from tests.support.deadline import eventually
from tests.support.epmd_client import NAMES, alive2, connect, framed, read_to_end
from tests.support.machine import Machine
from tests.support.subnets import EPMD_PORT, Host
from tests.support.tools import require
from tests.support.zones import GATEWAY_PORT, Zones, reached, zones

pytestmark = pytest.mark.interop

NODE_PORT = 9001

CONNECT = b"CONNECT b1.az-b.internal:4369 HTTP/1.1\r\nHost: b1.az-b.internal:4369\r\n\r\n"

SEND_NAME = framed(b"N" + bytes(8) + bytes(4) + (3).to_bytes(2, "big") + b"a@b")

SAID = {
    "a list": framed(NAMES),
    "a registration": alive2("intruder", NODE_PORT),
    "a node's name": SEND_NAME,
    "CONNECT": CONNECT,
    "64 KiB": bytes(range(256)) * 256,
}
"""Without TLS."""

OPENSSL = """
    printf 'CONNECT b1.az-b.internal:4369 HTTP/1.1\\r\\nHost: b1\\r\\n\\r\\n' |
    timeout 10 openssl s_client -connect "$1" -quiet {more} 2>&1 || echo "status $?"
"""

CURL = """
    timeout 10 curl --verbose --proxy-insecure --proxy "https://$1" --proxytunnel {more} \
        http://b1.az-b.internal:4369/ 2>&1 || echo "status $?"
"""

ANSWER = {"openssl": "HTTP/1.1", "curl": "< HTTP/1.1"}
"""What each would show of an answer; curl shows what it says itself as well."""

ALERT = 21
"""A TLS record's type (RFC 8446 §6)."""


@pytest.fixture(scope="module")
def world() -> Iterator[Zones]:
    with zones() as world:
        yield world


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def certificates(world: Zones, folder: Path) -> tuple[Papers, Papers]:
    authority = Authority(folder)
    return papers(authority, world.near_edge), papers(authority, world.far_edge)


@pytest.fixture(scope="module")
def own(world: Zones, folder: Path) -> Issued:
    """What the attacker has made: a certificate with the relay's name, signed by a CA that is named alike."""
    (folder / "own").mkdir()
    return Authority(folder / "own").issue(world.near_edge.name)


@pytest.fixture(scope="module")
def ends(world: Zones, certificates: tuple[Papers, Papers]) -> Iterator[Ends]:
    near, far = one_way(world, *certificates)
    with joined(world, near, far + metrics(), faces_of_far(world)) as ends:
        yield ends


@pytest.fixture(scope="module")
def pair(world: Zones, ends: Ends) -> Iterator[tuple[Beam, Beam]]:
    """Two nodes that are linked through the hop."""
    with node("otp25", world.near[0]) as a, node("otp27", world.far[0], "app", *fixed_port(NODE_PORT)) as b:
        assert ping(a, b) == "pong"
        yield a, b


@pytest.fixture
def attacker(world: Zones) -> Host:
    return world.near[2]


@contextmanager
def in_vain(world: Zones, ends: Ends, pair: tuple[Beam, Beam], attacker: Host) -> Iterator[None]:
    """What is done meanwhile must be refused, logged and counted, and touch nobody else."""
    a, b = pair
    link, before = link_between(ends.far, a, b), len(ends.far.lines())
    counted = closed(world.far_edge)
    yield
    eventually(
        lambda: [line for line in ends.far.lines()[before:] if line["event"] == "client refused"],
        within=ENDED_WITHIN,
        what="the refusal of the attacker",
    )
    after = ends.far.lines()[before:]
    assert not [line for line in after if "tunnel" in line]
    refused = [line["client"] for line in after if line["event"] == "client refused"]
    assert {client.rpartition(":")[0] for client in refused} == {attacker.address}
    assert closed(world.far_edge) == counted + len(refused)
    assert a.eval(f"erpc:call('{b.name}', erlang, nodes, [connected]).") == f"['{a.name}']"
    assert link_between(ends.far, a, b) == link


def closed(machine: Machine) -> float:
    """Return how many connections the gateway on a machine has closed without a tunnel."""

    def fetch() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{METRICS_PORT}/metrics", timeout=5) as page:
            return str(page.read().decode())

    families = text_string_to_metric_families(machine.call(fetch))
    return sum(
        sample.value
        for family in families
        if family.name == "epmdless_gateway_closed"
        for sample in family.samples
        if sample.name.endswith("_total")
    )


@pytest.mark.parametrize("what", SAID)
def test_without_tls(world: Zones, ends: Ends, pair: tuple[Beam, Beam], attacker: Host, what: str) -> None:
    def say() -> bytes:
        with connect(GATEWAY_PORT, world.far_edge.address) as sock:
            with suppress(ConnectionResetError, BrokenPipeError):
                sock.sendall(SAID[what])
                sock.shutdown(socket.SHUT_WR)
            return read_to_end(sock)

    with in_vain(world, ends, pair, attacker):
        answer = attacker.call(say)
        assert len(answer) < 16
        assert not answer or answer[0] == ALERT


@pytest.mark.parametrize("with_own", [False, True])
@pytest.mark.parametrize(("tool", "script"), [("openssl", OPENSSL), ("curl", CURL)])
def test_with_tls(
    world: Zones,
    ends: Ends,
    pair: tuple[Beam, Beam],
    attacker: Host,
    own: Issued,
    tool: str,
    script: str,
    with_own: bool,
) -> None:
    require(tool)
    prefix = "-" if tool == "openssl" else "--proxy-"
    more = f'{prefix}cert "{own.cert}" {prefix}key "{own.key}"' if with_own else ""
    with in_vain(world, ends, pair, attacker):
        said = attacker.run(script.format(more=more), f"{world.far_edge.address}:{GATEWAY_PORT}")
        assert "alert" in said
        assert ANSWER[tool] not in said


def test_a_certificate_would_open_the_port(
    world: Zones, ends: Ends, attacker: Host, certificates: tuple[Papers, Papers]
) -> None:
    """So it is for want of one that nothing came of all that."""
    require("curl")
    stolen = certificates[0].issued
    more = f'--proxy-cert "{stolen.cert}" --proxy-key "{stolen.key}"'
    said = attacker.run(CURL.format(more=more), f"{world.far_edge.address}:{GATEWAY_PORT}")
    assert f"{ANSWER['curl']} 200" in said


@pytest.mark.parametrize("tls", [False, True])
def test_a_node_that_dials_the_gateway(
    world: Zones, ends: Ends, pair: tuple[Beam, Beam], attacker: Host, folders: Folders, tls: bool
) -> None:
    """It knows the cookie, and takes the gateway's port for a node's."""
    dialled = ("-erl_epmd_port", str(GATEWAY_PORT), "-hidden")
    attacker.know(stand_ins=True, also={world.far_edge.name: world.far_edge.address})
    with ExitStack() as stack:
        intruder = stack.enter_context(
            tls_node("otp27", attacker, folders, "intruder", *dialled)
            if tls
            else node("otp27", attacker, "intruder", *dialled)
        )
        with in_vain(world, ends, pair, attacker):
            assert ping(intruder, f"app@{world.far_edge.name}") == "pang"
            assert intruder.eval("nodes(connected).") == "[]"


@pytest.fixture(scope="module")
def folders(world: Zones) -> Iterator[Folders]:
    with certificate_folders(world.hosts) as folders:
        yield folders


def test_there_is_no_other_way(world: Zones, ends: Ends, pair: tuple[Beam, Beam], attacker: Host) -> None:
    edge = world.far_edge
    targets = [
        *((host.address, port) for host in world.far for port in (EPMD_PORT, NODE_PORT, GATEWAY_PORT)),
        *((address, EPMD_PORT) for address in edge.addresses),
        ("10.0.2.9", EPMD_PORT),
        ("10.0.2.9", GATEWAY_PORT),
    ]
    for machine in (attacker, world.near_edge):
        assert reached(machine, targets) == []
        assert reached(machine, targets, source_port=GATEWAY_PORT + 1) == []
        assert reached(machine, [(edge.address, GATEWAY_PORT)]) == [(edge.address, GATEWAY_PORT)]
    assert reached(attacker, targets, source_port=GATEWAY_PORT) == []
    with world.open():  # so it is the rules that keep them apart
        found = reached(attacker, targets)
    assert (world.far[0].address, EPMD_PORT) in found
    assert (world.far[0].address, NODE_PORT) in found
