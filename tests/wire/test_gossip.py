"""libcluster's packets: those that OTP 25 and 27 made as libcluster does, ours, and what else may come."""

import json
from typing import Final, NamedTuple

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from epmdless.errors import LocalProtocolError, RemoteProtocolError
from epmdless.wire.gossip import (
    IV_SIZE,
    KEY_SIZE,
    MAX_PACKET,
    decode_heartbeat,
    encode_heartbeat,
    key_of,
)
from epmdless.wire.terms import Atom, Term, encode
from tests.wire.erlang_terms import KNOWN, TERMS, Written
from tests.wire.examples import VECTORS

SECRET: Final = b"somepassword"
KEY: Final = key_of(SECRET)
OTHER_KEY: Final = key_of(b"another")
IV: Final = bytes(range(1, 17))
PREFIX: Final = b"heartbeat::"
NAME: Final = "app@10.0.0.7"
LONGEST: Final = "\U0001f300" * 253 + "@b"

CLEAR_REASONS: Final = {"oversized", "prefix", "term", "name"}
REASONS: Final = {"oversized", "encryption", "term", "name"}
"""Why a packet can be thrown away, without a key and with one."""


class Packet(NamedTuple):
    """A packet that Erlang made: with the secret, or in the clear."""

    otp: str
    key: bytes | None
    name: str
    wire: bytes


PACKETS: Final = [
    Packet(
        each["otp"],
        KEY if each["kind"] == "encrypted" else None,
        each["name"],
        bytes.fromhex(each["packet"]),
    )
    for each in json.loads((VECTORS / "gossip.json").read_text())
]

by_packet = pytest.mark.parametrize("packet", PACKETS)
by_key = pytest.mark.parametrize(("key", "iv"), [(None, None), (KEY, IV)], ids=["clear", "encrypted"])


def outcome(packet: bytes, key: bytes | None) -> tuple[str, str]:
    """What is made of a packet: ("name", the name), or ("refused", the reason); nothing else gets out."""
    try:
        return "name", decode_heartbeat(packet, key)
    except RemoteProtocolError as error:
        if error.reason in (CLEAR_REASONS if key is None else REASONS):
            return "refused", error.reason
        raise


def sealed(clear: bytes) -> bytes:
    """Any bytes, padded as they are, encrypted with the key."""
    padding = IV_SIZE - len(clear) % IV_SIZE
    return IV + sealed_blocks(clear + bytes([padding]) * padding)


def sealed_blocks(blocks: bytes) -> bytes:
    encryptor = Cipher(algorithms.AES256(KEY), modes.CBC(IV)).encryptor()
    return encryptor.update(blocks) + encryptor.finalize()


def refused(clear: bytes) -> str:
    """Why a heartbeat is thrown away, in the clear and encrypted."""
    in_the_clear, encrypted = outcome(PREFIX + clear, None), outcome(sealed(PREFIX + clear), KEY)
    assert in_the_clear == encrypted
    assert in_the_clear[0] == "refused"
    return in_the_clear[1]


# What libcluster sends.


def test_the_packets_are_of_both_releases_and_both_kinds() -> None:
    assert {(packet.otp, packet.key) for packet in PACKETS} == {
        (otp, key) for otp in ("otp25", "otp27") for key in (None, KEY)
    }


@by_packet
def test_a_packet_is_the_name_of_its_sender(packet: Packet) -> None:
    assert decode_heartbeat(packet.wire, packet.key) == packet.name
    assert type(decode_heartbeat(packet.wire, packet.key)) is str


@by_packet
def test_our_packet_is_the_one_that_otp_27_makes(packet: Packet) -> None:
    iv = packet.wire[:IV_SIZE] if packet.key else None
    ours = encode_heartbeat(packet.name, packet.key, iv)
    assert (ours == packet.wire) is (packet.otp == "otp27"), "OTP 25 writes atoms in ISO 8859-1"


