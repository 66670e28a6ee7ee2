"""Hosts that publish their nodes in a zone of knot and of bind9, and real nodes that meet by it."""

import base64
import contextlib
import json
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import dns.message
import dns.query
import pytest
import trio

from epmdless.addresses import Endpoint
from epmdless.publish.lease import Lease
from epmdless.publish.records import records_of
from epmdless.resolve.dns_tsig import TsigKey
from epmdless.resolve.dns_update import Update, Updater
from tests.cli.within import as_json
from tests.support.beam import Beam
from tests.support.deadline import eventually
from tests.support.dns_servers import DnsServer, UpdateKey, bind, knot
from tests.support.epmd_client import Registration, names
from tests.support.ports import closed_port, free_port
from tests.support.process import Program
from tests.support.servers import OUR_SERVE, answers
from tests.support.tools import clean_env

pytestmark = [pytest.mark.interop, pytest.mark.usefixtures("ours_only")]

ZONE = "nodes.internal"
KEY = UpdateKey()
FIRST, SECOND = "127.0.0.21", "127.0.0.22"
"""The hosts: each an address of the loopback range, with nodes on it."""


@pytest.fixture(scope="module", params=["knot", "bind"])
def dns_server(request: pytest.FixtureRequest) -> Iterator[DnsServer]:
    """A server whose zone takes updates."""
    with knot([], key=KEY) if request.param == "knot" else bind(KEY) as server:
        yield server


class Host:
    """A host that publishes: one address, one EPMD port.

    Its EPMD server answers on the other's address as well: a node asks at the address that it wants to
    connect to, and the ports of the two are not the same here.
    """

    def __init__(self, folder: Path, address: str, servers: list[str], key: UpdateKey = KEY) -> None:
        self.address = address
        self.port = free_port()
        self.folder = folder / address
        self.folder.mkdir(exist_ok=True)
        self.config = self.folder / "epmdless.toml"
        self.config.write_text(f"""
[epmd]
listen = ["127.0.0.1:{self.port}", "{FIRST}:{self.port}", "{SECOND}:{self.port}"]
[resolve]
host = "{address}"
chain = ["registered", "srv"]
[resolve.srv]
question = "_{{name}}._tcp.{ZONE}"
servers = {json.dumps(servers[:1])}
negative_ttl = "0s"
[publish]
zone = "{ZONE}"
servers = {json.dumps(servers)}
key_file = "{key.file(self.folder / "tsig.key")}"
lease = "15s"
ttl = "1s"
timeout = "4s"
[publish.service.app]
nodes = ["app*"]
[control]
socket = "{self.folder / "control.sock"}"
""")

    @contextlib.contextmanager
    def serving(self) -> Iterator[Program]:
        """Run `epmdless serve`."""
        with Program([*OUR_SERVE, "--config", self.config], env=clean_env()) as program:
            eventually(lambda: answers(self.port), within=10, what=program.report)
            yield program

    def beam(self, alive: str) -> Beam:
        """A node on this host."""
        interface = "{" + self.address.replace(".", ",") + "}"
        return Beam(
            *("host", f"{alive}@{self.address}"),
            epmd_port=self.port,
            args=["-kernel", "inet_dist_use_interface", interface],
            env={"ERL_EPMD_ADDRESS": "127.0.0.1"},
        )

    def ask(self, command: str, *more: str) -> Any:
        """What a command says of it, in JSON."""
        return as_json(command, "--config", self.config, *more)

    def node_names(self, *more: str) -> set[str]:
        """The names of the nodes in the zone."""
        return {node["name"] for node in self.ask("nodes", *more)["nodes"]}


def at(server: DnsServer) -> str:
    return f"127.0.0.1:{server.port}"


def records(server: DnsServer, owner: str, rdtype: str) -> list[str]:
    """What any client of DNS sees."""
    query = dns.message.make_query(f"{owner}.{ZONE}", rdtype)
    answer = dns.query.udp(query, "127.0.0.1", port=server.port, timeout=5).answer
    return sorted(rdata.to_text() for rrset in answer for rdata in rrset)


def test_nodes_find_each_other_by_a_zone_and_leave_it(tmp_path: Path, dns_server: DnsServer) -> None:
    """From registration to stop, with a host that was killed, its leftovers and its next life."""
    first, second = (Host(tmp_path, address, [at(dns_server)]) for address in (FIRST, SECOND))
    with contextlib.ExitStack() as stack:
        crashing = stack.enter_context(first.serving())
        other = stack.enter_context(second.serving())
        finder = stack.enter_context(second.beam("finder"))
        with first.beam("app") as app:
            port = names(first.port)["app"]
            target = f"127-0-0-21.{ZONE}."
            eventually(lambda: records(dns_server, "_app._tcp", "TXT"), within=5, what="the service")
            assert records(dns_server, "_app._tcp", "SRV") == [f"0 0 {port} {target}"]
            assert records(dns_server, "127-0-0-21", "A") == [FIRST]
            assert first.node_names("--service", "app") == {app.name}
            assert second.node_names() == {app.name, finder.name}
            assert finder.eval(f"net_adm:ping('{app.name}').") == "pong"
            assert finder.eval("nodes().") == f"['{app.name}']"
            crashing.kill()
        assert records(dns_server, "_app._tcp", "SRV") == [f"0 0 {port} {target}"]
        restarted = stack.enter_context(first.serving())
        eventually(lambda: not records(dns_server, "_app._tcp", "SRV"), within=5, what="no leftovers")
        with Registration(first.port, "app2", 9002):
            eventually(lambda: records(dns_server, "_app2._tcp", "SRV"), within=5, what="the next node")
        eventually(lambda: not records(dns_server, "_app2._tcp", "SRV"), within=5, what="its end")
        assert records(dns_server, "127-0-0-21", "A") == []
        assert first.ask("published")["state"] == "published"
        assert other.stop() == restarted.stop() == 0
        for owner in ("_finder._tcp", "_epmdless._tcp", "127-0-0-22"):
            assert [records(dns_server, owner, rdtype) for rdtype in ("SRV", "TXT", "A")] == [[], [], []]
        assert '"event": "withdrawn"' in other.stderr
        assert '"level": "warning"' not in other.stderr + restarted.stderr


