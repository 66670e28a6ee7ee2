"""Who may ask, by address."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epmdless.policy import REMEMBERED_VERDICTS, AccessList, Network, is_local_peer, plain_address


def access(*networks: str) -> AccessList:
    return AccessList(map(Network.parse, networks))


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.0.0.1", "10.0.0.1/32"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("fd00::/8", "fd00::/8"),
        ("::1", "::1/128"),
        ("10.0.0.0/255.0.0.0", "10.0.0.0/8"),
    ],
)
def test_a_network_is_read(text: str, written: str) -> None:
    network = Network.parse(text)
    assert str(network) == written
    assert network == Network.parse(written)
    assert hash(network) == hash(Network.parse(written))


@pytest.mark.parametrize(
    "value", ["", "x", "10.0.0.1/8", "10.0.0.0/33", "fd00::1/8", "localhost", None, 1.5, []]
)
def test_what_is_no_network_is_refused_with_an_example(value: object) -> None:
    with pytest.raises(ValueError, match=r'write a network as in "10\.0\.0\.0/8"'):
        Network.parse(value)


def test_a_network_is_no_other_kind_of_thing() -> None:
    assert Network.parse("10.0.0.0/8") != "10.0.0.0/8"
    assert Network.parse("10.0.0.0/8") != Network.parse("10.0.0.0/9")


@pytest.mark.parametrize(
    "address", ["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3", "fd00::1", "fd00::1%eth0", "192.0.2.7"]
)
def test_an_address_in_a_network_is_allowed(address: str) -> None:
    assert access("10.0.0.0/8", "fd00::/8", "192.0.2.7").allows(address)


@pytest.mark.parametrize(
    "address", ["9.255.255.255", "11.0.0.0", "::ffff:11.0.0.0", "fe80::1", "192.0.2.8", "::10.0.0.1"]
)
def test_an_address_in_none_is_not(address: str) -> None:
    assert not access("10.0.0.0/8", "fd00::/8", "192.0.2.7").allows(address)


def test_an_ipv4_network_written_as_ipv6_allows_its_addresses() -> None:
    """The kernel reports 10.0.0.1 as ::ffff:10.0.0.1 on some sockets: an operator may copy it from a log."""
    assert access("::ffff:10.0.0.0/104").allows("10.0.0.1")


def test_an_empty_list_allows_nobody() -> None:
    assert not any(map(access().allows, ["127.0.0.1", "::1", "10.0.0.1"]))


def test_a_verdict_stays_the_same_when_it_is_remembered_and_when_it_was_forgotten() -> None:
    listed = access("10.0.0.0/24")
    for number in range(REMEMBERED_VERDICTS + 10):
        address = str(ipaddress.IPv4Address(0x0A000000 + number))
        assert listed.allows(address) is listed.allows(address) is (number < 256)
    assert listed.allows("10.0.0.1")
    assert not listed.allows("10.0.1.1")


@given(st.ip_addresses(), st.integers(0, 128))
def test_membership_is_that_of_the_block(
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address, prefix: int
) -> None:
    length = min(prefix, ip.max_prefixlen)
    block = ipaddress.ip_network(
        f"{plain_address(str(ip))}/{length}" if ip.version == 4 else f"{ip}/{length}", strict=False
    )
    assert AccessList([Network(block)]).allows(str(ip)) is (plain_address(str(ip)) in block)


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.255.0.9", "::1", "::ffff:127.0.0.1", "::ffff:127.9.9.9"])
def test_a_loopback_peer_is_local(peer: str) -> None:
    assert is_local_peer(peer, "10.0.0.1")


@pytest.mark.parametrize("address", ["10.0.0.1", "fd00::1", "fe80::1%eth0"])
def test_a_peer_with_our_own_address_is_local(address: str) -> None:
    assert is_local_peer(address, address)


@pytest.mark.parametrize(
    "peer", ["10.0.0.2", "fd00::2", "::ffff:10.0.0.2", "128.0.0.1", "fe80::1%eth1", "0.0.0.0"]
)
def test_any_other_peer_is_not_local(peer: str) -> None:
    assert not any(is_local_peer(peer, own) for own in ("10.0.0.1", "fd00::1", "127.0.0.1", "fe80::1%eth0"))
