"""EPMD requests: captured bytes, every cut, every lying length, and properties."""

import struct
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epmdless.errors import LocalProtocolError, RemoteProtocolError
from epmdless.wire.epmd import (
    MAX_EXTRA,
    READ_SIZE,
    Alive2Request,
    DumpRequest,
    KillRequest,
    NamesRequest,
    Node,
    NodeType,
    PortPlease2Request,
    Request,
    StopRequest,
    UnacceptableAlive2,
    decode_request,
    encode_node,
    encode_request,
)
from epmdless.wire.epmd_plain import MAX_REQUEST
from tests.wire.examples import CAPTURED, FOUR_BYTES, LONGEST_NAME, NAMES, Conversation, nodes

REASONS: Final = {"length", "trailing", "opcode", "short", "name"}

MESSAGES: Final[dict[str, Request]] = {
    "alive2": Alive2Request(Node(40001, "app", extra=b"extra")),
    "alive2, hidden, old": Alive2Request(Node(40001, "app", NodeType.HIDDEN, highest=5)),
    "alive2, longest": Alive2Request(Node(65535, LONGEST_NAME, 255, 255, 65535, 65535, bytes(MAX_EXTRA))),
    "lookup": PortPlease2Request("app"),
    "lookup, longest": PortPlease2Request(LONGEST_NAME),
    "names": NamesRequest(),
    "dump": DumpRequest(),
    "kill": KillRequest(),
    "stop": StopRequest("app"),
}

CASES: Final = [pytest.param(encode_request(message), id=title) for title, message in MESSAGES.items()]
CASES.extend(pytest.param(each.request, id=each.title) for each in CAPTURED)


def framed(payload: bytes) -> bytes:
    return len(payload).to_bytes(2, "big") + payload


def alive2(
    name: bytes, *, nlen: int | None = None, elen: int | None = None, extra: bytes = b"", highest: int = 6
) -> bytes:
    """Make an ALIVE2 request whose inner lengths may lie."""
    fixed = struct.pack(">cHBBHHH", b"x", 40009, 77, 0, highest, 5, len(name) if nlen is None else nlen)
    return framed(fixed + name + struct.pack(">H", len(extra) if elen is None else elen) + extra)


def outcome(data: bytes) -> Request | str | None:
    """What the decoder makes of bytes: a message, None, or the word of its refusal; nothing else gets out."""
    try:
        return decode_request(data)
    except RemoteProtocolError as error:
        if error.reason in REASONS:
            return error.reason
        raise


@pytest.mark.parametrize("wire", CASES)
def test_a_whole_request_is_decoded_and_encoded_back(wire: bytes) -> None:
    message = decode_request(wire)
    assert message is not None
    assert encode_request(message) == wire


@pytest.mark.parametrize("wire", CASES)
def test_a_request_cut_at_any_length_needs_more(wire: bytes) -> None:
    assert all(decode_request(wire[:length]) is None for length in range(len(wire)))


@pytest.mark.parametrize("wire", CASES)
def test_bytes_after_a_request_are_refused(wire: bytes) -> None:
    for after in (b"\0", b"n", wire):
        assert outcome(wire + after) == "trailing"


def test_the_captured_registration_says_what_the_node_said() -> None:
    registrations = [decode_request(each.request) for each in CAPTURED if each.title.endswith(" x")]
    assert registrations == [
        Alive2Request(Node(25931, name, NodeType.NORMAL, 0, 6, 5)) for name in ("a25", "a27", "a29")
    ]


@pytest.mark.parametrize("length", [0, MAX_REQUEST + 1, 65535])
@pytest.mark.parametrize("wire", CASES)
def test_a_length_out_of_range_is_refused_at_once(wire: bytes, length: int) -> None:
    head = length.to_bytes(2, "big")
    assert outcome(head) == outcome(head + wire[2:]) == "length"


