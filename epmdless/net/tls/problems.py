"""Why TLS failed, in words for the one who must mend it and in a word to count by.

One end finds the fault and says it with an alert (RFC 8446, §6); the other sees that alert alone. With
TLS 1.3 the client's handshake is over before the server has looked at the client's certificate: what the
server says of it comes with the client's first read.

OpenSSL's texts change from version to version, so the faults are told apart by number and by reason.
"""

from __future__ import annotations

import errno
import re
import ssl
from collections.abc import Mapping
from typing import Literal, NamedTuple, get_args

from epmdless.names import printable

Side = Literal["client", "server"]

Code = Literal[
    "no_certificate",
    "unknown_ca",
    "expired",
    "not_yet_valid",
    "name_mismatch",
    "wrong_purpose",
    "revoked",
    "bad_certificate",
    "wrong_version",
    "not_tls",
    "handshake_failed",
    "reset",
    "timed_out",
]

CODES: tuple[Code, ...] = get_args(Code)
"""Every code of a problem: a metric's label takes these and no others."""


class Problem(NamedTuple):
    """What went wrong: a code to count by, and a text that says what is wrong and what to do."""

    code: Code
    text: str


def explain(error: OSError, *, peer: str, side: Side) -> Problem:
    """Say why TLS with a peer failed: in the handshake, or at the first read after it.

    :param error: what was raised: an `ssl.SSLError`, or the connection's own error.
    :param peer: the other end, as people know it: a gateway's host and port, a client's address.
    :param side: which end we are.
    """
    code, text = _explained(error, side)
    purpose = "clientAuth" if side == "server" else "serverAuth"
    other = "serverAuth" if side == "server" else "clientAuth"
    return Problem(code, text.format(peer=printable(peer), purpose=purpose, own_purpose=other))


_Explained = tuple[Code, str]
"""A code, and a text with ``{peer}`` in it."""


def _explained(error: OSError, side: Side) -> _Explained:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _not_verified(error)
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError | ssl.SSLSyscallError):
        return _CLOSED
    if isinstance(error, ssl.SSLError):
        return _refused(_reason(error), side)
    if isinstance(error, TimeoutError) or error.errno == errno.ETIMEDOUT:
        return "timed_out", "{peer} did not finish the TLS handshake in time"
    if error.errno is None:
        return _CLOSED
    return "reset", f"the connection with {{peer}} broke: {_literal(error.strerror or 'no reason given')}"


_CLOSED: _Explained = ("reset", "{peer} ended the connection in the middle of TLS")


# What we found in the peer's certificate


def _not_verified(error: ssl.SSLCertVerificationError) -> _Explained:
    found = _VERIFICATION.get(error.verify_code)
    if found is not None:
        return found
    said = _literal(error.verify_message or "no reason given")
    return "bad_certificate", f"the certificate of {{peer}} does not verify: {said}"


_UNKNOWN_CA: _Explained = (
    "unknown_ca",
    "the certificate of {peer} is from a CA that is not in our ca file: add that CA, or issue another",
)

_OTHER_NAMES: _Explained = (
    "name_mismatch",
    "the certificate of {peer} is not for the host asked for: issue it for that name, or set server_name",
)

_VERIFICATION: Mapping[int, _Explained] = {
    # X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, CERT_SIGNATURE_FAILURE (a CA of the same name with another
    # key), DEPTH_ZERO_SELF_SIGNED_CERT, SELF_SIGNED_CERT_IN_CHAIN, UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
    # UNABLE_TO_VERIFY_LEAF_SIGNATURE, CERT_UNTRUSTED
    **dict.fromkeys((2, 7, 18, 19, 20, 21, 27), _UNKNOWN_CA),
    # X509_V_ERR_CERT_NOT_YET_VALID
    9: (
        "not_yet_valid",
        "the certificate of {peer}, or one above it, is not valid yet: compare the clocks of both hosts",
    ),
    # X509_V_ERR_CERT_HAS_EXPIRED
    10: ("expired", "the certificate of {peer}, or one above it, has expired: renew it"),
    # X509_V_ERR_CERT_REVOKED
    23: ("revoked", "the certificate of {peer} is revoked: issue a new one"),
    # X509_V_ERR_INVALID_PURPOSE
    26: (
        "wrong_purpose",
        "the certificate of {peer} is for another purpose: its extended key usage needs {purpose}",
    ),
    # X509_V_ERR_HOSTNAME_MISMATCH, IP_ADDRESS_MISMATCH
    **dict.fromkeys((62, 64), _OTHER_NAMES),
}
"""OpenSSL's results of verification (``x509_vfy.h``), which keep their numbers."""


# What else OpenSSL says, the peer's alerts among it


