"""What it means for the walk that a port speaks plain distribution, TLS, or neither."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from epmdless.cluster.encryption import ABOUT_CERTIFICATES
from epmdless.doctor.certificate import Shown
from epmdless.doctor.encrypting import HELLO_SECONDS, WEB, Spoken
from epmdless.doctor.report import Finding
from epmdless.doctor.strangers import recognised
from epmdless.net.tls.problems import explain

_SETTING = (
    "give the doctor certificates to go on with: [cluster.tls] with ca, cert and key in --config; "
    "and let every node of the cluster run with -proto_dist inet_tls: plain nodes never reach this one"
)


def judge(spoken: Spoken, *, has_certificates: bool) -> Finding:
    """Say what a port speaks, and whether the walk can go on.

    :param has_certificates: the configuration says that nodes speak TLS, and with which certificates.
    """
    details: dict[str, Any] = {
        "speaks": spoken.kind,
        "version": spoken.version,
        "certificate": spoken.certificate
        and spoken.certificate.to_json(verified=spoken.connection is not None),
    }
    if spoken.kind == "tls":
        return _tls(spoken, details, has_certificates=has_certificates)
    if has_certificates and spoken.kind != "foreign":
        return _no_tls(spoken, details)
    match spoken.kind:
        case "plain":
            return Finding("ok", "no TLS: plain distribution, as it seems", (), details)
        case "foreign":
            return Finding("ok", f"no TLS: {recognised(spoken.first)}", (), details)
    said = f"no answer to TLS within {HELLO_SECONDS:g} s, as no node leaves it: going on without"
    return Finding("warning", said, (), details)


def _no_tls(spoken: Spoken, details: dict[str, Any]) -> Finding:
    how = "it speaks none" if spoken.kind == "plain" else f"no answer to it within {HELLO_SECONDS:g} s"
    advice = (
        (
            "start the node with -proto_dist inet_tls and -ssl_dist_optfile, as the others are; "
            "or take [cluster.tls] out of the configuration if the nodes speak no TLS"
        ),
    )
    return Finding("failed", f"[cluster.tls] says that nodes speak TLS, and {how}", advice, details)


def _tls(spoken: Spoken, details: dict[str, Any], *, has_certificates: bool) -> Finding:
    claims = f"; its certificate: {spoken.certificate}" if spoken.certificate else ""
    if spoken.web in WEB:
        said = f"a web server with TLS ({spoken.web}), and no node{claims}"
        return Finding(
            "failed", said, ("see which port the node has: this one is another program's",), details
        )
    if spoken.problem is not None:
        return _failed(spoken, spoken.problem.code, spoken.problem.text + claims, details)
    if spoken.connection is not None:
        left = _left(spoken.certificate)
        return Finding("ok", f"TLS {_version(spoken)}, its certificate holds{claims}{left}", (), details)
    if has_certificates:
        said = f"it speaks TLS, and did not come to its end within {HELLO_SECONDS:g} s{claims}"
        return Finding("failed", said, ("see the node's log, and how loaded its host is",), details)
    unverified = f"{claims} (unverified{_left(spoken.certificate)})" if claims else ""
    said = f"it speaks TLS{' ' + _version(spoken) if spoken.version else ''}, and we have no certificates"
    return Finding("failed", said + unverified, (_SETTING,), details)


def _failed(spoken: Spoken, code: str, said: str, details: dict[str, Any]) -> Finding:
    details["problem"] = code
    advice = ["compare the ca, cert and key of [cluster.tls] with those in the node's -ssl_dist_optfile"]
    if code in ("expired", "not_yet_valid"):
        advice.insert(0, f"look at the dates{_left(spoken.certificate)}, and at the clocks of both hosts")
    if code not in ABOUT_CERTIFICATES and not spoken.certificate:
        advice = [_SETTING, *advice]
    return Finding("failed", said, tuple(advice), details)


def refused(error: OSError, peer: str) -> Finding:
    """The node took TLS up, and then refused our certificate, or the connection, by an alert.

    :param peer: how people know it.
    """
    problem = explain(error, peer=peer, side="client")
    advice = ("compare the ca, cert and key of [cluster.tls] with those in the node's -ssl_dist_optfile",)
    return Finding("failed", problem.text, advice, {"speaks": "tls", "problem": problem.code})


def _version(spoken: Spoken) -> str:
    return (spoken.version or "").removeprefix("TLSv")


def _left(certificate: Shown | None) -> str:
    """From when to when a certificate is good, where that does not hold today; else its end."""
    if certificate is None:
        return ""
    if certificate.not_before > time.time():
        return f", valid from {_day(certificate.not_before)} on"
    verb = "ended" if certificate.not_after < time.time() else "good until"
    return f", {verb} {_day(certificate.not_after)}"


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()
