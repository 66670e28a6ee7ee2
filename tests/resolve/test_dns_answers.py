"""Long answers of DNS: read as dnspython reads them, and bounded whatever they hold."""

import random
from collections.abc import Sequence

import dns.message
import dns.name
import dns.rdatatype
import dns.resolver
import dns.rrset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epmdless.errors import RemoteProtocolError
from epmdless.resolve.dns_answers import LongAnswer, count_answers, read_long_answer, skip_to_last
from epmdless.resolve.srv_records import SrvRecord

NAME = "app.nodes.internal."

HEAD = bytes.fromhex("000081800001000100000000")
QUESTION = b"\x03app\0\0\x01\0\x01"
A_RECORD = bytes.fromhex("000100010000003c00040a000007")


def message(rdtype: str, answers: Sequence[str], additional: Sequence[str] = (), name: str = NAME) -> bytes:
    """A response; each record a line `NAME TTL TYPE DATA`."""
    response = dns.message.make_response(dns.message.make_query(name, rdtype, use_edns=True))
    for section, lines in ((response.answer, answers), (response.additional, additional)):
        for line in lines:
            owner, ttl, kind, data = line.split(None, 3)
            section.append(dns.rrset.from_text(dns.name.from_text(owner), int(ttl), "IN", kind, data))
    return response.to_wire(max_size=65535)


def read(wire: bytes, rdtype: str) -> LongAnswer:
    return read_long_answer(wire, dns.rdatatype.from_text(rdtype))


def test_addresses() -> None:
    records = [f"{NAME} {60 + n} A 10.0.{n >> 8}.{n & 255}" for n in range(4000)]
    found = read(message("A", records), "A")
    assert found == LongAnswer(tuple(f"10.0.{n >> 8}.{n & 255}" for n in range(4000)), (), 60)


def test_addresses_of_ipv6_in_their_one_spelling() -> None:
    wire = message("AAAA", [f"{NAME} 5 AAAA fd00:0:0::7", f"{NAME} 9 AAAA fd00:0:0:1::"])
    assert read(wire, "AAAA") == LongAnswer(("fd00::7", "fd00:0:0:1::"), (), 5)


def test_services_with_the_addresses_that_came_along() -> None:
    answers = [f"{NAME} 60 SRV 1 2 9001 B1.Nodes.Internal.", f"{NAME} 30 SRV 0 0 0 ."]
    additional = [
        "b1.nodes.internal. 9 A 10.0.0.7",
        "B1.nodes.internal. 9 AAAA fd00::7",
        "b2.x. 9 A 10.0.0.8",
    ]
    found = read(message("SRV", answers, additional), "SRV")
    assert found.services == (
        SrvRecord(1, 2, 9001, "b1.nodes.internal", ("10.0.0.7", "fd00::7")),
        SrvRecord(0, 0, 0, ""),
    )
    assert found.ttl == 30


def test_aliases_are_followed_in_any_order_and_their_ttls_count() -> None:
    lines = [
        "y.internal. 60 A 10.0.0.7",
        f"{NAME.upper()} 50 CNAME x.internal.",
        "X.internal. 7 CNAME y.internal.",
    ]
    assert read(message("A", lines), "A") == LongAnswer(("10.0.0.7",), (), 7)


def test_records_of_another_name_or_type_are_no_answer() -> None:
    lines = ["other.internal. 60 A 10.0.0.8", f"{NAME} 60 AAAA fd00::7", f"{NAME} 60 TXT app@b9"]
    assert read(message("A", lines), "A") == LongAnswer((), (), 0)


def test_an_alias_of_nothing_is_no_record() -> None:
    assert read(message("A", [f"{NAME} 60 CNAME x.internal."]), "A").addresses == ()


def test_labels_of_strange_characters_cannot_forge_others() -> None:
    wire = message("SRV", [rf"{NAME} 60 SRV 0 0 9001 a\.b\@c\ d.internal."])
    assert read(wire, "SRV").services[0].target == r"a\.b\@c\032d.internal"


