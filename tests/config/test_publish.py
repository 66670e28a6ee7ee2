"""`[publish]`: the sample, every default, and every mistake with its key."""

import pytest

from epmdless.config import Address, Config, Duration, PublishSection, ServiceSection, decode, to_plain
from epmdless.errors import ConfigError

SAMPLE = """
[publish]
zone = "nodes.internal"
servers = ["10.0.0.2", "[fd00::2]:5353"]
key_file = "/etc/epmdless/tsig.key"
target = "b1.nodes.internal"
addresses = ["10.0.1.23", "fd00::23"]
nodes = ["shop-*", "stock-*"]
ttl = "30s"
lease = "2m"
timeout = "500ms"
[publish.service.shop]
nodes = ["shop-*"]
[publish.service.all-of-it]
nodes = ["*"]
"""

LEAST = 'zone = "nodes.internal"\nservers = ["10.0.0.2"]\n'


def publish(keys: str) -> PublishSection:
    section = decode(f"[publish]\n{keys}", "").publish
    assert section is not None
    return section


def mistake(keys: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        decode(f"[publish]\n{keys}", "e.toml")
    assert str(caught.value).startswith("e.toml: ")
    assert "\n" not in str(caught.value)
    return caught.value


def test_without_a_table_nothing_is_published() -> None:
    assert Config().publish is None


def test_the_sample_is_read_and_shown_again() -> None:
    config = decode(SAMPLE, "")
    section = config.publish
    assert section is not None
    assert section.servers == (Address("10.0.0.2"), Address("[fd00::2]:5353"))
    assert section.addresses == (Address("10.0.1.23"), Address("fd00::23"))
    assert (section.ttl, section.lease, section.timeout) == (Duration(30), Duration(120), Duration(0.5))
    assert section.service == {
        "shop": ServiceSection(nodes=("shop-*",)),
        "all-of-it": ServiceSection(nodes=("*",)),
    }
    shown = to_plain(config)["publish"]
    assert (shown["lease"], shown["servers"]) == ("2m", ["10.0.0.2", "[fd00::2]:5353"])


def test_zone_and_servers_are_enough() -> None:
    assert publish(LEAST) == PublishSection(
        zone="nodes.internal",
        servers=(Address("10.0.0.2"),),
        key_file=None,
        target=None,
        addresses=(),
        nodes=("*",),
        ttl=Duration(10),
        lease=Duration(90),
        timeout=Duration(2),
        service={},
    )


@pytest.mark.parametrize(
    ("keys", "key", "problem"),
    [
        ('servers = ["10.0.0.2"]', "zone", "required"),
        ('zone = "a.b"', "servers", "required"),
        ('zone = "10.0.0.1"\nservers = ["10.0.0.2"]', "zone", "'10.0.0.1' is not a domain name"),
        ('zone = "a..b"\nservers = ["10.0.0.2"]', "zone", "'a..b' is not a domain name"),
        ('zone = "a.b"\nservers = []', "servers", "1 to 8 addresses of DNS servers"),
        ('zone = "a.b"\nservers = ["ns.a.b"]', "servers[0]", "ns.a.b"),
        ('zone = "a.b"\nservers = ["::1", "::1"]', "servers[1]", "::1 is servers[0] again"),
        (LEAST + 'key_file = "tsig.key"', "key_file", "not an absolute path"),
        (LEAST + 'target = "10.0.0.9"', "target", "'10.0.0.9' is not a domain name"),
        (LEAST + 'addresses = ["10.0.0.9:53"]', "addresses[0]", "is not an IP address without a port"),
        (LEAST + 'addresses = ["0.0.0.0"]', "addresses[0]", "is no address that leads to a host"),
        (LEAST + 'addresses = ["::1", "0::1"]', "addresses[1]", "0::1 is addresses[0] again"),
        (LEAST + "nodes = []", "nodes", "an empty list publishes nothing"),
        (LEAST + 'nodes = [""]', "nodes[0]", "a pattern has 1 to"),
        (LEAST + 'ttl = "1500ms"', "ttl", "whole seconds, 1s to 1d"),
        (LEAST + 'ttl = "0s"', "ttl", "whole seconds, 1s to 1d"),
        (LEAST + 'lease = "14s"', "lease", "must be 15s to 1d"),
        (LEAST + 'lease = "2d"', "lease", "must be 15s to 1d"),
        (LEAST + 'timeout = "0s"', "timeout", "must be at least"),
        (LEAST + 'timeout = "30s"', "timeout", "must be less than a third of lease, 90s"),
        (LEAST + 'key = "x"', "key", "unknown key; allowed: zone, servers, key_file, target"),
        (LEAST + 'service.Shop.nodes = ["*"]', "service", "'Shop' is no name for a service"),
        (LEAST + 'service."-a".nodes = ["*"]', "service", "'-a' is no name for a service"),
        (LEAST + f'service.{"a" * 63}.nodes = ["*"]', "service", "is no name for a service: 1 to 62 of"),
        (LEAST + 'service.epmdless.nodes = ["*"]', "service", "is the service of all nodes"),
        (LEAST + "service.shop.nodes = []", "service.shop.nodes", "an empty list matches nothing"),
        (LEAST + 'service.shop.nodes = ["a@b"]', "service.shop.nodes[0]", "a pattern of alive names has no"),
        (LEAST + "service.shop = {}", "service.shop.nodes", "required"),
    ],
)
def test_a_mistake_names_its_key(keys: str, key: str, problem: str) -> None:
    error = mistake(keys)
    assert error.key == f"publish.{key}"
    assert problem in error.problem


def test_a_key_where_its_path_should_stand_is_not_repeated() -> None:
    assert "c2VjcmV0" not in str(mistake(LEAST + 'key_file = "c2VjcmV0"'))


def test_there_are_not_too_many() -> None:
    services = "".join(f'service.s{number}.nodes = ["*"]\n' for number in range(65))
    assert mistake(LEAST + services).problem == "65 are more than 64"
    addresses = [f"10.0.0.{number}" for number in range(1, 18)]
    assert mistake(LEAST + f"addresses = {addresses}").problem == "17 are more than 16"
