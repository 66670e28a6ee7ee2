"""The source `static` says what the configuration says, once."""

from trio.testing import MockClock

from epmdless.cluster.peers import Known, Peer
from epmdless.cluster.sources.build import build
from epmdless.cluster.sources.static import StaticNames
from epmdless.config import StaticSource
from tests.cluster.sources.saying import AROUND, heard

SECTION = StaticSource(nodes=("app@10.0.0.7", "app@fd00::7"))


async def test_it_says_its_names_once_and_never_ends(autojump_clock: MockClock) -> None:
    said = await heard(StaticNames(SECTION), seconds=10**6)
    assert said == [Known((Peer("app@10.0.0.7"), Peer("app@fd00::7")))]


async def test_run_again_it_says_them_again(autojump_clock: MockClock) -> None:
    source = StaticNames(SECTION)
    assert await heard(source, seconds=1) == await heard(source, seconds=1)


def test_it_is_what_the_configuration_describes() -> None:
    assert isinstance(build("s", SECTION, AROUND, "epmdless.toml"), StaticNames)
