"""`[relay]` and `[control]`: the samples, every default, and every mistake with its key."""

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epmdless.cli import show
from epmdless.config import Config, Duration, PortRange, RouteSection, decode, overlaps, to_plain
from epmdless.errors import ConfigError
from epmdless.policy import Network
from epmdless.rules import LinkFacts, Verdict, globs_overlap

SAMPLE = """
[relay]
epmd_port     = 4369          # of the EPMD face on stand-in addresses, and of far hosts
port_range    = "9100-9199"   # for far ports that are not free here
setup_timeout = "7s"
[[relay.route]]
host   = "b1.az-b.internal"   # the host part of the far nodes' names
listen = "10.0.1.9"           # a local address; near nodes resolve that host to it
dial   = "10.0.2.7"           # where it really is (default: `host`, resolved); never ourselves
ports  = ["9001-9010"]        # open from the start, for nodes that dial with no lookup
names  = "*"                  # which alive names, where several routes share an address

[relay.transparent]           # connections that nftables redirects here
listen = "0.0.0.0:4400"
[[relay.route]]
net = "10.0.2.0/24"           # matched by original destination

[[relay.rule]]
action = "allow"
near = "app-*"
far = "db"
host = "*.Az-B.internal"
from = ["10.0.1.0/24", "fd00::/8"]
[[relay.rule]]
action = "deny"
[control]
socket = "/run/epmdless/control.sock"
"""

STAND_IN = "host = 'b1.internal', listen = '10.0.1.9'"
NET = "net = '10.0.2.0/24'"


