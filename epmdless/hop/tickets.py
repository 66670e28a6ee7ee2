"""TLS tickets of a gateway, by which the next handshake with it is shorter."""

from __future__ import annotations

import ssl

import trio

SESSION_SECONDS = 3600.0
"""How long a ticket is used before a newer one is looked at. OpenSSL's tickets are good for two hours."""

MOST_LOOKS = 16
"""Looks at tickets, in a row; then one in LOOK_SECONDS. Python before 3.12.8 and 3.13.1, and each 3.11, never
frees what it copies for one: some 6.5 KB (python/cpython#116810). Not all proxies give tickets, or know each
other's where several are behind one address."""

LOOK_SECONDS = 900.0


class Tickets:
    """The newest ticket that is known, and how often one was looked for."""

    def __init__(self) -> None:
        self._session: ssl.SSLSession | None = None
        self._session_of: ssl.SSLContext | None = None
        self._session_at = 0.0
        self._looks = float(MOST_LOOKS)
        self._looked_at = 0.0

    def session_of(self, context: ssl.SSLContext) -> ssl.SSLSession | None:
        """What a handshake with these certificates may resume; None: nothing."""
        return self._session if self._session_of is context else None

    def forget(self) -> None:
        """Hear that the gateway did not take it."""
        self._session_of = None

    def keep(self, tls: ssl.SSLObject) -> None:
        """Keep the newest ticket of a connection; it comes with the first read."""
        now = trio.current_time()
        if self._session_of is tls.context and now - self._session_at < SESSION_SECONDS:
            return
        if not self._may_look(now):
            return
        session = tls.session
        if session is not None and session.has_ticket:
            self._session, self._session_of, self._session_at = session, tls.context, now

    def _may_look(self, now: float) -> bool:
        """Take one of the looks at a ticket that there may be."""
        self._looks = min(self._looks + (now - self._looked_at) / LOOK_SECONDS, MOST_LOOKS)
        self._looked_at = now
        if self._looks < 1:
            return False
        self._looks -= 1
        return True
