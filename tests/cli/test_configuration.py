"""`epmdless config`, and where a configuration is looked for."""

import tomllib
from pathlib import Path
from typing import Final

import pytest

from tests.cli.command import as_json, complaint, printed

SAMPLE: Final = "[resolve]\nchain = ['static']\n[resolve.static]\ncouchdb = 9100\n"


CLUSTER: Final = """
[cluster]
cookie_file = "/etc/epmdless/cookie"
[cluster.source.dns]
kind = "dns"
basename = "shop"
addresses = ["shop.internal"]
[cluster.source."b1.list"]
kind = "static"
nodes = ["shop@b1.internal"]
[cluster.group.shop]
nodes = ["shop-*"]
[cluster.group.stock]
nodes = ["stock-*"]
[[cluster.link]]
groups = ["shop", "stock"]
nodes = ["*-9001"]
"""


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    path = tmp_path / "sample.toml"
    path.write_text(SAMPLE)
    return path


def test_a_good_configuration_is_ok(sample: Path) -> None:
    assert printed("config", "check", sample) == f"{sample}: ok\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[epmd]\nlisen = []", "epmd.lisen: unknown key; allowed: listen, packet_timeout"),
        (b"[epmd", "not valid TOML: "),
        (b"\xff", "not UTF-8"),
        (None, "No such file or directory"),
    ],
)
def test_a_bad_configuration_is_status_2_with_file_and_reason(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    path = tmp_path / "bad.toml"
    if content is not None:
        path.write_bytes(content)
    assert complaint(2, "config", "check", path).startswith(f"{path}: {said}")


def test_what_is_no_file_is_no_configuration(tmp_path: Path) -> None:
    assert complaint(2, "config", "show", "--config", tmp_path) == f"{tmp_path}: Is a directory"


def test_show_says_where_the_configuration_came_from_and_is_toml(sample: Path) -> None:
    said = printed("config", "show", "--config", sample)
    assert said.startswith(f"# {sample}\n")
    shown = tomllib.loads(said)
    assert shown["resolve"]["static"] == {"couchdb": 9100}
    assert shown["epmd"]["listen"] == ["0.0.0.0:4369", "[::]:4369"]
    assert shown == as_json("config", "show", "--config", sample)


def test_what_is_shown_is_a_good_configuration(sample: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.toml"
    copy.write_text(printed("config", "show", "--config", sample))
    assert printed("config", "check", copy) == f"{copy}: ok\n"


def test_show_holds_what_the_environment_says(sample: Path) -> None:
    shown = as_json(
        "config",
        "show",
        EPMDLESS_CONFIG=str(sample),
        ERL_EPMD_PORT="5000",
        ERL_EPMD_ADDRESS="10.0.0.1",
        ERL_EPMD_RELAXED_COMMAND_CHECK="",
    )
    assert shown["resolve"]["static"] == {"couchdb": 9100}
    assert shown["epmd"]["listen"] == ["10.0.0.1:5000", "127.0.0.1:5000", "[::1]:5000"]
    assert shown["epmd"]["relaxed_command_check"] is True


def test_the_flag_goes_before_the_environment(sample: Path, tmp_path: Path) -> None:
    said = printed("config", "show", "--config", sample, EPMDLESS_CONFIG=str(tmp_path / "gone.toml"))
    assert said.startswith(f"# {sample}\n")
    assert str(tmp_path / "gone.toml") in complaint(
        2, "config", "show", EPMDLESS_CONFIG=str(tmp_path / "gone.toml")
    )


def test_a_configuration_may_be_in_the_environment_itself(sample: Path) -> None:
    assert as_json("config", "show", EPMDLESS_CONFIG_TOML=SAMPLE)["resolve"]["static"] == {"couchdb": 9100}
    assert printed("config", "show", EPMDLESS_CONFIG_TOML=SAMPLE).startswith("# $EPMDLESS_CONFIG_TOML\n")
    said = printed("config", "show", "--config", sample, EPMDLESS_CONFIG_TOML="[epmd")
    assert said.startswith(f"# {sample}\n")


def test_a_mistake_in_the_environments_configuration_names_it(sample: Path) -> None:
    said = complaint(2, "config", "show", EPMDLESS_CONFIG_TOML="[epmd]\nlisen = []")
    assert said.startswith("$EPMDLESS_CONFIG_TOML: epmd.lisen: unknown key; allowed: ")
    said = complaint(2, "config", "show", EPMDLESS_CONFIG_TOML=SAMPLE, EPMDLESS_CONFIG=str(sample))
    assert said == "$EPMDLESS_CONFIG_TOML: EPMDLESS_CONFIG is set, too: take one of them"


def test_the_environments_host_counts_where_the_configuration_has_none(sample: Path, tmp_path: Path) -> None:
    shown = as_json("config", "show", "--config", sample, EPMDLESS_HOST="10.0.1.23")
    assert shown["resolve"]["host"] == "10.0.1.23"
    own = tmp_path / "own.toml"
    own.write_text("[resolve]\nhost = 'b1.internal'\n")
    shown = as_json("config", "show", "--config", own, EPMDLESS_HOST="10.0.1.23")
    assert shown["resolve"]["host"] == "b1.internal"
    said = complaint(2, "config", "show", "--config", sample, EPMDLESS_HOST="a b")
    assert said == "$EPMDLESS_HOST: 'a b' is neither a host name nor an IP address"


def test_routes_are_shown_as_they_are_written(tmp_path: Path) -> None:
    routed = tmp_path / "routed.toml"
    routed.write_text(
        "[[relay.route]]\nhost = 'b1'\nlisten = '10.0.1.9'\n"
        "[[relay.route]]\nhost = 'b2'\nlisten = '10.0.1.10'\nports = ['9001-9010']\n"
    )
    said = printed("config", "show", "--config", routed)
    assert said.count("\n[[relay.route]]\n") == 2
    shown = tomllib.loads(said)
    assert [route["host"] for route in shown["relay"]["route"]] == ["b1", "b2"]
    assert shown["relay"]["rule"] == []
    assert shown == as_json("config", "show", "--config", routed)
    copy = tmp_path / "copy.toml"
    copy.write_text(said)
    assert tomllib.loads(printed("config", "show", "--config", copy)) == shown


def test_a_cluster_is_checked_and_shown(tmp_path: Path) -> None:
    joined = tmp_path / "joined.toml"
    joined.write_text(CLUSTER)
    assert printed("config", "check", joined) == f"{joined}: ok\n"
    said = printed("config", "show", "--config", joined)
    assert '\n[cluster.source."b1.list"]\nkind = "static"\n' in said
    shown = tomllib.loads(said)
    assert shown["cluster"]["source"]["dns"]["poll"] == "5s"
    assert shown["cluster"]["link"] == [{"groups": ["shop", "stock"], "nodes": ["*-9001"]}]
    assert shown == as_json("config", "show", "--config", joined)
    copy = tmp_path / "copy.toml"
    copy.write_text(said)
    assert tomllib.loads(printed("config", "show", "--config", copy)) == shown


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ('"dns"', '"consul"', "cluster.source.dns.kind: 'consul' is not one of the choices; allowed: static"),
        (
            '["shop.internal"]',
            "[]",
            "cluster.source.dns.addresses: nothing to ask for: needs at least one of",
        ),
        (
            '"shop@b1.internal"',
            '"shop"',
            "cluster.source.\"b1.list\".nodes[0]: 'shop' is not a node's whole name",
        ),
        (
            '["shop", "stock"]',
            '["shop", "b2"]',
            "cluster.link[0].groups[1]: 'b2' is no group; allowed: shop, stock",
        ),
        ('"/etc/epmdless/cookie"', '"secret"', "cluster.cookie_file: this is not an absolute path"),
        (
            'cookie_file = "/etc/epmdless/cookie"',
            "",
            "cluster.cookie_file: missing: to join nodes, epmdless needs",
        ),
    ],
)
def test_a_mistake_in_a_cluster_is_status_2_with_its_key(
    tmp_path: Path, right: str, wrong: str, said: str
) -> None:
    path = tmp_path / "bad.toml"
    assert right in CLUSTER
    path.write_text(CLUSTER.replace(right, wrong, 1))
    assert complaint(2, "config", "check", path).startswith(f"{path}: {said}")
    assert complaint(2, "config", "show", "--config", path).startswith(f"{path}: {said}")
