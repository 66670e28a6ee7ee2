"""One EPMD server asked: those that are none, that lie, that hang, and those at more than one address."""

from __future__ import annotations

import socket

import pytest
import trio
from trio.testing import MockClock

from epmdless.doctor import asking
from epmdless.doctor.asking import ANSWER_SECONDS, Answer, ask, ask_all
from epmdless.wire.epmd import Node
from epmdless.wire.epmd_replies import encode_port_reply
from tests.cluster.scripted_node import HTTP
from tests.doctor.world import HOST, OTHER, Server

ADDRESS = (socket.AF_INET, (HOST, 0))
FOUND = encode_port_reply(Node(9001, "app"))


async def answer_of(nursery: trio.Nursery, server: Server, alive: str = "app") -> Answer:
    port = server.port or await nursery.start(server.listen, HOST)
    return await ask(ADDRESS, port, alive)


@pytest.mark.parametrize(
    ("says", "trouble", "said"),
    [
        (HTTP, "foreign", "no EPMD server: a web server"),
        (b"\x15\x03\x01\x00\x02\x02\x0a", "foreign", "somebody who speaks TLS"),
        (b"", "closed", "without an answer"),
        (b"w", "wrong", "half an answer (1 bytes"),
        (FOUND[:8], "wrong", "and then it closed"),
        (FOUND[:14], "wrong", "and then it closed"),
        (b"w\x00" + b"\xff" * 40, "wrong", "cannot be read"),
        (b"w\x07", "missing", "it does not know app"),
        (encode_port_reply(Node(0, "app")), "wrong", "port 0"),
    ],
)
async def test_what_is_no_answer(says: bytes, trouble: str, said: str, nursery: trio.Nursery) -> None:
    server = Server()
    server.says = says
    answer = await answer_of(nursery, server)
    assert (answer.trouble, answer.node) == (trouble, None)
    assert said in answer.said


async def test_an_answer(nursery: trio.Nursery) -> None:
    answer = await answer_of(nursery, Server(Node(9001, "app")))
    assert (answer.trouble, answer.said) == (None, "port 9001")
    assert answer.node == Node(9001, "app")


async def test_an_answer_about_somebody_else(nursery: trio.Nursery) -> None:
    server = Server()
    server.says = encode_port_reply(Node(9001, "other\x1b[2J"))
    answer = await answer_of(nursery, server)
    assert answer.said == "port 9001, but for the name other\\x1b[2J"


async def test_who_is_there_is_asked_where_the_node_is_not(nursery: trio.Nursery) -> None:
    answer = await answer_of(nursery, Server(Node(9001, "a"), Node(9002, "b")))
    assert answer.trouble == "missing"
    assert answer.listed == (("a", 9001), ("b", 9002))


async def test_a_list_of_what_no_node_can_be_called_is_not_shown(nursery: trio.Nursery) -> None:
    """It may be a line of two million characters."""
    answer = await answer_of(nursery, Server(Node(9001, "x" * 256)))
    assert (answer.trouble, answer.listed) == ("missing", None)


@pytest.mark.parametrize(
    ("says", "trouble", "said"),
    [
        (b"", "silent", "says nothing within 5 s"),
        (FOUND[:8], "wrong", "and then it hung"),
        (FOUND[:14], "wrong", "and then it hung"),
        (FOUND, "wrong", "port 9001, and does not close"),
        (b"w\x01", "missing", "does not know"),
        (HTTP, "foreign", "a web server"),
    ],
)
async def test_a_server_that_hangs(
    says: bytes, trouble: str, said: str, nursery: trio.Nursery, patient_clock: MockClock
) -> None:
    server = Server()
    server.says, server.then = says, "hang"
    began = trio.current_time()
    answer = await answer_of(nursery, server)
    assert answer.trouble == trouble
    assert said in answer.said
    assert trio.current_time() - began <= ANSWER_SECONDS + asking.LIST_SECONDS


async def test_a_server_that_drips(nursery: trio.Nursery, patient_clock: MockClock) -> None:
    server = Server()
    server.says, server.drips = FOUND, True
    began = trio.current_time()
    answer = await answer_of(nursery, server)
    assert (answer.trouble, "and then it hung" in answer.said) == ("wrong", True)
    assert trio.current_time() - began <= ANSWER_SECONDS


async def test_a_web_server_that_waits_for_the_end_of_a_line(
    nursery: trio.Nursery, patient_clock: MockClock
) -> None:
    server = Server()
    server.says, server.at_line_end = HTTP, True
    answer = await answer_of(nursery, server)
    assert answer.trouble == "foreign"
    assert "a web server (“HTTP/1.1 400 Bad Request”)" in answer.said


async def test_an_answer_without_end_takes_no_more_than_its_limit(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "MAX_ANSWER", 10_000)
    server = Server()
    server.says = FOUND + bytes(3_000_000)
    answer = await answer_of(nursery, server)
    assert answer.trouble == "wrong"


async def test_each_address_is_asked(nursery: trio.Nursery) -> None:
    server = Server(Node(9001, "app"))
    port = await nursery.start(server.listen, OTHER)
    addresses = [ADDRESS, (socket.AF_INET, (OTHER, 0))]
    first, second = await ask_all(addresses, port, "app")
    assert (first.trouble, second.trouble) == ("refused", None)
