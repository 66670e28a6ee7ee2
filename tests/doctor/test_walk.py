"""The whole walk: where it ends for each fault, and what the node saw of it."""

from __future__ import annotations

import gc

import pytest
import trio
from trio.testing import MockClock

from epmdless.config import FixedSection, ResolveSection
from epmdless.doctor.report import EXIT_STATUS, LIMITS, StepName
from epmdless.wire.handshake import PUBLISHED, Ack, Challenge, Status, StatusKind
from tests.cluster.scripted_node import COOKIE, FLAGS, HTTP, Step
from tests.doctor.world import HOST, NAME, OTHER, OWN, Server, Walked, World, world_at
from tests.support.ports import closed_port
from tests.support.relays import Hosts

ALL_WELL = "ooooooo"
"""The steps up to the node's name."""


def fixed(port: int) -> ResolveSection:
    """A chain that promises a port."""
    return ResolveSection(scheme=FixedSection(port=port))


def ends_at(walked: Walked, name: StepName) -> None:
    assert (walked.ended_at, walked.report.status) == (name, EXIT_STATUS[name])
    assert walked.advice


# All well


async def test_without_a_cookie_it_ends_after_the_challenge(world: World) -> None:
    walked = await world.walk()
    assert (walked.verdicts, walked.report.status) == (ALL_WELL + "so", 0)
    assert walked.said("epmd") == f"port {world.port}"
    assert walked.said("identity") == f"{NAME}, visible, OTP 25 to 27, creation 77"
    assert walked["round_trip"].finding.details["measured_by"] == "handshake"
    assert world.node.named == [f"epmdless-8@{OWN}"]
    assert world.node.proofs == 0
    assert all(step.seconds is None or step.seconds < 1 for step in walked.report.steps)


async def test_with_the_cookie_it_calls_and_leaves(world: World) -> None:
    walked = await world.walk(cookie=COOKIE)
    assert (walked.verdicts, walked.report.status) == (ALL_WELL + "oo", 0)
    assert "OTP 27" in walked.said("round_trip")
    assert [call.function for call in world.node.calls] == ["system_info"]
    (visit,) = [visit for visit in world.node.visits if visit.name]
    assert not visit.flags & PUBLISHED, "we are hidden"
    await trio.testing.wait_all_tasks_blocked(0.01)
    assert world.node.links == []
    assert COOKIE.decode() not in str(walked.report.to_json())


async def test_a_hidden_node(world: World) -> None:
    world.node.flags = FLAGS & ~PUBLISHED
    walked = await world.walk()
    assert walked.report.status == 0
    assert walked["identity"].finding.details["hidden"] is True
    assert "hidden" in walked.said("identity")


async def test_a_node_older_than_otp_23(world: World) -> None:
    world.register("app", highest=5)
    world.node.says_old_name = True
    walked = await world.walk(cookie=COOKIE)
    assert walked.report.status == 0
    assert walked["handshake"].finding.details["version"] == 5
    assert "older than OTP 23" in walked.said("identity")


async def test_ipv6() -> None:
    async with world_at("::1", "app@::1") as world:
        walked = await world.walk("app@::1", cookie=COOKIE)
        assert (walked.verdicts, walked.report.status) == (ALL_WELL + "oo", 0)
        assert walked["tcp"].finding.details["address"] == "::1"


# Names


@pytest.mark.parametrize("name", ["app", "@b1", "app@", "", "a@b@c", "a b@c", "a\x1b[2J@c", "a" * 256 + "@b"])
async def test_what_is_no_name_asks_nobody(name: str, world: World) -> None:
    walked = await world.walk(name)
    ends_at(walked, "name")
    assert walked.verdicts == "f" + "s" * 8
    assert world.epmd.heard == []


async def test_no_such_host(world: World) -> None:
    trio.socket.set_custom_hostname_resolver(Hosts({}))
    walked = await world.walk("app@b1.test")
    ends_at(walked, "dns")
    assert "no such host: b1.test" in walked.said("dns")


