"""What a gateway allows, by client, host, port, the address that is dialled, and node."""

import ipaddress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from epmdless.grants import SPECIAL, Allowance, Denied, Grant, Grants
from epmdless.policy import Network
from epmdless.rules import Glob

WIDE = ("0.0.0.0/0", "::/0")


def grant(*hosts: str, ports: tuple[range, ...] = (range(9001, 9011),), **others: object) -> Grant:
    """A grant of names and networks, told apart by their slash."""
    number, client, nodes = others.get("number", 0), others.get("client", "*"), others.get("nodes", ("*",))
    assert isinstance(number, int)
    assert isinstance(nodes, tuple)
    return Grant(
        number,
        Glob(str(client), ignore_case=True),
        tuple(Glob(host, ignore_case=True) for host in hosts if "/" not in host),
        tuple(Network.parse(host) for host in hosts if "/" in host),
        ports,
        tuple(map(Glob, nodes)),
    )


def allowance(*grants: Grant) -> Allowance:
    return Grants(grants).for_client(["relay.az-a.internal"])


def judged(*hosts: str, host: str = "b1.internal", address: str = "10.0.2.7") -> tuple[Grant, ...] | Denied:
    """The verdict of one grant of these hosts."""
    return allowance(grant(*hosts)).judge(host, 9001, address)


def denied(verdict: object) -> Denied:
    assert isinstance(verdict, Denied)
    return verdict


# Clients.


@pytest.mark.parametrize(
    ("client", "names"),
    [
        ("relay.az-a.internal", ["relay.az-a.internal"]),
        ("relay.az-a.internal", ["localhost", "Relay.AZ-A.internal", "127.0.0.1"]),
        ("*.az-a.internal", ["relay.az-a.internal"]),
        ("spiffe://internal/relay/*", ["relay", "spiffe://internal/relay/az-a"]),
        ("10.0.1.*", ["10.0.1.5"]),
        ("*", ["x"]),
    ],
)
def test_a_grant_is_for_a_client_with_a_name_that_fits(client: str, names: list[str]) -> None:
    found = Grants([grant("*", client=client)]).for_client(names)
    assert not found.is_empty
    assert found.grants == (grant("*", client=client),)


@pytest.mark.parametrize(
    ("client", "names"),
    [
        ("relay.az-a.internal", ["relay.az-b.internal"]),
        ("relay.az-a.internal", ["relay.az-a.internal.evil.example"]),
        ("relay.az-a.internal", ["*.az-a.internal"]),  # a certificate's wildcard is no pattern here
        ("*.az-a.internal", ["az-a.internal"]),
        ("*", []),
    ],
)
def test_another_client_gets_nothing(client: str, names: list[str]) -> None:
    found = Grants([grant("*", client=client)]).for_client(names)
    assert found.is_empty
    assert found.plain() == []
    assert denied(found.judge("b1", 9001, "10.0.2.7")).rule == "gateway.allow"
    assert found.ask("b1", 9001) == Denied("gateway.allow", "no entry is for this client")


def test_a_client_gets_all_grants_that_are_for_it() -> None:
    grants = Grants([grant("*", number=n, client=c) for n, c in enumerate(("a", "b", "*"))])
    assert [each.number for each in grants.for_client(["A"]).grants] == [0, 2]
    assert [each.number for each in grants.for_client(["x"]).grants] == [2]


def test_grants_are_a_sequence_of_values() -> None:
    one, other = grant("*"), grant("b1", number=1)
    grants = Grants([one, other])
    assert (len(grants), grants[1], grants[:1], list(grants)) == (2, other, (one,), [one, other])
    assert grants == Grants([one, other])
    assert grants != Grants([other, one])
    assert hash(grants) == hash(Grants([one, other]))


# Hosts.


