"""PROXY protocol headers: bytes written by hand, every cut, lying lengths, and properties."""

import ipaddress
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epmdless.errors import LocalProtocolError, RemoteProtocolError
from epmdless.wire.proxy_protocol import (
    MAX_HEADER,
    SIGNATURE,
    ProxyHeader,
    decode_header,
    encode_header,
    encode_local_header,
)

REASONS: Final = {"signature", "version", "command", "family", "oversized", "short"}

START: Final = "0d0a0d0a000d0a515549540a"
AWS_ENDPOINT: Final = "ea 0017 01 767063652d3038643262663135666163353030316339"
"""The field that AWS adds for an endpoint: type 0xEA, subtype 1, the endpoint's id as text."""

EXAMPLES: Final[dict[str, tuple[bytes, ProxyHeader]]] = {
    "tcp4": (
        bytes.fromhex(START + "21 11 000c 0a000105 0a000209 d431 2329"),
        ProxyHeader(28, "10.0.1.5", 54321, "10.0.2.9", 9001),
    ),
    "tcp4, fields": (
        bytes.fromhex(START + "21 11 0026 0a000105 0a000209 d431 2329" + AWS_ENDPOINT),
        ProxyHeader(54, "10.0.1.5", 54321, "10.0.2.9", 9001),
    ),
    "tcp6": (
        bytes.fromhex(START + "21 21 0024" + "20010db8" + "00" * 11 + "01" + "00" * 15 + "01" + "0001 ffff"),
        ProxyHeader(52, "2001:db8::1", 1, "::1", 65535),
    ),
    "unix": (bytes.fromhex(START + "21 31 00d8") + b"/run/a".ljust(216, b"\0"), ProxyHeader(232)),
    "unspecified": (bytes.fromhex(START + "21 00 0000"), ProxyHeader(16)),
    "unspecified, with what nobody reads": (bytes.fromhex(START + "21 00 0003 ffffff"), ProxyHeader(19)),
    "local": (bytes.fromhex(START + "20 00 0000"), ProxyHeader(16)),
    "local, of a family that is ignored": (bytes.fromhex(START + "20 99 0002 ffff"), ProxyHeader(18)),
}

CASES: Final = [pytest.param(*example, id=title) for title, example in EXAMPLES.items()]


def outcome(data: bytes) -> ProxyHeader | str | None:
    """What the decoder makes of bytes: a header, None, or the word of its refusal; nothing else gets out."""
    try:
        return decode_header(data)
    except RemoteProtocolError as error:
        if error.reason in REASONS:
            return error.reason
        raise


def header(version_command: int = 0x21, family: int = 0x11, size: int = 12, body: bytes = bytes(12)) -> bytes:
    """Make a header whose fields may lie."""
    return SIGNATURE + bytes([version_command, family]) + size.to_bytes(2, "big") + body


@pytest.mark.parametrize(("data", "expected"), CASES)
def test_a_whole_header_is_read(data: bytes, expected: ProxyHeader) -> None:
    assert decode_header(data) == expected


@pytest.mark.parametrize(("data", "expected"), CASES)
def test_what_follows_a_header_is_left_alone(data: bytes, expected: ProxyHeader) -> None:
    for after in (b"\0", b"\0\x1eN", data):
        assert decode_header(data + after) == expected
        assert (data + after)[expected.length :] == after


@pytest.mark.parametrize(("data", "expected"), CASES)
def test_a_header_cut_at_any_length_needs_more(data: bytes, expected: ProxyHeader) -> None:
    assert expected.length == len(data)
    assert [decode_header(data[:length]) for length in range(len(data))] == [None] * len(data)


@pytest.mark.parametrize(
    "data",
    [
        b"\0",
        b"\0\x1eN",
        b"PROXY TCP4 10.0.1.5 10.0.2.9 54321 9001\r\n",
        b"\x16\x03\x01",
        b"\r\n\r\n\0\r\nQUIT\r",
    ],
)
def test_what_begins_otherwise_is_refused_at_once(data: bytes) -> None:
    assert outcome(data) == "signature"


