"""What several tables check alike: names, patterns, paths, hosts, URLs, times. Each raises a SectionError."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from epmdless.addresses import parse_port
from epmdless.config.errors import SectionError
from epmdless.config.values import Duration, host_address, is_host
from epmdless.errors import EpmdlessError
from epmdless.names import is_alive_name, is_listable, is_node_name
from epmdless.rules import MAX_GLOB_CHARACTERS

MAX_GLOBS = 1000
"""Patterns in one list; each name that is new is tried with all of them."""

MAX_WORD_CHARACTERS = 2048
"""Of what another service calls its own; the longest names of AWS (ARNs) have as many."""

MIN_POLL = Duration(0.1)
"""Each poll starts a program or asks a server, on every host; who needs less than a tenth of a second wrote
the wrong unit."""

MIN_TIMEOUT = Duration(0.01)
"""A round trip to the next building and some work there; with less a source would never know anything."""

_TABLE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,63}")
_URL = re.compile(r"(?P<scheme>https?)://(?P<host>\[[^\]]*\]|[^/?#@:\[\]]*)(?::(?P<port>[0-9]*))?")


def check_table_name(key: str, name: str, what: str) -> None:
    """Raise a SectionError unless a table of many may be called so.

    :param what: whose name it is, for the error: "a hop".
    """
    if not _TABLE_NAME.fullmatch(name):
        problem = f"{name!r} is no name for {what}: 1 to 63 letters, digits, dots, `_` and `-`"
        raise SectionError(key, problem)


def check_glob(key: str, glob: str) -> None:
    """Raise a SectionError unless the glob can match something."""
    if not 1 <= len(glob) <= MAX_GLOB_CHARACTERS:
        raise SectionError(
            key, f"a pattern has 1 to {MAX_GLOB_CHARACTERS} characters; `*` matches everything"
        )


def check_globs(key: str, globs: Sequence[str]) -> None:
    """Raise a SectionError unless every glob can match something, and there are not too many."""
    if len(globs) > MAX_GLOBS:
        raise SectionError(key, f"{len(globs)} are more than {MAX_GLOBS}")
    for number, glob in enumerate(globs):
        check_glob(f"{key}[{number}]", glob)


def check_path(key: str, path: str, *, of_secret: bool = False) -> None:
    """Raise a SectionError unless the path means the same file wherever a process runs.

    :param of_secret: the file holds a secret, which somebody may have written here instead of the path:
        the error does not repeat it.
    """
    if not path.startswith("/") or "\0" in path:
        shown = "this" if of_secret else repr(path)
        raise SectionError(key, f"{shown} is not an absolute path")


def check_host(key: str, host: str) -> None:
    """Raise a SectionError unless it is a host name or an IP address."""
    if not is_host(host):
        raise SectionError(key, f"{host!r} is neither a host name nor an IP address, without a port")


def is_wildcard(host: str) -> bool:
    """Whether it is the address that stands for all of a machine's own."""
    address = host_address(host)
    return address is not None and address.is_unspecified


def check_domain(key: str, name: str) -> None:
    """Raise a SectionError unless DNS can be asked for it."""
    if not is_host(name) or host_address(name) is not None:
        raise SectionError(key, f"{name!r} is not a domain name")


def same_domain(name: str) -> str:
    """What two spellings of one domain name, or of one address, have in common."""
    address = host_address(name)
    return name.casefold().removesuffix(".") if address is None else str(address)


def check_distinct(key: str, items: Sequence[str], alike: Callable[[str], str] = str) -> None:
    """Raise a SectionError where an item of a list stands in it twice.

    :param alike: gives the same for two items that mean the same.
    """
    seen = dict[str, int]()
    for number, item in enumerate(items):
        first = seen.setdefault(alike(item), number)
        if first != number:
            raise SectionError(f"{key}[{number}]", f"{item} is {key}[{first}] again")


def check_node_names(key: str, names: Sequence[str]) -> None:
    """Raise a SectionError unless each is a whole name that a node can have, and stands in the list once."""
    for number, name in enumerate(names):
        if not is_node_name(name):
            problem = (
                f"{name!r} is not a node's whole name, as in app@b1.internal: ALIVE@HOST, without blanks"
            )
            raise SectionError(f"{key}[{number}]", problem)
    check_distinct(key, names)


def check_basename(basename: str) -> None:
    """Raise a SectionError unless an alive name can be it, or begin with it."""
    if not is_alive_name(basename):
        problem = f"{basename!r} is not what stands before the @ of a node's name, without blanks"
        raise SectionError("basename", problem)


def check_word(key: str, text: str) -> None:
    """Raise a SectionError unless it can be what another service calls something of its own."""
    if not 1 <= len(text) <= MAX_WORD_CHARACTERS or not is_listable(text):
        problem = f"must have 1 to {MAX_WORD_CHARACTERS} characters, no blanks among them"
        raise SectionError(key, problem)


def check_poll(poll: Duration) -> None:
    """Raise a SectionError where a source would be asked too often."""
    if poll < MIN_POLL:
        raise SectionError("poll", f"must be at least {MIN_POLL}: every host of the cluster asks so often")


def check_timeout(key: str, timeout: Duration) -> None:
    """Raise a SectionError where no answer could come in time."""
    if timeout < MIN_TIMEOUT:
        raise SectionError(key, f"must be at least {MIN_TIMEOUT}: no answer would come in time")


def check_url(key: str, url: str, *, carries_secret: bool) -> None:
    """Raise a SectionError unless it is ``https://HOST`` or ``http://HOST``, perhaps with a port.

    :param carries_secret: whoever reads along could use what is sent: without TLS on this machine alone.
    """
    match = _URL.fullmatch(url)
    host = match["host"] if match else ""
    is_bracketed = host.startswith("[")
    plain = host[1:-1] if is_bracketed else host
    is_given = is_host(plain) and "%" not in plain and is_bracketed == (":" in plain)
    if match is None or not is_given or not _is_port(match["port"]):
        shown = "this" if "@" in url else repr(url)  # what stands before an @ may be a password
        raise SectionError(key, f'{shown} is not a URL without a path, as in "https://10.0.0.1:443"')
    if carries_secret and match["scheme"] == "http" and not _is_loopback(plain):
        raise SectionError(key, f"{url!r} would send a secret in clear: https, or a loopback address")


def _is_port(text: str | None) -> bool:
    try:
        return text is None or parse_port(text, lowest=1) > 0
    except EpmdlessError:
        return False


def _is_loopback(host: str) -> bool:
    address = host_address(host)
    return host.casefold() == "localhost" if address is None else address.is_loopback