@pytest.mark.parametrize(
    ("hosts", "host"),
    [
        (["b1.internal"], "b1.internal"),
        (["*.internal"], "B1.Internal"),
        (["B?.internal"], "b1.internal"),
        (["*.internal"], "b1.internal."),
        (["10.0.2.0/24"], "b1.internal"),
        (["10.0.2.0/24"], "10.0.2.7"),
        (["10.0.2.0/24"], "::ffff:10.0.2.7"),
        (["*.internal", "10.0.2.0/24"], "b1.internal"),
        (["*.internal", "10.0.2.0/24"], "10.0.2.7"),
        (["fd00::/8", "10.0.2.7/32"], "b1.internal"),
        (["*"], "xn--bcher-kva.1x"),
        (["*"], "localhost"),  # where its address is none of loopback, as here
    ],
)
def test_a_host_is_allowed(hosts: list[str], host: str) -> None:
    assert judged(*hosts, host=host) == (grant(*hosts),)


@pytest.mark.parametrize(
    ("hosts", "host", "detail"),
    [
        (["*.internal"], "b1.example", "b1.example is not among the names"),
        (["*.internal"], "b1.internal.example", "is not among the names"),
        (["*.internal", "10.0.2.0/24"], "b1.example", "is not among the names"),
        (["*"], "10.0.2.7", "10.0.2.7 is an address, where only names are allowed"),
        (["*"], "::ffff:10.0.2.7", "is an address, where only names are allowed"),
        (["10.0.3.0/24"], "b1.internal", "10.0.2.7, to which b1.internal leads, is not in the networks"),
        (["10.0.3.0/24"], "10.0.2.7", "10.0.2.7 is not in the networks"),
        (["*.internal", "10.0.3.0/24"], "b1.internal", "is not in the networks"),
        (["::/0"], "b1.internal", "is not in the networks"),
    ],
)
def test_another_host_is_denied_by_the_hosts_of_the_grant(hosts: list[str], host: str, detail: str) -> None:
    found = denied(judged(*hosts, host=host))
    assert found.rule == "gateway.allow[0].hosts"
    assert detail in found.detail


@pytest.mark.parametrize(
    "host",
    [
        *("127.1", "2130706433", "0x7f000001", "0177.0.0.1", "10.0.2.300", "b1.0x7f", "b1.1", "127.1."),
        *("", ".", "..", "b1..", "b1..internal", "[::1]", "b1:9001", "b1/24", "b1 ", "b1\n", "b1\0", "*"),
        *("ⓛocalhost", "b1。internal", "a" * 64, "user@b1", "b1%eth0", "10.0.2.7%x\r\n"),
    ],
)
def test_what_is_neither_name_nor_address_is_always_denied(host: str) -> None:
    """Resolvers take numbers for addresses (inet_aton), and other letters for these (IDNA)."""
    for hosts in (["*"], ["10.0.2.0/24"], ["*", *WIDE, "127.0.0.0/8"]):
        assert denied(judged(*hosts, host=host)).detail == f"{host} is neither a host name nor an address"
        assert allowance(grant(*hosts)).ask(host, 9001) is not None


def test_an_address_that_cannot_be_read_is_denied() -> None:
    assert denied(judged("*", *WIDE, address="b1.internal")).rule == "gateway.allow"


def test_a_name_that_suddenly_leads_elsewhere_opens_nothing() -> None:
    """DNS rebinding: each address is judged when it is dialled, whatever the name was found to be before."""
    mine = allowance(grant("*.internal", "10.0.2.0/24"))
    assert mine.ask("b1.internal", 9001) is None
    assert not isinstance(mine.judge("b1.internal", 9001, "10.0.2.7"), Denied)
    for address in ("127.0.0.1", "169.254.169.254", "10.0.3.7", "::1", "64:ff9b::a00:207"):
        assert denied(mine.judge("b1.internal", 9001, address)).rule == "gateway.allow[0].hosts"


# Special addresses.

