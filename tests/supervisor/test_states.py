"""What the supervisor does when: the order of the start, signals, the end; without a clock or a process."""

import signal

import pytest

from epmdless.supervisor import states
from epmdless.supervisor.orders import Orders
from epmdless.supervisor.server import DRAIN_SECONDS, FIRST_PAUSE, STOP_SECONDS
from epmdless.supervisor.states import Supervisor
from tests.supervisor.fake_hands import HOST, FakeHands

ORDERS = Orders(("bin/shop", "start"), ("env",), ("serve",), "", "", 4369, None, ())

PLAN, QUESTION, SERVER, COMMAND = 100, 101, 102, 103

SECOND_QUESTION = 103
"""Where the server's first start fails."""


def planning(hands: FakeHands, kill_after: float | None = None) -> Supervisor:
    supervisor = Supervisor(hands, ORDERS._replace(kill_after=kill_after))
    supervisor.begin()
    assert hands.done() == ["plan 100"]
    return supervisor


def starting(hands: FakeHands, kill_after: float | None = None) -> Supervisor:
    supervisor = planning(hands, kill_after)
    supervisor.child_ended(PLAN, 0)
    supervisor.child_ended(QUESTION, 1)
    assert hands.done() == ["question 101", f"server 102 {HOST}"]
    return supervisor


def running(hands: FakeHands, kill_after: float | None = None) -> Supervisor:
    supervisor = starting(hands, kill_after)
    supervisor.server_ready()
    assert hands.done() == ["command 103"]
    assert supervisor.command == COMMAND
    return supervisor


def pass_time(supervisor: Supervisor, hands: FakeHands) -> float:
    assert supervisor.due is not None
    seconds = supervisor.due - hands.clock
    hands.clock = supervisor.due
    supervisor.passed()
    return seconds


@pytest.fixture
def hands() -> FakeHands:
    return FakeHands()


# The start.


def test_the_command_starts_last(hands: FakeHands) -> None:
    supervisor = running(hands)
    assert (supervisor.status, supervisor.due) == (None, None)


@pytest.mark.parametrize(
    ("helper", "said"),
    [("", ["an EPMD server answers on port 4369 already: none is started"]), ("remote", [])],
)
def test_the_command_starts_beside_somebody_elses_server(
    hands: FakeHands, helper: str, said: list[str]
) -> None:
    supervisor = Supervisor(hands, ORDERS._replace(helper=helper))
    supervisor.begin()
    hands.done()
    supervisor.child_ended(PLAN, 0)
    supervisor.child_ended(QUESTION, 0)
    assert hands.done() == ["question 101", "command 102"]
    assert hands.said == said
    supervisor.child_ended(102, 0)
    assert supervisor.is_over(is_childless=True)
    assert hands.done() == []


@pytest.mark.parametrize("status", [1, 2, 126])
def test_a_plan_that_fails_starts_nothing(hands: FakeHands, status: int) -> None:
    supervisor = planning(hands)
    supervisor.child_ended(PLAN, status)
    assert supervisor.is_over(is_childless=True)
    assert (supervisor.status, hands.done(), hands.said) == (2, [], [])


def test_a_plan_that_was_killed_is_told(hands: FakeHands) -> None:
    supervisor = planning(hands)
    supervisor.child_ended(PLAN, -9)
    assert (supervisor.status, hands.said) == (2, ["epmdless env was ended by signal 9"])


def test_a_plan_that_is_none_starts_nothing(hands: FakeHands) -> None:
    hands.plan = None
    supervisor = planning(hands)
    supervisor.child_ended(PLAN, 0)
    assert (supervisor.status, hands.done(), hands.said) == (2, [], ["no plan"])


def test_a_plan_that_never_ends_starts_nothing(hands: FakeHands) -> None:
    supervisor = planning(hands)
    assert pass_time(supervisor, hands) == states.PLAN_SECONDS
    assert (supervisor.status, hands.done()) == (2, ["SIGKILL 100"])
    assert not supervisor.is_over(is_childless=False)
    supervisor.child_ended(PLAN, -9)
    assert supervisor.is_over(is_childless=True)
    assert hands.said == ["epmdless env has not ended within 30 s"]


def test_a_server_that_cannot_serve_starts_no_command(hands: FakeHands) -> None:
    supervisor = starting(hands)
    supervisor.child_ended(SERVER, 1)
    assert pass_time(supervisor, hands) == FIRST_PAUSE
    supervisor.child_ended(SECOND_QUESTION, 1)
    assert supervisor.is_over(is_childless=True)
    assert (supervisor.status, hands.done(), hands.said) == (1, ["question 103"], [])


