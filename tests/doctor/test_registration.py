"""What servers at several addresses said, put together; and the names that somebody may have meant."""

from __future__ import annotations

import socket
import time

import pytest

from epmdless.doctor.asking import Answer, Trouble
from epmdless.doctor.promising import Promise, Promised
from epmdless.doctor.registration import MOST_COMPARED, judge, near_names
from epmdless.wire.epmd import Node

ONE = (socket.AF_INET, ("10.0.0.1", 0))
OTHER = (socket.AF_INET, ("10.0.0.2", 0))
TWO = (socket.AF_INET6, ("fd00::1", 0, 0, 0))


def found(address: tuple[int, object], port: int, name: str = "app", highest: int = 6) -> Answer:
    return Answer(address, f"port {port}", Node(port, name, highest=highest))


def lacking(
    address: tuple[int, object], trouble: Trouble, listed: tuple[tuple[str, int], ...] = ()
) -> Answer:
    return Answer(address, trouble, trouble=trouble, listed=listed)


@pytest.mark.parametrize(
    ("promise", "verdict", "said"),
    [
        (None, "ok", "port 9001"),
        (Promise(9001, "scheme"), "ok", "port 9001, as the scheme promises"),
        (Promise(9001, "srv"), "ok", "port 9001, as srv says"),
        (Promise(9002, "scheme"), "warning", "port 9001, but the scheme promises 9002"),
        (Promise(9002, "srv"), "warning", "port 9001, but srv says 9002"),
    ],
)
def test_an_answer_and_a_promise(promise: Promise | None, verdict: str, said: str) -> None:
    registered, finding = judge([found(ONE, 9001)], 4369, Promised(promise), "app")
    assert registered is not None
    assert (registered.port, registered.is_old, registered.address) == (9001, False, ONE)
    assert (finding.verdict, finding.said) == (verdict, said)


def test_a_node_of_before_otp_23() -> None:
    registered, _ = judge([found(ONE, 9001, highest=5)], 4369, Promised(None), "app")
    assert registered is not None
    assert registered.is_old


def test_addresses_that_differ() -> None:
    registered, finding = judge([found(ONE, 9001), found(TWO, 9002)], 4369, Promised(None), "app")
    assert registered is not None
    assert registered.port == 9001
    assert finding.verdict == "warning"
    assert "10.0.0.1: port 9001; fd00::1: port 9002" in finding.said


def test_one_address_without_it_is_told() -> None:
    registered, finding = judge([lacking(ONE, "refused"), found(TWO, 9002)], 4369, Promised(None), "app")
    assert registered is not None
    assert registered.address == TWO
    assert finding.said == "port 9002; not at 10.0.0.1: refused"


@pytest.mark.parametrize(("address", "verdict"), [(ONE, "warning"), (TWO, "ok")])
def test_a_node_asks_one_address_of_its_family_alone(address: tuple[int, object], verdict: str) -> None:
    _, finding = judge([lacking(address, "filtered"), found(OTHER, 9001)], 4369, Promised(None), "app")
    assert finding.verdict == verdict
    assert ("one address alone" in "".join(finding.advice)) is (verdict == "warning")


def test_a_chain_that_fails_is_told() -> None:
    _, finding = judge([found(ONE, 9001)], 4369, Promised(None, "the resolver srv failed: SERVFAIL"), "app")
    assert (finding.verdict, finding.said) == ("warning", "port 9001; the resolver srv failed: SERVFAIL")


@pytest.mark.parametrize(
    ("trouble", "advice"),
    [
        ("refused", "start an EPMD server there"),
        ("refused", "a firewall refuses us by a reset"),
        ("missing", "-dist_listen false"),
        ("filtered", "let TCP port 4369 through to 10.0.0.1"),
        ("unreachable", "let TCP port 4369 through to 10.0.0.1"),
        ("foreign", "sport = :4369"),
        ("closed", "epmd.access"),
        ("silent", "sport = :4369"),
        ("wrong", "sport = :4369"),
        ("missing", "no node at all"),
    ],
)
def test_each_trouble_has_its_remedy(trouble: Trouble, advice: str) -> None:
    registered, finding = judge([lacking(ONE, trouble)], 4369, Promised(None), "app")
    assert (registered, finding.verdict) == (None, "failed")
    assert advice in "\n".join(finding.advice)


def test_a_server_that_knows_tells_more_than_one_that_is_not_there() -> None:
    answers = [lacking(ONE, "refused"), lacking(TWO, "missing", (("shop", 9001),))]
    _, finding = judge(answers, 4369, Promised(None), "app")
    assert finding.advice[0] == "registered there: shop"
    assert "10.0.0.1: refused; fd00::1: missing" in finding.said


def test_the_same_words_are_said_once() -> None:
    answers = [lacking(ONE, "refused"), lacking(OTHER, "refused"), lacking(TWO, "missing")]
    _, finding = judge(answers, 4369, Promised(None), "app")
    assert "10.0.0.1, 10.0.0.2: refused; fd00::1: missing" in finding.said


def test_a_long_list_is_cut() -> None:
    listed = tuple((f"n{number}\x07", 9000) for number in range(30))
    _, finding = judge([lacking(ONE, "missing", listed)], 4369, Promised(None), "app")
    assert finding.advice[0].endswith("n9\\x07, and 20 more")
    assert len(finding.details["answers"][0]["registered"]) == 10


@pytest.mark.parametrize(
    ("alive", "near"),
    [
        ("ap", ["app"]),
        ("APP", ["app"]),
        ("shop-9002", ["shop-9001"]),
        ("Shop", ["shop-9001"]),
        ("nobody", []),
    ],
)
def test_near_names(alive: str, near: list[str]) -> None:
    assert near_names(alive, [("app", 1), ("shop-9001", 2), ("x", 3)]) == near


def test_a_crowd_of_names_does_not_hold_us_up() -> None:
    """All as long as names get, and as like each other as can be: the dearest to compare."""
    listed = [("a" * 250 + f"{number:05}", 1) for number in range(20_000)]
    began = time.process_time()
    assert len(near_names("b" * 255, listed)) == 0
    assert time.process_time() - began < 2
    assert near_names("z-9001", [("y", 1)] * MOST_COMPARED + [("z-9001x", 1)]) == []