SPECIAL_ADDRESSES = [
    ("127.0.0.1", "loopback", "127.0.0.0/8"),
    ("127.255.255.255", "loopback", "127.255.0.0/16"),
    ("::1", "loopback", "::1/128"),
    ("169.254.169.254", "link-local", "169.254.169.254/32"),
    ("fe80::1", "link-local", "fe80::/10"),
    ("fe80::1%eth0", "link-local", "fe80::/64"),
    ("0.0.0.0", "unspecified", "0.0.0.0/8"),
    ("0.1.2.3", "unspecified", "0.0.0.0/8"),
    ("::", "unspecified", "::/128"),
    ("224.0.0.1", "multicast", "224.0.0.0/4"),
    ("ff02::1", "multicast", "ff00::/8"),
    ("255.255.255.255", "broadcast", "255.255.255.255/32"),
    ("fd00:ec2::254", "metadata", "fd00:ec2::254/128"),
    ("::ffff:127.0.0.1", "loopback", "127.0.0.0/8"),
    ("::ffff:169.254.169.254", "link-local", "169.254.0.0/16"),
    ("64:ff9b::7f00:1", "loopback", "127.0.0.0/8"),
    ("64:ff9b::a9fe:a9fe", "link-local", "169.254.0.0/16"),
    ("2002:7f00:1::", "loopback", "127.0.0.0/8"),
    ("2002:a9fe:a9fe::1", "link-local", "169.254.0.0/16"),
    ("2001:0:4136:e378:8000:63bf:80ff:fffe", "loopback", "127.0.0.0/8"),  # Teredo: inverted bits
    ("2001:0:7f00:1:8000:63bf:3fff:fdd2", "loopback", "127.0.0.0/8"),  # Teredo: its server
]


@pytest.mark.parametrize(("address", "meaning", "naming"), SPECIAL_ADDRESSES)
def test_a_special_address_is_open_only_to_a_grant_that_names_it(
    address: str, meaning: str, naming: str
) -> None:
    for hosts in (["*"], WIDE, ["*", *WIDE]):
        found = denied(judged(*hosts, address=address))
        assert found.rule == "gateway.allow[0].hosts"
        assert f"is a {meaning} address, which no network names" in found.detail
    assert judged(*WIDE, naming, address=address) == (grant(*WIDE, naming),)


@pytest.mark.parametrize(
    ("networks", "address"),
    [
        (["126.0.0.0/7"], "127.0.0.1"),
        (["169.0.0.0/8", "127.0.0.0/8"], "169.254.169.254"),
        (["0.0.0.0/0", "127.0.0.2/32"], "127.0.0.1"),
        (["::/0", "::1/128"], "fe80::1"),
        (["fd00::/8"], "fd00:ec2::254"),
        (["64:ff9b::/96"], "64:ff9b::7f00:1"),
        (["::/0"], "2002:7f00:1::"),
    ],
)
def test_a_wider_or_another_network_names_no_special_address(networks: list[str], address: str) -> None:
    denied(judged(*networks, address=address))


def test_a_special_address_is_not_opened_by_two_grants_together() -> None:
    mine = allowance(grant("*", number=0), grant("127.0.0.0/8", ports=(range(80, 81),), number=1))
    assert denied(mine.judge("b1", 9001, "127.0.0.1")).rule == "gateway.allow[1].ports"
    assert mine.judge("b1", 80, "127.0.0.1") == (mine.grants[1],)


def test_an_address_that_carries_a_usual_one_is_judged_by_its_own_network() -> None:
    assert not isinstance(judged("64:ff9b::/96", address="64:ff9b::a00:207"), Denied)
    assert isinstance(judged("10.0.0.0/8", address="64:ff9b::a00:207"), Denied)
    assert not isinstance(judged("*", address="2002:a00:207::1"), Denied)


# Ports, and which grant is blamed.


@pytest.mark.parametrize("port", [4369, 9001, 9010])
def test_a_port_is_allowed_by_any_of_the_ranges(port: int) -> None:
    mine = allowance(grant("*", ports=(range(9001, 9011), range(4369, 4370))))
    assert mine.ask("b1", port) is None
    assert mine.judge("b1", port, "10.0.2.7") == mine.grants


@pytest.mark.parametrize("port", [-1, 0, 4368, 9000, 9011, 65536])
def test_another_port_is_denied_by_the_ports_of_the_grant(port: int) -> None:
    mine = allowance(grant("*", ports=(range(9001, 9011), range(4369, 4370)), number=3))
    expected = Denied("gateway.allow[3].ports", f"port {port} is not in the ports")
    assert mine.ask("b1", port) == mine.judge("b1", port, "10.0.2.7") == expected


