"""The source `dns` with real DNS servers, and with those that the system names."""

from pathlib import Path
from signal import SIGHUP

import pytest
import trio

from epmdless.cluster.peers import Known, LookError, Peer, Unknown
from epmdless.cluster.sources.dns import DnsNames
from epmdless.config import Address, DnsSource, Duration
from tests.cluster.sources.saying import peers_in
from tests.support.dns_servers import DnsServer, dnsmasq, knot
from tests.support.namespaces import require_namespaces
from tests.support.process import run
from tests.support.tools import PYTHON, clean_env

pytestmark = pytest.mark.interop

NAME = "app.nodes.internal"
SRV = "_app._tcp.nodes.internal"


def source(server: DnsServer, srv_names: str = "port", lifetime: float = 20) -> DnsNames:
    section = DnsSource(
        basename="app",
        addresses=(NAME,),
        srv=(SRV,),
        srv_names=srv_names,  # type: ignore[arg-type]
        servers=(Address(f"127.0.0.1:{server.port}"),),
        gather=Duration(0),
        poll=Duration(0.1),
        timeout=Duration(5),
        lifetime=Duration(lifetime),
    )
    return DnsNames(section)


async def until(source: DnsNames, wanted: set[str]) -> None:
    """Run a source until it names these; it must always know."""
    send, receive = trio.open_memory_channel[Known | Unknown](1000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(source.run, send.send_nowait)
        with trio.fail_after(30):
            async for said in receive:
                assert isinstance(said, Known), said
                if {peer.name for peer in said.peers} == wanted:
                    break
        nursery.cancel_scope.cancel()


async def test_knots_records_and_one_that_is_added() -> None:
    records = ["app A 10.0.0.7", "app AAAA fd00::7", "_app._tcp SRV 0 0 9001 B1", "b1 A 10.0.0.1"]
    with knot(records) as server:
        assert sorted(peers_in(await source(server).look())) == [
            Peer("app-9001@b1.nodes.internal", 9001),
            Peer("app@10.0.0.7"),
            Peer("app@fd00::7"),
        ]
        assert Peer("app@b1.nodes.internal", 9001) in peers_in(await source(server, "plain").look())
        server.rewrite([*records[1:], "app A 10.0.0.8"])
        server.program.signal(SIGHUP)
        await until(source(server), {"app-9001@b1.nodes.internal", "app@10.0.0.8", "app@fd00::7"})


async def test_dnsmasqs_records_and_one_that_is_added(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text(f"10.0.0.7 {NAME}\nfd00::7 {NAME}\n")
    with dnsmasq(
        f"--addn-hosts={hosts}", "--local=/internal/", f"--srv-host={SRV},b1.internal,9001"
    ) as server:
        wanted = {"app-9001@b1.internal", "app@10.0.0.7", "app@fd00::7"}
        await until(source(server), wanted)
        with hosts.open("a") as file:
            file.write(f"10.0.0.8 {NAME}\n")
        server.program.signal(SIGHUP)
        await until(source(server), wanted | {"app@10.0.0.8"})


async def test_a_thousand_records() -> None:
    with knot([f"app A 10.0.{n >> 8}.{n & 255}" for n in range(1000)]) as server:
        assert len(await source(server).look()) == 1000


async def test_a_server_that_ends_is_not_nobody() -> None:
    with knot(["app A 10.0.0.7"]) as server:
        names = source(server, lifetime=1)
        assert await names.look() == (Peer("app@10.0.0.7"),)
        server.program.stop()
        with pytest.raises(LookError, match="timed out"):
            await names.look()


BUILD = """\
from epmdless.cluster.sources.build import build
from epmdless.config import DnsSource, EpmdSource
from epmdless.errors import ConfigError
from tests.cluster.sources.saying import AROUND
sections = [DnsSource(basename="app", addresses=("a.internal",)), EpmdSource(dns=("a.internal",))]
for section in sections:
    try:
        build("d", section, AROUND, "epmdless.toml")
    except ConfigError as error:
        print(error)
"""


def test_a_system_without_servers_is_a_mistake_of_the_configuration(tmp_path: Path) -> None:
    unshare = require_namespaces()
    (tmp_path / "resolv.conf").write_text("# nothing\n")
    script = 'mount --bind "$1" /etc/resolv.conf && exec "$2" -c "$3"'
    words = [str(tmp_path / "resolv.conf"), PYTHON, BUILD]
    done = run([unshare, "--mount", "--net", "sh", "-c", script, "sh", *words], env=clean_env())
    assert (done.status, done.stderr) == (0, "")
    nowhere = "/etc/resolv.conf: names no DNS server"
    assert done.stdout.splitlines() == [
        f"{nowhere}; name them in `servers` of the source of kind dns",
        f"{nowhere}, which `dns` of the source of kind epmd needs",
    ]
