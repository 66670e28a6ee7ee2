"""What is remembered of the answers to one question, and for how long."""

import random

from epmdless.cluster.sources.gathered import Gathered


def found(*names: str) -> dict[str, str]:
    return dict.fromkeys(names, "")


def test_before_the_first_answer_nothing_is_known() -> None:
    gathered = Gathered[str](30, 5)
    assert (gathered.is_answered, gathered.items) == (False, {})


def test_nobody_is_an_answer_too() -> None:
    gathered = Gathered[str](30, 5)
    gathered.take({}, 100)
    assert (gathered.is_answered, gathered.items) == (True, {})


def test_an_item_is_remembered_for_as_long_as_it_was_said() -> None:
    gathered = Gathered[str](30, 5)
    gathered.take(found("a", "b"), 0)
    for now in range(5, 30, 5):
        gathered.take(found("b"), now)
        assert set(gathered.items) == {"a", "b"}
    gathered.take(found("b"), 30)
    assert set(gathered.items) == {"b"}


def test_an_empty_answer_is_no_reason_to_forget_sooner() -> None:
    gathered = Gathered[str](30, 5)
    gathered.take(found("a"), 0)
    for now in range(5, 30, 5):
        gathered.take({}, now)
        assert set(gathered.items) == {"a"}
    gathered.take({}, 30)
    assert gathered.items == {}


def test_with_no_time_at_all_the_last_answer_counts() -> None:
    gathered = Gathered[str](0, 5)
    gathered.take(found("a", "b"), 7)
    gathered.take(found("b", "c"), 7)
    assert set(gathered.items) == {"b", "c"}
    gathered.take({}, 8)
    assert gathered.items == {}


def test_of_an_item_the_newest_counts() -> None:
    gathered = Gathered[int](30, 5)
    gathered.take({"a": 9001, "b": 9001}, 0)
    gathered.take({"a": 9002}, 5)
    assert gathered.items == {"a": 9002, "b": 9001}


def test_a_time_without_answers_makes_nothing_older() -> None:
    gathered = Gathered[str](30, 5)
    gathered.take(found("a", "b"), 0)
    gathered.take(found("b"), 5)
    for now in (605, 610, 615, 620):
        gathered.take(found("b"), now)
        assert set(gathered.items) == {"a", "b"}
    gathered.take(found("b"), 625)
    assert set(gathered.items) == {"b"}


def test_a_server_that_fails_every_other_time_lets_items_go_all_the_same() -> None:
    gathered = Gathered[str](30, 5)
    gathered.take(found("a", "b"), 0)
    for number in range(1, 7):
        gathered.take(found("b"), number * 60)
    assert set(gathered.items) == {"b"}


def test_answers_that_are_cut_find_everybody() -> None:
    rng = random.Random(1)
    gathered = Gathered[str](300, 5)
    everybody = [f"{n}" for n in range(40)]
    for number in range(60):
        gathered.take(found(*rng.sample(everybody, 8)), number * 5)
    assert set(gathered.items) == set(everybody)
    for number in range(60, 1000):
        gathered.take(found(*rng.sample(everybody, 8)), number * 5)
        assert set(gathered.items) == set(everybody)


def test_what_the_last_answer_named_is_never_forgotten() -> None:
    gathered = Gathered[str](30, 5)
    gathered.take(found("a", "b"), 0)
    gathered.take(found("b", "c"), 5)
    gathered.forget()
    assert set(gathered.items) == {"b", "c"}
    gathered.take(found("b"), 10)
    assert set(gathered.items) == {"b", "c"}