@pytest.mark.parametrize(
    ("host", "port", "address", "rule"),
    [
        ("b1.az-b", 80, "10.0.2.7", "gateway.allow[0].ports"),
        ("b1.az-b", 9001, "10.0.9.9", "gateway.allow[0].hosts"),
        ("b1.az-c", 9001, "10.0.3.7", "gateway.allow[1].ports"),
        ("b1.az-d", 9001, "10.0.2.7", "gateway.allow[0].hosts"),
        ("b1.az-d", 9100, "10.0.2.7", "gateway.allow[1].hosts"),
        ("b1.az-d", 80, "10.0.2.7", "gateway.allow"),
        ("b1.az-b", 80, "10.0.9.9", "gateway.allow"),
        ("10.0.2.7", 9100, "10.0.2.7", "gateway.allow[0].ports"),
        ("10.0.9.9", 80, "10.0.9.9", "gateway.allow"),
    ],
)
def test_the_grant_that_came_nearest_is_named(host: str, port: int, address: str, rule: str) -> None:
    one = grant("*.az-b", "10.0.2.0/24", number=0)
    other = grant("*.az-c", number=1, ports=(range(9100, 9200),))
    assert denied(allowance(one, other).judge(host, port, address)).rule == rule


def test_a_name_that_leads_elsewhere_is_nearer_than_another_name() -> None:
    mine = allowance(grant("*.az-c", number=0), grant("*.az-b", "10.0.2.0/24", number=1))
    assert denied(mine.judge("b1.az-b", 9001, "10.0.9.9")).rule == "gateway.allow[1].hosts"


def test_all_grants_that_allow_are_found() -> None:
    grants = [grant("*", number=0), grant("b1", number=1), grant("b2", number=2), grant(*WIDE, number=3)]
    found = allowance(*grants).judge("b1", 9001, "10.0.2.7")
    assert not isinstance(found, Denied)
    assert [each.number for each in found] == [0, 1, 3]


@pytest.mark.parametrize(
    ("host", "port", "is_possible"),
    [
        ("b1.az-b", 9001, True),
        ("b1.az-b.", 9001, True),
        ("b1.az-b", 80, False),
        ("b1.az-c", 9001, False),
        ("10.0.2.7", 9001, True),
        ("10.0.3.7", 9001, False),
        ("127.0.0.1", 9001, False),
        ("::1", 9001, False),
    ],
)
def test_what_nothing_could_allow_is_denied_before_it_is_resolved(
    host: str, port: int, is_possible: bool
) -> None:
    assert (allowance(grant("*.az-b", "10.0.2.0/24")).ask(host, port) is None) is is_possible


# Nodes.


@pytest.mark.parametrize(
    ("globs", "node"),
    [
        (("*",), "app@b1.internal"),
        (("app",), "app@b1.internal"),
        (("app-*", "db"), "db@b1.internal"),
        (("app@*",), "app@b1.internal"),
        (("*@b1.*",), "app@b1.internal"),
        (("app",), "app"),
        (("app",), "app@b1@b2"),
    ],
)
def test_a_node_is_allowed_by_its_alive_name_or_its_whole_name(globs: tuple[str, ...], node: str) -> None:
    mine = allowance(grant("*", nodes=globs))
    assert mine.judge_node(mine.grants, node) is None


@pytest.mark.parametrize(
    ("globs", "node"),
    [
        (("app",), "App@b1.internal"),
        (("app",), "app-1@b1.internal"),
        (("*internal",), "app@b1.internal"),
        (("app@b1",), "app@b1.internal"),
        (("*@b1",), "app"),
        (("app", "db"), ""),
    ],
)
def test_another_node_is_denied_by_the_nodes_of_the_grant(globs: tuple[str, ...], node: str) -> None:
    mine = allowance(grant("*", nodes=globs, number=2))
    expected = Denied("gateway.allow[2].nodes", f"{node} is not among the nodes")
    assert mine.judge_node(mine.grants, node) == expected


def test_a_node_is_judged_by_the_grants_that_allowed_the_connection() -> None:
    mine = allowance(grant("*", nodes=("app",), number=0), grant("*", nodes=("db",), number=1))
    assert mine.judge_node(mine.grants, "db@b1") is None
    assert mine.judge_node(mine.grants[:1], "db@b1") is not None
    assert denied(mine.judge_node((), "db@b1")).rule == "gateway.allow"


