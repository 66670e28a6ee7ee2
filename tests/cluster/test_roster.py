"""The union of what sources say: nobody is gone whom a source still names, or may name."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from epmdless.cluster import roster as rosters
from epmdless.cluster.peers import Known, Peer, Unknown
from epmdless.cluster.roster import Naming, Roster, problem_of

DAY = 86_400.0
HOLD = 60.0
TIMEOUT = Unknown("timeout", "no answer")


def roster_of(*sources: str) -> Roster:
    """A roster whose sources have said nothing yet."""
    roster = Roster()
    roster.have([(source, "static") for source in sources])
    return roster


def known(*names: str, **ports: int) -> Known:
    """A list; ports by alive name, for nodes of the host ``b1``."""
    return Known((*map(Peer, names), *(Peer(f"{alive}@b1", port) for alive, port in ports.items())))


def names(roster: Roster, *sources: str, now: float = 0, max_age: float = DAY) -> list[str]:
    """Those that may be connected to."""
    named = roster.named(sources, now, max_age)
    return [name for name, naming in named.items() if naming.is_current]


def test_names_are_those_of_all_sources_and_each_has_all_who_name_it() -> None:
    roster = roster_of("dns", "epmd")
    roster.take("epmd", known("b@b1", "c@b1"), 1.0)
    roster.take("dns", known("a@b1", "b@b1"), 2.0)
    assert roster.named(["dns", "epmd"], 2.0, DAY) == {
        "a@b1": Naming(("dns",), None, 2.0),
        "b@b1": Naming(("dns", "epmd"), None, 1.0),
        "c@b1": Naming(("epmd",), None, 1.0),
    }


def test_only_the_sources_that_are_asked_for_count_and_in_that_order() -> None:
    roster = roster_of("dns", "epmd", "file")
    roster.take("dns", known("a@b1"), 0)
    roster.take("epmd", known("a@b1"), 0)
    roster.take("file", known("c@b1"), 0)
    named = roster.named(["epmd", "dns", "no such source"], 0, DAY)
    assert named == {"a@b1": Naming(("epmd", "dns"), None, 0)}


def test_the_port_is_that_of_the_first_source_that_tells_one() -> None:
    roster = roster_of("file", "dns", "epmd")
    roster.take("file", known("a@b1"), 0)
    roster.take("dns", known(a=9001), 0)
    roster.take("epmd", known(a=9002, b=9003), 0)
    named = roster.named(["file", "dns", "epmd"], 0, DAY)
    assert [naming.port for naming in named.values()] == [9001, 9003]
    assert roster.named(["epmd", "dns"], 0, DAY)["a@b1"].port == 9002
    assert (roster.port_of("a@b1"), roster.port_of("b@b1"), roster.port_of("c@b1")) == (9001, 9003, None)


@pytest.mark.parametrize("port", [0, -1, 65_536, 1 << 64])
def test_a_port_that_is_none_is_not_told_on(port: int) -> None:
    roster = roster_of("dns")
    roster.take("dns", known(a=port), 0)
    assert roster.port_of("a@b1") is None
    assert names(roster, "dns") == ["a@b1"]


def test_of_a_name_that_comes_twice_the_first_counts_each_time() -> None:
    roster = roster_of("dns")
    twice = Known((Peer("a@b1", 9001), Peer("a@b1", 9002)))
    for _ in range(3):
        roster.take("dns", twice, 0)
        assert roster.port_of("a@b1") == 9001
    before = roster.version
    roster.take("dns", twice, 0)
    assert roster.version == before


def test_the_version_changes_with_what_is_said_and_not_with_when() -> None:
    roster = roster_of("dns")
    versions = []
    for said in (known(), known("a@b1"), known("a@b1"), TIMEOUT, known("a@b1"), known(a=9001), known("b@b1")):
        roster.take("dns", said, 0)
        versions.append(roster.version)
    assert [version - versions[0] for version in versions] == [0, 1, 1, 1, 1, 2, 3]


def test_who_does_not_know_keeps_the_last_list() -> None:
    roster = roster_of("dns")
    roster.take("dns", known("a@b1", "b@b1"), 0)
    roster.take("dns", TIMEOUT, 10)
    roster.take("dns", Unknown("refused", "no"), 20)
    assert names(roster, "dns", now=20) == ["a@b1", "b@b1"]
    listing = roster.listings["dns"]
    assert (listing.heard, listing.failing_since, listing.unknown) == (0, 10, Unknown("refused", "no"))
    roster.take("dns", known("a@b1"), 30)
    assert (listing.heard, listing.failing_since, listing.unknown) == (30, None, None)


def test_what_a_source_says_that_is_no_longer_there_is_not_heard() -> None:
    roster = roster_of("dns")
    roster.take("epmd", known("a@b1"), 0)
    assert "epmd" not in roster.listings


def test_a_list_that_is_too_old_makes_no_connections_and_ends_none() -> None:
    roster = roster_of("dns")
    roster.take("dns", known("a@b1"), 0)
    roster.take("dns", TIMEOUT, 10)
    assert names(roster, "dns", now=DAY) == ["a@b1"]
    assert roster.expired(DAY, DAY) == ()
    late = DAY + 1
    assert names(roster, "dns", now=late) == []
    assert list(roster.named(["dns"], late, DAY)) == ["a@b1"], "it is still known"
    assert roster.expired(late, DAY) == ("dns",)
    assert roster.gone_since("a@b1", late + HOLD, HOLD) is None
    roster.take("dns", known("a@b1"), late)
    assert names(roster, "dns", now=late) == ["a@b1"]


def test_a_source_that_said_its_all_once_does_not_grow_old() -> None:
    roster = roster_of("static")
    roster.take("static", known("a@b1"), 0)
    assert names(roster, "static", now=100 * DAY) == ["a@b1"]


def test_one_source_that_knows_is_enough_to_make_a_connection() -> None:
    roster = roster_of("dns", "file")
    for source in ("dns", "file"):
        roster.take(source, known("a@b1"), 0)
    roster.take("dns", TIMEOUT, 0)
    named = roster.named(["dns", "file"], 2 * DAY, DAY)
    assert named == {"a@b1": Naming(("dns", "file"), None, 0, is_current=True)}
    roster.take("file", TIMEOUT, 0)
    assert not roster.named(["dns", "file"], 2 * DAY, DAY)["a@b1"].is_current


class TestGone:
    """Which names are gone: those that every source has stopped naming."""

    def test_a_name_is_gone_when_the_last_source_drops_it_and_then_for_hold(self) -> None:
        roster = roster_of("dns", "epmd")
        for source in ("dns", "epmd"):
            roster.take(source, known("a@b1", "z@b1"), 0)
        roster.take("dns", known(), 10)
        assert roster.gone_since("a@b1", 1000, HOLD) is None
        roster.take("epmd", known("z@b1"), 20)
        assert roster.gone_since("a@b1", 20 + HOLD - 1, HOLD) is None
        assert roster.gone_since("a@b1", 20 + HOLD, HOLD) == 20
        assert roster.gone_since("b@b1", 20 + HOLD, HOLD) is None, "never named"

    def test_a_name_that_comes_back_is_not_gone_and_goes_anew(self) -> None:
        roster = roster_of("dns")
        without = known("z@b1")
        for now, said in ((0, known("a@b1")), (10, without), (40, known("a@b1")), (50, without)):
            roster.take("dns", said, now)
        assert roster.gone_since("a@b1", 10 + HOLD, HOLD) is None
        assert roster.gone_since("a@b1", 50 + HOLD, HOLD) == 50

    def test_nobody_is_gone_while_a_source_has_said_nothing_yet(self) -> None:
        roster = roster_of("dns", "epmd")
        roster.take("dns", known("a@b1"), 0)
        roster.take("dns", known(), 0)
        assert roster.gone_since("a@b1", DAY, HOLD) is None
        roster.take("epmd", TIMEOUT, DAY)
        assert roster.gone_since("a@b1", DAY, HOLD) is None
        roster.take("epmd", known("b@b1"), DAY)
        assert roster.gone_since("a@b1", DAY + HOLD - 1, HOLD) is None, "until then it might have named it"
        assert roster.gone_since("a@b1", DAY + HOLD, HOLD) == 0

    def test_nobody_is_gone_while_a_source_does_not_know_all(self) -> None:
        roster = roster_of("dns", "epmd")
        roster.take("epmd", known("b@b1"), 0)
        roster.take("dns", known("a@b1"), 0)
        roster.take("dns", Known((), doubt=TIMEOUT), 10)
        dns = roster.listings["dns"]
        assert (dns.failing_since, dns.knows_all) == (10, False)
        assert roster.gone_since("a@b1", 10 + HOLD, HOLD) is None
        roster.take("dns", Known(()), 10 + HOLD)
        assert (dns.failing_since, dns.knows_all) == (None, True)
        assert roster.gone_since("a@b1", 10 + 2 * HOLD, HOLD) is not None

    def test_nobody_is_gone_while_a_source_does_not_know(self) -> None:
        roster = roster_of("dns", "epmd")
        roster.take("epmd", known("b@b1"), 0)
        roster.take("dns", known("a@b1"), 0)
        roster.take("dns", known(), 0)
        assert roster.gone_since("a@b1", HOLD, HOLD) == 0
        roster.take("epmd", TIMEOUT, HOLD)
        assert roster.gone_since("a@b1", HOLD, HOLD) is None
        roster.take("epmd", known("a@b1"), 2 * HOLD)
        assert roster.gone_since("a@b1", 2 * HOLD, HOLD) is None

    def test_nobody_is_gone_while_nobody_at_all_is_named(self) -> None:
        """A zone without records after a restart, a list cut short by a full disk."""
        roster = roster_of("dns", "file")
        roster.take("dns", known("a@b1", "b@b1"), 0)
        roster.take("file", known(), 0)
        roster.take("dns", known(), 0)
        assert roster.gone_since("a@b1", DAY, HOLD) is None

    def test_a_list_that_comes_back_name_by_name_takes_nobody_away(self) -> None:
        roster = roster_of("dns")
        roster.take("dns", known("a@b1", "b@b1", "c@b1"), 0)
        roster.take("dns", known(), 0)
        roster.take("dns", known("a@b1"), DAY)
        assert roster.gone_since("b@b1", DAY + HOLD - 1, HOLD) is None
        roster.take("dns", known("a@b1", "b@b1"), DAY + HOLD - 1)
        assert roster.gone_since("b@b1", DAY + HOLD, HOLD) is None
        assert roster.gone_since("c@b1", DAY + HOLD, HOLD) == 0

    def test_time_in_which_a_source_does_not_know_does_not_count(self) -> None:
        roster = roster_of("dns")
        roster.take("dns", known("a@b1", "b@b1"), 0)
        roster.take("dns", known("a@b1"), 0)
        roster.take("dns", TIMEOUT, HOLD / 2)
        roster.take("dns", known("a@b1"), DAY)
        assert roster.gone_since("b@b1", DAY + HOLD / 2 - 1, HOLD) is None
        assert roster.gone_since("b@b1", DAY + HOLD / 2, HOLD) == 0

    def test_a_reload_that_leaves_the_sources_as_they_are_changes_nothing(self) -> None:
        roster = roster_of("dns")
        roster.take("dns", known("a@b1", "b@b1"), 0)
        roster.take("dns", known("a@b1"), 0)
        roster.have([("dns", "static")], keep=frozenset({"dns"}))
        assert roster.gone_since("b@b1", HOLD, HOLD) == 0

    def test_a_source_that_the_configuration_leaves_out_says_nothing_by_that(self) -> None:
        roster = roster_of("dns", "epmd")
        for source in ("dns", "epmd"):
            roster.take(source, known(f"{source}@b1"), 0)
        roster.have([("epmd", "static")], keep=frozenset({"epmd"}))
        assert names(roster, "dns", "epmd") == ["epmd@b1"]
        assert roster.gone_since("dns@b1", DAY, HOLD) is None

    def test_a_source_of_another_configuration_has_said_nothing_yet(self) -> None:
        roster = roster_of("dns")
        roster.take("dns", known("a@b1"), 0)
        roster.take("dns", known(), 0)
        version = roster.version
        roster.have([("dns", "dns")])
        assert roster.version != version
        assert roster.listings["dns"].heard is None
        assert roster.gone_since("a@b1", DAY, HOLD) is None

    def test_no_more_than_so_many_are_remembered_the_latest_ones(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rosters, "MAX_GONE", 3)
        roster = roster_of("dns")
        for now in range(6):
            roster.take("dns", known(f"n{now}@b1"), now)
        gone = [roster.gone_since(f"n{number}@b1", DAY, HOLD) for number in range(6)]
        assert gone == [None, None, 3, 4, 5, None]

    def test_what_is_gone_for_long_is_forgotten(self) -> None:
        roster = roster_of("dns")
        for now, said in ((0, known("a@b1", "b@b1")), (10, known("a@b1")), (20, known("z@b1"))):
            roster.take("dns", said, now)
        roster.forget(30, 15)
        assert roster.gone_since("b@b1", 30, 0) is None
        assert roster.gone_since("a@b1", 30, 0) == 20
        roster.forget(1000, 15)
        roster.forget(1000, 15)
        assert roster.gone_since("a@b1", 1000, 0) is None


GOOD = ["a@b1", "app-9001@10.0.0.7", "a@::1", "a'b@b1.internal", "jürgen@b1", f"{'a' * 252}@b1"]
BAD = {
    "": "invalid",
    "a": "invalid",
    "@b1": "invalid",
    "a@": "invalid",
    "a@b@c": "invalid",
    "a b@c": "invalid",
    "a@b\n": "invalid",
    "a\x00@b": "invalid",
    "a\x7f@b": "invalid",
    "a\x9b@b": "invalid",
    "a\u202e@b": "invalid",
    "a\ud800@b": "invalid",
    f"{'a' * 253}@b1": "invalid",
    "remsh-1@b1": "transient",
    "epmdless-1@b1": "transient",
    "epmdless-8@b1": "transient",
    "rem-0aef-app@b1": "transient",
}


@pytest.mark.parametrize("name", GOOD)
def test_names_that_nodes_can_have(name: str) -> None:
    assert problem_of(name) is None


@pytest.mark.parametrize("name", BAD)
def test_names_that_are_left_out_are_counted(name: str) -> None:
    left_out: Counter[str] = Counter()
    roster = roster_of("dns")
    roster.take("dns", known("a@b1", name), 0, lambda reason: left_out.update([reason]))
    assert names(roster, "dns") == ["a@b1"]
    assert left_out == {BAD[name]: 1}


SOURCES = ("dns", "epmd", "file")
NAMES = ("a@b1", "b@b1", "c@b1")


class Model(RuleBasedStateMachine):
    """Against a model that keeps everything that was ever said."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.roster = roster_of(*SOURCES)
        self.lists: dict[str, dict[str, int | None]] = {source: {} for source in SOURCES}
        self.knows: dict[str, bool | None] = dict.fromkeys(SOURCES)
        self.heard: dict[str, float] = {}
        self.gone: dict[str, float] = {}
        self.held: dict[str, float] = {}

    @rule(seconds=st.sampled_from([1.0, HOLD, 10 * HOLD]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        if self.is_sure:
            self.held = {name: held + seconds for name, held in self.held.items()}

    @property
    def is_sure(self) -> bool:
        return all(self.knows.values()) and any(self.lists.values())

    @rule(
        source=st.sampled_from(SOURCES),
        said=st.dictionaries(st.sampled_from(NAMES), st.sampled_from([None, 9001, 9002])),
    )
    def know(self, source: str, said: dict[str, int | None]) -> None:
        self.roster.take(source, Known(tuple(Peer(*pair) for pair in said.items())), self.now)
        dropped = self.lists[source].keys() - said.keys()
        self.lists[source], self.knows[source], self.heard[source] = said, True, self.now
        for name in dropped:
            if not self.named_by(name):
                self.gone[name], self.held[name] = self.now, 0.0
        for name in said:
            self.gone.pop(name, None)

    @rule(source=st.sampled_from(SOURCES))
    def fail(self, source: str) -> None:
        self.roster.take(source, TIMEOUT, self.now)
        self.knows[source] = False

    @precondition(lambda self: any(known is not None for known in self.knows.values()))
    @rule(kept=st.sets(st.sampled_from(SOURCES)))
    def reload(self, kept: set[str]) -> None:
        self.roster.have([(source, "static") for source in SOURCES], keep=frozenset(kept))
        for source in set(SOURCES) - kept:
            self.lists[source], self.knows[source] = {}, None

    def named_by(self, name: str) -> tuple[str, ...]:
        return tuple(source for source in SOURCES if name in self.lists[source])

    @invariant()
    def names_are_the_union(self) -> None:
        named = self.roster.named(SOURCES, self.now, 5 * HOLD)
        assert {name: naming.sources for name, naming in named.items()} == {
            name: self.named_by(name) for name in NAMES if self.named_by(name)
        }
        for name, naming in named.items():
            ports = [self.lists[source][name] for source in naming.sources]
            assert naming.port == next((port for port in ports if port), None) == self.roster.port_of(name)
            assert naming.is_current == any(
                self.knows[source] or self.now - self.heard[source] <= 5 * HOLD for source in naming.sources
            )

    @invariant()
    def gone_is_who_was_named_and_nobody_names(self) -> None:
        for name in NAMES:
            since = self.gone.get(name)
            is_old = since is not None and self.held[name] >= HOLD and self.is_sure
            assert self.roster.gone_since(name, self.now, HOLD) == (since if is_old else None)


TestModel = Model.TestCase