@by_packet
def test_a_packet_cut_anywhere_is_refused(packet: Packet) -> None:
    for end in range(len(packet.wire)):
        assert outcome(packet.wire[:end], packet.key)[0] == "refused"


@by_packet
def test_a_packet_with_more_bytes_is_refused(packet: Packet) -> None:
    for more in (b"\0", bytes(15), bytes(16), bytes(17)):
        assert outcome(packet.wire + more, packet.key)[0] == "refused"


@by_packet
def test_a_packet_is_of_no_use_with_another_key(packet: Packet) -> None:
    if packet.key is None:
        assert outcome(packet.wire, KEY) == ("refused", "encryption")
    else:
        assert outcome(packet.wire, None) == ("refused", "prefix")
        assert outcome(packet.wire, OTHER_KEY) == ("refused", "encryption")


# What we send.


@by_key
@pytest.mark.parametrize("name", [NAME, LONGEST, "n@b", "n@" + "b" * 253])
def test_a_name_goes_there_and_back(name: str, key: bytes | None, iv: bytes | None) -> None:
    packet = encode_heartbeat(name, key, iv)
    assert len(packet) <= MAX_PACKET
    assert decode_heartbeat(packet, key) == name


def test_the_longest_packet_is_as_long_as_packets_may_be() -> None:
    assert len(encode_heartbeat(LONGEST, KEY, IV)) == MAX_PACKET


def test_a_packet_shows_its_initialization_vector_and_not_the_name() -> None:
    packet = encode_heartbeat(NAME, KEY, IV)
    assert packet.startswith(IV)
    assert NAME.encode() not in packet
    assert encode_heartbeat(NAME, KEY, bytes(16))[16:] != packet[16:]


@given(st.binary(min_size=KEY_SIZE, max_size=KEY_SIZE), st.binary(min_size=IV_SIZE, max_size=IV_SIZE))
def test_any_key_opens_what_it_closed(key: bytes, iv: bytes) -> None:
    assert decode_heartbeat(encode_heartbeat(NAME, key, iv), key) == NAME


@pytest.mark.parametrize(
    "name", ["", "app", "@b", "app@", "a@b@c", "a b@c", "a\n@b", "a" * 254 + "@b", "nonode@nohost"]
)
def test_what_is_no_name_is_neither_sent_nor_taken(name: str) -> None:
    with pytest.raises(LocalProtocolError, match="name"):
        encode_heartbeat(name)
    wire = encode({Atom("node"): Atom(name[:255])})
    assert refused(wire) == "name"


@pytest.mark.parametrize(
    ("key", "iv"), [(KEY, None), (None, IV), (KEY[1:], IV), (KEY, IV[1:]), (b"", b""), (SECRET, IV)]
)
def test_a_key_and_a_vector_that_do_not_fit_are_the_callers_mistake(
    key: bytes | None, iv: bytes | None
) -> None:
    with pytest.raises(LocalProtocolError, match="key"):
        encode_heartbeat(NAME, key, iv)


# What anybody may send.


def a_map(*pairs: bytes) -> bytes:
    return b"\x83\x74" + len(pairs).to_bytes(4, "big") + b"".join(pairs)


NODE: Final = b"\x77\x04node"
ATOM: Final = b"\x77\x03a@b"


@pytest.mark.parametrize("node", [b"\x77\x04node", b"\x76\0\x04node", b"\x64\0\x04node", b"\x73\x04node"])
@pytest.mark.parametrize("name", [b"\x77\x03a@b", b"\x76\0\x03a@b", b"\x64\0\x03a@b", b"\x73\x03a@b"])
def test_atoms_of_every_release_are_taken(node: bytes, name: bytes) -> None:
    assert decode_heartbeat(PREFIX + a_map(node + name)) == "a@b"
    assert decode_heartbeat(sealed(PREFIX + a_map(node + name)), KEY) == "a@b"


