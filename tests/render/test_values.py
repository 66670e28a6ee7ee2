"""What operators may fill in, and what is refused."""

import re
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from epmdless.errors import ConfigError
from epmdless.render import values
from epmdless.render.values import FarHost

HARMLESS = re.compile(r"[A-Za-z0-9._:/@-]+")
"""Of these characters none ends a quoted text, or means anything else, in the languages of the files."""

HOSTILE = [
    "",
    " ",
    "shop\n",
    "\nshop",
    "shop shop",
    'shop"',
    "shop'",
    "shop`",
    "$shop",
    "${shop}",
    "sh\\op",
    "shop;id",
    "shop#",
    "shop\0",
    "ſhop",
    "shöp",
    "@app@",
    "{{shop}}",
    "<%= shop %>",
    "-shop",
    "shop-",
]

BAD_APPS = [*HOSTILE, "Shop", "9shop", "a.b", "a_b", "a" * 31, "no", "null", "y", "true", "root", "epmdless"]


@pytest.mark.parametrize("app", ["a", "shop", "my-shop-2", "i-0abc", "a" * 30])
def test_names_that_an_application_may_have(app: str) -> None:
    assert values.node(app, 9001).alive == f"{app}-9001"


@pytest.mark.parametrize("app", BAD_APPS)
def test_names_that_no_application_may_have(app: str) -> None:
    with pytest.raises(ConfigError, match="--app"):
        values.node(app, 9001)


@pytest.mark.parametrize("app", ["shop-9002", "shop-9001", "a-1024"])
def test_a_name_with_a_port_of_its_own_is_refused(app: str) -> None:
    with pytest.raises(ConfigError, match="names port"):
        values.node(app, 9001)


@pytest.mark.parametrize("app", ["rem-ab", "rpc-0", "remsh", "maint-x", "ctl-shop", "rabbitmqcli-1"])
def test_a_name_that_would_pass_for_a_remote_shell_is_refused(app: str) -> None:
    with pytest.raises(ConfigError, match="remote shell"):
        values.node(app, 9001)


@pytest.mark.parametrize("port", [1024, 4370, 65535])
def test_ports_that_a_node_may_have(port: int) -> None:
    assert values.node("shop", port).port == port


@pytest.mark.parametrize("port", [-1, 0, 80, 1023, 65536, 10**30])
def test_ports_that_no_node_may_have(port: int) -> None:
    with pytest.raises(ConfigError, match=f"--port: {port} is not a port from 1024 to 65535"):
        values.node("shop", port)


@pytest.mark.parametrize("port", [4369, 9568])
def test_ports_of_epmdless_itself_are_refused(port: int) -> None:
    with pytest.raises(ConfigError, match="epmdless itself"):
        values.node("shop", port)


def test_a_release_is_named_as_mix_would() -> None:
    assert values.release(None, "my-shop") == "my_shop"
    assert values.release("Shop".lower(), "other") == "shop"


@pytest.mark.parametrize("name", [*HOSTILE, "my-shop", "../shop", "Shop", "a" * 65])
def test_releases_that_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="--release"):
        values.release(name, "shop")


@pytest.mark.parametrize(
    "name",
    [
        "shop",
        "shop:1.2",
        "team/shop",
        "registry.internal:5000/team/my-shop_x:V1.2-rc.3",
        "123456789012.dkr.ecr.eu-central-1.amazonaws.com/shop:latest",
        "shop@sha256:" + "0a" * 32,
        "ghcr.io/team/shop:1@sha256:" + "ff" * 32,
    ],
)
def test_images(name: str) -> None:
    assert values.image(name) == name


@pytest.mark.parametrize(
    "name", [*HOSTILE, "Shop", "shop:", "shop:a b", "shop@sha256:12", "/shop", "a//b", "a" * 600]
)
def test_images_that_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="--image"):
        values.image(name)


@pytest.mark.parametrize("count", [0, -1, 1001])
def test_how_many_nodes_there_cannot_be(count: int) -> None:
    with pytest.raises(ConfigError, match="--replicas"):
        values.replicas(count)


@pytest.mark.parametrize(
    "name", [*HOSTILE, "Nodes.internal", "a..b", "a.", ".a", "10.0.0.1", "a" * 64, "a_b"]
)
def test_domains_that_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="--zone"):
        values.domain("--zone", name)


