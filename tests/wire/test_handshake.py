"""Handshake messages: captured and hand-made bytes, every cut, names as OTP reads them, and properties."""

import hashlib
import re
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epmdless.errors import LocalProtocolError, RemoteProtocolError
from epmdless.names import MAX_NAME_BYTES
from epmdless.wire.handshake import (
    HANDSHAKE_23,
    MAX_MESSAGE,
    NAME_ME,
    PUBLISHED,
    Ack,
    Challenge,
    Complement,
    Framing,
    Message,
    Name,
    OldChallenge,
    OldName,
    Reply,
    Side,
    Status,
    StatusKind,
    StatusReply,
    decode,
    digest,
    encode,
    frame,
    is_name,
)
from epmdless.wire.handshake_watch import Event
from tests.wire.handshakes import (
    COOKIE,
    DIGEST,
    EXAMPLES,
    LINKS,
    MESSAGES,
    NEAR_NAME,
    PAYLOADS,
    Link,
    framed,
    outcome,
    speaker,
)

CASES: Final = [
    *(
        pytest.param(side, payload, id=f"{link.title} {side.value} {chr(payload[0])}")
        for link, side, payload in PAYLOADS
    ),
    *(pytest.param(side, payload, id=event) for event, (side, _, payload) in EXAMPLES.items()),
]

MAY_TRAIL: Final = (Event.NAME, Event.NAMED, Event.CHALLENGE)
"""After these a node ignores what it does not know."""

FIXED: Final = (Event.COMPLEMENT, Event.REPLY, Event.ACK)


def test_all_pairs_of_releases_were_captured() -> None:
    assert [link.title for link in LINKS] == [f"a{a}-b{b}" for a in (25, 27, 29) for b in (25, 27, 29)]


@pytest.mark.parametrize(("side", "payload"), CASES)
def test_a_whole_message_is_decoded_and_encoded_back(side: Side, payload: bytes) -> None:
    message = decode(side, payload)
    assert encode(message) == payload
    assert speaker(message) is side


@pytest.mark.parametrize("event", Event)
def test_every_field_is_where_it_belongs(event: Event) -> None:
    side, message, payload = EXAMPLES[event]
    assert decode(side, payload) == message
    assert encode(message) == payload


def test_a_captured_handshake_says_what_the_nodes_said() -> None:
    link = next(link for link in LINKS if link.title == "a25-b29")
    name, status, challenge, reply, ack = (decode(*spoken) for spoken in link.payloads())
    assert name == Name(0xD07DF7FBD, 0x6B0102A8, "a25@127.0.0.1")
    assert status == Status(StatusKind.OK)
    assert challenge == Challenge(0x6D07DF7FBD, 0x241D7F62, 0x6B0102B9, "b29@b.test")
    assert isinstance(reply, Reply)
    assert reply.challenge == 0x2D1210B4
    assert isinstance(ack, Ack)
    assert name.flags & challenge.flags & (HANDSHAKE_23 | PUBLISHED) == HANDSHAKE_23 | PUBLISHED


@pytest.mark.parametrize("link", LINKS, ids=[link.title for link in LINKS])
def test_the_captured_digests_prove_the_cookie(link: Link) -> None:
    _, _, challenge, reply, ack = (decode(*spoken) for spoken in link.payloads())
    assert isinstance(challenge, Challenge)
    assert isinstance(reply, Reply)
    assert isinstance(ack, Ack)
    assert reply.digest == digest(COOKIE, challenge.challenge)
    assert ack.digest == digest(COOKIE, reply.challenge)
    assert reply.digest != digest(COOKIE + b"x", challenge.challenge)


def test_a_digest_is_of_the_decimal_text() -> None:
    assert digest(b"cookie", 0xFFFFFFFF) == hashlib.md5(b"cookie4294967295").digest()
    assert digest(b"", 0) == hashlib.md5(b"0").digest()


@pytest.mark.parametrize(("side", "payload"), CASES)
def test_a_message_cut_at_any_length_is_no_longer_the_same(side: Side, payload: bytes) -> None:
    whole = decode(side, payload)
    seen = {outcome(side, payload[:length]) for length in range(len(payload))}
    assert whole not in seen
    if not isinstance(whole, OldName | OldChallenge | Status):  # whose ends nothing announces
        assert seen == {"short"} or (isinstance(whole, StatusReply) and seen == {"short", "status"})


@pytest.mark.parametrize("after", [b"\0", b"@", b"more" * 10])
@pytest.mark.parametrize(("side", "payload"), CASES)
def test_bytes_after_a_message_are_kept_or_refused(side: Side, payload: bytes, after: bytes) -> None:
    whole, seen = decode(side, payload), outcome(side, payload + after)
    match whole:
        case Name() | Challenge() | Status(StatusKind.NAMED):
            assert not isinstance(seen, str)
            assert encode(seen) == payload + after
        case Complement() | Reply() | Ack():
            assert seen == "trailing"
        case OldName() | OldChallenge():  # the name is all that is left
            assert (seen == "name") == (after[:1] in b"\0@")
        case _:
            assert seen == "status"