def _refused(reason: str, side: Side) -> _Explained:
    alert = _ALERT.search(reason)
    found = _ALERTS.get(alert[1]) if alert else _REASONS.get(reason)
    if found is not None:
        return found
    if not alert and reason in _NOT_TLS:
        return _FOREIGN[side]
    words = _literal(reason.replace("_", " ").lower() or "no reason given")
    if alert:
        return "handshake_failed", f"{{peer}} ended TLS: {words}"
    return "handshake_failed", f"TLS with {{peer}} failed: {words}"


def _reason(error: ssl.SSLError) -> str:
    """OpenSSL's name of the reason, as ``UNKNOWN_CA``; where Python has no name, a text, or none."""
    return (getattr(error, "reason", None) or "").strip().upper().replace(" ", "_")


def _literal(text: str) -> str:
    """A text to stand in another one that is formatted."""
    return printable(text).replace("{", "{{").replace("}", "}}")


_ALERT = re.compile(r"_ALERT_(?:NUMBER_)?(\w+)$")
"""``SSLV3_ALERT_…``, ``TLSV1_ALERT_…``, ``TLSV13_ALERT_…``, and ``SSL/TLS_ALERT_…`` since OpenSSL 3.2."""

_REFUSED_CERTIFICATE: _Explained = (
    "bad_certificate",
    "{peer} refused our certificate: its names may be wrong, or it is not valid there yet; see the log there",
)

_OLD_VERSION = 'allow TLS 1.3 on both ends, or set min_version = "1.2"'

_ALERTS: Mapping[str, _Explained] = {
    "CERTIFICATE_REQUIRED": ("no_certificate", "{peer} asks for a certificate of ours: set cert and key"),
    "NO_CERTIFICATE": ("no_certificate", "{peer} has no certificate to show: it needs cert and key"),
    "UNKNOWN_CA": (
        "unknown_ca",
        "{peer} does not know the CA of our certificate: the ca file there must hold it",
    ),
    "CERTIFICATE_EXPIRED": (
        "expired",
        "{peer} says that our certificate, or one above it, has expired: renew it",
    ),
    "CERTIFICATE_REVOKED": ("revoked", "{peer} says that our certificate is revoked: issue a new one"),
    "UNSUPPORTED_CERTIFICATE": (
        "wrong_purpose",
        "{peer} says that our certificate is for another purpose: its extended key usage needs {own_purpose}",
    ),
    "BAD_CERTIFICATE": _REFUSED_CERTIFICATE,
    "CERTIFICATE_UNKNOWN": _REFUSED_CERTIFICATE,
    "PROTOCOL_VERSION": (
        "wrong_version",
        f"{{peer}} allows no version of TLS that we speak: {_OLD_VERSION} there",
    ),
    "INAPPROPRIATE_FALLBACK": ("wrong_version", "{peer} refused an older version of TLS than both speak"),
    "HANDSHAKE_FAILURE": (
        "handshake_failed",
        "{peer} refused the handshake: it may want a certificate of ours; see the log there",
    ),
}
"""By the alert's name in RFC 8446, §6: what the peer said of us."""

_VERSION: _Explained = (
    "wrong_version",
    f"{{peer}} speaks no version of TLS that we allow: {_OLD_VERSION} here",
)

_REASONS: Mapping[str, _Explained] = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": (
        "no_certificate",
        "{peer} showed no certificate: its hop needs cert and key",
    ),
    "UNEXPECTED_EOF_WHILE_READING": _CLOSED,
    "HTTP_REQUEST": ("not_tls", "{peer} speaks HTTP without TLS, and TLS is needed"),
    "HTTPS_PROXY_REQUEST": (
        "not_tls",
        "{peer} sent CONNECT without TLS, and TLS is needed: its hop must not have tls = false",
    ),
    **dict.fromkeys(
        ("UNSUPPORTED_PROTOCOL", "WRONG_SSL_VERSION", "NO_PROTOCOLS_AVAILABLE", "VERSION_TOO_LOW"), _VERSION
    ),
}

_NOT_TLS = frozenset(
    {
        "WRONG_VERSION_NUMBER",  # the usual one: no record begins with such bytes
        "RECORD_LAYER_FAILURE",  # the same, since OpenSSL 3.2
        "UNKNOWN_PROTOCOL",
        "BAD_RECORD_TYPE",
        "PACKET_LENGTH_TOO_LONG",
        "ENCRYPTED_LENGTH_TOO_LONG",
        "DATA_LENGTH_TOO_LONG",
    }
)

_FOREIGN: Mapping[Side, _Explained] = {
    "client": (
        "not_tls",
        "{peer} does not answer with TLS: is a gateway there? If it has tls = false, the hop needs it too",
    ),
    "server": (
        "not_tls",
        "{peer} does not speak TLS, which is needed: is it a node, or a hop with tls = false?",
    ),
}
