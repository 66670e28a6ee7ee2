"""Environments: ours as it was given, and what our own programs get of it."""

import os

import pytest

from epmdless.supervisor import environment


@pytest.mark.parametrize(
    ("initial", "kept"), [(b"LC_CTYPE=C.UTF-8\0", True), (b"PATH=/bin\0XLC_CTYPE=C\0", False), (b"", False)]
)
def test_a_locale_that_the_interpreter_has_set_is_not_passed_on(
    monkeypatch: pytest.MonkeyPatch, initial: bytes, kept: bool
) -> None:
    monkeypatch.setenv("LC_CTYPE", "C.UTF-8")
    assert (b"LC_CTYPE" in environment.given(initial)) == kept


def test_what_is_no_text_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environb, b"SECRET", b"\xff=\xfe")
    assert environment.given()[b"SECRET"] == b"\xff=\xfe"


def test_our_programs_get_nothing_of_the_service_managers() -> None:
    given = dict.fromkeys(environment.OF_THE_MANAGER, b"x") | {b"PATH": b"/bin", b"A": b"old"}
    assert environment.for_ours(given, A="neü") == {b"PATH": b"/bin", b"A": "neü".encode()}
    assert environment.for_ours(given, NOTIFY_SOCKET="@1")[b"NOTIFY_SOCKET"] == b"@1"
