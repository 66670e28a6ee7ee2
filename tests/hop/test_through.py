"""Links through a hop: a relay, a gateway, and TLS between them."""

from collections.abc import Iterator

import pytest

from tests.support.hops import CLIENT, HOP, Certified, hop_to
from tests.support.link_sides import FarHost, linked, passes
from tests.support.relays import dialling


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Certified:
    return Certified.in_folder(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def far_host() -> Iterator[FarHost]:
    with FarHost() as far_host:
        yield far_host


@pytest.mark.parametrize("secure", [True, False])
@pytest.mark.parametrize("ready", [0, 2])
def test_a_link_passes(far_host: FarHost, certified: Certified, secure: bool, ready: int) -> None:
    with hop_to(far_host, certified if secure else None, hop={"ready": ready}) as ends:
        with dialling(far_host) as near:
            far = linked(near, far_host)
            assert passes(near, far)
            far.sock.close()
            assert near.end() == (b"", "closed")
        here = ends.near.end_of(near)
        (there,) = ends.far.wait_for_lines("end", 1)
        assert (here["end"], there["end"]) == ("far_closed", "far_closed")
        assert here["tunnel"] == there["tunnel"]
        assert here["hop"] == HOP
        assert there["client"] == (CLIENT if secure else "127.0.0.1")
        assert (there["near"], there["far"]) == (here["near"], here["far"])
