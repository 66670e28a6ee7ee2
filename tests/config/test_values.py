"""Durations and ranges of ports: what is read, what is refused, and how they are written."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from epmdless.config import Duration, PortRange

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