def test_targets_that_share_a_domain_are_read_as_others() -> None:
    targets = ["B1.x.", "b2.x.", ".", "b3.", "b4.", r"a\.b.x.", r"a\.c.x.", "x.", NAME, "b5.x.", "c.b5.x."]
    targets += [".".join([letter * 63] * 3 + ["x" * 61]) + "." for letter in "yz"]
    found = read(message("SRV", [f"{NAME} 60 SRV 0 0 1 {target}" for target in targets]), "SRV").services
    assert [each.target for each in found] == [target.lower().removesuffix(".") for target in targets]


def test_a_target_may_be_a_pointer_though_it_must_not() -> None:
    """RFC 2782 forbids it; some servers do it all the same."""
    targets = [b"\0", b"\xc0\x0c", b"\x01b\xc0\x0c", b"\x01C\xc0\x0c", b"\xc0\x0c"]
    records = b"".join(
        b"\xc0\x0c\0\x21\0\x01"
        + bytes(4)
        + (6 + len(target)).to_bytes(2, "big")
        + b"\0\0\0\0\x23\x29"
        + target
        for target in targets
    )
    wire = HEAD[:7] + bytes([len(targets)]) + HEAD[8:] + QUESTION + records
    assert [each.target for each in read(wire, "SRV").services] == ["", "app", "b.app", "c.app", "app"]


@pytest.mark.parametrize(
    "lines",
    [
        [f"{NAME} 60 CNAME {NAME}"],
        [f"{NAME} 60 CNAME x.internal.", f"x.internal. 60 CNAME {NAME}"],
        [f"{NAME} 60 CNAME a0.", *(f"a{n}. 60 CNAME a{n + 1}." for n in range(40)), "a41. 60 A 10.0.0.7"],
    ],
)
def test_aliases_without_end(lines: list[str]) -> None:
    with pytest.raises(RemoteProtocolError, match="aliases"):
        read(message("A", lines), "A")


TWO = [f"{NAME} 60 SRV 0 0 {n} b{n}.nodes.internal." for n in (1, 2)]
GOOD = message("SRV", TWO, ["b1.nodes.internal. 9 A 10.0.0.7"])


def test_cut_anywhere_it_is_an_error() -> None:
    for length in range(len(GOOD)):
        with pytest.raises(RemoteProtocolError):
            read(GOOD[:length], "SRV")


def test_bytes_after_it_are_an_error() -> None:
    with pytest.raises(RemoteProtocolError, match="after"):
        read(GOOD + b"\0", "SRV")


