"""SRV records: the question for a node, and which record answers for it."""

from collections import Counter
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from epmdless.resolve.srv_records import (
    MAX_DOMAIN,
    MAX_LABEL,
    QuestionTemplate,
    SrvRecord,
    candidates,
    pick,
)

HOST: Final = "b1.nodes.internal"


def record(
    target: str = HOST,
    port: int = 9001,
    *,
    priority: int = 0,
    weight: int = 0,
    addresses: tuple[str, ...] = (),
) -> SrvRecord:
    return SrvRecord(priority, weight, port, target, addresses)


# Questions.


@pytest.mark.parametrize(
    ("template", "alive", "host", "question"),
    [
        ("_{name}._tcp.nodes.internal", "app", HOST, "_app._tcp.nodes.internal"),
        ("_{name}._tcp.nodes.internal.", "APP-9001", HOST, "_app-9001._tcp.nodes.internal"),
        ("{host}", "app", "B1.Nodes.Internal.", "b1.nodes.internal"),
        ("_epmd._tcp.{label2}.{label3}", "app", HOST, "_epmd._tcp.nodes.internal"),
        ("{label1}-{name}.{label2}", "app", HOST, "b1-app.nodes"),
        ("fixed.internal", "any name at all", HOST, "fixed.internal"),
    ],
)
def test_a_template_is_filled_in(template: str, alive: str, host: str, question: str) -> None:
    assert QuestionTemplate(template).expand(alive, host) == question


@pytest.mark.parametrize(
    ("template", "names"), [("_{name}.x", True), ("{host}", False), ("{label1}.x", False)]
)
def test_only_a_template_with_a_name_names_the_node(template: str, names: bool) -> None:
    assert QuestionTemplate(template).names_the_node is names


@pytest.mark.parametrize(
    "alive", ["", "a.b", "a.evil.example", "a b", "a\n", "имя", "a@b", "a{host}", "a*", "\u212a"]
)
def test_a_name_that_is_no_label_makes_no_question(alive: str) -> None:
    assert QuestionTemplate("_{name}._tcp.nodes.internal").expand(alive, HOST) is None


@pytest.mark.parametrize("template", ["{label4}.x", "_{label4}._tcp.x", "x{label9}.internal", "x.{label4}"])
def test_a_label_that_the_host_does_not_have_makes_no_question(template: str) -> None:
    """Otherwise every host without it asks the same question, for nobody: `_._tcp.x`."""
    assert QuestionTemplate(template).expand("app", HOST) is None


def test_the_last_dot_of_a_host_makes_no_label() -> None:
    assert QuestionTemplate("_{label4}._tcp.x").expand("app", f"{HOST}.") is None


@pytest.mark.parametrize("host", ["a b", "a..b", "b1/internal", ".b1"])
def test_a_host_that_is_no_domain_name_makes_no_question(host: str) -> None:
    assert QuestionTemplate("_epmd._tcp.{host}").expand("app", host) is None


def test_a_label_has_63_characters_at_most() -> None:
    template = QuestionTemplate("_{name}.x")
    longest = "a" * (MAX_LABEL - 1)
    assert template.expand(longest, HOST) == f"_{longest}.x"
    assert template.expand(longest + "a", HOST) is None


def test_a_domain_name_has_253_characters_at_most() -> None:
    host = ".".join(["a" * 49] * 5)
    assert len(f"abc.{host}") == MAX_DOMAIN
    assert QuestionTemplate("{name}.{host}").expand("abc", host) == f"abc.{host}"
    assert QuestionTemplate("{name}.{host}").expand("abcd", host) is None


@given(
    st.text(max_size=80),
    st.text(max_size=80),
    st.sampled_from(["_{name}._tcp.x", "{host}", "{label1}.{label2}"]),
)
def test_a_question_is_a_domain_name_whatever_the_names(alive: str, host: str, template: str) -> None:
    question = QuestionTemplate(template).expand(alive, host)
    if question is not None:
        labels = question.split(".")
        assert question.isascii()
        assert len(question) <= MAX_DOMAIN
        assert all(0 < len(label) <= MAX_LABEL for label in labels)
        assert "{name}" not in template or labels == [f"_{alive.lower()}", "_tcp", "x"]


# Candidates.


