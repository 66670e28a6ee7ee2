"""Answers from a scheme, and from a table of names."""

import pytest

from epmdless.errors import EpmdlessError
from epmdless.resolve.convention import REMEMBERED_ANSWERS, SchemeResolver, StaticResolver
from epmdless.resolve.outcomes import Found, Outcome, Query, Verdict
from epmdless.schemes import FixedScheme, Scheme, SuffixScheme
from epmdless.wire.epmd import Node
from epmdless.wire.epmd_replies import PortReply, decode_port_reply


def port_of(outcome: Outcome) -> int | None:
    """The port of an outcome that is Found, whose encoded answer must say the same; None: not mine."""
    if isinstance(outcome, Found):
        assert decode_port_reply(outcome.answer, closed=True) == PortReply(outcome.node)
        return outcome.node.port
    assert outcome is Verdict.NOT_MINE
    return None


class CountingScheme(Scheme):
    """A scheme that counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def _port(self, alive: str) -> int | None:
        self.asked += 1
        return 9000 if alive.startswith("app") else None


async def test_a_name_that_promises_a_port_is_found_there() -> None:
    resolver = SchemeResolver(SuffixScheme())
    outcome = resolver.answer_now(Query("app-9001", "b1"))
    assert port_of(outcome) == 9001
    assert await resolver.answer(Query("app-9001", "b1")) == outcome


def test_an_answer_by_convention_says_that_no_registration_backs_it() -> None:
    outcome = SchemeResolver(SuffixScheme()).answer_now(Query("app-9001", "b1"))
    assert isinstance(outcome, Found)
    assert outcome.resolver == "scheme"
    assert outcome.node == Node(9001, "app-9001", node_type=77, protocol=0, highest=6, lowest=5)


async def test_a_name_that_promises_nothing_is_not_the_schemes() -> None:
    resolver = SchemeResolver(SuffixScheme())
    assert (
        resolver.answer_now(Query("app", "b1"))
        is await resolver.answer(Query("app", "b1"))
        is Verdict.NOT_MINE
    )


@pytest.mark.parametrize("alive", ["remsh-9001", "rem-4f2a-9001", "maint-9001", "rabbitmqcli-9001"])
def test_a_transient_name_is_not_the_schemes(alive: str) -> None:
    assert port_of(SchemeResolver(SuffixScheme()).answer_now(Query(alive, "b1"))) is None
    assert port_of(SchemeResolver(FixedScheme(9001)).answer_now(Query(alive, "b1"))) is None


def test_the_host_has_no_part_in_a_convention() -> None:
    resolver = SchemeResolver(SuffixScheme())
    assert resolver.answer_now(Query("app-9001", "b1")) is resolver.answer_now(Query("app-9001", "b2"))


@pytest.mark.parametrize(("alive", "port"), [("app", 9000), ("other", None)])
def test_an_answer_is_worked_out_once(alive: str, port: int | None) -> None:
    scheme = CountingScheme()
    resolver = SchemeResolver(scheme)
    assert [port_of(resolver.answer_now(Query(alive, "b1"))) for _ in range(3)] == [port] * 3
    assert scheme.asked == 1


def test_ever_new_names_are_forgotten_and_still_answered() -> None:
    scheme = CountingScheme()
    resolver = SchemeResolver(scheme)
    for number in range(REMEMBERED_ANSWERS):
        resolver.answer_now(Query(f"app{number}", "b1"))
    resolver.answer_now(Query("app0", "b1"))
    assert scheme.asked == REMEMBERED_ANSWERS
    assert port_of(resolver.answer_now(Query("one more", "b1"))) is None
    assert port_of(resolver.answer_now(Query("app0", "b1"))) == 9000
    assert scheme.asked == REMEMBERED_ANSWERS + 2


async def test_a_name_in_the_table_is_found_and_any_other_is_not_the_tables() -> None:
    resolver = StaticResolver({"couchdb": 9100, "имя": 9101})
    for alive, port in (("couchdb", 9100), ("имя", 9101), ("CouchDB", None), ("couchdb1", None), ("", None)):
        outcome = resolver.answer_now(Query(alive, "b1"))
        assert port_of(outcome) == port
        assert await resolver.answer(Query(alive, "b1")) == outcome


def test_an_answer_of_the_table_knows_its_resolver() -> None:
    outcome = StaticResolver({"couchdb": 9100}).answer_now(Query("couchdb", "b1"))
    assert isinstance(outcome, Found)
    assert outcome.resolver == "static"


def test_a_transient_name_that_an_operator_wrote_down_is_found() -> None:
    assert port_of(StaticResolver({"remsh": 9100}).answer_now(Query("remsh", "b1"))) == 9100


def test_an_empty_table_knows_nobody() -> None:
    assert StaticResolver({}).answer_now(Query("couchdb", "b1")) is Verdict.NOT_MINE


def test_a_table_of_what_cannot_be_answered_is_refused_when_it_is_built() -> None:
    with pytest.raises(EpmdlessError):
        StaticResolver({"couchdb": 70000})