async def test_a_near_name_is_proposed(world: World) -> None:
    walked = await world.walk(f"ap@{HOST}")
    ends_at(walked, "epmd")
    assert "it does not know ap; did you mean app?" in walked.said("epmd")
    assert walked["epmd"].finding.details["did_you_mean"] == ["app"]
    assert world.node.visits == []


async def test_a_host_without_any_node(world: World) -> None:
    world.epmd.nodes.clear()
    walked = await world.walk()
    ends_at(walked, "epmd")
    assert "no node at all is registered there" in walked.advice


# EPMD


async def test_no_epmd_and_no_promise(world: World) -> None:
    with closed_port() as port:
        walked = await world.walk(epmd_port=port)
    ends_at(walked, "epmd")
    assert walked.verdicts == "oof" + "s" * 6
    assert "refused: nobody listens there" in walked.said("epmd")
    assert "epmdless serve" in walked.advice


async def test_no_epmd_and_a_promise_that_is_kept(world: World) -> None:
    with closed_port() as port:
        walked = await world.walk(epmd_port=port, resolve=fixed(world.port))
    ends_at(walked, "epmd")
    assert walked.verdicts == "oofoooo" + "so"
    assert f"the scheme promises {world.port}: tried there, and the node is there" in walked.said("epmd")
    assert "-erl_epmd_port" in walked.advice


async def test_no_epmd_and_a_promise_that_is_not_kept(world: World) -> None:
    with closed_port() as port:
        walked = await world.walk(epmd_port=port, resolve=fixed(port))
    ends_at(walked, "epmd")
    assert walked.verdicts == "oof" + "f" + "s" * 5


async def test_nodes_that_ask_no_epmd(world: World) -> None:
    walked = await world.walk(asks_epmd=False, resolve=fixed(world.port))
    assert (walked.verdicts, walked.report.status) == ("oosooooso", 0)
    assert world.epmd.heard == []
    ends_at(await world.walk(asks_epmd=False), "epmd")


async def test_a_mismatch_that_does_no_harm_is_a_warning(world: World) -> None:
    walked = await world.walk(resolve=fixed(9001))
    assert (walked.verdicts, walked.report.status) == ("oowoooo" + "so", 0)
    assert walked.said("epmd") == f"port {world.port}, but the scheme promises 9001"
    assert "inet_dist_listen_min 9001" in walked.advice


async def test_a_mismatch_that_explains_the_failure_is_the_fault(world: World) -> None:
    """An EPMD that lies: its port is closed, the one that the name promises is the node's."""
    with closed_port() as port:
        world.register("app", port)
        walked = await world.walk(resolve=fixed(world.port), cookie=COOKIE)
    ends_at(walked, "epmd")
    assert walked.verdicts == "oof" + "oooo" + "oo"
    assert f"EPMD says port {port}, where the way ends (tcp: " in walked.said("epmd")
    assert f"the node is at {world.port}, as the scheme promises" in walked.said("epmd")


async def test_a_mismatch_where_neither_port_is_the_nodes(world: World) -> None:
    with closed_port() as port:
        world.register("app", port)
        world.node.name = "other@elsewhere"
        walked = await world.walk(resolve=fixed(world.port))
    ends_at(walked, "tcp")
    assert walked.verdicts == "oowf" + "s" * 5
    assert world.node.proofs == 0


async def test_an_epmd_that_leads_to_another_node(world: World) -> None:
    other, port = await world.also(f"other@{HOST}")
    world.register("app", port)
    walked = await world.walk(cookie=COOKIE)
    ends_at(walked, "identity")
    assert f"another node answers: other@{HOST}" in walked.said("identity")
    assert other.named == [f"epmdless-8@{OWN}"]
    assert other.proofs == 0, "it is shown nothing that our cookie made"


async def test_an_epmd_that_says_port_0(world: World) -> None:
    world.register("app", 0)
    walked = await world.walk()
    ends_at(walked, "epmd")
    assert "port 0" in walked.said("epmd")
    walked = await world.walk(resolve=fixed(world.port))
    ends_at(walked, "epmd")
    assert walked.verdicts == "oofoooo" + "so"