@pytest.mark.parametrize("length", [1, MAX_REQUEST - 1, MAX_REQUEST])
@pytest.mark.parametrize("wire", CASES)
def test_a_length_that_lies_cuts_the_request_or_waits(wire: bytes, length: int) -> None:
    body = wire[2:]
    seen = outcome(length.to_bytes(2, "big") + body)
    if length < len(body):
        assert seen == "trailing"
    elif length > len(body):
        assert seen is None
    else:
        assert seen == decode_request(wire)


@pytest.mark.parametrize("length", [MAX_REQUEST - 1, MAX_REQUEST])
def test_the_longest_requests_fit_one_read(length: int) -> None:
    wire = framed(b"n".ljust(length, b"\0"))
    assert decode_request(wire) == NamesRequest()
    assert len(wire) < READ_SIZE


@pytest.mark.parametrize("payload", [b"n", b"d", b"k"])
def test_a_payload_after_a_bare_opcode_is_ignored(payload: bytes) -> None:
    assert outcome(framed(payload)) == outcome(framed(payload + b"more\0\xff"))


def test_an_opcode_that_means_nothing_is_refused() -> None:
    for opcode in set(range(256)) - set(b"xzndks"):
        assert outcome(framed(bytes([opcode]) + b"app")) == "opcode"


@pytest.mark.parametrize("nlen", [0, 1, 254, 255, 1019, 1020, MAX_REQUEST - 1, MAX_REQUEST, 65535])
@pytest.mark.parametrize("elen", [0, 1, MAX_EXTRA - 1, MAX_EXTRA, MAX_REQUEST, 65535])
def test_inner_lengths_that_lie_never_reach_past_the_payload(nlen: int, elen: int) -> None:
    seen = outcome(alive2(b"app", nlen=nlen, elen=elen, extra=b"e" * 9))
    if isinstance(seen, Alive2Request):
        assert len(seen.node.name) == nlen
        assert len(seen.node.extra) <= 9
    else:
        assert seen in ("length", "name")


@pytest.mark.parametrize("size", range(14))
def test_a_registration_of_13_bytes_or_less_is_refused(size: int) -> None:
    payload = alive2(b"app")[2 : 2 + size]
    assert outcome(framed(payload)) == ("short" if size else "length")


@pytest.mark.parametrize("name", [b"", b"\0", b"a\0", b"\0a", b"a\0b"])
def test_a_registration_of_no_name_or_with_a_nul_is_refused(name: bytes) -> None:
    assert outcome(alive2(name, extra=b"extra")) == "name"


@pytest.mark.parametrize("highest", [0, 5, 6, 65535])
@pytest.mark.parametrize(
    ("name", "extra", "reason"),
    [
        (b"\xff\xfe", b"", "name-encoding"),
        (b"\xed\xa0\x80", b"", "name-encoding"),
        (b"\xc0\xaf", b"", "name-encoding"),
        (b"a" * 256, b"", "name-encoding"),
        (FOUR_BYTES.encode() * 256, b"", "name-encoding"),
        (b"a\nname b at port 1", b"", "name-characters"),
        (b"a b", b"", "name-characters"),
        (b"a\x7f", b"", "name-characters"),
        (b"app", bytes(MAX_EXTRA + 1), "extra-length"),
    ],
)
def test_a_registration_that_nobody_accepts_is_told_apart(
    name: bytes, extra: bytes, reason: str, highest: int
) -> None:
    wire = alive2(name, extra=extra, highest=highest)
    assert decode_request(wire) == UnacceptableAlive2(highest, reason)


def test_a_name_of_255_characters_of_4_bytes_registers_and_is_asked_for() -> None:
    raw = LONGEST_NAME.encode()
    assert len(raw) == 1020
    registered = decode_request(alive2(raw, extra=bytes(MAX_EXTRA)))
    assert isinstance(registered, Alive2Request)
    assert decode_request(framed(b"z" + raw)) == PortPlease2Request(registered.node.name)