def test_networks_come_in_their_one_spelling() -> None:
    found = values.networks("--from", ["10.0.1.0/24", "FD00:0::/64", "10.9.9.9"])
    assert list(map(str, found)) == ["10.0.1.0/24", "fd00::/64", "10.9.9.9/32"]


@pytest.mark.parametrize(
    ("texts", "problem"),
    [
        ([], "give 1 to 64 networks, as in --from 10.0.1.0/24"),
        (["10.0.1.1/24"], "host bits set"),
        (["10.0.1.0/33"], "write a network as in"),
        (["b1.internal"], "write a network as in"),
        (["10.0.0.0/8", "10.0.1.0/24"], "overlap"),
        (["10.0.1.0/24", "10.0.1.0/24"], "overlap"),
        (["::ffff:10.0.1.0/120"], "is not a network as in"),
        (["fe80::1%eth0"], "is not a network as in"),
        ([f"10.0.{n}.0/24" for n in range(65)], "give 1 to 64 networks"),
    ],
)
def test_networks_that_are_refused(texts: list[str], problem: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(problem)):
        values.networks("--from", texts)


def test_far_hosts() -> None:
    assert values.far_hosts(["b1.az-b.internal=10.0.1.11", "b2.internal=FD00::12=10.0.2.8"]) == [
        FarHost("b1.az-b.internal", "10.0.1.11", "b1.az-b.internal"),
        FarHost("b2.internal", "fd00::12", "10.0.2.8"),
    ]


@pytest.mark.parametrize(
    ("texts", "problem"),
    [
        ([], "give 1 to 64 far hosts"),
        (["b1.internal"], "is not HOST=STAND_IN"),
        (["b1.internal=10.0.1.11=b=c"], "is not HOST=STAND_IN"),
        (["b1.internal=10.0.1"], "'10.0.1' is not an IP address"),
        (["b1.internal=0.0.0.0"], "no single host's address"),
        (["b1.internal=224.0.0.1"], "no single host's address"),
        (["b1.internal=fe80::1%eth0"], "no single host's address"),
        (["10.0.2.7=10.0.1.11"], "is not a domain name"),
        (['b1"=10.0.1.11'], "is not a domain name"),
        (["b1.internal=10.0.1.11=b 1"], "is not a domain name"),
        (["b1.internal=10.0.1.11", "b1.internal=10.0.1.12"], "b1.internal is given twice"),
        (["b1.internal=10.0.1.11", "b2.internal=10.0.1.11"], "10.0.1.11 is given twice"),
        (["b1.internal=10.0.1.11=10.0.1.11"], "would be dialled"),
        (["b1.internal=10.0.1.11=10.0.1.12", "b2.internal=10.0.1.12"], "would be dialled"),
    ],
)
def test_far_hosts_that_are_refused(texts: list[str], problem: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(problem)):
        values.far_hosts(texts)


@pytest.mark.parametrize("text", ["gw1.az-b.internal:4370", "10.0.2.9:4370", "[fd00::9]:4370"])
def test_gateways(text: str) -> None:
    assert str(values.gateway(text)) == text


@pytest.mark.parametrize(
    "text", ["gw1", "gw1:0", "gw1:70000", 'gw"1:4370', "gw_1:4370", "0.0.0.0:4370", ":4370"]
)
def test_gateways_that_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--gateway"):
        values.gateway(text)


@given(st.one_of(st.text(), st.from_regex(r"[a-z0-9.:/@=_-]{1,40}", fullmatch=True)))
@example("a:1/b")
@example("a\n")
def test_whatever_passes_is_harmless_in_every_language(text: str) -> None:
    checks: list[Callable[[], str]] = [
        lambda: values.node(text, 9001).alive,
        lambda: values.release(text, "shop"),
        lambda: values.image(text),
        lambda: values.domain("--zone", text),
        lambda: values.address("--far", text),
        lambda: values.host("--far", text),
        lambda: str(values.networks("--from", [text])[0]),
        lambda: values.gateway(text).host,
    ]
    for check in checks:
        passed = "refused"
        with suppress(ConfigError):
            passed = check()
        assert HARMLESS.fullmatch(passed)