async def test_another_address_of_the_host_knows_the_node(world: World) -> None:
    trio.socket.set_custom_hostname_resolver(Hosts({"b1.test": [OTHER, HOST]}))
    world.node.name = "app@b1.test"
    walked = await world.walk("app@b1.test")
    assert walked.report.status == 0
    assert f"not at {OTHER}: refused" in walked.said("epmd")
    assert walked["tcp"].finding.verdict == "warning"
    assert walked["tcp"].finding.details["address"] == HOST


# TCP, and what is no node


async def test_a_closed_port(world: World) -> None:
    with closed_port() as port:
        world.register("app", port)
        walked = await world.walk()
    ends_at(walked, "tcp")
    assert "let this host in (nft list ruleset)" in walked.advice
    assert walked.said("tcp") == f"port {port} at {HOST}: refused: nobody listens there"


@pytest.mark.parametrize(
    ("says", "who"),
    [
        (HTTP, "a web server (“HTTP/1.1 400 Bad Request”)"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "an SSH server"),
        (b"\x1b]0;owned\x07\r\n", "something else (bytes 1b 5d"),
    ],
)
async def test_another_program_has_the_port(says: bytes, who: str, world: World) -> None:
    stranger = Server()
    stranger.says = says
    world.register("app", await world.nursery.start(stranger.listen, HOST))
    walked = await world.walk(cookie=COOKIE)
    ends_at(walked, "handshake")
    assert who in walked.said("handshake")
    assert len(stranger.heard) == 1, "no name is told where no node is"


async def test_a_web_server_that_waits_for_the_end_of_a_line(world: World) -> None:
    stranger = Server()
    stranger.says, stranger.at_line_end = HTTP, True
    world.register("app", await world.nursery.start(stranger.listen, HOST))
    walked = await world.walk()
    ends_at(walked, "handshake")
    assert "a web server" in walked.said("handshake")


async def test_a_port_that_says_nothing(world: World, patient_clock: MockClock) -> None:
    silent = Server()
    silent.says, silent.then = b"", "hang"
    world.register("app", await world.nursery.start(silent.listen, HOST))
    walked = await world.walk()
    ends_at(walked, "handshake")
    assert "says nothing within 7 s" in walked.said("handshake")
    assert walked["tls"].finding.verdict == "warning"


# The handshake


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (Status(StatusKind.NOT_ALLOWED), "not_allowed"),
        (Status(StatusKind.NAMED, "x@y", 4), "none that belongs there"),
    ],
)
async def test_a_node_that_does_not_take_us(status: Status, said: str, world: World) -> None:
    world.node.status = status
    walked = await world.walk(cookie=COOKIE)
    ends_at(walked, "handshake")
    assert said in walked.said("handshake")


async def test_names_that_are_taken_stay_so(world: World) -> None:
    """The scripted node sees that the answer to `alive` is no."""
    taken = {f"epmdless-{number}@{OWN}" for number in (8, 7)}
    world.node.taken |= taken
    walked = await world.walk(cookie=COOKIE)
    assert walked.report.status == 0
    assert walked["handshake"].finding.details["own_name"] == f"epmdless-6@{OWN}"
    assert world.node.taken >= taken
    await trio.testing.wait_all_tasks_blocked(0.01)  # the node has seen that we left
    world.node.taken |= {f"epmdless-{number}@{OWN}" for number in range(1, 9)}
    walked = await world.walk()
    ends_at(walked, "handshake")
    assert "connected already" in walked.said("handshake")


@pytest.mark.parametrize("step", [Step.NAME, Step.STATUS])
@pytest.mark.parametrize("how", ["hang", "close", "reset"])
async def test_a_node_that_stops_in_the_handshake(
    step: Step, how: str, world: World, patient_clock: MockClock
) -> None:
    world.node.stops_at, world.node.stops_by = step, how  # type: ignore[assignment]
    began = trio.current_time()
    walked = await world.walk()
    ends_at(walked, "handshake")
    assert trio.current_time() - began <= LIMITS["handshake"] + LIMITS["tls"]


