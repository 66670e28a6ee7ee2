"""EPMD replies: captured bytes, every cut, and properties, for the server's side and the client's."""

from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from epmdless.errors import LocalProtocolError, RemoteProtocolError
from epmdless.wire.epmd import Alive2Request, Node, decode_request, encode_node
from epmdless.wire.epmd_plain import Opcode, encode_frame
from epmdless.wire.epmd_replies import (
    ERROR_CREATION,
    MISS,
    Alive2Reply,
    NamesReply,
    PortReply,
    decode_alive2_reply,
    decode_names_reply,
    decode_port_reply,
    encode_alive2_error,
    encode_alive2_reply,
    encode_dump_reply,
    encode_names_reply,
    encode_port_reply,
)
from tests.wire.examples import CAPTURED, LISTABLE_NAMES, LONGEST_NAME, U16, U32, nodes

REASONS: Final = {"length", "trailing", "opcode", "short", "name"}
Reply = Alive2Reply | PortReply | NamesReply

DECODERS: Final[dict[str, Callable[[bytes], Reply | None]]] = {
    "x": decode_alive2_reply,
    "z": lambda data: decode_port_reply(data, closed=True),
    "z, open": lambda data: decode_port_reply(data, closed=False),
    "n": decode_names_reply,
}


def vectors(opcode: str) -> list[bytes]:
    return [each.reply for each in CAPTURED if each.title.endswith(f" {opcode}")]


def port_reply(data: bytes) -> PortReply | None:
    return decode_port_reply(data, closed=True)


def outcome(kind: str, data: bytes) -> Reply | str | None:
    """What a decoder makes of bytes: a message, None, or the word of its refusal; nothing else gets out."""
    try:
        return DECODERS[kind](data)
    except RemoteProtocolError as error:
        if error.reason in REASONS:
            return error.reason
        raise


# ALIVE2.

ALIVE2 = [*vectors("x"), encode_alive2_reply(5, 7), encode_alive2_error(6), encode_alive2_error(5)]


@pytest.mark.parametrize("wire", vectors("x"))
def test_a_captured_alive2_reply_is_decoded_and_encoded_back(wire: bytes) -> None:
    reply = decode_alive2_reply(wire)
    assert reply is not None
    assert reply.result == 0
    assert encode_alive2_reply(6, reply.creation) == wire


@pytest.mark.parametrize("wire", ALIVE2)
def test_an_alive2_reply_cut_at_any_length_needs_more(wire: bytes) -> None:
    assert all(decode_alive2_reply(wire[:length]) is None for length in range(len(wire)))


@pytest.mark.parametrize("wire", ALIVE2)
def test_bytes_after_an_alive2_reply_are_refused(wire: bytes) -> None:
    assert outcome("x", wire + b"\0") == "trailing"


def test_another_tag_is_no_alive2_reply() -> None:
    assert {outcome("x", bytes([tag])) for tag in set(range(256)) - set(b"vy")} == {"opcode"}


@given(U16, U32)
@example(5, 0xFFFFFFFF)
@example(6, 0xFFFFFFFF)
def test_the_highest_version_chooses_the_shape(highest: int, creation: int) -> None:
    wire = encode_alive2_reply(highest, creation)
    seen = creation if highest >= 6 else creation % 3 + 1
    assert wire[:1] == (b"v" if highest >= 6 else b"y")
    assert decode_alive2_reply(wire) == Alive2Reply(0, seen)


@given(U16)
@example(5)
@example(6)
def test_a_refusal_has_the_shape_of_a_success(highest: int) -> None:
    wire = encode_alive2_error(highest)
    success = encode_alive2_reply(highest, 4)
    assert (wire[0], len(wire)) == (success[0], len(success))
    assert decode_alive2_reply(wire) == Alive2Reply(1, ERROR_CREATION)


# PORT_PLEASE2.


@pytest.mark.parametrize("wire", vectors("z"))
def test_a_captured_port_reply_is_decoded_and_encoded_back(wire: bytes) -> None:
    reply = port_reply(wire)
    assert reply is not None
    assert (MISS if reply.node is None else encode_port_reply(reply.node)) == wire


def test_the_captured_port_replies_are_misses_and_hits() -> None:
    found = [port_reply(wire) for wire in vectors("z")]
    hits = [PortReply(Node(25931, name, 77, 0, 6, 5)) for name in ("a25", "a27", "a29")]
    assert found == [reply for hit in hits for reply in (PortReply(None), hit)]


@pytest.mark.parametrize("wire", vectors("z"))
def test_a_port_reply_may_go_on_until_the_server_closes(wire: bytes) -> None:
    cuts = [decode_port_reply(wire[:length], closed=False) for length in range(len(wire))]
    assert cuts == [None] * len(wire)


@pytest.mark.parametrize("wire", vectors("z"))
def test_a_port_reply_cut_by_the_close_is_refused(wire: bytes) -> None:
    assert {outcome("z", wire[:length]) for length in range(len(wire))} <= {"short", "length"}


@pytest.mark.parametrize("wire", vectors("z"))
def test_bytes_after_a_port_reply_are_ignored_as_the_beam_does(wire: bytes) -> None:
    assert outcome("z", wire + b"more") == port_reply(wire)


def test_a_miss_needs_no_close() -> None:
    assert decode_port_reply(MISS, closed=False) == PortReply(None)


