"""Links through a hop: a relay, a gateway, and TLS between them."""

from collections.abc import Iterator

import pytest

from epmdless import metrics
from epmdless.hop import hops
from tests.support.deadline import eventually
from tests.support.hops import CLIENT, HOP, Certified, hop_to
from tests.support.link_sides import FarHost, linked, passes
from tests.support.relays import WITHIN, dialling


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


def test_a_fault_in_keeping_connections_ready_ends_no_link(
    far_host: FarHost, certified: Certified, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hops, "FAULT_SECONDS", 0.01)
    with hop_to(far_host, certified) as ends, dialling(far_host) as near:
        far = linked(near, far_host)
        ends.near.wait_for_links(1)
        (gateway,) = next(iter(ends.near.hops)).gateways

        async def fails() -> None:
            raise RuntimeError("secret")

        with monkeypatch.context() as patched:
            patched.setattr(gateway, "connect", fails)
            ends.near.call(gateway.drop_ready)
            eventually(lambda: ends.near.counts.value(metrics.INTERNAL_ERRORS), within=WITHIN, what="a fault")
        assert passes(near, far)
        eventually(lambda: gateway.ready, within=WITHIN, what="connections that are ready")
        assert "secret" not in str(ends.near.lines)
        ends.near.lines[:] = [line for line in ends.near.lines if line["event"] != "internal error"]
