"""Names and how long they were silent; packets that came before."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from epmdless.cluster.sources.heard import MAX_HEARD, MAX_MARKS, Heard, Marks

EXPIRE = 30.0


def test_a_name_lasts_for_as_long_as_it_is_heard() -> None:
    heard = Heard(EXPIRE)
    assert heard.next_end() == math.inf
    for now in (0.0, 20.0, 40.0):
        assert heard.hear("a@h", now)
    heard.forget_silent(69.9)
    assert list(heard) == ["a@h"]
    assert heard.next_end() == 70
    heard.forget_silent(70.0)
    assert list(heard) == []


def test_the_version_tells_of_who_comes_and_who_goes_and_of_nothing_else() -> None:
    heard = Heard(EXPIRE)
    heard.hear("a@h", 0)
    assert heard.version == 1
    heard.hear("a@h", 1)
    heard.forget_silent(2)
    assert heard.version == 1
    heard.hear("b@h", 2)
    assert heard.version == 2
    heard.forget_silent(100)
    assert heard.version == 4


def test_those_that_are_silent_go_and_the_others_stay() -> None:
    heard = Heard(EXPIRE)
    for name in ("a@h", "b@h", "c@h"):
        heard.hear(name, 0)
    heard.hear("b@h", 10)
    heard.forget_silent(30)
    assert list(heard) == ["b@h"]


def test_silence_while_nobody_listened_tells_nothing() -> None:
    heard = Heard(EXPIRE)
    heard.hear("a@h", 0)
    heard.was_deaf(25)
    heard.forget_silent(54.9)
    assert list(heard) == ["a@h"]
    assert heard.next_end() == 55
    heard.forget_silent(55)
    assert list(heard) == []


def test_when_there_is_no_room_those_that_are_there_stay() -> None:
    heard = Heard(EXPIRE)
    assert all(heard.hear(f"a{n}@h", 0) for n in range(MAX_HEARD))
    assert not heard.hear("b@h", 1)
    assert heard.hear("a7@h", 1)
    assert len(heard) == MAX_HEARD
    heard.forget_silent(EXPIRE)
    assert list(heard) == ["a7@h"]
    assert heard.hear("b@h", EXPIRE)


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.integers(0, 40), st.booleans()), max_size=40))
def test_it_is_as_if_each_name_had_a_clock_of_its_own(steps: list[tuple[str, int, bool]]) -> None:
    heard, model, deaf, now = Heard(EXPIRE), dict[str, float](), -math.inf, 0.0
    for name, pause, is_deaf in steps:
        now += pause
        heard.forget_silent(now)
        model = {each: last for each, last in model.items() if max(last, deaf) + EXPIRE > now}
        assert set(heard) == set(model)
        heard.hear(name, now)
        model[name] = now
        if is_deaf:
            heard.was_deaf(now)
            deaf = now
        assert heard.next_end() == min(max(last, deaf) for last in model.values()) + EXPIRE


def test_a_packet_is_new_once() -> None:
    marks = Marks()
    assert marks.is_new(b"a")
    assert marks.is_new(b"b")
    assert not marks.is_new(b"a")


def test_the_oldest_packets_are_forgotten_first() -> None:
    marks = Marks()
    for number in range(MAX_MARKS):
        assert marks.is_new(number.to_bytes(4, "big"))
    assert not marks.is_new(bytes(4))
    assert marks.is_new(b"one more")
    assert not marks.is_new((1).to_bytes(4, "big"))
    assert marks.is_new(bytes(4))