def mistake(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        decode(text, "e.toml")
    assert str(caught.value).startswith("e.toml: ")
    assert "\n" not in str(caught.value)
    return caught.value


def routes(*tables: str, more: str = "") -> str:
    """A configuration of these routes, each an inline table's content."""
    return f"[relay]\n{more}\nroute = [{', '.join(f'{{{table}}}' for table in tables)}]\n"


def with_net(*tables: str) -> str:
    return routes(*tables, more="transparent.listen = '0.0.0.0:4400'")


# What is read.


def test_the_sample_is_read() -> None:
    relay = decode(SAMPLE, "").relay
    stand_in, transparent = relay.route
    assert (stand_in.host, stand_in.listen, stand_in.dial) == ("b1.az-b.internal", "10.0.1.9", "10.0.2.7")
    assert stand_in.ports == (PortRange(9001, 9010),)
    assert transparent.net == Network.parse("10.0.2.0/24")
    assert relay.transparent is not None
    assert str(relay.transparent.listen) == "0.0.0.0:4400"
    assert decode(SAMPLE, "").control.socket == "/run/epmdless/control.sock"


def test_every_default_of_the_relay() -> None:
    relay = Config().relay
    assert relay == decode("[relay]", "").relay
    assert (relay.route, relay.rule, relay.transparent) == ((), (), None)
    assert (relay.epmd_port, relay.port_range) == (4369, PortRange(9100, 9199))
    assert (relay.setup_timeout, relay.idle_port, relay.drain) == (Duration(7), Duration(300), Duration(30))
    assert (relay.keepalive, relay.user_timeout, relay.frames) == (Duration(30), Duration(0), True)
    assert (relay.max_links, relay.max_links_per_address) == (10_000, 1000)
    assert (relay.max_handshakes, relay.max_ports) == (1024, 1024)
    assert Config().control.socket is None


def test_every_default_of_a_route() -> None:
    (route,) = decode(routes(STAND_IN), "").relay.route
    assert route == RouteSection(host="b1.internal", listen="10.0.1.9")
    assert (route.dial, route.target, route.ports, route.names, route.net) == (
        None,
        "b1.internal",
        (),
        "*",
        None,
    )
    assert (route.resolve, route.hidden, route.proxy_protocol) == (("epmd",), False, False)
    assert (route.cookie_near, route.cookie_far, route.via) == (None, None, None)


def test_rules_are_built_in_their_order() -> None:
    rules = decode(SAMPLE, "").relay.build_rules()
    facts = LinkFacts("app-9001@a1", "10.0.1.5", "db", "b1.az-b.internal")
    assert rules.verdict(facts) == Verdict(allowed=True, rule=1)
    assert rules.verdict(LinkFacts("app@a1", "10.0.1.5", "db", "b1.az-b.internal")).rule == 2
    assert rules.verdict(LinkFacts("app-1@a1", "10.0.2.5", "db", "b1.az-b.internal")).rule == 2
    assert rules.verdict(LinkFacts("app-1@a1", "fd00::5", "db", "B1.AZ-B.internal")).rule == 1


def test_a_rule_without_patterns_is_for_every_link() -> None:
    rules = decode("relay.rule = [{action = 'deny'}]", "").relay.build_rules()
    assert rules.verdict(LinkFacts(None, "10.0.0.1", None, None)) == Verdict(allowed=False, rule=1)


def test_a_rule_is_shown_with_its_own_key() -> None:
    shown = to_plain(decode(SAMPLE, ""))["relay"]["rule"][0]
    assert shown["from"] == ["10.0.1.0/24", "fd00::/8"]
    assert "networks" not in shown


def test_what_is_shown_is_read_back() -> None:
    read = decode(SAMPLE, "")
    shown = show.toml(to_plain(read))
    assert shown.count("[[relay.route]]\n") == shown.count("[[relay.rule]]\n") == 2
    assert decode(shown, "") == read


def test_routes_are_compared_by_value() -> None:
    before, after = (decode(SAMPLE.replace("[control]", more + "[control]"), "") for more in ("", "\n"))
    assert before.relay.route == after.relay.route
    assert len({*before.relay.route, *after.relay.route}) == 2
    changed = decode(SAMPLE.replace('"9001-9010"', '"9001-9011"'), "").relay.route
    assert changed[0] != before.relay.route[0]
    assert changed[1] == before.relay.route[1]


@pytest.mark.parametrize(
    ("written", "address"),
    [("FD00:0:0::9", "fd00::9"), ("::ffff:10.0.1.9", "10.0.1.9"), ("127.0.0.2", "127.0.0.2")],
)
def test_an_address_is_kept_as_sockets_say_it(written: str, address: str) -> None:
    text = routes(f"host = 'b1', listen = '{written}', dial = '127.0.0.3'")
    assert decode(text, "").relay.route[0].listen == address
    other = routes(f"host = 'b1', listen = '127.0.0.3', dial = '{written}'")
    assert decode(other, "").relay.route[0].dial == address


@pytest.mark.parametrize("host", ["b1", "b1.internal", "b1.internal.", "10.0.2.7", "fd00::7", "a_b-c.x1"])
def test_a_host_is_a_name_or_an_address(host: str) -> None:
    (route,) = decode(routes(f"host = '{host}', listen = '10.0.1.9'"), "").relay.route
    assert (route.host, route.target) == (host, host)
    (route,) = decode(routes(f"host = 'b1', listen = '10.0.1.9', dial = '{host}'"), "").relay.route
    assert route.target == host


@pytest.mark.parametrize(
    "tables",
    [
        [f"{STAND_IN}, names = 'app-*'", f"{STAND_IN}, names = 'db-*'"],
        [f"{STAND_IN}, names = 'app'", "host = 'b2', listen = '10.0.1.9', names = 'app?'"],
        [STAND_IN, "host = 'b1.internal', listen = 'fd00::9'"],
        [f"{STAND_IN}, names = 'a', ports = ['1-9', '11']", f"{STAND_IN}, names = 'b', ports = ['10']"],
        [f"{STAND_IN}, ports = ['9001']", "host = 'b2', listen = '10.0.1.10', ports = ['9001']"],
        [f"{STAND_IN}, names = '[ab]'", f"{STAND_IN}, names = 'a'"],
    ],
)
def test_routes_that_are_told_apart_go_together(tables: Sequence[str]) -> None:
    assert len(decode(routes(*tables), "").relay.route) == 2


def test_nets_side_by_side_go_together() -> None:
    nets = ["10.0.2.0/25", "10.0.2.128/25", "10.0.0.0/23", "fd00::/64", "::/65"]
    read = decode(with_net(*(f"net = '{net}'" for net in nets)), "")
    assert [str(route.net) for route in read.relay.route] == nets


def test_a_route_by_net_may_resolve_hide_and_bridge_cookies() -> None:
    more = "resolve = ['scheme', 'epmd'], hidden = true, cookie_near = '/a', cookie_far = '/b', names = 'a*'"
    (route,) = decode(with_net(f"{NET}, {more}"), "").relay.route
    assert (route.resolve, route.hidden, route.target) == (("scheme", "epmd"), True, None)
    assert (route.cookie_near, route.cookie_far, route.names) == ("/a", "/b", "a*")


@pytest.mark.parametrize(
    ("name", "table"), [("srv", "resolve.srv = {question = '{host}'}"), ("static", "resolve.static.a = 1")]
)
def test_a_resolver_that_only_a_route_asks_is_asked(name: str, table: str) -> None:
    asking = routes(f"{STAND_IN}, resolve = ['{name}']")
    read = decode(f"{table}\n{asking}", "")
    assert read.relay.route[0].resolve == (name,)
    assert name not in read.resolve.chain


HOPS = "hop.az-b = {gateways = ['gw1:4370'], tls = false}"


@pytest.mark.parametrize(
    "table",
    [
        f"{STAND_IN}, via = 'az-b'",
        f"{STAND_IN}, dial = '10.0.2.7', resolve = ['scheme', 'epmd'], hidden = true, via = 'az-b'",
        f"{STAND_IN}, dial = '10.0.9.9', via = 'az-b'",
        "host = '10.0.9.9', listen = '10.0.1.9', via = 'az-b'",
    ],
)
def test_a_route_goes_through_a_hop_into_a_network_of_its_own(table: str) -> None:
    """There, the stand-in address of another route may be a far host's."""
    other = "host = 'b9', listen = '10.0.9.9'"
    read = decode(f"{HOPS}\n{routes(other, table)}", "").relay
    assert [route.via for route in read.route] == [None, "az-b"]


def test_a_route_by_net_may_go_through_a_hop() -> None:
    (route,) = decode(f"{HOPS}\n" + with_net(f"{NET}, via = 'az-b'"), "").relay.route
    assert (route.via, route.target) == ("az-b", None)


@pytest.mark.parametrize(
    ("more", "key", "problem"),
    [
        ("via = 'az-c'", "via", "'az-c' is no hop; allowed: az-b"),
        ("via = ''", "via", "'' is no hop; allowed: az-b"),
        ("via = 1", "via", "expected `str | null`, got `int`"),
        ("via = 'az-b', dial = '10.0.1.9'", "dial", "10.0.1.9 is the `listen` of relay.route[1]"),
        ("via = 'az-b', dial = '0.0.0.0'", "dial", "0.0.0.0 is no host's address"),
        ("via = 'az-b', tls = 1", "tls", "expected `bool`"),
    ],
)
def test_a_mistake_in_a_route_through_a_hop(more: str, key: str, problem: str) -> None:
    error = mistake(f"{HOPS}\n" + routes("host = 'b9', listen = '10.0.9.9'", f"{STAND_IN}, {more}"))
    assert error.key == f"relay.route[1].{key}"
    assert problem in error.problem


def test_without_any_hop_a_route_says_what_is_missing() -> None:
    error = mistake(routes(f"{STAND_IN}, via = 'az-b'"))
    assert error.key == "relay.route[0].via"
    assert error.problem == "'az-b' is no hop; allowed: none, for want of a [hop.NAME] table"


# Mistakes in one route.


@pytest.mark.parametrize(
    ("table", "key", "problem"),
    [
        ("", "", "a route needs `host` and `listen`, or else `net`"),
        ("dial = '10.0.2.7'", "", "a route needs `host` and `listen`, or else `net`"),
        ("host = 'b1'", "listen", "needs the stand-in address"),
        ("listen = '10.0.1.9'", "host", "needs the host part"),
        (f"{STAND_IN}, {NET}", "listen", "either a stand-in address or `net`"),
        (f"{NET}, host = 'b1'", "host", "takes no `host`"),
        (f"{NET}, dial = '10.0.2.7'", "dial", "takes no `dial`"),
        (f"{NET}, ports = ['9001']", "ports", "takes no `ports`"),
        (f"{NET}, proxy_protocol = true", "proxy_protocol", "takes no `proxy_protocol`"),
        ("host = 'b1', listen = '0.0.0.0'", "listen", "is not one address"),
        ("host = 'b1', listen = '::'", "listen", "is not one address"),
        ("host = 'b1', listen = '::ffff:0.0.0.0'", "listen", "is not one address"),
        ("host = 'b1', listen = 'ff02::1'", "listen", "is not one address"),
        ("host = 'b1', listen = 'fe80::1%eth0'", "listen", "with a zone"),
        ("host = 'b1', listen = '10.0.1.9:4369'", "listen", "is not an IP address"),
        ("host = 'b1', listen = 'localhost'", "listen", "is not an IP address"),
        (f"{STAND_IN}, dial = '10.0.1.9'", "dial", "we would dial ourselves"),
        (f"{STAND_IN}, dial = '::ffff:10.0.1.9'", "dial", "we would dial ourselves"),
        ("host = '10.0.1.9', listen = '10.0.1.9'", "host", "say in `dial` where the far host really is"),
        ("host = 'fd00:0::9', listen = 'FD00::9'", "host", "we would dial ourselves"),
        (f"{STAND_IN}, dial = '0.0.0.0'", "dial", "0.0.0.0 is no host's address"),
        ("host = '::', listen = '10.0.1.9'", "host", ":: is no host's address"),
        (f"{STAND_IN}, dial = '10.0.2.7:9001'", "dial", "neither a host name nor an IP address"),
        (f"{STAND_IN}, dial = ''", "dial", "neither a host name nor an IP address"),
        ("host = 'app@b1', listen = '10.0.1.9'", "host", "neither a host name nor an IP address"),
        (f"host = 'b1.{'a' * 64}', listen = '10.0.1.9'", "host", "neither a host name nor an IP address"),
        (f"host = '{'a.' * 127}', listen = '10.0.1.9'", "host", "neither a host name nor an IP address"),
        (f"{STAND_IN}, names = ''", "names", "a pattern has 1 to 1024 characters"),
        (f"{STAND_IN}, names = '{'a' * 1025}'", "names", "a pattern has 1 to 1024 characters"),
        (f"{STAND_IN}, resolve = []", "resolve", "names nobody"),
        (f"{STAND_IN}, resolve = ['epmd', 'epmd']", "resolve", "each resolver may stand in it once"),
        (f"{STAND_IN}, resolve = ['epmd', 'dns']", "resolve[1]", "'dns' is not one of the choices"),
        (f"{STAND_IN}, resolve = ['srv']", "resolve", 'names "srv", which needs a [resolve.srv] table'),
        (f"{STAND_IN}, resolve = ['static']", "resolve", "needs a [resolve.static] table"),
        (f"{STAND_IN}, cookie_near = '/a'", "cookie_far", "needs cookie_near and cookie_far"),
        (f"{STAND_IN}, cookie_far = '/a'", "cookie_near", "needs cookie_near and cookie_far"),
        (f"{STAND_IN}, cookie_near = 'a', cookie_far = '/b'", "cookie_near", "not an absolute path"),
        (f"{STAND_IN}, cookie_near = '/a', cookie_far = ''", "cookie_far", "not an absolute path"),
        (f"{STAND_IN}, ports = ['9001', '9010-9001']", "ports[1]", "is the wrong way round"),
        (f"{STAND_IN}, ports = [9001]", "ports[0]", "is not a port or a range"),
        (f"{STAND_IN}, ports = '9001'", "ports", "got `str`"),
        (f"{STAND_IN}, ports = ['9001-9010', '9010']", "ports", "9010 and the 9001-9010 overlap"),
        (f"{STAND_IN}, ports = ['4000-5000']", "ports", "holds relay.epmd_port"),
        ("net = '10.0.2.1/24'", "net", "has host bits set"),
        (f"{STAND_IN}, hidden = 1", "hidden", "expected `bool`"),
        (f"{STAND_IN}, port = 1", "port", "unknown key; allowed: host, listen, dial, ports, names, net"),
    ],
)
def test_a_mistake_in_a_route_names_the_route_and_its_key(table: str, key: str, problem: str) -> None:
    good = "host = 'b9', listen = '10.0.9.9'"
    error = mistake(routes(good, table))
    assert error.key == f"relay.route[1].{key}".rstrip(".")
    assert problem in error.problem


def test_what_is_no_route_is_named_by_its_place() -> None:
    assert mistake("relay.route = [1]").key == "relay.route[0]"
    assert mistake("[relay.route]\nhost = 'b1'").key == "relay.route"


# Mistakes of several routes.


@pytest.mark.parametrize(
    ("first", "second"), [("*", "*"), ("app", "app"), ("app-*", "*-1"), ("a?c*", "*c"), ("db", "d*")]
)
def test_routes_that_share_an_address_and_a_name_overlap(first: str, second: str) -> None:
    tables = [f"{STAND_IN}, names = '{names}'" for names in ("other", first, "x", second)]
    error = mistake(routes(*tables) if first != "*" else routes(tables[1], tables[3]))
    later, earlier = (3, 1) if first != "*" else (1, 0)
    assert error.key == f"relay.route[{later}].names"
    assert f"'{second}' and the '{first}' of relay.route[{earlier}] overlap" in error.problem


@given(st.lists(st.text("ab*?", min_size=1, max_size=4), max_size=6))
def test_routes_overlap_where_two_of_their_globs_do(globs: list[str]) -> None:
    tables = [f"{STAND_IN}, names = '{glob}'" for glob in globs]
    if any(globs_overlap(one, other) for one, other in itertools.combinations(globs, 2)):
        assert mistake(routes(*tables)).key.endswith(".names")
    else:
        assert len(decode(routes(*tables), "").relay.route) == len(globs)


def test_an_address_written_in_two_ways_is_one() -> None:
    error = mistake(routes("host = 'b1', listen = 'fd00::9'", "host = 'b2', listen = 'FD00:0::9'"))
    assert error.key == "relay.route[1].names"


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ("'9001-9010'", "'9010-9020'", "9010-9020 and the 9001-9010 of relay.route[0] overlap"),
        ("'9001'", "'8000', '9001'", "9001 and the 9001 of relay.route[0] overlap"),
        ("'9005'", "'9001-9010'", "9001-9010 and the 9005 of relay.route[0] overlap"),
    ],
)
def test_a_port_of_one_address_belongs_to_one_route(first: str, second: str, said: str) -> None:
    tables = [f"{STAND_IN}, names = 'a', ports = [{first}]", f"{STAND_IN}, names = 'b', ports = [{second}]"]
    error = mistake(routes(*tables))
    assert error.key == "relay.route[1].ports"
    assert said in error.problem


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("10.0.2.0/24", "10.0.2.0/24"),
        ("10.0.0.0/8", "10.0.2.7"),
        ("10.0.2.7/32", "10.0.0.0/8"),
        ("::/0", "fd00::/64"),
        ("::ffff:10.0.2.0/120", "10.0.2.128/25"),
    ],
)
def test_an_address_is_in_one_net(first: str, second: str) -> None:
    error = mistake(with_net("net = '192.0.2.0/24'", f"net = '{first}'", f"net = '{second}'"))
    assert error.key == "relay.route[2].net"
    assert "of relay.route[1] overlap" in error.problem


