"""`epmdless nodes`: who is in a zone, as a DNS server of the test's own says it."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from epmdless.publish.lease import Lease
from tests.cli import command
from tests.cli.within import as_json, complaint, epmdless, printed
from tests.support.ports import closed_port
from tests.support.scripted_dns import ScriptedDns, answer, nxdomain, rcode

ZONE = "nodes.internal"


def text(owner: str, node: str, seconds: float, *services: str, port: int = 9001) -> str:
    lease = Lease(node, port, int(time.time() + seconds), "b1.nodes.internal", ("10.0.1.23",), services)
    strings = " ".join(f'"{string.decode()}"' for string in lease.strings())
    return f"{owner}.{ZONE}. 10 IN TXT {strings}"


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedDns]:
    with ScriptedDns() as server:
        server.script(
            *(f"_epmdless._tcp.{ZONE}.", "TXT"),
            answer(
                text("_epmdless._tcp", "shop-9001@b1.nodes.internal", 80, "shop", "web"),
                text("_epmdless._tcp", "shop-9001@b1.nodes.internal", 20, port=9009),
                text("_epmdless._tcp", "dead@b2", -10),
                text("_epmdless._tcp", "stock@b1", 80, port=9002),
                f'_epmdless._tcp.{ZONE}. 10 IN TXT "v=spf1 -all"',
                f'_epmdless._tcp.{ZONE}. 10 IN TXT "node=\\027[2J@b1" "port=1" "until=99999999999"',
            ),
        )
        shop = text("_shop._tcp", "shop-9001@b1.nodes.internal", 80, "shop", "web")
        server.script(f"_shop._tcp.{ZONE}.", "TXT", answer(shop))
        server.script(f"_empty._tcp.{ZONE}.", "TXT", nxdomain(f"{ZONE}."))
        server.script(f"_broken._tcp.{ZONE}.", "TXT", rcode("SERVFAIL"))
        many = [text("_many._tcp", f"a{number:03}@b1", 80) for number in range(300)]
        server.script(f"_many._tcp.{ZONE}.", "TXT", answer(*many))
        yield server


def asking(server: ScriptedDns, *more: str) -> tuple[str, ...]:
    return ("nodes", "--zone", ZONE, "--server", f"127.0.0.1:{server.port}", *more)


def test_nodes_are_listed_by_name_without_the_dead(server: ScriptedDns) -> None:
    said = [line.split() for line in command.printed(*asking(server)).splitlines()]
    assert [[*words[:3], *words[4:]] for words in said] == [
        ["NODE", "PORT", "TARGET", "SERVICES"],
        ["shop-9001@b1.nodes.internal", "9001", "b1.nodes.internal", "shop,", "web"],
        ["stock@b1", "9002", "b1.nodes.internal", "-"],
    ]
    assert said[1][3].startswith("1m")


def test_a_service_is_listed_alone(server: ScriptedDns) -> None:
    found = as_json(*asking(server, "--service", "shop"))
    until = found["nodes"][0].pop("until")
    assert time.time() < until <= time.time() + 80
    assert found == {
        "zone": ZONE,
        "service": "shop",
        "nodes": [
            {
                "name": "shop-9001@b1.nodes.internal",
                "port": 9001,
                "target": "b1.nodes.internal",
                "addresses": ["10.0.1.23"],
                "services": ["shop", "web"],
            }
        ],
    }


def test_many_are_listed_whole(server: ScriptedDns) -> None:
    assert len(as_json(*asking(server, "--service", "many"))["nodes"]) == 300


def test_one_by_chance_is_a_name_alone(server: ScriptedDns) -> None:
    assert printed(*asking(server, "--service", "shop", "--random")) == "shop-9001@b1.nodes.internal\n"
    (one,) = as_json(*asking(server, "--random"))["nodes"]
    assert one["name"] in ("shop-9001@b1.nodes.internal", "stock@b1")


def test_nobody_is_an_empty_list_and_of_nobody_none_can_be_had(server: ScriptedDns) -> None:
    assert as_json(*asking(server, "--service", "empty"))["nodes"] == []
    assert len(printed(*asking(server, "--service", "empty")).splitlines()) == 1
    said = complaint(1, *asking(server, "--service", "empty", "--random"))
    assert said == "no node of service empty is published in nodes.internal"


def test_a_server_that_does_not_say_is_one_line_and_status_1(server: ScriptedDns) -> None:
    said = command.complaint(1, *asking(server, "--service", "broken"))
    assert said == "TXT _broken._tcp.nodes.internal.: no server answered, SERVFAIL"
    with closed_port() as port:
        said = complaint(1, "nodes", "--zone", ZONE, "--server", f"127.0.0.1:{port}")
    assert said.startswith("TXT _epmdless._tcp.nodes.internal.: no server answered")


def test_zone_and_servers_are_the_configurations(server: ScriptedDns, tmp_path: Path) -> None:
    config = tmp_path / "epmdless.toml"
    config.write_text(f'[publish]\nzone = "{ZONE}"\nservers = ["127.0.0.1:{server.port}"]\n')
    assert len(as_json("nodes", "--config", config)["nodes"]) == 2
    for spelling in (ZONE, f"{ZONE}.", ZONE.upper()):
        assert len(as_json("nodes", "--config", config, "--zone", spelling)["nodes"]) == 2
    assert complaint(2, "nodes", "--config", config, "--zone", "") == "--zone: '' is not a domain name"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--zone", "a b"], "--zone: 'a b' is not a domain name"),
        (["--zone", ZONE, "--service", "a.b"], "--service: 'a.b' is no name for a service"),
        (["--zone", ZONE, "--service", ""], "--service: '' is no name for a service"),
        (
            ["--zone", ZONE, "--server", "ns1"],
            "--server: 'ns1' is not ADDRESS or ADDRESS:PORT with an IP address",
        ),
    ],
)
def test_a_wrong_command_line_is_status_2(words: list[str], said: str) -> None:
    assert complaint(2, "nodes", *words) == said


def test_without_a_zone_the_remedy_is_told(tmp_path: Path) -> None:
    config = tmp_path / "epmdless.toml"
    config.write_text("")
    said = complaint(2, "nodes", "--config", config)
    assert said == f"{config}: publish: missing: name the zone with --zone, or configure it"
    assert epmdless("nodes", "extra").status == 2
