"""Server names in ClientHellos: real ones from Python's ssl, made ones, every cut, and mutations."""

import ssl
from collections.abc import Sequence
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epmdless.errors import RemoteProtocolError
from epmdless.wire.client_hello import MAX_HELLO, MAX_RECORDS, Hello, is_tls, server_name
from epmdless.wire.handshake import MAX_MESSAGE

REASONS: Final = {"record", "records", "handshake", "oversized", "length", "extension", "name"}

HOST: Final = "b1.az-b.internal"


def client_hello(
    host: str | None,
    protocols: Sequence[str] = (),
    version: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED,
) -> bytes:
    """What Python's ssl sends first, for a server of this name."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = version
    if protocols:
        context.set_alpn_protocols(list(protocols))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=host)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


LONG: Final = [f"protocol-{number:04}".ljust(250, "x") for number in range(30)]

REAL: Final = {
    "host": (client_hello(HOST), Hello(HOST)),
    "no host": (client_hello(None), Hello(None)),
    "tls 1.2": (client_hello(HOST, version=ssl.TLSVersion.TLSv1_2), Hello(HOST)),
    "capitals": (client_hello("B1.AZ-B.Internal"), Hello(HOST)),
    "long": (client_hello(HOST, LONG), Hello(HOST)),
    "long, no host": (client_hello(None, LONG), Hello(None)),
}

CASES: Final = [pytest.param(*case, id=title) for title, case in REAL.items()]


def outcome(data: bytes) -> Hello | str | None:
    """What the reader makes of bytes: a hello, None, or the word of its refusal; nothing else gets out."""
    try:
        return server_name(data)
    except RemoteProtocolError as error:
        if error.reason in REASONS:
            return error.reason
        raise


def sized(size: int, data: bytes) -> bytes:
    return len(data).to_bytes(size, "big") + data


def extension(kind: int, data: bytes) -> bytes:
    return kind.to_bytes(2, "big") + sized(2, data)


def names(*entries: tuple[int, bytes]) -> bytes:
    """Make the extension server_name."""
    listed = b"".join(bytes([kind]) + sized(2, name) for kind, name in entries)
    return extension(0, sized(2, listed))


def hello(extensions: bytes | None, session: bytes = b"") -> bytes:
    """Make a ClientHello, without a record around it; None: one that ends before its extensions."""
    body = b"\x03\x03" + bytes(32) + sized(1, session) + sized(2, b"\x13\x01") + sized(1, b"\0")
    return b"\x01" + sized(3, body if extensions is None else body + sized(2, extensions))


def records(message: bytes, *cuts: int) -> bytes:
    """Put a message into records, cut at these places."""
    ends = [*sorted(cuts), len(message)]
    parts = [message[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    return b"".join(b"\x16\x03\x01" + sized(2, part) for part in parts if part)


def unwrapped(data: bytes) -> bytes:
    """Take the one record off a real hello."""
    assert int.from_bytes(data[3:5], "big") == len(data) - 5
    return data[5:]


def test_the_long_hello_is_long_enough_to_matter() -> None:
    assert 7000 < len(REAL["long"][0]) < MAX_HELLO


@pytest.mark.parametrize(("data", "expected"), CASES)
def test_a_whole_hello_names_its_server(data: bytes, expected: Hello) -> None:
    assert server_name(data) == expected
    assert is_tls(data[0])


@pytest.mark.parametrize(("data", "expected"), CASES)
def test_a_hello_cut_at_any_length_needs_more(data: bytes, expected: Hello) -> None:
    step = 1 if len(data) < 1000 else 7
    assert expected not in {server_name(data[:length]) for length in range(0, len(data), step)}
    assert {server_name(data[:length]) for length in [*range(0, len(data), step), len(data) - 1]} == {None}


@pytest.mark.parametrize(("data", "expected"), CASES)
@pytest.mark.parametrize(
    "after", [b"\0", b"\x17\x03\x03\0\x05early", b"\x14\x03\x03\0\x01\x01", bytes(MAX_HELLO)]
)
def test_what_follows_a_hello_does_not_matter(data: bytes, expected: Hello, after: bytes) -> None:
    assert server_name(data + after) == expected
    joined = b"\x16\x03\x01" + sized(2, unwrapped(data) + after[:50])
    assert server_name(joined) == expected


@pytest.mark.parametrize(("data", "expected"), CASES)
def test_a_hello_in_many_records_is_the_same(data: bytes, expected: Hello) -> None:
    message = unwrapped(data)
    for at in range(1, min(len(message), 600)):
        assert server_name(records(message, at)) == expected
    spread = [len(message) * part // MAX_RECORDS for part in range(1, MAX_RECORDS)]
    whole = records(message, *spread)
    assert server_name(whole) == expected
    assert server_name(whole[:-1]) is None


def test_a_hello_in_too_many_records_is_refused() -> None:
    message = unwrapped(REAL["host"][0])
    data = records(message, *range(1, len(message)))
    allowed = MAX_RECORDS * 6
    assert outcome(data[:allowed]) is None
    assert outcome(data[: allowed + 1]) == outcome(data) == "records"


@pytest.mark.parametrize(
    "host", [b"b1.internal", b"10.0.2.7", b"::1", b"localhost", b"B1.Internal", b"a_b", b"x" * 255]
)
def test_any_host_part_of_a_node_is_read(host: bytes) -> None:
    assert server_name(records(hello(names((0, host))))) == Hello(host.decode().lower())


def test_a_name_among_other_extensions_and_other_kinds_of_name_is_found() -> None:
    extensions = extension(16, b"\0\3\2h2") + names((7, b"?"), (0, HOST.encode())) + extension(43, b"\2\3\4")
    assert server_name(records(hello(extensions, session=bytes(32)))) == Hello(HOST)


@pytest.mark.parametrize("extensions", [None, b"", extension(16, b"\0\3\2h2"), extension(0xFFFF, b"")])
def test_a_hello_may_name_nobody(extensions: bytes | None) -> None:
    assert server_name(records(hello(extensions))) == Hello(None)


@pytest.mark.parametrize(
    ("extensions", "reason"),
    [
        (names((0, b"")), "name"),
        (names((0, b"a b")), "name"),
        (names((0, b"a\0")), "name"),
        (names((0, b"h\xc3\xb6st")), "name"),
        (names((0, b"x" * 256)), "name"),
        (names((0, b"a"), (0, b"b")), "name"),
        (names((7, b"a")), "name"),
        (names(), "name"),
        (names((0, b"a")) * 2, "extension"),
        (extension(16, b"") * 2, "extension"),
        (extension(0, b""), "length"),
        (extension(0, b"\0"), "length"),
        (extension(0, b"\0\4\0\0\2a"), "length"),
        (extension(0, b"\0\4\0\0\1ab"), "length"),
        (extension(0, b"\0\3\0\0\1a"), "length"),
        (b"\0", "length"),
        (b"\0\0\0", "length"),
        (b"\0\0\xff\xff", "length"),
    ],
)
def test_a_hello_whose_inside_is_wrong_is_refused(extensions: bytes, reason: str) -> None:
    assert outcome(records(hello(extensions))) == reason


def test_a_body_of_any_other_length_is_refused() -> None:
    body = hello(names((0, b"a")))[4:]
    ends_before_extensions = len(hello(None)) - 4
    for length in range(len(body)):
        seen = outcome(records(b"\x01" + sized(3, body[:length])))
        assert seen == (Hello(None) if length == ends_before_extensions else "length")
    assert outcome(records(b"\x01" + sized(3, body + b"\0"))) == "length"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        *((bytes([first]), "record") for first in range(256) if first != 22),
        *((bytes([22, major]), "record") for major in (0, 1, 2, 4, 0xFE, 0xFF)),
        *((b"\x16\x03\x01" + size.to_bytes(2, "big"), "record") for size in (0, (1 << 14) + 1, 0xFFFF)),
        *((b"\x16\x03\x01\0\x09" + bytes([kind]), "handshake") for kind in (0, 2, 11, 255)),
        (b"\x16\x03\x01\0\x09\x01" + (MAX_HELLO - 3).to_bytes(3, "big"), "oversized"),
        (b"\x16\x03\x01\0\x09\x01\xff\xff\xff", "oversized"),
        (b"\x16\x03\x01\0\x02\x01\0\x15", "record"),
    ],
)
def test_what_is_no_hello_is_refused_at_its_first_wrong_byte(data: bytes, reason: str) -> None:
    assert outcome(data) == reason
    assert outcome(data[:-1]) is None or data[3:5] == b"\xff\xff"


def test_a_hello_may_take_so_many_bytes_and_no_more() -> None:
    room = MAX_HELLO - 2 * 5 - len(hello(extension(21, b"")))
    longest = records(hello(extension(21, bytes(room))), 9000)
    assert len(longest) == MAX_HELLO
    assert outcome(longest[:-1]) is None
    assert outcome(longest) == Hello(None)
    too_long = records(hello(extension(21, bytes(room + 1))), 9000)
    assert outcome(too_long[: MAX_HELLO - 1]) is None
    assert outcome(too_long[:MAX_HELLO]) == outcome(too_long) == "oversized"


def test_the_distribution_handshake_does_not_look_like_tls() -> None:
    assert not any(is_tls(length >> 8) for length in range(MAX_MESSAGE + 1))


def test_an_error_says_nothing_of_what_was_sent() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        server_name(records(hello(names((0, b"secret"), (0, b"secret")))))
    assert "secret" not in str(caught.value)


@given(st.sampled_from(list(REAL.values())), st.lists(st.integers(1, 200), max_size=6), st.integers(0, 400))
def test_any_splitting_into_records_and_reads_gives_the_same(
    case: tuple[bytes, Hello], cuts: list[int], read: int
) -> None:
    data, expected = case
    wire = records(unwrapped(data), *cuts)
    assert server_name(wire[: min(read, len(wire) - 1)]) is None
    assert server_name(wire) == expected


@given(st.binary(max_size=64), st.binary(max_size=64))
def test_arbitrary_bytes_are_a_hello_or_need_more_or_are_refused(data: bytes, inside: bytes) -> None:
    assert isinstance(outcome(data), Hello | str | None)
    assert isinstance(outcome(records(hello(inside))), Hello | str)
    assert isinstance(outcome(records(hello(extension(0, inside)))), Hello | str)


@given(st.sampled_from(list(REAL.values())), st.data(), st.integers(0, 255), st.binary(max_size=3))
def test_mutated_hellos_are_a_hello_or_need_more_or_are_refused(
    case: tuple[bytes, Hello], data: st.DataObject, value: int, inserted: bytes
) -> None:
    wire = bytearray(case[0])
    at = data.draw(st.integers(0, len(wire) - 1))
    wire[at] = value
    wire[at:at] = inserted
    assert isinstance(outcome(bytes(wire)), Hello | str | None)
