"""What ``epmdless certs`` makes: a CA and certificates for zones, in files that were not there before."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from epmdless.errors import ConfigError, EpmdlessError
from epmdless.net import files as tls_files
from epmdless.net.tls.identity import MAX_NAME_CHARACTERS, MAX_NAMES

CA_LIFE = timedelta(days=3650)

SLACK = timedelta(hours=1)
"""Certificates are good from so long ago on: clocks differ."""

EVERYWHERE = ("localhost", "127.0.0.1", "::1")
"""In each certificate too, so that both ends can be tried on one host."""

CA_STEM = "ca"

_ZONE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rf"(?=.{{1,253}}$)(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[!-~]+")


@dataclass(frozen=True, slots=True)
class Zone:
    """A zone that gets a certificate, and the names in it."""

    name: str
    names: tuple[str, ...]


class Pair(NamedTuple):
    """The files of a certificate and its key, and when the certificate ends."""

    cert: Path
    key: Path
    not_after: datetime


class ZonePair(NamedTuple):
    """A zone, and its files."""

    zone: Zone
    files: Pair


class Made(NamedTuple):
    """What was made; `is_new`: the CA too."""

    folder: Path
    ca: Pair
    zones: tuple[ZonePair, ...]
    is_new: bool


class Signer(NamedTuple):
    """A CA that can sign."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def parse_zones(texts: Sequence[str]) -> tuple[Zone, ...]:
    """Read ``ZONE`` or ``ZONE=NAME,NAME``, each once.

    :raises ConfigError: one of them is none, or comes twice.
    """
    zones = tuple(map(_parse_zone, texts))
    seen: set[str] = set()
    for zone in zones:
        if zone.name.lower() in seen:
            raise ConfigError("--zone", "", f"{zone.name} comes twice")
        seen.add(zone.name.lower())
    return zones


def _parse_zone(text: str) -> Zone:
    name, equals, listed = text.partition("=")
    if not _ZONE.fullmatch(name):
        raise ConfigError(
            "--zone", "", f"{name!r} is no name for a zone: up to 63 letters, digits, dots, - and _"
        )
    if name.lower() == CA_STEM:
        raise ConfigError("--zone", "", f"{name} is the CA's own name: its files are {CA_STEM}.crt and .key")
    names = [part.strip() for part in listed.split(",")] if equals else [name]
    unique = tuple(dict.fromkeys([*map(_parse_name, names), *EVERYWHERE]))
    if len(unique) > MAX_NAMES:
        raise ConfigError(
            "--zone", "", f"{name} has more than {MAX_NAMES} names, with {len(EVERYWHERE)} of ours"
        )
    return Zone(name, unique)


def _parse_name(text: str) -> str:
    """A name as it goes into the certificate."""
    if "%" not in text:  # an interface is no part of an address that a certificate could hold
        with suppress(ValueError):
            return str(ipaddress.ip_address(text))
    if not (_is_uri(text) if "://" in text else _is_host(text)):
        raise ConfigError(
            "--zone", "", f"{text!r} is no name for a certificate: a host name, an IP address or a URI"
        )
    return text


def _is_uri(text: str) -> bool:
    return _URI.fullmatch(text) is not None and len(text) <= MAX_NAME_CHARACTERS


def _is_host(text: str) -> bool:
    """Whether this can be a host's name; one whose last label is a number is a mistyped address."""
    return _HOST.fullmatch(text) is not None and not text.rpartition(".")[2].isdecimal()


def init(folder: Path, zones: Sequence[Zone], days: int) -> Made:
    """Make a CA, and a certificate for each zone; the folder too.

    :param days: how long the zones' certificates are good for.
    :raises ConfigError: one of the files is there already; nothing was written then.
    :raises EpmdlessError: they cannot be written; what was written is removed again.
    """
    _refuse_present(folder, [CA_STEM, *(zone.name for zone in zones)])
    signer = _new_ca()
    contents = _pair_of_files(CA_STEM, signer.certificate, signer.key)
    made = _issue(folder, zones, days, signer, contents)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EpmdlessError(f"{folder}: cannot be made: {error.strerror}") from None
    _write_all(folder, contents)
    return Made(folder, _pair(folder, CA_STEM, signer.certificate), made, is_new=True)


def add(folder: Path, zones: Sequence[Zone], days: int) -> Made:
    """Make a certificate for each zone, by the CA in a folder that `init` made.

    :param days: how long they are good for.
    :raises ConfigError: there is no CA, or one that cannot sign, or one of the files is there already;
        nothing was written then.
    :raises EpmdlessError: they cannot be written; what was written is removed again.
    """
    signer = _read_ca(folder)
    _refuse_present(folder, [zone.name for zone in zones])
    contents: dict[str, bytes] = {}
    made = _issue(folder, zones, days, signer, contents)
    _write_all(folder, contents)
    return Made(folder, _pair(folder, CA_STEM, signer.certificate), made, is_new=False)


def _pair(folder: Path, stem: str, certificate: x509.Certificate) -> Pair:
    cert, key = _paths(folder, stem)
    return Pair(cert, key, certificate.not_valid_after_utc)