def write(server: DnsServer, update: Update) -> None:
    """Change the zone as any holder of the key can."""

    async def main() -> None:
        key = TsigKey(KEY.name, KEY.algorithm, base64.b64decode(KEY.secret))
        with closing(Updater(ZONE, [Endpoint("127.0.0.1", server.port)], key, ttl=1, timeout=5)) as zone:
            await zone.update(update)

    trio.run(main)


def test_what_a_host_left_that_never_came_back_is_swept(tmp_path: Path, dns_server: DnsServer) -> None:
    now = int(time.time())
    dead = Lease(f"gone@b9.{ZONE}", 9009, now - 1000, f"b9.{ZONE}", ("127.0.0.29",), ("app",))
    alive = Lease(f"there@b9.{ZONE}", 9010, now + 1000, f"b9.{ZONE}", ("127.0.0.29",))
    write(dns_server, Update(add=[*records_of(dead, ZONE), *records_of(alive, ZONE)]))
    host = Host(tmp_path, FIRST, [at(dns_server)])
    assert host.node_names() == {alive.node}
    with host.serving() as program:
        eventually(lambda: "records of dead hosts removed" in program.stderr, within=5, what=program.report)
        for owner in ("_gone._tcp", "_app._tcp"):
            assert records(dns_server, owner, "SRV") == records(dns_server, owner, "TXT") == []
        assert records(dns_server, "_epmdless._tcp", "SRV") == [f"0 0 9010 b9.{ZONE}."]
        assert records(dns_server, "b9", "A") == ["127.0.0.29"]
    write(dns_server, Update(delete=list(records_of(alive, ZONE))))


def test_a_wrong_key_is_seen_and_nothing_else_suffers(tmp_path: Path, dns_server: DnsServer) -> None:
    wrong = UpdateKey(secret=base64.b64encode(b"another secret than the server's").decode())
    with closed_port() as nobody:
        host = Host(tmp_path, FIRST, [f"127.0.0.1:{nobody}", at(dns_server)], wrong)
        with host.serving() as program, Registration(host.port, "app", 9001):
            assert set(names(host.port)) == {"app"}
            shown = eventually(
                lambda: next((s for s in [host.ask("published")] if s["reason"] and s["nodes"]), None),
                within=5,
                what=program.report,
            )
            assert (shown["state"], shown["reason"]) == ("failing", "bad_key")
            assert "another secret for this key" in shown["detail"]
            assert [(node["name"], node["published"]) for node in shown["nodes"]] == [(f"app@{FIRST}", False)]
            assert host.node_names() == set()
            KEY.file(host.folder / "tsig.key")
            program.signal(signal.SIGHUP)
            eventually(lambda: host.node_names() == {f"app@{FIRST}"}, within=5, what=program.report)
            assert host.ask("published")["state"] == "published"
            assert program.stop() == 0
            assert program_lines(program) == ["publishing fails", "publishing works again", "withdrawn"]
            assert wrong.secret not in program.stderr


def test_however_often_it_is_told_to_stop_it_withdraws_first(tmp_path: Path, dns_server: DnsServer) -> None:
    """Other signals than the first come while the zone's server takes its time."""
    host = Host(tmp_path, FIRST, [at(dns_server)])
    with host.serving() as program, Registration(host.port, "app", 9001):
        eventually(lambda: records(dns_server, "_app._tcp", "SRV"), within=5, what=program.report)
        dns_server.program.signal(signal.SIGSTOP)
        try:
            program.signal(signal.SIGTERM)
            eventually(lambda: '"stopping"' in program.stderr, within=5, what=program.report)
            program.signal(signal.SIGHUP)
            program.signal(signal.SIGTERM)
            eventually(lambda: '"stopping now"' in program.stderr, within=5, what=program.report)
            assert not program.ended
        finally:
            dns_server.program.signal(signal.SIGCONT)
        assert program.wait(5) == 0
        assert program_lines(program) == ["published", "withdrawn"]
        assert records(dns_server, "_epmdless._tcp", "TXT") == []


def program_lines(program: Program) -> list[str]:
    """The log's lines about publishing."""
    events = [json.loads(line)["event"] for line in program.stderr.splitlines()]
    return [event for event in events if event.startswith(("publish", "withdrawn", "not all"))]
