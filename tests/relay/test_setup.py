"""What a route and the policy make of a link while it is set up, and what becomes of its dial."""

import socket
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from epmdless.links.ends import End
from epmdless.links.following import Connection
from epmdless.relay.door import Door
from epmdless.relay.setup import Ready, SetUp
from epmdless.wire.handshake import PUBLISHED, Ack, Reply, Side, Status, StatusKind, StatusReply, digest
from tests.relay.scripts import ALIVE, COMPLEMENT, OLD_NAME, SCRIPTS
from tests.support.link_sides import (
    ACK,
    CHALLENGE,
    DEADLINE,
    FAR_ADDRESS,
    FLAGS,
    HANDSHAKE,
    HOST,
    NAME,
    OK,
    REPLY,
    STAND_IN,
    Far,
    FarHost,
    Near,
    linked,
    passes,
)
from tests.support.ports import closed_port
from tests.support.relays import RelayHere, Settings, config_text, dialling, relay_to, route_to

NOT_ALLOWED = Status(StatusKind.NOT_ALLOWED)
NEAR_COOKIE, FAR_COOKIE = b"near-side-secret", b"far-side-secret"


def announced(near: Near, far_host: FarHost, name: str) -> Far:
    """Go on until the far node has said this name."""
    near.say(NAME)
    far = far_host.accept()
    assert far.hear() == NAME
    far.say(OK, replace(CHALLENGE, name=name))
    return far


# Who may.


def test_a_node_that_asks_for_a_name_is_judged_by_the_one_that_it_gets() -> None:
    rules = [{"action": "allow", "near": "*@a1.test"}, DENY_ALL]
    with FarHost() as far_host, relay_to(far_host, rules=rules), dialling(far_host) as near:
        assert passes(near, linked(near, far_host, SCRIPTS["named"]))


# The far node's name.


@pytest.mark.parametrize(
    ("name", "names"),
    [("b@c1.test", "*"), ("b@b1.test.internal", "*"), ("c@b1.test", "b*"), ("xb@b1.test", "b")],
)
def test_a_far_node_of_another_name_is_refused_in_place_of_the_ok(name: str, names: str) -> None:
    with FarHost() as far_host, relay_to(far_host, names=names) as relay, dialling(far_host) as near:
        far = announced(near, far_host, name)
        assert near.hear() == NOT_ALLOWED
        assert near.sees_the_end()
        assert far.sees_the_end()
        line = relay.end_of(near)
        assert line["end"] == "wrong_node"
        assert line["far"] == name
        assert line["near"] == NAME.name


