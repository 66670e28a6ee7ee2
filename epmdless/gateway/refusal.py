"""Why the gateway opens no tunnel: the status, what Proxy-Status says of it, and how the link ends."""

from __future__ import annotations

from epmdless.errors import EpmdlessError
from epmdless.links.ends import End
from epmdless.wire.proxy_status import ProxyError, ProxyStatus

_STATUSES: dict[ProxyError, tuple[int, End]] = {
    ProxyError.HTTP_REQUEST_ERROR: (400, End.HANDSHAKE_MALFORMED),
    ProxyError.HTTP_REQUEST_DENIED: (403, End.REFUSED_BY_POLICY),
    ProxyError.DESTINATION_IP_PROHIBITED: (403, End.REFUSED_BY_POLICY),
    ProxyError.DNS_ERROR: (404, End.TARGET_UNKNOWN),
    ProxyError.DNS_TIMEOUT: (504, End.TARGET_UNKNOWN),
    ProxyError.CONNECTION_REFUSED: (502, End.DIAL_REFUSED),
    ProxyError.PROXY_LOOP_DETECTED: (502, End.TARGET_UNKNOWN),
    ProxyError.CONNECTION_LIMIT_REACHED: (503, End.REFUSED_BY_LIMIT),
    ProxyError.CONNECTION_TIMEOUT: (504, End.DIAL_TIMED_OUT),
}


class RefusalError(EpmdlessError):
    """A request is answered otherwise than with 200.

    :ivar status: of HTTP.
    :ivar end: the link's end code.
    """

    def __init__(self, error: ProxyError, detail: str) -> None:
        self.error = error
        self.detail = detail
        self.status, self.end = _STATUSES[error]
        super().__init__(detail)

    @property
    def proxy_status(self) -> ProxyStatus:
        """What the client is told of it (RFC 9209)."""
        return ProxyStatus(self.error.value, self.detail)
