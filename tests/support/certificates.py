"""Certificates for tests: a CA in a folder, and what it signs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = timedelta(days=1)

BOTH_ENDS = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate, with those between it and its CA, and its key; each in a file of its own."""

    cert: Path
    key: Path


class Authority:
    """A CA whose certificate and key are files in a folder, as is all that it signs.

    To make one takes less than a millisecond, as does to issue a certificate: keys are elliptic curves'.

    :param folder: there already; several authorities may share it under different names.
    :param parent: the CA that signs this one; None: it signs itself.
    """

    def __init__(self, folder: Path, name: str = "ca", parent: Authority | None = None) -> None:
        self.folder = folder
        self.name = name
        self._key = ec.generate_private_key(ec.SECP256R1())
        signer = parent or self
        basics = x509.BasicConstraints(ca=True, path_length=None)
        self._certificate = signer._signed(self._subject, self._key.public_key(), basics)
        self._above: tuple[x509.Certificate, ...] = parent._chain if parent else ()
        self.ca = folder / f"{name}.crt"
        self.ca.write_bytes(pem(self._certificate))
        self.key = folder / f"{name}.key"
        write_key(self.key, self._key)
        self._numbers = itertools.count(1)

    def issue(
        self,
        *names: str,
        expired: bool = False,
        not_yet: bool = False,
        days: float = 30,
        usages: Sequence[x509.ObjectIdentifier] = BOTH_ENDS,
        ca: bool = False,
    ) -> Issued:
        """Sign a certificate for these names: an IP address and a URI each become a SAN of their kind.

        :param expired: it ended a day ago.
        :param not_yet: it begins in a day.
        :param days: how long it is good for from now on.
        :param usages: what it may be used for; none: no such extension.
        :param ca: it is a CA's.
        """
        since = datetime.now(UTC) + (DAY if not_yet else -30 * DAY)
        until = datetime.now(UTC) - DAY if expired else datetime.now(UTC) + days * DAY + (DAY * not_yet)
        key = ec.generate_private_key(ec.SECP256R1())
        extensions: list[x509.ExtensionType] = [x509.BasicConstraints(ca=ca, path_length=None)]
        if names:
            extensions.append(x509.SubjectAlternativeName([_general_name(name) for name in names]))
        if usages:
            extensions.append(x509.ExtendedKeyUsage(usages))
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, (names or ("nobody",))[0][:64])])
        signed = self._signed(subject, key.public_key(), *extensions, since=since, until=until)
        stem = f"{self.name}-{next(self._numbers)}"
        issued = Issued(self.folder / f"{stem}.crt", self.folder / f"{stem}.key")
        issued.cert.write_bytes(b"".join(map(pem, (signed, *self._chain[:-1]))))
        write_key(issued.key, key)
        return issued

    def sign(
        self, subject: x509.Name, public_key: ec.EllipticCurvePublicKey, *extensions: x509.ExtensionType
    ) -> bytes:
        """Sign what else a test makes up, in PEM."""
        return pem(self._signed(subject, public_key, *extensions))

    @property
    def _subject(self) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"epmdless tests {self.name}")])

    @property
    def _chain(self) -> tuple[x509.Certificate, ...]:
        """This CA's certificate, and those above it."""
        return (self._certificate, *self._above)

    def _signed(
        self,
        subject: x509.Name,
        public_key: ec.EllipticCurvePublicKey,
        *extensions: x509.ExtensionType,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(since or now - 400 * DAY)
            .not_valid_after(until or now + 400 * DAY)
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        own = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(own, critical=False)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        return builder.sign(self._key, hashes.SHA256())


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    """Write a key that only its owner can read."""
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _general_name(name: str) -> x509.GeneralName:
    if "://" in name:
        return x509.UniformResourceIdentifier(name)
    with suppress(ValueError):
        return x509.IPAddress(ip_address(name))
    return x509.DNSName(name)
