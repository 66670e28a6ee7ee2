"""What all tests share: the choice of the server that the interop tests talk to."""

import pytest

from tests.support.servers import Kind


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--reference`, which proves the interop tests themselves."""
    parser.addoption(
        "--reference",
        action="store_true",
        help="run the interop tests against the C epmd instead of epmdless",
    )


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> Kind:
    """The kind of server under test: `epmdless serve`, or the C epmd with --reference."""
    return "c" if request.config.getoption("--reference") else "serve"
