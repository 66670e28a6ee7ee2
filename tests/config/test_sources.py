"""`[cluster.source.NAME]`: each kind with every default, and every mistake with its key."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epmdless.cluster.peers import MAX_NAMES
from epmdless.config import (
    Address,
    CommandSource,
    DnsSource,
    Duration,
    EpmdSource,
    FileSource,
    GossipSource,
    StaticSource,
)
from epmdless.config.sources import MAX_DOMAINS, MAX_HOSTS, MAX_STATIC_NODES
from epmdless.names import is_node_name, is_transient
from tests.config.source_tables import refused, source

DNS = "basename = 'shop', addresses = ['shop.internal']"

# What is read.


def test_static_nodes() -> None:
    read = source(StaticSource, "nodes = ['shop@b1.internal', 'имя@10.0.0.7', 'a@fd00::1']")
    assert read == StaticSource(nodes=("shop@b1.internal", "имя@10.0.0.7", "a@fd00::1"))


def test_dns_and_its_defaults() -> None:
    read = source(DnsSource, DNS)
    assert (read.basename, read.addresses, read.srv) == ("shop", ("shop.internal",), ())
    assert (read.srv_names, read.families, read.servers) == ("port", ("ipv4", "ipv6"), ())
    assert (read.gather, read.poll, read.tcp) == (Duration(120), Duration(5), False)
    assert (read.timeout, read.lifetime) == (Duration(1), Duration(3))


def test_dns_with_every_key() -> None:
    read = source(
        DnsSource,
        "basename = 'shop', srv = ['_shop._tcp.x.', '_stock._tcp.x'], srv_names = 'plain', "
        "families = ['ipv6'], gather = '0s', poll = '100ms', servers = ['10.0.0.2', '[fd00::2]:5353'], "
        "tcp = true, timeout = '10ms', lifetime = '2s'",
    )
    assert read == DnsSource(
        basename="shop",
        srv=("_shop._tcp.x.", "_stock._tcp.x"),
        srv_names="plain",
        families=("ipv6",),
        gather=Duration(0),
        poll=Duration(0.1),
        servers=(Address("10.0.0.2"), Address("[fd00::2]:5353")),
        tcp=True,
        timeout=Duration(0.01),
        lifetime=Duration(2),
    )


def test_epmd_and_its_defaults() -> None:
    read = source(EpmdSource, "hosts = ['b1', '10.0.0.7', 'fd00::7']")
    assert (read.hosts, read.dns, read.hosts_file) == (("b1", "10.0.0.7", "fd00::7"), (), None)
    assert (read.local, read.port) == (False, 4369)
    assert (read.poll, read.timeout) == (Duration(5), Duration(2))


@pytest.mark.parametrize("keys", ["dns = ['b.internal']", "hosts_file = '/.hosts.erlang'", "local = true"])
def test_epmd_has_enough_with_any_one_of_those_who_say_which_hosts(keys: str) -> None:
    assert source(EpmdSource, keys).hosts == ()


def test_gossip_and_its_defaults() -> None:
    read = source(GossipSource, "")
    assert (read.group, read.port, read.ttl) == ("233.252.1.32", 45892, 1)
    assert (read.interface, read.secret_file) == (None, None)
    assert (read.heartbeat, read.expire) == (Duration(5), Duration(30))


@pytest.mark.parametrize("keys", ["group = '224.0.0.1', ttl = 0", "group = '239.255.255.255', ttl = 255"])
def test_gossip_at_the_edges(keys: str) -> None:
    read = source(
        GossipSource,
        f"{keys}, interface = '127.0.0.1', secret_file = '/s', heartbeat = '100ms', expire = '101ms'",
    )
    assert (read.interface, read.secret_file, read.expire) == ("127.0.0.1", "/s", Duration(0.101))


def test_a_command_and_its_defaults() -> None:
    read = source(CommandSource, "argv = ['psql', '-Atc', 'select name from nodes', '']")
    assert read.argv == ("psql", "-Atc", "select name from nodes", "")
    assert (read.poll, read.timeout) == (Duration(10), Duration(5))
    assert source(CommandSource, "argv = ['/usr/bin/psql']").argv == ("/usr/bin/psql",)


def test_a_file_and_its_default() -> None:
    assert source(FileSource, "path = '/etc/epmdless/nodes'").poll == Duration(1)


# Mistakes.


@pytest.mark.parametrize(
    ("kind", "keys", "key", "problem"),
    [
        ("consul", "", "kind", "'consul' is not one of the choices; allowed: static, dns, epmd, gossip"),
        ("static", "", "nodes", "this key is required"),
        ("static", "nodes = []", "nodes", "names 1 to 20000 nodes"),
        ("static", "nodes = 'a@b'", "nodes", "got `str`"),
        (
            "static",
            "nodes = ['a@b', 'shop']",
            "nodes[1]",
            "'shop' is not a node's whole name, as in app@b1.internal",
        ),
        ("static", "nodes = ['a@b@c']", "nodes[0]", "ALIVE@HOST, without blanks"),
        ("static", "nodes = ['a@b', 'b@c', 'b@c']", "nodes[2]", "b@c is nodes[1] again"),
        (
            "static",
            "nodes = ['remsh1@b1']",
            "nodes[0]",
            "'remsh1@b1' would not be joined: nodes of such names come",
        ),
        (
            "dns",
            "basename = 'a'",
            "addresses",
            "nothing to ask for: needs at least one of `addresses` and `srv`",
        ),
        ("dns", "basename = 'a', addresses = ['x', 'a b']", "addresses[1]", "'a b' is not a domain name"),
        (
            "dns",
            "basename = 'a', addresses = ['10.0.0.7']",
            "addresses[0]",
            "'10.0.0.7' is not a domain name",
        ),
        ("dns", "basename = 'a', srv = ['fd00::7']", "srv[0]", "'fd00::7' is not a domain name"),
        ("dns", "basename = 'a', srv = ['']", "srv[0]", "'' is not a domain name"),
        ("dns", f"basename = 'a', srv = ['{'x.' * 127}']", "srv[0]", "is not a domain name"),
        ("dns", "basename = 'a', srv = ['x.y', 'X.y.']", "srv[1]", "X.y. is srv[0] again"),
        (
            "dns",
            f"basename = 'a', srv = {[f'a{n}' for n in range(MAX_DOMAINS + 1)]}",
            "srv",
            "65 are more than 64",
        ),
        ("dns", f"{DNS}, families = []", "families", "an empty list asks for nothing: ipv4, ipv6 or both"),
        ("dns", f"{DNS}, families = ['ipv4', 'ipv4']", "families[1]", "ipv4 is families[0] again"),
        (
            "dns",
            f"{DNS}, families = ['v4']",
            "families[0]",
            "'v4' is not one of the choices; allowed: ipv4, ipv6",
        ),
        (
            "dns",
            f"{DNS}, srv_names = 'port4'",
            "srv_names",
            "is not one of the choices; allowed: plain, port",
        ),
        ("dns", f"{DNS}, servers = ['dns']", "servers[0]", "'dns' is not ADDRESS or ADDRESS:PORT"),
        ("dns", f"{DNS}, gather = 30", "gather", "30 is not a duration"),
        (
            "dns",
            f"{DNS}, lifetime = '9ms'",
            "lifetime",
            "must be at least 10ms: no answer would come in time",
        ),
        (
            "epmd",
            "",
            "hosts",
            "nobody to ask: needs at least one of `hosts`, `dns`, `hosts_file` and `local`",
        ),
        (
            "epmd",
            "hosts = ['b1', 'b2:4369']",
            "hosts[1]",
            "'b2:4369' is neither a host name nor an IP address",
        ),
        ("epmd", "hosts = ['0.0.0.0']", "hosts[0]", "'0.0.0.0' is no host part of a node's name"),
        ("epmd", "hosts = ['fe80::1%eth0']", "hosts[0]", "'fe80::1%eth0' is no host part of a node's name"),
        ("epmd", "hosts = ['b1.internal.']", "hosts[0]", "'b1.internal.' is no host part of a node's name"),
        ("epmd", "hosts = ['b1', 'B1']", "hosts[1]", "B1 is hosts[0] again"),
        ("epmd", "hosts = ['fd00::1', 'fd00:0::1']", "hosts[1]", "fd00:0::1 is hosts[0] again"),
        ("epmd", f"hosts = {[f'b{n}' for n in range(MAX_HOSTS + 1)]}", "hosts", "1025 are more than 1024"),
        ("epmd", "dns = ['10.0.0.7']", "dns[0]", "'10.0.0.7' is not a domain name"),
        ("epmd", "hosts_file = '.hosts.erlang'", "hosts_file", "'.hosts.erlang' is not an absolute path"),
        ("epmd", "local = true, port = 0", "port", "expected `int` >= 1"),
        (
            "gossip",
            "group = '10.0.0.1'",
            "group",
            "'10.0.0.1' is not an IPv4 multicast address: 224.0.0.0 to",
        ),
        ("gossip", "group = 'ff02::1'", "group", "is not an IPv4 multicast address"),
        ("gossip", "group = '::ffff:224.0.0.1'", "group", "is not an IPv4 multicast address"),
        ("gossip", "group = '224.0.0.1%eth0'", "group", "is not an IPv4 multicast address"),
        ("gossip", "group = 'gossip.internal'", "group", "is not an IPv4 multicast address"),
        (
            "gossip",
            "interface = 'eth0'",
            "interface",
            "'eth0' is not an IPv4 address of this machine; leave the key",
        ),
        ("gossip", "interface = '0.0.0.0'", "interface", "is not an IPv4 address of this machine"),
        ("gossip", "interface = '224.0.0.1'", "interface", "is not an IPv4 address of this machine"),
        ("gossip", "interface = 'fd00::1'", "interface", "is not an IPv4 address of this machine"),
        ("gossip", "ttl = 256", "ttl", "expected `int` <= 255"),
        ("gossip", "ttl = -1", "ttl", "expected `int` >= 0"),
        ("gossip", "port = 65536", "port", "expected `int` <= 65535"),
        (
            "gossip",
            "heartbeat = '99ms'",
            "heartbeat",
            "must be at least 100ms: each host hears those of all others",
        ),
        (
            "gossip",
            "heartbeat = '30s'",
            "expire",
            "must be more than the 30s of heartbeat, or nodes that live expire",
        ),
        ("gossip", "expire = '5s'", "expire", "must be more than the 5s of heartbeat"),
        ("command", "", "argv", "this key is required"),
        ("command", "argv = 'psql'", "argv", "got `str`"),
        ("command", "argv = []", "argv", "names no program"),
        (
            "command",
            "argv = ['']",
            "argv[0]",
            "'' is neither the absolute path of a program nor the name of one in",
        ),
        ("command", "argv = ['bin/psql']", "argv[0]", "'bin/psql' is neither the absolute path of a program"),
        (
            "command",
            r'argv = ["psql", "a\u0000b"]',
            "argv[1]",
            "holds a NUL, which no argument of a program can",
        ),
        ("file", "", "path", "this key is required"),
        ("file", "path = 'nodes'", "path", "'nodes' is not an absolute path"),
    ],
)
def test_a_mistake_names_the_source_and_its_key(kind: str, keys: str, key: str, problem: str) -> None:
    found, said = refused(kind, keys)
    assert found == key
    assert problem in said


def test_a_secret_where_its_path_should_stand_is_not_repeated() -> None:
    assert refused("gossip", "secret_file = 'hunter2'") == ("secret_file", "this is not an absolute path")


def test_as_many_nodes_can_be_written_down_as_are_used() -> None:
    assert MAX_STATIC_NODES == MAX_NAMES
    nodes = tuple(f"a{number}@b" for number in range(MAX_STATIC_NODES + 1))
    assert len(StaticSource(nodes=nodes[1:]).nodes) == MAX_NAMES
    with pytest.raises(ValueError, match="nodes: names 1 to 20000 nodes"):
        StaticSource(nodes=nodes)


# Whatever is written.

TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)


@given(st.builds("{}@{}".format, TEXTS, TEXTS) | TEXTS)
def test_a_static_node_is_one_that_a_node_can_be_or_is_refused(name: str) -> None:
    is_good = is_node_name(name) and not is_transient(name.partition("@")[0])
    try:
        read = StaticSource(nodes=(name,))
    except ValueError:
        assert not is_good
    else:
        assert is_good
        assert read.nodes == (name,)


@given(st.text(st.sampled_from("a.-@%:/ 0129\0é\n"), max_size=12) | TEXTS)
def test_any_host_is_a_part_of_a_nodes_name_or_refused(host: str) -> None:
    try:
        EpmdSource(hosts=(host,))
    except ValueError:
        return
    assert is_node_name(f"a@{host}")


@given(st.text(st.sampled_from("a.-_*@%:/ 0129\0é\n"), max_size=12) | TEXTS)
def test_any_domain_is_one_line_of_letters_digits_and_dots_or_refused(name: str) -> None:
    try:
        DnsSource(basename="a", addresses=(name,))
    except ValueError:
        return
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


@given(st.ip_addresses().map(str) | TEXTS)
def test_any_group_is_one_that_a_socket_can_join_or_refused(group: str) -> None:
    try:
        read = GossipSource(group=group)
    except ValueError:
        return
    first, *rest = map(int, read.group.split("."))
    assert 224 <= first <= 239
    assert len(rest) == 3