def _paths(folder: Path, stem: str) -> tuple[Path, Path]:
    """Where a certificate and its key are; ``with_suffix`` would cut a zone's name at its dot."""
    return folder / f"{stem}.crt", folder / f"{stem}.key"


# Certificates


def _issue(
    folder: Path, zones: Sequence[Zone], days: int, signer: Signer, contents: dict[str, bytes]
) -> tuple[ZonePair, ...]:
    """Sign a certificate for each zone, and add its files to the contents."""
    made = []
    for zone in zones:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _sign_zone(zone, key.public_key(), days, signer)
        contents |= _pair_of_files(zone.name, certificate, key)
        made.append(ZonePair(zone, _pair(folder, zone.name, certificate)))
    return tuple(made)


def _new_ca() -> Signer:
    """A CA for leaves alone. Its name is its own, so that two of them can be told apart in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    name = _name(f"epmdless private CA {serial:040x}"[:32])
    builder = (
        _builder(name, name, key.public_key(), key.public_key(), CA_LIFE)
        .serial_number(serial)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage("key_cert_sign", "crl_sign"), critical=True)
    )
    return Signer(builder.sign(key, hashes.SHA256()), key)


def _sign_zone(
    zone: Zone, public_key: ec.EllipticCurvePublicKey, days: int, signer: Signer
) -> x509.Certificate:
    """A certificate for both ends of a hop; it ends with its CA at the latest."""
    ca = signer.certificate
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    left = ca.not_valid_after_utc - datetime.now(UTC)
    life = min(timedelta(days=days), left)
    builder = (
        _builder(_name(zone.name), ca.subject, public_key, signer.key.public_key(), life)
        .serial_number(x509.random_serial_number())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage("digital_signature"), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectAlternativeName(list(map(_general_name, zone.names))), critical=False)
    )
    return builder.sign(signer.key, hashes.SHA256())


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    issuer_key: ec.EllipticCurvePublicKey,
    life: timedelta,
) -> x509.CertificateBuilder:
    """What all certificates have; OpenSSL's strict mode asks for both key identifiers (RFC 5280, §4.2.1)."""
    now = datetime.now(UTC)
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .not_valid_before(now - SLACK)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(authority, critical=False)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


def _key_usage(*wanted: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{usage: usage in wanted for usage in _USAGES})


def _general_name(name: str) -> x509.GeneralName:
    if "://" in name:
        return x509.UniformResourceIdentifier(name)
    with suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(name))
    return x509.DNSName(name)


# Files


def _pair_of_files(
    stem: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey
) -> dict[str, bytes]:
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return {f"{stem}.crt": certificate.public_bytes(pem), f"{stem}.key": secret}


def _refuse_present(folder: Path, stems: Sequence[str]) -> None:
    for path in (path for stem in stems for path in _paths(folder, stem)):
        if os.path.lexists(path):
            raise _present(path)


def _present(path: Path) -> ConfigError:
    hint = "; for further zones: epmdless certs add" if path.stem == CA_STEM else ""
    return ConfigError(str(path), "", f"is there already, and nothing is overwritten{hint}")


def _write_all(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write all of the files, or none."""
    written: list[Path] = []
    try:
        for name, content in contents.items():
            path = folder / name
            _write(path, content, written)
    except BaseException as error:
        for ours in written:
            ours.unlink(missing_ok=True)
        if isinstance(error, FileExistsError):
            raise _present(path) from None
        if isinstance(error, OSError):
            raise EpmdlessError(f"{path}: cannot be written: {error.strerror}") from None
        raise


def _write(path: Path, content: bytes, written: list[Path]) -> None:
    """Write a file that must not be there yet, and note it as ours as soon as it is."""
    mode = 0o600 if path.suffix == ".key" else 0o644
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    written.append(path)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _read_ca(folder: Path) -> Signer:
    """The CA in a folder.

    :raises ConfigError: there is none, or it cannot sign.
    """
    cert_path, key_path = _paths(folder, CA_STEM)
    try:
        certificate = x509.load_pem_x509_certificate(_read(cert_path))
    except ValueError:
        raise ConfigError(str(cert_path), "", "holds no certificate in PEM") from None
    key = _load_key(key_path)
    if key.public_key() != certificate.public_key():
        raise ConfigError(str(key_path), "", f"not the key of {cert_path}")
    if not _is_ca(certificate):
        raise ConfigError(str(cert_path), "", "not a certificate of a CA")
    if certificate.not_valid_after_utc <= datetime.now(UTC):
        raise ConfigError(str(cert_path), "", "has expired: make a new CA in another folder")
    return Signer(certificate, key)


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(_read(path, private=True), password=None)
    except TypeError:
        raise ConfigError(str(path), "", "the key is encrypted, which is not supported") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError(str(path), "", "holds no private key in PEM") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigError(str(path), "", "not a key that epmdless certs init made: it makes EC keys")
    return key


def _read(path: Path, *, private: bool = False) -> bytes:
    try:
        return tls_files.read(str(path), private=private)
    except FileNotFoundError:
        raise ConfigError(str(path), "", "is not there: make a CA first, with epmdless certs init") from None
    except OSError as error:
        raise ConfigError(str(path), "", f"cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(str(path), "", str(error)) from None
