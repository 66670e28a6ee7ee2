"""What each request is answered with, and to whom."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import structlog

from epmdless import metrics
from epmdless.epmd.desk import NO_REPLY, WAIT, Answer, Caller, Desk, Settings, Then
from epmdless.metrics import Metrics
from epmdless.policy import AccessList, Network
from epmdless.registry import Registry
from epmdless.resolve.chain import Chain
from epmdless.resolve.convention import SchemeResolver
from epmdless.resolve.outcomes import Found, Outcome, Query, Verdict
from epmdless.resolve.registered import RegisteredResolver
from epmdless.schemes import SuffixScheme
from epmdless.wire.epmd import (
    Alive2Request,
    DumpRequest,
    KillRequest,
    NamesRequest,
    Node,
    PortPlease2Request,
    Request,
    StopRequest,
    UnacceptableAlive2,
)
from epmdless.wire.epmd_replies import MISS, decode_port_reply

NEAR = Caller(fd=9, address="127.0.0.1", local=True, port=4369)
FAR = Caller(fd=10, address="10.0.0.5", local=False, port=4369)
NOW = 1_800_000_000


class SlowResolver:
    """A resolver whose answer takes I/O."""

    name = "srv"

    def answer_now(self, query: Query) -> Outcome:
        return Verdict.WAIT

    async def answer(self, query: Query) -> Outcome:
        return Found.unregistered(query.alive, 7777, self.name)


class Office:
    """A desk with all that it needs, and the log lines that it wrote."""

    def __init__(self, *, most: int = 100, resolvers: Callable[[Registry], list[Any]] | None = None) -> None:
        self.registry, self.counts, self.lines = Registry(), Metrics(), structlog.testing.LogCapture()
        log = structlog.wrap_logger(None, processors=[self.lines])
        self.ended: set[int] = set()
        made = resolvers or (lambda registry: [RegisteredResolver(registry), SchemeResolver(SuffixScheme())])
        self.desk = Desk(
            self.registry,
            Settings(Chain(made(self.registry), (), log), SuffixScheme(), "b1.internal"),
            self.counts,
            log,
            max_registrations=most,
            has_ended=lambda fd: fd in self.ended,
            end=lambda fd, why: self.end(fd),
            now=lambda: NOW,
        )

    def end(self, fd: int) -> None:
        self.registry.unregister(fd)

    def set(self, **changes: Any) -> None:
        self.desk.settings = replace(self.desk.settings, **changes)

    def register(self, name: str, port: int = 7001, fd: int = 9, high: int = 6) -> Answer:
        return self.desk.answer(Alive2Request(Node(port, name, highest=high)), NEAR._replace(fd=fd))

    def events(self) -> list[str]:
        return [line["event"] for line in self.lines.entries]


@pytest.fixture
def office() -> Office:
    return Office()


REFUSED = Answer(b"v\x01\0\0\0\x63", Then.LINGER)


def granted(creation: int) -> Answer:
    return Answer(b"v\0" + creation.to_bytes(4, "big"), Then.REGISTERED)


def test_a_registration_is_granted_and_found(office: Office) -> None:
    assert office.register("a") == granted(NOW + 1)
    answer = office.desk.answer(PortPlease2Request("a"), FAR)
    reply = decode_port_reply(answer.reply, closed=True)
    assert reply is not None
    assert reply.node == Node(7001, "a")
    assert office.counts.value(metrics.LOOKUPS, "registered", "found") == 1


def test_an_old_node_sees_a_creation_of_1_to_3(office: Office) -> None:
    assert office.register("a", high=5) == Answer(
        b"y\0" + ((NOW + 1) % 3 + 1).to_bytes(2, "big"), Then.REGISTERED
    )


def test_a_taken_name_is_refused(office: Office) -> None:
    office.register("a")
    assert office.register("a", fd=11) == REFUSED
    assert office.counts.value(metrics.REFUSALS, "alive2", "taken") == 1


def test_a_holder_that_has_ended_unread_makes_way(office: Office) -> None:
    office.register("a")
    office.ended.add(9)
    assert office.register("a", fd=11) == granted(NOW + 2)
    assert [(r.node.name, r.fd) for r in office.registry] == [("a", 11)]


def test_a_full_table_refuses() -> None:
    office = Office(most=1)
    office.register("a")
    assert office.register("b", fd=11) == REFUSED
    assert office.counts.value(metrics.REFUSALS, "alive2", "full") == 1


@pytest.mark.parametrize(
    "request_",
    [
        Alive2Request(Node(1, "a")),
        UnacceptableAlive2(6, "name-encoding"),
        DumpRequest(),
        KillRequest(),
        StopRequest("a"),
    ],
)
def test_strangers_may_only_look(office: Office, request_: Request) -> None:
    office.set(relaxed_command_check=True)
    assert office.desk.answer(request_, FAR) == NO_REPLY
    assert len(office.registry) == 0
    assert office.events() == ["refused"]


def test_names_and_misses_are_for_everybody(office: Office) -> None:
    assert office.desk.answer(NamesRequest(), FAR).reply == b"\0\0\x11\x11"
    assert office.desk.answer(PortPlease2Request("nobody"), FAR).reply == MISS


def test_access_lists_narrow_lookups_and_names_apart(office: Office) -> None:
    nobody, subnet = AccessList(()), AccessList([Network.parse("10.0.0.0/24")])
    office.set(lookup_access=subnet, names_access=nobody)
    assert office.desk.answer(PortPlease2Request("app-9001"), FAR).reply[:2] == b"w\0"
    assert office.desk.answer(PortPlease2Request("app-9001"), NEAR) == NO_REPLY
    assert office.desk.answer(NamesRequest(), FAR) == NO_REPLY
    assert office.counts.value(metrics.REFUSALS, "names", "access") == 1


def test_a_mismatch_is_warned_of_once_a_name(office: Office) -> None:
    for _ in range(3):
        assert office.register("app-9001", 9002).then is Then.REGISTERED
        office.end(9)
    assert office.events().count("scheme mismatch") == 1
    assert office.counts.value(metrics.MISMATCHES) == 3


def test_a_mismatch_can_be_refused_or_ignored(office: Office) -> None:
    office.set(on_mismatch="reject")
    assert office.register("app-9001", 9002) == REFUSED
    assert office.register("app-9001", 9001).then is Then.REGISTERED
    office.set(on_mismatch="ignore")
    assert office.register("app-9003", 9004, fd=11).then is Then.REGISTERED


def test_kill_is_refused_while_nodes_live_unless_relaxed(office: Office) -> None:
    office.register("a")
    assert office.desk.answer(KillRequest(), NEAR) == Answer(b"NO")
    office.set(relaxed_command_check=True)
    assert office.desk.answer(KillRequest(), NEAR) == Answer(b"OK", Then.END_SERVER)


def test_kill_is_granted_when_nobody_is_registered(office: Office) -> None:
    assert office.desk.answer(KillRequest(), NEAR) == Answer(b"OK", Then.END_SERVER)


def test_stop_needs_the_relaxed_check(office: Office) -> None:
    office.register("a")
    assert office.desk.answer(StopRequest("a"), NEAR) == NO_REPLY
    office.set(relaxed_command_check=True)
    assert office.desk.answer(StopRequest("b"), NEAR) == Answer(b"NOEXISTSTOPPED")
    assert office.desk.answer(StopRequest("a"), NEAR) == Answer(b"STOPPED")
    assert len(office.registry) == 0


def test_dump_tells_the_living_and_the_departed(office: Office) -> None:
    office.register("a")
    office.register("b", 7002, fd=11)
    office.end(9)
    assert office.desk.answer(DumpRequest(), NEAR).reply == (
        b"\0\0\x11\x11"
        b"active name     <b> at port 7002, fd = 11\n\0"
        b"old/unused name <a>, port = 7001, fd = 9 \n\0"
    )


async def test_a_lookup_that_takes_io_waits_and_is_answered() -> None:
    office = Office(resolvers=lambda registry: [SlowResolver()])
    assert office.desk.answer(PortPlease2Request("a"), FAR) is WAIT
    reply = decode_port_reply((await office.desk.look_up("a")).reply, closed=True)
    assert reply is not None
    assert reply.node == Node(7777, "a")
