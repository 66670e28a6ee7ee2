"""What the tests of hops share."""

from collections.abc import Iterator

import pytest

from tests.support.hops import Certified
from tests.support.link_sides import FarHost


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Certified:
    """A CA with a certificate for each end."""
    return Certified.in_folder(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def far_host() -> Iterator[FarHost]:
    """Where far nodes listen."""
    with FarHost() as far_host:
        yield far_host