def test_routes_must_not_dial_each_other() -> None:
    error = mistake(
        routes(
            "host = 'b1', listen = '10.0.1.1', dial = '10.0.1.2'",
            "host = 'b2', listen = '10.0.1.2', dial = '10.0.1.1'",
        )
    )
    assert error.key == "relay.route[0].dial"
    assert "10.0.1.2 is the `listen` of relay.route[1]: we would dial ourselves" in error.problem


def test_a_net_needs_the_transparent_listener() -> None:
    error = mistake(routes(STAND_IN, NET))
    assert (error.key, error.problem) == (
        "relay.route[1].net",
        "needs a [relay.transparent] table with `listen`",
    )


def test_the_transparent_listener_needs_a_net() -> None:
    assert mistake(with_net(STAND_IN)).key == "relay.transparent"


@pytest.mark.parametrize(
    ("listen", "key"),
    [
        ("0.0.0.0:4400", "relay.route[0].ports"),
        ("10.0.1.9:4400", "relay.route[0].ports"),
        ("10.0.1.8:4400", ""),
        ("[::]:4400", ""),
    ],
)
def test_a_port_of_a_route_is_not_the_transparent_listeners(listen: str, key: str) -> None:
    text = routes(f"{STAND_IN}, ports = ['4390-4410']", NET, more=f"transparent.listen = '{listen}'")
    if key:
        error = mistake(text)
        assert error.key == key
        assert "holds the port of relay.transparent.listen" in error.problem
    else:
        assert decode(text, "").relay.transparent is not None


