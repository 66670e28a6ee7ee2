"""Who answers instead: told from the first bytes, in one line that commands no terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epmdless.doctor.strangers import MOST_SHOWN, recognised


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"HTTP/1.0 404 Not Found\r\nServer: x\r\n", "a web server (“HTTP/1.0 404 Not Found”)"),
        (b"<!DOCTYPE HTML>\n<html>", "a web server (“<!DOCTYPE HTML>”)"),
        (b"220 mail ESMTP\r\n", "a mail or FTP server (“220 mail ESMTP”)"),
        (b"-ERR unknown command\r\n", "a Redis server (“-ERR unknown command”)"),
        (b"\x15\x03\x03\x00\x02\x02\x0a", "somebody who speaks TLS (bytes 15 03 03 00 02 02 0a)"),
        (b"\x00\x05hello", "something else (bytes 00 05 68 65 6c 6c 6f)"),
        (b"caf\xc3\xa9\n", "something else (bytes 63 61 66 c3 a9 0a)"),
        (b"\n\n", "something else (bytes 0a 0a)"),
        (b"x" * 100, f"something else (“{'x' * MOST_SHOWN}…”)"),
        (bytes(20), "something else (bytes " + " ".join(["00"] * 16) + " …)"),
    ],
)
def test_what_is_shown(data: bytes, shown: str) -> None:
    assert recognised(data) == shown


@given(st.binary(min_size=1, max_size=300))
def test_whatever_comes_is_one_printable_line(data: bytes) -> None:
    shown = recognised(data)
    assert shown.isprintable()
    assert len(shown) < 160
