"""When a source is asked again, in virtual time."""

from collections.abc import Sequence

import pytest
import trio
from trio.testing import MockClock

from epmdless.cluster.peers import Known, LookError, Peer, Unknown
from epmdless.cluster.sources.polling import JITTER, LONGEST_PAUSE, pause, poll

DOWN = LookError("timeout", "no answer within 3 s")
HERE = (Peer("app@10.0.0.7"), Peer("app@10.0.0.8", 9001))


class Scripted:
    """A source that is asked; what it says and when is written down.

    :param script: what one look after the other finds; the last stays.
    :param seconds: that each of them takes.
    """

    def __init__(self, *script: Sequence[Peer] | Exception, seconds: float = 0.0) -> None:
        self._script = list(script)
        self._seconds = seconds
        self.asked: list[float] = []
        self.said: list[Known | Unknown] = []

    async def look(self) -> Sequence[Peer]:
        self.asked.append(trio.current_time())
        await trio.sleep(self._seconds)
        found = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        if isinstance(found, Exception):
            raise found
        return found

    async def for_seconds(self, seconds: float, interval: float = 5, chance: float = 0.0) -> None:
        with trio.move_on_after(seconds):
            await poll(self.look, interval, self.said.append, lambda: chance)

    @property
    def times(self) -> list[float]:
        return [round(each - self.asked[0], 6) for each in self.asked]


async def test_it_asks_at_once_and_then_at_each_interval(autojump_clock: MockClock) -> None:
    source = Scripted(HERE)
    await source.for_seconds(21)
    assert source.times == [0, 5, 10, 15, 20]
    assert source.said == [Known(HERE)] * 5


async def test_chance_shortens_an_interval_and_never_makes_it_longer(autojump_clock: MockClock) -> None:
    source = Scripted(HERE)
    await source.for_seconds(9.1, chance=1.0)
    assert source.times == [0, 5 * (1 - JITTER), 10 * (1 - JITTER)]
    assert all(5 * (1 - JITTER) <= pause(5, 0, n / 100) <= 5 for n in range(100))


async def test_a_list_of_any_kind_is_said_as_it_was_at_that_moment(autojump_clock: MockClock) -> None:
    names = [HERE[0]]
    source = Scripted(names)
    await source.for_seconds(1)
    names.append(HERE[1])
    assert source.said == [Known((HERE[0],))]


async def test_nobody_is_known_and_not_unknown(autojump_clock: MockClock) -> None:
    source = Scripted(())
    await source.for_seconds(1)
    assert source.said == [Known(())]


async def test_a_failure_is_unknown_and_the_pauses_grow_up_to_a_bound(autojump_clock: MockClock) -> None:
    source = Scripted(DOWN)
    await source.for_seconds(125)
    assert source.said == [Unknown("timeout", "no answer within 3 s")] * len(source.asked)
    assert source.times == [0, 5, 15, 35, 65, 95, 125][: len(source.asked)]
    assert len(source.asked) >= 6


async def test_after_a_failure_the_interval_is_the_old_one_again(autojump_clock: MockClock) -> None:
    source = Scripted(DOWN, DOWN, DOWN, HERE, DOWN, HERE)
    await source.for_seconds(51)
    assert source.times == [0, 5, 15, 35, 40, 45, 50]
    assert [type(each) for each in source.said[2:5]] == [Unknown, Known, Unknown]


async def test_down_for_ten_minutes_it_is_asked_seldom_and_back_within_the_longest_pause(
    autojump_clock: MockClock,
) -> None:
    """As many hosts as there are ask so: no storm meets a server that comes back."""
    source = Scripted(DOWN)
    await source.for_seconds(600, interval=1)
    assert len(source.asked) <= 600 / LONGEST_PAUSE + 6
    gaps = [late - early for early, late in zip(source.asked, source.asked[1:], strict=False)]
    assert max(gaps) == LONGEST_PAUSE


async def test_a_slow_answer_does_not_shorten_the_pause_behind_it(autojump_clock: MockClock) -> None:
    source = Scripted(HERE, seconds=4)
    await source.for_seconds(28)
    assert source.times == [0, 9, 18, 27]


@pytest.mark.parametrize("interval", [0.1, 1, 5, 30, 60, 3600])
def test_the_pause_of_a_failure_has_bounds(interval: float) -> None:
    for failures in (1, 2, 3, 10, 1000, 10**9):
        for chance in (0.0, 0.5, 0.999):
            assert interval / 2 <= pause(interval, failures, chance) <= max(interval, LONGEST_PAUSE)


async def test_a_fault_of_ours_goes_through(autojump_clock: MockClock) -> None:
    source = Scripted(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        await source.for_seconds(1)
    assert source.said == []
