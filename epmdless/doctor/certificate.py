"""A certificate that was shown and not verified: what it claims."""

from __future__ import annotations

from typing import Any, NamedTuple

from epmdless.names import printable
from epmdless.net.tls.identity import certificate_names

MOST_NAMES = 5
"""Names of a certificate that people are shown."""

MOST_CHARACTERS = 255
"""Of its issuer that are shown: TLS takes certificates of 100 KB."""


class Shown(NamedTuple):
    """What a certificate claims; nobody has looked whether it is so.

    :ivar names: DNS names, URIs, IP addresses.
    :ivar issuer: of its CA, as RFC 4514 writes it.
    :ivar not_before: as seconds since the epoch, and :attr:`not_after`.
    """

    names: tuple[str, ...]
    issuer: str
    not_before: float
    not_after: float

    def to_json(self, *, verified: bool) -> dict[str, Any]:
        """For programs."""
        return {
            "names": list(self.names),
            "issuer": self.issuer,
            "not_before": self.not_before,
            "not_after": self.not_after,
            "verified": verified,
        }

    def __str__(self) -> str:
        names = ", ".join(self.names[:MOST_NAMES]) or "nobody"
        return f"{names}{', …' * (len(self.names) > MOST_NAMES)}, by {self.issuer or 'nobody'}"


def first_certificate(message: bytes, *, is_tls13: bool) -> bytes | None:
    """Cut the holder's certificate, in DER, out of the handshake message that carries a chain.

    ::

        11  length:24  (TLS 1.3: context_length:8 context)  chain_length:24  length:24  certificate …

    (RFC 5246 §7.4.2, RFC 8446 §4.4.2.) None: there is none.
    """
    start = 4
    if is_tls13:
        start += 1 + int.from_bytes(message[4:5], "big")
    start += 3
    length = int.from_bytes(message[start : start + 3], "big")
    found = message[start + 3 : start + 3 + length]
    return found if length and len(found) == length else None


def shown_by(der: bytes) -> Shown | None:
    """Read a certificate; None where it cannot be read."""
    from cryptography import x509  # it takes longer to import than all else, and few need it

    try:
        found = x509.load_der_x509_certificate(der)
        return Shown(
            tuple(map(printable, certificate_names(found))),
            printable(_cut(found.issuer.rfc4514_string())),
            found.not_valid_before_utc.timestamp(),
            found.not_valid_after_utc.timestamp(),
        )
    except ValueError:
        return None


def _cut(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}…"