def test_a_near_side_that_leaves_at_its_refusal_does_not_hide_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may be gone before the task that refused it has its next turn."""
    receive, send = SetUp.receive, SetUp._send
    left = trio.Event()

    async def receive_and_tell(self: SetUp, connection: Connection, side: Side) -> bytes:
        try:
            return await receive(self, connection, side)
        finally:
            if side is Side.NEAR and self.link.far.node is not None:
                left.set()

    async def send_and_wait(self: SetUp, connection: Connection | None, *payloads: bytes) -> None:
        await send(self, connection, *payloads)
        if self.link.far.node is not None:
            with trio.CancelScope(shield=True):
                await left.wait()

    monkeypatch.setattr(SetUp, "receive", receive_and_tell)
    monkeypatch.setattr(SetUp, "_send", send_and_wait)
    with FarHost() as far_host, relay_to(far_host) as relay, dialling(far_host) as near:
        announced(near, far_host, "b@c1.test")
        assert near.hear() == NOT_ALLOWED
        near.sock.close()
        line = relay.end_of(near)
        assert line["end"] == "wrong_node"
        assert line["detail"] == "b@c1.test answers for b1.test"


@pytest.mark.parametrize(("name", "names"), [("b@B1.TEST", "*"), ("b2@b1.test", "b?")])
def test_a_far_node_that_the_route_is_for_is_linked(name: str, names: str) -> None:
    with FarHost() as far_host, relay_to(far_host, names=names), dialling(far_host) as near:
        announced(near, far_host, name)
        assert near.hear() == OK
        assert near.hear() == replace(CHALLENGE, name=name)


def test_after_alive_another_name_just_ends_the_link() -> None:
    """The near node has had its status already."""
    with FarHost() as far_host, relay_to(far_host) as relay, dialling(far_host) as near:
        goes_on = StatusReply(goes_on=True)
        far = linked(near, far_host, [(Side.NEAR, NAME), (Side.FAR, ALIVE), (Side.NEAR, goes_on)])
        far.say(replace(CHALLENGE, name="b@elsewhere"))
        assert near.sees_the_end()
        assert relay.code_of(near) == "wrong_node"


# Policy.

DENY_ALL = {"action": "deny"}


def refused(near: Near, relay: RelayHere) -> bool:
    """Whether a near node is told so, and the log too."""
    assert near.hear() == NOT_ALLOWED
    assert near.sees_the_end()
    return relay.code_of(near) == "refused_by_policy"


@pytest.mark.parametrize(
    "rules",
    [
        [DENY_ALL],
        [{"action": "deny", "near": "a@*"}],
        [{"action": "deny", "far": "b"}, {"action": "deny", "host": "B1.*"}],
        [{"action": "deny", "from": ["127.0.0.0/24"]}],
        [{"action": "allow", "near": "z@*"}, DENY_ALL],
        [{"action": "allow", "from": ["10.0.0.0/8", "127.0.0.2"]}, DENY_ALL],
    ],
)
def test_what_is_known_of_a_link_before_the_dial_refuses_it_before_the_dial(
    rules: Sequence[Settings],
) -> None:
    with FarHost() as far_host, relay_to(far_host, rules=rules) as relay, dialling(far_host) as near:
        near.say(NAME)
        assert refused(near, relay)
        assert relay.end_of(near)["detail"] == f"relay.rule[{len(rules) - 1}]"
        assert far_host.drain() == 0


@pytest.mark.parametrize(
    "rules",
    [
        [{"action": "deny", "far": "b"}],
        [{"action": "deny", "far": "b*", "host": "b1.test"}],
        [{"action": "allow", "far": "c*"}, DENY_ALL],
        [{"action": "allow", "far": "c*"}, {"action": "deny", "near": "a@*"}],
    ],
)
def test_a_far_name_that_only_the_challenge_tells_is_refused_in_place_of_the_ok(
    rules: Sequence[Settings],
) -> None:
    with FarHost() as far_host, relay_to(far_host, rules=rules) as relay, dialling(far_host) as near:
        far = announced(near, far_host, CHALLENGE.name)
        assert refused(near, relay)
        assert far.sees_the_end()


@pytest.mark.parametrize(
    "rules",
    [
        [{"action": "deny", "far": "c*"}],
        [{"action": "allow", "far": "b"}, DENY_ALL],
        [{"action": "allow", "far": "b", "host": "*.test", "near": "a@*"}, DENY_ALL],
        [{"action": "deny", "near": "z@*"}, {"action": "allow", "host": "b1.test"}, DENY_ALL],
        [{"action": "allow", "from": ["127.0.0.1"]}, DENY_ALL],
    ],
)
def test_a_link_that_the_rules_allow_is_set_up(rules: Sequence[Settings]) -> None:
    with FarHost() as far_host, relay_to(far_host, rules=rules), dialling(far_host) as near:
        assert passes(near, linked(near, far_host))


# Flags and digests.


@pytest.mark.parametrize("hidden", [True, False])
def test_hidden_clears_published_on_both_sides_and_nothing_else(hidden: bool) -> None:
    with FarHost() as far_host, relay_to(far_host, hidden=hidden) as relay, dialling(far_host) as near:
        near.say(replace(NAME, trailing=b"x"))
        far = far_host.accept()
        flags = FLAGS & ~PUBLISHED if hidden else FLAGS
        assert far.hear() == replace(NAME, flags=flags, trailing=b"x")
        far.say(OK, CHALLENGE)
        assert near.hear() == OK
        assert near.hear() == replace(CHALLENGE, flags=flags)
        near.say(REPLY)
        assert far.hear() == REPLY
        far.say(ACK)
        assert near.hear() == ACK
        (view,) = relay.wait_for_links(1)
        assert (view["near"]["flags"], view["far"]["flags"]) == (FLAGS, FLAGS)


def test_hidden_clears_published_in_an_old_name_and_leaves_its_complement() -> None:
    with FarHost() as far_host, relay_to(far_host, hidden=True) as relay, dialling(far_host) as near:
        near.say(OLD_NAME)
        far = far_host.accept()
        assert far.hear() == replace(OLD_NAME, flags=OLD_NAME.flags & ~PUBLISHED)
        far.say(OK, CHALLENGE)
        assert near.hear() == OK
        assert near.hear() == replace(CHALLENGE, flags=FLAGS & ~PUBLISHED)
        near.say(COMPLEMENT, REPLY)
        assert far.hear() == COMPLEMENT
        assert far.hear() == REPLY
        far.say(ACK)
        assert near.hear() == ACK
        (view,) = relay.wait_for_links(1)
        assert (view["near"]["flags"], view["near"]["creation"]) == (FLAGS, COMPLEMENT.creation)


def cookie_files(folder: Path) -> dict[str, Any]:
    """A route's keys for two cookies."""
    keys = {}
    for key, cookie in (("cookie_near", NEAR_COOKIE), ("cookie_far", FAR_COOKIE)):
        path = folder / key
        path.touch(mode=0o400)
        path.chmod(0o600)
        path.write_bytes(cookie)
        keys[key] = str(path)
    return keys