@pytest.mark.parametrize(
    ("nodes", "is_restricted"),
    [
        ([("*",)], False),
        ([("app", "**")], False),
        ([("app",)], True),
        ([("?*",)], True),
        ([("*@*",)], True),
        ([("app",), ("*",)], False),
        ([("app",), ("db",)], True),
        ([], True),
    ],
)
def test_nodes_are_restricted_where_no_grant_is_for_all(
    nodes: list[tuple[str, ...]], is_restricted: bool
) -> None:
    grants = [grant("*", nodes=globs) for globs in nodes]
    assert allowance(*grants).restricts_nodes(grants) is is_restricted


def test_an_allowance_is_shown_as_it_would_be_written() -> None:
    ports = (range(4369, 4370), range(9001, 9011))
    shown = allowance(grant("*.AZ-B", "10.0.2.0/24", ports=ports, nodes=("app-*",)), grant("*")).plain()
    assert shown == [
        {"hosts": ["*.az-b", "10.0.2.0/24"], "ports": ["4369", "9001-9010"], "nodes": ["app-*"]},
        {"hosts": ["*"], "ports": ["9001-9010"], "nodes": ["*"]},
    ]


# Properties.

ADDRESSES = st.ip_addresses() | st.sampled_from([each[0] for each in SPECIAL_ADDRESSES]).map(
    lambda text: ipaddress.ip_address(text.partition("%")[0])
)


@st.composite
def networks(draw: st.DrawFn) -> str:
    """A network, often around an address that hypothesis likes."""
    address = draw(ADDRESSES)
    length = draw(st.integers(0, address.max_prefixlen))
    return str(ipaddress.ip_network((address, length), strict=False))


HOSTS = st.sampled_from(["*", "b1", "b*.internal"])
NAMES = st.sampled_from(["b1", "b1.internal.", "x.example", "10.0.2.7", "::1", "127.1"])


@given(st.lists(networks(), min_size=1, max_size=3), st.lists(HOSTS, max_size=2), NAMES, ADDRESSES)
@example(["::/0"], [], "b1", ipaddress.ip_address("::ffff:10.0.0.1"))
@example(["0.0.0.0/0"], [], "b1", ipaddress.ip_address("::ffff:10.0.0.1"))
def test_no_address_outside_the_networks_is_ever_allowed(
    blocks: list[str],
    names: list[str],
    host: str,
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    mine = allowance(grant(*names, *blocks))
    found = mine.judge(host, 9001, str(address))
    plain = getattr(address, "ipv4_mapped", None) or address
    holding = [block for block in map(ipaddress.ip_network, map(_plain, blocks)) if plain in block]
    if isinstance(found, Denied):
        return
    assert holding
    for special, _ in SPECIAL:
        if plain in special:
            assert any(block.prefixlen >= special.prefixlen for block in holding)


def _plain(block: str) -> str:
    """A network as it is compared: one of addresses mapped into IPv6 is one of IPv4."""
    return str(Network.parse(block))


@given(st.lists(HOSTS, min_size=1, max_size=2), NAMES, ADDRESSES, st.lists(networks(), max_size=2))
def test_what_is_denied_when_asked_is_denied_at_every_address(
    names: list[str],
    host: str,
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
    blocks: list[str],
) -> None:
    mine = allowance(grant(*names, *blocks))
    try:
        target = str(ipaddress.ip_address(host))  # an address leads to itself
    except ValueError:
        target = str(address)
    if mine.ask(host, 9001) is not None:
        assert isinstance(mine.judge(host, 9001, target), Denied)


@given(NAMES, ADDRESSES)
def test_names_alone_never_lead_to_a_special_address(
    host: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address
) -> None:
    found = judged("*", host=host, address=str(address))
    plain = getattr(address, "ipv4_mapped", None) or address
    if any(plain in block for block, _ in SPECIAL):
        assert isinstance(found, Denied)


@given(st.text(max_size=20), st.integers(-1, 70000), st.text(max_size=20))
def test_anything_may_be_asked(host: str, port: int, address: str) -> None:
    mine = allowance(grant("*.internal", "10.0.2.0/24"), grant("*"))
    mine.ask(host, port)
    assert mine.judge(host, port, address)  # grants, or why there are none
    mine.judge_node(mine.grants, host)
