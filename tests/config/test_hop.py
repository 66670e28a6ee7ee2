"""`[hop.NAME]`: the sample, every default, and every mistake with its key and the hop's name."""

import pytest

from epmdless.cli import show
from epmdless.config import Config, Duration, HopSection, HostPort, Size, decode, to_plain
from epmdless.errors import ConfigError

SAMPLE = """
[hop.az-b]
gateways = ["gw1.az-b.internal:4370", "[fd00::7]:4370"]
balance = "least_loaded"
ready = 0
ready_for = "90s"
connect_timeout = "1500ms"
auth = "/etc/epmdless/proxy-auth"
lookup_ttl = "0s"
rate = "100MiB"
link_rate = "500kB"
[hop.az-b.tls]
cert = "/etc/epmdless/az-a.crt"
key  = "/etc/epmdless/az-a.key"
ca   = "/etc/epmdless/ca.crt"
server_name = "gw.az-b.internal"
min_version = "1.2"
[hop."az.c"]
gateways = ["10.0.3.7:3128"]
tls = false
[[relay.route]]
host = "b1.az-b.internal"
listen = "10.0.1.9"
via = "az-b"
"""

GATEWAYS = "gateways = ['gw1:4370']"


def hop(keys: str = f"{GATEWAYS}, tls = false", name: str = "az-b") -> str:
    """A good hop, and another one of these keys."""
    return f"hop.good = {{gateways = ['gw9:1'], tls = false}}\nhop.'{name}' = {{{keys}}}\n"


