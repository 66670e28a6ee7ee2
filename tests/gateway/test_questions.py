"""Questions to a far host's EPMD server through the gateway: lookups and lists, and nothing else."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from epmdless.gateway import question
from epmdless.wire.epmd_replies import decode_names_reply
from tests.gateway.clients import (
    Client,
    answered,
    closed,
    context_of,
    gateway,
    wait_for,
    wait_for_closed,
    warnings,
)
from tests.support.epmd_client import alive2, framed
from tests.support.far_epmd import MISS, FarEpmd, port_reply
from tests.support.hops import ALLOW, Certified
from tests.support.link_sides import FAR_ADDRESS
from tests.support.relays import RelayHere

NODES = {"b": 9001, "c": 9002, "secret": 9003}


@pytest.fixture
def far_epmd() -> Iterator[FarEpmd]:
    with FarEpmd(NODES) as far_epmd:
        yield far_epmd


@contextmanager
def asking(
    certified: Certified, port: int, nodes: Sequence[str] = ("*",)
) -> Iterator[tuple[RelayHere, Client]]:
    """A gateway, and a tunnel through it to an EPMD server."""
    allow = {**ALLOW, "nodes": nodes}
    with (
        gateway(certified, allow, keys={"epmd_port": port}) as here,
        Client(here.gateway_port, context_of(certified)) as client,
    ):
        assert client.connect(FAR_ADDRESS, port).status == 200
        yield here, client


def test_a_lookup_and_a_list_pass(certified: Certified, far_epmd: FarEpmd) -> None:
    with asking(certified, far_epmd.port) as (here, client):
        client.sock.sendall(framed(b"zb"))
        assert client.end() == (port_reply("b", 9001), "closed")
        wait_for(here)
        with Client(here.gateway_port, context_of(certified)) as other:
            assert other.connect(FAR_ADDRESS, far_epmd.port).status == 200
            other.sock.sendall(framed(b"n"))
            answer, end = other.end()
            assert (answer, end) == (far_epmd.reply(b"n"), "closed")
        assert far_epmd.asked == [b"zb", b"n", b"n"]
        assert answered(here, 200) == 2
        assert [line for line in here.lines if "link" in line] == []


FORBIDDEN = {
    "ALIVE2": alive2("evil", 9999),
    "KILL": framed(b"k"),
    "STOP": framed(b"sb"),
    "DUMP": framed(b"d"),
}


@pytest.mark.parametrize("said", FORBIDDEN.values(), ids=FORBIDDEN.keys())
def test_nothing_else_reaches_the_far_server(certified: Certified, far_epmd: FarEpmd, said: bytes) -> None:
    with asking(certified, far_epmd.port) as (here, client):
        client.sock.sendall(said)
        assert client.end() == (b"", "closed")
        wait_for_closed(here, "epmd_refused")
        assert len(warnings(here)) == 1
    assert far_epmd.asked == []


@pytest.mark.parametrize("payload", [b"", b"q", b"\xff" * 40, b"z", b"z" + b"x" * 300, b"GET / HTTP/1.1"])
def test_what_is_no_question(certified: Certified, far_epmd: FarEpmd, payload: bytes) -> None:
    with asking(certified, far_epmd.port) as (here, client):
        client.sock.sendall(framed(payload))
        assert client.end() == (b"", "closed")
        wait_for_closed(here, "epmd_malformed")
    assert far_epmd.asked == []


def test_a_second_question_does_not_pass(certified: Certified, far_epmd: FarEpmd) -> None:
    """One behind the first, in the same write."""
    with asking(certified, far_epmd.port) as (here, client):
        client.sock.sendall(framed(b"zb") + framed(b"k"))
        client.end()
        wait_for(here)
    assert b"k" not in far_epmd.asked


def test_names_outside_nodes_are_missing(certified: Certified, far_epmd: FarEpmd) -> None:
    with asking(certified, far_epmd.port, ["b", "c"]) as (here, client):
        client.sock.sendall(framed(b"n"))
        reply = decode_names_reply(client.end()[0])
        assert [node[0] for node in reply.nodes] == ["b", "c"]
        assert reply.port == far_epmd.port
        for name, answer in (("secret", MISS), ("b", port_reply("b", 9001)), ("nobody", MISS)):
            with Client(here.gateway_port, context_of(certified)) as other:
                assert other.connect(FAR_ADDRESS, far_epmd.port).status == 200
                other.sock.sendall(framed(b"z" + name.encode()))
                assert other.end() == (answer, "closed")
    assert far_epmd.asked == [b"n", b"zb"]


def test_a_client_that_asks_nothing(
    certified: Certified, far_epmd: FarEpmd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(question, "SECONDS", 0.2)
    with asking(certified, far_epmd.port) as (here, client):
        assert client.end() == (b"", "closed")
        wait_for_closed(here, "epmd_timed_out")
        wait_for(here)


@pytest.mark.parametrize("said", [b"", b"\0", framed(b"zb")[:3]])
def test_a_client_that_leaves(certified: Certified, far_epmd: FarEpmd, said: bytes) -> None:
    with asking(certified, far_epmd.port) as (here, client):
        client.sock.sendall(said)
        client.close()
        wait_for(here)
        assert here.call(lambda: here.gateway.descriptors) == 0
    assert far_epmd.asked == []


@contextmanager
def far_server(*pieces: bytes, endless: bool = False) -> Iterator[int]:
    """A server that answers one question so, piece by piece, or over and over, and keeps the connection."""
    over = threading.Event()

    def serve() -> None:
        sock = listener.accept()[0]
        with sock:
            sock.recv(100)
            try:
                for piece in pieces:
                    sock.sendall(piece)
                while endless and not over.is_set():
                    sock.sendall(pieces[-1])
            except OSError:
                return
            over.wait()

    with socket.create_server((FAR_ADDRESS, 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            over.set()
            thread.join()


def test_a_far_server_that_never_comes_to_an_end(
    certified: Certified, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(question, "SECONDS", 0.3)
    with far_server(b"w", b"\0") as port, asking(certified, port) as (here, client):
        client.sock.sendall(framed(b"zb"))
        assert client.end() == (b"", "closed")
        wait_for_closed(here, "epmd_timed_out")


@pytest.mark.parametrize("asked", [b"n", b"zb"])
def test_an_answer_without_end(certified: Certified, asked: bytes) -> None:
    with far_server(bytes(65536), endless=True) as port, asking(certified, port) as (here, client):
        client.sock.sendall(framed(asked))
        assert client.end() == (b"", "closed")
        wait_for_closed(here, "epmd_malformed")


def test_a_list_that_is_none_is_not_passed_on_unseen(certified: Certified, far_epmd: FarEpmd) -> None:
    """Where names are left out, what cannot be read could hold them."""
    far_epmd.says = b"\0\0\x11\x11no list at all: secret"
    with asking(certified, far_epmd.port, ["b"]) as (here, client):
        client.sock.sendall(framed(b"n"))
        assert client.end() == (b"", "closed")
        assert closed(here, "epmd_malformed") == 1


def test_nobody_serves_epmd_there(certified: Certified, far_epmd: FarEpmd) -> None:
    far_epmd.close()
    with (
        gateway(certified, keys={"epmd_port": far_epmd.port}) as here,
        Client(here.gateway_port, context_of(certified)) as client,
    ):
        assert client.connect(FAR_ADDRESS, far_epmd.port).status == 502
        assert client.options().status == 200
