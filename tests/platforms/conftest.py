"""Fixtures of the tests of platforms."""

import pytest
from trio.testing import MockClock


@pytest.fixture
def clock() -> MockClock:
    """Jumps once nothing has happened for a moment."""
    return MockClock(autojump_threshold=0.05)
