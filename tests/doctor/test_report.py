"""A report: its status, its order of advice, and its plain form."""

from __future__ import annotations

import gzip
import json

import pytest

from epmdless.doctor.meeting import releases
from epmdless.doctor.report import EXIT_STATUS, LIMITS, NOT_REACHED, STEPS, Finding, Report, Step
from epmdless.wire.handshake import Challenge, Side, decode
from tests.cluster.scripted_node import FLAGS, NO_SPAWN
from tests.wire.examples import VECTORS


def report(**findings: Finding) -> Report:
    return Report("app@b1", [Step(name, findings.get(name, NOT_REACHED), 0.001) for name in STEPS])


def test_each_step_has_a_status_and_a_limit_of_its_own() -> None:
    assert [EXIT_STATUS[name] for name in STEPS] == list(range(10, 19))
    assert LIMITS.keys() == EXIT_STATUS.keys()
    assert sum(LIMITS.values()) < 60


def test_the_first_step_that_failed_counts_and_its_advice_comes_first() -> None:
    made = report(
        dns=Finding("warning", "odd", ("later",)),
        epmd=Finding("failed", "no", ("first", "later")),
        tcp=Finding("failed", "no", ("last",)),
    )
    assert (made.status, made.advice) == (12, ["first", "later", "last"])


def test_nothing_failed() -> None:
    made = report(dns=Finding("warning", "odd", ("look",)))
    assert (made.status, made.ended_at, made.advice) == (0, None, ["look"])


def test_the_plain_form_commands_no_terminal() -> None:
    bad = "\x1b[2J\x9b\u202e\n"
    made = report(epmd=Finding("failed", bad, (bad,), {"names": [bad], "more": {"of": (bad, 1, None)}}))
    text = json.dumps(made.to_json(), ensure_ascii=False)
    assert text.isprintable()
    step = json.loads(text)["steps"][2]
    assert (step["step"], step["verdict"], step["milliseconds"]) == ("epmd", "failed", 1.0)
    assert step["more"]["of"][1:] == [1, None]


@pytest.mark.parametrize(
    ("release", "said"), [(25, "OTP 25 to 27"), (27, "OTP 25 to 27"), (29, "OTP 28 or later")]
)
def test_flags_of_real_nodes(release: int, said: str) -> None:
    """OTP 25 and 27 say the same."""
    lines = json.loads(gzip.decompress((VECTORS / f"a{release}-b{release}.json.gz").read_bytes()))
    challenge = decode(Side.FAR, bytes.fromhex(lines[2][1])[2:])
    assert isinstance(challenge, Challenge)
    assert releases(challenge.flags) == said


def test_flags_and_releases() -> None:
    assert releases(FLAGS) == "OTP 25 to 27"
    assert releases(0x6D07DF7FBD) == "OTP 28 or later"
    assert releases(NO_SPAWN & ~0x4000000) == "OTP 24"
    assert releases(0x1_0000_0000) == releases(0x1000000) == "OTP 23"
    assert releases(0x7DF7FBD & ~0x5000000) == "older than OTP 23"
