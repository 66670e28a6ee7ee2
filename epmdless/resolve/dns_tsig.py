"""TSIG: messages signed with a key that both sides have (RFC 8945); the cryptography is dnspython's.

dnspython signs and checks whole messages of its own making. It takes 0.1 ms a record to make or read those,
so that what is signed and checked here are bytes.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
from typing import NamedTuple, NoReturn

import dns.exception
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.TSIG
import dns.tsig

from epmdless.errors import RemoteProtocolError, ResolveError
from epmdless.resolve.dns_answers import skip_to_last
from epmdless.resolve.dns_records import domain

FUDGE = 300
"""Seconds by which the clocks of both sides may differ (RFC 8945 §10)."""

MAX_SECRET_BYTES = 1024
"""Far more than any algorithm uses: 64."""

ALGORITHMS = ("hmac-sha256", "hmac-sha512", "hmac-sha384", "hmac-sha224", "hmac-sha1", "hmac-md5")
"""Of keys; the first is what ``tsig-keygen`` and ``keymgr`` take by themselves."""

_HEADER = struct.Struct("!6H")
_RECORD = struct.Struct("!HHIH")
_TIME = struct.Struct("!HI")

_BIND = re.compile(
    r"""\s*key\s+"?(?P<name>[A-Za-z0-9_.-]+)"?\s*\{\s*
        (?: algorithm\s+"?(?P<algorithm>[A-Za-z0-9.-]+)"?\s*;\s*
          | secret\s+"?(?P<secret>[A-Za-z0-9+/=]+)"?\s*;\s* ){2}
        \}\s*;?\s*""",
    re.VERBOSE,
)
_SHORT = re.compile(
    r"(?P<algorithm>[A-Za-z0-9-]+):(?P<name>[A-Za-z0-9_.-]+):(?P<secret>[A-Za-z0-9+/=]+)\s*",
)
_COMMENT = re.compile(r"(?:^|(?<=\s))(?://|#).*$", re.MULTILINE)


class TsigError(ResolveError):
    """An answer that is not what the key says it must be.

    :ivar reason: ``bad_key`` (the server does not know our key, or has another secret for it), ``bad_time``
        (the clocks differ), ``unsigned`` or ``forged`` (the answer is not signed, or by somebody else).
    """

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        super().__init__(detail)


class TsigKey:
    """A key; nothing that shows it shows its secret.

    :param algorithm: one of `ALGORITHMS`.
    """

    __slots__ = ("_key", "_owner", "algorithm", "name")

    def __init__(self, name: str, algorithm: str, secret: bytes) -> None:
        self.name = name
        self.algorithm = algorithm
        on_wire = dns.tsig.HMAC_MD5 if algorithm == "hmac-md5" else dns.name.from_text(algorithm)
        self._owner = domain(name)
        self._key = dns.tsig.Key(dns.name.from_text(name).canonicalize(), secret, on_wire)

    def __repr__(self) -> str:
        return f"TsigKey({self.name!r}, {self.algorithm!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TsigKey) and self._key == other._key

    def __hash__(self) -> int:
        return hash((self.name, self.algorithm))

    def sign(self, wire: bytes, now: float) -> Signed:
        """A message with its signature at its end.

        :param now: seconds since 1970.
        """
        (message_id,) = struct.unpack_from("!H", wire)
        unsigned = dns.rdtypes.ANY.TSIG.TSIG(  # type: ignore[no-untyped-call]
            *(dns.rdataclass.ANY, dns.rdatatype.TSIG, self._key.algorithm, int(now), FUDGE, b""),
            *(message_id, dns.rcode.NOERROR, b""),
        )
        made, _ = dns.tsig.sign(wire, self._key, unsigned, int(now))  # type: ignore[no-untyped-call]
        data = made.to_wire() or b""
        mac: bytes = made.mac
        head = _RECORD.pack(dns.rdatatype.TSIG, dns.rdataclass.ANY, 0, len(data))
        counts = list(_HEADER.unpack_from(wire))
        counts[-1] += 1
        signed = _HEADER.pack(*counts) + wire[_HEADER.size :] + self._owner + head + data
        return Signed(signed, mac)

    def check(self, answer: bytes, mac: bytes, now: float) -> int:
        """Check that an answer is signed, and belongs to our message.

        :param mac: of the message that it answers.
        :param now: seconds since 1970.
        :returns: what the server's clock says.
        :raises TsigError: it does not.
        :raises RemoteProtocolError: it is no DNS message.
        """
        start, rdtype = skip_to_last(answer)
        if rdtype != dns.rdatatype.TSIG:
            raise TsigError("unsigned", "the answer is not signed")
        try:
            owner, used = dns.name.from_wire(answer, start)
            at = start + used
            length = _RECORD.unpack_from(answer, at)[3]
            rdata = dns.rdata.from_wire(
                dns.rdataclass.ANY, dns.rdatatype.TSIG, answer, at + _RECORD.size, length
            )
        except (dns.exception.DNSException, struct.error):
            raise RemoteProtocolError("tsig", "a signature that cannot be read") from None
        assert isinstance(rdata, dns.rdtypes.ANY.TSIG.TSIG)
        self._validate(answer, owner, rdata, start, mac, now)
        return int(rdata.time_signed)

    def _validate(
        self,
        answer: bytes,
        owner: dns.name.Name,
        rdata: dns.rdtypes.ANY.TSIG.TSIG,
        start: int,
        mac: bytes,
        now: float,
    ) -> None:
        try:
            dns.tsig.validate(answer, self._key, owner, rdata, int(now), mac, start)  # type: ignore[no-untyped-call]
        except dns.tsig.PeerBadTime:
            _raise_bad_time(rdata, now)
        except dns.tsig.BadTime:
            raise TsigError("bad_time", _clocks(rdata.time_signed - now)) from None
        except dns.tsig.PeerError as error:
            raise TsigError("bad_key", _PEER[type(error)]) from None
        except dns.exception.DNSException:
            raise TsigError("forged", "the answer is signed by nobody who has our key") from None


class Signed(NamedTuple):
    """A message with its signature, and what is needed to check its answer's."""

    wire: bytes
    mac: bytes


