"""The address towards others, from tables that are made up and from real ones in networks of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from epmdless.platforms.default_route import default_address, only_address
from epmdless.platforms.facts import PlatformError
from tests.support.deadline import eventually
from tests.support.machine import Machine

MAIN = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n"
LOCAL = "     |-- {0}\n        /32 host LOCAL\n     |-- 10.0.0.255\n        /32 link BROADCAST\n"
LOOPBACK_6 = "00000000000000000000000000000001 01 80 10 80       lo\n"
LINK_6 = "fe800000000000000042acfffe110002 02 40 20 80     eth0\n"
GLOBAL_6 = "fd000006000000000000000000000{0:03x} 02 40 00 80     eth0\n"


def tables(folder: Path, ipv4: list[str], ipv6: list[int]) -> tuple[Path, Path]:
    trie, inet6 = folder / "fib_trie", folder / "if_inet6"
    trie.write_text(MAIN + "".join(LOCAL.format(each) for each in ("127.0.0.1", *ipv4)) * 2)
    inet6.write_text(LOOPBACK_6 + LINK_6 + "".join(GLOBAL_6.format(each) for each in ipv6))
    return trie, inet6


@pytest.mark.parametrize(
    ("ipv4", "ipv6", "address"),
    [
        (["172.18.0.2"], [], "172.18.0.2"),
        (["172.18.0.2"], [1, 2], "172.18.0.2"),
        (["169.254.1.1"], [1], "fd00:6::1"),
        ([], [1], "fd00:6::1"),
    ],
)
def test_the_only_address(tmp_path: Path, ipv4: list[str], ipv6: list[int], address: str) -> None:
    assert only_address(*tables(tmp_path, ipv4, ipv6)) == address


@pytest.mark.parametrize(
    ("ipv4", "ipv6", "said"),
    [
        (["172.18.0.2", "172.19.0.2"], [1], "several addresses"),
        ([], [1, 2], "several addresses"),
        ([], [], "no address"),
    ],
)
def test_where_there_is_no_such_address(tmp_path: Path, ipv4: list[str], ipv6: list[int], said: str) -> None:
    with pytest.raises(PlatformError, match=f"^no default route, and {said}: give --address$"):
        only_address(*tables(tmp_path, ipv4, ipv6))


def test_a_temporary_address_is_not_the_only_one(tmp_path: Path) -> None:
    trie, inet6 = tables(tmp_path, [], [1])
    inet6.write_text(inet6.read_text() + GLOBAL_6.format(2).replace(" 80 ", " 01 "))
    assert only_address(trie, inet6) == "fd00:6::1"


def test_a_kernel_without_these_tables(tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match="no address"):
        only_address(tmp_path / "none", tmp_path / "neither")


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    hosts = tmp_path / "hosts"
    hosts.write_text("")
    made = Machine("b1.internal", hosts)
    made.run("ip link add eth0 type veth peer name eth1; ip link set eth0 up; ip link set eth1 up")
    yield made
    made.close()


def asked(machine: Machine) -> tuple[str, str]:
    return machine.call(lambda: trio.run(default_address))


@pytest.mark.parametrize(
    ("script", "found"),
    [
        (
            (
                "ip address add 10.0.0.7/24 dev eth0; ip address add 10.9.0.1/24 dev eth1;"
                " ip -6 address add fd00:6::1/64 dev eth0 nodad;"
                " ip route add default via 10.0.0.1; ip -6 route add default dev eth0"
            ),
            ("10.0.0.7", "default route"),
        ),
        (
            "ip -6 address add fd00:6::1/64 dev eth0 nodad; ip -6 route add default dev eth0",
            ("fd00:6::1", "default route"),
        ),
        ("ip address add 172.18.0.2/16 dev eth0", ("172.18.0.2", "only address")),
        ("ip -6 address add fd00:6::1/64 dev eth0 nodad", ("fd00:6::1", "only address")),
    ],
    ids=["both", "IPv6 only", "no way out", "no way out, IPv6 only"],
)
def test_a_real_network(machine: Machine, script: str, found: tuple[str, str]) -> None:
    machine.run(script)
    assert asked(machine) == found


def test_no_default_route_and_nothing_to_choose_from(machine: Machine) -> None:
    with pytest.raises(PlatformError, match="no default route, and no address: give --address"):
        asked(machine)
    machine.run("ip address add 172.18.0.2/16 dev eth0; ip address add 172.19.0.2/16 dev eth1")
    with pytest.raises(PlatformError, match="no default route, and several addresses: give --address"):
        asked(machine)


def test_no_name_is_made_of_a_temporary_address(machine: Machine) -> None:
    """RFC 8981: a host prefers it for what it begins, and has another one tomorrow."""
    machine.run(
        "cd /proc/sys/net/ipv6/conf/eth0; echo 0 >accept_dad; echo 2 >use_tempaddr;"
        " ip -6 route add default dev eth0;"
        " ip -6 address add fd00:6::1/64 dev eth0 nodad mngtmpaddr"
    )
    usable = "ip -6 address show dev eth0 temporary -tentative"
    eventually(lambda: machine.run(usable), within=10.0, what="a temporary address")
    assert asked(machine) == ("fd00:6::1", "default route")


def test_without_ipv6(machine: Machine) -> None:
    machine.run("ip address add 172.18.0.2/16 dev eth0; echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6")
    assert asked(machine) == ("172.18.0.2", "only address")
