"""One EPMD server asked about one node, with an eye for those that are none, or lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import trio

from epmdless.doctor.reaching import ReachError, at_port, reach, shown
from epmdless.doctor.strangers import beginning_of, recognised
from epmdless.errors import RemoteProtocolError
from epmdless.names import MAX_NAME_CHARACTERS, printable
from epmdless.net.dialing import Address
from epmdless.net.plain import send_all
from epmdless.wire.epmd import NamesRequest, Node, PortPlease2Request, Request, encode_request
from epmdless.wire.epmd_replies import ReplyTag, decode_names_reply, decode_port_reply

CONNECT_SECONDS = 3.0
"""To connect: the SYN is sent twice."""

ANSWER_SECONDS = 5.0
"""For the whole of one question: a real server needs a millisecond, ours up to five seconds for DNS."""

LIST_SECONDS = 2.0
"""For the list of names, which only helps to say what is wrong."""

PROVOKED_AFTER = 3.0
"""Seconds after which whoever says nothing is sent the end of a line: a web server waits for it."""

MAX_ANSWER = 2 * 1024 * 1024
"""Bytes of an answer that are taken: a list of 20,000 names of 80 bytes."""

READ_SIZE = 65_536

Trouble = Literal["refused", "filtered", "unreachable", "missing", "foreign", "closed", "silent", "wrong"]
"""``missing``: it does not know the node; ``foreign``: it is no EPMD server; ``wrong``: it lies."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a question at one address.

    :ivar node: what it says of the node; None where there is trouble.
    :ivar said: one line for people.
    :ivar listed: who is registered there, as far as it says so; asked where it does not know the node.
    """

    address: Address
    said: str
    node: Node | None = None
    trouble: Trouble | None = None
    listed: tuple[tuple[str, int], ...] | None = None


class _Heard:
    """What a server said, and whether it then closed the connection, as it must."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.is_closed = False
        self.is_provoked = False


async def ask(address: Address, port: int, alive: str) -> Answer:
    """Ask the server at an address where a node listens, and who is there if it does not know that one.

    :param port: of the EPMD server.
    """
    try:
        sock = await reach(at_port(address, port), CONNECT_SECONDS)
    except ReachError as error:
        trouble: Trouble = "filtered" if error.trouble == "filtered" else "unreachable"
        return Answer(address, str(error), trouble="refused" if error.trouble == "refused" else trouble)
    heard = await _converse(sock, PortPlease2Request(alive))
    answer = _judge(address, alive, heard)
    if answer.trouble != "missing":
        return answer
    return Answer(address, answer.said, trouble="missing", listed=await _names(address, port))


async def _names(address: Address, port: int) -> tuple[tuple[str, int], ...] | None:
    """Who is registered there; None where it does not tell, or tells what no node can be called."""
    with trio.move_on_after(LIST_SECONDS):
        try:
            heard = await _converse(await reach(at_port(address, port), LIST_SECONDS), NamesRequest())
            nodes = decode_names_reply(bytes(heard.data)).nodes
            return None if any(len(name) > MAX_NAME_CHARACTERS for name, _ in nodes) else nodes
        except (ReachError, RemoteProtocolError):
            pass
    return None


async def _converse(sock: trio.socket.SocketType, request: Request) -> _Heard:
    """Ask, and listen to the end, or for as long as it may take; closes the socket."""
    heard = _Heard()
    with sock, trio.move_on_after(ANSWER_SECONDS):
        try:
            await send_all(sock, encode_request(request))
            with trio.move_on_after(PROVOKED_AFTER):
                await _listen(sock, heard)
            if not heard.data and not heard.is_closed:
                heard.is_provoked = True
                await send_all(sock, b"\r\n\r\n")
            await _listen(sock, heard)
        except OSError:
            heard.is_closed = True
    return heard


async def _listen(sock: trio.socket.SocketType, heard: _Heard) -> None:
    while not heard.is_closed and len(heard.data) <= MAX_ANSWER:
        received = await sock.recv(READ_SIZE)
        heard.data += received
        heard.is_closed = not received


def _judge(address: Address, alive: str, heard: _Heard) -> Answer:
    data = bytes(heard.data)
    if not data:
        return _nothing(address, heard)
    if data[0] != ReplyTag.PORT2:
        return Answer(address, f"no EPMD server: {recognised(data)}", trouble="foreign")
    try:
        reply = decode_port_reply(data, closed=True)
    except RemoteProtocolError as error:
        half = f"half an answer ({len(data)} bytes: {beginning_of(data)})"
        if heard.is_closed and error.reason != "short":
            return Answer(address, f"an answer that cannot be read: {error.detail}", trouble="wrong")
        how = "and then it closed" if heard.is_closed else "and then it hung"
        return Answer(address, f"{half}, {how}", trouble="wrong")
    assert reply is not None, "a closed connection leaves nothing to wait for"
    if reply.node is None:
        return Answer(address, f"it does not know {printable(alive)}", trouble="missing")
    return _judge_node(address, alive, reply.node, heard)


def _judge_node(address: Address, alive: str, node: Node, heard: _Heard) -> Answer:
    if node.port == 0:
        return Answer(address, "it says port 0, where nobody can listen", trouble="wrong")
    if not heard.is_closed:
        said = f"it says port {node.port}, and does not close the connection: a node waits for that for ever"
        return Answer(address, said, trouble="wrong")
    said = f"port {node.port}"
    if node.name != alive:
        said += f", but for the name {printable(node.name)}"
    return Answer(address, said, node)


def _nothing(address: Address, heard: _Heard) -> Answer:
    if heard.is_closed and not heard.is_provoked:
        return Answer(address, "it closed the connection without an answer", trouble="closed")
    said = f"it takes the connection and says nothing within {ANSWER_SECONDS:g} s"
    return Answer(address, said, trouble="silent")


async def ask_all(addresses: Sequence[Address], port: int, alive: str) -> list[Answer]:
    """Ask at all addresses at once; their answers in the same order."""
    answers: dict[str, Answer] = {}

    async def one(address: Address) -> None:
        answers[shown(address)] = await ask(address, port, alive)

    async with trio.open_nursery() as nursery:
        for address in addresses:
            nursery.start_soon(one, address)
    return [answers[shown(address)] for address in addresses]
