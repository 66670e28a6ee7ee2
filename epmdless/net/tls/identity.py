"""Who a certificate says its holder is.

Only the subject alternative names count. The common name of the subject does not: nothing says what kind
of name it is, so a CA that limits which hosts it names does not limit what stands there (RFC 9525, §6.1
and appendix A).
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

MAX_NAMES = 64
"""Of one certificate that are looked at: each is compared with every rule of a gateway."""

MAX_NAME_CHARACTERS = 2048
"""Of one name: the longest SPIFFE ID. A longer one is left out: half of a name is another name."""

PeerCertificate = Mapping[str, Any]
"""What ``SSLObject.getpeercert()`` makes of a verified certificate."""


def peer_certificate(tls: ssl.SSLObject) -> PeerCertificate | None:
    """What ``getpeercert()`` makes of the peer's certificate, once it is verified.

    It raises UnicodeDecodeError where a CA signed a name that is no text (CPython 3.11 to 3.13): such a
    certificate names nobody.
    """
    try:
        return tls.getpeercert()
    except ValueError:
        return {}


def peer_names(peercert: PeerCertificate | None) -> tuple[str, ...]:
    """The names in a peer's certificate: DNS names, URIs (SPIFFE IDs among them), IP addresses.

    DNS names come in lower case and IP addresses as Python writes them; a name that cannot be shown, or is
    too long, is left out.

    :param peercert: from `peer_certificate`; None or empty: the peer showed no certificate.
    """
    listed = peercert.get("subjectAltName", ()) if peercert else ()
    return _names(listed)


def peer_not_after(peercert: PeerCertificate | None) -> float:
    """When a peer's certificate ends, in seconds since the epoch; infinite if it does not say."""
    try:
        return float(ssl.cert_time_to_seconds(peercert["notAfter"])) if peercert else float("inf")
    except (KeyError, ValueError):
        return float("inf")


def certificate_names(certificate: Certificate) -> tuple[str, ...]:
    """The same names of a certificate that was read from a file."""
    from cryptography import x509

    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    kinds: list[tuple[type[x509.GeneralName], str]] = [
        (x509.DNSName, "DNS"),
        (x509.UniformResourceIdentifier, "URI"),
        (x509.IPAddress, "IP Address"),
    ]
    return _names(
        (kind, str(name.value)) for name in found for class_, kind in kinds if isinstance(name, class_)
    )


def _names(listed: Iterable[tuple[str, object]]) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for kind, value in listed:
        name = _name(kind, value)
        if name is not None:
            names[name] = None
        if len(names) == MAX_NAMES:
            break
    return tuple(names)


def _name(kind: str, value: object) -> str | None:
    """A name of a kind that counts; what stands for a directory name is no text at all."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME_CHARACTERS or not value.isprintable():
        return None
    if kind == "DNS":
        return value.lower()
    if kind == "URI":
        return value
    return _address(value) if kind == "IP Address" else None


def _address(text: str) -> str | None:
    """An IP address in its usual form: OpenSSL writes ``0:0:0:0:0:0:0:1``."""
    try:
        return str(ipaddress.ip_address(text.strip()))
    except ValueError:
        return None
