"""Questions to real DNS servers, and to those that the system names."""

import json
from pathlib import Path
from typing import Final

import pytest

from epmdless.addresses import Endpoint
from epmdless.resolve.dns_client import SrvAnswer
from epmdless.resolve.srv_records import SrvRecord
from epmdless.resolve.srv_source import DnsSource
from tests.support.dns_servers import HOST, dnsmasq, knot
from tests.support.namespaces import require_namespaces
from tests.support.process import Finished, run
from tests.support.tools import PYTHON, clean_env, require

pytestmark = pytest.mark.interop

NAME: Final = "_app._tcp.nodes.internal"


async def ask(port: int, name: str = NAME, *, host: str = HOST, tcp: bool = False) -> SrvAnswer:
    return await DnsSource([Endpoint(host, port)], timeout=5, lifetime=20, tcp=tcp).ask(name)


@pytest.mark.parametrize("tcp", [False, True])
async def test_knots_records(tcp: bool) -> None:
    with knot(["_app._tcp SRV 1 2 9001 B1", "b1 A 10.0.0.7", "b1 AAAA fd00::7"], ttl=77) as server:
        found = await ask(server.port, tcp=tcp)
    target = "b1.nodes.internal"
    assert found == SrvAnswer((SrvRecord(1, 2, 9001, target, ("10.0.0.7", "fd00::7")),), 77)


async def test_knots_denials_and_oddities() -> None:
    records = [
        "b1 A 10.0.0.7",
        "_none._tcp SRV 0 0 0 .",
        "_zero._tcp SRV 0 0 0 b1",
        "_now._tcp 0 SRV 0 0 9001 b1",
    ]
    with knot(records, ttl=60, negative_ttl=30) as server:
        asked = [f"_{name}._tcp.nodes.internal" for name in ("gone", "none", "zero", "now")]
        gone, none, zero, now = [await ask(server.port, name) for name in asked]
        no_data = await ask(server.port, "b1.nodes.internal")
    assert gone == no_data == SrvAnswer((), 30)
    assert [(each.port, each.target) for each in none.records] == [(0, "")]
    assert [(each.port, each.target) for each in zero.records] == [(0, "b1.nodes.internal")]
    assert (now.ttl, now.records[0].port) == (0, 9001)


async def test_knots_aliases() -> None:
    records = ["_app._tcp 9 CNAME x", "x CNAME y", "y SRV 0 0 9001 b1", "b1 A 10.0.0.7"]
    with knot(records, ttl=60) as server:
        found = await ask(server.port)
    assert (found.ttl, [each.port for each in found.records]) == (9, [9001])


async def test_more_records_than_a_datagram_holds_come_over_tcp() -> None:
    with knot([f"_app._tcp SRV 0 0 {9001 + number} b{number}" for number in range(200)]) as server:
        found = await ask(server.port)
    assert sorted(each.port for each in found.records) == list(range(9001, 9201))


async def test_dnsmasqs_records() -> None:
    name = NAME.removesuffix(".")
    with dnsmasq(f"--srv-host={name},b1.internal,9001,3,4", "--local-ttl=8", "--local=/internal/") as server:
        found = await ask(server.port)
        gone = await ask(server.port, "_gone._tcp.nodes.internal")
    assert found == SrvAnswer((SrvRecord(3, 4, 9001, "b1.internal"),), 8)
    assert gone == SrvAnswer((), 0)


@pytest.mark.parametrize("tcp", [False, True])
async def test_a_server_with_an_ipv6_address(tcp: bool) -> None:
    with dnsmasq(f"--srv-host={NAME},b1.internal,9001", "--listen-address=::1") as server:
        found = await ask(server.port, host="::1", tcp=tcp)
    assert [each.port for each in found.records] == [9001]


ASK_THE_SYSTEM: Final = f"""\
import json, trio
from epmdless.errors import ConfigError
from epmdless.resolve.srv_source import DnsSource
try:
    source = DnsSource([], timeout=0.2, lifetime=20)
except ConfigError as error:
    print(json.dumps(str(error)))
else:
    print(json.dumps(trio.run(source.ask, {NAME!r}).records))
"""

IN_A_HOST_OF_ITS_OWN: Final = """\
set -e
mount --bind "$1" /etc/resolv.conf
ip link set lo up
"$2" --keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts --pid-file= --user= \\
    --bind-interfaces --listen-address=127.0.0.1 --srv-host=_app._tcp.nodes.internal,b1.internal,9001 &
trap 'kill $!; wait' EXIT
"$3" -c "$4"
"""


def with_resolv_conf(text: str, folder: Path) -> Finished:
    """Ask what resolv.conf names, in namespaces where it holds this text and dnsmasq is at 127.0.0.1:53."""
    unshare, server = require_namespaces(), require("dnsmasq", "dnsmasq-base")
    resolv_conf = folder / "resolv.conf"
    resolv_conf.write_text(text)
    words = [str(resolv_conf), server, PYTHON, ASK_THE_SYSTEM]
    return run([unshare, "--mount", "--net", "sh", "-c", IN_A_HOST_OF_ITS_OWN, "sh", *words], env=clean_env())


def test_the_systems_servers_are_asked_where_none_are_named(tmp_path: Path) -> None:
    done = with_resolv_conf("nameserver 127.0.0.1\nsearch elsewhere.internal\n", tmp_path)
    assert (done.status, done.stderr) == (0, "")
    assert json.loads(done.stdout) == [[0, 0, 9001, "b1.internal", []]]


def test_a_system_without_servers_is_a_mistake_of_the_configuration(tmp_path: Path) -> None:
    done = with_resolv_conf("# nothing\n", tmp_path)
    assert (done.status, done.stderr) == (0, "")
    said = "/etc/resolv.conf: names no DNS server; name them in resolve.srv.servers"
    assert json.loads(done.stdout) == said