def test_a_server_with_a_wrong_configuration_starts_no_command(hands: FakeHands) -> None:
    supervisor = starting(hands)
    supervisor.child_ended(SERVER, 2)
    assert supervisor.is_over(is_childless=True)
    assert (supervisor.status, hands.done(), hands.said) == (2, [], [])


def test_a_server_that_another_one_was_faster_than_starts_the_command(hands: FakeHands) -> None:
    supervisor = starting(hands)
    supervisor.child_ended(SERVER, 1)
    pass_time(supervisor, hands)
    supervisor.child_ended(SECOND_QUESTION, 0)
    assert (supervisor.status, hands.done()) == (None, ["question 103", "command 104"])


def test_sigterm_before_the_second_look_ends_all(hands: FakeHands) -> None:
    supervisor = starting(hands)
    supervisor.child_ended(SERVER, 1)
    supervisor.signalled(signal.SIGTERM)
    assert supervisor.is_over(is_childless=True)
    assert (supervisor.status, hands.done()) == (143, [])


def test_a_server_that_is_never_ready_is_ended(hands: FakeHands) -> None:
    supervisor = starting(hands)
    pass_time(supervisor, hands)
    assert (supervisor.status, hands.done()) == (1, ["SIGTERM 102"])
    assert not supervisor.is_over(is_childless=False)


@pytest.mark.parametrize("what", ["plan", "question", "server", "command"])
def test_no_process_for_one_of_them_ends_all(hands: FakeHands, what: str) -> None:
    hands.no_process_for = what
    supervisor = Supervisor(hands, ORDERS)
    supervisor.begin()
    supervisor.child_ended(PLAN, 0)
    supervisor.child_ended(QUESTION, 1)
    supervisor.server_ready()
    supervisor.child_ended(SERVER, 0)
    assert (supervisor.status, supervisor.command) == (1, None)
    assert supervisor.is_over(is_childless=True)
    (said,) = hands.said
    assert said.endswith("cannot be started: Resource temporarily unavailable") or what == "plan"


# Signals.


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP])
def test_a_signal_that_ends_programs_ends_the_start(hands: FakeHands, number: signal.Signals) -> None:
    supervisor = planning(hands)
    supervisor.signalled(number)
    assert (supervisor.status, hands.done()) == (128 + number, ["SIGKILL 100"])
    supervisor.child_ended(PLAN, 0)
    assert hands.done() == []  # what the plan said is no matter any more
    assert supervisor.is_over(is_childless=True)


def test_such_a_signal_ends_the_server_that_is_about_to_start(hands: FakeHands) -> None:
    supervisor = starting(hands)
    supervisor.signalled(signal.SIGTERM)
    supervisor.server_ready()
    assert (supervisor.status, hands.done()) == (143, ["SIGTERM 102"])
    assert not supervisor.is_over(is_childless=False)
    supervisor.child_ended(SERVER, -15)
    assert (supervisor.is_over(is_childless=True), hands.said) == (True, [])


def test_signals_from_before_the_command_reach_it_in_their_order() -> None:
    hands = FakeHands(ignored=frozenset({signal.SIGHUP}))
    supervisor = planning(hands)
    supervisor.signalled(signal.SIGUSR2)
    supervisor.child_ended(PLAN, 0)
    supervisor.signalled(signal.SIGHUP)  # under nohup it ends nobody
    supervisor.child_ended(QUESTION, 1)
    supervisor.signalled(signal.SIGUSR1)
    hands.done()
    supervisor.server_ready()
    assert hands.done() == ["command 103", "SIGUSR2 103", "SIGHUP 103", "SIGUSR1 103"]


def test_a_flood_of_early_signals_is_not_kept(hands: FakeHands) -> None:
    supervisor = starting(hands)
    for _ in range(10_000):
        supervisor.signalled(signal.SIGUSR1)
    supervisor.server_ready()
    assert hands.done() == ["command 103"] + ["SIGUSR1 103"] * states.MOST_EARLY


def test_signals_are_forwarded_while_the_server_is_away(hands: FakeHands) -> None:
    supervisor = running(hands)
    supervisor.signalled(signal.SIGHUP)
    supervisor.child_ended(SERVER, -9)
    supervisor.signalled(signal.SIGTERM)
    assert hands.done() == ["SIGHUP 103", "SIGTERM 103"]
    assert supervisor.status is None