@pytest.mark.parametrize("result", [1, 2, 255])
def test_any_result_but_0_is_a_miss(result: int) -> None:
    assert port_reply(bytes([119, result])) == PortReply(None)


@pytest.mark.parametrize("closed", [False, True])
def test_another_tag_is_no_port_reply(closed: bool) -> None:
    with pytest.raises(RemoteProtocolError, match="tag 118") as caught:
        decode_port_reply(b"v\0", closed=closed)
    assert caught.value.reason == "opcode"


@pytest.mark.parametrize("name", [b"\xff", b"a" * 256])
def test_a_port_reply_with_what_cannot_be_a_name_is_refused(name: bytes) -> None:
    fixed = b"w\0" + b"\x9c\x41M\0\0\6\0\5" + len(name).to_bytes(2, "big")
    assert outcome("z", fixed + name + b"\0\0") == "name"


@given(nodes())
def test_every_node_comes_back(node: Node) -> None:
    assert port_reply(encode_port_reply(node)) == PortReply(node)


@given(nodes())
def test_what_registers_is_found_again(node: Node) -> None:
    request = decode_request(encode_frame(Opcode.ALIVE2, encode_node(node)))
    assert isinstance(request, Alive2Request)
    assert port_reply(encode_port_reply(request.node)) == PortReply(node)


def test_a_node_without_a_name_is_not_sent() -> None:
    with pytest.raises(LocalProtocolError):
        encode_port_reply(Node(9001, ""))


# NAMES and DUMP.


@pytest.mark.parametrize("wire", vectors("n"))
def test_a_captured_names_reply_is_decoded_and_encoded_back(wire: bytes) -> None:
    reply = decode_names_reply(wire)
    assert reply.port == 24801
    assert [port for _, port in reply.nodes] == [25931]
    assert encode_names_reply(reply.port, reply.nodes) == wire


@pytest.mark.parametrize("wire", vectors("n"))
def test_a_names_reply_cut_in_its_port_or_in_a_line_is_refused(wire: bytes) -> None:
    assert {outcome("n", wire[:length]) for length in range(len(wire)) if length != 4} == {"short"}
    assert outcome("n", wire[:4]) == NamesReply(24801, ())


def test_an_empty_names_reply_is_its_port() -> None:
    assert encode_names_reply(4369, []) == b"\0\0\x11\x11"
    assert decode_names_reply(b"\0\0\x11\x11") == NamesReply(4369, ())


def test_names_are_listed_in_the_order_given() -> None:
    nodes = (("newest", 2), (LONGEST_NAME, 65535), ("name a at port 1", 3))
    assert decode_names_reply(encode_names_reply(4369, nodes)).nodes == nodes


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"name  at port 1",
        b"name a at port",
        b"name a at port x",
        b"a at port 1",
        b"name a at port 123456",
    ],
)
def test_a_line_that_cannot_be_read_is_refused(line: bytes) -> None:
    assert outcome("n", b"\0\0\x11\x11" + line + b"\n") == "name"


@given(U32, st.lists(st.tuples(LISTABLE_NAMES, U16), max_size=5))
def test_every_list_of_names_comes_back(port: int, listed: list[tuple[str, int]]) -> None:
    assert decode_names_reply(encode_names_reply(port, listed)) == NamesReply(port, tuple(listed))


def test_a_dump_has_the_references_lines() -> None:
    reply = encode_dump_reply(4369, [("new", 40002, 9), ("first", 40001, 8)], [("gone", 40003, 7)])
    assert reply == (
        b"\0\0\x11\x11"
        b"active name     <new> at port 40002, fd = 9\n\0"
        b"active name     <first> at port 40001, fd = 8\n\0"
        b"old/unused name <gone>, port = 40003, fd = 7 \n\0"
    )


# Whatever comes.


@pytest.mark.parametrize("kind", DECODERS)
@given(data=st.binary(max_size=64))
def test_arbitrary_bytes_are_a_message_or_need_more_or_are_refused(kind: str, data: bytes) -> None:
    assert isinstance(outcome(kind, data), Reply | str | None)


@pytest.mark.parametrize("kind", DECODERS)
@given(
    wire=st.sampled_from([each.reply for each in CAPTURED]),
    at=st.integers(0, 40),
    value=st.integers(0, 255),
    inserted=st.binary(max_size=3),
)
def test_mutated_vectors_are_a_message_or_need_more_or_are_refused(
    kind: str, wire: bytes, at: int, value: int, inserted: bytes
) -> None:
    mutated = bytearray(wire)
    mutated[at % len(wire)] = value
    mutated[at % len(wire) : at % len(wire)] = inserted
    assert isinstance(outcome(kind, bytes(mutated)), Reply | str | None)


@given(st.binary(max_size=30), U16, U16)
def test_lying_lengths_in_a_node_never_reach_past_its_end(tail: bytes, nlen: int, elen: int) -> None:
    body = b"\x9c\x41M\0\0\6\0\5" + nlen.to_bytes(2, "big") + tail + elen.to_bytes(2, "big")
    seen = outcome("z", b"w\0" + body)
    if isinstance(seen, PortReply):
        assert seen.node is not None
        assert len(seen.node.name.encode()) == nlen <= len(tail)
    else:
        assert seen in ("short", "length", "name")


def test_a_names_reply_with_a_port_that_is_none_is_refused() -> None:
    with pytest.raises(RemoteProtocolError):
        decode_names_reply(b"\0\0\x11\x11name a at port 65536\n")