def bridge(near: Near, far_host: FarHost, near_cookie: bytes, far_cookie: bytes) -> Far:
    """Go on up to both digests, each side with its own cookie; check what the far side gets."""
    far = announced(near, far_host, CHALLENGE.name)
    assert [near.hear(), near.hear()] == [OK, CHALLENGE]
    near.say(Reply(7, digest(near_cookie, CHALLENGE.challenge)))
    if near_cookie == NEAR_COOKIE:
        assert far.hear() == Reply(7, digest(FAR_COOKIE, CHALLENGE.challenge))
        far.say(Ack(digest(far_cookie, 7)))
    return far


def test_two_cookies_are_bridged(tmp_path: Path) -> None:
    with FarHost() as far_host, relay_to(far_host, **cookie_files(tmp_path)), dialling(far_host) as near:
        far = bridge(near, far_host, NEAR_COOKIE, FAR_COOKIE)
        assert near.hear() == Ack(digest(NEAR_COOKIE, 7))
        assert passes(near, far)
        assert passes(far, near)


@pytest.mark.parametrize(
    ("near_cookie", "far_cookie", "whose"),
    [
        (b"wrong", FAR_COOKIE, "cookie_near"),
        (FAR_COOKIE, FAR_COOKIE, "cookie_near"),
        (NEAR_COOKIE, b"wrong", "cookie_far"),
        (NEAR_COOKIE, NEAR_COOKIE, "cookie_far"),
    ],
)
def test_a_wrong_cookie_at_a_bridge_ends_both_sides(
    tmp_path: Path, near_cookie: bytes, far_cookie: bytes, whose: str
) -> None:
    with FarHost() as far_host, relay_to(far_host, **cookie_files(tmp_path)) as relay:
        with dialling(far_host) as near:
            far = bridge(near, far_host, near_cookie, far_cookie)
            assert near.sees_the_end()
            assert far.sees_the_end()
            line = relay.end_of(near)
            assert line["end"] == "wrong_cookie"
            assert whose in line["detail"]
        text = repr(relay.lines).encode()
        for secret in (
            NEAR_COOKIE,
            FAR_COOKIE,
            digest(near_cookie, CHALLENGE.challenge),
            digest(far_cookie, 7),
        ):
            assert secret not in text
            assert secret.hex().encode() not in text


def test_a_far_node_that_closes_on_a_digest_found_the_cookie_wrong() -> None:
    with FarHost() as far_host, relay_to(far_host) as relay, dialling(far_host) as near:
        far = linked(near, far_host, HANDSHAKE[:4])
        far.close()
        assert near.sees_the_end()
        assert relay.code_of(near) == "wrong_cookie"


# The dial.


