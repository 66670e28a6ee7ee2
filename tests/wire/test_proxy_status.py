"""The Proxy-Status field: written and read back, the member that says why, and what is no list at all."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epmdless.errors import LocalProtocolError
from epmdless.wire.proxy_status import (
    MAX_DETAILS,
    MAX_ERROR,
    MAX_FIELD,
    ProxyError,
    ProxyStatus,
    decode_proxy_status_untrusted,
    encode_proxy_status,
    printable,
)

REFUSED: Final = ProxyStatus(ProxyError.CONNECTION_REFUSED, "10.0.2.9 port 9001")

WRITTEN: Final[list[tuple[ProxyStatus, str]]] = [
    (REFUSED, 'epmdless; error=connection_refused; details="10.0.2.9 port 9001"'),
    (ProxyStatus(ProxyError.DNS_TIMEOUT), "epmdless; error=dns_timeout"),
    (ProxyStatus("dns_error", r'a "b" \ c'), r'epmdless; error=dns_error; details="a \"b\" \\ c"'),
    (ProxyStatus("dns_error", proxy="gw 1"), '"gw 1"; error=dns_error'),
]


@pytest.mark.parametrize(("status", "text"), WRITTEN)
def test_a_status_is_written_and_read_back(status: ProxyStatus, text: str) -> None:
    assert encode_proxy_status(status) == text
    assert decode_proxy_status_untrusted(text) == status


def test_a_status_without_error_is_written_and_says_nothing_about_a_failure() -> None:
    text = encode_proxy_status(ProxyStatus(None, "all is well"))
    assert text == 'epmdless; details="all is well"'
    assert decode_proxy_status_untrusted(text) is None


@pytest.mark.parametrize("error", ["", "two words", 'quo"ted', "1st", "x" * (MAX_ERROR + 1), "a\r\nb"])
def test_what_is_no_error_type_is_not_sent(error: str) -> None:
    with pytest.raises(LocalProtocolError):
        encode_proxy_status(ProxyStatus(error))


def test_details_cannot_begin_another_field() -> None:
    text = encode_proxy_status(ProxyStatus("dns_error", "é\r\nSet-Cookie: a\0", "gw\n"))
    assert text == '"gw?"; error=dns_error; details="???Set-Cookie: a?"'


def test_details_are_cut_before_they_are_escaped() -> None:
    text = encode_proxy_status(ProxyStatus("dns_error", '"' * 1000))
    assert text == 'epmdless; error=dns_error; details="' + r"\"" * MAX_DETAILS + '"'
    assert decode_proxy_status_untrusted(text) == ProxyStatus("dns_error", '"' * MAX_DETAILS)


READ: Final[dict[str, tuple[str, ProxyStatus | None]]] = {
    "the one nearest the target says why": (
        "far; error=connection_refused, near; error=http_upgrade_failed",
        ProxyStatus("connection_refused", proxy="far"),
    ),
    "one that only passed it on does not count": (
        'cache.example; received-status=502, "gw 2"; error=dns_error;details="x" , near',
        ProxyStatus("dns_error", "x", "gw 2"),
    ),
    "every type of value": (
        "p; a; b=?0; c=-12; d=1.5; e=:aGk=:; f=*t/1:x; g=tok; error=tls_alert_received; alert-id=40",
        ProxyStatus("tls_alert_received", proxy="p"),
    ),
    "the last of a key counts": (
        "p; error=dns_error; error=dns_timeout",
        ProxyStatus("dns_timeout", proxy="p"),
    ),
    "little and much white space": ("  p;error=a ,\t q;   error=b  ", ProxyStatus("a", proxy="p")),
    "details that are no string": ("p; error=a; details=token", ProxyStatus("a", proxy="p")),
    "an error that is a string": ('p; error="dns_error"', None),
    "an error that is true": ("p; error", None),
    "an error of a number, behind it a good one": ("p; error=5, q; error=b", ProxyStatus("b", proxy="q")),
    "an error too long to be one": (f"p; error={'x' * (MAX_ERROR + 1)}", None),
    "no error": ("p; received-status=200", None),
}


@pytest.mark.parametrize(("text", "expected"), READ.values(), ids=READ)
def test_a_list_is_read(text: str, expected: ProxyStatus | None) -> None:
    assert decode_proxy_status_untrusted(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        ",",
        "p; error=a,",
        ", p; error=a",
        "p; error=a,,q",
        "p; error=a q",
        "p error=a",
        "p; error=",
        "p; error=a;",
        "p; Error=a; error=a",
        "p; error =a",
        "p\t; error=a",
        "p; error=a; b=1.",
        "p; error=a; b=1234567890123456",
        "p; error=a; b=1.2345",
        "p; error=a; b=?2",
        "p; error=a; b=:!:",
        'p; error=a; details="',
        'p; error=a; details="\\n"',
        'p; error=a; details="é"',
        'p; error=a; details="\x7f"',
        "p; error=a\n",
        "(p q); error=a",
        "1; error=a",
        "é; error=a",
        "p; error=a, 'q'; error=b",
    ],
)
def test_a_list_that_is_malformed_anywhere_says_nothing(text: str) -> None:
    assert decode_proxy_status_untrusted(text) is None


def test_what_is_read_is_bounded() -> None:
    seen = decode_proxy_status_untrusted(f'{"p" * 1000}; error=a; details="{"d" * 1000}"')
    assert seen == ProxyStatus("a", "d" * MAX_DETAILS, "p" * MAX_DETAILS)
    longest = f"p; error=a; b={'x' * (MAX_FIELD - 14)}"
    assert decode_proxy_status_untrusted(longest) == ProxyStatus("a", proxy="p")
    assert decode_proxy_status_untrusted(longest + "x") is None


def test_every_error_type_is_one_that_is_taken() -> None:
    for error in ProxyError:
        assert decode_proxy_status_untrusted(f"p; error={error}") == ProxyStatus(error, proxy="p")


def test_printable_text_stays_as_it_is() -> None:
    assert printable(" !~ ok") == " !~ ok"
    assert printable("a\x1b[31m\n") == "a?[31m?"


@given(st.text(), st.text(), st.sampled_from(ProxyError))
def test_whatever_is_sent_comes_back_printable(details: str, proxy: str, error: ProxyError) -> None:
    text = encode_proxy_status(ProxyStatus(error, details, proxy))
    assert text.isascii()
    assert text.isprintable()
    expected = ProxyStatus(error, printable(details), printable(proxy))
    assert decode_proxy_status_untrusted(text) == expected


@given(st.text() | st.text(alphabet=' ,;="\\?:*()-.0aé'))
def test_arbitrary_text_is_a_status_or_says_nothing(text: str) -> None:
    _check_bounds(decode_proxy_status_untrusted(text))


@given(st.sampled_from([text for text, _ in READ.values()]), st.data(), st.text(max_size=2))
def test_mutated_lists_are_a_status_or_say_nothing(text: str, data: st.DataObject, inserted: str) -> None:
    at = data.draw(st.integers(0, len(text)))
    removed = data.draw(st.integers(0, 2))
    _check_bounds(decode_proxy_status_untrusted(text[:at] + inserted + text[at + removed :]))


def _check_bounds(status: ProxyStatus | None) -> None:
    if status is not None:
        assert status.error
        assert len(status.error) <= MAX_ERROR
        for seen in (status.details, status.proxy):
            assert printable(seen) == seen
