"""Cookie files, read as a node reads its own (``auth`` of OTP's kernel application)."""

from __future__ import annotations

import re

from epmdless.errors import ConfigError
from epmdless.net.files import read

MAX_COOKIE_BYTES = 255
"""A cookie becomes an atom, and an atom has at most 255 characters."""

MAX_FILE_BYTES = 4096
"""Of a cookie file: a cookie, and more blank lines than anybody leaves."""

_CONTENT = re.compile(rb"([ -~]*)[ \r\n]*")
"""Printable ASCII, blanks included, up to the end of the line; after that nothing but white space."""


def read_cookie(path: str, key: str) -> bytes:
    """Read the cookie from a file that only its owner can reach.

    Blocks as long as reading a small file takes. No error holds anything of the content.

    :param path: the file's path; a symbolic link is followed, as a node does.
    :param key: the dotted key of the configuration that names the file, for the error.
    :raises ConfigError: it cannot be read; it is no regular file; its group or others may do anything
        with it; it holds no cookie, or what no node would take for one.
    """
    try:
        content = read(path, private=True, most=MAX_FILE_BYTES, what="cookie file")
    except OSError as error:
        raise ConfigError(path, key, f"cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise ConfigError(path, key, str(error)) from None
    match = _CONTENT.fullmatch(content)
    if match is None:
        raise ConfigError(path, key, "not a cookie: it takes one line of printable ASCII characters")
    if not match[1]:
        raise ConfigError(path, key, "holds no cookie: its first line is empty")
    if len(match[1]) > MAX_COOKIE_BYTES:
        raise ConfigError(path, key, f"a cookie has at most {MAX_COOKIE_BYTES} characters")
    return match[1]