def test_a_stand_in_is_no_address_of_the_epmd_server() -> None:
    error = mistake("epmd.listen = ['[::]:4369', '10.0.1.9:4369']\n" + routes(STAND_IN))
    assert error.key == "relay.route[0].listen"
    assert "10.0.1.9 is an address of the EPMD server" in error.problem


@pytest.mark.parametrize("listen", ["0.0.0.0:4369", "10.0.1.9:4370", "10.0.1.8:4369"])
def test_a_stand_in_stands_beside_the_epmd_server(listen: str) -> None:
    assert decode(f"epmd.listen = ['{listen}']\n" + routes(STAND_IN), "").relay.route


def test_the_ports_of_all_routes_are_within_the_limit() -> None:
    tables = [
        f"{STAND_IN}, ports = ['9001-9010', '9012']",
        "host = 'b2', listen = '10.0.1.10', ports = ['1']",
    ]
    assert decode(routes(*tables, more="max_ports = 12"), "").relay.max_ports == 12
    error = mistake(routes(*tables, more="max_ports = 11"))
    assert (error.key, error.problem) == ("relay.max_ports", "11 are fewer than the 12 ports of all routes")


def test_too_many_routes_are_a_mistake() -> None:
    table = "[[relay.route]]\nhost = 'b'\nlisten = '10.0.1.9'\n"
    assert mistake(table * 10_001).problem == "10001 are more than 10000"
    assert mistake("[[relay.rule]]\naction = 'deny'\n" * 10_001).key == "relay.rule"


