"""The configuration: the sample, every default, and that what is shown is read back."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from epmdless import config
from epmdless.addresses import Endpoint, ListenPlan, all_interfaces
from epmdless.cli import show
from epmdless.config import Config, Duration, decode, to_plain
from epmdless.errors import ConfigError
from epmdless.names import can_register
from epmdless.schemes import (
    CaravanScheme,
    FixedScheme,
    OffsetScheme,
    PatternScheme,
    Scheme,
    SuffixScheme,
)

SAMPLE = """
[epmd]
listen = ["0.0.0.0:4369", "[::]:4369"]     # [] = no EPMD server
packet_timeout = "60s"
[resolve]
chain = ["registered", "scheme", "static", "srv"]
on_mismatch = "warn"
[resolve.scheme]
kind = "suffix"                            # or caravan, offset, fixed, pattern, with their own keys
[resolve.static]
couchdb = 9100
[resolve.srv]
question = "_{name}._tcp.nodes.internal"
servers = ["10.0.0.2"]
"""


def test_the_sample_is_read() -> None:
    read = decode(SAMPLE, "sample.toml")
    assert read.epmd.packet_timeout == Duration(60)
    assert read.resolve.chain == ("registered", "scheme", "static", "srv")
    assert read.resolve.on_mismatch == "warn"
    assert read.resolve.scheme.build() == SuffixScheme()
    assert read.resolve.static == {"couchdb": 9100}
    assert read.resolve.srv is not None
    assert read.resolve.srv.question == "_{name}._tcp.nodes.internal"
    assert [server.endpoint(53) for server in read.resolve.srv.servers] == [Endpoint("10.0.0.2", 53)]


def test_the_sample_listens_where_it_says() -> None:
    plan = config.listen_plan(decode(SAMPLE, "sample.toml"), {"ERL_EPMD_PORT": "5000"})
    assert plan == ListenPlan((Endpoint("0.0.0.0", 4369), Endpoint("::", 4369)))


def test_an_empty_file_is_a_drop_in_epmd() -> None:
    read = decode("", "empty.toml")
    assert read == Config()
    assert read.resolve.chain == ("registered", "scheme")
    assert (read.epmd.packet_timeout, read.epmd.relaxed_command_check) == (Duration(60), None)
    assert (read.epmd.access.lookup, read.epmd.access.names) == (None, None)
    assert (read.metrics.listen, read.log.level, read.log.format) == (None, "info", "auto")


def test_without_addresses_the_environment_says_where_to_listen() -> None:
    assert config.listen_plan(Config(), {}) == all_interfaces(4369)
    assert config.listen_plan(Config(), {"ERL_EPMD_PORT": "5000"}) == all_interfaces(5000)
    listed = config.listen_plan(Config(), {"ERL_EPMD_ADDRESS": "10.0.0.1"})
    assert listed.required == (Endpoint("10.0.0.1", 4369),)


def test_an_address_without_a_port_gets_the_environments() -> None:
    read = decode('epmd.listen = ["10.0.0.1", "[::1]:99"]', "")
    plan = config.listen_plan(read, {"ERL_EPMD_PORT": "5000"})
    assert plan == ListenPlan((Endpoint("10.0.0.1", 5000), Endpoint("::1", 99)))


def test_an_empty_list_of_addresses_is_no_server() -> None:
    assert config.listen_plan(decode("epmd.listen = []", ""), {}) == ListenPlan(())


@pytest.mark.parametrize(
    ("table", "scheme"),
    [
        ("kind = 'suffix'", SuffixScheme()),
        ("kind = 'caravan'", CaravanScheme(4370)),
        ("kind = 'caravan'\ndefault = 5000", CaravanScheme(5000)),
        ("kind = 'offset'", OffsetScheme(4370, 60000)),
        ("kind = 'offset'\nbase = 5370\nmodulo = 60166", OffsetScheme(5370, 60166)),
        ("kind = 'fixed'\nport = 25672", FixedScheme(25672)),
    ],
)
def test_each_scheme_has_its_own_keys(table: str, scheme: Scheme) -> None:
    assert decode(f"[resolve.scheme]\n{table}", "").resolve.scheme.build() == scheme


def test_a_pattern_has_a_regular_expression_a_base_and_a_default() -> None:
    table = "kind = 'pattern'\nregex = '_port(?P<port>[0-9]+)$'\ndefault = 4370"
    scheme = decode(f"[resolve.scheme]\n{table}", "").resolve.scheme.build()
    assert isinstance(scheme, PatternScheme)
    assert (scheme.port_of("app_port9001"), scheme.port_of("app")) == (9001, 4370)


@pytest.mark.parametrize(
    "question",
    ["_{name}._tcp.nodes.internal", "{host}", "epmd.{label2}.{label3}.", "_a-{label9}._tcp", "a" * 63],
)
def test_a_question_is_a_template_of_a_domain_name(question: str) -> None:
    read = decode(f"resolve = {{chain = ['srv'], srv = {{question = '{question}'}}}}", "")
    assert read.resolve.srv is not None
    assert read.resolve.srv.question == question


# What is shown is read back.


def read_back(shown: Config) -> Config:
    return decode(show.toml(to_plain(shown)), "shown.toml")


@pytest.mark.parametrize("text", ["", SAMPLE, "epmd.listen = []"])
def test_a_configuration_that_is_shown_is_read_back(text: str) -> None:
    read = decode(text, "")
    assert read_back(read) == read


def test_every_key_with_a_value_is_shown() -> None:
    plain = to_plain(decode(SAMPLE, ""))
    assert plain["epmd"].keys() == {"listen", "packet_timeout", "access"}
    assert list(plain["epmd"]["listen"]) == ["0.0.0.0:4369", "[::]:4369"]
    assert plain["epmd"]["packet_timeout"] == "1m"
    assert plain["resolve"]["srv"]["max_stale"] == "1d"
    assert plain["resolve"]["scheme"] == {"kind": "suffix"}
    assert plain["metrics"] == plain["control"] == {}


WHOLE = st.builds("{}{}".format, st.integers(1, 300), st.sampled_from(["ms", "s", "m", "h", "d"]))
PORTS = st.integers(1, 65535)
ADDRESSES = st.sampled_from(["10.0.0.1", "10.0.0.1:80", "::1", "[::1]", "[fd00::1]:53", "0.0.0.0:0"])
OWN_ADDRESSES = st.sampled_from(["10.0.0.1", "10.0.0.1:80", "[::1]", "[fd00::1]:53", "0.0.0.0:81", "[::]:82"])
METRICS_ADDRESSES = st.sampled_from(["10.0.0.1", "10.0.0.2:80", "::1", "[::]:9568"])
NETWORKS = st.sampled_from(["10.0.0.0/8", "::1", "fd00::/8", "192.0.2.1"])
SCHEMES = st.one_of(
    st.just({"kind": "suffix"}),
    st.fixed_dictionaries({"kind": st.just("caravan")}, optional={"default": PORTS}),
    st.fixed_dictionaries(
        {"kind": st.just("offset")},
        optional={"base": st.integers(1, 5000), "modulo": st.integers(1, 60000)},
    ),
    st.fixed_dictionaries({"kind": st.just("fixed"), "port": PORTS}),
    st.fixed_dictionaries(
        {"kind": st.just("pattern"), "regex": st.sampled_from(["(?P<port>[0-9]+)$", 'a"\\d(?P<index>é)'])},
        optional={"base": st.integers(0, 65535), "default": PORTS},
    ),
)
SRV = st.fixed_dictionaries(
    {"question": st.sampled_from(["_{name}._tcp.internal", "{host}."])},
    optional={
        "servers": st.lists(ADDRESSES),
        "tcp": st.booleans(),
        "cache_entries": st.integers(1, 1_000_000),
        **dict.fromkeys(("timeout", "lifetime", "max_ttl", "negative_ttl", "max_stale"), WHOLE),
    },
)
NAMES = st.text(st.characters(codec="utf-8"), max_size=20).filter(can_register)
CHAIN = ["registered", "scheme", "static", "srv"]
GLOBS = st.text(st.sampled_from('ab*?[\\."é'), min_size=1, max_size=5)
RULES = st.lists(
    st.fixed_dictionaries(
        {"action": st.sampled_from(["allow", "deny"])},
        optional={
            **dict.fromkeys(("near", "far", "host"), GLOBS),
            "from": st.lists(NETWORKS, min_size=1, max_size=3),
        },
    ),
    max_size=3,
)
EITHER_ROUTE = {
    "names": GLOBS,
    "resolve": st.lists(st.sampled_from(["epmd", "scheme", "static", "srv"]), min_size=1, unique=True),
    "hidden": st.booleans(),
}
STAND_IN_ROUTES = st.lists(
    st.fixed_dictionaries(
        {
            "host": st.sampled_from(["b1.internal", "192.0.2.3", "fd00::3"]),
            "listen": st.sampled_from(["10.0.1.9", "10.0.1.10", "fd00::9", "::ffff:10.0.1.11"]),
        },
        optional={
            **EITHER_ROUTE,
            "dial": st.sampled_from(["10.0.2.7", "b1.example", "fd00::7"]),
            "ports": st.sampled_from([[], ["9100"], ["9001-9010", "9012"]]),
            "proxy_protocol": st.booleans(),
        },
    ),
    max_size=3,
    unique_by=lambda route: route["listen"],
)
NET_ROUTES = st.lists(
    st.fixed_dictionaries(
        {"net": st.sampled_from(["10.0.2.0/24", "10.0.3.0/24", "fd00:2::/64"])}, optional=EITHER_ROUTE
    ),
    max_size=2,
    unique_by=lambda route: route["net"],
)
RELAY_KEYS = st.fixed_dictionaries(
    {},
    optional={
        "port_range": st.sampled_from(["9100", "9100-9199", "1-65535"]),
        "keepalive": st.sampled_from(["1s", "30s", "9h"]),
        "user_timeout": st.sampled_from(["0s", "1ms", "24d"]),
        "frames": st.booleans(),
        **dict.fromkeys(("setup_timeout", "idle_port", "drain"), WHOLE),
        **dict.fromkeys(("max_links", "max_links_per_address", "max_handshakes"), st.integers(1, 10**7)),
    },
)


def a_relay(keys: dict[str, Any], rules: list[Any], stand_ins: list[Any], nets: list[Any]) -> dict[str, Any]:
    """A [relay] table of parts that go together."""
    transparent = {"transparent": {"listen": "0.0.0.0:4400"}} if nets else {}
    return {**keys, **transparent, "rule": rules, "route": stand_ins + nets}


TLS = st.just(False) | st.fixed_dictionaries(
    {"cert": st.just("/gw.crt"), "key": st.just("/gw.key"), "ca": st.just("/ca.crt")},
    optional={"min_version": st.sampled_from(["1.2", "1.3"])},
)
ALLOWED = st.fixed_dictionaries(
    {
        "client": st.sampled_from(["*", "10.0.1.*", "fd00:*", "1?.0.0.1"]),
        "hosts": st.lists(st.sampled_from(["*", "B?.x.", "10.0.0.0/8", "::1"]), min_size=1, max_size=3),
        "ports": st.lists(st.sampled_from(["80", "1-9"]) | PORTS, min_size=1, max_size=3),
    },
    optional={"nodes": st.lists(GLOBS, min_size=1, max_size=2)},
)
GATEWAY = st.fixed_dictionaries(
    {
        "listen": st.sampled_from(["0.0.0.0:4370", "[::1]:4370", "10.0.9.1:0"]),
        "tls": TLS,
        "allow": st.lists(ALLOWED, min_size=1, max_size=3),
    },
    optional={
        "epmd_port": PORTS,
        "max_handshakes": st.integers(1, 4096),
        "max_connections": st.integers(4096, 10**6),
        **dict.fromkeys(("max_tunnels_per_client", "max_requests_per_second"), st.integers(1, 10**6)),
        **dict.fromkeys(("request_timeout", "dial_timeout", "ready_timeout", "drain"), WHOLE),
    },
)
RATES = st.builds("{}{}".format, st.integers(5, 99), st.sampled_from(["kB", "KiB", "MB", "MiB", "GB", "GiB"]))
HOP = st.fixed_dictionaries(
    {
        "gateways": st.lists(
            st.sampled_from(["gw1.x:4370", "GW2:1", "[fd00::7]:4370", "10.0.2.7:4370"]),
            min_size=1,
            unique=True,
        ),
        "tls": TLS,
    },
    optional={
        "balance": st.sampled_from(["order", "least_loaded"]),
        "ready": st.integers(0, 256),
        "auth": st.just("/auth"),
        "rate": RATES,
        **dict.fromkeys(("ready_for", "connect_timeout", "lookup_ttl"), WHOLE),
    },
)
HOP_NAMES = st.from_regex(r"[A-Za-z0-9_.-]{1,9}", fullmatch=True)
RELAY = st.builds(a_relay, RELAY_KEYS, RULES, STAND_IN_ROUTES, NET_ROUTES)
TABLES = st.fixed_dictionaries(
    {
        "resolve": st.fixed_dictionaries(
            {
                "chain": st.permutations(CHAIN),
                "srv": SRV,
                "static": st.dictionaries(NAMES, PORTS, min_size=1, max_size=4),
            },
            optional={
                "fallthrough": st.lists(st.sampled_from(CHAIN), unique=True),
                "on_mismatch": st.sampled_from(["warn", "reject", "ignore"]),
                "host": st.sampled_from(["b1.internal", "B1_2", "10.0.1.23", "fd00::1"]),
                "scheme": SCHEMES,
            },
        ),
    },
    optional={
        "epmd": st.fixed_dictionaries(
            {},
            optional={
                "listen": st.lists(OWN_ADDRESSES, max_size=3, unique=True),
                "packet_timeout": WHOLE,
                "relaxed_command_check": st.booleans(),
                "access": st.fixed_dictionaries(
                    {}, optional={"lookup": st.lists(NETWORKS), "names": st.lists(NETWORKS)}
                ),
            },
        ),
        "relay": RELAY,
        "gateway": GATEWAY,
        "hop": st.dictionaries(HOP_NAMES, HOP, max_size=3),
        "control": st.fixed_dictionaries({}, optional={"socket": st.sampled_from(["/run/a.sock", '/"é'])}),
        "metrics": st.fixed_dictionaries({}, optional={"listen": METRICS_ADDRESSES}),
        "log": st.fixed_dictionaries(
            {}, optional={"level": st.sampled_from(["debug", "error"]), "format": st.sampled_from(["json"])}
        ),
    },
)


def written(value: object) -> str:
    """Write a value as TOML on one line, every character of a text as its number: as simple as it gets."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            return '"' + "".join(f"\\U{ord(character):08X}" for character in value) + '"'
        case Mapping():
            return "{" + ", ".join(f"{written(key)} = {written(item)}" for key, item in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(written, value)) + "]"
    return str(value)


@settings(deadline=None)
@given(TABLES)
@example({"resolve": {"scheme": {"kind": "pattern", "regex": "a\x7f(?P<port>b)"}}})
def test_any_configuration_that_is_shown_is_read_back(tables: Mapping[str, Any]) -> None:
    read = decode("\n".join(f"{key} = {written(table)}" for key, table in tables.items()), "")
    assert read_back(read) == read


@given(st.text(st.sampled_from('[]{}."=,# \nabeglmoprstv0123456789'), max_size=60) | st.text())
def test_arbitrary_text_is_a_configuration_or_one_error(text: str) -> None:
    try:
        read = decode(text, "arbitrary.toml")
    except ConfigError:
        return
    assert read_back(read) == read