@pytest.mark.parametrize("event", MAY_TRAIL)
def test_what_follows_a_name_is_handed_on(event: Event) -> None:
    side, message, payload = EXAMPLES[event]
    seen = decode(side, payload + b"\0later")
    assert isinstance(seen, Name | Status | Challenge)
    assert seen.trailing == b"\0later"
    assert encode(seen).removesuffix(b"\0later") == encode(message)


@pytest.mark.parametrize("side", Side)
def test_the_tags_of_a_side(side: Side) -> None:
    taken = {tag for tag in range(256) if outcome(side, bytes([tag])) != "tag"}
    assert taken == set(b"Nnscr" if side is Side.NEAR else b"sNna")


@pytest.mark.parametrize("side", Side)
def test_an_empty_message_is_refused(side: Side) -> None:
    assert outcome(side, b"") == "short"


@pytest.mark.parametrize("event", MAY_TRAIL)
def test_the_longest_message_is_bounded(event: Event) -> None:
    side, _, payload = EXAMPLES[event]
    longest = payload.ljust(MAX_MESSAGE, b"\0")
    assert encode(decode(side, longest)) == longest
    assert outcome(side, longest + b"\0") == "oversized"


@pytest.mark.parametrize("text", [b"", b"o", b"okk", b"OK", b"ok ", b"ok\0", b"named", b"true", b"\xff"])
def test_an_unknown_status_is_refused(text: bytes) -> None:
    assert outcome(Side.FAR, b"s" + text) == "status"


@pytest.mark.parametrize("text", [b"", b"t", b"True", b"truee", b"ok", b"false\0"])
def test_an_unknown_answer_to_alive_is_refused(text: bytes) -> None:
    assert outcome(Side.NEAR, b"s" + text) == "status"


NO_NODE_NAME: Final = [
    b"",
    b"a",
    b"@",
    b"a@",
    b"@b",
    b"a@b@c",
    b"a@@b",
    b"a@b c",
    b"a@b\n",
    b"\0a@b",
    b"a@b\x7f",
]


def payloads_with(name: bytes) -> list[tuple[Side, bytes]]:
    """Every message that holds a name, with this one."""
    length = len(name).to_bytes(2, "big")
    return [
        (Side.NEAR, b"N" + bytes(12) + length + name),
        (Side.NEAR, b"n" + bytes(6) + name),
        (Side.FAR, b"N" + bytes(16) + length + name),
        (Side.FAR, b"n" + bytes(10) + name),
        (Side.FAR, b"snamed:" + length + name + bytes(4)),
    ]


@pytest.mark.parametrize("name", NO_NODE_NAME)
def test_what_no_node_is_called_is_refused(name: bytes) -> None:
    assert {outcome(*spoken) for spoken in payloads_with(name)} == {"name"}


def test_a_name_may_be_as_long_as_any_node_could_be_called() -> None:
    longest = b"a@".ljust(MAX_NAME_BYTES, b"b")
    assert "name" not in [outcome(*spoken) for spoken in payloads_with(longest)]
    assert {outcome(*spoken) for spoken in payloads_with(longest + b"b")} == {"name"}


@pytest.mark.parametrize("host", [b"one.test", b"10.0.0.1", b"h\xf6st"])
def test_a_node_that_asks_for_a_name_sends_its_host(host: bytes) -> None:
    payload = b"N" + NAME_ME.to_bytes(8, "big") + bytes(4) + len(host).to_bytes(2, "big") + host
    assert decode(Side.NEAR, payload) == Name(NAME_ME, 0, host.decode("latin-1"))
    assert encode(decode(Side.NEAR, payload)) == payload


@pytest.mark.parametrize("name", [b"", b"a@b", b"@", b"a b"])
def test_a_node_that_asks_for_a_name_cannot_have_one(name: bytes) -> None:
    payload = b"N" + NAME_ME.to_bytes(8, "big") + bytes(4) + len(name).to_bytes(2, "big") + name
    assert outcome(Side.NEAR, payload) == "name"


def test_names_are_latin_1_but_the_one_that_is_given_is_utf_8() -> None:
    *own, given_name = payloads_with("a@hö.test".encode("latin-1"))
    assert {getattr(decode(*spoken), "name") for spoken in own} == {"a@hö.test"}  # noqa: B009
    assert outcome(*given_name) == "name"
    *_, given_name = payloads_with("a@hö.test".encode())
    assert decode(*given_name) == Status(StatusKind.NAMED, "a@hö.test", 0)


@pytest.mark.parametrize("length", [1, 9, 11, 255, 65535])
@pytest.mark.parametrize("event", MAY_TRAIL)
def test_a_name_length_that_lies_never_reaches_past_the_message(event: Event, length: int) -> None:
    side, _, payload = EXAMPLES[event]
    name = re.search(rb"\0\x0a[ab]@", payload)
    assert name is not None
    lying = payload[: name.start()] + length.to_bytes(2, "big") + payload[name.start() + 2 :]
    seen = outcome(side, lying)
    if isinstance(seen, str):
        assert seen in ("short", "name")
    else:
        assert encode(seen) == lying
        assert isinstance(seen, Name | Status | Challenge)
        assert len(seen.name or "") == length < len(payload)


