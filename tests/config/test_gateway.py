"""`[gateway]`: the sample, every default, and every mistake with its key."""

import pytest

from epmdless.cli import show
from epmdless.config import Config, Duration, HostPattern, PortRange, decode, to_plain
from epmdless.config.gateway import MAX_ALLOWS
from epmdless.errors import ConfigError
from epmdless.grants import Denied, Grant
from epmdless.policy import Network
from epmdless.rules import Glob

SAMPLE = """
[gateway]
listen = "0.0.0.0:4370"
[gateway.tls]
cert = "/etc/epmdless/gw.crt"
key  = "/etc/epmdless/gw.key"
ca   = "/etc/epmdless/az-ca.crt"
[[gateway.allow]]
client = "Relay.az-a.internal"
hosts  = ["*.az-b.internal.", "10.0.2.0/24"]
ports  = [4369, "9001-9010"]
[[gateway.allow]]
client = "spiffe://internal/relay/*"
hosts  = ["127.0.0.1"]
ports  = ["1-65535"]
nodes  = ["app-*", "db@b1.internal"]
"""

ALLOW = "{client = '*', hosts = ['*'], ports = [4369]}"


def gateway(more: str = "", *, listen: str = "0.0.0.0:4370", tls: str = "false", allow: str = ALLOW) -> str:
    """A configuration with a gateway, of keys as inline tables have them."""
    return f"[gateway]\nlisten = '{listen}'\ntls = {tls}\nallow = [{allow}]\n{more}\n"