_PEER = {
    dns.tsig.PeerBadKey: "the server does not know a key of this name and algorithm",
    dns.tsig.PeerBadSignature: "the server has another secret for this key",
    dns.tsig.PeerBadTruncation: "the server wants longer signatures",
    dns.tsig.PeerError: "the server does not take our signature",
}


def parse_key(text: str) -> TsigKey:
    """Read a key as ``tsig-keygen`` prints it, or ``ALGORITHM:NAME:BASE64`` as ``keymgr -t`` and ``dig -y``.

    :raises ValueError: it is neither; what was there is not told.
    """
    plain = _COMMENT.sub("", text)
    match = _BIND.fullmatch(plain) or _SHORT.fullmatch(plain.strip())
    if match is None or match["algorithm"] is None or match["secret"] is None:
        raise ValueError("holds no TSIG key as tsig-keygen prints it, and no ALGORITHM:NAME:BASE64")
    algorithm = match["algorithm"].lower().removesuffix(".").removesuffix(".sig-alg.reg.int")
    if algorithm not in ALGORITHMS:
        raise ValueError(f"the key's algorithm is none of {', '.join(ALGORITHMS)}")
    try:
        secret = base64.b64decode(match["secret"], validate=True)
    except binascii.Error:
        raise ValueError("the key's secret is not base64") from None
    if not 1 <= len(secret) <= MAX_SECRET_BYTES:
        raise ValueError(f"the key's secret has not 1 to {MAX_SECRET_BYTES} bytes")
    try:
        domain(match["name"])
    except ValueError:
        raise ValueError("the key's name is not a domain name") from None
    return TsigKey(match["name"], algorithm, secret)


def _raise_bad_time(rdata: dns.rdtypes.ANY.TSIG.TSIG, now: float) -> NoReturn:
    """The server says its own time (RFC 8945 §5.2.3), where it does."""
    if len(rdata.other) != _TIME.size:
        raise TsigError("bad_time", "the server's clock and ours differ too much") from None
    high, low = _TIME.unpack(rdata.other)
    raise TsigError("bad_time", _clocks((high << 32 | low) - now)) from None


def _clocks(ahead: float) -> str:
    return f"the server's clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} ours"