def mistake(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        decode(text, "e.toml")
    assert str(caught.value).startswith("e.toml: ")
    assert "\n" not in str(caught.value)
    return caught.value


# What is read.


def test_without_a_table_there_is_no_hop() -> None:
    assert Config().hop == {}


def test_the_sample_is_read() -> None:
    hops = decode(SAMPLE, "").hop
    assert list(hops) == ["az-b", "az.c"]
    read = hops["az-b"]
    assert read.gateways == (HostPort("gw1.az-b.internal", 4370), HostPort("fd00::7", 4370))
    assert (read.balance, read.ready, read.ready_for) == ("least_loaded", 0, Duration(90))
    assert (read.connect_timeout, read.lookup_ttl) == (Duration(1.5), Duration(0))
    assert (read.rate, read.link_rate) == (Size(104_857_600), Size(500_000))
    assert read.auth == "/etc/epmdless/proxy-auth"
    tls = read.tls_table
    assert tls is not None
    assert tls is read.tls
    assert (tls.cert, tls.key) == ("/etc/epmdless/az-a.crt", "/etc/epmdless/az-a.key")
    assert (tls.ca, tls.server_name, tls.min_version) == ("/etc/epmdless/ca.crt", "gw.az-b.internal", "1.2")


def test_every_default() -> None:
    read = decode(SAMPLE, "").hop["az.c"]
    assert read == HopSection(gateways=(HostPort("10.0.3.7", 3128),), tls=False)
    assert (read.balance, read.ready, read.ready_for) == ("order", 4, Duration(120))
    assert (read.connect_timeout, read.lookup_ttl) == (Duration(2), Duration(1))
    assert (read.auth, read.rate, read.link_rate, read.tls_table) == (None, None, None, None)


def test_a_hop_may_authenticate_without_a_certificate() -> None:
    read = decode(hop(f"{GATEWAYS}, auth = '/auth', tls = {{ca = '/ca'}}"), "").hop["az-b"].tls_table
    assert read is not None
    assert (read.cert, read.key, read.server_name, read.min_version) == (None, None, None, "1.3")


def test_what_is_shown_is_read_back() -> None:
    read = decode(SAMPLE, "")
    shown = show.toml(to_plain(read))
    for line in ("[hop.az-b]", "[hop.az-b.tls]", '[hop."az.c"]', 'rate = "100MiB"', 'link_rate = "500kB"'):
        assert f"\n{line}\n" in shown
    assert decode(shown, "") == read


@pytest.mark.parametrize("name", ["a", "az-b", "az_b.1", "1", "a" * 63])
def test_a_hop_without_a_route_is_well(name: str) -> None:
    assert name in decode(hop(name=name), "").hop


def test_many_gateways_and_the_same_host_twice_are_well() -> None:
    gateways = [f"gw1:{port}" for port in range(1, 65)]
    assert len(decode(hop(f"gateways = {gateways}, tls = false"), "").hop["az-b"].gateways) == 64


def test_a_link_may_have_all_of_a_hops_rate() -> None:
    read = decode(hop(f"{GATEWAYS}, tls = false, rate = '4KiB', link_rate = '4096B'"), "").hop["az-b"]
    assert read.rate == read.link_rate == 4096


# Mistakes.


@pytest.mark.parametrize(
    ("keys", "key", "problem"),
    [
        (GATEWAYS, "tls", "needs a [hop.NAME.tls] table with cert, key and ca, or tls = false"),
        (f"{GATEWAYS}, tls = true", "tls", "needs a [hop.NAME.tls] table with cert, key and ca"),
        (f"{GATEWAYS}, tls = 'no'", "tls", "got `str`"),
        (f"{GATEWAYS}, tls = {{}}", "tls.ca", "this key is required"),
        (f"{GATEWAYS}, tls = {{ca = '/ca', key = '/key'}}", "tls.cert", "cert and key come together"),
        (f"{GATEWAYS}, tls = {{ca = '/ca', cert = '/crt'}}", "tls.key", "cert and key come together"),
        (f"{GATEWAYS}, tls = {{ca = 'ca'}}", "tls.ca", "'ca' is not an absolute path"),
        (
            f"{GATEWAYS}, tls = {{ca = '/ca', cert = '/crt', key = './key'}}",
            "tls.key",
            "this is not an absolute path",
        ),
        (
            f"{GATEWAYS}, tls = {{ca = '/ca', server_name = 'gw1:4370'}}",
            "tls.server_name",
            "'gw1:4370' is neither a host name nor an IP address, without a port",
        ),
        (
            f"{GATEWAYS}, tls = {{ca = '/ca', min_version = 1.2}}",
            "tls.min_version",
            "got `float`",
        ),
        ("tls = false", "gateways", "this key is required"),
        ("tls = false, gateways = []", "gateways", "a hop has 1 to 64 gateways"),
        (
            f"tls = false, gateways = {[f'gw1:{port}' for port in range(1, 66)]}",
            "gateways",
            "a hop has 1 to 64 gateways",
        ),
        ("tls = false, gateways = ['gw1:1', 'gw2']", "gateways[1]", "'gw2' is not HOST:PORT"),
        ("tls = false, gateways = 'gw1:1'", "gateways", "got `str`"),
        ("tls = false, gateways = ['0.0.0.0:1']", "gateways[0]", "0.0.0.0 is no host's address"),
        ("tls = false, gateways = ['x:1', 'y:1', 'X.:1']", "gateways[2]", "X.:1 is gateways[0] again"),
        ("tls = false, gateways = ['[::ffff:10.0.0.1]:1', '10.0.0.1:1']", "gateways[1]", "gateways[0] again"),
        (f"{GATEWAYS}, tls = false, balance = 'random'", "balance", "allowed: least_loaded, order"),
        (f"{GATEWAYS}, tls = false, ready = 257", "ready", "<= 256"),
        (f"{GATEWAYS}, tls = false, ready = -1", "ready", ">= 0"),
        (f"{GATEWAYS}, tls = false, ready_for = '0s'", "ready_for", "must be more than 0s"),
        (f"{GATEWAYS}, tls = false, connect_timeout = '0s'", "connect_timeout", "must be more than 0s"),
        (f"{GATEWAYS}, tls = false, lookup_ttl = 1", "lookup_ttl", "1 is not a duration"),
        (f"{GATEWAYS}, tls = false, auth = 'user:secret'", "auth", "this is not an absolute path"),
        (f"{GATEWAYS}, tls = false, rate = 4096", "rate", "4096 is not a size"),
        (f"{GATEWAYS}, tls = false, rate = '4095B'", "rate", "must be at least 4KiB"),
        (f"{GATEWAYS}, tls = false, link_rate = '1kB'", "link_rate", "must be at least 4KiB"),
        (
            f"{GATEWAYS}, tls = false, rate = '1MB', link_rate = '1MiB'",
            "link_rate",
            "1MiB is more than the 1MB of rate",
        ),
        (f"{GATEWAYS}, tls = false, gateway = 'x'", "gateway", "unknown key; allowed: gateways, balance"),
    ],
)
def test_a_mistake_names_the_hop_and_its_key(keys: str, key: str, problem: str) -> None:
    error = mistake(hop(keys))
    assert error.key == f"hop.az-b.{key}"
    assert problem in error.problem


@pytest.mark.parametrize(
    ("name", "shown"), [("a.b", '"a.b"'), ("a b", '"a b"'), ("é", '"\\u00e9"'), ("", '""'), ("_", "_")]
)
def test_a_name_that_toml_would_quote_is_quoted(name: str, shown: str) -> None:
    assert mistake(hop(GATEWAYS, name)).key == f"hop.{shown}.tls"


@pytest.mark.parametrize("name", ["", " ", "az b", "é", "a/b", "a" * 64, "a\t"])
def test_what_is_no_name_for_a_hop_is_refused(name: str) -> None:
    error = mistake(hop(name=name))
    assert error.key == "hop"
    assert f"{name!r} is no name for a hop: 1 to 63 letters, digits, dots, `_` and `-`" in error.problem


@pytest.mark.parametrize(("text", "key"), [("hop = 1", "hop"), ("hop.az-b = 1", "hop.az-b")])
def test_what_is_no_table_is_named(text: str, key: str) -> None:
    error = mistake(text)
    assert (error.key, error.problem) == (key, "expected `object`, got `int`")


@pytest.mark.parametrize(
    "text",
    [
        hop(f"{GATEWAYS}, tls = false, auth = 'hunter2'"),
        hop(f"{GATEWAYS}, tls = {{ca = '/ca', cert = '/crt', key = 'hunter2'}}"),
        "relay.route = [{net = '10.0.0.0/8', cookie_near = '/a', cookie_far = 'hunter2'}]",
        "[gateway]\nlisten = '0.0.0.0:1'\ntls = {cert = '/crt', key = 'hunter2', ca = '/ca'}",
    ],
)
def test_a_secret_where_its_path_should_stand_is_not_repeated(text: str) -> None:
    error = mistake(text)
    assert "is not an absolute path" in error.problem
    assert "hunter2" not in str(error)
