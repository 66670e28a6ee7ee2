"""The packets of libcluster's strategy Gossip (source: bitwalker/libcluster, lib/strategy/gossip.ex), which
tell a node's name to everybody who listens::

    'heartbeat::'  term: #{node => NAME}, its version byte first

With a secret, the whole of that is encrypted::

    iv:16 bytes  AES-256-CBC, PKCS #7 padding, with the SHA-256 of the secret for a key

The encryption hides, and keeps clusters with different secrets apart, but does not sign: whoever has seen a
packet can send it again. What comes in is a name to try.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from epmdless.errors import LocalProtocolError, RemoteProtocolError
from epmdless.names import is_node_name
from epmdless.wire.terms import Atom, Limits, Tag, decode, encode

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.modes import CBC

IV_SIZE = 16
"""Bytes of an initialization vector, and of a block."""

KEY_SIZE = 32
"""Bytes of a key."""

MAX_PACKET = 1072
"""The longest packet in bytes. The prefix takes 11, the head of the map 6, ``node`` at most 7, and a name of
255 characters 1023 in UTF-8 with its tag: 1047, padded to 1056, and the initialization vector."""

_PREFIX = b"heartbeat::"
_NODE = Atom("node")
_UNDISTRIBUTED = "nonode@nohost"
"""What a node that is not distributed is called, and sends."""

_TAGS = frozenset({Tag.MAP, Tag.ATOM, Tag.SMALL_ATOM, Tag.ATOM_UTF8, Tag.SMALL_ATOM_UTF8})
_LIMITS = Limits(depth=1, items=3, pairs=1, integer=0)
"""The map, and its one pair."""


def key_of(secret: bytes) -> bytes:
    """The key that a secret stands for. libcluster's secrets are text: their UTF-8."""
    return hashlib.sha256(secret).digest()


def encode_heartbeat(name: str, key: bytes | None = None, iv: bytes | None = None) -> bytes:
    """Write the packet that tells a node's name.

    :param key: see :func:`key_of`; None sends it in the clear.
    :param iv: IV_SIZE bytes, random and new for each packet; None without a key.
    :raises LocalProtocolError: not a node's name, or a key and an initialization vector that do not fit.
    """
    if not _is_name(name):
        raise LocalProtocolError("not a node's name: ALIVE@HOST")
    clear = _PREFIX + encode({_NODE: Atom(name)})
    if key is None and iv is None:
        return clear
    if key is None or iv is None or (len(key), len(iv)) != (KEY_SIZE, IV_SIZE):
        raise LocalProtocolError("encryption takes a key of 32 bytes and an initialization vector of 16")
    return iv + _encrypted(clear, key, iv)


def decode_heartbeat(packet: bytes, key: bytes | None = None) -> str:
    """Read the name in a packet that anybody may have sent.

    :param key: see :func:`key_of`; with it, packets in the clear are refused. None takes those alone.
    :raises RemoteProtocolError: to be thrown away. Reasons: ``oversized`` (longer than MAX_PACKET),
        ``prefix`` (no heartbeat, or an encrypted one), ``encryption`` (not a heartbeat encrypted with this
        key), ``term`` (not a map of ``node`` to an atom), ``name`` (not that of a distributed node).
    """
    if len(packet) > MAX_PACKET:
        raise RemoteProtocolError("oversized", f"a packet of {len(packet)} bytes")
    clear = packet if key is None else _decrypted(packet, key)
    if not clear.startswith(_PREFIX):
        reason = "prefix" if key is None else "encryption"
        raise RemoteProtocolError(reason, f"a packet of {len(packet)} bytes that is no heartbeat")
    name = _name_in(clear[len(_PREFIX) :])
    if not _is_name(name):
        raise RemoteProtocolError("name", f"{len(name)} characters that cannot be a node's name")
    return str(name)


def _is_name(name: str) -> bool:
    return is_node_name(name) and name != _UNDISTRIBUTED


def _name_in(data: bytes) -> Atom:
    try:
        term = decode(data, _LIMITS, allowed=_TAGS)
    except RemoteProtocolError as error:
        raise RemoteProtocolError("term", error.detail) from None
    name = term.get(_NODE) if isinstance(term, dict) else None
    if not isinstance(name, Atom):
        raise RemoteProtocolError("term", "not a map of node to an atom")
    return name


def _encrypted(clear: bytes, key: bytes, iv: bytes) -> bytes:
    from cryptography.hazmat.primitives.padding import PKCS7  # slow to import, and few need it

    padder, encryptor = PKCS7(8 * IV_SIZE).padder(), _cipher(key, iv).encryptor()
    padded = padder.update(clear) + padder.finalize()
    return encryptor.update(padded) + encryptor.finalize()


def _decrypted(packet: bytes, key: bytes) -> bytes:
    from cryptography.hazmat.primitives.padding import PKCS7

    if len(packet) < 2 * IV_SIZE or len(packet) % IV_SIZE:
        raise RemoteProtocolError("encryption", f"a packet of {len(packet)} bytes, no whole blocks")
    unpadder, decryptor = PKCS7(8 * IV_SIZE).unpadder(), _cipher(key, packet[:IV_SIZE]).decryptor()
    padded = decryptor.update(packet[IV_SIZE:]) + decryptor.finalize()
    try:
        return unpadder.update(padded) + unpadder.finalize()
    except ValueError:
        raise RemoteProtocolError("encryption", "a packet that this key does not open") from None


def _cipher(key: bytes, iv: bytes) -> Cipher[CBC]:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    return Cipher(algorithms.AES256(key), modes.CBC(iv))
