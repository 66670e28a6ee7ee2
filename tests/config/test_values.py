"""Durations, sizes, ports and hosts: what is read, what is refused, and how they are written."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from epmdless.config import MAX_SIZE, Duration, GrantPorts, HostPattern, HostPort, PortRange, Size
from epmdless.policy import Network

# Durations.


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("7s", 7),
        ("5m", 300),
        ("2h", 7200),
        ("1d", 86400),
        ("1.5s", 1.5),
        ("0s", 0),
        ("366d", 31622400),
    ],
)
def test_a_duration_is_a_number_with_a_unit(text: str, seconds: float) -> None:
    assert Duration.parse(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value",
    [
        *(
            "",
            "7",
            "s",
            "7 s",
            "-7s",
            "+7s",
            "7S",
            "7sec",
            ".5s",
            "5.s",
            "1e3s",
            "7s ",
            "٧s",
            "1m30s",
            "367d",
        ),
        *("inf", "nan", "9" * 400 + "s", 7, 7.0, None, True, ["7s"]),
    ],
)
def test_what_is_no_duration_is_refused_with_an_example(value: object) -> None:
    with pytest.raises(ValueError, match='a number with ms, s, m, h or d, as in "7s"'):
        Duration.parse(value)


@pytest.mark.parametrize(
    ("text", "written"), [("60s", "1m"), ("90s", "90s"), ("24h", "1d"), ("1500ms", "1500ms"), ("0s", "0ms")]
)
def test_a_duration_is_written_in_its_greatest_whole_unit(text: str, written: str) -> None:
    assert str(Duration.parse(text)) == written


@given(st.decimals(0, 1000, places=3), st.sampled_from(["ms", "s", "m", "h"]))
@example(1000.5, "s")
def test_a_duration_written_is_read_back(number: object, unit: str) -> None:
    duration = Duration.parse(f"{number}{unit}")
    assert Duration.parse(str(duration)) == pytest.approx(duration, rel=1e-9)


# Sizes.


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0B", 0),
        ("1000B", 1000),
        ("500kB", 500_000),
        ("64KiB", 65536),
        ("10MB", 10_000_000),
        ("10MiB", 10_485_760),
        ("1GB", 10**9),
        ("1GiB", 2**30),
        ("1048576GiB", MAX_SIZE),
    ],
)
def test_a_size_is_a_whole_number_with_a_unit(text: str, count: int) -> None:
    assert Size.parse(text) == count
    assert Size.parse(str(Size.parse(text))) == count


@pytest.mark.parametrize(
    "value",
    [
        *("", "64", "KiB", "64 KiB", "-1B", "+1B", "1.5MiB", "64kib", "64K", "64KB", "1TiB", "٧B", "1B "),
        *("1048577GiB", "9" * 400 + "B", 64, 64.0, None, True, ["64KiB"]),
    ],
)
def test_what_is_no_size_is_refused_with_an_example(value: object) -> None:
    with pytest.raises(ValueError, match=r'a whole number with B, kB, KiB, .* as in "64KiB"'):
        Size.parse(value)


@pytest.mark.parametrize(
    ("count", "written"),
    [
        (0, "0B"),
        (1000, "1kB"),
        (1024, "1KiB"),
        (1025, "1025B"),
        (1_500_000, "1500kB"),
        (2**30, "1GiB"),
        (5 * 2**20, "5MiB"),
        (10**9, "1GB"),
    ],
)
def test_a_size_is_written_in_its_shortest_exact_form(count: int, written: str) -> None:
    assert str(Size(count)) == written


@given(st.integers(0, MAX_SIZE) | st.integers(0, 2**20).map(lambda count: count * 1024))
def test_a_size_written_is_read_back(count: int) -> None:
    assert Size.parse(str(Size(count))) == count


# Ranges of ports.


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [("9100", 9100, 9100), ("9100-9199", 9100, 9199), ("1-65535", 1, 65535), ("80-80", 80, 80)],
)
def test_a_range_of_ports_has_both_its_ends(text: str, low: int, high: int) -> None:
    ports = PortRange.parse(text)
    assert (ports.low, ports.high) == (low, high)
    assert list(ports) == list(range(low, high + 1))
    assert len(ports) == high - low + 1
    assert low in ports
    assert high in ports
    assert low - 1 not in ports
    assert high + 1 not in ports
    assert str(low) not in ports


@pytest.mark.parametrize(
    "value",
    [
        *("", "-", "9100-", "-9100", "9100--9199", "9100-9199-9200", "0", "0-10", "65536", "1-65536"),
        *("9100 - 9199", " 9100", "9100:9199", "٩", "http", 9100, 9100.5, None, True, ["9100"]),
    ],
)
def test_what_is_no_range_of_ports_is_refused_with_an_example(value: object) -> None:
    with pytest.raises(ValueError, match='is not a port or a range as in "9100" or "9100-9199"'):
        PortRange.parse(value)


def test_a_range_the_wrong_way_round_is_written_the_right_way() -> None:
    with pytest.raises(ValueError, match="'9199-9100' is the wrong way round: write 9100-9199"):
        PortRange.parse("9199-9100")


@given(st.integers(1, 65535), st.integers(1, 65535))
def test_a_range_of_ports_written_is_read_back(one: int, other: int) -> None:
    ports = PortRange(min(one, other), max(one, other))
    assert PortRange.parse(str(ports)) == ports
    assert hash(PortRange.parse(str(ports))) == hash(ports)


@pytest.mark.parametrize(
    ("value", "low", "high"), [(4369, 4369, 4369), ("4369", 4369, 4369), ("9001-9010", 9001, 9010)]
)
def test_a_port_of_a_grant_may_be_a_number(value: object, low: int, high: int) -> None:
    ports = GrantPorts.parse(value)
    assert ports == PortRange(low, high)
    assert GrantPorts.parse(str(ports)) == ports


@pytest.mark.parametrize("value", [0, 65536, -1, True, 4369.0, None, [4369], "x", "0"])
def test_what_is_no_port_of_a_grant_is_refused_with_an_example(value: object) -> None:
    with pytest.raises(ValueError, match='is not a port or a range as in "9100" or "9100-9199"'):
        GrantPorts.parse(value)


# A host with its port.


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("gw1.internal:4370", "gw1.internal", 4370),
        ("GW1:1", "GW1", 1),
        ("gw1.internal.:65535", "gw1.internal.", 65535),
        ("10.0.2.7:4370", "10.0.2.7", 4370),
        ("[fd00::7]:4370", "fd00::7", 4370),
        ("[FD00:0::7]:4370", "fd00::7", 4370),
        ("[::ffff:10.0.2.7]:4370", "10.0.2.7", 4370),
    ],
)
def test_a_host_and_its_port_are_read(text: str, host: str, port: int) -> None:
    found = HostPort.parse(text)
    assert (found.host, found.port) == (host, port)
    assert HostPort.parse(str(found)) == found
    assert hash(HostPort.parse(str(found))) == hash(found)


def test_an_address_of_ipv6_is_written_with_brackets() -> None:
    assert str(HostPort("fd00::7", 4370)) == "[fd00::7]:4370"
    assert str(HostPort("gw1", 4370)) == "gw1:4370"
    assert repr(HostPort("gw1", 4370)) == "HostPort('gw1', 4370)"


def test_hosts_with_ports_are_compared_by_both() -> None:
    assert HostPort("gw1", 1) != HostPort("gw1", 2)
    assert HostPort("gw1", 1) != HostPort("gw2", 1)
    assert HostPort("gw1", 1) != "gw1:1"


@pytest.mark.parametrize(
    "value",
    [
        *("", ":", "gw1", "gw1:", ":4370", "gw1:0", "gw1:65536", "gw1:http", "gw1:4370:", "gw1: 4370"),
        *("fd00::7", "fd00::7:4370", "[fd00::7]", "[fd00::7]4370", "fd00::7]:4370", "[fd00::7:4370"),
        *("[gw1]:4370", "[10.0.2.7]:4370", "[]:4370", "[fe80::1%eth0]:4370", "10.0.2.7%1:4370"),
        *("https://gw1:4370", "user@gw1:4370", "gw1..x:4370", "a" * 64 + ":1", 4370, None, ["gw1:1"]),
    ],
)
def test_what_is_no_host_with_a_port_is_refused_with_examples(value: object) -> None:
    with pytest.raises(ValueError, match=r'is not HOST:PORT as in "gw1\.internal:4370"'):
        HostPort.parse(value)


# Patterns of hosts.


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("10.0.2.0/24", "10.0.2.0/24"),
        ("10.0.2.7", "10.0.2.7/32"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("FD00::/8", "fd00::/8"),
        ("::1", "::1/128"),
        ("::ffff:10.0.2.0/120", "10.0.2.0/24"),
    ],
)
def test_what_can_be_a_network_is_one(text: str, network: str) -> None:
    pattern = HostPattern.parse(text)
    assert pattern.network == Network.parse(network)
    assert str(pattern) == network
    assert HostPattern.parse(str(pattern)) == pattern
    assert hash(HostPattern.parse(str(pattern))) == hash(pattern)


@pytest.mark.parametrize("text", ["*", "b1", "*.az-b.internal", "B?.internal.", "db-1", "1.example", "?1*.x"])
def test_another_pattern_is_a_glob_over_names(text: str) -> None:
    pattern = HostPattern.parse(text)
    assert (pattern.text, str(pattern), pattern.network) == (text, text, None)
    assert repr(pattern) == f"HostPattern({text!r})"


@pytest.mark.parametrize(
    "value",
    [
        *("10.0.2.0/33", "10.0.2.7/24", "10.0.2.0/", "/24", "b1/24", "*/0", "fd00::/129", "fd00::1/64"),
        *("fd00:::1", "b1:4370", "[fd00::1]", "10.0.2.7:4370"),
    ],
)
def test_what_was_meant_as_a_network_and_is_none_is_no_glob(value: object) -> None:
    with pytest.raises(ValueError, match="write a network as in"):
        HostPattern.parse(value)


@pytest.mark.parametrize(
    "value",
    [
        *(
            "",
            " ",
            "10.0.2.*",
            "10.0.2.300",
            "10.0.2",
            "10.?",
            "127.1",
            "2130706433",
            "fe80::1%eth0",
            "b 1",
            "b1\n",
            "é.x",
        ),
        *("[ab].internal", "app@b1", "a" * 254, 10, None, True, ["b1"]),
    ],
)
def test_what_is_no_pattern_of_hosts_is_refused_with_examples(value: object) -> None:
    with pytest.raises(ValueError, match=r'is not a pattern of host names as in "\*\.az-b\.internal" or'):
        HostPattern.parse(value)
