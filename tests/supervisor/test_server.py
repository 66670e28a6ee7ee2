"""The server beside the command: when it is started, restarted, left to others, and ended."""

import signal

import pytest

from epmdless.supervisor import server as states
from epmdless.supervisor.server import Server
from tests.supervisor.fake_hands import HOST, FakeHands

NOBODY = 1
SOMEBODY = 0
"""What the question's process ends with."""


@pytest.fixture
def hands() -> FakeHands:
    return FakeHands()


def asking(hands: FakeHands) -> Server:
    server = Server(hands)
    server.begin(HOST)
    assert hands.done() == ["question 100"]
    return server


def starting(hands: FakeHands) -> Server:
    server = asking(hands)
    server.ended(100, NOBODY)
    assert hands.done() == [f"server 101 {HOST}"]
    return server


def running(hands: FakeHands) -> Server:
    server = starting(hands)
    server.told_ready()
    return server


def pass_time(server: Server, hands: FakeHands) -> float:
    """Let the time come that the server waits for; how long that took."""
    assert server.due is not None
    seconds = server.due - hands.clock
    hands.clock = server.due
    server.passed()
    return seconds


def test_it_is_started_where_nobody_serves_and_settled_once_it_says_so(hands: FakeHands) -> None:
    server = starting(hands)
    assert not server.is_settled
    server.told_ready()
    assert (server.is_settled, server.due, server.failed) == (True, None, None)


def test_somebody_elses_server_is_enough(hands: FakeHands) -> None:
    server = asking(hands)
    server.ended(100, SOMEBODY)
    assert (server.is_settled, server.pid, hands.done()) == (True, None, [])


def test_its_place_is_taken_once_it_was_missing_twice_in_a_row(hands: FakeHands) -> None:
    server = asking(hands)
    server.ended(100, SOMEBODY)
    for pid, answer in ((101, NOBODY), (102, SOMEBODY), (103, NOBODY)):
        assert pass_time(server, hands) == states.ELSEWHERE_SECONDS
        assert hands.done() == [f"question {pid}"]
        server.ended(pid, answer)
        assert hands.done() == []
    pass_time(server, hands)
    server.ended(104, NOBODY)
    assert hands.done() == ["question 104", f"server 105 {HOST}"]
    assert hands.said == ["the EPMD server that answered is gone: one is started"]


def test_a_question_that_was_killed_for_its_slowness_found_nobody(hands: FakeHands) -> None:
    server = asking(hands)
    server.ended(100, -signal.SIGALRM)
    assert hands.done() == [f"server 101 {HOST}"]


def test_a_configuration_that_is_wrong_ends_all_and_the_server_has_said_why(hands: FakeHands) -> None:
    server = starting(hands)
    server.ended(101, 2)
    assert (server.failed, hands.said, server.due, server.is_gone) == (2, [], None, True)


@pytest.mark.parametrize("status", [1, 3])
def test_a_first_start_that_fails_ends_all_where_still_nobody_serves(hands: FakeHands, status: int) -> None:
    server = starting(hands)
    server.ended(101, status)
    assert (server.failed, pass_time(server, hands)) == (None, states.FIRST_PAUSE)
    assert hands.done() == ["question 102"]
    server.ended(102, NOBODY)
    assert (server.failed, hands.said, server.due, server.is_gone) == (1, [], None, True)


def test_a_first_start_that_fails_because_another_was_faster_is_enough(hands: FakeHands) -> None:
    """Two containers of one pod start at the same time; then the other one goes."""
    server = starting(hands)
    server.ended(101, 1)
    pass_time(server, hands)
    server.ended(102, SOMEBODY)
    assert (server.failed, server.is_settled, server.pid) == (None, True, None)
    hands.done()
    for pid in (103, 104):
        pass_time(server, hands)
        server.ended(pid, NOBODY)
    assert hands.done()[-1] == f"server 105 {HOST}"


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (-9, "the EPMD server was ended by signal 9 before it was ready"),
        (0, "the EPMD server ended with status 0 before it was ready"),
    ],
)
def test_a_first_start_that_is_cut_off_is_told(hands: FakeHands, status: int, said: str) -> None:
    server = starting(hands)
    server.ended(101, status)
    assert (server.failed, hands.said) == (1, [said])


def test_a_first_start_that_never_ends_fails(hands: FakeHands) -> None:
    server = starting(hands)
    assert pass_time(server, hands) == states.START_SECONDS
    assert (server.failed, hands.said) == (1, ["the EPMD server is not ready after 60 s"])


def test_a_crash_is_followed_by_a_restart_with_growing_pauses(hands: FakeHands) -> None:
    server = running(hands)
    pauses = []
    for start in range(9):
        pid = 101 + 2 * start
        server.ended(pid, -9)
        pauses.append(pass_time(server, hands))
        server.ended(pid + 1, NOBODY)
        assert hands.done() == [f"question {pid + 1}", f"server {pid + 2} {HOST}"]
    assert pauses == [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30]
    assert hands.said[0] == "the EPMD server was ended by signal 9; it is started again in 0.25 s"
    assert hands.said[-1] == "the EPMD server was ended by signal 9; it is started again in 30 s"