@pytest.mark.parametrize("at", range(len(SIGNATURE)))
def test_every_byte_of_the_signature_counts(at: int) -> None:
    assert outcome(SIGNATURE[:at] + bytes([SIGNATURE[at] ^ 1])) == "signature"
    assert outcome(SIGNATURE[: at + 1]) is None


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        *((header(version << 4 | 1), "version") for version in range(16) if version != 2),
        *((header(0x20 | command), "command") for command in range(2, 16)),
        *((header(family=family), "family") for family in (0x01, 0x10, 0x12, 0x22, 0x30, 0x32, 0x41, 0xFF)),
        *((header(size=size), "short") for size in (0, 1, 11)),
        *((header(family=0x21, size=size), "short") for size in (0, 12, 35)),
        *((header(family=0x31, size=size), "short") for size in (0, 215)),
        *((header(size=size), "oversized") for size in (MAX_HEADER - 15, 0xFFFF)),
        *((header(0x20, 0, size), "oversized") for size in (MAX_HEADER - 15, 0xFFFF)),
    ],
)
def test_what_a_header_cannot_say_is_refused_as_soon_as_it_is_said(data: bytes, reason: str) -> None:
    assert outcome(data[:15]) is None
    assert outcome(data[:16]) == outcome(data) == reason


def test_the_longest_header_passes() -> None:
    data = header(size=MAX_HEADER - 16, body=bytes(MAX_HEADER - 16))
    assert decode_header(data[:-1]) is None
    assert decode_header(data) == ProxyHeader(MAX_HEADER, "0.0.0.0", 0, "0.0.0.0", 0)


def test_a_mapped_address_is_left_as_it_came() -> None:
    seen = decode_header(encode_header("::ffff:10.0.1.5", 1, "::1", 2))
    assert seen is not None
    assert seen.source is not None
    assert ipaddress.IPv6Address(seen.source).ipv4_mapped == ipaddress.IPv4Address("10.0.1.5")


@pytest.mark.parametrize("title", ["tcp4", "tcp4, fields", "tcp6"])
def test_a_header_is_written_as_it_was_read(title: str) -> None:
    data, seen = EXAMPLES[title]
    assert seen.source is not None
    assert seen.source_port is not None
    assert seen.destination is not None
    assert seen.destination_port is not None
    fields = bytes.fromhex(AWS_ENDPOINT) if "fields" in title else b""
    assert (
        encode_header(seen.source, seen.source_port, seen.destination, seen.destination_port, fields) == data
    )


def test_a_health_check_names_no_client() -> None:
    assert encode_local_header() == EXAMPLES["local"][0]


@pytest.mark.parametrize(
    ("source", "source_port", "destination", "destination_port", "fields"),
    [
        ("10.0.1.5", 1, "::1", 1, b""),
        ("10.0.1.5", 65536, "10.0.1.6", 1, b""),
        ("10.0.1.5", 1, "10.0.1.6", -1, b""),
        ("::1", 1, "::1", 1, bytes(65536)),
    ],
)
def test_what_a_header_cannot_carry_is_not_sent(
    source: str, source_port: int, destination: str, destination_port: int, fields: bytes
) -> None:
    with pytest.raises(LocalProtocolError):
        encode_header(source, source_port, destination, destination_port, fields)


PORTS = st.integers(0, 0xFFFF)
V4, V6 = st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(str)


@given(st.tuples(V4, V4) | st.tuples(V6, V6), PORTS, PORTS, st.binary(max_size=100), st.binary(max_size=10))
def test_every_header_comes_back(
    ends: tuple[str, str], source_port: int, destination_port: int, fields: bytes, after: bytes
) -> None:
    data = encode_header(ends[0], source_port, ends[1], destination_port, fields)
    expected = ProxyHeader(len(data), ends[0], source_port, ends[1], destination_port)
    assert decode_header(data + after) == expected


@given(st.binary(max_size=64))
def test_arbitrary_bytes_are_a_header_or_need_more_or_are_refused(data: bytes) -> None:
    assert outcome(data) is None or outcome(data) == "signature"
    assert isinstance(outcome(SIGNATURE + data), ProxyHeader | str | None)


@given(
    st.sampled_from(list(EXAMPLES.values())), st.integers(0, 60), st.integers(0, 255), st.binary(max_size=3)
)
def test_mutated_headers_are_a_header_or_need_more_or_are_refused(
    example: tuple[bytes, ProxyHeader], at: int, value: int, inserted: bytes
) -> None:
    data = bytearray(example[0])
    data[at % len(data)] = value
    data[at % len(data) : at % len(data)] = inserted
    seen = outcome(bytes(data))
    assert isinstance(seen, str | None) or seen.length <= len(data)
