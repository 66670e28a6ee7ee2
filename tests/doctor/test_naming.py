"""The form of a name, and what follows from it."""

from __future__ import annotations

import pytest

from epmdless.doctor.naming import look_at_name
from epmdless.names import NodeName
from epmdless.schemes import SuffixScheme


@pytest.mark.parametrize(
    ("text", "form", "promised"),
    [
        ("app-9001@b1.internal", "long", 9001),
        ("app@10.0.0.1", "long", None),
        ("app@::1", "long", None),
        ("app@b1", "short", None),
        ("app@localhost", "short", None),
        ("rem-1a-app-9001@b1", "short", None),
    ],
)
def test_names(text: str, form: str, promised: int | None) -> None:
    name, finding = look_at_name(text, SuffixScheme(), "h1")
    assert name == NodeName.parse(text)
    assert (finding.verdict, finding.advice) == ("ok", ())
    assert (finding.details["form"], finding.details["promised_port"]) == (form, promised)
    assert ("-sname" in finding.said) == (form == "short")
    assert (f"the scheme promises port {promised}" in finding.said) == (promised is not None)
    assert ("come and go" in finding.said) == finding.details["transient"] == text.startswith("rem-")


@pytest.mark.parametrize(
    ("text", "example"), [("app", "app@h1"), ("app@", "app@h1"), ("@b1", "b1@h1"), ("", "app@h1")]
)
def test_half_a_name(text: str, example: str) -> None:
    name, finding = look_at_name(text, SuffixScheme(), "h1")
    assert (name, finding.verdict) == (None, "failed")
    assert finding.advice == (f"give the whole name, as node() shows it, such as {example}",)


@pytest.mark.parametrize("text", ["a@b@c", "a b@c", "a@b c", "a\n@c", "a@\x9b", "a" * 254 + "@b"])
def test_what_no_node_can_be_called(text: str) -> None:
    name, finding = look_at_name(text, SuffixScheme(), "h1")
    assert (name, finding.verdict) == (None, "failed")


def test_a_name_that_erl_refuses() -> None:
    name, finding = look_at_name("my.app@b1", SuffixScheme(), "h1")
    assert name == NodeName("my.app", "b1")
    assert finding.verdict == "warning"
