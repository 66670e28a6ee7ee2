"""Certificates and keys loaded for TLS, with an error that says which file to mend, and how.

Both ends prove who they are: a gateway's clients by a certificate that its ``ca`` signed, and the gateway
by one that the hop's ``ca`` signed. A context is never changed once it is made: new certificates are a new
context, for new connections. Its session tickets are its own, so what an old context let in by an old
``ca`` is checked anew by the next one.
"""

from __future__ import annotations

import hashlib
import os
import re
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from epmdless.errors import ConfigError
from epmdless.net import files as tls_files
from epmdless.net.tls.identity import certificate_names

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

ALPN = "http/1.1"
"""What is spoken inside: CONNECT of RFC 9112. The name is IANA's (RFC 7301)."""

WARN_DAYS = 14
"""A certificate is warned about from so many days before its end on."""

SECONDS_A_DAY = 86_400

TLS12_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""RFC 9325's: forward secrecy and AEAD. TLS 1.3 has no others."""

_CERTIFICATE = re.compile(
    rb"-----BEGIN (?:X509 )?CERTIFICATE-----.+?-----END (?:X509 )?CERTIFICATE-----", re.DOTALL
)

Versions = Literal["1.2", "1.3"]

_VERSIONS: dict[Versions, ssl.TLSVersion] = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The files of one end of TLS, and the oldest version that it speaks.

    :ivar cert: our certificate, then those between it and its CA, in PEM; None: we show none.
    :ivar key: the certificate's private key in PEM, not encrypted.
    :ivar ca: the CAs that the peer's certificate may come from, in PEM.
    """

    cert: str | None
    key: str | None
    ca: str
    min_version: Versions = "1.3"

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(path for path in (self.cert, self.key, self.ca) if path is not None)


Load = Callable[[TlsFiles, str], ssl.SSLContext]
"""`load_server_context` or `load_client_context`."""


def load_server_context(files: TlsFiles, key: str) -> ssl.SSLContext:
    """A gateway's context: it has a certificate, and takes no client without one of its CAs.

    Blocks as long as reading small files takes.

    :param key: the dotted key of the table that names the files, such as ``gateway.tls``.
    :raises ConfigError: a file is not what it must be; its source is the file, its key the file's.
    """
    if files.cert is None or files.key is None:
        raise ConfigError("", key, "a server needs cert and key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    context.num_tickets = 1  # each holds the client's certificate, and one connection at a time follows
    _load(context, files, key)
    return context


def load_client_context(files: TlsFiles, key: str) -> ssl.SSLContext:
    """A hop's context: the gateway's certificate must name the host that is asked for.

    Blocks as long as reading small files takes.

    :param key: the dotted key of the table that names the files, such as ``hop.az-b.tls``.
    :raises ConfigError: a file is not what it must be; its source is the file, its key the file's.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # CERT_REQUIRED, check_hostname
    context.hostname_checks_common_name = False  # RFC 9525, §6.1: only SANs are names
    _load(context, files, key)
    return context


def _load(context: ssl.SSLContext, files: TlsFiles, key: str) -> None:
    """Set what both ends have in common."""
    context.minimum_version = _VERSIONS[files.min_version]
    context.set_ciphers(TLS12_CIPHERS)
    context.set_alpn_protocols([ALPN])
    # An end without close_notify is a cut, and must raise SSLEOFError: nothing may pass for a clean end.
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    # A zone's own CA under a company's root is an anchor by itself. What is no CA is refused below, so
    # that no leaf can be one. VERIFY_X509_STRICT stays off: many a private CA in use would fail it.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    _load_ca(context, files.ca, f"{key}.ca")
    if files.cert is not None and files.key is not None:
        _load_pair(context, files.cert, files.key, key)
    elif files.cert is not None or files.key is not None:
        raise ConfigError("", key, "cert and key come together")


def _load_ca(context: ssl.SSLContext, path: str, key: str) -> None:
    content = _read(path, key)
    if b"-----BEGIN X509 CRL-----" in content:
        # Loading would take it, and nobody would ever look at it.
        raise ConfigError(path, key, "holds a revocation list, which is not supported: leave it out")
    for number, pem in enumerate(_pem_certificates(content, path, key), 1):
        try:
            context.load_verify_locations(cadata=pem.decode("ascii"))
        except (ssl.SSLError, ValueError):
            raise ConfigError(path, key, f"certificate {number} of the file cannot be read") from None
        stats = context.cert_store_stats()
        if stats["x509"] != stats["x509_ca"]:
            raise ConfigError(
                path,
                key,
                f"certificate {number} of the file is not a CA's: give the certificate of the authority "
                "that signed the peer's, not the peer's own",
            )