def test_bytes_after_extra_are_ignored() -> None:
    wire = alive2(b"app", extra=b"extra")
    assert outcome(framed(wire[2:] + b"more")) == decode_request(wire)


def test_a_lookup_may_end_in_one_nul() -> None:
    assert outcome(framed(b"zapp\0")) == PortPlease2Request("app")


@pytest.mark.parametrize("name", [b"", b"\0", b"app\0\0", b"app\0x", b"\xff", b"a" * 256])
def test_a_lookup_of_what_cannot_be_a_name_is_refused(name: bytes) -> None:
    assert outcome(framed(b"z" + name)) == "name"


@pytest.mark.parametrize(
    ("body", "name"), [(b"app", "app"), (b"app\0rest", "app"), (b"\0", ""), (b"\xff", "\ufffd")]
)
def test_the_name_to_stop_ends_at_its_first_nul(body: bytes, name: str) -> None:
    assert decode_request(framed(b"s" + body)) == StopRequest(name)


def test_a_stop_without_a_name_is_refused() -> None:
    assert outcome(framed(b"s")) == "short"


@pytest.mark.parametrize("name", ["", "a" * 256, "a\0b", "\ud800", LONGEST_NAME + "a"])
@pytest.mark.parametrize("kind", [PortPlease2Request, StopRequest])
def test_a_name_that_the_protocol_cannot_carry_is_not_sent(
    kind: type[PortPlease2Request | StopRequest], name: str
) -> None:
    with pytest.raises(LocalProtocolError, match="not a name"):
        encode_request(kind(name))


@pytest.mark.parametrize(
    "node",
    [
        *(Node(-1, "app"), Node(65536, "app"), Node(1, "app", 256), Node(1, "app", 77, -1)),
        *(Node(1, "app", highest=65536), Node(1, "app", lowest=-1), Node(1, "")),
        Node(1, "app", extra=bytes(MAX_EXTRA + 1)),
    ],
)
def test_a_node_that_does_not_fit_its_fields_is_not_sent(node: Node) -> None:
    with pytest.raises(LocalProtocolError):
        encode_node(node)


def test_an_unacceptable_registration_is_never_sent() -> None:
    with pytest.raises(LocalProtocolError, match="only ever received"):
        encode_request(UnacceptableAlive2(6, "name-encoding"))


BARE: Final[list[Request]] = [NamesRequest(), DumpRequest(), KillRequest()]
REQUESTS = st.one_of(
    st.builds(Alive2Request, nodes()),
    st.builds(PortPlease2Request, NAMES),
    st.builds(StopRequest, NAMES),
    st.sampled_from(BARE),
)


@given(REQUESTS)
def test_every_request_comes_back(request: Request) -> None:
    assert decode_request(encode_request(request)) == request


@given(REQUESTS, st.data())
def test_any_splitting_gives_the_same_request(request: Request, data: st.DataObject) -> None:
    wire, received = encode_request(request), b""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=5)))
    for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        assert len(received) == len(wire) or decode_request(received) is None
        received += wire[start:end]
    assert decode_request(received) == request


@given(st.binary(max_size=64))
def test_arbitrary_bytes_are_a_message_or_need_more_or_are_refused(data: bytes) -> None:
    assert isinstance(outcome(data), Request | str | None)
    assert isinstance(outcome(framed(data)), Request | str)


@given(st.sampled_from(CAPTURED), st.integers(0, 40), st.integers(0, 255), st.binary(max_size=3))
def test_mutated_vectors_are_a_message_or_need_more_or_are_refused(
    conversation: Conversation, at: int, value: int, inserted: bytes
) -> None:
    wire = bytearray(conversation.request)
    wire[at % len(wire)] = value
    assert isinstance(outcome(bytes(wire)), Request | str | None)
    wire[at % len(wire) : at % len(wire)] = inserted
    assert isinstance(outcome(framed(bytes(wire[2:]))), Request | str)
