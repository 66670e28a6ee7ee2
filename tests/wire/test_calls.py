"""Calls of functions in a node: what is asked, and what answers of real nodes mean."""

import pytest

from epmdless.wire.calls import Outcome, Raised, Returned, erpc_call, erpc_outcome, rex_call, rex_outcome
from epmdless.wire.distribution import FrameReader, MonitorExit, Sent, SpawnReply, decode_payload
from epmdless.wire.terms import Atom, Opaque, Term, decode, decode_prefix
from tests.wire.erlang_frames import OUTCOMES, PID, RELEASES, REX_OUTCOMES, payload, reference

REX = Atom("rex")
RETURN = Atom("return")
ERROR = Atom("error")

by_release = pytest.mark.parametrize("otp", RELEASES)


@by_release
@pytest.mark.parametrize("title", OUTCOMES)
def test_what_a_node_answers_to_a_call_by_erpc(otp: str, title: str) -> None:
    answer = decode_payload(payload(otp, title))
    assert isinstance(answer, SpawnReply | MonitorExit)
    assert erpc_outcome(answer) == OUTCOMES[title]


@by_release
def test_a_process_that_was_spawned_is_no_outcome_yet(otp: str) -> None:
    answer = decode_payload(payload(otp, "spawned"))
    assert isinstance(answer, SpawnReply)
    assert erpc_outcome(answer) is None


@by_release
@pytest.mark.parametrize("title", REX_OUTCOMES)
def test_what_a_node_answers_to_a_call_by_rex(otp: str, title: str) -> None:
    answer = decode_payload(payload(otp, title))
    assert isinstance(answer, Sent)
    assert answer.to == PID
    assert rex_outcome(answer.message) == REX_OUTCOMES[title]


@pytest.mark.parametrize(
    ("reason", "outcome"),
    [
        ((reference(1), RETURN, [RETURN]), Returned([RETURN])),
        ((reference(1), ERROR, (Atom("erpc"), Atom("system_limit"))), Raised("error", "{erpc,system_limit}")),
        ((reference(2), RETURN, 1), Raised("down", "{#Reference<epmdless@127.0.0.1>,return,1}")),
        ([reference(1), RETURN, 1], Raised("down", "[#Reference<epmdless@127.0.0.1>,return,1]")),
        ((reference(1), b"return", 1), Raised("down", '{#Reference<epmdless@127.0.0.1>,<<"return">>,1}')),
        ((reference(1), RETURN), Raised("down", "{#Reference<epmdless@127.0.0.1>,return}")),
        ((reference(1), RETURN, 1, 2), Raised("down", "{#Reference<epmdless@127.0.0.1>,return,1,2}")),
        (Atom("noconnection"), Raised("down", "noconnection")),
        (Opaque("undecodable"), Raised("down", "#undecodable")),
    ],
)
def test_only_the_process_itself_says_what_was_returned(reason: Term, outcome: Outcome) -> None:
    assert erpc_outcome(MonitorExit(reference(1), reason)) == outcome


@pytest.mark.parametrize(
    ("message", "outcome"),
    [
        ((REX, Atom("true")), Returned(Atom("true"))),
        ((REX, Opaque("fun")), Returned(Opaque("fun"))),
        ((REX, (Atom("badrpc"), Atom("nodedown"))), Raised("error", "nodedown")),
        ((REX, [Atom("badrpc"), Atom("nodedown")]), Returned([Atom("badrpc"), Atom("nodedown")])),
        ([REX, 1], Raised("answer", "[rex,1]")),
        ((REX,), Raised("answer", "{rex}")),
        ((Atom("xer"), 1), Raised("answer", "{xer,1}")),
        (Opaque("undecodable"), Raised("answer", "#undecodable")),
    ],
)
def test_only_an_answer_of_rex_is_one(message: Term, outcome: Outcome) -> None:
    assert rex_outcome(message) == outcome


def test_a_call_by_erpc_is_a_monitored_process_that_executes_it() -> None:
    (body,) = FrameReader().feed(erpc_call(reference(1), PID, "lists", "sum", [[1, 2]]))
    control, end = decode_prefix(body, 1)
    what = (Atom("erpc"), Atom("execute_call"), 4)
    assert control == (29, reference(1), PID, PID, what, [Atom("monitor")])
    assert decode(body[end:]) == [reference(1), Atom("lists"), Atom("sum"), [[1, 2]]]


def test_a_call_by_rex_is_a_message_to_it() -> None:
    (body,) = FrameReader().feed(rex_call(PID, "lists", "sum", [[1, 2]]))
    call: Term = (Atom("call"), Atom("lists"), Atom("sum"), [[1, 2]], Atom("user"))
    assert decode_payload(body) == Sent(REX, (PID, call))
