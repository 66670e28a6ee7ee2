"""The protocol's numbers, frames, and listings cut into port and text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epmdless.errors import RemoteProtocolError
from epmdless.wire.epmd_plain import MAX_REQUEST, Opcode, encode_frame, split_listing
from tests.wire.examples import CAPTURED


@given(st.sampled_from(Opcode), st.binary(max_size=MAX_REQUEST - 1))
def test_a_frame_is_its_length_its_opcode_and_its_body(opcode: Opcode, body: bytes) -> None:
    frame = encode_frame(opcode, body)
    assert int.from_bytes(frame[:2], "big") == len(frame) - 2 == 1 + len(body)
    assert frame[2] == opcode
    assert frame[3:] == body


def test_the_opcodes_are_the_references() -> None:
    assert {opcode.name: chr(opcode) for opcode in Opcode} == {
        "ALIVE2": "x",
        "PORT_PLEASE2": "z",
        "NAMES": "n",
        "DUMP": "d",
        "KILL": "k",
        "STOP": "s",
    }


@pytest.mark.parametrize("data", [b"", b"\0", b"\0\0\x11"])
def test_a_listing_shorter_than_its_port_was_cut(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="closed before a whole answer") as caught:
        split_listing(data)
    assert caught.value.reason == "short"


def test_a_listing_may_be_empty() -> None:
    assert split_listing(b"\0\0\x11\x11") == (4369, b"")


@pytest.mark.parametrize("reply", [c.reply for c in CAPTURED if c.title.endswith(" n")])
def test_a_captured_listing_is_cut_after_its_port(reply: bytes) -> None:
    port, text = split_listing(reply)
    assert port == 24801
    assert text.startswith(b"name a")
    assert port.to_bytes(4, "big") + text == reply
