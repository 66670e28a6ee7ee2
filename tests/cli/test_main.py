"""The command `epmdless`, run as a user runs it: what it prints where, and its exit status."""

import socketserver
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import pytest

from epmdless import __version__
from tests.cli.command import as_json, complaint, epmdless, printed
from tests.support.epmd_client import Registration
from tests.support.ports import closed_port
from tests.support.scripted_dns import ScriptedDns, answer, nxdomain, rcode
from tests.support.servers import Server, running

HOST: Final = "127.0.0.1"
HELD: Final = {"zoo": 40001, "app-9001": 40002, "имя": 40003}
"""Registered at the server, in this order."""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with ExitStack() as stack:
        server = stack.enter_context(running("serve"))
        for name, port in HELD.items():
            stack.enter_context(Registration(server.port, name, port))
        yield server


@pytest.fixture
def nobody() -> Iterator[int]:
    """A port that refuses connections."""
    with closed_port() as port:
        yield port


def table(text: str) -> list[list[str]]:
    return [line.split(maxsplit=1) for line in map(str.rstrip, text.splitlines())]


@contextmanager
def rogue(reply: bytes) -> Iterator[str]:
    """A server that answers whatever comes with these bytes, and closes; yields its port."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(4096)
            self.request.sendall(reply)

    with socketserver.TCPServer((HOST, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield str(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


def test_the_version_is_the_packages() -> None:
    assert printed("--version") == f"epmdless {__version__}\n"


@pytest.mark.parametrize(
    "words",
    [
        *(["nowhere"], ["names", "--prot", "1"], ["serve", "--port", "70000"], ["config", "check"]),
    ],
)
def test_a_wrong_command_line_is_status_2_with_nothing_on_stdout(words: list[str]) -> None:
    done = epmdless(*words)
    assert (done.status, done.stdout) == (2, "")
    assert "Error: " in done.stderr


# names


def test_names_lists_what_is_registered_by_name(server: Server) -> None:
    listed = printed("names", "--port", str(server.port))
    assert table(listed) == [["NAME", "PORT"], ["app-9001", "40002"], ["zoo", "40001"], ["имя", "40003"]]


def test_names_as_json_are_the_servers_own_order_newest_first(server: Server) -> None:
    nodes = [{"name": name, "port": port} for name, port in reversed(HELD.items())]
    assert as_json("names", HOST, "--port", str(server.port)) == {"port": server.port, "nodes": nodes}


def test_erl_epmd_port_says_where_to_ask(server: Server) -> None:
    assert as_json("names", ERL_EPMD_PORT=str(server.port))["port"] == server.port


def test_names_without_a_server_says_so(nobody: int) -> None:
    assert complaint(1, "names", "--port", str(nobody)) == f"{HOST} port {nobody}: Connection refused"


def test_names_of_what_is_no_host_says_so() -> None:
    assert complaint(1, "names", "a..b", "--port", "1").startswith("a..b port 1: ")


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (b"", "short: the connection was closed before a whole answer"),
        (b"\0\0\x11\x11HTTP/1.1 400\n", "name: a line of a NAMES reply cannot be read"),
    ],
)
def test_names_from_what_is_no_epmd_says_so(reply: bytes, said: str) -> None:
    with rogue(reply) as port:
        assert complaint(1, "names", HOST, "--port", port) == said


def test_a_name_from_the_network_cannot_reach_the_terminal() -> None:
    with rogue(b"\0\0\x11\x11name a\x1b]0;title\x07b at port 9001\n") as port:
        assert not set(printed("names", HOST, "--port", port)) & set("\x1b\x07")


def test_a_bad_erl_epmd_port_is_status_2() -> None:
    assert complaint(2, "names", ERL_EPMD_PORT="x").startswith("ERL_EPMD_PORT: 'x' is not a port")


# resolve


def test_resolve_prefers_a_registration(server: Server) -> None:
    said = printed("resolve", f"app-9001@{HOST}", "--port", str(server.port))
    assert said == f"app-9001@{HOST}: port 40002 (by registered)\n"


def test_resolve_knows_the_scheme_without_any_server(nobody: int) -> None:
    said = printed("resolve", f"app-9002@{HOST}", "--port", str(nobody))
    assert said == f"app-9002@{HOST}: port 9002 (by scheme)\n"


def test_resolve_of_nobody_is_status_1(nobody: int) -> None:
    said = printed("resolve", f"nobody@{HOST}", "--port", str(nobody), status=1)
    assert said == f"nobody@{HOST}: no such node\n"


@pytest.mark.parametrize(
    ("alive", "port", "resolver", "status"),
    [("zoo", 40001, "registered", 0), ("b-9001", 9001, "scheme", 0), ("nobody", None, "none", 1)],
)
def test_resolve_as_json(server: Server, alive: str, port: int | None, resolver: str, status: int) -> None:
    node = f"{alive}@{HOST}"
    found = as_json("resolve", node, "--port", str(server.port), status=status)
    assert found == {"node": node, "port": port, "resolver": resolver}


def test_explain_shows_what_each_resolver_said(nobody: int) -> None:
    said = printed("resolve", f"app-9001@{HOST}", "--port", str(nobody), "--explain")
    assert table(said) == [
        ["RESOLVER", "OUTCOME"],
        ["registered", f"not mine (no EPMD server: {HOST} port {nobody}: Connection refused)"],
        ["scheme", "found: port 9001"],
        [f"app-9001@{HOST}:", "port 9001 (by scheme)"],
    ]


def test_explain_as_json_has_the_steps(server: Server) -> None:
    found = as_json("resolve", f"nobody@{HOST}", "--port", str(server.port), "--explain", status=1)
    assert [(step["resolver"], step["outcome"]) for step in found["steps"]] == [
        ("registered", "not mine"),
        ("scheme", "not mine"),
        ("none", "no such node"),
    ]


@pytest.mark.parametrize(
    ("alive", "port", "status"), [("zoo", 40001, 0), ("b-9001", 9001, 0), ("nobody", None, 1)]
)
def test_resolve_can_ask_a_server(server: Server, alive: str, port: int | None, status: int) -> None:
    found = as_json("resolve", alive, "--server", HOST, "--port", str(server.port), status=status)
    assert found == {"node": alive, "port": port, "resolver": HOST}


def test_resolve_by_a_server_that_is_not_there_says_so(nobody: int) -> None:
    said = complaint(1, "resolve", "zoo", "--server", HOST, "--port", str(nobody))
    assert said == f"{HOST} port {nobody}: Connection refused"


@pytest.mark.parametrize("node", ["@host", "a" * 256])
def test_what_is_no_node_name_is_a_wrong_command_line(node: str) -> None:
    assert "name" in complaint(2, "resolve", node)


def srv_config(folder: Path, dns: ScriptedDns, more: str = "") -> Path:
    path = folder / "srv.toml"
    table = f"question = '_{{name}}._tcp.nodes.internal'\nservers = ['{HOST}:{dns.port}']\nlifetime = '5s'\n"
    path.write_text(f"[resolve]\nchain = ['srv', 'static']\n{more}static.b = 9009\n[resolve.srv]\n{table}")
    return path


NAME: Final = "_app._tcp.nodes.internal."


def test_resolve_asks_the_configured_chain(tmp_path: Path) -> None:
    with ScriptedDns() as dns:
        dns.script(NAME, "SRV", answer(f"{NAME} 60 IN SRV 0 0 9005 b1.internal."))
        said = printed("resolve", "app@b1.internal", "--config", srv_config(tmp_path, dns))
    assert said == "app@b1.internal: port 9005 (by srv)\n"


def test_explain_shows_a_miss_that_falls_through(tmp_path: Path) -> None:
    with ScriptedDns() as dns:
        dns.script_all(nxdomain("internal."))
        config = srv_config(tmp_path, dns, "fallthrough = ['srv']\n")
        said = printed("resolve", "b@b1.internal", "--config", config, "--explain")
    assert table(said)[1:3] == [["srv", "no such node"], ["static", "found: port 9009"]]


def test_explain_says_who_knows_what_the_sources_told(tmp_path: Path) -> None:
    path = tmp_path / "e.toml"
    path.write_text(
        'resolve.chain = ["peers"]\n'
        '[cluster]\ncookie_file = "/c"\n[cluster.source.s]\nkind = "static"\nnodes = ["app@b1.internal"]\n'
    )
    found = as_json("resolve", "app@b1.internal", "--config", str(path), "--explain", status=1)
    assert found["steps"][0]["resolver"] == "peers"
    assert found["steps"][0]["outcome"].startswith("not mine (")
    assert "--server" in found["steps"][0]["outcome"]


def test_explain_shows_a_failure_on_one_line(tmp_path: Path) -> None:
    with ScriptedDns() as dns:
        dns.script_all(rcode("SERVFAIL"))
        said = printed(
            "resolve", "b@b1.internal", "--config", srv_config(tmp_path, dns), "--explain", status=1
        )
    _, failed, last = table(said)
    assert failed[0] == "srv"
    assert failed[1].startswith("failed: SRV _b._tcp.nodes.internal: ")
    assert last == ["b@b1.internal:", "no such node"]