@pytest.mark.parametrize("size", [0, 15, 17])
def test_a_digest_has_sixteen_bytes(size: int) -> None:
    assert outcome(Side.FAR, b"a" + bytes(size)) == ("short" if size < 16 else "trailing")
    for message in (Ack(bytes(size)), Reply(1, bytes(size))):
        with pytest.raises(LocalProtocolError, match="digest"):
            encode(message)


@pytest.mark.parametrize(
    "message",
    [
        *(Name(1 << 64, 0, NEAR_NAME), Name(-1, 0, NEAR_NAME), Name(0, 1 << 32, NEAR_NAME)),
        *(Name(0, 0, ""), Name(0, 0, "a"), Name(NAME_ME, 0, NEAR_NAME), Name(0, 0, "a@\u20ac")),
        *(Name(0, 0, "a@" + "b" * MAX_NAME_BYTES), Name(0, 0, NEAR_NAME, bytes(MAX_MESSAGE))),
        *(OldName(1 << 16, 0, NEAR_NAME), OldName(5, NAME_ME, NEAR_NAME), OldName(5, 0, "a b@c")),
        *(Challenge(0, -1, 0, NEAR_NAME), Challenge(0, 0, 0, "@b"), OldChallenge(5, 0, 1 << 32, NEAR_NAME)),
        *(Complement(1 << 32, 0), Complement(0, -1), Reply(1 << 32, DIGEST)),
        *(Status(StatusKind.NAMED), Status(StatusKind.NAMED, NEAR_NAME), Status(StatusKind.NAMED, None, 1)),
        *(Status(StatusKind.NAMED, "a@\ud800", 1), Status(StatusKind.NAMED, NEAR_NAME, 1 << 32)),
        *(Status(StatusKind.OK, NEAR_NAME, 1), Status(StatusKind.NOK, trailing=b"x")),
    ],
)
def test_what_no_message_can_carry_is_not_sent(message: Message) -> None:
    with pytest.raises(LocalProtocolError):
        encode(message)


@pytest.mark.parametrize(("framing", "head"), [(Framing.TCP, "0003"), (Framing.TLS, "00000003")])
def test_the_length_word_is_as_long_as_the_framing_says(framing: Framing, head: str) -> None:
    assert frame(b"sok", framing) == bytes.fromhex(head) + b"sok"
    assert frame(bytes(MAX_MESSAGE), framing) == framed(bytes(MAX_MESSAGE), framing)


@pytest.mark.parametrize("size", [0, MAX_MESSAGE + 1])
@pytest.mark.parametrize("framing", Framing)
def test_no_message_is_empty_or_longer_than_the_longest(framing: Framing, size: int) -> None:
    with pytest.raises(LocalProtocolError, match=f"{size} bytes"):
        frame(bytes(size), framing)


@pytest.mark.parametrize("message", [Reply(0x01234567, DIGEST), Ack(DIGEST)])
def test_digests_are_never_shown(message: Message) -> None:
    for secret in (DIGEST, DIGEST[:4], DIGEST[-4:]):
        assert repr(secret)[2:-1] not in repr(message)
        assert secret.hex() not in repr(message)
    assert "digest" not in repr(message)


def test_an_error_says_nothing_of_what_was_sent() -> None:
    for side, payload in [*payloads_with(b"secret"), (Side.FAR, b"asecret"), (Side.FAR, b"ssecret")]:
        with pytest.raises(RemoteProtocolError) as caught:
            decode(side, payload)
        assert "secret" not in str(caught.value)


def test_is_name_knows_both_kinds() -> None:
    assert is_name("a@b")
    assert not is_name("b")
    assert is_name("b", asks_for_name=True)
    assert not is_name("a@b", asks_for_name=True)
    assert not any(is_name(name.decode("latin-1")) for name in NO_NODE_NAME)


def test_each_side_has_an_other() -> None:
    assert [side.other for side in Side] == [Side.FAR, Side.NEAR]


@given(MESSAGES)
def test_every_message_comes_back(message: Message) -> None:
    assert decode(speaker(message), encode(message)) == message


@given(st.sampled_from(Side), st.binary(max_size=64))
def test_arbitrary_bytes_come_back_or_are_refused(side: Side, payload: bytes) -> None:
    seen = outcome(side, payload)
    assert isinstance(seen, str) or encode(seen) == payload


SEEDS: Final = [(side, payload) for _, side, payload in PAYLOADS] + [
    (side, payload) for side, _, payload in EXAMPLES.values()
]


@given(
    st.sampled_from(SEEDS),
    st.sampled_from(Side),
    st.integers(0, 60),
    st.integers(0, 255),
    st.binary(max_size=3),
)
def test_mutated_messages_come_back_or_are_refused(
    seed: tuple[Side, bytes], side: Side, at: int, value: int, inserted: bytes
) -> None:
    payload = bytearray(seed[1])
    payload[at % len(payload)] = value
    payload[at % len(payload) : at % len(payload)] = inserted
    seen = outcome(side, bytes(payload))
    assert isinstance(seen, str) or encode(seen) == payload
