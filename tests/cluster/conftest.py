"""What tests of whole clusters share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from epmdless.cluster import prepared
from epmdless.cluster.sources.build import Surroundings
from epmdless.config import SourceSection
from tests.cluster.clusters import FakeSource, World, world_at


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """A cluster at work that has no configuration yet."""
    async with world_at(tmp_path) as made:

        def build(name: str, section: SourceSection, around: Surroundings, file: str) -> FakeSource:
            return made.make(name, section, around, file)

        monkeypatch.setattr(prepared, "build", build)
        yield made