@pytest.mark.parametrize(
    "table",
    [
        "host = 'b{0}', listen = '10.{1}.{2}.9', ports = ['9001']",
        "host = 'b{0}', listen = '10.0.1.9', names = 'app-{0}-*', ports = ['{3}']",
        "host = 'b{0}', listen = '10.0.1.9', names = '*-{0}'",
        "host = 'b{0}', listen = '10.0.1.9', names = 'app{0}', ports = ['{3}']",
        "net = '10.{1}.{2}.0/24'",
    ],
)
def test_ten_thousand_routes_are_not_compared_in_pairs(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0

    def counted(one: str, other: str) -> bool:
        nonlocal compared
        compared += 1
        return globs_overlap(one, other)

    monkeypatch.setattr(overlaps, "globs_overlap", counted)
    tables = [table.format(n, n // 100, n % 100, n + 10_000) for n in range(10_000)]
    more = "max_ports = 10000" + ("\ntransparent.listen = '[::]:44'" if "net" in table else "")
    assert len(decode(routes(*tables, more=more), "").relay.route) == 10_000
    assert compared <= 40_000  # a name's beginnings among the others: app, app1, app12 and app123


# Mistakes in the other tables.


@pytest.mark.parametrize(
    ("text", "key", "problem"),
    [
        ("relay.setup_timeout = '0s'", "relay.setup_timeout", "must be more than 0s"),
        ("relay.idle_port = '0s'", "relay.idle_port", "must be more than 0s"),
        ("relay.keepalive = '500ms'", "relay.keepalive", "must be from 1s to 32767s"),
        ("relay.keepalive = '10h'", "relay.keepalive", "must be from 1s to 32767s"),
        ("relay.user_timeout = '25d'", "relay.user_timeout", "must be 0s, or from 1ms to 2147484s"),
        ("relay.user_timeout = '0.5ms'", "relay.user_timeout", "must be 0s, or from 1ms"),
        ("relay.drain = 30", "relay.drain", "30 is not a duration"),
        ("relay.epmd_port = 0", "relay.epmd_port", "expected `int` >= 1"),
        ("relay.port_range = '9100:9199'", "relay.port_range", "is not a port or a range"),
        ("relay.max_links = 0", "relay.max_links", "expected `int` >= 1"),
        ("relay.max_links_per_address = 0", "relay.max_links_per_address", "expected `int` >= 1"),
        ("relay.max_handshakes = -1", "relay.max_handshakes", "expected `int` >= 1"),
        ("relay.max_ports = 0", "relay.max_ports", "expected `int` >= 1"),
        ("relay.frames = 'yes'", "relay.frames", "expected `bool`"),
        ("relay.routes = []", "relay.routes", "unknown key; allowed: epmd_port, port_range, setup_timeout"),
        ("relay.transparent = {}", "relay.transparent.listen", "this key is required"),
        ("relay.transparent.listen = '0.0.0.0'", "relay.transparent.listen", "0.0.0.0 needs a port"),
        ("relay.transparent.listen = 4400", "relay.transparent.listen", "is not ADDRESS"),
        ("control.socket = 'run/c.sock'", "control.socket", "not an absolute path"),
        ("control.socket = ''", "control.socket", "not an absolute path"),
        (f"control.socket = '/{'é' * 54}'", "control.socket", "at most 107 bytes"),
        ("control.path = '/a'", "control.path", "unknown key; allowed: socket"),
        ("relay.rule = [{}]", "relay.rule[0].action", "this key is required; allowed: "),
        ("relay.rule = [{action = 'drop'}]", "relay.rule[0].action", "'drop' is not one of the choices"),
        ("relay.rule = [{action = 'deny', near = ''}]", "relay.rule[0].near", "a pattern has 1 to"),
        ("relay.rule = [{action = 'deny', far = 'a@b'}]", "relay.rule[0].far", "'a@b' matches nothing"),
        ("relay.rule = [{action = 'deny', host = '@b'}]", "relay.rule[0].host", "'@b' matches nothing"),
        (
            "relay.rule = [{action = 'deny', from = []}]",
            "relay.rule[0].from",
            "an empty list matches nothing",
        ),
        (
            "relay.rule = [{action = 'allow'}, {action = 'deny', from = ['::1', 'x']}]",
            "relay.rule[1].from[1]",
            'write a network as in "10.0.0.0/8"',
        ),
        (
            "relay.rule = [{action = 'allow', networks = []}]",
            "relay.rule[0].networks",
            "unknown key; allowed: action, near, far, host, from",
        ),
    ],
)
def test_a_mistake_names_its_key(text: str, key: str, problem: str) -> None:
    error = mistake(text)
    assert error.key == key
    assert problem in error.problem


@pytest.mark.parametrize(
    "text", ["relay.drain = '0s'", "relay.user_timeout = '24d'", "relay.keepalive = '1s'"]
)
def test_a_time_at_its_bound_is_read(text: str) -> None:
    assert decode(text, "").relay != Config().relay
