"""What the tests of AWS' sources share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.moto_server import CREDENTIALS, NOTHING_ELSE, Moto, moto


@pytest.fixture(scope="session")
def aws_server() -> Iterator[Moto]:
    """One server for all tests: it takes a while to start, and much memory."""
    with moto() as server:
        yield server


@pytest.fixture
def aws_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment in which botocore finds credentials, and nothing else."""
    for name, value in {**NOTHING_ELSE, **CREDENTIALS}.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
