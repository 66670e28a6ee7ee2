"""Addresses as operators and epmd's variables write them."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epmdless.addresses import (
    Endpoint,
    ListenPlan,
    address_list,
    all_interfaces,
    environment_port,
    epmd_plan,
    parse_port,
)
from epmdless.errors import ConfigError, EpmdlessError

IPS = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
PORTS = st.integers(0, 65535)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("10.0.0.1", "10.0.0.1", 4369),
        ("10.0.0.1:80", "10.0.0.1", 80),
        ("10.0.0.1:0", "10.0.0.1", 0),
        ("::1", "::1", 4369),
        ("::", "::", 4369),
        ("[::1]", "::1", 4369),
        ("[::1]:80", "::1", 80),
        ("fe80::1%lo", "fe80::1%lo", 4369),
        ("[fe80::1%lo]:80", "fe80::1%lo", 80),
        (" 10.0.0.1:80\n", "10.0.0.1", 80),
    ],
)
def test_an_endpoint_is_read(text: str, host: str, port: int) -> None:
    assert Endpoint.parse(text, 4369) == Endpoint(host, port)


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", ":80", "localhost", "localhost:80", "10.0.0", "10.0.0.256", "10.0.0.1 80", "1.2.3.4/8"),
        *("[]", "[]:80", "[::1]80", "[::1]]", "::g", "::1::2", "[localhost]:80"),
        *("10.0.0.1:", "10.0.0.1:x", "10.0.0.1:-1", "10.0.0.1:65536", "[::1]:", "[::1]:123456", "[::1]:٣"),
    ],
)
def test_what_is_no_endpoint_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(EpmdlessError, match="is not"):
        Endpoint.parse(text, 4369)


@pytest.mark.parametrize("text", ["[::1", "[::1:80", "[10.0.0.1:80"])
def test_a_bracket_that_is_not_closed_is_refused(text: str) -> None:
    """Otherwise `[::1:4369` is the address ::1:4369, which nobody meant."""
    with pytest.raises(EpmdlessError, match="is not"):
        Endpoint.parse(text, 4369)


@given(IPS, PORTS)
def test_an_endpoint_written_is_read_back(
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int
) -> None:
    endpoint = Endpoint(str(ip), port)
    assert Endpoint.parse(str(endpoint), 1) == endpoint


@given(st.text())
def test_arbitrary_text_is_an_endpoint_or_an_error(text: str) -> None:
    try:
        endpoint = Endpoint.parse(text, 4369)
    except EpmdlessError:
        return
    ipaddress.ip_address(endpoint.host)
    assert 0 <= endpoint.port <= 65535


@given(st.text(max_size=8))
def test_a_port_is_a_decimal_number_in_range_or_an_error(text: str) -> None:
    try:
        port = parse_port(text, lowest=1)
    except EpmdlessError:
        return
    assert 1 <= port <= 65535
    assert text.lstrip("0") == str(port)


@pytest.mark.parametrize(
    "text", ["70000", "65536", "0", "-1", "+1", "1.0", "0x10", "", " 1", "1_0", "²", "99999999"]
)
def test_the_mistakes_that_the_reference_takes_are_refused(text: str) -> None:
    with pytest.raises(EpmdlessError, match="a number from 1 to 65535"):
        parse_port(text, lowest=1)


def test_port_0_is_allowed_where_the_kernel_may_choose() -> None:
    assert parse_port("0") == 0


def test_epmd_listens_on_all_interfaces_and_may_lack_ipv6() -> None:
    plan = ListenPlan((Endpoint("0.0.0.0", 4369),), (Endpoint("::", 4369),))
    assert epmd_plan({}) == all_interfaces(4369) == plan


def test_erl_epmd_port_moves_all_of_it() -> None:
    assert epmd_plan({"ERL_EPMD_PORT": "5000"}) == all_interfaces(5000)


@pytest.mark.parametrize("listed", ["", " ", "\t"])
def test_an_empty_erl_epmd_address_means_none(listed: str) -> None:
    assert epmd_plan({"ERL_EPMD_ADDRESS": listed}) == all_interfaces(4369)


def test_the_loopback_addresses_are_added_to_listed_ones() -> None:
    plan = epmd_plan({"ERL_EPMD_ADDRESS": "10.0.0.1, 10.0.0.2:99,,10.0.0.1", "ERL_EPMD_PORT": "5000"})
    assert plan.required == (Endpoint("10.0.0.1", 5000), Endpoint("10.0.0.2", 99))
    assert plan.optional == (Endpoint("127.0.0.1", 5000), Endpoint("::1", 5000))


@pytest.mark.parametrize(
    ("listed", "added"),
    [
        ("127.0.0.1", ["::1"]),
        ("0.0.0.0", ["::1"]),
        ("::1", ["127.0.0.1"]),
        ("::", ["127.0.0.1"]),
        ("0.0.0.0,::", []),
        ("127.0.0.1,::1", []),
    ],
)
def test_a_loopback_address_that_is_covered_is_not_added(listed: str, added: list[str]) -> None:
    plan = address_list(listed, 4369, "-address")
    assert [endpoint.host for endpoint in plan.required] == listed.split(",")
    assert [endpoint.host for endpoint in plan.optional] == added


def test_a_bad_entry_names_its_flag_or_variable() -> None:
    with pytest.raises(ConfigError, match=r"'b1\.internal' is not") as caught:
        address_list("127.0.0.1,b1.internal", 4369, "-address")
    assert caught.value.source == "-address"


def test_no_variable_and_an_empty_one_are_4369() -> None:
    assert environment_port({}) == environment_port({"ERL_EPMD_PORT": ""}) == 4369


@pytest.mark.parametrize("text", ["0", "70000", "epmd", "-1"])
def test_a_bad_erl_epmd_port_is_an_error_with_its_name(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        environment_port({"ERL_EPMD_PORT": text})
    assert str(caught.value) == f"ERL_EPMD_PORT: {text!r} is not a port: a number from 1 to 65535"
