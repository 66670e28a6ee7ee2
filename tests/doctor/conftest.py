"""What the doctor's tests share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from trio.testing import MockClock

from tests.doctor.world import World, world_at


@pytest.fixture
def patient_clock() -> MockClock:
    """Jumps over waiting, but not before what goes through the kernel had time to come."""
    return MockClock(autojump_threshold=0.05)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """A host with an EPMD server and a node that is registered there."""
    async with world_at() as made:
        yield made
