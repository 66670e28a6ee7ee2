"""Fixtures of the interop tests."""

from collections.abc import Iterator

import pytest

from tests.support.servers import Kind, Server, running


@pytest.fixture
def server(kind: Kind) -> Iterator[Server]:
    """A server started as the drop-in that it is: no configuration, just another port."""
    with running(kind) as server:
        yield server


@pytest.fixture
def ours_only(kind: Kind) -> None:
    """Skip under --reference what the C epmd cannot do."""
    if kind == "c":
        pytest.skip("the C epmd has no resolver chain")