def _load_pair(context: ssl.SSLContext, cert: str, key_file: str, key: str) -> None:
    chain = _read(cert, f"{key}.cert")
    _leaf(chain, cert, f"{key}.cert")
    secret = _read(key_file, f"{key}.key", private=True)
    if b"PRIVATE KEY-----" not in secret:
        raise ConfigError(key_file, f"{key}.key", "holds no private key in PEM")
    try:
        # What was read and checked is what is loaded: the path may lead elsewhere by now.
        with _in_memory(chain, secret) as (chain_path, secret_path):
            context.load_cert_chain(chain_path, secret_path, password=_refuse_password)
    except _EncryptedKeyError:
        problem = "the key is encrypted, which is not supported: decrypt it, as with openssl pkey"
        raise ConfigError(key_file, f"{key}.key", problem) from None
    except ssl.SSLError as error:
        raise _pair_error(error, cert, key_file, key) from None


def _pair_error(error: ssl.SSLError, cert: str, key_file: str, key: str) -> ConfigError:
    if error.reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"):
        problem = f"not the key of the certificate that comes first in {cert}"
        return ConfigError(key_file, f"{key}.key", problem)
    if error.reason in ("EE_KEY_TOO_SMALL", "CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK"):
        problem = f"too weak for TLS ({error.reason.replace('_', ' ').lower()}): issue a new one"
        return ConfigError(cert, f"{key}.cert", problem)
    reason = (error.reason or "no reason given").replace("_", " ").lower()
    return ConfigError(key_file, f"{key}.key", f"does not load with {cert}: {reason}")


class _EncryptedKeyError(Exception):
    """OpenSSL asked for a password. Without an answer of ours it would ask at the terminal."""


def _refuse_password() -> str:
    raise _EncryptedKeyError


@contextmanager
def _in_memory(*contents: bytes) -> Iterator[tuple[str, ...]]:
    """Paths of files with these contents, for a library that takes nothing else; never on a disk."""
    with ExitStack() as stack:
        paths = []
        for content in contents:
            descriptor = os.memfd_create("epmdless-tls")
            stack.callback(os.close, descriptor)
            with os.fdopen(descriptor, "wb", closefd=False) as file:
                file.write(content)
            paths.append(f"/proc/self/fd/{descriptor}")
        yield tuple(paths)


def _read(path: str, key: str, *, private: bool = False) -> bytes:
    try:
        return tls_files.read(path, private=private)
    except OSError as error:
        raise ConfigError(path, key, f"cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise ConfigError(path, key, str(error)) from None


def _pem_certificates(content: bytes, path: str, key: str) -> list[bytes]:
    found = _CERTIFICATE.findall(content)
    if found:
        return found
    if content.startswith(b"\x30\x82"):
        raise ConfigError(path, key, "DER, not PEM: convert it, as with openssl x509 -inform der")
    raise ConfigError(path, key, "holds no certificate in PEM")


def _leaf(content: bytes, path: str, key: str) -> Certificate:
    """The first certificate of a file, which is the one that its key belongs to."""
    from cryptography import x509  # it takes longer to import than all else, and few need it

    try:
        return x509.load_pem_x509_certificate(_pem_certificates(content, path, key)[0])
    except ValueError:
        raise ConfigError(path, key, "its first certificate cannot be read") from None


class Certificates:
    """What one end has loaded, and whether its files changed since.

    :ivar context: for new connections; those that are up keep theirs.
    :ivar not_after: when our own certificate ends, in seconds since the epoch; infinite without one.
    :ivar names: the names of our own certificate.
    :ivar trusted: the same for as long as the same CAs are.
    :raises ConfigError: as `load` does.
    """

    def __init__(self, files: TlsFiles, key: str, load: Load) -> None:
        self.files = files
        self.key = key
        self._load = load
        self._seen = self._fingerprints()  # before they are read: what changes meanwhile is seen later
        self.context = load(files, key)
        self.not_after, self.names = _own(files, key)
        self.trusted = hashlib.sha256(_read(files.ca, f"{key}.ca")).digest()

    def changed(self) -> bool:
        """Whether a file differs from what was last loaded, or tried to. Costs a stat for each file."""
        return self._fingerprints() != self._seen

    def reload(self) -> Certificates:
        """Load the files as they are now; what is loaded here stays as it is.

        Whether that fails or not, `changed` is false until the next change: a half-written pair is one
        error, and is tried again when its other half comes.

        :raises ConfigError: a file is not what it must be.
        """
        self._seen = self._fingerprints()
        return Certificates(self.files, self.key, self._load)

    def _fingerprints(self) -> tuple[tls_files.Print | None, ...]:
        return tuple(tls_files.fingerprint(path) for path in self.files.paths)


def _own(files: TlsFiles, key: str) -> tuple[float, tuple[str, ...]]:
    """The end and the names of our own certificate."""
    if files.cert is None:
        return float("inf"), ()
    leaf = _leaf(_read(files.cert, f"{key}.cert"), files.cert, f"{key}.cert")
    return leaf.not_valid_after_utc.timestamp(), certificate_names(leaf)


def days_left(not_after: float, now: float) -> float:
    """Days until a certificate ends; below 0 it has ended.

    :param not_after: its end, in seconds since the epoch.
    :param now: the clock on the wall, in seconds since the epoch.
    """
    return (not_after - now) / SECONDS_A_DAY
