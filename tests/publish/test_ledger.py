"""What is in a zone because of us: a model that knows better, and the size of updates."""

import math

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from epmdless.publish import ledger as ledgers
from epmdless.publish.ledger import MAX_BYTES, MAX_CHANGES, Ledger
from epmdless.resolve.dns_records import Record, RecordType, domain, srv, txt
from epmdless.resolve.dns_update import MAX_MESSAGE, Update

ZONE = domain("nodes.internal")


def of(node: str, port: int, many: int = 2) -> dict[Record, str]:
    return {srv(domain(f"_{node}{number}._tcp.nodes.internal"), port, ZONE): node for number in range(many)}


def carry_out(ledger: Ledger, wanted: dict[Record, str], zone: set[Record]) -> list[Update]:
    updates = list(ledger.updates(wanted))
    for update in updates:
        ledger.sending(update, wanted)
        zone -= set(update.delete)
        zone |= set(update.add)
        ledger.done(update)
    return updates


def test_what_is_there_for_certain_is_not_written_again() -> None:
    ledger, zone = Ledger(), set[Record]()
    assert len(carry_out(ledger, of("a", 1), zone)) == 1
    assert carry_out(ledger, of("a", 1), zone) == []
    assert len(ledger) == 2
    ledger.doubt()
    assert not ledger.is_certain(of("a", 1))
    (update,) = carry_out(ledger, of("a", 1), zone)
    assert (list(update.delete), list(update.add)) == ([], list(of("a", 1)))


def test_what_is_wanted_no_more_goes_in_the_same_update() -> None:
    ledger, zone = Ledger(), set[Record]()
    carry_out(ledger, of("a", 1), zone)
    (update,) = carry_out(ledger, of("a", 2), zone)
    assert (list(update.delete), list(update.add)) == (list(of("a", 1)), list(of("a", 2)))
    assert zone == set(of("a", 2))
    carry_out(ledger, {}, zone)
    assert ledger.is_empty


def test_a_record_that_two_nodes_share_stays_for_the_other() -> None:
    ledger, zone = Ledger(), set[Record]()
    carry_out(ledger, {**of("a", 1), **of("b", 1)}, zone)
    carry_out(ledger, dict.fromkeys(of("a", 1), "b"), zone)
    assert zone == set(of("a", 1))


class Zones(RuleBasedStateMachine):
    """A zone whose server now and then does what it is told without a word, or does nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.zone: set[Record] = set()
        self.wanted: dict[Record, str] = {}

    @rule(nodes=st.dictionaries(st.sampled_from("abcd"), st.integers(1, 3), max_size=4))
    def want(self, nodes: dict[str, int]) -> None:
        self.wanted = {record: node for node, port in nodes.items() for record in of(node, port)}

    @rule(fate=st.lists(st.sampled_from(["done", "late", "lost"]), min_size=3, max_size=3))
    def write(self, fate: list[str]) -> None:
        for update, what in zip(self.ledger.updates(self.wanted), fate, strict=False):
            self.ledger.sending(update, self.wanted)
            if what != "lost":
                self.zone -= set(update.delete)
                self.zone |= set(update.add)
            if what != "done":
                return
            self.ledger.done(update)

    @rule()
    def others_take_something_out(self) -> None:
        self.zone = set(sorted(self.zone)[1:])
        self.ledger.doubt()

    @invariant()
    def nothing_is_there_that_we_do_not_know_of(self) -> None:
        assert all(record in self.ledger for record in self.zone)

    @invariant()
    def what_is_certain_is_there(self) -> None:
        assert all(record in self.zone for record in self.wanted if self.ledger.is_certain([record]))

    def teardown(self) -> None:
        carry_out(self.ledger, self.wanted, self.zone)
        assert self.zone == set(self.wanted)


TestZones = Zones.TestCase
TestZones.settings = settings(max_examples=60, stateful_step_count=20)


def test_updates_have_a_bound_and_nodes_stay_whole() -> None:
    wanted: dict[Record, str] = {}
    for number in range(500):
        wanted |= of(f"n{number:03}-", 9001, many=5)
    ledger = Ledger()
    updates = list(ledger.updates(wanted))
    assert len(updates) == math.ceil(500 * 5 / MAX_CHANGES)
    seen: set[str] = set()
    for update in updates:
        nodes = {wanted[record] for record in update.add}
        assert len(update.add) <= MAX_CHANGES
        assert not nodes & seen
        seen |= nodes
    assert len(seen) == 500


def test_what_is_refused_comes_in_halves_with_those_that_are_there_first() -> None:
    ledger, zone = Ledger(), set[Record]()
    carry_out(ledger, {**of("a", 1), **of("b", 1), **of("c", 1)}, zone)
    wanted = {**of("d", 1), **of("b", 2), **of("c", 1)}
    (update,) = ledger.updates(wanted)
    ledger.sending(update, wanted)
    first, second = ledger.refused(update, wanted)
    assert (first.delete, first.add) == (list(of("a", 1)), [])
    assert (second.delete, second.add) == (list(of("b", 1)), [*of("b", 2), *of("d", 1)])
    again, alone = ledger.refused(second, wanted)
    assert (again.delete, again.add) == (list(of("b", 1)), list(of("b", 2)))
    assert list(ledger.refused(alone, wanted)) == []
    wanted |= of("e", 1)
    (update,) = ledger.updates(wanted)
    assert list(update.add) == [*of("b", 2), *of("e", 1), *of("d", 1)]


def test_an_update_always_fits_a_message() -> None:
    """One node in very many services, each of its TXT records naming all of them."""
    strings = [b"service=" + b"x" * 62] * 64
    wanted = {txt(domain(f"_s{number}._tcp.nodes.internal"), strings): "a" for number in range(65)}
    updates = list(Ledger().updates(wanted))
    assert sum(len(update.add) for update in updates) == 65
    for update in updates:
        assert len(update.encode(ZONE, 1, 10)) < MAX_BYTES + 200 < MAX_MESSAGE - 1000


def test_what_may_be_there_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledgers, "MAX_KNOWN", 10)
    ledger = Ledger()
    for port in range(1, 100):
        wanted = of("a", port)
        for update in ledger.updates(wanted):
            ledger.sending(update, wanted)
    (update,) = ledger.updates({})
    assert 10 <= len(update.delete) <= 14
    assert update.delete[-1] in of("a", 99)
    assert all(record.rdtype is RecordType.SRV for record in update.delete)
