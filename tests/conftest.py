"""What all tests share: the choice of the server that the interop tests talk to, and who goes first."""

import pytest

from tests.support.servers import Kind


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--reference`, which proves the interop tests themselves."""
    parser.addoption(
        "--reference",
        action="store_true",
        help="run the interop tests against the C epmd instead of epmdless",
    )


LONGEST = ("tests/test_bench.py", "tests/test_readme.py", "tests/interop/", "tests/cli/test_demo")
"""Where tests are that take long. They begin, so that of two processes none is left alone with one of these
at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest first."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> Kind:
    """The kind of server under test: `epmdless serve`, or the C epmd with --reference."""
    return "c" if request.config.getoption("--reference") else "serve"