def mistake(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        decode(text, "e.toml")
    assert str(caught.value).startswith("e.toml: ")
    assert "\n" not in str(caught.value)
    return caught.value


# What is read.


def test_without_its_table_there_is_no_gateway() -> None:
    assert Config().gateway is None
    assert "gateway" not in to_plain(Config())


def test_the_sample_is_read() -> None:
    read = decode(SAMPLE, "").gateway
    assert read is not None
    assert str(read.listen) == "0.0.0.0:4370"
    assert read.tls_table is read.tls
    assert read.tls_table is not None
    assert (read.tls_table.cert, read.tls_table.key) == ("/etc/epmdless/gw.crt", "/etc/epmdless/gw.key")
    assert (read.tls_table.ca, read.tls_table.min_version) == ("/etc/epmdless/az-ca.crt", "1.3")
    first, second = read.allow
    assert first.hosts == (HostPattern.parse("*.az-b.internal."), HostPattern.parse("10.0.2.0/24"))
    assert first.ports == (PortRange(4369, 4369), PortRange(9001, 9010))
    assert (first.nodes, second.nodes) == (("*",), ("app-*", "db@b1.internal"))


def test_every_default() -> None:
    read = decode(gateway(), "").gateway
    assert read is not None
    assert (read.epmd_port, read.max_connections, read.max_handshakes) == (4369, 4096, 256)
    assert (read.max_tunnels_per_client, read.max_requests_per_second) == (1000, 200)
    assert (read.request_timeout, read.dial_timeout) == (Duration(5), Duration(5))
    assert (read.ready_timeout, read.drain) == (Duration(300), Duration(30))
    assert (read.tls, read.tls_table) == (False, None)


def test_the_entries_become_grants() -> None:
    read = decode(SAMPLE, "").gateway
    assert read is not None
    first, second = read.build_grants()
    assert first == Grant(
        0,
        Glob("relay.az-a.internal", ignore_case=True),
        (Glob("*.az-b.internal", ignore_case=True),),
        (Network.parse("10.0.2.0/24"),),
        (range(4369, 4370), range(9001, 9011)),
        (Glob("*"),),
    )
    assert (second.number, second.names, second.networks) == (1, (), (Network.parse("127.0.0.1"),))
    assert second.ports == (range(1, 65536),)
    assert second.nodes == (Glob("app-*"), Glob("db@b1.internal"))


def test_a_refusal_names_the_entry_by_its_key() -> None:
    read = decode(SAMPLE, "").gateway
    assert read is not None
    mine = read.build_grants().for_client(["spiffe://internal/relay/az-a"])
    assert mine.ask("localhost", 9001) is None
    assert not isinstance(mine.judge("localhost", 9001, "127.0.0.1"), Denied)
    found = mine.judge("localhost", 9001, "127.0.0.2")
    assert isinstance(found, Denied)
    assert found.rule == "gateway.allow[1].hosts"


def test_what_is_shown_is_read_back() -> None:
    read = decode(SAMPLE, "")
    shown = show.toml(to_plain(read))
    assert shown.count("[[gateway.allow]]\n") == 2
    assert shown.count("[gateway.tls]\n") == 1
    assert decode(shown, "") == read
    plain = decode(gateway(), "")
    assert "\ntls = false\n" in show.toml(to_plain(plain))
    assert decode(show.toml(to_plain(plain)), "") == plain


# Mistakes.


@pytest.mark.parametrize(
    ("text", "key", "problem"),
    [
        (gateway(listen="0.0.0.0"), "listen", '0.0.0.0 needs a port, as in "0.0.0.0:4370"'),
        (gateway(listen="gw1:4370"), "listen", "is not ADDRESS or ADDRESS:PORT"),
        (
            gateway(allow=ALLOW.replace("'*'", "'10.9.1.0/24'", 1)),
            "allow[0].client",
            "is a network; a pattern",
        ),
        (gateway(allow=ALLOW.replace("'*'", "'relay.x'", 1)), "allow[0].client", "fits no IP address"),
        (gateway(tls="true"), "tls", "needs a [gateway.tls] table with cert, key and ca, or tls = false"),
        (gateway().replace("tls = false", ""), "tls", "needs a [gateway.tls] table with cert, key and ca"),
        (gateway(tls="1"), "tls", "got `int`"),
        (gateway(tls="{cert = '/a', key = '/b'}"), "tls.ca", "this key is required"),
        (gateway(tls="{cert = '/a', ca = '/b'}"), "tls.key", "this key is required"),
        (gateway(tls="{key = '/a', ca = '/b'}"), "tls.cert", "this key is required"),
        (gateway(tls="{cert = 'a', key = '/b', ca = '/c'}"), "tls.cert", "'a' is not an absolute path"),
        (gateway(tls="{cert = '/a', key = '', ca = '/c'}"), "tls.key", "this is not an absolute path"),
        (gateway(tls="{cert = '/a', key = '/b', ca = 'c'}"), "tls.ca", "'c' is not an absolute path"),
        (
            gateway(tls="{cert = '/a', key = '/b', ca = '/c', min_version = '1.1'}"),
            "tls.min_version",
            "'1.1' is not one of the choices; allowed: 1.2, 1.3",
        ),
        (
            gateway(tls="{cert = '/a', key = '/b', ca = '/c', server_name = 'x'}"),
            "tls.server_name",
            "unknown key; allowed: cert, key, ca, min_version",
        ),
        (gateway(allow=""), "allow", "nobody could use it: it needs at least one [[gateway.allow]]"),
        (gateway(allow=", ".join([ALLOW] * (MAX_ALLOWS + 1))), "allow", "10001 are more than 10000"),
        (
            gateway("max_handshakes = 4097"),
            "max_handshakes",
            "4097 are more than the 4096 of max_connections",
        ),
        (gateway("max_connections = 0"), "max_connections", ">= 1"),
        (gateway("max_tunnels_per_client = 0"), "max_tunnels_per_client", ">= 1"),
        (gateway("max_requests_per_second = 1000001"), "max_requests_per_second", "<= 1000000"),
        (gateway("request_timeout = '0s'"), "request_timeout", "must be more than 0s"),
        (gateway("dial_timeout = '0s'"), "dial_timeout", "must be more than 0s"),
        (gateway("ready_timeout = '0s'"), "ready_timeout", "must be more than 0s"),
        (gateway("drain = 30"), "drain", "30 is not a duration"),
        (gateway("epmd_port = 0"), "epmd_port", ">= 1"),
        (gateway("deny = []"), "deny", "unknown key; allowed: listen, epmd_port, max_connections"),
        ("[gateway]\ntls = false", "listen", "this key is required"),
    ],
)
def test_a_mistake_names_its_key(text: str, key: str, problem: str) -> None:
    error = mistake(text)
    assert error.key == f"gateway.{key}"
    assert problem in error.problem


@pytest.mark.parametrize(
    ("keys", "key", "problem"),
    [
        ("hosts = ['*'], ports = [1]", "client", "this key is required"),
        ("client = '*', ports = [1]", "hosts", "this key is required"),
        ("client = '*', hosts = ['*']", "ports", "this key is required"),
        ("client = '', hosts = ['*'], ports = [1]", "client", "a pattern has 1 to 1024 characters"),
        ("client = '*', hosts = [], ports = [1]", "hosts", "an empty list allows nothing"),
        ("client = '*', hosts = ['*'], ports = []", "ports", "an empty list allows nothing"),
        ("client = '*', hosts = ['*'], ports = [1], nodes = []", "nodes", "an empty list allows nothing"),
        ("client = '*', hosts = ['*'], ports = [1], nodes = ['a', '']", "nodes[1]", "a pattern has 1 to"),
        ("client = '*', hosts = '*', ports = [1]", "hosts", "got `str`"),
        ("client = '*', hosts = ['*', '10.0.2.0/33'], ports = [1]", "hosts[1]", "write a network as in"),
        ("client = '*', hosts = ['10.0.2.*'], ports = [1]", "hosts[0]", "is not a pattern of host names"),
        ("client = '*', hosts = ['*'], ports = [1, 0]", "ports[1]", "'0' is not a port or a range"),
        ("client = '*', hosts = ['*'], ports = ['9-1']", "ports[0]", "is the wrong way round: write 1-9"),
        ("client = '*', hosts = ['*'], ports = [true]", "ports[0]", "is not a port or a range"),
        ("client = '*', hosts = ['*'], ports = 1", "ports", "got `int`"),
        ("client = '*', host = ['*'], ports = [1]", "host", "unknown key; allowed: client, hosts, ports"),
    ],
)
def test_a_mistake_in_an_entry_names_the_entry_and_its_key(keys: str, key: str, problem: str) -> None:
    error = mistake(gateway(allow=f"{ALLOW}, {{{keys}}}"))
    assert error.key == f"gateway.allow[1].{key}"
    assert problem in error.problem


NET = "[[relay.route]]\nnet = '10.0.2.0/24'\n[relay.transparent]\nlisten = "
ROUTE = "[[relay.route]]\nhost = 'b1'\nlisten = '10.0.1.9'\n"


@pytest.mark.parametrize(
    ("listen", "other", "taken"),
    [
        ("10.0.1.9:4369", "epmd.listen = ['10.0.1.8:4369', '10.0.1.9:4369']", "10.0.1.9:4369 is epmd.listen"),
        ("10.0.1.9:4369", "epmd.listen = ['0.0.0.0:4369']", "0.0.0.0:4369 is epmd.listen"),
        ("0.0.0.0:4369", "epmd.listen = ['10.0.1.9:4369']", "10.0.1.9:4369 is epmd.listen"),
        ("[::]:4369", "epmd.listen = ['[::1]:4369']", "[::1]:4369 is epmd.listen"),
        ("10.0.1.9:4400", f"{NET} '0.0.0.0:4400'", "0.0.0.0:4400 is relay.transparent.listen"),
        ("0.0.0.0:9568", "metrics.listen = '127.0.0.1'", "127.0.0.1:9568 is metrics.listen"),
        ("127.0.0.1:80", "metrics.listen = '127.0.0.1:80'", "127.0.0.1:80 is metrics.listen"),
        ("10.0.1.9:4369", ROUTE, "10.0.1.9:4369 is a port of relay.route[0]"),
        ("0.0.0.0:9005", f"{ROUTE}ports = ['9001-9010']", "10.0.1.9:9005 is a port of relay.route[0]"),
    ],
)
def test_the_gateway_listens_where_nothing_else_does(listen: str, other: str, taken: str) -> None:
    error = mistake(f"{other}\n{gateway(listen=listen)}")
    assert error.key == "gateway.listen"
    assert error.problem == f"{listen} is not free: {taken}"


@pytest.mark.parametrize(
    ("listen", "other"),
    [
        ("0.0.0.0:4370", "epmd.listen = ['0.0.0.0:4369']"),
        ("10.0.1.8:4369", "epmd.listen = ['10.0.1.9:4369']"),
        ("0.0.0.0:4369", "epmd.listen = ['[::1]:4369', '[::]:4368']"),
        ("0.0.0.0:4369", "epmd.listen = ['10.0.1.9']"),  # its port is the environment's matter
        ("0.0.0.0:0", f"epmd.listen = ['0.0.0.0:0']\n{NET} '0.0.0.0:0'"),  # the kernel chooses
        ("10.0.1.8:4369", f"{ROUTE}ports = ['9001-9010']"),
        ("10.0.1.9:9011", f"{ROUTE}ports = ['9001-9010']"),
    ],
)
def test_the_gateway_listens_beside_others(listen: str, other: str) -> None:
    assert decode(f"{other}\n{gateway(listen=listen)}", "").gateway is not None
