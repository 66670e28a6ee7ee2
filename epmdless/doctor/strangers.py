"""Who it is that answers where a node, or an EPMD server, should: by its first bytes.

What is shown of them is one short line, in which nothing can command a terminal.
"""

from __future__ import annotations

from epmdless.names import printable

MOST_SHOWN = 60
"""Characters: the first line of a web server, or the banner of another, fits in."""

_HEXADECIMAL = 16
"""Bytes that are shown of what is no text."""

_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (b"HTTP/", "a web server"),
    (b"<!DOCTYPE", "a web server"),
    (b"<html", "a web server"),
    (b"<HTML", "a web server"),
    (b"<?xml", "a web server"),
    (b"SSH-", "an SSH server"),
    (b"AMQP", "an AMQP broker: its client port is not its distribution port"),
    (b"-ERR", "a Redis server"),
    (b"220 ", "a mail or FTP server"),
    (b"220-", "a mail or FTP server"),
    (b"\x15\x03", "somebody who speaks TLS"),
    (b"\x16\x03", "somebody who speaks TLS"),
)


def recognised(data: bytes) -> str:
    """Who said this, as far as the beginning tells, and the beginning itself.

    :param data: at least one byte.
    """
    who = next((name for beginning, name in _BEGINNINGS if data.startswith(beginning)), "something else")
    return f"{who} ({beginning_of(data)})"


def beginning_of(data: bytes) -> str:
    """The first line in quotes where it is text, else the first bytes in hexadecimal."""
    line = data.lstrip().split(b"\n")[0].rstrip()
    text = line.decode("ascii", errors="replace")
    if line and text.isprintable() and "\ufffd" not in text:
        return f"“{printable(text[:MOST_SHOWN])}{'…' * (len(text) > MOST_SHOWN)}”"
    shown = data[:_HEXADECIMAL].hex(" ")
    return f"bytes {shown}{' …' * (len(data) > _HEXADECIMAL)}"