def test_nobody_listens_there() -> None:
    with closed_port() as port:
        route = {"host": HOST, "listen": STAND_IN, "dial": "127.0.0.1", "ports": [str(port)]}
        with RelayHere(config_text(route)) as relay, Near(STAND_IN, port) as near:
            near.say(NAME)
            assert near.sees_the_end()
            line = relay.end_of(near)
            assert line["end"] == "dial_refused"
            assert line["far_address"] == f"127.0.0.1:{port}"
            assert "Connection refused" in line["detail"]


def test_the_far_host_has_no_address() -> None:
    with FarHost() as far_host:
        text = config_text(route_to(far_host, dial="nowhere.test"))
        with RelayHere(text, hosts={}) as relay, dialling(far_host) as near:
            near.say(NAME)
            assert near.sees_the_end()
            assert relay.code_of(near) == "target_unknown"


def test_a_far_host_whose_name_means_ourselves_is_not_dialled() -> None:
    with FarHost() as far_host:
        text = config_text(route_to(far_host, dial="loop.test"))
        with RelayHere(text, hosts={"loop.test": [STAND_IN]}) as relay, dialling(far_host) as near:
            near.say(NAME)
            assert near.sees_the_end()
            assert relay.code_of(near) == "target_unknown"
            assert "this relay itself" in relay.end_of(near)["detail"]


def test_a_far_host_by_name_is_dialled_at_its_address() -> None:
    with FarHost() as far_host:
        text = config_text(route_to(far_host, dial="far.test"))
        with RelayHere(text, hosts={"far.test": [FAR_ADDRESS]}), dialling(far_host) as near:
            assert passes(near, linked(near, far_host))


def test_a_far_host_that_answers_no_dial_is_given_up_in_time() -> None:
    """A listener whose queue is full drops what comes."""
    with (
        FarHost(backlog=0) as far_host,
        socket.create_connection((FAR_ADDRESS, far_host.port)),
        relay_to(far_host, setup_timeout="300ms") as relay,
        dialling(far_host) as near,
    ):
        near.say(NAME)
        assert near.sees_the_end()
        assert relay.code_of(near) == "dial_timed_out"


def test_a_far_host_that_resets_at_once_is_no_fault_of_ours() -> None:
    with FarHost() as far_host, relay_to(far_host) as relay:
        for _ in range(20):
            with dialling(far_host) as near:
                near.say(NAME)
                far_host.accept().reset()
                assert near.sees_the_end()
                assert relay.code_of(near) in ("far_reset", "far_closed", "dial_refused")


def test_a_near_side_that_resets_at_once_is_no_fault_of_ours() -> None:
    with FarHost() as far_host, relay_to(far_host) as relay:
        for _ in range(20):
            near = dialling(far_host)
            near.reset()
            assert relay.code_of(near) == "near_reset"


def test_a_near_side_that_breaks_at_the_moment_of_handing_over_ends_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The pump finds it out in its first write."""
    run = SetUp.run
    heard = threading.Event()

    async def run_slowly(self: SetUp) -> Ready:
        ready = await run(self)
        await trio.to_thread.run_sync(heard.wait, DEADLINE)
        near.reset()
        return replace(ready, from_far=b"\0\0\0\0")

    monkeypatch.setattr(SetUp, "run", run_slowly)
    with FarHost() as far_host, relay_to(far_host) as relay, dialling(far_host) as near:
        far = linked(near, far_host)
        heard.set()
        assert far.end()[1] == "reset"
        assert relay.code_of(near) == "near_reset"


def test_a_fault_of_ours_ends_one_link_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError("a secret")

    with FarHost() as far_host, relay_to(far_host) as relay, dialling(far_host) as good:
        far = linked(good, far_host)
        with monkeypatch.context() as patch, dialling(far_host) as bad:
            patch.setattr(Door, "_dial_target", fail)
            bad.say(NAME)
            assert bad.sees_the_end()
            assert relay.code_of(bad) == End.INTERNAL
        assert passes(good, far)
        (fault,) = [line for line in relay.lines if line["event"] == "internal error"]
        assert fault["kind"] == "ZeroDivisionError"
        assert "a secret" not in repr(relay.lines)
        relay.lines.remove(fault)
