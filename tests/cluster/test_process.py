"""The cluster in a whole process: a node registers, is joined, and the process says so."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.cluster.node_thread import NodeThread
from tests.cluster.scripted_node import COOKIE
from tests.support.deadline import eventually
from tests.support.epmd_client import Registration, lookup
from tests.support.far_epmd import FarEpmd
from tests.support.ports import free_port
from tests.support.process import Program
from tests.support.servers import OUR_SERVE, answers
from tests.support.tools import clean_env

PEERS = "127.0.5.9"
B, C = f"b@{PEERS}", f"c@{PEERS}"
WITHIN = 10.0


class Running:
    """`epmdless serve` with a cluster, and a folder with all its files."""

    def __init__(self, folder: Path, epmd_port: int) -> None:
        self.folder = folder
        self.epmd_port = epmd_port
        self.metrics_port = free_port()
        self.control = folder / "control.sock"
        self.file = folder / "e.toml"
        self.program: Program
        cookie = folder / "cookie"
        cookie.write_bytes(COOKIE + b"\n")
        cookie.chmod(0o600)

    def configure(self, cluster: str) -> None:
        """Write the configuration; empty: there is none."""
        chain = ["registered", "peers"] if cluster else ["registered"]
        self.file.write_text(
            f"""
            [epmd]
            listen = ["127.0.0.1:{self.epmd_port}"]
            [resolve]
            host = "here.test"
            chain = {json.dumps(chain)}
            [metrics]
            listen = "127.0.0.1:{self.metrics_port}"
            [control]
            socket = "{self.control}"
            {cluster}
            """
        )

    def names(self, *names: str, keys: str = "") -> str:
        """The tables of a cluster whose one source names these."""
        return f"""
            [cluster]
            cookie_file = "{self.folder}/cookie"
            {keys}
            [cluster.source.fixed]
            kind = "static"
            nodes = {json.dumps(names)}
            """

    @contextmanager
    def running(self) -> Iterator[None]:
        env = clean_env(ERL_EPMD_PORT=str(self.epmd_port))
        with Program([*OUR_SERVE, "--config", self.file], env=env) as self.program:
            eventually(
                lambda: answers(self.epmd_port) or self.program.ended,
                within=WITHIN,
                what=self.program.report,
            )
            assert not self.program.ended, self.program.report()
            yield
            self.program.signal(signal.SIGTERM)
            assert self.program.wait(5) == 0, self.program.report()
            assert not self.events("internal error")

    def reload(self) -> str:
        """What it says to SIGHUP."""
        before = len(self.told())
        self.program.signal(signal.SIGHUP)
        eventually(lambda: len(self.told()) > before, within=WITHIN, what=self.program.report)
        return self.told()[-1]

    def told(self) -> list[str]:
        return [str(line["event"]) for line in self.lines if str(line["event"]).startswith("configuration ")]

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.program.stderr.splitlines()]

    def events(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == event]

    def ready(self) -> int:
        """The status of /readyz."""
        return self._ask(http.client.HTTPConnection("127.0.0.1", self.metrics_port, timeout=5), "/readyz")[0]

    def metrics(self) -> str:
        return self._ask(http.client.HTTPConnection("127.0.0.1", self.metrics_port, timeout=5), "/metrics")[1]

    def cluster(self) -> tuple[int, Any]:
        """What the control socket shows: the status, and the document."""
        connection = http.client.HTTPConnection("epmdless", timeout=5)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(5)
        connection.sock.connect(str(self.control))
        status, body = self._ask(connection, "/cluster")
        return status, json.loads(body) if status == 200 else body

    def _ask(self, connection: http.client.HTTPConnection, target: str) -> tuple[int, str]:
        with contextlib.closing(connection):
            connection.request("GET", target)
            response = connection.getresponse()
            return response.status, response.read().decode()


def test_a_node_that_registers_is_joined_and_the_process_says_so(tmp_path: Path) -> None:
    port = free_port()
    here = Running(tmp_path, port)
    here.configure(here.names(B, C, keys="ready.peers = 1"))
    with (
        here.running(),
        FarEpmd({"b": 9001}, PEERS, port) as far,
        NodeThread("app@here.test") as thread,
    ):
        node = thread.node
        assert here.ready() == 503
        with Registration(port, "app", thread.port):
            eventually(lambda: here.ready() == 200, within=WITHIN, what=here.program.report)
            assert dict(node.connects) == {B: 1}, "the other is not registered there"
            assert far.asked
            status, document = here.cluster()
            assert status == 200
            ((group,), (source,)) = document["groups"], document["sources"]
            (seen,) = group["nodes"]
            assert (seen["name"], seen["state"], seen["connected"], seen["wanted"]) == (
                "app@here.test",
                "linked",
                1,
                2,
            )
            assert (source["state"], source["names"]) == ("known", 2)
            assert 'epmdless_cluster_peers{group="default",state="connected"} 1.0' in here.metrics()
            far.nodes["c"] = 9002
            eventually(lambda: C in node.connects, within=2 * WITHIN, what=here.program.report)
        eventually(lambda: here.ready() == 503, within=WITHIN, what=here.program.report)
        eventually(lambda: not node.links, within=WITHIN, what="the end of its connection")
        assert [visit.proofs for visit in node.visits] == [1]


def test_a_reload_changes_the_cluster_or_nothing(tmp_path: Path) -> None:
    port = free_port()
    here = Running(tmp_path, port)
    here.configure(here.names(B))
    with (
        here.running(),
        FarEpmd({"b": 9001, "c": 9002}, PEERS, port),
        NodeThread("app@here.test") as thread,
        Registration(port, "app", thread.port),
    ):
        node = thread.node
        eventually(lambda: dict(node.connects) == {B: 1}, within=WITHIN, what=here.program.report)
        for bad in (
            here.names("no name at all"),
            here.names(B, keys="max_peers = 0"),
            here.names(B).replace("/cookie", "/no-such-cookie"),
            here.names(B).replace('"static"', '"oracle"'),
        ):
            here.configure(bad)
            assert here.reload() == "configuration not reloaded"
            assert here.cluster()[1]["sources"][0]["state"] == "known"
        assert len(node.visits) == 1
        here.configure(here.names(B, C))
        assert here.reload() == "configuration reloaded", here.program.stderr
        eventually(lambda: dict(node.connects) == {B: 1, C: 1}, within=WITHIN, what=here.program.report)
        assert len(node.visits) == 1, "our connection to the node goes on"
        here.configure("")
        assert here.reload() == "configuration reloaded", here.program.stderr
        eventually(lambda: not node.links, within=WITHIN, what="the end of its connection")
        assert here.cluster()[0] == 404
        assert here.ready() == 200
        assert "epmdless_cluster_peers{" not in here.metrics()
        assert lookup(port, "app") is not None, "it is still registered"


def test_another_cookie_is_one_line_and_no_secret(tmp_path: Path) -> None:
    port = free_port()
    here = Running(tmp_path, port)
    here.configure(here.names(B))
    with (
        here.running(),
        NodeThread("app@here.test", cookie=b"another") as thread,
        Registration(port, "app", thread.port),
    ):
        eventually(lambda: len(thread.node.visits) >= 3, within=WITHIN, what=here.program.report)
        (line,) = here.events("no connection to a local node")
        assert (line["node"], line["reason"], line["level"]) == ("app@here.test", "cookie", "warning")
        status, document = here.cluster()
        assert document["groups"][0]["nodes"][0]["reason"] == "cookie"
        assert (status, COOKIE.decode() in json.dumps(document)) == (200, False)
        assert COOKIE.decode() not in here.program.stderr
