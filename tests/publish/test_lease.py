"""What a TXT record says of a node: written, read again, and read as strangers may write it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epmdless.names import is_node_name
from epmdless.publish.lease import MAX_STRINGS, SKEW, Lease, live_leases_untrusted, read_lease_untrusted

LEAST = [b"node=shop-9001@b1.nodes.internal", b"port=9001", b"until=1732200000"]
LEASE = Lease("shop-9001@b1.nodes.internal", 9001, 1732200000, "b1.nodes.internal")


def test_the_least_is_name_port_and_time() -> None:
    assert LEASE.strings() == LEAST
    assert read_lease_untrusted(LEAST) == LEASE
    assert (LEASE.alive, LEASE.host) == ("shop-9001", "b1.nodes.internal")


def test_the_target_is_said_where_the_name_does_not_say_it() -> None:
    lease = Lease("a@10.0.1.23", 1, 2, "10-0-1-23.nodes.internal", ("10.0.1.23", "fd00::23"), ("shop", "web"))
    assert lease.strings() == [
        *(b"node=a@10.0.1.23", b"port=1", b"until=2", b"target=10-0-1-23.nodes.internal"),
        *(b"address=10.0.1.23", b"address=fd00::23", b"service=shop", b"service=web"),
    ]
    assert read_lease_untrusted(lease.strings()) == lease
    same = Lease("a@B1.Internal", 1, 2, "b1.internal")
    assert b"target=" not in b"".join(same.strings())
    assert read_lease_untrusted(same.strings()) == same


def test_strings_that_we_do_not_know_are_passed_over() -> None:
    assert read_lease_untrusted([*LEAST, b"colour=red", b"", b"odd"]) == LEASE


@pytest.mark.parametrize(
    "strings",
    [
        [],
        [b""],
        [b"v=spf1 -all"],
        LEAST[:2],
        LEAST[1:],
        [*LEAST, LEAST[0]],
        [*LEAST, b"port=9002"],
        [*LEAST, b"until=1"],
        [b"node=shop", *LEAST[1:]],
        [b"node=shop@", *LEAST[1:]],
        [b"node=shop@a@b", *LEAST[1:]],
        [b"node=sh\x1b[2Jop@b1", *LEAST[1:]],
        [b"node=shop\n@b1", *LEAST[1:]],
        [b"node=\xff@b1", *LEAST[1:]],
        [b"node=shop@b 1", *LEAST[1:]],
        [LEAST[0], b"port=0", LEAST[2]],
        [LEAST[0], b"port=65536", LEAST[2]],
        [LEAST[0], b"port=-1", LEAST[2]],
        [LEAST[0], b"port=\xd9\xa1", LEAST[2]],
        [*LEAST[:2], b"until="],
        [*LEAST[:2], b"until=1e9"],
        [*LEAST[:2], b"until=" + b"9" * 200],
        [*LEAST, b"target="],
        [*LEAST, b"target=a..b"],
        [*LEAST, b"target=a", b"target=b"],
        [*LEAST, b"target=" + b"a." * 125 + b"aaaaa"],
        [*LEAST, b"address=10.0.0.256"],
        [*LEAST, b"address=fe80::1%eth0"],
        [*LEAST, b"address=FD00::1"],
        [*LEAST, b"service=Shop"],
        [*LEAST, b"service=a.b"],
        [*LEAST, *[b"x=y"] * MAX_STRINGS],
    ],
)
def test_what_is_not_as_it_must_be_is_none_of_ours(strings: list[bytes]) -> None:
    assert read_lease_untrusted(strings) is None


@given(st.lists(st.binary(max_size=60) | st.sampled_from([*LEAST, b"target=b", b"service=s"]), max_size=8))
def test_whatever_is_read_can_be_shown_and_written(strings: list[bytes]) -> None:
    lease = read_lease_untrusted(strings)
    if lease is not None:
        assert is_node_name(lease.node)
        assert read_lease_untrusted(lease.strings()) == lease


def test_a_lease_is_over_some_seconds_after_its_end() -> None:
    """The clock of whoever judges may be ahead."""
    assert not LEASE.is_over(LEASE.until)
    assert not LEASE.is_over(LEASE.until + SKEW)
    assert LEASE.is_over(LEASE.until + SKEW + 0.1)


def test_of_a_node_the_latest_lease_counts() -> None:
    def text(node: str, until: int, port: int = 9001) -> list[bytes]:
        return Lease(node, port, until, "b1").strings()

    texts = [text("b@b1", 100), text("a@b1", 130, 9002), text("a@b1", 120), text("dead@b1", 94), [b"x"]]
    assert [(each.node, each.port, each.until) for each in live_leases_untrusted(texts, 100)] == [
        ("a@b1", 9002, 130),
        ("b@b1", 9001, 100),
    ]
