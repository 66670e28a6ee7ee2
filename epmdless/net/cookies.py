"""Cookies: of files, read as a node reads its own (``auth`` of OTP's kernel application), and of the
environment, where containers have them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

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
    return _checked(content, path, key)


class CookiePlace(NamedTuple):
    """Where a cookie is kept.

    :ivar file: the path of a file; empty: it is in the environment.
    :ivar variable: of the environment.
    """

    file: str = ""
    variable: str = ""

    def read(self, environ: Mapping[str, str], keys: str) -> bytes:
        """The cookie as it is now.

        :param keys: the table of the configuration that says where it is, with a dot at its end, for errors.
        :raises ConfigError: there is none, or it is not what a cookie must be; what is there is not told.
        """
        if self.file:
            return read_cookie(self.file, f"{keys}cookie_file")
        # Its name is not told either: somebody may have written the cookie itself there.
        where, key = "environment", f"{keys}cookie_variable"
        if self.variable not in environ:
            raise ConfigError(where, key, "the variable that it names is not set")
        return _checked(environ[self.variable].encode(errors="surrogateescape"), where, key)


def _checked(content: bytes, where: str, key: str) -> bytes:
    """The cookie that is the content's first line."""
    match = _CONTENT.fullmatch(content)
    if match is None:
        raise ConfigError(where, key, "not a cookie: it takes one line of printable ASCII characters")
    if not match[1]:
        raise ConfigError(where, key, "holds no cookie: its first line is empty")
    if len(match[1]) > MAX_COOKIE_BYTES:
        raise ConfigError(where, key, f"a cookie has at most {MAX_COOKIE_BYTES} characters")
    return match[1]