async def test_a_relay_that_does_not_reach_the_node(world: World) -> None:
    """It takes the connection and the name, dials, and has nothing to say."""
    world.node.stops_at, world.node.stops_by = Step.NAME, "close"
    walked = await world.walk()
    ends_at(walked, "handshake")
    assert "see the relay's log" in walked.advice


@pytest.mark.parametrize("bytes_", [b"\0\x03sxx", b"\0\0", b"\xff\xff", b"\0\x01N", b"\0\x05sok\n\x1b"])
async def test_what_no_node_says(bytes_: bytes, world: World) -> None:
    world.node.instead_of[Status] = bytes_
    walked = await world.walk()
    ends_at(walked, "handshake")
    assert "\x1b" not in walked.report.to_json()["steps"][5]["said"]


@pytest.mark.parametrize(("host", "flag"), [(HOST, "name"), ("b1", "sname")])
async def test_the_same_node_under_another_host_part(host: str, flag: str, world: World) -> None:
    trio.socket.set_custom_hostname_resolver(Hosts({"b1": [HOST]}))
    world.node.name = "app@b1.internal"
    walked = await world.walk(f"app@{host}")
    ends_at(walked, "identity")
    assert f"connect to app@b1.internal, or start it with -{flag} app@{host}" in walked.advice
    assert f"RELEASE_DISTRIBUTION={flag}" in walked.advice


# The cookie


async def test_a_wrong_cookie(world: World) -> None:
    walked = await world.walk(cookie=b"another")
    ends_at(walked, "cookie")
    assert "wrong" in walked.said("cookie")
    assert walked.verdicts == ALL_WELL + "fs"


async def test_a_node_that_does_not_know_the_cookie_itself(world: World) -> None:
    world.node.instead_of[Ack] = Ack(bytes(16))
    walked = await world.walk(cookie=COOKIE)
    ends_at(walked, "cookie")
    assert walked["cookie"].finding.details["cookie"] == "unknown_to_node"


async def test_a_node_that_hangs_at_the_cookie(world: World, patient_clock: MockClock) -> None:
    world.node.stops_at = Step.REPLY
    walked = await world.walk(cookie=COOKIE)
    ends_at(walked, "cookie")
    assert "within 7 s" in walked.said("cookie")


@pytest.mark.parametrize("what", ["hangs", "dies", "rubbish"])
async def test_a_node_that_does_not_answer_the_call(
    what: str, world: World, patient_clock: MockClock
) -> None:
    world.node.is_hung = what == "hangs"
    world.node.dies_at = "system_info" if what == "dies" else None
    world.node.raw_answer = b"\xff" * 8 if what == "rubbish" else None
    ends_at(await world.walk(cookie=COOKIE), "round_trip")


# Whoever else listens


async def test_an_imposter_with_a_name_of_control_characters(world: World) -> None:
    """No node can have such a name; whatever it says reaches nobody's terminal."""
    name = "app\x9b31m@b1"
    world.node.instead_of[Challenge] = b"".join(
        [
            (19 + len(name)).to_bytes(2, "big"),
            b"N" + FLAGS.to_bytes(8, "big") + bytes(8) + len(name).to_bytes(2, "big"),
            name.encode("latin-1"),
        ]
    )
    walked = await world.walk(cookie=COOKIE)
    ends_at(walked, "identity")
    assert "\x9b" not in str(walked.report.to_json()["steps"])
    assert world.node.proofs == 0


async def test_who_breaks_off_leaves_nothing_open(world: World) -> None:
    """A socket that is left to the garbage collector would be a warning, and so an error here."""
    world.node.stops_at = Step.STATUS
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.walk)
        while not world.node.named:
            await trio.testing.wait_all_tasks_blocked(0.001)
        nursery.cancel_scope.cancel()
    await trio.testing.wait_all_tasks_blocked(0.01)
    gc.collect()
    assert world.node.links == []