@pytest.mark.parametrize(
    "term",
    [
        b"",
        b"\x83",
        a_map(),
        a_map(NODE + ATOM, ATOM + ATOM),
        a_map(NODE + ATOM, NODE + ATOM),
        a_map(b"\x77\x04edon" + ATOM),
        a_map(b"\x77\x04NODE" + ATOM),
        a_map(ATOM + NODE),
        a_map(b"\x6d\0\0\0\x04node" + ATOM),
        a_map(NODE + b"\x6d\0\0\0\x03a@b"),
        a_map(NODE + b"\x6b\0\x03a@b"),
        a_map(NODE + b"\x68\x01" + ATOM),
        a_map(NODE + a_map(NODE + ATOM)[1:]),
        a_map(a_map(NODE + ATOM)[1:] + ATOM),
        a_map(NODE + ATOM) + b"\0",
        a_map(NODE + ATOM)[1:],
        b"\x83\x74\xff\xff\xff\xff" + NODE + ATOM,
        b"\x83\x74\0\0\0\x01" * 100,
        b"\x83\x50\0\0\0\x11" + bytes.fromhex("789c2b616060604c67cc4f492d"),
        b"\x83" + ATOM,
        encode([Atom("node"), Atom("a@b")]),
        encode((Atom("node"), Atom("a@b"))),
        b"\x83\x70\0\0\0\x40" + bytes(60),
        b"\x83\x71" + ATOM + ATOM + b"\x61\0",
    ],
)
def test_any_other_term_is_refused(term: bytes) -> None:
    assert refused(term) == "term"


@pytest.mark.parametrize("vector", [each for each in KNOWN if len(each.wire) < 900])
def test_every_other_term_that_a_node_can_write_is_refused(vector: Written) -> None:
    if b"a@b.example" in vector.wire:
        assert decode_heartbeat(PREFIX + vector.wire) == "a@b.example"
    else:
        assert refused(vector.wire) == "term"


@given(TERMS)
def test_no_term_but_the_map_is_a_heartbeat(term: Term) -> None:
    assert outcome(PREFIX + encode(term), None)[0] == "refused"


@pytest.mark.parametrize("size", [MAX_PACKET + 1, MAX_PACKET + 16, 65_507])
def test_a_packet_too_long_is_not_looked_at(size: int) -> None:
    clear = encode_heartbeat(NAME).ljust(size, b"\0")
    assert outcome(clear, None) == ("refused", "oversized")
    assert outcome(clear, KEY) == ("refused", "oversized")


def test_a_packet_of_any_length_without_blocks_is_not_encrypted() -> None:
    for size in range(MAX_PACKET + 1):
        assert outcome(bytes(size), KEY) == ("refused", "encryption")
        assert outcome(bytes(size), None) == ("refused", "prefix")


@pytest.mark.parametrize("last", [b"\0", b"\x11", b"\xff", b"\1\2", b"\x10"])
def test_padding_that_is_none_is_refused(last: bytes) -> None:
    """libcluster's own receiver takes a last byte of 0 for no padding; no sender writes that."""
    clear = PREFIX + a_map(NODE + ATOM)
    blocks = clear.ljust(-(-(len(clear) + 2) // 16) * 16 - len(last), b"\x07") + last
    assert outcome(IV + sealed_blocks(blocks), KEY) == ("refused", "encryption")


def test_what_is_encrypted_and_no_heartbeat_is_refused() -> None:
    assert outcome(sealed(a_map(NODE + ATOM)), KEY) == ("refused", "encryption")
    assert outcome(sealed(b""), KEY) == ("refused", "encryption")


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data: bytes) -> None:
    assert outcome(data, None)[0] == "refused"
    assert outcome(data, KEY)[0] == "refused"
    assert outcome(PREFIX + data, None)[0] == "refused"
    assert outcome(sealed(PREFIX + data), KEY)[0] == "refused"


@given(st.sampled_from(PACKETS), st.data())
def test_a_packet_that_something_changed_is_a_name_or_is_refused(packet: Packet, data: st.DataObject) -> None:
    wire = bytearray(packet.wire)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(wire)))
        wire[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    kind, text = outcome(bytes(wire), packet.key)
    assert kind == "refused" or "@" in text
