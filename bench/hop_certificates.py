"""A small authority and two certificates, made with ``openssl``; all pairs that are measured get the like."""

from __future__ import annotations

import socket
import ssl
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bench.relay_peers import found
from bench.support import BenchError

NEAR_NAME, FAR_NAME = "relay.near.bench", "gateway.far.bench"
"""The one name in the certificate of each end."""
CIPHER = "TLS_AES_256_GCM_SHA384"
"""OpenSSL's own first choice in TLS 1.3; those that can be told so are told."""

DAYS = "2"
KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
ANSWER_LIMIT = 5.0
"""Seconds for each step of the check; one without a certificate that stands so long was taken."""
SILENCE = 0.2
"""Seconds that a connection with the right certificate must stand to count as taken."""


@dataclass(frozen=True, slots=True)
class Certificates:
    """Where the files of one run are."""

    folder: Path

    @property
    def authority(self) -> Path:
        """What both ends trust."""
        return self.folder / "ca.crt"

    def certificate(self, name: str) -> Path:
        """The certificate of one end."""
        return self.folder / f"{name}.crt"

    def key(self, name: str) -> Path:
        """Its private key."""
        return self.folder / f"{name}.key"

    def both(self, name: str) -> Path:
        """Both in one file, as HAProxy wants them."""
        return self.folder / f"{name}.pem"


def certificates_in(folder: Path) -> Certificates:
    """Make the authority and the certificates of both ends in `folder`."""
    made = Certificates(folder)
    _request(folder, "ca", ["-subj", "/CN=bench authority"])
    for name in (NEAR_NAME, FAR_NAME):
        signed_by = ["-CA", "ca.crt", "-CAkey", "ca.key"]
        extensions = [f"subjectAltName=DNS:{name}", "basicConstraints=critical,CA:FALSE"]
        more = [word for each in extensions for word in ("-addext", each)]
        _request(folder, name, ["-subj", f"/CN={name}", *signed_by, *more])
        made.both(name).write_text(made.certificate(name).read_text() + made.key(name).read_text())
    return made


def _request(folder: Path, name: str, more: list[str]) -> None:
    files = ["-keyout", f"{name}.key", "-out", f"{name}.crt"]
    command = [found("openssl"), "req", "-x509", "-days", DAYS, *KEY, *files, *more]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise BenchError(f"openssl makes no certificate: {result.stderr.strip()}")


def check_encrypted(address: tuple[str, int], certificates: Certificates) -> None:
    """Raise a BenchError unless `address` speaks TLS 1.3 with CIPHER, to those with a certificate only.

    Somebody must listen at FAR, or a far end has reason to end the connection of one that it trusts.
    """
    spoken = _spoken(address, _context(certificates, known=True), SILENCE)
    if spoken is None:
        raise BenchError("the pair does not speak TLS, or does not trust its own near end")
    if spoken != ("TLSv1.3", CIPHER):
        raise BenchError(f"the pair speaks {' with '.join(spoken)}")
    if _spoken(address, _context(certificates, known=False), ANSWER_LIMIT) is not None:
        raise BenchError("the far end takes connections without a certificate")


def _context(certificates: Certificates, *, known: bool) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(certificates.authority))
    if known:
        context.load_cert_chain(certificates.certificate(NEAR_NAME), certificates.key(NEAR_NAME))
    return context


def _spoken(address: tuple[str, int], context: ssl.SSLContext, seconds: float) -> tuple[str, str] | None:
    """Version and cipher of a connection to `address`; None if the far end ends it.

    In TLS 1.3 the client's handshake is done before the far end has looked at the client's certificate, so
    what counts is whether the connection still stands so many seconds later.
    """
    with (
        suppress(OSError),
        socket.create_connection(address, ANSWER_LIMIT) as plain,
        context.wrap_socket(plain, server_hostname=FAR_NAME) as encrypted,
    ):
        cipher = encrypted.cipher()
        assert cipher is not None, "the handshake is done"
        name, version, _bits = cipher
        return (version, name) if _stands(encrypted, seconds) else None
    return None


def _stands(encrypted: ssl.SSLSocket, seconds: float) -> bool:
    """Whether the far end keeps a connection, or at least says something on it."""
    encrypted.settimeout(seconds)
    try:
        return bool(encrypted.recv(1))
    except TimeoutError:
        return True