@pytest.mark.parametrize(
    "wire",
    [
        HEAD + b"\xc0\x0c\0\x01\0\x01" + b"\xc0\x0c" + A_RECORD,  # the question's name leads to itself
        HEAD + QUESTION + b"\xc0\x16" + A_RECORD,  # a pointer to itself
        HEAD + QUESTION + b"\xc0\x40" + A_RECORD + bytes(60),  # a pointer ahead
        HEAD + QUESTION + b"\x80app\0" + A_RECORD,  # a length of 64 and more
        HEAD + QUESTION + (b"\x3f" + b"x" * 63) * 4 + b"\0" + A_RECORD,  # 256 bytes
        HEAD + QUESTION + b"\xc0\x0c" + A_RECORD[:8] + b"\0\x05" + bytes(5),  # an address of five
        HEAD + QUESTION + b"\xc0\x0c" + A_RECORD[:8] + b"\xff\xff" + bytes(4),  # longer than the message
        bytes.fromhex("000081800000000100000000") + b"\xc0\x0c" + A_RECORD,  # no question
        bytes.fromhex("00008180ffffffffffffffff") + QUESTION,
        b"",
    ],
)
def test_what_is_not_as_it_must_be(wire: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        read(wire, "A")


def pointer(place: int) -> bytes:
    return (0xC000 | place).to_bytes(2, "big")


@pytest.mark.parametrize(("count", "is_good"), [(100, True), (8000, False)])
def test_pointers_to_pointers_cost_little_time(count: int, is_good: bool) -> None:
    first = len(HEAD + QUESTION) + len(pointer(12)) + 10  # where the data of the first record begin
    chain = b"".join(pointer(12 if n == 0 else first + 2 * (n - 1)) for n in range(count))
    text = pointer(12) + b"\0\x10\0\x01" + bytes(4) + len(chain).to_bytes(2, "big") + chain
    wire = HEAD[:7] + b"\x02" + HEAD[8:] + QUESTION + text + pointer(first + 2 * (count - 1)) + A_RECORD
    if is_good:
        assert read(wire, "A").addresses == ("10.0.0.7",)
    else:
        with pytest.raises(RemoteProtocolError, match="127 pointers"):
            read(wire, "A")


def test_a_name_of_255_bytes_is_the_longest() -> None:
    name = ".".join(["x" * 63] * 3 + ["x" * 61]) + "."
    assert read(message("A", [f"{name} 60 A 10.0.0.7"], name=name), "A").addresses == ("10.0.0.7",)


@pytest.mark.parametrize(
    ("wire", "count"),
    [(GOOD, 2), (GOOD[:11], 0), (b"", 0), (b"\0\0\0\0\0\0\xff\xff\0\0\0\0", 65535)],
    ids=["whole", "cut", "empty", "many"],
)
def test_the_count_is_the_headers(wire: bytes, count: int) -> None:
    assert count_answers(wire) == count


def test_the_last_record_is_where_a_signature_would_be() -> None:
    start, rdtype = skip_to_last(GOOD)
    assert (start, rdtype) == (len(GOOD) - 11, dns.rdatatype.OPT)
    assert skip_to_last(HEAD + QUESTION + b"\xc0\x0c" + A_RECORD) == (len(HEAD + QUESTION), dns.rdatatype.A)
    assert skip_to_last(HEAD[:7] + b"\0" + HEAD[8:] + QUESTION) == (len(HEAD), 0)


def test_cut_or_lengthened_a_message_has_no_last_record() -> None:
    for wire in [*(GOOD[:length] for length in range(len(GOOD))), GOOD + b"\0"]:
        with pytest.raises(RemoteProtocolError):
            skip_to_last(wire)


LABEL = st.text("abcxyzABCXYZ019-_", min_size=1, max_size=8)
DOMAIN = st.lists(LABEL, min_size=1, max_size=4).map(lambda labels: ".".join(labels) + ".")


@given(st.lists(st.tuples(st.integers(0, 65535), DOMAIN), min_size=1, max_size=20, unique=True))
def test_it_reads_what_dnspython_reads(services: list[tuple[int, str]]) -> None:
    wire = message("SRV", [f"{NAME} {port} SRV 1 2 {port} {target}" for port, target in services])
    response = dns.message.from_wire(wire)
    assert isinstance(response, dns.message.QueryMessage)
    name = dns.name.from_text(NAME)
    theirs = dns.resolver.Answer(name, dns.rdatatype.SRV, dns.rdataclass.IN, response)
    found = read(wire, "SRV")
    assert {(each.port, each.target) for each in found.services} == {
        (rdata.port, rdata.target.to_text(omit_final_dot=True).lower()) for rdata in theirs.rrset or ()
    }
    assert found.ttl == theirs.chaining_result.minimum_ttl


@settings(max_examples=300)
@given(st.integers(0), st.integers(1, 8), st.sampled_from(["A", "AAAA", "SRV"]))
def test_whatever_is_changed_in_it_is_an_answer_or_an_error(seed: int, changes: int, rdtype: str) -> None:
    rng = random.Random(seed)
    wire = bytearray(GOOD)
    for _ in range(changes):
        wire[rng.randrange(len(wire))] = rng.choice([0, 1, 0x3F, 0x40, 0xC0, 0xFF, rng.randrange(256)])
    try:
        found = read(bytes(wire), rdtype)
    except RemoteProtocolError:
        return
    assert len(found.addresses) + len(found.services) <= count_answers(bytes(wire))