def test_a_command_that_ignores_sigterm_has_all_the_time_it_takes(hands: FakeHands) -> None:
    supervisor = running(hands)
    supervisor.signalled(signal.SIGTERM)
    assert supervisor.due is None


def test_kill_after_counts_from_the_first_sigterm(hands: FakeHands) -> None:
    supervisor = running(hands, kill_after=25.0)
    supervisor.signalled(signal.SIGINT)
    assert supervisor.due is None
    supervisor.signalled(signal.SIGTERM)
    hands.clock += 10
    supervisor.signalled(signal.SIGTERM)
    hands.done()
    assert pass_time(supervisor, hands) == 15
    assert hands.done() == ["SIGKILL 103"]
    supervisor.child_ended(COMMAND, -9)
    assert supervisor.status == 137


def test_kill_after_is_over_with_the_command(hands: FakeHands) -> None:
    supervisor = running(hands, kill_after=0.5)
    supervisor.signalled(signal.SIGTERM)
    supervisor.child_ended(COMMAND, 0)
    hands.done()
    pass_time(supervisor, hands)
    assert hands.done() == ["SIGTERM 102"]


# The end.


@pytest.mark.parametrize(("ended", "status"), [(0, 0), (7, 7), (255, 255), (-9, 137), (-15, 143), (-6, 134)])
def test_the_commands_status_is_kept(hands: FakeHands, ended: int, status: int) -> None:
    supervisor = running(hands)
    supervisor.child_ended(COMMAND, ended)
    assert (supervisor.status, hands.done()) == (status, ["SIGTERM 102"])
    assert not supervisor.is_over(is_childless=False)
    supervisor.child_ended(SERVER, 1)
    assert supervisor.is_over(is_childless=False)
    assert supervisor.status == status


def test_a_server_that_hangs_is_killed_in_the_end(hands: FakeHands) -> None:
    supervisor = running(hands)
    supervisor.child_ended(COMMAND, 0)
    assert pass_time(supervisor, hands) + pass_time(supervisor, hands) == DRAIN_SECONDS + STOP_SECONDS
    assert hands.done() == ["SIGTERM 102", "SIGTERM 102", "SIGKILL 102"]


def test_a_signal_after_the_commands_end_hurries_the_server(hands: FakeHands) -> None:
    supervisor = running(hands)
    supervisor.child_ended(COMMAND, 3)
    supervisor.signalled(signal.SIGUSR1)
    supervisor.signalled(signal.SIGTERM)
    assert hands.done() == ["SIGTERM 102", "SIGTERM 102"]
    assert supervisor.status == 3


def test_pid_1_ends_what_is_left_and_waits_for_it_for_a_short_time() -> None:
    hands = FakeHands(is_init=True)
    supervisor = running(hands)
    supervisor.child_ended(COMMAND, 0)
    assert hands.done() == ["SIGTERM to all"]
    supervisor.child_ended(SERVER, 0)
    assert not supervisor.is_over(is_childless=False)
    assert supervisor.is_over(is_childless=True)
    hands.clock += states.ORPHAN_SECONDS
    supervisor.passed()
    assert supervisor.is_over(is_childless=False)


def test_pid_1_waits_for_its_server_longer_than_for_orphans() -> None:
    hands = FakeHands(is_init=True)
    supervisor = running(hands)
    supervisor.child_ended(COMMAND, 0)
    hands.clock += states.ORPHAN_SECONDS
    supervisor.passed()
    assert not supervisor.is_over(is_childless=False)


def test_others_than_pid_1_leave_orphans_alone(hands: FakeHands) -> None:
    supervisor = running(hands)
    supervisor.child_ended(555, 0)  # an orphan of the command's
    supervisor.child_ended(COMMAND, 0)
    supervisor.child_ended(SERVER, 0)
    assert supervisor.is_over(is_childless=False)
    assert hands.done() == ["SIGTERM 102"]


def test_a_server_that_was_told_to_end_with_us_is_not_restarted_soon(hands: FakeHands) -> None:
    supervisor = running(hands)
    supervisor.signalled(signal.SIGTERM)
    supervisor.child_ended(SERVER, 0)
    supervisor.child_ended(COMMAND, 0)
    assert supervisor.is_over(is_childless=True)
    assert hands.said == []
