"""The Proxy-Status field: why a proxy answered as it did.

Source: RFC 9209. It is a list of RFC 8941 (§3.1), one member for each proxy on the way, the one nearest the
target first::

    field:     member *( OWS "," OWS member )
    member:    ( token / string ) *( ";" key [ "=" value ] )      the proxy's name, and what it says
    value:     integer / decimal / string / token / :base64: / ?0 / ?1

    epmdless; error=connection_refused; details="10.0.2.9 port 9001"

A field that breaks these rules anywhere says nothing at all (RFC 8941 §4.2).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from epmdless.errors import LocalProtocolError

MAX_FIELD = 4096
"""The longest field that is read, in bytes: half of what a response's head may take. Ours is under 400."""

MAX_DETAILS = 256
"""The most characters of details, and of a proxy's name: they go into a line of a log."""

MAX_ERROR = 64
"""The longest error type that is taken; the longest one that is registered (RFC 9209 §2.3) takes 34."""


class ProxyError(StrEnum):
    """The error types of RFC 9209 §2.3 that are used here; another proxy may say others."""

    DNS_TIMEOUT = "dns_timeout"
    DNS_ERROR = "dns_error"
    DESTINATION_NOT_FOUND = "destination_not_found"
    DESTINATION_UNAVAILABLE = "destination_unavailable"
    DESTINATION_IP_PROHIBITED = "destination_ip_prohibited"
    DESTINATION_IP_UNROUTABLE = "destination_ip_unroutable"
    CONNECTION_REFUSED = "connection_refused"
    CONNECTION_TERMINATED = "connection_terminated"
    CONNECTION_TIMEOUT = "connection_timeout"
    CONNECTION_LIMIT_REACHED = "connection_limit_reached"
    HTTP_REQUEST_ERROR = "http_request_error"
    HTTP_REQUEST_DENIED = "http_request_denied"
    PROXY_INTERNAL_ERROR = "proxy_internal_error"
    PROXY_LOOP_DETECTED = "proxy_loop_detected"


@dataclass(frozen=True, slots=True)
class ProxyStatus:
    """What one proxy says.

    `error` is a type of RFC 9209 §2.3, a ProxyError or another, None where nothing failed; `details` are for
    people; `proxy` is the name that the proxy gives itself.
    """

    error: str | None
    details: str = ""
    proxy: str = "epmdless"


# Possessive, all of them: a text that does not match is given up in one pass.
_BARE = r"[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*+"
_STRING = r'"(?:[ !#-\[\]-~]|\\["\\])*+"'
_KEY = re.compile(r"; *+([a-z*][a-z0-9_.*-]*+)(=?)")
_NAME = re.compile(rf"{_BARE}|{_STRING}")
_VALUE = re.compile(rf"{_BARE}|{_STRING}|-?[0-9]{{1,15}}+(?:\.[0-9]{{1,3}}+)?|:[A-Za-z0-9+/=]*+:|\?[01]")
_COMMA = re.compile(r"[ \t]*+,[ \t]*+")
_TOKEN = re.compile(_BARE)
_ESCAPED = re.compile(r"\\(.)")
_UNPRINTABLE = re.compile(r"[^ -~]")


def encode_proxy_status(status: ProxyStatus) -> str:
    """Write the field's value. What is no printable ASCII becomes ``?``, and what is too long is cut.

    :raises LocalProtocolError: the error type is no token.
    """
    proxy = printable(status.proxy)
    parts = [proxy if _TOKEN.fullmatch(proxy) else _quoted(proxy)]
    if status.error is not None:
        if not _is_error_type(status.error):
            raise LocalProtocolError("an error type that is no token of RFC 8941, or too long")
        parts.append(f"error={status.error}")
    if status.details:
        parts.append(f"details={_quoted(printable(status.details))}")
    return "; ".join(parts)


def decode_proxy_status_untrusted(text: str) -> ProxyStatus | None:
    """Find out why a response is what it is.

    Each proxy adds itself behind those that were there, and may add what it makes of their failure (RFC 9209
    §2): so the first member that has an error, which stands nearest the target, says what went wrong.

    :param text: the field's value; several fields are joined by commas.
    :returns: that member, its texts printable and bounded, or None: none has an error, or it is malformed.
    """
    if len(text) > MAX_FIELD:
        return None
    try:
        members = list(_members(text))
    except ValueError:
        return None
    for name, parameters in members:
        error = parameters.get("error", "")
        if _is_error_type(error):
            details = parameters.get("details", "")
            return ProxyStatus(error, _unquoted(details) if details[:1] == '"' else "", _unquoted(name))
    return None


def printable(text: str) -> str:
    """Make what came from a network fit for a log: printable ASCII, at most MAX_DETAILS characters."""
    return _UNPRINTABLE.sub("?", text[:MAX_DETAILS])


def _is_error_type(text: str) -> bool:
    return len(text) <= MAX_ERROR and _TOKEN.fullmatch(text) is not None


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _unquoted(item: str) -> str:
    """Give the text of a string or a token; both are printable by their grammar."""
    return (_ESCAPED.sub(r"\1", item[1:-1]) if item[:1] == '"' else item)[:MAX_DETAILS]


def _members(text: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Yield name and parameters of each member, as they were written.

    :raises ValueError: the list is malformed.
    """
    text = text.strip(" ")
    at = 0
    while True:
        name = _match(_NAME, text, at)
        parameters, at = _parameters(text, name.end())
        yield name[0], parameters
        if at == len(text):
            return
        at = _match(_COMMA, text, at).end()


def _parameters(text: str, at: int) -> tuple[Mapping[str, str], int]:
    """Read a member's parameters from a position on, and return them with the position behind them.

    Of a key that comes twice the last value counts (RFC 8941 §4.2.3.2); one without a value is true.
    """
    found: dict[str, str] = {}
    while text[at : at + 1] == ";":
        key = _match(_KEY, text, at)
        value, at = "?1", key.end()
        if key[2]:
            match = _match(_VALUE, text, at)
            value, at = match[0], match.end()
        found[key[1]] = value
    return found, at


def _match(pattern: re.Pattern[str], text: str, at: int) -> re.Match[str]:
    match = pattern.match(text, at)
    if match is None:
        raise ValueError(at)
    return match