def test_a_record_whose_target_is_the_host_counts_before_all_others() -> None:
    own, other = record(priority=9), record("b2.nodes.internal", priority=0)
    for any_target in (False, True):
        assert candidates([other, own], HOST, any_target=any_target) == [own]


def test_another_hosts_record_answers_only_where_the_question_named_the_node() -> None:
    other = record("b2.nodes.internal")
    assert candidates([other], HOST, any_target=True) == [other]
    assert candidates([other], HOST, any_target=False) == []


@pytest.mark.parametrize("any_target", [False, True])
def test_of_those_that_count_the_lowest_priority_number_does(any_target: bool) -> None:
    records = [record(port=port, priority=priority) for port, priority in ((1, 5), (2, 3), (3, 3), (4, 9))]
    assert [each.port for each in candidates(records, HOST, any_target=any_target)] == [2, 3]


@pytest.mark.parametrize("useless", [record(port=0), record(target=""), record(target="", port=0)])
@pytest.mark.parametrize("any_target", [False, True])
def test_port_0_and_the_root_answer_for_nobody(useless: SrvRecord, any_target: bool) -> None:
    assert candidates([useless], HOST, any_target=any_target) == []
    good = record(priority=9)
    assert candidates([useless, good], HOST, any_target=any_target) == [good]


def test_no_records_are_no_candidates() -> None:
    assert candidates([], HOST, any_target=True) == []


@pytest.mark.parametrize("host", ["b1.nodes.internal", "B1.Nodes.INTERNAL", "b1.nodes.internal."])
def test_the_host_is_compared_as_domain_names_are(host: str) -> None:
    assert candidates([record()], host, any_target=False) == [record()]


@pytest.mark.parametrize(
    ("host", "target", "addresses"),
    [
        ("10.0.0.7", "pod-1.svc.internal", ("10.0.0.6", "10.0.0.7")),
        ("10.0.0.7", "10-0-0-7.svc.ns.svc.cluster.local", ()),
        ("fd00::7", "pod-1.svc.internal", ("fd00::7",)),
        ("fd00:0::0007", "pod-1.svc.internal", ("fd00::7",)),
        ("fd00::7", "fd00--7.svc.ns.svc.cluster.local", ()),
    ],
)
def test_an_address_is_the_host_of_a_target_that_has_it(
    host: str, target: str, addresses: tuple[str, ...]
) -> None:
    own = record(target, addresses=addresses)
    assert candidates([record("b2.internal", addresses=("10.0.0.8",)), own], host, any_target=False) == [own]


@pytest.mark.parametrize("host", ["10.0.0.7", "fd00::7", "b2", "10-0-0-8", ""])
def test_an_address_or_name_of_no_target_is_nobodys(host: str) -> None:
    records = [record("10-0-0-8.svc.internal", addresses=("10.0.0.8",)), record()]
    assert candidates(records, host, any_target=False) == []


# Weights.


def sweep(weights: list[int], steps: int) -> Counter[int]:
    """How often each record is picked while chance goes once from 0 to 1, in even steps."""
    records = [record(port=index, weight=weight) for index, weight in enumerate(weights)]
    marks = ((step + 0.5) / steps for step in range(steps))
    return Counter(pick(records, lambda mark=mark: mark).port for mark in marks)  # type: ignore[misc]


@given(st.lists(st.integers(0, 20), min_size=1, max_size=6).filter(any))
def test_records_are_picked_in_proportion_to_their_weights(weights: list[int]) -> None:
    picked = sweep(weights, 10 * sum(weights))
    assert [picked[index] for index in range(len(weights))] == [10 * weight for weight in weights]


@pytest.mark.parametrize("number", [1, 2, 5])
def test_records_without_weights_are_picked_evenly(number: int) -> None:
    assert sweep([0] * number, 10 * number) == Counter(dict.fromkeys(range(number), 10))


@given(st.lists(st.integers(0, 65535), min_size=1, max_size=6), st.floats(0, 1, exclude_max=True))
@example([0, 1], 0.0)
def test_a_record_is_picked_whatever_chance_says(weights: list[int], chance: float) -> None:
    records = [record(port=index, weight=weight) for index, weight in enumerate(weights)]
    picked = pick(records, lambda: chance)
    assert picked in records
    assert picked.weight or not any(weights)
