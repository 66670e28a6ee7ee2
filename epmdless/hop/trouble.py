"""Why a tunnel is not to be had."""

from __future__ import annotations

from enum import StrEnum

from epmdless.errors import EpmdlessError
from epmdless.wire.connect import Response
from epmdless.wire.proxy_status import ProxyError


class Trouble(StrEnum):
    """What went wrong, and where."""

    REFUSED = "refused"
    """The proxy does not allow the target, or us."""
    UNKNOWN = "unknown"
    """The target's name does not resolve there."""
    DIAL_REFUSED = "dial_refused"
    """Nobody listens at the target, or no network leads there."""
    TIMED_OUT = "timed_out"
    """The target did not answer the proxy in time."""
    BUSY = "busy"
    """The proxy is full, or stops."""
    DOWN = "down"
    """The proxy is not to be reached, or does not prove who it is."""


class HopError(EpmdlessError):
    """No tunnel.

    :param trouble: of which kind.
    :param detail: for people: who said what.
    """

    def __init__(self, trouble: Trouble, detail: str) -> None:
        self.trouble = trouble
        super().__init__(detail)


_BY_ERROR = {
    ProxyError.DNS_ERROR: Trouble.UNKNOWN,
    ProxyError.DNS_TIMEOUT: Trouble.UNKNOWN,
    ProxyError.DESTINATION_NOT_FOUND: Trouble.UNKNOWN,
    ProxyError.DESTINATION_IP_PROHIBITED: Trouble.REFUSED,
    ProxyError.PROXY_LOOP_DETECTED: Trouble.UNKNOWN,
    ProxyError.HTTP_REQUEST_DENIED: Trouble.REFUSED,
    ProxyError.CONNECTION_REFUSED: Trouble.DIAL_REFUSED,
    ProxyError.CONNECTION_TERMINATED: Trouble.DIAL_REFUSED,
    ProxyError.DESTINATION_IP_UNROUTABLE: Trouble.DIAL_REFUSED,
    ProxyError.DESTINATION_UNAVAILABLE: Trouble.DIAL_REFUSED,
    ProxyError.CONNECTION_TIMEOUT: Trouble.TIMED_OUT,
    ProxyError.CONNECTION_LIMIT_REACHED: Trouble.BUSY,
}

_BY_STATUS = {
    401: Trouble.REFUSED,
    403: Trouble.REFUSED,
    404: Trouble.UNKNOWN,
    407: Trouble.REFUSED,
    429: Trouble.BUSY,
    500: Trouble.DIAL_REFUSED,  # tinyproxy's answer for a target that it cannot reach, or not resolve
    502: Trouble.DIAL_REFUSED,
    503: Trouble.BUSY,
    504: Trouble.TIMED_OUT,
}


def trouble_of(response: Response, proxy: str) -> HopError:
    """What an answer other than 2xx to CONNECT says.

    Its Proxy-Status tells more than the status: other proxies answer 503 for each failure, or 403.

    :param proxy: who answered, for people.
    """
    said = response.proxy_status
    trouble = _BY_STATUS.get(response.status, Trouble.REFUSED)
    if said is not None and said.error is not None:
        trouble = _BY_ERROR.get(said.error, trouble)  # type: ignore[call-overload]
    words = said.details or said.error if said is not None else None
    return HopError(
        trouble,
        f"{proxy} answered {response.status} {response.reason}".rstrip() + (f": {words}" if words else ""),
    )