def test_a_server_that_ran_for_long_is_restarted_soon(hands: FakeHands) -> None:
    server = running(hands)
    for start in range(6):
        server.ended(101 + 2 * start, 1)
        pass_time(server, hands)
        server.ended(102 + 2 * start, NOBODY)
    hands.clock += states.STEADY_SECONDS
    server.ended(113, 1)
    assert pass_time(server, hands) == states.FIRST_PAUSE


def test_a_restart_that_finds_somebody_else_leaves_the_port_to_them(hands: FakeHands) -> None:
    server = running(hands)
    server.ended(101, -9)
    pass_time(server, hands)
    hands.done()
    server.ended(102, SOMEBODY)
    assert (hands.done(), server.pid, server.is_settled) == ([], None, True)


def test_a_restart_needs_no_word_that_it_serves(hands: FakeHands) -> None:
    server = running(hands)
    server.ended(101, -9)
    pass_time(server, hands)
    server.ended(102, NOBODY)
    assert server.due is None


@pytest.mark.parametrize("what", ["question", "server"])
def test_no_process_for_a_first_start_is_a_failure(hands: FakeHands, what: str) -> None:
    hands.no_process_for = what
    server = Server(hands)
    server.begin(HOST)
    server.ended(100, NOBODY)
    assert server.failed == 1
    assert hands.said == ["the EPMD server cannot be started: Resource temporarily unavailable"]


@pytest.mark.parametrize("what", ["question", "server"])
def test_no_process_for_a_restart_is_tried_again(hands: FakeHands, what: str) -> None:
    server = running(hands)
    server.ended(101, -9)
    hands.no_process_for = what
    pass_time(server, hands)
    server.ended(102, NOBODY)
    hands.no_process_for = ""
    assert pass_time(server, hands) == 0.5
    assert server.failed is None
    assert hands.deeds[-1].startswith("question")


def test_after_a_clean_end_when_all_were_told_to_end_a_restart_can_wait(hands: FakeHands) -> None:
    """A service manager may end every process of a unit at once, and the command may need long."""
    server = running(hands)
    server.may_end = True
    server.ended(101, 0)
    assert hands.said == []
    assert pass_time(server, hands) == states.LONGEST_PAUSE
    assert hands.done() == ["question 102"]


@pytest.mark.parametrize(("may_end", "status"), [(False, 0), (True, 1), (True, -9)])
def test_any_other_end_is_a_restart_soon(hands: FakeHands, may_end: bool, status: int) -> None:
    server = running(hands)
    server.may_end = may_end
    server.ended(101, status)
    assert len(hands.said) == 1
    assert pass_time(server, hands) == states.FIRST_PAUSE


def test_a_stop_grows_insistent(hands: FakeHands) -> None:
    server = running(hands)
    server.stop()
    assert hands.done() == ["SIGTERM 101"]
    assert pass_time(server, hands) == states.DRAIN_SECONDS
    assert hands.done() == ["SIGTERM 101"]
    assert pass_time(server, hands) == states.STOP_SECONDS > 3 + 1
    assert hands.done() == ["SIGKILL 101"]
    assert not server.is_gone
    server.ended(101, -9)
    assert (server.is_gone, server.due, hands.said) == (True, None, [])


def test_a_server_that_was_told_by_somebody_else_gets_no_second_word_at_once(hands: FakeHands) -> None:
    server = running(hands)
    server.stop(is_told=True)
    assert hands.done() == []
    assert pass_time(server, hands) == states.DRAIN_SECONDS
    assert hands.done() == ["SIGTERM 101"]


def test_whoever_is_in_a_hurry_ends_the_time_of_links_but_not_that_of_the_records(hands: FakeHands) -> None:
    server = running(hands)
    server.stop()
    hands.done()
    server.hurry()
    server.hurry()
    assert hands.done() == ["SIGTERM 101"]
    assert pass_time(server, hands) == states.DRAIN_SECONDS + states.STOP_SECONDS


def test_a_stop_ends_a_question_and_starts_nothing_after_it(hands: FakeHands) -> None:
    server = asking(hands)
    server.stop()
    assert hands.done() == ["SIGKILL 100"]
    assert not server.is_gone
    server.ended(100, -9)
    assert (server.is_gone, hands.done()) == (True, [])


def test_a_stop_while_a_restart_is_awaited_starts_nothing(hands: FakeHands) -> None:
    server = running(hands)
    server.ended(101, -9)
    server.stop()
    while server.due is not None:
        pass_time(server, hands)
    assert (hands.done(), server.is_gone) == ([], True)
